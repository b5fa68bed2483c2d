"""The ledger keeps every run, however it ended, and survives what happens to files that many processes write."""

import json
import multiprocessing
from pathlib import Path

import pytest

from mini_study import DATA, make_root, run
from tunebook.cli import main
from tunebook.errors import InputProblem, MachineProblem
from tunebook.pipeline import ledger


def append_many(folder: str, number: int) -> None:
    for at in range(25):
        ledger.append(Path(folder), {"run": f"r{number}-{at}", "filler": "x" * 5000, "opened": []})


def test_concurrent_runs_never_mix_their_lines(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(append_many, [(str(tmp_path), number) for number in range(4)])
    entries, torn = ledger.read_ledger(tmp_path)
    assert torn == 0 and len({entry["run"] for entry in entries}) == 100


@pytest.mark.parametrize("tail", [b'{"schema": "tunebook-led', b"\xff\xfe\x00", b"[1, 2]", b"[" * 100_000,
b'{"schema": "tunebook-ledger/1", "run": "no time"}',
             b'{"schema": "tunebook-ledger/1", "at": "x", "opened": [{"sha256": [1], "benchmark": "b"}]}'])  # fmt: skip
def test_a_torn_line_costs_only_itself(tmp_path, tail):
    ledger.append(tmp_path, {"run": "before"})
    with open(tmp_path / ledger.LOCAL, "ab") as stream:
        stream.write(tail)
    ledger.append(tmp_path, {"run": "after"})
    entries, torn = ledger.read_ledger(tmp_path)
    assert [entry["run"] for entry in entries] == ["before", "after"] and torn == 1


def test_a_folder_in_the_place_of_the_ledger_is_no_empty_ledger(tmp_path, monkeypatch, capsys):
    root = make_root(tmp_path / "checkout")
    monkeypatch.setenv("TUNEBOOK_ROOT", str(root))
    assert main(["ledger"]) == 0 and "no run is in the ledger yet" in capsys.readouterr().out
    (root / "outputs" / ledger.LOCAL).mkdir(parents=True)
    for arguments in (["ledger"], ["ledger", "--json"]):
        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and "ledger.local.jsonl is a folder" in shown.err
    with pytest.raises(InputProblem, match="is a folder"):
        ledger.append(root / "outputs", {"run": "r"})


def test_a_split_counts_once_a_run(tmp_path):
    opened = [
        {"stage": "04@base", "benchmark": "task", "sha256": "a" * 64},
        {"stage": "04@sft", "benchmark": "task", "sha256": "a" * 64},
    ]
    for _ in range(3):
        ledger.append(tmp_path, {"run": "r", "study": "s", "opened": opened})
    assert ledger.times_opened(ledger.read_ledger(tmp_path)[0])["a" * 64] == 3


def test_every_run_leaves_a_line_failed_and_broken_ones_too(tmp_path, monkeypatch, capsys):
    root = make_root(tmp_path / "checkout")
    run(root)
    run(root)
    with pytest.raises(MachineProblem):
        run(make_root(tmp_path / "broken", data=[*DATA[:1], "import os\nos.kill(os.getpid(), 9)"]))
    entries = ledger.read_ledger(root / "outputs")[0]
    assert [(entry["ended"], entry["verdict"], len(entry["ran"])) for entry in entries] == [
        ("complete", "GO", 3),
        ("complete", "", 0),
    ]
    dead = ledger.read_ledger(tmp_path / "broken" / "outputs")[0]
    assert [entry["ended"] for entry in dead] == ["MachineProblem"]
    assert str(tmp_path) not in json.dumps(entries + dead), "a recorded line must not hold a path of this machine"
    monkeypatch.setenv("TUNEBOOK_ROOT", str(root))
    assert main(["ledger", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in shown["runs"]] == ["demo", "demo"] and shown["unreadable_lines"] == 0


def test_a_killed_run_is_noted_by_the_next_one(tmp_path):
    root = make_root(tmp_path / "checkout")
    run(root)
    path = root / "outputs" / "demo" / "run.json"
    record = json.loads(path.read_text())
    record["states"]["04_evaluate_pass_at_1@base"] = {"state": "running"}
    path.write_text(json.dumps(record))
    run(root)
    assert [entry["ended"] for entry in ledger.read_ledger(root / "outputs")[0]] == ["complete", "killed", "complete"]
