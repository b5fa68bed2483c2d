"""A whole study from its parameter file to its verdict and exit code: what `tunebook run` does."""

import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import GIB, require_disk, write_text
from tunebook.pipeline import ledger, notebooks, params, provenance, record, runs
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline.executor import Job, execute
from tunebook.pipeline.manifest import broken
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import Wanted, why_not

SPARE_BYTES = 2 * GIB  # an adapter, a merged model and two GGUF files of a small model
NOTEBOOK_BYTES = 300_000  # Source: shared/STYLE.md, recorded notebooks
PROBLEMS = {kind.__name__: kind for kind in (InputProblem, MachineProblem, IntegrityProblem)}
INFRASTRUCTURE = ("dead", "timeout", "disk", "broken")


@dataclass(frozen=True)
class Plan:
    """One study in one run folder. `forced` are the stages that run even where they could be reused."""

    root: Path
    outputs: Path
    folder: Path
    study: params.Study
    display: Display
    forced: frozenset = frozenset()
    declared: dict = field(default_factory=dict)


class StageError(Exception):
    """A stage broke off: its sentence, and the exit code that the run ends with."""

    def __init__(self, sentence: str, exit_code: int):
        super().__init__(sentence)
        self.exit_code = exit_code


def make_plan(root: Path, folder: Path, study: params.Study, display: Display, forced: frozenset = frozenset()) -> Plan:
    """Check every notebook of the study before anything runs. InputProblem on the first that would not get its
    parameters.
    """
    declared = {}
    for instance in study.stages:
        notebook, target = stage_names.split(instance)
        path = root / "notebooks" / f"{notebook}.ipynb"
        names = notebooks.declared(path)
        if "run" not in names:
            raise InputProblem(
                f"{path.name} does not declare the parameter 'run': add `run: str = \"by-hand\"` to its parameters cell"
            )
        if bool(target) != ("target" in names):
            remedy = "needs a target, for example 04@base" if not target else "takes no target"
            raise InputProblem(f"stage {stage_names.short_name(instance)}: {path.name} {remedy}")
        for key in study.overrides.get(instance, {}):
            if key not in names:
                raise InputProblem(
                    f"{study.path}: {stage_names.short_name(instance)} sets {key!r}, which {path.name} does not"
                    " declare: it would do nothing"
                )
        params.stage_params(study, instance, names)
        declared[instance] = names
    return Plan(root, runs.outputs_root(root), folder, study, display, forced, declared)


def run_stages(plan: Plan, instances: list[str]) -> StageError | None:
    """Reuse, run or skip each of `instances` in order. The run must be locked and started.

    A failed gate or a stage that breaks off skips what follows, never the verdict: that judges what there is. Only
    where 00 breaks off is there no specification to judge by, and the verdict is skipped too. Returns the first
    StageError, None when every stage finished or was skipped by a gate. MachineProblem (a dead kernel, a full disk)
    ends everything at once.
    """
    stopped_by, first_error = "", None
    for number, instance in enumerate(instances, start=1):
        has_no_spec = first_error is not None and stopped_by == "00"
        if stopped_by and (has_no_spec or not stage_names.is_verdict(instance)):
            record.set_state(plan.folder, instance, "skipped", message=f"skipped: {stopped_by} failed")
            plan.display.end_stage(instance, 0.0, "skipped", "")
            continue
        wanted = wanted_now(plan, instance)
        reason = "it was asked for" if instance in plan.forced else why_not(plan.folder / instance, wanted)
        if not reason and stage_names.is_verdict(instance):
            reason = record.report_problem(plan.folder)
        try:
            state = _reuse(plan, instance) if not reason else _run_one(plan, wanted, (number, len(instances)))
        except StageError as problem:
            first_error = first_error or problem
            state = "error"
        if state in ("fail", "error"):
            stopped_by = stopped_by or stage_names.short_name(instance)
    return first_error


def wanted_now(plan: Plan, instance: str) -> Wanted:
    """What `instance` would be made from now: its parameters, and those of its upstream stages that have finished."""
    states = record.load_record(plan.folder)["states"] if (plan.folder / record.NAME).is_file() else {}
    upstream = {}
    for name in stage_names.upstream(instance, plan.study.stages):
        if is_finished(plan.folder, name, states):
            upstream[name] = plan.folder / name
    return Wanted(plan.root, instance, params.stage_params(plan.study, instance, plan.declared[instance]), upstream)


