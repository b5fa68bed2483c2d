"""How far a run is: a table of its stages, and whether each would be reused now. Reads only."""

import contextlib
import io
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import params, record, run, runs
from tunebook.pipeline.executor import read_progress
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import why_not

HEADER = ("stage", "state", "seconds", "hash", "now")


def describe_run(root: Path, folder: Path) -> str:
    """The table as text, with the verdict below it."""
    loaded = record.load(folder)
    study = params.Study(path=folder / record.NAME, **loaded["study"])
    try:
        plan, hindrance = run.make_plan(root, folder, study, Display(io.StringIO())), ""
    except InputProblem as problem:  # the notebooks have moved on since
        plan, hindrance = None, f"it cannot run again as it is: {problem}"
    is_writing = any(state["state"] == "running" for state in loaded["states"].values()) and _is_locked(folder)
    rows = [HEADER]
    for instance, state in loaded["states"].items():
        rows.append(
            (
                instance,
                *_describe_state(folder / instance, state, is_writing),
                "cannot run" if hindrance else _now(plan, instance, state),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
    lines += [hindrance] if hindrance else []
    lines += [f"  {name}: {state['message']}" for name, state in loaded["states"].items() if state.get("message")]
    return "\n".join([*lines, f"verdict: {loaded.get('verdict') or 'none yet'}"])


def _describe_state(folder: Path, state: dict, is_writing: bool) -> tuple[str, str, str]:
    name = state["state"]
    if name == "running":
        progress = read_progress(folder)
        place = f" {progress['done']}/{progress['total']}" if progress.get("total") else ""
        name = f"running{place}" if is_writing else "broken off"
    seconds = state.get("seconds", "")
    with contextlib.suppress(InputProblem, KeyError):
        if state.get("reused"):
            seconds = manifests.read_json(folder / manifests.NAME)["timing"]["seconds"]
    return name, f"{seconds:.1f}" if seconds != "" else "", state.get("content_hash", "")[:8]


def _now(plan: run.Plan, instance: str, state: dict) -> str:
    if state["state"] not in record.FINISHED:
        return "would run"
    try:
        reason = why_not(plan.folder / instance, run.wanted_now(plan, instance))
    except InputProblem as problem:
        reason = str(problem)
    return f"would run: {reason}" if reason else "would be reused"


def _is_locked(folder: Path) -> bool:
    try:
        with runs.RunLock(folder):
            return False
    except MachineProblem:
        return True
