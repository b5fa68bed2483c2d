"""Where the jobs of a sweep run: processes of this machine, or Ray. A worker that dies loses its job and nothing else.

`submit` takes a job as a plain dict, `poll` returns what has ended: (name, outcome), where an outcome is `{"problem":
sentence or ""}`, or `{"lost": sentence}` where the worker died. Does not decide what happens then.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import write_json
from tunebook.pipeline import params, provenance
from tunebook.pipeline import study as studies
from tunebook.pipeline.manifest import PACKAGE
from tunebook.pipeline.notebook_process import die_with_parent, kill_tree
from tunebook.pipeline.progress import Display

SAVE_SECONDS = 30.0  # that a stopped training has to save what it has made
RAY = "ray==2.60.0"  # as in requirements-sweep.txt
NO_RAY = (
    f"ray is not installed: `pip install {RAY}` (or -r requirements-sweep.txt), or add --local, which runs the points"
    " as processes of this machine"
)


def run_job(job: dict) -> dict:
    """Go through the stages of one job in this process, its lines in a log. The outcome, for every foreseen problem."""
    root, outputs = Path(job["root"]), Path(job["outputs"])
    if not (outputs / job["sweep"] / "sweep.json").is_file() or provenance.commit(root)["commit"] != job["commit"]:
        where = f"{root} with outputs in {outputs}"
        return {
            "problem": f"{os.uname().nodename} does not see the checkout {where} at the commit of the sweep: share it"
        }
    study = params.Study(path=Path(job["path"]), **job["study"])
    siblings = {name: [outputs / run for run in names] for name, names in job["siblings"].items()}
    with open(outputs / job["sweep"] / f"{job['run']}.log", "a", encoding="utf-8") as log:
        try:
            plan = studies.make_plan(root, outputs / job["run"], study, Display(log))
            return {"problem": str(studies.run_point(plan, job["instances"], siblings) or "")}
        except (InputProblem, MachineProblem, IntegrityProblem) as problem:
            return {"problem": str(problem)}


def environment(job: dict) -> dict:
    """What a worker needs to be this checkout, and the threads that its share of the cores allows."""
    inherited = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": str(PACKAGE.parent) + (os.pathsep + inherited if inherited else ""),
        "TUNEBOOK_ROOT": job["root"],
        "TUNEBOOK_OUTPUTS": job["outputs"],
        "OMP_NUM_THREADS": str(job["cpus"]),
    }


class LocalWorkers:
    """A process a job, as many at once as the cores allow."""

    def __init__(self, cpus: int):
        self._capacity = max(1, len(os.sched_getaffinity(0)) // cpus if hasattr(os, "sched_getaffinity") else 1)
        self._waiting: list[dict] = []
        self._running: dict[str, subprocess.Popen] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="tunebook-sweep-")

    def submit(self, job: dict) -> None:
        """Queue a job."""
        self._waiting.append(job)

    def poll(self, seconds: float) -> list[tuple[str, dict]]:
        """Start what has room, wait a moment, return what has ended."""
        while self._waiting and len(self._running) < self._capacity:
            job = self._waiting.pop(0)
            file = Path(self._folder.name) / f"{job['name']}.json"
            self._result(job["name"]).unlink(missing_ok=True)
            write_json(file, job | {"parent_pid": os.getpid()})
            command = [sys.executable, "-m", "tunebook.scale.workers", str(file), str(self._result(job["name"]))]
            self._running[job["name"]] = subprocess.Popen(
                command, env=os.environ | environment(job), stdin=subprocess.DEVNULL, start_new_session=True
            )
        time.sleep(seconds)
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        return [(name, self._outcome(name, self._running.pop(name).returncode)) for name in ended]

    def _result(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.result.json"

    def _outcome(self, name: str, code: int) -> dict:
        try:
            return json.loads(self._result(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"lost": f"its process ended with status {code}"}

    def close(self) -> None:
        """End what still runs, kernels included; a training saves first."""
        for process in self._running.values():
            process.terminate()
        until = time.monotonic() + SAVE_SECONDS
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            kill_tree(process.pid)
            process.wait()
        self._folder.cleanup()


class RayWorkers:
    """A Ray task a job: on this machine, or on the cluster at `address`. MachineProblem where Ray is not installed or
    the cluster does not answer.
    """

    def __init__(self, first: dict, address: str = ""):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        try:
            import ray
        except ImportError:
            raise MachineProblem(NO_RAY) from None
        self._ray, self._names = ray, {}
        local = {} if address else {"include_dashboard": False}
        try:
            ray.init(
                address or "local",
                runtime_env={"env_vars": environment(first)},
                log_to_driver=False,
                logging_level="ERROR",
                **local,
            )
        except (ConnectionError, ValueError, RuntimeError) as problem:
            reason = str(problem).strip().splitlines()[0]
            where = address or "this machine"
            raise MachineProblem(f"no Ray cluster at {where}: {reason}: start one with `ray start`") from None
        has = ray.cluster_resources()
        if has.get("CPU", 0) < first["cpus"] or has.get("GPU", 0) < first["gpus"]:
            ray.shutdown()
            raise MachineProblem(
                f"the cluster has {has.get('CPU', 0):g} cores and {has.get('GPU', 0):g} GPUs, a point asks for"
                f" {first['cpus']} and {first['gpus']}: lower cpus or gpus in the sweep file"
            )
        self._task = ray.remote(run_job).options(num_cpus=first["cpus"], num_gpus=first["gpus"], max_retries=0)

    def submit(self, job: dict) -> None:
        """Hand a job to Ray, which queues it."""
        self._names[self._task.remote(job)] = job["name"]

    def poll(self, seconds: float) -> list[tuple[str, dict]]:
        """Wait a moment, return what has ended."""
        if not self._names:
            return []
        ready, _ = self._ray.wait(list(self._names), num_returns=len(self._names), timeout=seconds)
        return [(self._names.pop(ref), self._outcome(ref)) for ref in ready]

    def _outcome(self, ref) -> dict:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as problem:
            return {"lost": f"{type(problem).__name__}: {str(problem).strip().splitlines()[0][:200]}"}

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        for ref in self._names:
            self._ray.cancel(ref, force=True)
        self._ray.shutdown()


def main(job_file: Path, result_file: Path) -> None:
    """One job of `LocalWorkers`."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    die_with_parent(job["parent_pid"])
    write_json(result_file, run_job(job))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
