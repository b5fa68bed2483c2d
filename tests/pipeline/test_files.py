"""Small parts that everything stands on: atomic files, names of stages, the display, the exit codes of the command."""

import io
import os

import pytest

from mini_study import make_root
from tunebook import cli, files
from tunebook.errors import InputProblem, MachineProblem
from tunebook.findings import Finding
from tunebook.pipeline import stages
from tunebook.pipeline.progress import Display
from tunebook.setup.wheels import cache_dir

KNOWN = {
    "00": "00_should_we_fine_tune",
    "01": "01_validate_data",
    "02": "02_train_sft",
    "03": "03_train_dpo",
    "04": "04_evaluate_pass_at_1",
    "05": "05_export_gguf",
    "06": "06_verdict",
    "07": "07_train_grpo",
}


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "metrics.json"
    files.write_json(path, {"a": 1})

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(MachineProblem, match="metrics.json cannot be written .No space left"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1} and [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_json_without_a_value_for_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n\n{"a" 2}\n', "line 3, column 6"),
        (b'{"a": 1}\n[1]\n', "line 2: expected one JSON object a line, found list"),
        (b'{"a": "\xff"}\n', "not UTF-8"),
        (b"[" * 100_000 + b"\n", "line 1"),
    ],
)
def test_a_broken_jsonl_names_its_line(tmp_path, content, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputProblem, match="rows.jsonl") as problem:
        files.read_jsonl(path)
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": ' + "1" * 5000 + "}", "4300 digits"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_json_cannot_write_again_is_bad_input(tmp_path, line, said):
    """Each of these passes json.loads or breaks it with another error than it promises."""
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(InputProblem, match=said) as problem:
        files.read_jsonl(tmp_path / "rows.jsonl")
    assert "line 2" in str(problem.value)


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [{"text": "line\u2028separator, \x85 and \r\n", "n": 1}, {"z": None, "a": 0.1}]
    files.write_jsonl(tmp_path / "rows.jsonl", rows)
    assert files.read_jsonl(tmp_path / "rows.jsonl") == rows
    with pytest.raises(InputProblem, match="none.jsonl cannot be read"):
        files.read_jsonl(tmp_path / "none.jsonl")


def test_the_cache_goes_where_the_person_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("TUNEBOOK_CACHE", raising=False)
    assert cache_dir() == tmp_path / "xdg" / "tunebook"
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_stages_read_what_the_table_says():
    short = ["00", "01", "04@base", "02", "04@sft", "03", "04@dpo", "05", "04@gguf", "07", "06"]
    run = [stages.resolve_stage(name, KNOWN) for name in short]
    stages.check_order(run)
    reads = {
        stages.short_name(name): [stages.short_name(other) for other in stages.upstream(name, run)] for name in run
    }
    assert reads["01"] == [] and reads["04@dpo"] == ["01", "03"] and reads["05"] == ["01", "02", "03"]
    assert reads["07"] == [] and reads["06"] == short[:-1]
    without_dpo = [name for name in run if name[:2] != "03" and not name.endswith("@dpo")]
    assert [stages.short_name(name) for name in stages.upstream("05_export_gguf", without_dpo)] == ["01", "02"]
    assert stages.kind("04_evaluate_pass_at_1@sft") == "evaluate_pass_at_1"


@pytest.mark.parametrize("name", ["08", "04_evaluate_pass_at_2", "train", "4@sft", "04@SFT", ""])
def test_an_unknown_stage_is_refused(name):
    with pytest.raises(InputProblem, match="no stage"):
        stages.resolve_stage(name, KNOWN)


def test_a_finding_survives_json_and_keeps_the_first_hundred_rows():
    finding = Finding("duplicates", "warn", 250, "rows are equal", "remove them", rows=list(range(250)))
    assert len(finding.rows) == 100 and "lines" not in finding.to_dict()
    assert Finding.from_dict(finding.to_dict()) == finding


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_live_line_shows_step_and_time_left_only_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for stream in (Terminal(), io.StringIO()):
        display = Display(stream)
        display.start_stage(4, 11, "02_train_sft")
        display.tick({"done": 100, "total": 200, "seconds": 60.0, "note": ""})
        display.tick({"done": 120, "total": 200, "seconds": 80.0, "note": ""})
        display.end_stage("02_train_sft", 312.4, "pass", "3fa9c1d2ffff")
        last = stream.getvalue().splitlines()[-1].removeprefix("\x1b[K" if stream.isatty() else "")
        assert last.split() == ["02_train_sft", "312.4", "s", "pass", "3fa9c1d2"]
        assert ("stage 4/11 02_train_sft  step 120/200  1:20 left" in stream.getvalue()) == stream.isatty()
        assert "\x1b[1m" not in stream.getvalue()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "dmo"], 2, "did you mean 'demo'"),
        (["run", "demo", "--set", "rws=1"], 2, "did you mean 'rows'"),
        (["run", "demo", "--run", "../up"], 2, "plain name"),
        (["run", "demo", "--only", "09"], 2, "no stage '09'"),
        (["run", "demo", "--only", "06", "--from", "01"], 2, "exclude each other"),
        (["run", "demo", "--only", "04@base"], 2, "has not finished: run without --only"),
        (["verify", "nothing"], 2, "no run 'nothing'"),
        (["status", "nothing"], 2, "no run 'nothing'"),
        (["reproduce", "nothing"], 2, "no run 'nothing'"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.setenv("TUNEBOOK_ROOT", str(make_root(tmp_path / "checkout")))
    assert cli.main(arguments) == code
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert not list((tmp_path / "checkout").glob("outputs/*/0*"))


def test_a_defect_is_one_line_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUNEBOOK_ROOT", str(make_root(tmp_path / "checkout")))
    monkeypatch.setattr("tunebook.pipeline.study.run_study", lambda *_: 1 / 0)
    assert cli.main(["run", "demo"]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err
