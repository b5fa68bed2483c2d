"""A whole study from its parameter file to its verdict and exit code: what `tunebook run` does."""

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.pipeline import ledger, params, provenance, record, run, runs
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import why_not


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `start_from` and `only` are stage names, "" for none."""

    params: str
    run: str = ""
    start_from: str = ""
    only: str = ""
    sets: tuple[str, ...] = ()
    is_complete_enough: bool = False


def run_study(root: Path, request: Request, display: Display) -> int:
    """Run the study and return the exit code: 0 on GO, 1 otherwise, the code of the problem where a stage broke off.

    With `is_complete_enough` a study that completes is 0 whatever its verdict; with `only` 0 means that the gate did not fail.
    """
    if request.only and request.start_from:
        raise InputProblem("--from and --only exclude each other: give one")
    study = params.load_study(request.params, request.sets, root)
    folder = runs.run_folder_to_write(request.run or study.name, runs.outputs_root(root))
    chosen, forced = _choose(root, study, request)
    plan = run.make_plan(root, folder, study, display, forced)
    with runs.RunLock(folder), _in_ledger(plan, chosen):
        record.start(root, folder, study)
        if request.only:
            _require_upstream(plan, chosen[0])
        error = run.run_stages(plan, chosen)
        return _conclude(plan, chosen, error, request)


@contextmanager
def _in_ledger(plan: run.Plan, chosen: list[str]):
    """One line of the ledger for this run, however it ends; and one for a run before it that was killed."""
    about = {"run": plan.folder.name, "study": plan.study.name, **provenance.commit(plan.root)}
    old = record.load(plan.folder)["states"] if (plan.folder / record.NAME).is_file() else {}
    killed = [stage_names.short(name) for name, state in old.items() if state["state"] == "running"]
    if killed:
        ledger.append(plan.outputs, {**about, "ended": "killed", "ran": killed, "opened": [], "verdict": ""})
    before = {name: _stamp(plan.folder / name) for name in chosen}
    started, ended = time.monotonic(), "interrupted"
    try:
        yield
        ended = "broke off" if _is_broken_off(plan.folder) else "complete"
    except (MachineProblem, InputProblem, IntegrityProblem) as problem:
        ended = type(problem).__name__
        raise
    finally:
        made = [
            manifests.read(plan.folder / name)
            for name in chosen
            if _stamp(plan.folder / name) not in (None, before[name])
        ]
        opened = [row for manifest in made for row in ledger.opened_by(manifest)]
        verdict = next((m["metrics"].get("verdict", "") for m in made if stage_names.is_verdict(m["stage"])), "")
        ran = [f"{stage_names.short(manifest['stage'])} {manifest['status']}" for manifest in made]
        seconds = round(time.monotonic() - started, 1)
        entry = {**about, "ended": ended, "ran": ran, "opened": opened, "verdict": verdict, "seconds": seconds}
        ledger.append(plan.outputs, entry)


def _is_broken_off(folder: Path) -> bool:
    return any(state["state"] == "error" for state in record.load(folder)["states"].values())


def _stamp(folder: Path) -> tuple | None:
    """Tells one writing of a manifest from another, None where there is none."""
    path = folder / manifests.NAME
    return (path.stat().st_mtime_ns, path.stat().st_ino) if path.is_file() else None


def _choose(root: Path, study: params.Study, request: Request) -> tuple[list[str], frozenset]:
    """Stages to go through, and those of them that must not be reused."""
    text = request.only or request.start_from
    if not text:
        return study.stages, frozenset()
    instance = stage_names.resolve(text, stage_names.discover(root))
    if instance not in study.stages:
        raise InputProblem(
            f"stage {text} is not in this study: it has {', '.join(stage_names.short(name) for name in study.stages)}"
        )
    if request.only:
        return [instance], frozenset([instance])
    return study.stages, frozenset(study.stages[study.stages.index(instance) :])


def _require_upstream(plan: run.Plan, instance: str) -> None:
    """`--only` reads finished stages; InputProblem names the first that is missing or would not be reused."""
    for name in stage_names.upstream(instance, plan.study.stages):
        if stage_names.is_verdict(instance) and not (plan.folder / name / manifests.NAME).is_file():
            continue
        reason = why_not(plan.folder / name, run.wanted_now(plan, name))
        if reason:
            raise InputProblem(f"--only {stage_names.short(instance)} reads {name}, but {reason}: run without --only")


def _conclude(plan: run.Plan, chosen: list[str], error, request: Request) -> int:
    last = chosen[-1]
    states = record.load(plan.folder)["states"]
    if error:
        plan.display.say(f"study {plan.study.name} did not complete: {error}")
    if not stage_names.is_verdict(last) or states[last]["state"] not in record.FINISHED:
        failed = any(states[name]["state"] == "fail" for name in chosen)
        if not request.only and not error:
            plan.display.say("no verdict: 06 is not in `stages`")
            failed = failed or not request.is_complete_enough
        return error.exit_code if error else int(failed)
    metrics = manifests.read(plan.folder / last)["metrics"]
    verdict = str(metrics.get("verdict", "INCONCLUSIVE"))
    record.update(plan.folder, verdict=verdict, reasons=metrics.get("reasons", []))
    plan.display.say(f"verdict: {verdict}")
    for reason in metrics.get("reasons", []):
        plan.display.say(f"  {reason}")
    plan.display.say(f"report: {plan.folder / 'report.html'}")
    if error:
        return error.exit_code
    return 0 if verdict == "GO" or request.is_complete_enough else 1
