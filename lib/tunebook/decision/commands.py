"""`tunebook drift`, `report` and `upgrade`. Parses flags and prints; `drift`, `page` and `upgrade` do the work."""

import argparse
import json


def add(subparsers) -> None:
    """Add the three commands."""
    parser = subparsers.add_parser("report", help="make a run's page anew from what is on disk, also without a verdict")
    parser.add_argument("run", metavar="RUN", help="name under outputs/ or path of a run")
    parser.set_defaults(handler=report)
    parser = subparsers.add_parser(
        "drift",
        help="have the inputs moved, and does the shipped file still give its score?",
        description="Watch a shipped file: exit 1 where a rule of the specification says that something must be done.",
    )
    parser.add_argument(
        "--run", required=True, metavar="RUN", help="name under outputs/ or path of the run that shipped"
    )
    parser.add_argument("--inputs", metavar="FILE", help="new inputs, JSON lines with prompt, messages, input or text")
    parser.add_argument(
        "--no-canary", action="store_true", help="do not score the file again (it takes a minute or more)"
    )
    parser.add_argument(
        "--limit", type=float, default=0.65, metavar="AUC", help="inputs have moved above this (default 0.65)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the comparison of inputs (default 0)")
    parser.add_argument("--allow-unisolated", action="store_true", help="run model code even without isolation")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=drift)
    parser = subparsers.add_parser(
        "upgrade",
        help="a new base or price since a run shipped: keep what ships, train again, or retire it?",
        description="Runs what has changed beside RUN, pairs it with what ships: exit 1 on RETRAIN and RETIRE.",
    )
    parser.add_argument("run", metavar="RUN", help="name under outputs/ or path of the run that shipped")
    parser.add_argument("--model", default="", metavar="NEW", help="the new base, in the forms of the parameter model")
    parser.add_argument("--model-revision", default="", metavar="R", help="its version, commit or tag")
    parser.add_argument("--hosted-model", default="", metavar="NAME", help="the new hosted model's name at its server")
    parser.add_argument("--set", dest="sets", action="append", nargs="+", default=[], metavar="KEY=VALUE",
                        help="prices, and what the new model needs")  # fmt: skip
    parser.add_argument("--retrain", action="store_true", help="train the new base too, as the old one was trained")
    parser.add_argument("--name", default="", help="name of the new run; by default RUN-upgrade-...")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(handler=upgrade)


def drift(args: argparse.Namespace) -> int:
    """0 when every rule that was looked at holds, 1 otherwise."""
    from pathlib import Path

    from tunebook.decision import drift as room
    from tunebook.errors import InputProblem
    from tunebook.pipeline.runs import find_root, outputs_root, run_folder_to_read

    if not args.inputs and args.no_canary:
        raise InputProblem("nothing to look at: give --inputs, or leave --no-canary out")
    if not 0.5 <= args.limit < 1:
        raise InputProblem(f"--limit {args.limit} is no AUC from 0.5 (not to be told apart) to 1")
    if not 0 <= args.seed < 2**32:
        raise InputProblem(f"--seed {args.seed} is no seed: give a whole number from 0 to {2**32 - 1}")
    texts = room.read_inputs(Path(args.inputs)) if args.inputs else None
    found = room.read_run(run_folder_to_read(args.run, outputs_root(find_root())))
    moved = room.input_drift(found, texts, args.limit, args.seed) if texts else None
    watched = None if args.no_canary else room.canary(found, room.open_shipped, args.allow_unisolated)
    advice = room.advise(found, moved, watched)
    if args.json:
        print(
            json.dumps(
                {"drift": moved, "canary": watched, "rules": advice, "base_upgrade": room.UPGRADE}, sort_keys=True
            )
        )
    else:
        print(describe(moved, watched, advice))
    return 1 if any(row["holds"] is False for row in advice) else 0


def upgrade(args: argparse.Namespace) -> int:
    """0 on KEEP, 1 where something must be done, the code of the problem where a stage broke off."""
    import sys

    from tunebook.decision.upgrade import changes, sheet, upgrading
    from tunebook.pipeline.progress import Display
    from tunebook.pipeline.runs import find_root, outputs_root, run_folder_to_read

    root = find_root()
    sets = tuple(text for texts in args.sets for text in texts)
    asked = changes.Asked(args.model, args.model_revision, args.hosted_model, sets, args.retrain)
    folder = run_folder_to_read(args.run, outputs_root(root))
    found, code = upgrading.upgrade(root, folder, asked, args.name, Display(sys.stderr if args.json else sys.stdout))
    if found:
        print(json.dumps(found, sort_keys=True) if args.json else sheet.text_of(found))
        return int(found["answer"] != "KEEP")
    return code


def report(args: argparse.Namespace) -> int:
    """Print what is missing, then where the page is."""
    from tunebook.decision.page import remake
    from tunebook.pipeline.runs import RunLock, find_root, outputs_root, run_folder_to_read

    folder = run_folder_to_read(args.run, outputs_root(find_root()))
    with RunLock(folder, "tunebook report"):
        for text in remake(folder):
            print(f"missing: {text}")
    print(f"report: {folder / 'report.html'}")
    return 0


def describe(moved: dict | None, watched: dict | None, advice: list[dict]) -> str:
    """The findings as text for a terminal."""
    from tunebook.decision.drift import UPGRADE
    from tunebook.terminal import escaped

    lines = []
    if moved:
        low, high = moved["interval"]
        lines.append(
            f"inputs   AUC {moved['auc']:.2f} [{low:.2f}, {high:.2f}] between {moved['n_a']} training prompts and"
            f" {moved['n_b']} new inputs"
        )
        for word in moved["words"]:
            lines.append(f"           {escaped(word['word'])}: {word['share_a']:.1%} -> {word['share_b']:.1%} of texts")
    if watched:
        low, high = watched["interval"]
        lines.append(
            f"canary   {watched['target']}: {watched['k_a']}/{watched['n']} recorded, {watched['k_b']}/{watched['n']}"
            f" now, {watched['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], exact McNemar p ="
            f" {watched['p_exact']:.3g}"
        )
    for row in advice:
        word = {True: "holds", False: "BROKEN", None: "not looked at"}[row["holds"]]
        lines.append(f"rule     {word}: {row['rule']}" + (f"; {row['advice']}" if row["holds"] is False else ""))
    return "\n".join([*lines, f"rule     {UPGRADE}"])
