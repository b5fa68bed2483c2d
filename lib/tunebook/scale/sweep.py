"""`tunebook sweep`: every point of a sweep through its workers, with a live table, to its report and its line in the
ledger.
"""

import sys
import time
from pathlib import Path
from typing import TextIO

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.files import write_json
from tunebook.pipeline import ledger, provenance, record, runs
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import stages as stage_names
from tunebook.scale.points import Job, Point, Sweep, plan_jobs, read_sweep
from tunebook.scale.summary import summarise, write_summary
from tunebook.scale.workers import LocalWorkers, RayWorkers

POLL_SECONDS = 0.5
TRIES = 2  # a job whose worker died is started once more; its finished stages are kept
SCHEMA = "tunebook-sweep/1"


def run_sweep(root: Path, text: str, address: str = "", is_local: bool = False, stream: TextIO = sys.stdout) -> int:
    """Run the sweep and return the exit code: 0 when every point has its score, 1 when a gate or a stage ended one, 3
    when a worker was lost for good.
    """
    sweep, outputs = read_sweep(text, root), runs.outputs_root(root)
    folder = runs.run_folder_to_write(sweep.name, outputs)
    if is_local and sweep.gpus:
        raise InputProblem(f"{sweep.path}: gpus: {sweep.gpus}: --local cannot share GPUs out, Ray can: leave one away")
    jobs = {job.name: job for job in plan_jobs(sweep.points)}
    described = {name: _describe(root, outputs, sweep, job) for name, job in jobs.items()}
    first = next(iter(described.values()))
    workers = LocalWorkers(sweep.cpus) if is_local else RayWorkers(first, address)
    started, ended = time.monotonic(), "interrupted"
    table = Table(sweep, outputs, stream)
    try:
        with runs.RunLock(folder, "tunebook sweep"):
            write_json(folder / "sweep.json", _about(root, sweep))
            outcomes = _drive(jobs, described, workers, table)
            summary = summarise(sweep, outputs, {point.run: outcomes[point.run] for point in sweep.points})
            write_summary(folder, summary)
            write_json(folder / "sweep.json", _about(root, sweep) | {"summary": summary})
            ended = "complete" if all(row["n_scored"] == row["trainings"] for row in summary["rows"]) else "broke off"
    finally:
        workers.close()
        ran = [f"{point.run} {table.state(point)}" for point in sweep.points]
        about = {"run": sweep.name, "study": f"sweep of {sweep.study}", **provenance.commit(root), "opened": []}
        seconds = round(time.monotonic() - started, 1)
        ledger.append(outputs, {**about, "ended": ended, "ran": ran, "verdict": "", "seconds": seconds})
    print(*summary["lines"], f"report: {folder / 'report.html'}", sep="\n", file=stream, flush=True)
    return 0 if ended == "complete" else 3 if any("lost" in outcome for outcome in outcomes.values()) else 1


def _about(root: Path, sweep: Sweep) -> dict:
    points = [{"run": point.run, "seed": point.seed, "values": point.values} for point in sweep.points]
    about = {"sweep": sweep.name, "study": sweep.study, "split": sweep.split, "judged": sweep.judged}
    return {"schema": SCHEMA, **about, **provenance.commit(root), "points": points}


def _describe(root: Path, outputs: Path, sweep: Sweep, job: Job) -> dict:
    """A job as what a worker on another machine can read."""
    study = job.point.study
    return {
        "name": job.name,
        "sweep": sweep.name,
        "run": job.point.run,
        "root": str(root),
        "outputs": str(outputs),
        "commit": provenance.commit(root)["commit"],
        "path": str(sweep.path),
        "study": {key: getattr(study, key) for key in ("name", "params", "stages", "overrides")},
        "instances": job.instances,
        "siblings": job.siblings,
        "cpus": sweep.cpus,
        "gpus": sweep.gpus,
    }


