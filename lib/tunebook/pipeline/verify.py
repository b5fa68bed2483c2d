"""Hash a run's files again and name each that differs from its record. Reads only; judges no result."""

from dataclasses import dataclass, field
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import record, stages
from tunebook.pipeline.files import sha256_file


@dataclass
class Verification:
    """`problems` are integrity failures, one sentence each; `unstored` are files that the record names but does not keep."""

    n_files: int = 0
    problems: list[str] = field(default_factory=list)
    unstored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_run(folder: Path) -> Verification:
    """Check every stage of a run, the chain of hashes between them, and the reports at its root."""
    run = record.load(folder)
    found = Verification()
    manifest_of = {}
    for name in sorted(set(run["study"]["stages"]) ^ set(run["states"])):
        found.problems.append(f"{record.NAME}: stage {name} is not both in its study and in its states")
    for instance, state in run["states"].items():
        has_manifest = (folder / instance / manifests.NAME).is_file()
        if state["state"] in record.FINISHED and not has_manifest:
            found.problems.append(f"{instance}/{manifests.NAME}: missing, though the stage finished")
        elif state["state"] not in (*record.FINISHED, "skipped") and has_manifest:
            found.problems.append(f"{record.NAME}: says {state['state']} of {instance}, which has finished")
        elif state["state"] not in record.FINISHED:
            found.notes.append(f"{instance}: {state['state']}, nothing to verify")
        else:
            manifest_of[instance] = _read_manifest(folder, instance, state, found)
    for instance, manifest in manifest_of.items():
        if manifest:
            _check_files(folder / instance, manifest, found)
            _check_chain(folder, manifest, manifest_of, found)
    if not manifest_of and not found.problems:
        raise InputProblem(f"{folder}: no stage has finished, so there is nothing to verify: run the study first")
    for instance, manifest in manifest_of.items():
        if manifest and stages.is_verdict(instance):
            kept = {"state": manifest["status"], "verdict": manifest["metrics"].get("verdict", "")}
            said = {"state": run["states"][instance]["state"], "verdict": run.get("verdict", "")}
            found.problems += [
                f"{record.NAME}: its {k} is {said[k]!r}, {instance} left {kept[k]!r}"
                for k in kept
                if said[k] != kept[k]
            ]
    if "frozen_sha256" in run:
        _compare(folder / record.FROZEN, record.FROZEN, run["frozen_sha256"], found)
    for name, digest in run.get("reports", {}).items():
        _compare(folder / name, name, digest, found)
    return found


def _read_manifest(folder: Path, instance: str, state: dict, found: Verification) -> dict | None:
    path = folder / instance
    _compare(path / manifests.NAME, f"{instance}/{manifests.NAME}", state["manifest_sha256"], found)
    if state["executed_sha256"]:
        _compare(path / "executed.ipynb", f"{instance}/executed.ipynb", state["executed_sha256"], found)
    try:
        manifest = manifests.read_verified(path, stages.kind(instance))
    except (InputProblem, IntegrityProblem) as problem:
        found.problems.append(str(problem))
        return None
    if manifest["content_hash"] != state["content_hash"]:
        found.problems.append(f"{instance}: content_hash differs from the one in run.json")
    return manifest


def _compare(path: Path, name: str, digest: str, found: Verification) -> None:
    found.n_files += 1
    if not path.is_file():
        found.problems.append(f"{name}: missing")
    elif sha256_file(path) != digest:
        found.problems.append(f"{name}: sha256 differs")


def _check_files(folder: Path, manifest: dict, found: Verification) -> None:
    known = {entry["path"] for entry in manifest["files"]}
    for entry in manifest["files"]:
        found.n_files += 1
        problem = manifests.file_problem(folder, entry)
        name = f"{manifest['stage']}/{entry['path']}"
        if problem == "missing" and not entry["stored"]:
            found.unstored.append(f"{name} ({entry['bytes']:,} bytes, sha256 {entry['sha256'][:12]})")
        elif problem:
            found.problems.append(f"{name}: {problem}")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in known and not manifests.matches(name, manifests.OUTSIDE):
            found.notes.append(f"{manifest['stage']}/{name}: not in the record")


def _check_chain(folder: Path, manifest: dict, manifest_of: dict, found: Verification) -> None:
    for name, reference in manifest["upstream"].items():
        upstream = manifest_of.get(name)
        if not upstream:
            found.problems.append(f"{manifest['stage']}: it read {name}, which is not intact in this run")
        elif upstream["content_hash"] != reference["content_hash"]:
            found.problems.append(f"{manifest['stage']}: it read another {name} than the one in this run")
        elif sha256_file(folder / name / manifests.NAME) != reference["manifest_sha256"]:
            found.notes.append(f"{manifest['stage']}: {name} was run again since, with equal content")
