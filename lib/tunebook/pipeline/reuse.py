"""Whether a finished stage may stand for a new one. Never by name, never "the latest": everything that can change a
result is compared.
"""

from dataclasses import dataclass
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.files import sha256_file
from tunebook.pipeline import inputs, notebooks, provenance, stages
from tunebook.pipeline import manifest as manifests


@dataclass(frozen=True)
class Wanted:
    """What a stage would be made from now. `upstream` maps the finished stages that it reads to their folders."""

    root: Path
    instance: str
    params: dict
    upstream: dict[str, Path]


def why_not(folder: Path, wanted: Wanted) -> str:
    """The first reason why the stage in `folder` must run again, "" when it can be reused."""
    if not (folder / manifests.NAME).is_file():
        return "it has not finished"
    try:
        recorded = manifests.read_verified(folder, stages.kind(wanted.instance))
    except (InputProblem, IntegrityProblem) as problem:
        return str(problem)
    if recorded["stage"] != wanted.instance:
        return f"the folder holds {recorded['stage']}"
    reasons = (
        _params(recorded["params"], wanted.params),
        _inputs(recorded.get("inputs", {}), inputs.hashes(wanted.params, wanted.root)),
        _upstream(recorded["upstream"], wanted),
        _notebook(recorded, wanted),
        _code(recorded["code"], wanted.root),
        _device(recorded["environment"]),
    )
    return next((reason for reason in reasons if reason), "") or _files(folder, recorded)


def can_stand(folder: Path, wanted: Wanted) -> bool:
    """Whether a person's own stage may be read although something has changed since: it passed, is whole, and read
    what is there now.
    """
    try:
        recorded = manifests.read_verified(folder, stages.kind(wanted.instance))
    except (InputProblem, IntegrityProblem):
        return False
    same = recorded["stage"] == wanted.instance and recorded["status"] != "fail"
    return same and not _upstream(recorded["upstream"], wanted) and not _files(folder, recorded)


def differences(old: dict, new: dict) -> str:
    """What two manifests of one stage differ in, as text: parameters first, then the numbers that moved, at most eight.

    >>> differences({"params": {"lr": 1}, "metrics": {"loss": 0.41}}, {"params": {"lr": 2}, "metrics": {"loss": 0.37}})
    'lr 1 -> 2: loss 0.41 -> 0.37'
    """

    def pairs(before: dict, after: dict) -> list[str]:
        shown = [(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
        return [f"{name} {_short(a)} -> {_short(b)}" for name, a, b in shown if a != b]

    params = ", ".join(pairs(old["params"], new["params"])) or "the same parameters"
    moved = pairs(_numbers(old["metrics"]), _numbers(new["metrics"]))[:8]
    return f"{params}: {', '.join(moved) or 'the same numbers'}"


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numbers(metrics: dict, before: str = "") -> dict:
    """Every number in nested metrics, by its dotted name."""
    found = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{before}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[before + name] = value
    return found


def _params(recorded: dict, wanted: dict) -> str:
    for key in sorted(set(recorded) | set(wanted)):
        if key not in wanted:
            return f"{key} is no parameter of the notebook any more"
        if key not in recorded:
            return f"{key} is a new parameter"
        if recorded[key] != wanted[key] or type(recorded[key]) is not type(wanted[key]):
            return f"{key} was {recorded[key]!r}, is {wanted[key]!r}"
    return ""


def _inputs(recorded: dict, now: dict) -> str:
    """The user's own files are compared by content: the same name may hold other rows."""
    changed = [name for name in sorted(set(recorded) | set(now)) if recorded.get(name) != now.get(name)]
    return f"{changed[0]} has changed" if changed else ""


def _upstream(recorded: dict, wanted: Wanted) -> str:
    if set(recorded) != set(wanted.upstream):
        other = min(set(recorded) ^ set(wanted.upstream))
        return f"{other} is read now" if other in wanted.upstream else f"{other} was read, and is not there now"
    for name, folder in wanted.upstream.items():
        if manifests.read_manifest(folder)["content_hash"] != recorded[name]["content_hash"]:
            return f"{name} has changed"
        # The verdict also reads times and memory, which a content hash leaves out.
        if (
            stages.is_verdict(wanted.instance)
            and sha256_file(folder / manifests.NAME) != recorded[name]["manifest_sha256"]
        ):
            return f"{name} was run again"
    return ""


def _notebook(recorded: dict, wanted: Wanted) -> str:
    source = wanted.root / "notebooks" / f"{stages.split(wanted.instance)[0]}.ipynb"
    return "" if notebooks.source_hash(source) == recorded["notebook"]["sha256"] else f"{source.name} was edited"


def _code(recorded: dict, root: Path) -> str:
    now = manifests.code_record(root, list(recorded["files"]))
    for name, digest in recorded["files"].items():
        if now["files"][name] != digest:
            return f"tunebook/{name} has changed"
    if now["requirements_sha256"] != recorded["requirements_sha256"]:
        return "requirements.txt has changed"
    return "" if now["code_hash"] == recorded["code_hash"] else "the code record is damaged"


def _device(environment: dict) -> str:
    """Device and precision are a function of the machine and the params, so the machine stands for both.

    What a GPU computed is kept beside another processor: each virtual machine of a cloud may have another one.
    """
    if str(environment.get("device", "")).startswith("cuda") and environment["gpus"] == list(provenance.gpus()):
        return ""
    return (
        ""
        if environment["device_fingerprint"] == provenance.device_fingerprint()
        else "it was made on another processor or GPU"
    )


def _files(folder: Path, recorded: dict) -> str:
    if recorded["by"] == "runner" and not (folder / "executed.ipynb").is_file():
        return "its executed notebook is missing"
    for record in recorded["files"]:
        problem = manifests.file_problem(folder, record)
        if problem:
            return f"{record['path']}: {problem}"
    return ""
