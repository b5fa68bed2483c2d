"""The promises of a run: finished stages are kept, broken ones start over, nothing corrupt is taken for finished,
every byte is checked.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from mini_study import DATA, SCORE, make_root, run
from tunebook.cli import main
from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import notebooks, params, provenance, record, reuse, runs
from tunebook.pipeline.verify import first_divergence, verify_run

LIB = Path(manifests.__file__).resolve().parents[2]
STAGES = ("01_validate_data", "04_evaluate_pass_at_1@base", "06_verdict")
NETWORK = (
    "import socket\ntry:\n    socket.create_connection(('192.0.2.1', 80), 1)\nexcept RuntimeError as blocked:\n   "
    " assert 'offline' in str(blocked)"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A complete run `demo`, recorded at a clean commit. Its 01 also proves that kernels have no network."""
    root = make_root(tmp_path_factory.mktemp("finished") / "checkout", data=[NETWORK, *DATA])
    (root / ".gitignore").write_text("outputs/\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    code, shown = run(root)
    assert code == 0, shown
    return root, shown


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished checkout, to be damaged."""
    shutil.copytree(finished[0], tmp_path / "checkout")
    return tmp_path / "checkout"


def read(root, instance, name="manifest.json"):
    return json.loads((root / "outputs" / "demo" / instance / name).read_text())


def test_a_finished_run_has_a_line_a_stage_and_ends_in_the_verdict(finished):
    root, shown = finished
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines[:3]] == list(STAGES)
    assert lines[1].split()[-2:] == ["pass", read(root, STAGES[1])["content_hash"][:8]]
    assert lines[3:5] == ["verdict: GO", "  the rule says so"]
    report = Path(lines[5].removeprefix("report: "))
    assert "the rule says so" in (report.parent / "report.json").read_text() and "<html" in report.read_text()
    assert "\x1b" not in shown


def test_a_manifest_says_what_the_stage_was_made_from(finished):
    root, _ = finished
    manifest = read(root, STAGES[1])
    data = read(root, STAGES[0])
    assert manifest["params"] == {"rate": 2e-4, "seed": 1, "names": ["a"]}
    assert manifest["upstream"][STAGES[0]]["content_hash"] == data["content_hash"]
    assert {entry["path"]: entry["rows"] for entry in data["files"]} == {"metrics.json": None, "train.jsonl": 7}
    assert data["costs"] == {"seconds": 1.5} and "seconds" not in data["metrics"]
    assert data["checks"] == [{"name": "n_rows", "measured": 7, "rule": "at least 1", "ok": True, "severity": "error"}]
    assert manifest["environment"]["dirty"] is False and len(manifest["environment"]["commit"]) == 40
    assert {"stage.py", "pipeline/context.py"} <= set(manifest["code"]["files"])
    assert not {"pipeline/study.py", "pipeline/progress.py", "cli.py"} & set(manifest["code"]["files"])
    assert read(root, STAGES[2])["metrics"]["seen"] == list(STAGES[:2])


def test_the_executed_notebook_holds_the_sent_values_and_no_path_of_this_machine(finished):
    root, _ = finished
    text = (root / "outputs" / "demo" / STAGES[1] / "executed.ipynb").read_text()
    assert "injected-parameters" in text and str(root) not in text
    sent = yaml.safe_load((root / "outputs" / "demo" / STAGES[1] / "params.yaml").read_text())
    assert sent == {"run": "demo", "target": "base", "rate": 2e-4, "seed": 1, "names": ["a"]}


def test_an_unchanged_study_is_reused_without_running_anything(copy):
    before = {name: (copy / "outputs" / "demo" / name / "manifest.json").stat().st_mtime_ns for name in STAGES}
    code, shown = run(copy)
    assert code == 0 and [line.split()[-2] for line in shown.splitlines()[:3]] == ["reused"] * 3
    assert before == {name: (copy / "outputs" / "demo" / name / "manifest.json").stat().st_mtime_ns for name in STAGES}


def reason(root, instance, **params):
    folder = root / "outputs" / "demo"
    recorded = manifests.read_manifest(folder / instance)
    upstream = {name: folder / name for name in recorded["upstream"]}
    return reuse.why_not(folder / instance, reuse.Wanted(root, instance, recorded["params"] | params, upstream))


def edit_manifest(folder, **changes):
    manifests.write(folder, manifests.read_manifest(folder) | changes)


def test_each_thing_that_can_change_a_result_prevents_reuse(copy, monkeypatch):
    folder = copy / "outputs" / "demo"
    assert [reason(copy, name) for name in STAGES] == ["", "", ""]
    assert reason(copy, STAGES[1], rate=3e-4) == "rate was 0.0002, is 0.0003"
    notebook = copy / "notebooks" / "01_validate_data.ipynb"
    source = notebook.read_text()
    notebook.write_text(source.replace("at least 1", "at least 2"))
    assert reason(copy, STAGES[0]) == "01_validate_data.ipynb was edited"
    notebook.write_text(source.replace("rows: int = 5", "rows: int = 6").replace('"outputs": []', '"outputs": [1]'))
    assert reason(copy, STAGES[0]) == "", "a default that is never used, or an output, changes no result"
    (copy / "requirements.txt").write_text("torch==1\n")
    assert reason(copy, STAGES[0]) == "requirements.txt has changed"
    (copy / "requirements.txt").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "device_fingerprint", lambda: "other")
        assert "another processor" in reason(copy, STAGES[0])
    edit_manifest(folder / STAGES[0], params={"rows": 8})
    assert reason(copy, STAGES[1]) == "01_validate_data has changed"
    code = manifests.read_manifest(folder / STAGES[1])["code"]
    edit_manifest(folder / STAGES[1], upstream={}, code=code | {"files": code["files"] | {"stage.py": "0"}})
    assert reason(copy, STAGES[1]) == "tunebook/stage.py has changed"


def test_code_that_only_children_run_prevents_reuse_too():
    """The judge, the converter's script and the reader of headers are imported by no stage, and decide its numbers."""
    import tunebook.execution.runner
    import tunebook.export.convert
    import tunebook.inspection.limited
    import tunebook.statistics.headroom  # noqa: F401

    run = {"execution/judge.py", "execution/candidate.py", "execution/confine.py", "execution/forker.py"}
    run |= {"export/converter_script.py", "inspection/folder_checks.py", "statistics/headroom.jsonl"}
    assert run <= set(manifests.code_files())
    for started, inside in manifests.CHILDREN.items():
        assert (manifests.PACKAGE / started).is_file() and list(manifests.PACKAGE.glob(inside))


def test_a_new_name_in_a_rooms_face_prevents_reuse_only_where_its_module_was_used(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "PACKAGE", tmp_path)
    (tmp_path / "rows" / "checks").mkdir(parents=True)
    (tmp_path / "rows" / "read.py").write_text("")
    (tmp_path / "rows" / "checks" / "text.py").write_text("")
    entries = ['        "read_rows": "read",  # as dictionaries', '        "languages": "checks.text",  # of texts']

    def code(*lines):
        face = ["from tunebook.face import face", "names = face(", "    __name__,", "    {", *lines, "    },", ")", ""]
        (tmp_path / "rows" / "__init__.py").write_text("\n".join(face))
        return manifests.code_record(tmp_path, ["rows/__init__.py", "rows/read.py", "rows/checks/text.py"])

    before = code(*entries)
    assert code(*entries, '        "write_rows": "write",  # as JSON lines') == before
    assert code(*entries, '        "read_all": "read",  # of a folder') != before
    assert code('        "read_rows": "other",  # elsewhere', entries[1]) != before
    assert code(entries[0], '        "languages": "checks.words",  # of texts') != before


def test_a_verdict_is_not_reused_over_stages_that_ran_again_nor_without_its_own_files(copy):
    folder = copy / "outputs" / "demo"
    edit_manifest(folder / STAGES[0], costs={"seconds": 9})
    assert reason(copy, STAGES[1]) == "" and reason(copy, STAGES[2]) == "01_validate_data was run again"
    (folder / STAGES[0] / "executed.ipynb").unlink()
    assert "executed notebook is missing" in reason(copy, STAGES[0])
    (folder / STAGES[1] / "metrics.json").write_text("{}")
    assert reason(copy, STAGES[1]).startswith("metrics.json: 2 bytes")


def test_a_changed_value_runs_again_what_reads_it_and_keeps_the_rest(copy):
    (copy / "outputs" / "demo" / "report.html").unlink()
    code, shown = run(copy, sets=("rate=1.0e-3",))
    assert code == 0 and [line.split()[-2] for line in shown.splitlines()[:3]] == ["reused", "pass", "pass"]
    assert read(copy, STAGES[1], "metrics.json")["estimate"] == 1e-3
    assert (copy / "outputs" / "demo" / "report.html").is_file()


def test_verify_names_the_flipped_byte_the_missing_file_and_the_unstored(copy, monkeypatch, capsys):
    folder = copy / "outputs" / "demo"
    monkeypatch.setenv("TUNEBOOK_ROOT", str(copy))
    assert main(["verify", "demo"]) == 0 and "all intact" in capsys.readouterr().out
    path = folder / STAGES[0] / "train.jsonl"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    (folder / STAGES[1] / "tables" / "scores.csv").unlink()
    (folder / STAGES[2] / "stranger.txt").write_text("x")
    (folder / "report.json").write_text("{}")
    assert main(["verify", str(folder)]) == 4
    shown = capsys.readouterr().out
    assert "different: 01_validate_data/train.jsonl: sha256 differs" in shown
    assert "different: 04_evaluate_pass_at_1@base/tables/scores.csv: missing" in shown
    assert "different: report.json: sha256 differs" in shown and "stranger.txt: not in the record" in shown
    assert "3 differ" in shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run.update(states={}), "is not both in its study and in its states"),
        (lambda run: run.update(verdict="NO-GO"), "its verdict is 'NO-GO'"),
        (lambda run: run["states"][STAGES[2]].update(state="pending"), "says pending of 06_verdict"),
        (lambda run: run["states"][STAGES[2]].update(state="fail"), "its state is 'fail'"),
    ],
)
def test_verify_finds_a_forged_record_of_the_run(copy, change, said):
    """Somebody who edits run.json changes what `status` prints; the stages' own manifests know better."""
    path = copy / "outputs" / "demo" / "run.json"
    run = json.loads(path.read_text())
    change(run)
    path.write_text(json.dumps(run))
    assert any(said in problem for problem in verify_run(path.parent).problems)


