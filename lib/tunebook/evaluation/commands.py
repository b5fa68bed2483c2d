"""`tunebook score`, `tunebook compare` and `tunebook power`: arguments in, a short table or one JSON object out."""

import argparse
import json
import math
import sys
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation.reply import ANSWERS, BLOCKS


def add(subparsers) -> None:
    """Add the three commands to the command line's parser."""
    _add_score(subparsers)
    parser = subparsers.add_parser("compare", help="is score B better than score A, or is it chance?")
    parser.add_argument("scores_a", metavar="SCORES_A", help="score folder or scores.jsonl")
    parser.add_argument("scores_b", metavar="SCORES_B", help="score folder or scores.jsonl")
    parser.add_argument(
        "--margin", type=_number, default=0.0, metavar="POINTS", help="points that B must be ahead by (default 0)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=compare_scores)

    parser = subparsers.add_parser("power", help="how many problems does it take to show a gain?")
    parser.add_argument("--base", type=_number, required=True, help="pass@1 before, a fraction: 0.306")
    parser.add_argument(
        "--gain", type=_number, required=True, help="the gain to be shown, a fraction: 0.036 for 3.6 points"
    )
    parser.add_argument(
        "--correlation", type=_number, default=0.47, help="of right answers between the models (default 0.47)"
    )
    parser.add_argument("--problems", type=_whole, default=164, help="problems at hand (default 164)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=power)


def _add_score(subparsers) -> None:
    parser = subparsers.add_parser("score", help="judge completions of a benchmark and print pass@1 with its interval")
    add_judging(parser)
    parser.add_argument(
        "--completions", required=True, help="rows with task_id and completion, or samples of EvalPlus or a harness"
    )
    parser.add_argument("--out", required=True, help="folder for scores.jsonl, protocol.json and metrics.json")
    parser.add_argument(
        "--protocol", help="protocol.json of the completions; without it their protocol is recorded as unknown"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=PATH",
        help="where a field of ours stands in a row of another form",
    )
    parser.add_argument("--leave-out", action="append", default=[], metavar="TASK_ID,...", help="problems not to score")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=score_command)


def add_judging(parser) -> None:
    """Adds what a benchmark and its judge are told by: for `score` and `judge`."""
    parser.add_argument(
        "--benchmark",
        required=True,
        help='"humaneval", or a file in its schema or as MBPP, EvalPlus or GSM8K publish theirs',
    )
    parser.add_argument(
        "--answer-reading", choices=ANSWERS, help="how the answer is taken (default: as the benchmark says)"
    )
    parser.add_argument("--code-block", choices=BLOCKS, help="which block that defines the function (default: last)")
    parser.add_argument("--cpu-seconds", type=_number, help="CPU time of one program (default 3)")
    parser.add_argument("--workers", type=_whole, help="programs judged at once (default: one a core)")
    parser.add_argument(
        "--allow-unisolated", action="store_true", help="run model code even where the machine gives no isolation"
    )


def judging_fields(args) -> dict:
    """Fields of the Protocol that the options of `add_judging` name; what was not given is left out."""
    said = {key: getattr(args, key) for key in ("answer_reading", "code_block", "cpu_seconds")}
    return {key: value for key, value in said.items() if value is not None}


def score_command(args) -> int:
    """Exit 0 when every completion was judged, whatever the score."""
    from tunebook.evaluation import completions, measure, shapes
    from tunebook.evaluation.benchmark import load_benchmark
    from tunebook.evaluation.score import score as score_completions
    from tunebook.files import read_json

    if not args.out.strip():
        raise InputProblem("--out is empty: name a folder for the score")
    mapping = shapes.read_mapping(args.map)
    whole = load_benchmark(args.benchmark, mapping)
    left_out = [task for names in args.leave_out for task in names.split(",")]
    for task in left_out:
        if task not in whole.task_ids():
            raise InputProblem(f"--leave-out {task}: {whole.name} has no such problem: name task_ids of the benchmark")
    rows = completions.read_completions(args.completions, whole, mapping, set(left_out))
    problems = whole.without(left_out)
    protocol = read_json(args.protocol) if args.protocol else {}
    protocol |= judging_fields(args)
    metrics = score_completions(
        problems, rows, Path(args.out), protocol, workers=args.workers, allow_unisolated=args.allow_unisolated
    )
    metrics["left_out"] = left_out
    print(json.dumps(metrics, sort_keys=True) if args.json else measure.score_text(metrics))
    return 0


def compare_scores(args) -> int:
    """Exit 0 only on GO."""
    from tunebook.evaluation import measure, protocol
    from tunebook.evaluation.score_folder import read_scores
    from tunebook.statistics.compare import GO
    from tunebook.statistics.compare import compare_paired as compare_passed

    if not 0 <= args.margin <= 100:
        raise InputProblem(f"--margin is {args.margin:g}: it is in points, 0 to 100")
    a, b = read_scores(args.scores_a), read_scores(args.scores_b)
    protocol.require_comparable(a.protocol, b.protocol, a.path, b.path)
    unknown = protocol.unknown_fields(a.protocol, b.protocol)
    if unknown:
        print(f"warning: {unknown}", file=sys.stderr)
    result = compare_passed(a.passed, b.passed, args.margin)
    result["protocol"] = protocol.UNKNOWN if unknown else a.protocol.get("sha256", protocol.UNKNOWN)
    print(json.dumps(result, sort_keys=True) if args.json else measure.compare_text(result, a.path, b.path))
    return 0 if result["verdict"] == GO else 1


def power(args) -> int:
    """Exit 0; the numbers are for 80% power at p < 0.05, two-sided."""
    from tunebook.evaluation import measure
    from tunebook.statistics.power import plan

    result = plan(args.base, args.gain, args.correlation, args.problems)
    print(json.dumps(result, sort_keys=True) if args.json else measure.power_text(result))
    return 0


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}")
    return value
