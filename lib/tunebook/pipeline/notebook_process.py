"""Run notebooks with papermill, each in a process of its own and with a kernel of its own.

`python -m tunebook.pipeline.notebook_process` imports once what takes seconds and then forks for every notebook, on
Linux; elsewhere, and for kernels beside a GPU, each process imports for itself. A job is a folder: job.json is read and
result.json written. Does not decide what a failure means. The executed notebook gets its final name only when it is
complete, since papermill writes its output in place.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import logging
import os
import re
import signal
import sys
import traceback
from pathlib import Path

import psutil

from tunebook.files import replace, write_bytes, write_json, write_text
from tunebook.pipeline.notebooks import read_cells, without_slow_imports

PR_SET_PDEATHSIG = 1  # Source: prctl(2)
MODULE = [sys.executable, "-m", "tunebook.pipeline.notebook_process"]
FORKS = sys.platform == "linux"
GPUS = ("nvidiactl", "nvidia0", "dxg", "kfd")  # in /dev: forked with torch imported, a process may find them unusable
COMPUTES = re.compile(r"^from tunebook import .*\bmodels\b", re.MULTILINE)
# What every notebook of a model imports, by and by: 6 of the 7 s before its first step.
SLOW = ("torch", "transformers.modeling_utils", "transformers.models.auto", "transformers.trainer", "peft", "datasets")


def die_with_parent(parent_pid: int) -> None:
    """Ask for SIGKILL when the parent dies; leave at once where `parent_pid` is already gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all below it: the kernel, and whatever the kernel started."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        members = [*process.children(recursive=True), process]
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        psutil.wait_procs(members, timeout=10)


def serve() -> None:
    """Every line of standard input is a job {folder, log, environment}; the answers are a line with the process id of
    its fork and, when that has ended, one with its exit status.
    """
    die_with_parent(os.getppid())
    for line in sys.stdin:
        job = json.loads(line)
        if FORKS:
            _import_for(job["folder"])
        parent, child = os.getpid(), os.fork()
        if not child:
            _be(_work, job, parent)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _import_for(folder: str) -> None:
    """What the job's processes, and those of all later jobs, inherit."""
    with without_slow_imports():
        for name in ("papermill", "nbclient", "ipykernel.kernelapp"):
            importlib.import_module(name)
    notebook = json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))["notebook"]
    has_gpu = any(os.path.exists(f"/dev/{name}") for name in GPUS)
    if not has_gpu and COMPUTES.search("\n".join("".join(cell["source"]) for cell in read_cells(Path(notebook)))):
        for name in SLOW:
            with contextlib.suppress(Exception):  # a broken package is named by the cell that needs it
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else every fork copies what the collector touches