def test_a_single_stage_anew_leaves_the_verdict_of_the_run_until_06_begins(copy):
    folder = copy / "outputs" / "demo"
    shown = {key: record.load_record(folder)[key] for key in ("verdict", "reasons")}
    record.update(folder, answer="KEEP")
    assert run(copy, only="01")[0] == 0
    kept = record.load_record(folder)
    assert {key: kept[key] for key in shown} == shown and kept["answer"] == "KEEP"
    assert verify_run(folder).problems == []
    record.set_state(folder, STAGES[2], "running")
    assert not {"verdict", "reasons", "answer"} & record.load_record(folder).keys()


def test_the_hash_of_the_frozen_specification_is_kept_as_long_as_its_stage_is(tmp_path):
    states = {"00_should_we_fine_tune": "pass", "01_validate_data": "interrupted"}
    hashes = dict.fromkeys(("content_hash", "manifest_sha256", "executed_sha256"), "")
    study = params.Study("demo", tmp_path, {}, list(states), {})
    record.start(tmp_path, tmp_path, study)
    record.update(
        tmp_path, states={name: hashes | {"state": state} for name, state in states.items()}, frozen_sha256="f"
    )
    assert record.start(tmp_path, tmp_path, study)["frozen_sha256"] == "f"
    record.set_state(tmp_path, "00_should_we_fine_tune", "running")
    assert "frozen_sha256" not in record.start(tmp_path, tmp_path, study)