def is_finished(folder: Path, instance: str, states: dict) -> bool:
    """Whether the stage left a manifest that belongs to this run; one that was skipped may have an old manifest,
    which does not.
    """
    return (folder / instance / manifests.NAME).is_file() and states.get(instance, {}).get("state") != "skipped"


def _reuse(plan: Plan, instance: str) -> str:
    manifest = manifests.read_manifest(plan.folder / instance)
    entry = record.set_state(plan.folder, instance, manifest["status"], seconds=0.0, reused=True)
    shown = "reused" if manifest["status"] == "pass" else f"{manifest['status']}, reused"
    _end(plan, instance, 0.0, shown, entry["content_hash"], manifest["checks"])
    return manifest["status"]


def _end(plan: Plan, instance: str, seconds: float, shown: str, content_hash: str, checks: list[dict]) -> None:
    """The line of a finished stage, and below it every rule that failed it or warned."""
    plan.display.end_stage(instance, seconds, shown, content_hash)
    for word, severity in (("failed", "error"), ("warned", "warn")):
        for rule in broken(checks, (severity,)):
            plan.display.say(f"  {word}: {rule}")


def _run_one(plan: Plan, wanted: Wanted, place: tuple[int, int]) -> str:
    """Run one stage from an empty folder and return its status. StageError or MachineProblem when it does not
    finish.
    """
    instance, folder = wanted.instance, plan.folder / wanted.instance
    notebook, target = stage_names.split(instance)
    notebooks.check_papermill_agrees(plan.root / "notebooks" / f"{notebook}.ipynb")
    require_disk(plan.folder, SPARE_BYTES + _bytes_before(folder))
    record.drop_reports(plan.folder)
    runs.start_over(folder)
    sent = {"run": runs.run_value(plan.folder, plan.outputs), **({"target": target} if target else {}), **wanted.params}
    write_params(folder, sent)
    record.set_state(plan.folder, instance, "running")
    plan.display.start_stage(*place, instance)
    report = str(plan.folder / "report.html") if stage_names.is_verdict(instance) else ""
    timeout = int(plan.study.params.get("cell_timeout_seconds", 0))
    started = time.monotonic()
    try:
        result = execute(Job(plan.root, plan.outputs, plan.folder, instance, sent, timeout, report), plan.display.tick)
    except BaseException:
        record.set_state(plan.folder, instance, "interrupted")
        raise
    seconds = time.monotonic() - started
    if result["outcome"] != "ok" or not (folder / manifests.NAME).is_file():
        _break_off(plan, instance, result, seconds)
    return _finish(plan, instance, seconds)


def _finish(plan: Plan, instance: str, seconds: float) -> str:
    folder = plan.folder / instance
    manifest = manifests.read_verified(folder, stage_names.kind(instance))
    entry = record.set_state(plan.folder, instance, manifest["status"], seconds=round(seconds, 1), reused=False)
    _end(plan, instance, seconds, manifest["status"], entry["content_hash"], manifest["checks"])
    size = (folder / "executed.ipynb").stat().st_size
    if size > NOTEBOOK_BYTES:
        plan.display.say(
            f"note: {folder / 'executed.ipynb'} has {size:,} bytes, over {NOTEBOOK_BYTES:,}: too large to record"
        )
    if stage_names.is_verdict(instance):
        record.keep_reports(plan.folder, folder)
    return manifest["status"]


def write_params(folder: Path, sent: dict) -> None:
    """params.yaml of a stage: what `papermill NOTEBOOK OUT -f params.yaml` needs to repeat it."""
    write_text(folder / "params.yaml", yaml.safe_dump(sent, sort_keys=False, allow_unicode=True))


def _bytes_before(folder: Path) -> int:
    """Bytes that the stage left last time, which it will need again."""
    try:
        return sum(entry["bytes"] for entry in manifests.read_manifest(folder)["files"])
    except (InputProblem, IntegrityProblem):
        return 0


def _break_off(plan: Plan, instance: str, result: dict, seconds: float) -> None:
    """Record a stage that did not finish. Raises MachineProblem when the machine is to blame, else StageError."""
    folder = plan.folder / instance
    record.drop_reports(plan.folder)
    (folder / manifests.NAME).unlink(missing_ok=True)  # a cell after `record` failed: not a finished stage
    sentence, exit_code = _explain(folder, result)
    record.set_state(plan.folder, instance, "error", seconds=round(seconds, 1), message=sentence, exit_code=exit_code)
    plan.display.end_stage(instance, seconds, "error", "")
    if exit_code == MachineProblem.exit_code:
        raise MachineProblem(f"{instance}: {sentence}")
    raise StageError(f"{instance}: {sentence}", exit_code)


