"""run.json: which study a run is, and what became of each stage. Written after every step, so a broken run can be
understood.

Does not decide states. Only the process that holds the lock of the run writes it.
"""

from dataclasses import replace
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_json, sha256_file, write_json
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import provenance, stages
from tunebook.pipeline.params import RUNNER_KEYS, Study, load_base

SCHEMA = "tunebook-run/1"
NAME = "run.json"
FINISHED = ("pass", "warn", "fail")
REPORTS = ("report.html", "report.json")
CONCLUDED = ("verdict", "reasons", "answer")  # what the verdict stage concluded, and an upgrade from it
FROZEN = "frozen_spec.json"  # the specification and the moment it was frozen, at the root of the run


def load_record(folder: Path) -> dict:
    """The record of a run; InputProblem where the folder has none or it is of another version."""
    record = read_json(folder / NAME)
    if record.get("schema") != SCHEMA or "study" not in record:
        raise InputProblem(
            f"{folder / NAME}: schema {record.get('schema')!r}, expected {SCHEMA!r}: made by another version of"
            " Tunebook"
        )
    study, states, reports = record["study"], record.get("states"), record.get("reports", {})
    hashes = ("content_hash", "manifest_sha256", "executed_sha256")
    is_whole = (
        isinstance(study, dict)
        and {"name", "params", "stages", "overrides"} <= study.keys()
        and all(isinstance(part, dict) for part in (study["params"], study["overrides"], states, reports))
        and isinstance(study["stages"], list)
        and all(isinstance(one, dict) and isinstance(one.get("state"), str) for one in states.values())
        and all(name in one for one in states.values() if one["state"] in FINISHED for name in hashes)
    )
    if not is_whole:
        raise InputProblem(
            f"{folder / NAME} is damaged: take it from a copy, or run the study again under another --run"
        )
    return record


def study_of(root: Path, folder: Path) -> tuple[Study, list[str]]:
    """The study of a run, and the parameters that it lacks because they came later: these have base.yaml's defaults."""
    study = Study(path=folder / NAME, **load_record(folder)["study"])
    missing = {name: value for name, value in load_base(root).items() if name not in (*RUNNER_KEYS, *study.params)}
    return replace(study, params=missing | study.params), list(missing)


def came_later(run: str, missing: list[str], declared: dict[str, dict]) -> list[str]:
    """A sentence about the `missing` parameters that notebooks declare (`Plan.declared`), [] for none."""
    names = [name for name in missing if any(name in names for names in declared.values())]
    text = f"{run}'s frozen study lacks {', '.join(names)}, which came later: base.yaml's default stands for each here"
    return [text] if names else []


def start(root: Path, folder: Path, study: Study) -> dict:
    """Begin or resume a run: the study is the new one. The states of its stages are kept, and with a finished one what
    run.json says of its results.
    """
    old = load_record(folder) if (folder / NAME).is_file() else {}
    states = {name: old.get("states", {}).get(name, {"state": "pending"}) for name in study.stages}
    finished = [name for name, state in states.items() if state["state"] in FINISHED]
    kept = CONCLUDED if any(map(stages.is_verdict, finished)) else ()
    kept += ("frozen_sha256",) if any(map(_is_specification, finished)) else ()
    record = {
        "schema": SCHEMA,
        "run": folder.name,
        "study": {"name": study.name, "params": study.params, "stages": study.stages, "overrides": study.overrides},
        **provenance.commit(root),
        "states": states,
        "reports": old.get("reports", {}),
        **{key: old[key] for key in kept if key in old},
    }
    write_json(folder / NAME, record)
    return record


def set_state(folder: Path, instance: str, state: str, **details) -> dict:
    """Replace the state of one stage; a finished one gets the hashes that `verify` checks, and the verdict stage leaves
    its verdict. What the last one of these stages left goes when it is not finished any more. Returns the new state.
    """
    record = load_record(folder)
    entry, metrics = {"state": state, **details}, {}
    if state in FINISHED:
        stage_folder = folder / instance
        manifest = manifests.read_manifest(stage_folder)
        entry["content_hash"], metrics = manifest["content_hash"], manifest["metrics"]
        entry["manifest_sha256"] = sha256_file(stage_folder / manifests.NAME)
        executed = stage_folder / "executed.ipynb"
        entry["executed_sha256"] = sha256_file(executed) if executed.is_file() else ""
        if _is_specification(instance) and (folder / FROZEN).is_file():
            record["frozen_sha256"] = sha256_file(folder / FROZEN)
    elif _is_specification(instance):
        record.pop("frozen_sha256", None)
    if stages.is_verdict(instance):
        is_same = entry.get("manifest_sha256", "") == record["states"].get(instance, {}).get("manifest_sha256")
        record = {key: value for key, value in record.items() if is_same or key not in CONCLUDED}
        record |= {key: metrics[key] for key in ("verdict", "reasons") if key in metrics}
    record["states"][instance] = entry
    write_json(folder / NAME, record)
    return entry


def _is_specification(instance: str) -> bool:
    """The stage that freezes the specification."""
    return stages.kind(instance) == "should_we_fine_tune"


def report_problem(folder: Path) -> str:
    """What is wrong with the reports at the root of the run, "" when they are those that its verdict stage left."""
    recorded = load_record(folder).get("reports", {})
    for name in REPORTS:
        if name not in recorded or not (folder / name).is_file():
            return f"{name} is missing"
        if sha256_file(folder / name) != recorded[name]:
            return f"{name} has changed"
    return ""


def drop_reports(folder: Path) -> None:
    """Remove the reports: a stage runs again, so they may soon be those of another run."""
    for name in REPORTS:
        (folder / name).unlink(missing_ok=True)
    update(folder, reports={})


def keep_reports(folder: Path, verdict_folder: Path) -> None:
    """report.json beside report.html at the root of the run: the verdict stage's own report.json, else its metrics."""
    own = verdict_folder / "report.json"
    write_json(folder / "report.json", read_json(own if own.is_file() else verdict_folder / "metrics.json"))
    update(folder, reports={name: sha256_file(folder / name) for name in REPORTS if (folder / name).is_file()})


def update(folder: Path, **fields) -> None:
    """Set top-level fields such as the verdict."""
    write_json(folder / NAME, load_record(folder) | fields)