@pytest.mark.parametrize(
    "broken", [{"states": 5}, {"study": {}}, {"reports": [1]}, {"states": {"01_validate_data": {}}}]
)
def test_a_damaged_record_is_one_sentence(copy, broken, capsys, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_ROOT", str(copy))
    path = copy / "outputs" / "demo" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | broken))
    for command in ("verify", "status"):
        assert main([command, "demo"]) == 2 and "is damaged" in capsys.readouterr().err


def test_verify_lists_files_that_are_recorded_but_not_kept(copy):
    folder = copy / "outputs" / "demo" / STAGES[0]
    files = [entry | {"stored": entry["path"] != "train.jsonl"} for entry in manifests.read_manifest(folder)["files"]]
    edit_manifest(folder, files=files)
    (folder / "train.jsonl").unlink()
    found = verify_run(copy / "outputs" / "demo")
    assert [name.split()[0] for name in found.unstored] == ["01_validate_data/train.jsonl"]
    assert found.problems == ["01_validate_data/manifest.json: sha256 differs"], (
        "the record itself was changed after the run"
    )


def test_verify_finds_an_edited_manifest_and_a_foreign_upstream(copy):
    path = copy / "outputs" / "demo" / STAGES[1] / "manifest.json"
    path.write_text(path.read_text().replace('"rate": 0.0002', '"rate": 0.0003'))
    assert any("it was edited" in problem for problem in verify_run(copy / "outputs" / "demo").problems)
    with pytest.raises(IntegrityProblem, match="it was edited"):
        manifests.read_verified(path.parent, "evaluate_pass_at_1")
    edit_manifest(copy / "outputs" / "demo" / STAGES[0], params={"rows": 8})
    assert any("it read another 01" in problem for problem in verify_run(copy / "outputs" / "demo").problems)


