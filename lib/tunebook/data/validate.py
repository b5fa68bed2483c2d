"""All checks on one source, in order: what `tunebook validate` and notebook 01 show. Does not split or remove rows."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from tunebook.data.checks.code import find_code_troubles, find_copies, find_failing_answers
from tunebook.data.checks.composition import cover, find_domain_gap, find_language_mix, find_triggers
from tunebook.data.checks.contamination import find_contamination, find_reworded, n_comparable
from tunebook.data.checks.pairs import find_pair_troubles, find_score_contradictions
from tunebook.data.checks.repeats import (
    find_conflicts,
    find_constant_answer,
    find_exact_duplicates,
    find_near_duplicates,
)
from tunebook.data.checks.secrets import find_secrets, redact_record
from tunebook.data.checks.text import find_content_troubles, find_repeated_prompts, find_truncated
from tunebook.data.examples import Examples, Thresholds, read_examples
from tunebook.data.mapping import Reading
from tunebook.data.notes import merge_findings, status_of_findings
from tunebook.data.rows import Rows
from tunebook.data.splits import slice_of
from tunebook.data.study_data import StudyData, examples_of
from tunebook.files import write_jsonl

MIN_ROWS_TO_SPLIT = 20  # one in twenty is dev
HUMANEVAL = "humaneval"
MEASURES_LOSS = (HUMANEVAL, "everyday")  # of what is forgotten, so the rows need not look like them


@dataclass
class Judgement:
    """The verdict ("pass", "warn", "fail"), the number of records in the source, and the findings, errors first.

    `compared`: benchmark → (problems that hold a prompt or an answer to compare, all of them). For display: `clusters`
    of near duplicates as lists of record numbers; `languages`, `coverage` and `domains` as tables (see
    `find_language_mix`, `cover`, `find_domain_gap`).
    """

    verdict: str
    n_rows: int
    findings: list
    examples: Examples
    clusters: list = field(default_factory=list)
    languages: list = field(default_factory=list)
    coverage: list = field(default_factory=list)
    domains: list = field(default_factory=list)
    compared: dict = field(default_factory=dict)


def judge_data(
    rows: Rows,
    reading: Reading = Reading(),
    benchmarks: dict | None = None,
    progress=None,
    limits: Thresholds | None = None,
) -> Judgement:
    """Run every check that needs no model. `benchmarks`: name → problems. `progress(done, total, note)` is called
    between.

    `reading`: how the rows are read (see `mapping.reading_of`). The rows should represent every benchmark but
    HumanEval and everyday. Raises InputProblem for a reading that the rows do not have, and for a benchmark that holds
    nothing to compare.
    """
    benchmarks = benchmarks or {}
    examples = read_examples(rows, reading, limits, progress)
    if 0 < len(examples) < MIN_ROWS_TO_SPLIT:
        examples.notes.add(
            "few_rows", detail=f"{len(examples)} rows; a twentieth of them is dev, three twentieths are test"
        )
    if examples.account.uses_template():
        examples.notes.add("template_fields", detail="give --model to see what its chat template writes")
        examples.notes.set_count("template_fields", examples.account.uses_template())
    represented = tuple(name for name in benchmarks if name not in MEASURES_LOSS)
    judgement = judge_examples(examples, benchmarks, progress, represented)
    problems = [problem for name in represented for problem in benchmarks[name]]
    slices = [slice_of(row) for row in rows] if any(problem.get("slice") for problem in problems) else []
    return _with_coverage(judgement, slices, problems, ())


def judge_study(
    data: StudyData, benchmarks: dict | None = None, progress=None, limits: Thresholds | None = None
) -> Judgement:
    """Judge the training rows of a study; its own findings (schema, leakage, removed rows) come along.

    A check that the study made already, on all rows before the split, is not repeated; contamination is told by
    benchmark. The rows should represent the test problems, and cover the slices of the specification.
    """
    benchmarks = benchmarks or {}
    represented = tuple(name for name, problems in benchmarks.items() if problems is data.test_problems)
    judgement = judge_examples(examples_of(data.train, limits), benchmarks, progress, represented)
    known = {item.check for item in data.findings}
    known -= {"contamination", "contamination_near", "contamination_code", "contamination_reworded"}
    findings = merge_findings(data.findings, [item for item in judgement.findings if item.check not in known])
    judgement = replace(judgement, verdict=status_of_findings(findings), findings=findings, n_rows=data.n_records)
    return _with_coverage(judgement, [slice_of(row) for row in data.train], data.test_problems, data.slices)


def _with_coverage(judgement: Judgement, slices: list, problems: list[dict], expected) -> Judgement:
    table, found = cover(slices, problems, expected)
    findings = merge_findings(judgement.findings, found)
    return replace(judgement, verdict=status_of_findings(findings), findings=findings, coverage=table)


def judge_examples(
    examples: Examples, benchmarks: dict | None = None, progress=None, represented: tuple = ()
) -> Judgement:
    """`judge_data` on rows that are converted already. `represented`: the benchmarks that the rows should look like."""
    rows, shown = examples.rows, {"clusters": [], "languages": [], "domains": []}
    steps = {
        "repetition": lambda: shown["clusters"].extend(_repetition(examples)),
        "content": lambda: _content(examples),
        "endings": lambda: find_truncated(examples),
        "code": lambda: find_code_troubles(examples),
        "pairs": lambda: _pairs(examples),
        "triggers": lambda: find_triggers(examples),
        "languages": lambda: shown["languages"].extend(find_language_mix(examples)),
        "secrets": lambda: find_secrets(examples),
        "answers": lambda: find_failing_answers(examples),
    }
    for name, problems in (benchmarks or {}).items():
        steps[f"contamination by {name}"] = lambda p=problems, n=name: find_problems_in(examples, p, n)
        if name in represented:
            steps[f"domain of {name}"] = lambda p=problems, n=name: shown["domains"].append(
                find_domain_gap(examples, p, n)
            )
    for number, (note, step) in enumerate(steps.items()):
        if progress:
            progress(number, len(steps), note)
        if len(examples) or note == "secrets":
            step()
    findings = merge_findings(rows.findings, examples.notes.findings())
    shown["clusters"] = [[examples.place(number)[0] for number in cluster] for cluster in shown["clusters"]]
    shown["domains"] = [found for found in shown["domains"] if found]
    shown["compared"] = {name: (n_comparable(p), len(p)) for name, p in (benchmarks or {}).items()}
    return Judgement(status_of_findings(findings), rows.n_records, findings, examples, **shown)


def _repetition(examples: Examples) -> list:
    find_conflicts(examples)
    find_constant_answer(examples)
    return find_near_duplicates(examples, find_exact_duplicates(examples))


def _content(examples: Examples) -> None:
    find_content_troubles(examples)
    find_repeated_prompts(examples)


def _pairs(examples: Examples) -> None:
    find_pair_troubles(examples)
    find_score_contradictions(examples)


def find_problems_in(examples: Examples, problems: list[dict], name: str) -> None:
    """Every way in which a row can hold a problem of the benchmark `name`: as it stands, in code, in other words."""
    found = set(find_contamination(examples, problems, name).tolist())
    found.update(find_copies(examples, problems, name, found))
    find_reworded(examples, problems, name, found)


def write_rejects(path: Path, rejects: list[dict]) -> None:
    """Write the rejects (see `notes.reject`) in the order of their rows, secrets and personal data masked."""
    ordered = sorted(rejects, key=lambda item: (item["row"] if item["row"] is not None else -1, item["check"]))
    write_jsonl(path, [redact_record(item) for item in ordered])
