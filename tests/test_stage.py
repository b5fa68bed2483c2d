"""What a notebook relies on between `stage.begin` and `context.finish`, under the runner and by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mini_study import DATA, SCORE, SCORE_PARAMETERS, make_root, write_notebook
from tunebook import stage
from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import read_json, sha256_file, write_json, write_jsonl
from tunebook.pipeline import ledger, notebooks, provenance, record, reuse, runs
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline.provenance import EnergyCounters
from tunebook.pipeline.verify import verify_run

SCORE_STAGE = "04_evaluate_pass_at_1@base"
LIB = Path(manifests.__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small checkout; the test stands in its notebooks folder, as a kernel does."""
    made = make_root(tmp_path / "checkout")
    monkeypatch.chdir(made / "notebooks")
    return made


def begin(root, name, **values):
    declared = notebooks.declared(root / "notebooks" / f"{name}.ipynb")
    return stage.begin(name, declared | values)


def make_data(root, rows=3, rule_holds=True):
    context = begin(root, "01_validate_data", rows=rows)
    write_jsonl(context.folder / "train.jsonl", [{"row": row} for row in range(rows)])
    context.check("n_rows", rows, "at least 1", rule_holds)
    return context, context.finish({"n_rows": rows})


def test_a_stage_by_hand_takes_the_values_of_its_notebook_and_lets_the_next_one_in(root):
    context, line = make_data(root)
    assert line == "01_validate_data: pass (1 checks hold)" and context.params == {"rows": 3}
    manifest = manifests.read_verified(root / "outputs" / "by-hand" / "01_validate_data", "validate_data")
    assert (manifest["by"], manifest["params"], manifest["run"]) == ("hand", {"rows": 3}, "by-hand")
    assert manifest["peak_memory_bytes"] > 10**6
    score = begin(root, "04_evaluate_pass_at_1")
    assert score.folder.name == "04_evaluate_pass_at_1@base"
    upstream = score.need("01_validate_data")
    assert upstream.metrics == {"n_rows": 3}, "a stage made by hand is kept with its own values"
    assert upstream.file("train.jsonl").read_text().count("\n") == 3
    upstream = score.need("01")
    (upstream.path / "metrics.json").write_text("{}")
    with pytest.raises(IntegrityProblem, match="metrics.json"):
        upstream.file("metrics.json")
    with pytest.raises(InputProblem, match="left no dev.jsonl: it has metrics.json, train.jsonl"):
        upstream.file("dev.jsonl")
    with pytest.raises(InputProblem, match="upstream table"):
        score.need("06")


def test_a_file_beside_a_working_copy_is_found_and_an_edited_one_noticed(root, capsys, monkeypatch):
    """JupyterLab's kernel stands in work/, and the hashes of files are taken from notebooks/."""
    base = root / "params" / "base.yaml"
    base.write_text(base.read_text() + 'labels: ""\n')
    write_notebook(root, "01_validate_data", 'run: str = "by-hand"\nrows: int = 5\nlabels: str = ""', DATA)
    (root / "work").mkdir()
    monkeypatch.chdir(root / "work")
    Path("mine.jsonl").write_text("{}\n")
    context = begin(root, "01_validate_data", labels="mine.jsonl")
    assert context.params["labels"] == "../work/mine.jsonl"
    context.finish({"n_rows": 5})
    begin(root, "04_evaluate_pass_at_1").finish({})
    assert "changed" not in capsys.readouterr().out
    Path("mine.jsonl").write_text("{} \n")
    begin(root, "04_evaluate_pass_at_1")
    assert "../work/mine.jsonl has changed" in capsys.readouterr().out
    with pytest.raises(InputProblem, match="01_validate_data.ipynb, parameters cell: labels: gone.jsonl: no such file"):
        begin(root, "01_validate_data", labels="gone.jsonl")


def test_a_verdict_by_hand_is_that_of_its_run(root):
    make_data(root)
    begin(root, "04_evaluate_pass_at_1").finish({})
    for verdict in ("GO", "NO-GO"):
        begin(root, "06_verdict").finish({"verdict": verdict, "reasons": ["the rule says so"]})
        recorded = record.load_record(root / "outputs" / "by-hand")
        assert (recorded["verdict"], recorded["reasons"]) == (verdict, ["the rule says so"])
        assert verify_run(root / "outputs" / "by-hand").problems == []


