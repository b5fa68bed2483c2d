"""The runner's side of one notebook: start the process that runs papermill, watch it, end it. Does not know about
gates or reuse.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tunebook.files import read_json, write_json
from tunebook.pipeline import stages
from tunebook.pipeline.manifest import PACKAGE
from tunebook.pipeline.notebook_process import MODULE, kill_tree

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

# What differs from job to job (and from test to test), and what no import reads.
OF_JOB = ("TUNEBOOK_", "JUPYTER_", "IPYTHONDIR", "PYTEST_CURRENT_TEST")


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
        log = stage_folder / "kernel.log"
        log.write_bytes(b"")
        forks = _forks(log)
        try:
            pid = forks.begin(folder, log, _environment(job, _write_kernelspec(folder)))
            with _passing_on(pid) as stopped:
                while not forks.has_answered(POLL_SECONDS):
                    on_tick(read_progress(stage_folder))
            status = forks.answer()
        except BaseException:
            forks.end()
            raise
        has_result = (folder / "result.json").is_file()
        if stopped and not (has_result and read_json(folder / "result.json")["outcome"] == "exception"):
            # the kernel had nothing to save: what papermill wrote has no name that counts, and the runner ends as told
            with contextlib.suppress(OSError):
                os.replace(stage_folder / "executed.ipynb", stage_folder / ".executed.partial.ipynb")
            signal.raise_signal(signal.SIGTERM)
        if not has_result:
            return {"outcome": "broken", "name": f"exit status {status}", "message": _last_line(log)}
        result = read_json(folder / "result.json")
        if result["outcome"] == "ok":
            log.unlink(missing_ok=True)
        return result


class Forks:
    """The process that is forked for every notebook, see `notebook_process.serve`; its own errors go to `log`."""

    def __init__(self, environment: dict, log: Path) -> None:
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                MODULE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )

    def begin(self, folder: Path, log: Path, environment: dict) -> int:
        """Start the job and return its process id; 0 where this process is gone."""
        job = {"folder": str(folder), "log": str(log), "environment": environment}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
        return int(self._process.stdout.readline() or 0)

    def has_answered(self, seconds: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def answer(self) -> int:
        """The next line; where there is none, the exit status of this process, which is not used again."""
        line = self._process.stdout.readline()
        if line:
            return int(line)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)  # itself, before `kill_tree` takes its exit status
        self.end()
        return self._process.returncode

    def end(self) -> None:
        """SIGKILL it and all below it."""
        kill_tree(self._process.pid)
        self._process.wait()
        _OF_THREAD.forks = None


_OF_THREAD = threading.local()  # a child that asks to die with its parent dies with the thread that started it


def _forks(log: Path) -> Forks:
    """This thread's process, made anew where the environment or a file of the library is another than at its start."""
    environment = {**os.environ, **QUIET, "PYTHONPATH": _python_path()}
    files = [(str(path), path.stat().st_mtime_ns) for path in sorted(PACKAGE.rglob("*.py"))]
    state = {name: value for name, value in environment.items() if not name.startswith(OF_JOB)}, files
    if getattr(_OF_THREAD, "forks", None) is None or _OF_THREAD.state != state:
        end_forks()
        _OF_THREAD.forks, _OF_THREAD.state = Forks(environment, log), state
    return _OF_THREAD.forks


def end_forks() -> None:
    """End this thread's process, whose imports take some hundred MiB; the next job begins another."""
    if getattr(_OF_THREAD, "forks", None):
        _OF_THREAD.forks.end()


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
    }


def _write_kernelspec(folder: Path) -> Path:
    """A `python3` kernel of this Python, found before any that the machine has."""
    kernel = {"argv": [*MODULE, "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    write_json(folder / "kernels" / "python3" / "kernel.json", kernel)
    return folder


def _environment(job: Job, jupyter: Path) -> dict:
    return {
        **os.environ,
        **QUIET,
        "PYTHONPATH": _python_path(),
        "JUPYTER_PATH": str(jupyter),
        "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
        "IPYTHONDIR": str(jupyter / "ipython"),
        "TUNEBOOK_ROOT": str(job.root),
        "TUNEBOOK_OUTPUTS": str(job.outputs),
        "TUNEBOOK_RUN_FOLDER": str(job.run_folder),
        "TUNEBOOK_STAGE": job.instance,
    }


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return str(PACKAGE.parent) + (os.pathsep + inherited if inherited else "")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