def _drive(jobs: dict[str, Job], described: dict[str, dict], workers, table) -> dict[str, dict]:
    """Run each job once what it needs has ended. What a job that did not end well leaves shared is not there, so those
    who need it are not started.
    """
    outcomes, tries, waiting = {}, dict.fromkeys(jobs, 0), list(jobs)
    while len(outcomes) < len(jobs):
        for name in list(waiting):
            ended = [outcomes.get(other) for other in jobs[name].needs]
            if broken := next((end for end in ended if end and (end.get("problem") or "lost" in end)), None):
                outcomes[name] = {"problem": f"what it shares broke off: {broken.get('problem') or broken['lost']}"}
                waiting.remove(name)
            elif all(ended):
                workers.submit(described[name])
                waiting.remove(name)
        for name, outcome in workers.poll(POLL_SECONDS):
            tries[name] += 1
            if "lost" in outcome and tries[name] < TRIES:
                table.say(f"{name}: {outcome['lost']}: it is started once more, its finished stages are kept")
                waiting.append(name)
            else:
                outcomes[name] = outcome
                if sentence := outcome.get("problem") or outcome.get("lost"):
                    table.say(f"{name}: {sentence}")
        table.show()
    table.close()
    return outcomes


class Table:
    """The points as they go: on a terminal one table that moves, elsewhere a line whenever a point has moved on."""

    def __init__(self, sweep: Sweep, outputs: Path, stream: TextIO):
        self._sweep, self._outputs, self._stream = sweep, outputs, stream
        self._last: dict[str, str] = {}
        self._live = None
        if stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=stream), auto_refresh=False)
            self._live.start()

    def state(self, point: Point) -> str:
        """How far a point is: `2/4 02 running`, `done`, `04@base fail`."""
        try:
            states = record.load_record(self._outputs / point.run)["states"]
        except InputProblem:
            return "waiting"
        found = {name: states.get(name, {}).get("state", "pending") for name in point.study.stages}
        for name, state in found.items():
            if state in ("fail", "error", "interrupted", "running"):
                number = list(found).index(name) + 1
                return f"{number}/{len(found)} {stage_names.short_name(name)} {state}"
        n_done = sum(state in record.FINISHED for state in found.values())
        return "done" if n_done == len(found) else f"{n_done}/{len(found)} waiting"

    def show(self) -> None:
        """Show what has changed."""
        states = {point.run: self.state(point) for point in self._sweep.points}
        if self._live:
            self._live.update(self._drawn(states), refresh=True)
            return
        for point in self._sweep.points:
            if states[point.run] != self._last.get(point.run) and not states[point.run].endswith("waiting"):
                self.say(f"{point.run}  {point.label()}, seed +{point.seed}: {states[point.run]}{self._score(point)}")
        self._last = states

    def _score(self, point: Point) -> str:
        """The score of the judged stage, "" until every stage up to it has finished: its manifest may be an old one."""
        names = point.study.stages[: point.study.stages.index(self._sweep.judged) + 1]
        try:
            states = record.load_record(self._outputs / point.run)["states"]
            if any(states.get(name, {}).get("state") not in record.FINISHED for name in names):
                return ""
            metrics = manifests.read_manifest(self._outputs / point.run / self._sweep.judged)["metrics"]
            found = metrics["scores"]["task"]
        except (InputProblem, IntegrityProblem, KeyError):
            return ""
        return f", {found['k']}/{found['n']} solved"

    def _drawn(self, states: dict[str, str]):
        from rich.table import Table as Drawn

        drawn = Drawn(title=f"sweep {self._sweep.name}")
        for name in ("run", "values", "seed", "state"):
            drawn.add_column(name)
        for point in self._sweep.points:
            score = self._score(point) if states[point.run] == "done" else ""
            drawn.add_row(point.run, point.label(), f"+{point.seed}", states[point.run] + score)
        return drawn

    def say(self, sentence: str) -> None:
        """One line, above the table where it moves."""
        if self._live:
            self._live.console.print(sentence, markup=False)
        else:
            print(sentence, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the table as it stands."""
        if self._live:
            self._live.stop()
