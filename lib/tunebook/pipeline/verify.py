"""Hash a run's files again and name each that differs from its record. Reads only; judges no result."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import sha256_file, write_text
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import params, provenance, record, stages


@dataclass
class Verification:
    """`problems` are integrity failures, one sentence each; `unstored` are files that the record names but does not
    keep.
    """

    n_files: int = 0
    problems: list[str] = field(default_factory=list)
    unstored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_run(folder: Path) -> Verification:
    """Check every stage of a run, the chain of hashes between them, and the reports at its root."""
    run = record.load_record(folder)
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
    if not manifest_of and not found.problems and not run.get("reports"):
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


RUN = "reproduction"


def reproduce_run(root: Path, folder: Path, keep: bool, say: Callable[[str], None]) -> int:
    """0 when every recorded stage comes out the same, 1 at the first divergence, which is named.

    InputProblem where the record cannot be reproduced: a dirty or unknown commit, or no finished stage.
    """
    recorded = record.load_record(folder)
    finished = _finished(folder, recorded)
    _require_commit(root, recorded, finished)
    for name, was, is_now in _changed_packages(finished, root):
        say(f"note: {name} was {was or 'absent'}, is {is_now or 'absent'}")
    with _worktree(root, recorded["commit"], keep, say) as tree:
        again = _run_again(tree, recorded["study"])
        return _compare_stage(finished, again, say)


def _finished(folder: Path, recorded: dict) -> dict[str, dict]:
    found = {}
    for name, state in recorded["states"].items():
        if state["state"] in record.FINISHED:
            found[name] = manifests.read_manifest(folder / name)
    if not found:
        raise InputProblem(f"{folder} has no finished stage: there is nothing to reproduce")
    return found


def _require_commit(root: Path, recorded: dict, finished: dict[str, dict]) -> None:
    commit = recorded.get("commit", "")
    if not commit:
        raise InputProblem("the run was recorded outside git, so its code is not known: record it in a checkout")
    dirty = [name for name, manifest in finished.items() if manifest["environment"]["dirty"]]
    if recorded["dirty"] or dirty:
        where = f" ({dirty[0]})" if dirty else ""
        raise InputProblem(
            f"the run was recorded with changes that were not committed{where}: commit them and record it again"
        )
    if provenance.git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise InputProblem(f"commit {commit[:12]} of the record is not in {root}: fetch it, then repeat")


def _changed_packages(finished: dict[str, dict], root: Path) -> list[tuple[str, str, str]]:
    """Packages whose installed version differs from the recorded one: the likely reason of a divergence."""
    was, now = next(iter(finished.values()))["environment"]["packages"], provenance.packages(root)
    return [
        (name, was.get(name, ""), now.get(name, ""))
        for name in sorted(set(was) | set(now))
        if was.get(name) != now.get(name)
    ]


@contextmanager
def _worktree(root: Path, commit: str, keep: bool, say: Callable[[str], None]):
    """A checkout of `commit` in a temporary folder, removed afterwards unless `keep`."""
    folder = Path(tempfile.mkdtemp(prefix="tunebook-reproduce-")) / "checkout"
    if provenance.git(root, "worktree", "add", "--detach", str(folder), commit) is None:
        raise MachineProblem(
            f"git worktree add {folder} failed: free disk space or check that {root} is a git checkout"
        )
    try:
        yield folder
    finally:
        if keep:
            say(f"kept: {folder / 'outputs' / RUN}")
        else:
            provenance.git(root, "worktree", "remove", "--force", str(folder))
            folder.parent.rmdir()


def _run_again(tree: Path, study: dict) -> Path:
    """Run the recorded study with the code in `tree`; its stages show on this terminal. Returns the new run's
    folder.
    """
    values = {key: value for key, value in study["params"].items() if key not in params.ROUTING_KEYS}
    overlay = {"extends": "base", **values, "stages": study["stages"], **study["overrides"]}
    path = tree / "params" / f"{RUN}.yaml"
    write_text(path, yaml.safe_dump(overlay, sort_keys=False, allow_unicode=True))
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TUNEBOOK_RUN", "TUNEBOOK_STAGE", "GIT_"))
    }
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(tree / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TUNEBOOK_ROOT": str(tree),
        "TUNEBOOK_OUTPUTS": str(tree / "outputs"),
    }
    command = [sys.executable, "-m", "tunebook", "run", str(path), "--run", RUN]
    done = subprocess.run(command, cwd=tree, env=environment, check=False)
    folder = tree / "outputs" / RUN
    if done.returncode not in (0, 1) or not (folder / record.NAME).is_file():
        raise MachineProblem(f"the repeated run ended with exit code {done.returncode}: its message is above")
    return folder


def _compare_stage(finished: dict[str, dict], again: Path, say: Callable[[str], None]) -> int:
    here = (provenance.device_fingerprint(), provenance.cpu()["cores"])
    for name, recorded in finished.items():
        environment = recorded["environment"]
        is_same_hardware = (environment["device_fingerprint"], environment["cpu"]["cores"]) == here
        if not (again / name / manifests.NAME).is_file():
            say(f"{name}: DIVERGES: it did not finish now")
            return 1
        divergence = first_divergence(recorded, manifests.read_manifest(again / name), is_same_hardware)
        if divergence:
            say(f"{name}: DIVERGES: {divergence}")
            return 1
        say(
            f"{name}: same"
            + ("" if is_same_hardware else " (other hardware: scores within their intervals, weights not compared)")
        )
    say("reproduced: no stage diverges")
    return 0


WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npz")
# Stages without a model: their outputs do not depend on the hardware.
DATA_KINDS = ("validate_data",)
ESTIMATES = ("pass_at_1", "estimate", "value", "mean", "difference")


def first_divergence(recorded: dict, repeated: dict, is_same_hardware: bool) -> str:
    """The first field of `repeated` that contradicts `recorded`, "" when none does.

    Params, notebook and the outputs of data stages must be equal anywhere. On equal hardware so must weights and
    scores; elsewhere weights are not compared, and each score that has an interval must lie within it.
    """
    for key in ("stage", "kind", "params"):
        if recorded[key] != repeated[key]:
            return f"{key}: {_first_key(recorded[key], repeated[key])}"
    if recorded["notebook"]["sha256"] != repeated["notebook"]["sha256"]:
        return "notebook: its source differs"
    if is_same_hardware or recorded["kind"] in DATA_KINDS:
        return _files(recorded["files"], repeated["files"])
    if recorded["status"] != repeated["status"]:
        return f"status: recorded {recorded['status']}, now {repeated['status']}"
    return _scores(recorded["metrics"], repeated["metrics"], "metrics")


def _first_key(recorded, repeated) -> str:
    if not isinstance(recorded, dict):
        return f"recorded {recorded!r}, now {repeated!r}"
    key = next(key for key in sorted(set(recorded) | set(repeated)) if recorded.get(key) != repeated.get(key))
    return f"{key}: recorded {recorded.get(key)!r}, now {repeated.get(key)!r}"


def _files(recorded: list[dict], repeated: list[dict]) -> str:
    """Data files first, then weights: the earlier difference explains the later."""
    now = {entry["path"]: entry for entry in repeated if entry["hashed"]}
    expected = {entry["path"]: entry for entry in recorded if entry["hashed"]}
    for path in sorted(set(now) | set(expected), key=lambda path: (path.endswith(WEIGHTS), path)):
        if path not in now or path not in expected:
            return f"{path}: {'not made now' if path in expected else 'not in the record'}"
        if now[path]["sha256"] != expected[path]["sha256"]:
            kind = "weights" if path.endswith(WEIGHTS) else "data"
            return f"{path} ({kind}): sha256 recorded {expected[path]['sha256'][:12]}, now {now[path]['sha256'][:12]}"
    return ""


def _scores(recorded, repeated, where: str) -> str:
    """Walk two metrics; every object with an `interval` [low, high] has its estimate checked against the recorded
    one.
    """
    if isinstance(recorded, list) and isinstance(repeated, list):
        pairs = [(str(index), a, b) for index, (a, b) in enumerate(zip(recorded, repeated, strict=False))]
    elif isinstance(recorded, dict) and isinstance(repeated, dict):
        pairs = [(key, value, repeated.get(key)) for key, value in recorded.items()]
        estimate, interval = _estimate(repeated), recorded.get("interval")
        if interval and estimate is not None and not interval[0] - 1e-9 <= estimate <= interval[1] + 1e-9:
            return (
                f"{where}: {estimate:.4f} now, outside the recorded 95% interval {interval[0]:.4f} to {interval[1]:.4f}"
            )
    else:
        return ""
    return next((found for key, a, b in pairs if (found := _scores(a, b, f"{where}.{key}"))), "")


def _estimate(metrics: dict) -> float | None:
    for key in ESTIMATES:
        value = metrics.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    if metrics.get("n") and "k" in metrics:
        return metrics["k"] / metrics["n"]
    return None