def _be(work, *arguments) -> None:
    """Do the work of a fork, which ends with it."""
    status = 1
    try:
        os.setsid()
        work(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(job: dict, parent_pid: int) -> None:
    """Run a job with its own log and environment."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(job["environment"])
    if not FORKS:
        os.execv(sys.executable, [*MODULE, job["folder"], str(parent_pid)])
    main(Path(job["folder"]), parent_pid)


def main(folder: Path, parent_pid: int) -> None:
    """Run the job; every outcome, this process's own defects included, is a result."""
    die_with_parent(parent_pid)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with without_slow_imports():
        import papermill  # noqa: F401 (imported here once, so that `_run` gets it without the slow part)
    result = _run(job, {"kernel_manager_class": _forked_kernels()} if FORKS else {})
    _keep_notebook(job)
    if result["outcome"] == "ok" and job["report"] and not Path(job["report"]).exists():  # 06 writes its own page
        write_text(job["report"], _render(Path(job["final"])))
    write_json(folder / "result.json", result)


def _forked_kernels():
    """A kernel manager whose kernel is a fork of this process, made here, before papermill starts any thread: it
    waits for the manager to say with which command it would have been started.
    """
    from jupyter_client import AsyncKernelManager

    told, tell = os.pipe()
    parent, child = os.getpid(), os.fork()
    if not child:
        os.close(tell)
        _be(_become_kernel, told, parent)
    os.close(told)

    class Kernel(psutil.Process):
        stdin = stdout = stderr = None

        def poll(self) -> int | None:
            with contextlib.suppress(psutil.TimeoutExpired):
                return self.wait(0)

    class Manager(AsyncKernelManager):
        async def _async_launch_kernel(self, kernel_cmd, **kw):
            with open(tell, "w", encoding="utf-8") as stream:
                json.dump({"argv": kernel_cmd, "cwd": os.getcwd(), "environment": kw["env"]}, stream)
            self.provisioner.process, self.provisioner.pid, self.provisioner.pgid = Kernel(child), child, child
            self._reconcile_connection_info(self.provisioner.connection_info)

    return Manager


def _become_kernel(told: int, parent_pid: int) -> None:
    """Be the kernel of the process `parent_pid`, or end where it ends before it asks for one."""
    die_with_parent(parent_pid)
    with open(told, encoding="utf-8") as stream:
        text = stream.read()
    if text:
        start = json.loads(text)
        os.chdir(start["cwd"])
        os.environ.clear()
        os.environ.update(start["environment"] | {"JPY_PARENT_PID": str(parent_pid)})
        sys.argv = start["argv"][2:]
        if not sys.flags.safe_path:
            sys.path[0] = start["cwd"]  # as `python -m` does
        run_kernel()


def _run(job: dict, settings: dict) -> dict:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    try:
        executed = execute_notebook(
            job["notebook"],
            job["partial"],
            parameters=job["params"],
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            cwd=job["cwd"],
            execution_timeout=job["timeout_seconds"] or None,
            **settings,
        )
    except PapermillExecutionError as problem:
        return {"outcome": "exception", "name": problem.ename, "message": problem.evalue, "cell": problem.source[:200]}
    except DeadKernelError as problem:
        return {"outcome": "dead", "name": "DeadKernelError", "message": str(problem)}
    except CellTimeoutError:
        return {"outcome": "timeout", "name": "CellTimeoutError", "message": f"{job['timeout_seconds']} s"}
    except OSError as problem:
        outcome = "disk" if problem.errno in (errno.ENOSPC, errno.EDQUOT) else "broken"
        return {"outcome": outcome, "name": type(problem).__name__, "message": str(problem)}
    except RuntimeError as problem:  # "Kernel died before replying to kernel_info"
        return {"outcome": "dead", "name": "RuntimeError", "message": str(problem)}
    return _left_early(executed) or {"outcome": "ok"}


def _left_early(executed) -> dict | None:
    """papermill takes `SystemExit(0)` for success; here it is an exception like any other."""
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return {
                    "outcome": "exception",
                    "name": output.ename,
                    "message": output.evalue,
                    "cell": cell.source[:200],
                }
    return None


def _keep_notebook(job: dict) -> None:
    """Give the executed notebook its final name, without paths of this machine in its metadata."""
    partial = Path(job["partial"])
    if not partial.is_file():
        return
    try:
        content = json.loads(partial.read_text(encoding="utf-8"))
    except ValueError:  # papermill was stopped while it wrote
        return
    details = content.get("metadata", {}).get("papermill", {})
    for key in ("input_path", "output_path"):
        if key in details:
            details[key] = Path(details[key]).name
    write_bytes(partial, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
    replace(partial, job["final"])


def _render(notebook: Path) -> str:
    """The executed notebook as one HTML page without code and without script: it opens anywhere, offline, and stays
    the same.
    """
    with without_slow_imports():
        from nbconvert import HTMLExporter
    exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    page = exporter.from_filename(str(notebook))[0]
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL | re.IGNORECASE)


def run_kernel() -> None:
    """Be the kernel that the runner starts: ipykernel of this very Python, ended together with the runner. Not used
    by JupyterLab.
    """
    from ipykernel.kernelapp import IPKernelApp

    parent_pid = int(os.environ["JPY_PARENT_PID"])
    die_with_parent(parent_pid)
    # The parent, else as it was when ipykernel was imported; and no warning about loopback in the log.
    IPKernelApp.launch_instance(parent_handle=parent_pid, log_level=logging.ERROR)


if __name__ == "__main__":
    if not sys.argv[1:]:
        serve()
    elif sys.argv[1] == "-f":
        run_kernel()
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
