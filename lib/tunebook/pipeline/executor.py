"""The runner's side of one notebook: start the process that runs papermill, watch it, end it. Does not know about
gates or reuse.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tunebook.files import read_json, write_json
from tunebook.pipeline import stages
from tunebook.pipeline.manifest import PACKAGE
from tunebook.pipeline.notebook_process import kill_tree

POLL_SECONDS = 0.2
# Same bytes on every run (hash seed), small executed notebooks (no bars), no warnings from debuggers and forks.
QUIET = {
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm asks for widgets that a recorded notebook cannot show
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "JUPYTER_PLATFORM_DIRS": "1",
}


@dataclass(frozen=True)
class Job:
    """One notebook to run. `params` are what papermill injects; `timeout_seconds` is per cell, 0 for none; `report`
    is where the notebook goes as HTML, "" for nowhere.
    """

    root: Path
    outputs: Path
    run_folder: Path
    instance: str
    params: dict
    timeout_seconds: int = 0
    report: str = ""


def execute(job: Job, on_tick: Callable[[dict], None]) -> dict:
    """Run the notebook and return its result: `outcome` is ok, exception, dead, timeout, disk or broken.

    `on_tick` gets progress.json several times a second. Whatever ends this call, Ctrl-C included, ends the kernel too.
    """
    stage_folder = job.run_folder / job.instance
    with tempfile.TemporaryDirectory(prefix="tunebook-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_json(folder / "job.json", _describe(job, stage_folder))
        environment = _environment(job, _write_kernelspec(folder))
        log = stage_folder / "kernel.log"
        with open(log, "wb") as stream:
            child = subprocess.Popen(
                [sys.executable, "-m", "tunebook.pipeline.notebook_process", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            with _passing_on(child.pid) as stopped:
                while True:
                    try:
                        child.wait(POLL_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        on_tick(read_progress(stage_folder))
        finally:
            if child.returncode is None:
                kill_tree(child.pid)
                child.wait()
        has_result = (folder / "result.json").is_file()
        if stopped and not (has_result and read_json(folder / "result.json")["outcome"] == "exception"):
            # the kernel had nothing to save: what papermill wrote has no name that counts, and the runner ends as told
            with contextlib.suppress(OSError):
                os.replace(stage_folder / "executed.ipynb", stage_folder / ".executed.partial.ipynb")
            signal.raise_signal(signal.SIGTERM)
        if not has_result:
            return {"outcome": "broken", "name": f"exit status {child.returncode}", "message": _last_line(log)}
        result = read_json(folder / "result.json")
        if result["outcome"] == "ok":
            log.unlink(missing_ok=True)
        return result


@contextlib.contextmanager
def _passing_on(pid: int):
    """A SIGTERM (a spot machine that goes, `docker stop`) is passed on to the kernel, which saves a running training
    first. Yields the list of those that came.
    """
    stopped = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def pass_on(number, frame):
        stopped.append(number)
        with contextlib.suppress(psutil.Error):
            for kernel in psutil.Process(pid).children():
                kernel.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def read_progress(stage_folder: Path) -> dict:
    """The last progress of the stage; empty before the first."""
    try:
        return json.loads((stage_folder / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _describe(job: Job, stage_folder: Path) -> dict:
    notebook = stages.split(job.instance)[0]
    return {
        "notebook": str(job.root / "notebooks" / f"{notebook}.ipynb"),
        "cwd": str(job.root / "notebooks"),
        "partial": str(stage_folder / ".executed.partial.ipynb"),
        "final": str(stage_folder / "executed.ipynb"),
        "params": job.params,
        "timeout_seconds": job.timeout_seconds,
        "report": job.report,
        "parent_pid": os.getpid(),
    }


def _write_kernelspec(folder: Path) -> Path:
    """A `python3` kernel of this Python, found before any that the machine has."""
    argv = [sys.executable, "-m", "tunebook.pipeline.notebook_process", "-f", "{connection_file}"]
    write_json(
        folder / "kernels" / "python3" / "kernel.json", {"argv": argv, "display_name": "Python 3", "language": "python"}
    )
    return folder


def _environment(job: Job, jupyter: Path) -> dict:
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **QUIET,
        "PYTHONPATH": str(PACKAGE.parent) + (os.pathsep + inherited if inherited else ""),
        "JUPYTER_PATH": str(jupyter),
        "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
        "IPYTHONDIR": str(jupyter / "ipython"),
        "TUNEBOOK_ROOT": str(job.root),
        "TUNEBOOK_OUTPUTS": str(job.outputs),
        "TUNEBOOK_RUN_FOLDER": str(job.run_folder),
        "TUNEBOOK_STAGE": job.instance,
    }


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
