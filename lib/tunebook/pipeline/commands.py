"""`tunebook run`, `status`, `verify`, `reproduce` and `ledger`. Parses flags and prints; the modules beside it do the work."""

import argparse
import json
import sys

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
    from tunebook.pipeline.status import describe_run

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
    from tunebook.pipeline.reproduce import reproduce_run

    root = _root()
    return reproduce_run(root, _folder(root, args.run), args.keep, lambda text: print(text, flush=True))


def show_ledger(args: argparse.Namespace) -> int:
    """Print the runs, oldest first, and the test splits."""
    from tunebook.pipeline import ledger
    from tunebook.pipeline.runs import outputs_root

    entries, torn = ledger.read(outputs_root(_root()))
    tables = {"runs": ledger.table(entries), "splits": ledger.splits(entries)}
    if args.json:
        print(json.dumps({**tables, "unreadable_lines": torn}))
        return 0
    print("\n\n".join(ledger.aligned(rows) for rows in tables.values() if rows) or "no run is in the ledger yet")
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
