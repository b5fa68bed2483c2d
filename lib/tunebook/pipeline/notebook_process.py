"""Run one notebook with papermill, in a process of its own: `python -m tunebook.pipeline.notebook_process JOB_FOLDER`.

Reads job.json there and writes result.json. Does not decide what a failure means. The executed notebook gets its final
name only when it is complete, since papermill writes its output in place.
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import signal
import sys
from pathlib import Path

import psutil

from tunebook.files import replace, write_bytes, write_json, write_text
from tunebook.pipeline.notebooks import without_slow_imports

PR_SET_PDEATHSIG = 1  # Source: prctl(2)


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


def main(folder: Path) -> None:
    """Run the job; every outcome, this process's own defects included, is a result."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    die_with_parent(job["parent_pid"])
    with without_slow_imports():
        import papermill  # noqa: F401 (imported here once, so that `_run` gets it without the slow part)
    result = _run(job)
    _keep_notebook(job)
    if result["outcome"] == "ok" and job["report"] and not Path(job["report"]).exists():  # 06 writes its own page
        write_text(job["report"], _render(Path(job["final"])))
    write_json(folder / "result.json", result)


def _run(job: dict) -> dict:
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

    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    IPKernelApp.launch_instance()


if __name__ == "__main__":
    run_kernel() if sys.argv[1] == "-f" else main(Path(sys.argv[1]))