@pytest.mark.parametrize("name", ["../x", "a/b", "/no/such/run", "..", "", ".hidden", "a b"])
def test_a_run_name_with_a_path_in_it_is_refused(tmp_path, name):
    with pytest.raises(InputProblem):
        runs.run_folder_to_write(name, tmp_path)
    with pytest.raises(InputProblem):
        runs.run_folder_to_read(name, tmp_path)


def test_a_folder_of_somebody_else_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    for text in ("thesis", str(tmp_path / "thesis")):
        with pytest.raises(InputProblem, match=r"no run|no run.json"):
            runs.run_folder_to_write(text, tmp_path)


def test_a_stage_does_not_start_on_a_full_disk(copy, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**6))
    with pytest.raises(MachineProblem, match="GiB needed"):
        run(copy, run="new")
    assert not (copy / "outputs" / "new" / STAGES[0]).exists()


def test_reproduce_runs_the_recorded_commit_again_with_equal_content_hashes(finished, monkeypatch, capfd):
    root, shown = finished
    monkeypatch.setenv("TUNEBOOK_ROOT", str(root))
    monkeypatch.setenv("PYTHONPATH", f"{LIB}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert main(["reproduce", "demo"]) == 0
    again = capfd.readouterr().out
    assert "reproduced: no stage diverges" in again
    hashes = [line.split()[-1] for line in shown.splitlines()[:3]]
    assert [line.split()[-1] for line in again.splitlines()[:3]] == hashes, "two fresh runs have equal content hashes"
    assert provenance.git(root, "worktree", "list").count("\n") == 0


def test_reproduce_refuses_a_record_of_uncommitted_code(copy, monkeypatch, capsys):
    monkeypatch.setenv("TUNEBOOK_ROOT", str(copy))
    path = copy / "outputs" / "demo" / "run.json"
    path.write_text(path.read_text().replace('"dirty": false', '"dirty": true'))
    assert main(["reproduce", "demo"]) == 2
    assert "not committed" in capsys.readouterr().err


def test_the_first_divergence_is_named_and_other_hardware_is_judged_by_intervals(finished):
    recorded = read(finished[0], STAGES[1])
    other = json.loads(json.dumps(recorded))
    assert first_divergence(recorded, other, is_same_hardware=True) == ""
    other["metrics"]["estimate"] = 0.9
    other["files"][0]["sha256"] = "0" * 64
    assert first_divergence(recorded, other, is_same_hardware=False) == ""
    assert first_divergence(recorded, other, is_same_hardware=True).startswith("metrics.json (data)")
    other["metrics"]["estimate"] = 1.2
    assert "outside the recorded 95% interval" in first_divergence(recorded, other, is_same_hardware=False)
    other["params"]["rate"] = 1.0
    assert first_divergence(recorded, other, is_same_hardware=False) == "params: rate: recorded 0.0002, now 1.0"


def test_a_recorded_comparison_is_judged_by_its_difference():
    """It has an interval and n, and neither k nor pass_at_1: the differences are compared, in points."""
    common = {"stage": "06_verdict", "kind": "verdict", "params": {}, "notebook": {"sha256": "x"}, "status": "pass"}
    gain = {"difference": 89.75, "interval": [86.4, 92.4], "n": 400, "k_a": 0, "k_b": 359}
    recorded = common | {"metrics": {"gains": [gain]}}
    for difference, words in ((90.5, ""), (80.0, "metrics.gains.0: 80.0000 now")):
        repeated = common | {"metrics": {"gains": [{**gain, "difference": difference}]}}
        assert first_divergence(recorded, repeated, is_same_hardware=False).startswith(words)
        assert bool(words) == bool(first_divergence(recorded, repeated, is_same_hardware=False))


TROUBLES = {
    "exits_early": {"data": [DATA[0], "raise SystemExit(0)", *DATA[1:]]},
    "killed_kernel": {"data": [DATA[0], "import os\nos.kill(os.getpid(), 9)", *DATA[1:]]},
    "cell_timeout": {"data": [DATA[0], "import time\ntime.sleep(60)", *DATA[1:]]},
    "failed_gate": {"data": [part.replace("rows >= 1", "rows >= 99") for part in DATA]},
    "fails_after_record": {"data": [*DATA, "1 / 0"]},
}


@pytest.fixture(scope="module")
def troubles(tmp_path_factory):
    """Each broken study run once, two at a time: name -> (root, exit code or problem, printed lines)."""

    def attempt(name):
        root = make_root(tmp_path_factory.mktemp(name) / "checkout", **TROUBLES[name])
        try:
            return root, *run(root, sets=("cell_timeout_seconds=1",) if name == "cell_timeout" else ())
        except MachineProblem as problem:
            return root, problem, ""

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(TROUBLES, pool.map(attempt, TROUBLES), strict=True))


