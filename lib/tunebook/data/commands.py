"""`tunebook validate`: judge a file of rows before training. Parses flags and prints; `judge_data` judges."""

import argparse
import dataclasses
import json
import sys

from tunebook.errors import InputProblem
from tunebook.terminal import aligned, counted, paragraphs

ROW_TYPES = ("prompt_completion", "messages", "text", "preference", "kto")
FILE_FORMATS = ("jsonl", "json", "csv", "parquet")
MAP_HELP = (
    "e.g. prompt=question, prompt=instruction+input, messages=input.messages, completion=answers.text[0]; also system, "
    "context, history, tools, label, weight; system=first_user"
)


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
    parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help=MAP_HELP)
    parser.add_argument(
        "--drop", action="append", default=[], metavar="NAME", help="a column or message key to leave out"
    )
    parser.add_argument(
        "--train-on", default="all", choices=("all", "last"), help="assistant turns of a conversation that are trained"
    )
    parser.add_argument("--revision", default="", help="revision of a Hub data set")
    parser.add_argument(
        "--model", default="", metavar="MODEL", help="a folder, owner/name or package: its tokenizer counts tokens"
    )
    parser.add_argument("--model-revision", default="", help="revision of the model")
    parser.add_argument("--chat-template", default="model", help="model (its own), chatml or plain, with --model")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="the cut, with --model; 1024 by default")
    parser.add_argument("--run", default="", help="a run that trained on these rows: would more of them help?")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=validate)


def validate(args: argparse.Namespace) -> int:
    """Print the verdict line and the findings; 0 for pass and warn, 1 for fail."""
    from tunebook.data.gate_progress import Progress
    from tunebook.data.mapping import reading_of
    from tunebook.data.notes import merge_findings, status_of_findings
    from tunebook.data.sources import read_rows
    from tunebook.data.validate import HUMANEVAL, judge_data

    if args.max_length is not None and (args.max_length < 1 or not args.model):
        raise InputProblem(
            f"--max-length {args.max_length}: give at least 1 token, and --model, whose tokenizer counts"
        )
    file_format = args.format if args.format in FILE_FORMATS else ""
    kind = args.format if args.format in ROW_TYPES else ""
    reading = reading_of(args.map, kind, args.drop, args.train_on)
    names = list(dict.fromkeys([HUMANEVAL, *(name for group in args.against for name in group)]))
    benchmarks = {name: load_against(name) for name in names}
    curve = _curve_findings(args.run) if args.run else []
    progress = Progress(sys.stderr, len(names))
    rows = read_rows(args.data, revision=args.revision, file_format=file_format, progress=progress)
    judgement = judge_data(rows, reading, benchmarks, progress)
    lengths, trained = _length_findings(judgement.examples, args) if args.model else ([], "")
    progress.end()
    known = [item for item in judgement.findings if not (args.model and item.check == "template_fields")]
    findings = merge_findings(known, lengths, curve)
    judgement = dataclasses.replace(judgement, verdict=status_of_findings(findings), findings=findings)
    account = judgement.examples.account
    if args.json:
        shown = [item.to_dict() for item in findings]
        facts = {"account": account.table(), "trained": account.counts(), "compared": judgement.compared}
        print(json.dumps({"verdict": judgement.verdict, "n_rows": judgement.n_rows, "findings": shown, **facts}))
    else:
        print(findings_text(args.data, judgement))
        print(account_text(judgement, trained))
    return 1 if judgement.verdict == "fail" else 0


def _length_findings(examples, args: argparse.Namespace) -> tuple[list, str]:
    """The checks that need the model's tokenizer and its own chat template; and how many tokens are trained."""
    from tunebook.data.lengths import check_lengths
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.rendering import measure_row
    from tunebook.models.source import resolve_model

    measure = measure_row(load_tokenizer(resolve_model(args.model, args.model_revision), args.chat_template))
    rows = [{**row, "record": examples.place(number)} for number, row in enumerate(examples)]
    _, findings, _, lengths = check_lengths(rows, measure, args.max_length or 1024)
    trained, total = (sum(counts) for counts in zip(*lengths, strict=True)) if lengths else (0, 0)
    return findings, f"{trained:,} of {total:,} tokens"


def _curve_findings(run: str) -> list:
    """What the losses of a finished run say about more rows."""
    from tunebook.data.curve import curve_sentence as describe_curve
    from tunebook.data.curve import fit_curve, read_curve
    from tunebook.data.notes import word_finding
    from tunebook.pipeline.runs import find_root, outputs_root, run_folder_to_read

    rows, losses = read_curve(run_folder_to_read(run, outputs_root(find_root())))
    found = fit_curve(rows, losses)
    detail = describe_curve(found) if found else f"{len(rows)} steps are too few to tell"
    return [word_finding("more_rows", rows[-1] if rows else 0, detail=detail)]


def load_against(name: str) -> list[dict]:
    """The problems of a benchmark; any other file of rows counts as one whose problems are the rows (of plain text: the
    texts).

    Raises InputProblem for a file that is neither.
    """
    from tunebook.data.checks.code import python_of
    from tunebook.data.examples import read_examples
    from tunebook.data.sources import read_rows
    from tunebook.evaluation.benchmark import load_benchmark

    try:
        return list(load_benchmark(name).problems)
    except InputProblem:
        examples = read_examples(read_rows(name))
        if not len(examples):
            raise InputProblem(
                f"{name}: neither a benchmark nor rows with a question and an answer, so there is nothing to compare"
                " with: convert it to JSON lines with prompt and completion"
            ) from None
    problems = []
    for number, prompt, answer in examples.texts():
        prompt, answer = (prompt, answer) if prompt else (answer, "")
        task = f"row {examples.place(number)[0]}"
        kind = "code" if python_of(answer)[0] else "answer"
        problems.append({"task_id": task, "prompt": prompt, "canonical_solution": answer, "kind": kind})
    return problems


def findings_text(name: str, judgement) -> str:
    """The verdict line and one paragraph a finding."""
    findings = [item.to_dict() for item in judgement.findings]
    first = f"{judgement.verdict.upper()}: {name}, {judgement.n_rows} rows, {counted(findings)}"
    return "\n".join([first, *paragraphs(findings)])


def account_text(judgement, tokens: str) -> str:
    """What becomes of every column, what is trained, and with how many problems of each benchmark the rows were
    compared.
    """
    account = judgement.examples.account
    rows = account.table() if len(judgement.examples) else []
    how = [(row["column"], f"{row['becomes']}: {row['how']}" if row["how"] else row["becomes"]) for row in rows]
    lines = ["", aligned(how), f"trained: {account.trained()}" + (f", {tokens}" if tokens else "")] if rows else [""]
    for name, (n, total) in judgement.compared.items():
        lines.append(f"compared with {n} of {total} problems of {name}")
    return "\n".join(lines)
