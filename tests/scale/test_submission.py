"""A submission makes this very run elsewhere, says what it costs, and its run comes back to be verified."""

import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from mini_study import make_root
from tunebook.errors import InputProblem
from tunebook.files import write_json
from tunebook.pipeline import params, runs
from tunebook.pipeline.verify import verify_run
from tunebook.scale.submission import PLACES, Request, hours_like, render

LIB = Path(runs.__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent
PRICE = 'price_machine_hour: 0.0\nprice_source: ""\nprice_date: ""\n'
FILES = 'labels: ""\nmodel: ""\n'
ASKED = {
    "hf-jobs": {"hardware": "t4-small", "keep_in": "me/runs", "sets": ("rows=9",)},
    "slurm": {"hardware": "gpu", "gpus": 1, "cpus": 8},
    "docker": {"image": "python:3.11-bookworm@sha256:" + 64 * "0"},
    "local": {},
}


def git(root, *command):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(root), *who, *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkout with one commit, a price, a study and files beside params/, and the library in place."""
    root = make_root(tmp_path_factory.mktemp("job") / "checkout")
    (root / "lib").symlink_to(LIB)
    (root / ".gitignore").write_text("outputs/\n*.bin\n")
    (root / "requirements.txt").write_text("torch==2.13.0  # tensors\n")
    base = root / "params" / "base.yaml"
    base.write_text(base.read_text() + PRICE + FILES)
    study = 'extends: base\nprice_machine_hour: 0.4\nprice_source: "price list, EUR"\nprice_date: "2026-11-25"\n'
    (root / "params" / "priced.yaml").write_text(study)
    for name in ("data/labels.jsonl", "data/model/config.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}\n")
    (root / "studies").mkdir()
    (root / "studies" / "parent.yaml").write_text("extends: base\n")
    (root / "studies" / "child.yaml").write_text("extends: parent\nmodel: ../data/model\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    return root


@pytest.mark.parametrize("place", PLACES)
def test_each_submission_is_the_golden_one_and_bash_can_read_it(root, place):
    request = Request("priced", place, 1.5, repository="https://example.org/kit.git", **ASKED[place])
    text = render(root, request).replace(git(root, "rev-parse", "HEAD"), "COMMIT")
    golden = GOLDEN / f"golden_{place}.sh"
    if os.environ.get("TUNEBOOK_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_a_run_made_by_the_submission_comes_back_and_verifies(root, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(render(root, Request("demo", "local", 0.1, run="far")), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEBOOK")}
    environment |= {"TUNEBOOK_PYTHON": sys.executable}
    done = subprocess.run(["bash", str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / "far.tar.gz") as archive:
        archive.extractall(tmp_path / "outputs", filter="data")
    found = verify_run(tmp_path / "outputs" / "far")
    assert found.problems == [] and found.n_files > 5
    run = runs.run_folder_to_read("far", tmp_path / "outputs")
    assert git(root, "rev-parse", "HEAD") in (run / "run.json").read_text()
    assert not (root / "outputs").exists(), "it ran in a clone of its own"


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"place": "slurm", "repository": ""}, "--repository"),
        ({"place": "hf-jobs", "hardware": "t4"}, "no flavour.*t4-small"),
        ({"place": "hf-jobs", "hardware": "t4-small"}, "--keep-in"),
        ({"hours": -1.0}, "above 0 and at most"),
        ({"hours": 0.0}, "no run 'priced' under"),
        ({"study": "demo", "sets": ("rwos=9",)}, "did you mean 'rows'"),
        ({"run": "../elsewhere"}, "no plain name"),
    ],
)
def test_what_the_machine_could_not_do_is_one_sentence(root, changes, sentence):
    given = {"study": "priced", "place": "docker", "hours": 1.0, "repository": "r"} | changes
    with pytest.raises(InputProblem, match=sentence):
        render(root, Request(**given))


def test_a_limit_that_nobody_names_follows_from_the_forecast_of_a_run_here(root, tmp_path):
    """The stages' own time, with the training at the upper end of what 02 said before it began."""
    study, outputs = params.load_study("priced", (), root), tmp_path / "outputs"
    study = replace(study, stages=("01_validate_data", "02_train_sft"), params=study.params | {"rows": 5})
    for name, seconds in (("01_validate_data", 600.0), ("02_train_sft", 3000.0)):
        record = {"params": {"rows": 5}, "timing": {"seconds": seconds}, "costs": {"train_seconds": 2400.0}}
        write_json(outputs / "here" / name / "manifest.json", record)
    (outputs / "here" / "02_train_sft" / "tables").mkdir()
    table = "what,forecast,low,high,unit\ntime,45.0,40.0,50.0,minutes\n"
    (outputs / "here" / "02_train_sft" / "tables" / "forecast.csv").write_text(table)
    hours, why = hours_like(study, outputs / "here")
    assert hours == pytest.approx(1.5 * (600 + 3000 + 600) / 3600)
    assert why == "1.5 times the 70 minutes of run here, of which the training by 02's forecast at most 50"
    other = replace(study, params=study.params | {"rows": 6})
    with pytest.raises(InputProblem, match=r"01_validate_data of here had rows: 5, this study has 6: .*--hours"):
        hours_like(other, outputs / "here")
    with pytest.raises(InputProblem, match="here has no 03_train_dpo"):
        hours_like(replace(study, stages=(*study.stages, "03_train_dpo")), outputs / "here")


def test_changes_that_are_not_committed_are_refused(root):
    study = root / "params" / "later.yaml"
    study.write_text("extends: base\n")
    try:
        with pytest.raises(InputProblem, match="commit them|is not in commit"):
            render(root, Request("later", "docker", 1.0, repository="r"))
    finally:
        study.unlink()


def test_a_study_and_its_files_are_named_from_the_root_of_the_clone(root, tmp_path, monkeypatch):
    """The person stands in params/ or comes through a link; the machine stands in the root of its clone."""
    monkeypatch.chdir(root / "params")
    sets = ("labels=../data/labels.jsonl", "model=owner/name")
    text = render(root, Request("priced", "docker", 1.0, repository="r", sets=sets))
    assert "run params/priced.yaml" in text and "--set labels=data/labels.jsonl --set model=owner/name" in text
    (tmp_path / "link").symlink_to(root)
    for study in (tmp_path / "link" / "params" / "priced.yaml", "../params/priced.yaml"):
        assert render(root, Request(str(study), "docker", 1.0, repository="r", sets=sets)) == text


def test_no_text_of_a_study_leaves_its_comment(root):
    request = Request("priced", "docker", 1.0, repository="a\nb", sets=("price_source=a list\nexit 1", "rows=9"))
    head = render(root, request).split("set -euo pipefail")[0]
    assert "(a list exit 1, 2026-11-25)" in head and "at a b before" in head
    assert all(line.startswith("#") for line in head.splitlines())


@pytest.mark.parametrize("place", ["local", "slurm"])
def test_a_set_up_that_fails_ends_the_submission_and_leaves_nothing_on_the_node(root, tmp_path, place):
    for name in ("bin", "node"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(render(root, Request("demo", place, 0.1, run="far", repository=str(root))), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEBOOK")}
    environment |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "node")}
    environment |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(tmp_path)}
    done = subprocess.run(["bash", str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 7, done.stdout + done.stderr
    assert list((tmp_path / "node").iterdir()) == [] and not (tmp_path / "far.tar.gz").exists()


@pytest.mark.parametrize("is_staged", [False, True])
@pytest.mark.parametrize(
    "name", ["data/labels.jsonl", "data/model/config.json", "data/model/w.bin", "studies/parent.yaml"]
)
def test_a_file_that_the_commit_has_otherwise_is_refused(root, name, is_staged):
    """Git's index has the path: of rows as they were, staged since, or of a folder with one ignored file more."""
    request = Request(str(root / "studies" / "child.yaml"), "docker", 1.0, repository="r", sets=(f"labels={root}/data/labels.jsonl",))  # fmt: skip
    render(root, request)
    kept = (root / name).read_bytes() if (root / name).exists() else None
    (root / name).write_bytes((kept or b"") + b"\n")
    try:
        if is_staged:
            git(root, "add", "-f", name)
        with pytest.raises(InputProblem, match="is not in commit .* as it is here"):
            render(root, request)
    finally:
        git(root, "reset", "-q")
        (root / name).write_bytes(kept) if kept is not None else (root / name).unlink()
