"""`tunebook validate`: judge a file of rows before anything is trained. Parses flags and prints; `judge` judges."""

import argparse
import json
import sys
import textwrap

from tunebook.errors import InputProblem

ROW_TYPES = ("prompt_completion", "messages", "text", "preference")
FILE_FORMATS = ("jsonl", "json", "csv", "parquet")
N_SHOWN = 8
HUMANEVAL = "humaneval"  # always looked for: it is what most studies report


def add(subparsers) -> None:
    """Add the `validate` command."""
    parser = subparsers.add_parser(
        "validate", help="judge rows before training", description="Judge rows before training: exit 1 on any error."
    )
    parser.add_argument("data", metavar="DATA", help="jsonl, json, csv or parquet file (or .gz), owner/name, or a task")
    parser.add_argument(
        "--format",
        default="",
        metavar="F",
        choices=("", *ROW_TYPES, *FILE_FORMATS),
        help=f"row type ({', '.join(ROW_TYPES)}) or file format ({', '.join(FILE_FORMATS)}); found by itself otherwise",
    )
    parser.add_argument(
        "--against",
        action="append",
        nargs="+",
        default=[],
        metavar="BENCHMARK",
        help="benchmark files; HumanEval always",
    )
    parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help="e.g. prompt=question")
    parser.add_argument("--revision", default="", help="revision of a Hub data set")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=validate)


def validate(args: argparse.Namespace) -> int:
    """Print the verdict line and the findings; 0 for pass and warn, 1 for fail."""
    from tunebook.data.judge import judge
    from tunebook.data.sources import read_rows

    file_format = args.format if args.format in FILE_FORMATS else ""
    kind = args.format if args.format in ROW_TYPES else ""
    names = list(dict.fromkeys([HUMANEVAL, *(name for group in args.against for name in group)]))
    benchmarks = {name: load_against(name) for name in names}
    rows = read_rows(args.data, revision=args.revision, file_format=file_format)
    progress = None if args.json or not sys.stderr.isatty() else _show_progress
    judgement = judge(rows, args.map, kind, benchmarks, progress)
    if args.json:
        findings = [item.to_dict() for item in judgement.findings]
        print(json.dumps({"verdict": judgement.verdict, "n_rows": judgement.n_rows, "findings": findings}))
    else:
        print(describe(args.data, judgement))
    return 1 if judgement.verdict == "fail" else 0


def load_against(name: str) -> list[dict]:
    """The problems of a benchmark; any other file of rows counts as one whose problems are the rows' prompts.

    Raises InputProblem for a file that is neither.
    """
    from tunebook.data.examples import read_examples
    from tunebook.data.sources import read_rows
    from tunebook.evaluation.benchmark import load

    try:
        return list(load(name).problems)
    except InputProblem:
        examples = read_examples(read_rows(name))
        if not len(examples):
            raise
        return [
            {"task_id": f"row {examples.place(n)[0]}", "prompt": p, "kind": "answer"} for n, p, _ in examples.texts()
        ]


def _show_progress(done: int, total: int, note: str) -> None:
    print(f"\r{done}/{total} {note:40s}", end="" if done + 1 < total else "\r", file=sys.stderr, flush=True)


def describe(name: str, judgement) -> str:
    """The verdict line and one paragraph a finding, for a terminal of 100 characters."""
    counts = [sum(item.severity == severity for item in judgement.findings) for severity in ("error", "warn")]
    lines = [f"{judgement.verdict.upper()}: {name}, {judgement.n_rows} rows, {counts[0]} errors, {counts[1]} warnings"]
    for item in judgement.findings:
        lines.append("")
        lines.append(f"{item.severity:5s}  {item.check}")
        lines += textwrap.wrap(item.message, 92, initial_indent="       ", subsequent_indent="       ")
        if len(item.rows) > 1:
            more = " ..." if item.count > N_SHOWN else ""
            lines.append(f"       rows: {', '.join(map(str, item.rows[:N_SHOWN]))}{more}")
        lines.append(f"       what to do: {item.fix}")
    return "\n".join(lines)