def test_a_missing_upstream_stage_runs_first_with_the_same_parameters(root, capsys):
    context = begin(root, "04_evaluate_pass_at_1")
    assert "01_validate_data runs first, since it has not finished" in capsys.readouterr().out
    assert context.need("01").manifest["by"] == "runner" and context.need("01").metrics == {"n_rows": 5}
    context.finish({})
    begin(root, "04_evaluate_pass_at_1", rate=1.0).finish({})
    assert capsys.readouterr().out == "", "the second time there is nothing to run"


def test_an_upstream_stage_that_passed_is_taken_unless_somebody_asks_for_a_new_one(root, capsys):
    """Trained anew for an evaluation's parameter, a person's own result of ten minutes was gone."""
    write_notebook(root, "04_evaluate_pass_at_1", f"{SCORE_PARAMETERS}\nrows: int = 5", SCORE)
    data, _ = make_data(root, rows=3)
    study = {"name": "mine", "params": {}, "stages": [data.name, SCORE_STAGE]}
    run = read_json(data.run_folder / "run.json")
    write_json(data.run_folder / "run.json", run | {"study": study | {"overrides": {SCORE_STAGE: {"rows": 9}}}})
    context = begin(root, "04_evaluate_pass_at_1", rows=9)
    assert context.need("01").metrics == {"n_rows": 3}, "9 is this stage's own value, not one for its data"
    context.finish({})
    write_json(data.run_folder / "run.json", run | {"study": study | {"overrides": {}}})
    assert begin(root, "04_evaluate_pass_at_1", rows=4).need("01").metrics == {"n_rows": 3}
    assert "01_validate_data is taken as it is, though rows was 3, is 4" in capsys.readouterr().out
    assert begin(root, "04_evaluate_pass_at_1", rows=4, rerun_upstream=True).need("01").metrics == {"n_rows": 4}
    assert read_json(data.run_folder / "run.json")["study"]["name"] == "mine"


def test_a_notebook_can_say_what_the_stages_before_it_are_made_with(root):
    """02 has no n_rows: the first try of it was ten silent minutes on 3,500 rows."""
    context = begin(root, "04_evaluate_pass_at_1", upstream_values={"rows": 2})
    assert context.need("01").metrics == {"n_rows": 2} and "rows" not in context.params
    assert read_json(context.run_folder / "run.json")["study"]["params"]["rows"] == 2
    with pytest.raises(InputProblem, match="upstream_values: unknown key 'rovs'.*rows"):
        begin(root, "04_evaluate_pass_at_1", upstream_values={"rovs": 2})


def test_a_run_has_one_writer_by_hand_too(root):
    context = begin(root, "01_validate_data")
    with pytest.raises(MachineProblem, match=rf"by 01_validate_data \(process {os.getpid()}\)"):
        runs.RunLock(context.run_folder).acquire()
    context = begin(root, "01_validate_data")  # the cell is run again in the same kernel
    context.finish({})
    runs.RunLock(context.run_folder).acquire().release()


def test_the_last_result_stays_until_the_new_one_has_finished_and_is_compared_with_it(root):
    """An interrupted second try used to leave neither the old adapter nor a new one."""
    folder = make_data(root)[0].folder
    before = (folder / "manifest.json").read_bytes()
    broken_off = begin(root, "01_validate_data", rows=9)
    assert sorted(path.name for path in broken_off.folder.iterdir()) == ["params.yaml"]
    (broken_off.folder / "left").touch()
    assert (folder / "manifest.json").read_bytes() == before
    context, line = make_data(root, rows=7)
    assert context.folder == folder and read_json(folder / "metrics.json") == {"n_rows": 7}
    assert line.splitlines()[1] == "compared with the last try: rows 3 -> 7: n_rows 3 -> 7"
    assert not (folder / "left").exists() and not (context.run_folder / ".new").exists()


