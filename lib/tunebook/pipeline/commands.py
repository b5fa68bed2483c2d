"""`tunebook run`, `status`, `verify`, `reproduce` and `ledger`. Parses flags and prints; the modules beside it do
the work.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import record, runs
from tunebook.pipeline import study as studies
from tunebook.pipeline.executor import read_progress
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import why_not
from tunebook.terminal import aligned

RUN_HELP = "name under outputs/ or path of a run"


def add(subparsers) -> None:
    """Add the five commands."""
    parser = subparsers.add_parser("run", help="run a study", description="Run a study: exit 0 only on the verdict GO.")
    parser.add_argument("params", metavar="PARAMS", help="study file, or its name in params/")
    parser.add_argument("--run", default="", metavar="NAME", help="name of the run; the study's name otherwise")
    parser.add_argument(
        "--from", dest="start_from", default="", metavar="STAGE", help="run this stage and all after it again"
    )
    parser.add_argument("--only", default="", metavar="STAGE", help="run this stage alone, again")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="change one parameter"
    )
    parser.add_argument(
        "--exit-zero-when-complete", action="store_true", help="exit 0 when the study completes, whatever its verdict"
    )
    parser.set_defaults(handler=run)
    parser = subparsers.add_parser("status", help="stages of a run, and which would be reused")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.set_defaults(handler=status)
    parser = subparsers.add_parser(
        "verify", help="hash a run's files again", description="Hash again: exit 4 on a difference."
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.set_defaults(handler=verify)
    parser = subparsers.add_parser("reproduce", help="run a recorded study again at its commit and compare")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--keep", action="store_true", help="keep the temporary checkout with the new run")
    parser.set_defaults(handler=reproduce)
    parser = subparsers.add_parser("ledger", help="every run so far, and how often each test split was opened")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=show_ledger)


def run(args: argparse.Namespace) -> int:
    """Run a study with its progress on stdout."""
    from tunebook.pipeline.progress import Display
    from tunebook.pipeline.study import Request, run_study

    request = Request(args.params, args.run, args.start_from, args.only, tuple(args.sets), args.exit_zero_when_complete)
    return run_study(_root(args.params), request, Display(sys.stdout))


def status(args: argparse.Namespace) -> int:
    """Print the table of stages."""
    root = _root()
    print(describe_run(root, _folder(root, args.run)))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Print what differs; 4 when anything does."""
    from tunebook.pipeline.verify import verify_run

    found = verify_run(_folder(_root(), args.run))
    for problem in found.problems:
        print(f"different: {problem}")
    for name in found.unstored:
        print(f"unstored: {name}")
    for note in found.notes:
        print(f"note: {note}")
    verdict = f"{len(found.problems)} differ" if found.problems else "all intact"
    print(f"{found.n_files - len(found.unstored)} files verified, {verdict}, {len(found.unstored)} not stored")
    return 4 if found.problems else 0


def reproduce(args: argparse.Namespace) -> int:
    """Run again and compare; 1 at the first divergence."""
    from tunebook.pipeline.verify import reproduce_run

    root = _root()
    return reproduce_run(root, _folder(root, args.run), args.keep, lambda text: print(text, flush=True))


def show_ledger(args: argparse.Namespace) -> int:
    """Print the runs, oldest first, and the test splits."""
    from tunebook.pipeline import ledger
    from tunebook.pipeline.runs import outputs_root

    entries, torn = ledger.read_ledger(outputs_root(_root()))
    tables = {"runs": ledger.ledger_rows(entries), "splits": ledger.splits(entries)}
    if args.json:
        print(json.dumps({**tables, "unreadable_lines": torn}))
        return 0
    print("\n\n".join(aligned(rows) for rows in tables.values() if rows) or "no run is in the ledger yet")
    if torn:
        print(f"note: {torn} lines could not be read and are not counted")
    return 0


def _root(path: str = ""):
    from pathlib import Path

    from tunebook.pipeline.runs import find_root

    return find_root(Path(path).parent if path and Path(path).is_file() else None)


def _folder(root, text: str):
    from tunebook.pipeline.runs import outputs_root, run_folder_to_read

    return run_folder_to_read(text, outputs_root(root))


def describe_run(root: Path, folder: Path) -> str:
    """The table as text, with the verdict below it."""
    loaded = record.load_record(folder)
    study, missing = record.study_of(root, folder)
    try:
        plan = studies.make_plan(root, folder, study, Display(io.StringIO()))
        notes = record.came_later(folder.name, missing, plan.declared)
    except InputProblem as problem:  # the notebooks have moved on since
        plan, notes = None, [f"it cannot run again as it is: {problem}"]
    is_writing = any(state["state"] == "running" for state in loaded["states"].values()) and _is_locked(folder)
    rows = [("stage", "state", "seconds", "hash", "now")]
    for instance, state in loaded["states"].items():
        now = _now(plan, instance, state) if plan else "cannot run"
        rows.append((instance, *_describe_state(folder / instance, state, is_writing), now))
    lines = [aligned(rows), *notes]
    lines += [f"  {name}: {state['message']}" for name, state in loaded["states"].items() if state.get("message")]
    lines += [f"upgrade: {loaded['answer']}"] if loaded.get("answer") else []
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


def _now(plan: studies.Plan, instance: str, state: dict) -> str:
    if state["state"] not in record.FINISHED:
        return "would run"
    try:
        reason = why_not(plan.folder / instance, studies.wanted_now(plan, instance))
    except InputProblem as problem:
        reason = str(problem)
    return f"would run: {reason}" if reason else "would be reused"


def _is_locked(folder: Path) -> bool:
    try:
        with runs.RunLock(folder):
            return False
    except MachineProblem:
        return True