def states(root):
    return {
        name: entry["state"]
        for name, entry in json.loads((root / "outputs" / "demo" / "run.json").read_text())["states"].items()
    }


def test_a_notebook_that_exits_early_has_not_succeeded(troubles):
    root, code, shown = troubles["exits_early"]
    assert code == 1 and "01_validate_data: the notebook" in shown and "INCONCLUSIVE" not in shown.splitlines()[0]
    assert list(states(root).values()) == ["error", "skipped", "pass"], "the verdict stage always runs"
    assert not (root / "outputs" / "demo" / STAGES[0] / "manifest.json").exists()


@pytest.mark.parametrize(
    ("trouble", "said"), [("killed_kernel", "kernel died"), ("cell_timeout", "cell_timeout_seconds")]
)
def test_a_dead_kernel_or_a_cell_timeout_ends_the_run_as_a_machine_problem(troubles, trouble, said):
    root, problem, _ = troubles[trouble]
    assert isinstance(problem, MachineProblem) and said in str(problem)
    assert states(root)[STAGES[0]] == "error" and states(root)[STAGES[2]] == "pending"
    assert not (root / "outputs" / "demo" / STAGES[0] / "manifest.json").exists()


def test_a_failed_gate_skips_what_follows_but_not_the_verdict(troubles):
    root, code, shown = troubles["failed_gate"]
    assert code == 1 and list(states(root).values()) == ["fail", "skipped", "pass"]
    assert read(root, STAGES[0])["status"] == "fail" and read(root, STAGES[2])["metrics"]["seen"] == [STAGES[0]]
    assert "verdict: INCONCLUSIVE" in shown and "  failed: n_rows is 7, rule at least 1\n" in shown
    assert run(root, is_complete_enough=True)[0] == 0, "a study whose gate failed has still completed"


