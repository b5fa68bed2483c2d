"""One process is forked for every notebook; what a kernel finds is what it would find alone, and nothing of an earlier
state.
"""

import io
import json
import os
import signal

import psutil
import pytest

from mini_study import make_root
from tunebook.errors import MachineProblem
from tunebook.pipeline import executor
from tunebook.pipeline.progress import Display
from tunebook.pipeline.study import Request, run_study

ASKS = [
    'from tunebook import stage\ncontext = stage.begin("01_validate_data", globals())',
    "import os, sys, psutil\n"
    "found = {'path': sys.path[0], 'cwd': os.getcwd(), 'stage': os.environ['TUNEBOOK_STAGE'],\n"
    "    'setting': os.environ.get('A_SETTING', ''), 'above': psutil.Process().parents()[1].pid}",
    'context.save("train.jsonl", [found])\nprint(context.finish({"n_rows": 1}))',
]


def ask(root, name: str) -> dict:
    run_study(
        root,
        Request(params=str(root / "params" / "demo.yaml"), run=name, sets=('stages=["01"]',)),
        Display(io.StringIO()),
    )
    return json.loads((root / "outputs" / name / "01_validate_data" / "train.jsonl").read_text())


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_OUTPUTS", str(tmp_path / "outputs"))
    return make_root(tmp_path, data=ASKS)


def test_a_kernel_stands_where_its_notebook_does_and_sees_the_environment_of_its_own_run(root, monkeypatch):
    first, again = ask(root, "first"), ask(root, "again")
    assert first["path"] == first["cwd"] == str(root / "notebooks") and first["stage"] == "01_validate_data"
    assert first["above"] == again["above"] and first["setting"] == again["setting"] == ""
    monkeypatch.setenv("A_SETTING", "other")  # a library may have read it when it was imported
    other = ask(root, "other")
    assert other["setting"] == "other" and other["above"] != first["above"]
    assert not psutil.pid_exists(first["above"])


def test_a_changed_library_is_imported_anew(tmp_path, monkeypatch):
    (tmp_path / "room.py").write_text("")
    monkeypatch.setattr(executor, "PACKAGE", tmp_path)
    log = tmp_path / "log"
    first = executor._forks(log)
    assert executor._forks(log) is first
    os.utime(tmp_path / "room.py", (1, 1))
    assert executor._forks(log) is not first


def test_where_the_forked_process_is_killed_the_next_run_has_another(root, monkeypatch):
    first = ask(root, "first")
    begin = executor.Forks.begin

    def kill(forks, *job):
        os.kill(first["above"], signal.SIGKILL)
        return begin(forks, *job)

    monkeypatch.setattr(executor.Forks, "begin", kill)
    with pytest.raises(MachineProblem, match="exit status -9"):
        ask(root, "killed")
    monkeypatch.undo()
    monkeypatch.setenv("TUNEBOOK_OUTPUTS", str(root / "outputs"))
    assert ask(root, "after")["above"] != first["above"]
