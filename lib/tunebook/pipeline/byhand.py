"""The stages before a notebook that somebody runs by hand: run what is missing, with the same parameters; take what is
there.

Does not run the notebook itself; that is the person's.
"""

import sys
from dataclasses import replace
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import params, record, runs
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline import study as studies
from tunebook.pipeline.notebooks import declared
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import can_stand, why_not


def prepare_upstream(root: Path, folder: Path, instance: str, own: dict, rerun: bool = False) -> list[str]:
    """Have every stage that `instance` reads, directly or not, and return the stages of the run in order.

    A missing stage gets the values of the run's study and, on top, those of this notebook. One that passed is taken as
    it is, and what differs from now is said; with `rerun` it is made anew. One whose inputs have changed is always made
    anew: rows that a new split puts into the test may have been in its training.
    """
    base = params.load_base(root)
    known = stage_names.discover(root)
    study = _study_of(root, folder, base, own)
    run_stages = _with_stage(
        study.stages, [stage_names.resolve_stage(name, known) for name in base.get("stages", [])], instance
    )
    study = replace(study, stages=run_stages)
    wanted = closure(instance, run_stages)
    working = replace(study, overrides=_values_of(root, folder, study, instance, own, wanted))
    plan = studies.make_plan(root, folder, working, Display(sys.stdout))
    with runs.RunLock(folder, instance):
        record.start(root, folder, study)
        for name in wanted:
            now = studies.wanted_now(plan, name)
            reason = why_not(folder / name, now)
            if reason and not rerun and can_stand(folder / name, now):
                plan.display.say(f"{name} is taken as it is, though {reason} (rerun_upstream = True makes it anew)")
            elif reason:
                plan.display.say(f"run {folder.name}: {name} runs first, since {reason}")
                error = studies.run_stages(plan, [name])
                if error and not stage_names.is_verdict(instance):
                    raise InputProblem(f"{instance} needs what broke off before it: {error}")
    return run_stages


def write_params_by_hand(root: Path, folder: Path, instance: str, own: dict) -> None:
    """params.yaml of a stage by hand, as the runner writes it."""
    target = stage_names.split(instance)[1]
    value = runs.run_value(folder, runs.outputs_root(root))
    studies.write_params(
        runs.work_folder(folder, instance), {"run": value, **({"target": target} if target else {}), **own}
    )


def closure(instance: str, run_stages: list[str]) -> list[str]:
    """Every stage that `instance` reads, directly or through others, in the order of the run."""
    found: set[str] = set()
    waiting = [instance]
    while waiting:
        for name in stage_names.upstream(waiting.pop(), run_stages):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return [name for name in run_stages if name in found]


def _study_of(root: Path, folder: Path, base: dict, own: dict) -> params.Study:
    """The study that the run was started with; for a new run, base.yaml with the values of this notebook."""
    path = root / "params" / "base.yaml"
    values = {key: value for key, value in base.items() if key != "stages"}
    if not (folder / record.NAME).is_file():
        return params.Study(folder.name, path, values | own, [], {})
    study = record.load_record(folder)["study"]
    return params.Study(study["name"], path, values | study["params"], study["stages"], study["overrides"])


def _with_stage(known: list[str], defaults: list[str], instance: str) -> list[str]:
    """Stages of the run: those it was started with, else base.yaml's; the one at hand is put in before the verdict."""
    if instance in known:
        return known
    if instance in defaults:
        return defaults
    verdicts = [name for name in known if stage_names.is_verdict(name)]
    return [name for name in known if name not in verdicts] + [instance, *(v for v in verdicts if v != instance)]


def _values_of(
    root: Path, folder: Path, study: params.Study, instance: str, own: dict, wanted: list[str]
) -> dict[str, dict]:
    """Own values of each stage in `wanted`: those it was made with, and above them what this notebook shares with it.

    A value that the study gives to one stage alone is not shared, in either direction.
    """
    fixed = {name: study.overrides.get(name, {}) for name in [*wanted, instance]}
    shared = {key: value for key, value in own.items() if key not in fixed[instance] or fixed[instance][key] != value}
    found = {}
    for name in wanted:
        names = declared(root / "notebooks" / f"{stage_names.split(name)[0]}.ipynb")
        values = fixed[name] | _recorded_params(folder / name)
        values |= {key: value for key, value in shared.items() if key not in fixed[name]}
        found[name] = {key: value for key, value in values.items() if key in names}
    return found


def _recorded_params(folder: Path) -> dict:
    try:
        return manifests.read_manifest(folder)["params"]
    except (InputProblem, IntegrityProblem):
        return {}