def test_a_run_by_hand_leaves_the_checkout_as_it_was(root):
    """A changed tracked file makes the next record `dirty` and stops a pull."""
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a"]
    (root / ".gitignore").write_text("outputs/*\n!outputs/ledger.jsonl\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    make_data(root)
    begin(root, "04_evaluate_pass_at_1").finish({"verdict": "GO"})
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert status == "" and ledger.read_ledger(root / "outputs")[0]
    path = root / "notebooks" / "01_validate_data.ipynb"
    notebook = read_json(path)
    notebook["cells"][0]["execution_count"] = 7
    write_json(path, notebook)
    assert provenance.commit(root)["dirty"] is False, "counts and outputs are no other source"
    notebook["cells"][-1]["source"] = "another = 1"
    write_json(path, notebook)
    assert provenance.commit(root)["dirty"] is True


def test_the_record_names_the_working_copy_that_ran(root, monkeypatch):
    """JupyterLab runs a copy: the hash of the untouched source would describe a notebook that nobody ran."""
    copy = root / "work" / "01_validate_data.ipynb"
    notebook = read_json(root / "notebooks" / copy.name)
    notebook["cells"].append({"cell_type": "code", "id": "mine", "metadata": {}, "source": "mine = 1", "outputs": []})
    copy.parent.mkdir()
    write_json(copy, notebook)
    monkeypatch.setenv("JPY_SESSION_NAME", str(copy))
    manifest = read_json(make_data(root)[0].folder / "manifest.json")
    assert manifest["notebook"]["sha256"] == notebooks.source_hash(copy)


def test_an_error_of_the_reader_is_one_line_in_a_notebook():
    """Forty-five red lines of frames hid the sentence with the remedy below the fold."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("from tunebook.errors import InputProblem\nraise InputProblem('rows: no such file')")
    assert shown.stdout.strip() == "InputProblem: rows: no such file"


NOTEBOOK = """
import nbformat, sys
from pathlib import Path
from nbclient import NotebookClient
path = Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
cell = next(cell for cell in notebook.cells if cell["id"] == "parameters")
cell.source = cell.source.replace("rows: int = 5", "rows: int = 7")  # typed in the browser, not saved
extra = [
    "for step in range(3):\\n    context._last_progress = 0\\n    context.progress(step, 3, 'rows')\\n'the last value'",
    "from IPython.display import HTML\\nHTML('<b>after the end</b>')",
    "print('one'); print('two')",
]

at = len(notebook.cells) - 1  # before finish
notebook.cells.insert(at, nbformat.v4.new_code_cell(extra[0]))
notebook.cells += [nbformat.v4.new_code_cell(source) for source in extra[1:]]
NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
"""


def test_a_stage_by_hand_leaves_an_executed_notebook_with_what_its_kernel_showed(root):
    """A closed tab has no outputs to save: what one saw of a run of an hour was gone."""
    source = root / "notebooks" / "01_validate_data.ipynb"
    environment = {**os.environ, "PYTHONPATH": f"{LIB}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-c", NOTEBOOK, str(source)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = root / "outputs" / "by-hand" / "01_validate_data"
    cells = read_json(folder / "executed.ipynb")["cells"]
    text = json.dumps([cell.get("outputs", []) for cell in cells])
    assert "the last value" in text and "done, 0:0" in text and "step 2/3" not in text, "the line ends with its cell"
    assert "<b>after the end</b>" in text and "one\\ntwo\\n" in text, "cells after finish belong to it"
    sources = ["".join(cell["source"]) for cell in cells]
    assert any("rows = 7" in source for source in sources), "the values that were used, not those on disk"
    counts = [cell["execution_count"] for cell in cells if "parameters" not in cell["id"]]
    assert counts == list(range(2, len(counts) + 2)), "run from top to bottom"
    state = read_json(folder.parent / "run.json")["states"]["01_validate_data"]
    assert state["executed_sha256"] == sha256_file(folder / "executed.ipynb")
    assert notebooks.declared(source)["rows"] == 5


def test_progress_by_hand_is_one_line_in_the_cell_and_none_under_the_runner(root, monkeypatch):
    """Twelve minutes of [*] is all that one saw."""
    lines, ends = [], []

    class Handle:
        def update(self, line, raw):
            lines[-1] = line["text/plain"]

    class Events:
        @staticmethod
        def register(name, call):
            ends.append(call)

        @staticmethod
        def unregister(name, call):
            ends.remove(call)

    class Shell:
        execution_count, kernel, events = 1, None, Events

    class Display:
        @staticmethod
        def display(line, raw, display_id):
            lines.append(line["text/plain"])
            return Handle()

    fake = type("IPython", (), {"get_ipython": staticmethod(Shell), "display": Display})
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setattr("tunebook.pipeline.context.PROGRESS_SECONDS", 0)
    context = begin(root, "01_validate_data")
    context.progress(1, 4, "loss 0.5")
    context.progress(2, 4, "loss 0.4")
    assert len(lines) == 1 and lines[0].startswith("step 2/4") and lines[0].endswith("loss 0.4")
    Shell.execution_count = 2
    context.progress(3, 4)
    assert len(lines) == 2, "the next cell has its own line"
    ends[-1](type("Result", (), {"success": False}))
    assert lines[1].startswith("stopped at step 3/4"), "an interrupted cell promises no more time"
    context._line = None
    context.progress(4, 4)
    assert len(lines) == 2


def test_what_a_gpu_made_is_kept_beside_another_processor(root, monkeypatch):
    """Each new virtual machine of Colab has some other CPU: everything would run again."""
    here = provenance.environment(root)
    environment = here | {"device": "cuda", "gpus": ["Tesla T4, 580.82.07, 15360 MiB"], "device_fingerprint": "another"}
    monkeypatch.setattr(provenance, "gpus", lambda: ("Tesla T4, 580.82.07, 15360 MiB",))
    assert reuse._device(environment) == ""
    assert "another processor" in reuse._device(environment | {"device": "cpu"})
    assert "another processor" in reuse._device(environment | {"gpus": ["NVIDIA L4, 580.82.07, 23034 MiB"]})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("error", True), ("warn", True)], "pass"),
        ([("error", True), ("warn", False), ("info", False)], "warn"),
        ([("error", False), ("warn", False)], "fail"),
        ([], "pass"),
    ],
)
def test_the_gate_is_as_bad_as_its_worst_row(root, rows, expected):
    context = begin(root, "01_validate_data")
    for number, (severity, ok) in enumerate(rows):
        context.check(f"rule {number}", 0.5, ">= 0.9", ok, severity)
    line = context.finish({})
    assert context.status == expected and line.startswith(f"01_validate_data: {expected}")
    assert ("rule 0 is 0.5, rule >= 0.9" in line) == (expected == "fail")


def test_a_stage_whose_input_failed_its_gate_says_which_rule(root):
    make_data(root, rule_holds=False)
    with pytest.raises(InputProblem, match=r"01_validate_data failed its gate \(n_rows is"):
        begin(root, "04_evaluate_pass_at_1").need("01")


def test_costs_figures_and_unhashed_files_stay_outside_the_content_hash(root):
    hashes = []
    for seconds in (1, 2):
        context = begin(root, "01_validate_data")
        context.table("speed", [{"seconds": seconds}], hashed=False)
        (context.folder / "figures").mkdir()
        (context.folder / "figures" / "a.png").write_bytes(bytes([seconds]))
        write_json(context.folder / "log" / "trainer.json", {"seconds": seconds})
        context.finish({"n": 1}, costs={"seconds": seconds}, unhashed=("log/*",), unstored=("*.json",))
        hashes.append(manifests.read_manifest(context.folder)["content_hash"])
    assert hashes[0] == hashes[1]
    stored = {entry["path"]: entry["stored"] for entry in manifests.read_manifest(context.folder)["files"]}
    assert stored["figures/a.png"] and not stored["log/trainer.json"]


def test_progress_is_readable_at_any_time_and_gone_at_the_end(root):
    context = begin(root, "01_validate_data")
    for step in range(1, 101):
        context.progress(step, 100, "rows")
    assert json.loads((context.folder / "progress.json").read_text())["done"] == 100
    context.finish({})
    assert not (context.folder / "progress.json").exists()


def test_numbers_that_json_lacks_become_null_and_numpy_becomes_plain(root):
    import numpy

    context = begin(root, "01_validate_data")
    context.check("mean", numpy.float32(0.5), "> 0", numpy.bool_(True))
    context.finish({"scores": numpy.arange(2), "ratio": float("nan"), "path": Path("a/b")})
    manifest = manifests.read_manifest(context.folder)
    assert manifest["metrics"] == {"scores": [0, 1], "ratio": None, "path": "a/b"}
    assert manifest["checks"][0]["ok"] is True and manifest["checks"][0]["measured"] == 0.5


@pytest.mark.parametrize(
    ("values", "said"),
    [({"rows": "5"}, "a whole number"), ({"rows": None}, "write a value"), ({"run": "../x"}, "neither a plain name")],
)
def test_a_wrong_value_in_the_parameters_cell_is_refused(root, values, said):
    with pytest.raises(InputProblem, match=said):
        begin(root, "01_validate_data", **values)
    assert not (root / "outputs").exists()


def test_parameters_that_did_not_arrive_are_noticed(root, monkeypatch):
    folder = root / "outputs" / "demo"
    (folder / "01_validate_data").mkdir(parents=True)
    write_json(folder / "run.json", {"study": {"stages": ["01_validate_data"]}, "states": {}})
    (folder / "01_validate_data" / "params.yaml").write_text(yaml.safe_dump({"run": "demo", "rows": 7}))
    monkeypatch.setenv("TUNEBOOK_RUN_FOLDER", str(folder))
    monkeypatch.setenv("TUNEBOOK_STAGE", "01_validate_data")
    with pytest.raises(InputProblem, match="parameters were lost"):
        begin(root, "01_validate_data")
    with pytest.raises(InputProblem, match="rows is 5 here, the runner sent 7"):
        begin(root, "01_validate_data", run="demo")
    assert begin(root, "01_validate_data", run="demo", rows=7).folder == folder / "01_validate_data"


def test_a_stage_can_be_repeated_with_bare_papermill(root, tmp_path):
    sent = tmp_path / "params.yaml"
    sent.write_text(yaml.safe_dump({"run": "by-hand", "rows": 4}))
    environment = {**os.environ, "PYTHONPATH": f"{LIB}{os.pathsep}{os.environ['PYTHONPATH']}"}
    command = ["notebooks/01_validate_data.ipynb", str(tmp_path / "out.ipynb"), "-f", str(sent), "--no-progress-bar"]
    done = subprocess.run(
        [sys.executable, "-m", "papermill", *command], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert manifests.read_manifest(root / "outputs" / "by-hand" / "01_validate_data")["params"] == {"rows": 4}
    assert len(DATA) + 2 == len(json.loads((tmp_path / "out.ipynb").read_text())["cells"])


def zone(folder, name, label, used, largest=1_000_000):
    (folder / name).mkdir(parents=True)
    for file, value in (("name", label), ("energy_uj", used), ("max_energy_range_uj", largest)):
        (folder / name / file).write_text(f"{value}\n")
    return folder / name / "energy_uj"


def test_energy_is_that_of_the_packages_also_when_a_counter_begins_again(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 0).write_text("5000000\n")
    psys = zone(tmp_path, "intel-rapl:2", "psys", 0)
    counters = EnergyCounters(tmp_path)
    for file, used in ((first, 100_000), (second, 250_000), (psys, 900_000)):
        file.write_text(f"{used}\n")
    counters.sample()
    assert counters.joules == pytest.approx(0.2 + 0.25)
    first.unlink()
    counters.sample()
    assert counters.joules is None, "part of the energy is no figure"


def test_energy_that_nobody_may_read_is_none(tmp_path):
    assert EnergyCounters(tmp_path).joules is None
    zone(tmp_path, "intel-rapl:0", "package-0", "not readable")
    counters = EnergyCounters(tmp_path)
    counters.sample()
    assert counters.joules is None


def test_an_interrupt_says_what_is_left_and_another_keeps_its_traceback(monkeypatch, capsys):
    """Forty frames of the library stood below the cell, and nothing about the last adapter."""
    from IPython.core.interactiveshell import InteractiveShell

    from tunebook.pipeline.byhand import show_interrupts_in_one_line

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "colors", "nocolor")
    try:
        show_interrupts_in_one_line("02_train_sft")
        monkeypatch.setattr("pathlib.Path.read_bytes", interrupt)
        result = shell.run_cell("from pathlib import Path\nfrom tunebook import files\nfiles.read_json(Path('x'))")
        inside = capsys.readouterr().out
        assert isinstance(result.error_in_exec, KeyboardInterrupt)
        shell.run_cell("raise KeyboardInterrupt")
        outside = capsys.readouterr().out
    finally:
        InteractiveShell.clear_instance()
    assert inside.strip().splitlines() == [
        "KeyboardInterrupt: 02_train_sft was stopped: the last finished result stays as it was; run the notebook again"
        " to go on"
    ]
    assert "raise KeyboardInterrupt" in outside and "02_train_sft" not in outside
