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
    """A checkout with one commit, a price, and the library in place."""
    root = make_root(tmp_path_factory.mktemp("job") / "checkout")
    (root / "lib").symlink_to(LIB)
    (root / ".gitignore").write_text("outputs/\n")
    (root / "requirements.txt").write_text("torch==2.13.0  # tensors\n")
    base = root / "params" / "base.yaml"
    base.write_text(base.read_text() + PRICE)
    study = 'extends: base\nprice_machine_hour: 0.4\nprice_source: "price list, EUR"\nprice_date: "2026-11-25"\n'
    (root / "params" / "priced.yaml").write_text(study)
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