def test_a_stage_that_fails_after_its_manifest_is_not_finished(troubles):
    root, code, shown = troubles["fails_after_record"]
    assert code == 1 and "ZeroDivisionError" in shown and states(root)[STAGES[0]] == "error"
    assert not (root / "outputs" / "demo" / STAGES[0] / "manifest.json").exists()


SLOW = "import time\nfrom pathlib import Path\nwhile (context.root / 'slow').exists():\n    time.sleep(0.1)"


def test_a_stopped_and_a_killed_runner_leave_no_kernel_and_nothing_that_looks_finished(tmp_path):
    root = make_root(tmp_path / "checkout", score=[*SCORE[:2], SLOW, SCORE[2]])
    (root / "slow").touch()
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        runner, kernels = start_and_wait_for_kernel(root)
        with pytest.raises(MachineProblem, match=str(runner.pid)):
            run(root)
        runner.send_signal(number)
        assert runner.wait(30) == code
        assert psutil.wait_procs(kernels, timeout=10)[1] == [], "the kernel outlived its runner"
        folder = root / "outputs" / "demo" / STAGES[1]
        assert not (folder / "manifest.json").exists() and not (folder / "executed.ipynb").exists()
        assert (folder / ".executed.partial.ipynb").exists(), "papermill's half-written output has no name that counts"
    (root / "slow").unlink()
    (folder / "leftover.txt").write_text("half")
    code, shown = run(root)
    assert code == 0 and [line.split()[-2] for line in shown.splitlines()[:3]] == ["reused", "pass", "pass"]
    assert not (folder / "leftover.txt").exists()


def start_and_wait_for_kernel(root):
    environment = {**os.environ, "PYTHONPATH": f"{LIB}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-m", "tunebook", "run", str(root / "params" / "demo.yaml")]
    runner = subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    progress = root / "outputs" / "demo" / STAGES[1] / "progress.json"
    progress.unlink(missing_ok=True)
    deadline = time.monotonic() + 120
    while not progress.exists():
        assert runner.poll() is None and time.monotonic() < deadline, "the slow stage did not begin"
        time.sleep(0.05)
    members = psutil.Process(runner.pid).children(recursive=True)
    assert len(members) == 3, "the process that is forked, papermill's and the kernel"
    return runner, members


def test_the_parameters_cell_is_all_that_a_source_hash_leaves_out(tmp_path):
    root = make_root(tmp_path / "checkout")
    path = root / "notebooks" / "06_verdict.ipynb"
    before = notebooks.source_hash(path)
    path.write_text(path.read_text().replace("the rule says so", "the rule says no"))
    assert notebooks.source_hash(path) != before


RESUMING = [
    (
        'import os\nfrom tunebook import stage\ncontext = stage.begin("04_evaluate_pass_at_1",'
        ' globals())\ncontext.need("01")'
    ),
    (
        'made = context.resume_folder / "made"\n'
        "if not made.exists():\n"
        "    made.parent.mkdir(parents=True)\n"
        '    made.write_text("half")\n'
        '    if os.environ.get("KILL_HALFWAY"):\n'
        "        os.kill(os.getpid(), 9)"
    ),
    'print(context.finish({"estimate": rate}))',
]


def test_a_killed_stage_finds_what_it_had_made(tmp_path, monkeypatch):
    """Hours of generation must survive a dead kernel; the record must not tell that there was one."""
    root = make_root(tmp_path / "root", score=RESUMING)
    monkeypatch.setenv("KILL_HALFWAY", "1")
    with pytest.raises(MachineProblem, match="kernel died"):
        run(root, run="killed")
    left = root / "outputs" / "killed" / ".resume" / "04_evaluate_pass_at_1@base" / "made"
    assert left.read_text() == "half"
    assert run(root, run="killed")[0] == 0
    assert not left.exists()
    monkeypatch.delenv("KILL_HALFWAY")
    assert run(root, run="unbroken")[0] == 0
    hashes = {
        name: manifests.read_manifest(root / "outputs" / name / "04_evaluate_pass_at_1@base")["content_hash"]
        for name in ("killed", "unbroken")
    }
    assert hashes["killed"] == hashes["unbroken"]
