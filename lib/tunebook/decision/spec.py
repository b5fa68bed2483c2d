"""The task's specification: frozen and hashed before training, judged against afterwards.

Does not measure and does not decide.
"""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.pipeline.files import hash_json, read_json, write_json

NEEDED = ("input", "output", "users", "metric", "wrong_answer_cost", "stability")
VAGUE = ("todo", "tbd", "?", "n/a", "none", "unknown")


def build_spec(shipped: dict, given: dict, thresholds: dict) -> dict:
    """The specification: the shipped task's fields, overridden by those of `given` that are not empty, plus `thresholds`.

    `thresholds` are the numbers that the verdict is judged by. Raises InputProblem when the smallest gain is negative, or
    the largest loss is not above 0.
    """
    if thresholds["smallest_gain"] < 0:
        raise InputProblem(f"smallest_gain is {thresholds['smallest_gain']}; it is a gain in points, so 0 or more")
    if thresholds["largest_loss"] <= 0:
        raise InputProblem(f"largest_loss is {thresholds['largest_loss']}; it is a loss in points, so above 0")
    return {**shipped, **{key: value for key, value in given.items() if value != ""}, **thresholds}


def missing_fields(spec: dict) -> list[str]:
    """Names of the fields which nobody filled in, or filled with a word that says nothing."""
    return [name for name in NEEDED if str(spec.get(name, "")).strip().lower() in ("", *VAGUE)]


def freeze(spec: dict, path: Path) -> str:
    """Writes the specification with its hash, and returns the hash."""
    digest = hash_json(spec)
    write_json(path, {"spec": spec, "sha256": digest})
    return digest


def read_frozen(path: Path) -> tuple[dict, str]:
    """The frozen specification and its hash. Raises IntegrityProblem when it was changed after it was frozen."""
    stored = read_json(path)
    if hash_json(stored["spec"]) != stored["sha256"]:
        raise IntegrityProblem(
            f"{path}: the specification was changed after it was frozen; start a new run for a new one"
        )
    return stored["spec"], stored["sha256"]