def _explain(folder: Path, result: dict) -> tuple[str, int]:
    """One sentence and an exit code for a result of `execute` that left no finished stage."""
    name, message = result.get("name", ""), result.get("message", "")
    machine = MachineProblem.exit_code
    see = f"see {folder / 'executed.ipynb'}"
    if result["outcome"] == "ok":
        return f"the notebook ended without manifest.json: it left before its record cell ({see})", 1
    if result["outcome"] == "dead":
        return (
            f"the kernel died, often for lack of memory ({message.strip()}): {see} and {folder / 'kernel.log'}",
            machine,
        )
    if result["outcome"] == "timeout":
        return (
            f"a cell took longer than cell_timeout_seconds ({message}): raise it, or make the stage smaller ({see})",
            machine,
        )
    if result["outcome"] in INFRASTRUCTURE:
        return f"papermill could not run it ({name}: {message}): see {folder / 'kernel.log'}", machine
    if name in PROBLEMS:
        return f"{message.rstrip('.')} ({see})", PROBLEMS[name].exit_code
    if name == "MemoryError" or "No space left on device" in message or "Disk quota exceeded" in message:
        return f"{name} {message}: free memory or disk, then repeat ({see})", machine
    if name == "SystemExit":
        return f"the notebook left by SystemExit({message}) before its end: remove that exit ({see})", 1
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    return f"{name}: {first} ({see})", 1


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

    With `is_complete_enough` a study that completes is 0 whatever its verdict; with `only` 0 means that the gate did
    not fail.
    """
    if request.only and request.start_from:
        raise InputProblem("--from and --only exclude each other: give one")
    study = params.load_study(request.params, request.sets, root)
    folder = runs.run_folder_to_write(request.run or study.name, runs.outputs_root(root))
    chosen, forced = _choose(root, study, request)
    plan = make_plan(root, folder, study, display, forced)
    with runs.RunLock(folder, "tunebook run"), _in_ledger(plan, chosen):
        record.start(root, folder, study)
        if request.only:
            _require_upstream(plan, chosen[0])
        error = run_stages(plan, chosen)
        return _conclude(plan, chosen, error, request)


def run_point(plan: Plan, instances: list[str], siblings: dict[str, list[Path]]) -> StageError | None:
    """Go through `instances` of a point of a sweep. What a sibling run (`siblings`: instance -> run folders) has made
    from the same is copied, the rest runs. Returns and raises as `run_stages`.
    """
    with runs.RunLock(plan.folder, "tunebook sweep"):
        for instance in instances:
            _adopt(plan, instance, siblings.get(instance, []))
        with _in_ledger(plan, instances):
            record.start(plan.root, plan.folder, plan.study)
            return run_stages(plan, instances)


def run_concluded(plan: Plan, instances: list[str], conclude: Callable[[StageError | None], str]) -> None:
    """Go through `instances` of a run whose own command answers: `conclude` gets what broke off, and returns the word
    for the ledger.
    """
    with runs.RunLock(plan.folder, "tunebook upgrade"), _in_ledger(plan, instances) as line:
        record.start(plan.root, plan.folder, plan.study)
        error = run_stages(plan, instances)
        if instances and stage_names.is_verdict(instances[-1]):
            _conclude(plan, instances, error, Request(""))
        line["verdict"] = conclude(error)


def _adopt(plan: Plan, instance: str, siblings: list[Path]) -> None:
    """Copy a finished stage of another run where it may stand for this one: the same check as for reuse."""
    wanted, own = wanted_now(plan, instance), plan.folder / instance
    if not why_not(own, wanted):
        return
    sibling = next((run for run in siblings if not why_not(run / instance, wanted)), None)
    if sibling is None:
        return
    incoming = plan.folder / f".{instance}.incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(sibling / instance, incoming)
    runs.start_over(own)
    own.rmdir()
    incoming.rename(own)
    if stage_names.kind(instance) == "should_we_fine_tune":
        shutil.copy2(sibling / record.FROZEN, plan.folder / record.FROZEN)


@contextmanager
def _in_ledger(plan: Plan, chosen: list[str]):
    """One line of the ledger for this run, however it ends; and one for a run before it that was killed."""
    about = {"run": plan.folder.name, "study": plan.study.name, **provenance.commit(plan.root)}
    old = record.load_record(plan.folder)["states"] if (plan.folder / record.NAME).is_file() else {}
    killed = [stage_names.short_name(name) for name, state in old.items() if state["state"] == "running"]
    if killed:
        ledger.append(plan.outputs, {**about, "ended": "killed", "ran": killed, "opened": [], "verdict": ""})
    before = {name: _stamp(plan.folder / name) for name in chosen}
    started, ended, line = time.monotonic(), "interrupted", {}
    try:
        yield line
        ended = "broke off" if _is_broken_off(plan.folder) else "complete"
    except (MachineProblem, InputProblem, IntegrityProblem) as problem:
        ended = type(problem).__name__
        raise
    finally:
        made = [
            manifests.read_manifest(plan.folder / name)
            for name in chosen
            if _stamp(plan.folder / name) not in (None, before[name])
        ]
        opened = [row for manifest in made for row in ledger.opened_by(manifest)]
        verdict = next((m["metrics"].get("verdict", "") for m in made if stage_names.is_verdict(m["stage"])), "")
        ran = [f"{stage_names.short_name(manifest['stage'])} {manifest['status']}" for manifest in made]
        seconds = round(time.monotonic() - started, 1)
        entry = {**about, "ended": ended, "ran": ran, "opened": opened, "verdict": verdict, "seconds": seconds}
        ledger.append(plan.outputs, entry | line)


def _is_broken_off(folder: Path) -> bool:
    return any(state["state"] == "error" for state in record.load_record(folder)["states"].values())


def _stamp(folder: Path) -> tuple | None:
    """Tells one writing of a manifest from another, None where there is none."""
    path = folder / manifests.NAME
    return (path.stat().st_mtime_ns, path.stat().st_ino) if path.is_file() else None


def _choose(root: Path, study: params.Study, request: Request) -> tuple[list[str], frozenset]:
    """Stages to go through, and those of them that must not be reused."""
    text = request.only or request.start_from
    if not text:
        return study.stages, frozenset()
    instance = stage_names.resolve_stage(text, stage_names.discover(root))
    if instance not in study.stages:
        raise InputProblem(
            f"stage {text} is not in this study: it has"
            f" {', '.join(stage_names.short_name(name) for name in study.stages)}"
        )
    if request.only:
        return [instance], frozenset([instance])
    return study.stages, frozenset(study.stages[study.stages.index(instance) :])


def _require_upstream(plan: Plan, instance: str) -> None:
    """`--only` reads finished stages; InputProblem names the first that is missing or would not be reused."""
    for name in stage_names.upstream(instance, plan.study.stages):
        if stage_names.is_verdict(instance) and not (plan.folder / name / manifests.NAME).is_file():
            continue
        reason = why_not(plan.folder / name, wanted_now(plan, name))
        if reason:
            raise InputProblem(
                f"--only {stage_names.short_name(instance)} reads {name}, but {reason}: run without --only"
            )


def _conclude(plan: Plan, chosen: list[str], error, request: Request) -> int:
    last = chosen[-1]
    states = record.load_record(plan.folder)["states"]
    if error:
        plan.display.say(f"study {plan.study.name} did not complete: {error}")
    if not stage_names.is_verdict(last) or states[last]["state"] not in record.FINISHED:
        failed = any(states[name]["state"] == "fail" for name in chosen)
        if not request.only and not error:
            plan.display.say("no verdict: 06 is not in `stages`")
            failed = failed or not request.is_complete_enough
        return error.exit_code if error else int(failed)
    metrics = manifests.read_manifest(plan.folder / last)["metrics"]
    verdict = str(metrics.get("verdict", "INCONCLUSIVE"))
    record.update(plan.folder, verdict=verdict, reasons=metrics.get("reasons", []))
    plan.display.say(f"verdict: {verdict}")
    for reason in metrics.get("reasons", []):
        plan.display.say(f"  {reason}")
    plan.display.say(f"report: {plan.folder / 'report.html'}")
    if error:
        return error.exit_code
    return 0 if verdict == "GO" or request.is_complete_enough else 1
