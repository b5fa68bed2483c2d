"""All checks on one source, in order: what `tunebook validate` and notebook 01 show. Does not split or remove rows."""

from dataclasses import dataclass, field, replace

from tunebook.data.answers import find_failing_answers
from tunebook.data.codes import find_code_troubles
from tunebook.data.content import find_content_troubles
from tunebook.data.copies import find_copies
from tunebook.data.endings import find_truncated
from tunebook.data.examples import Examples, read_examples
from tunebook.data.languages import find_language_mix
from tunebook.data.leakage import find_contamination
from tunebook.data.near import find_near_duplicates
from tunebook.data.notes import gate, merge
from tunebook.data.pairs import find_pair_troubles
from tunebook.data.repetition import find_conflicts, find_constant_answer, find_exact_duplicates
from tunebook.data.reworded import find_reworded
from tunebook.data.rows import Rows
from tunebook.data.secrets import find_secrets
from tunebook.data.study import StudyData, examples_of
from tunebook.data.triggers import find_triggers


@dataclass
class Judgement:
    """The verdict ("pass", "warn", "fail"), the number of records in the source, and the findings, errors first.

    `clusters`: near duplicates as lists of record numbers, for display.
    """

    verdict: str
    n_rows: int
    findings: list
    examples: Examples
    clusters: list = field(default_factory=list)


def judge(rows: Rows, mapping=None, kind: str = "", benchmarks: dict | None = None, progress=None) -> Judgement:
    """Run every check that needs no model. `benchmarks`: name → problems. `progress(done, total, note)` is called between.

    Raises InputProblem for a bad mapping or row type.
    """
    return judge_examples(read_examples(rows, mapping, kind), benchmarks, progress)


def judge_study(data: StudyData, benchmarks: dict | None = None, progress=None) -> Judgement:
    """Judge the training rows of a study; its own findings (schema, leakage, removed rows) come along.

    A check that the study made already, on all rows before the split, is not repeated; contamination is told by benchmark.
    """
    judgement = judge_examples(examples_of(data.train), benchmarks, progress)
    known = {item.check for item in data.findings}
    known -= {"contamination", "contamination_near", "contamination_code"}
    findings = merge(data.findings, [item for item in judgement.findings if item.check not in known])
    return replace(judgement, verdict=gate(findings), findings=findings, n_rows=data.n_records)


def judge_examples(examples: Examples, benchmarks: dict | None = None, progress=None) -> Judgement:
    """`judge` on rows that are converted already."""
    rows, clusters = examples.rows, []
    steps = {
        "repetition": lambda: clusters.extend(_repetition(examples)),
        "content": lambda: find_content_troubles(examples),
        "endings": lambda: find_truncated(examples),
        "code": lambda: find_code_troubles(examples),
        "pairs": lambda: find_pair_troubles(examples),
        "triggers": lambda: find_triggers(examples),
        "languages": lambda: find_language_mix(examples),
        "secrets": lambda: find_secrets(examples),
        "answers": lambda: find_failing_answers(examples),
    }
    for name, problems in (benchmarks or {}).items():
        steps[f"contamination by {name}"] = lambda p=problems, n=name: _contamination(examples, p, n)
    for number, (note, step) in enumerate(steps.items()):
        if progress:
            progress(number, len(steps), note)
        if len(examples):
            step()
    findings = merge(rows.findings, examples.notes.findings())
    records = [[examples.place(number)[0] for number in cluster] for cluster in clusters]
    return Judgement(gate(findings), rows.n_records, findings, examples, records)


def _repetition(examples: Examples) -> list:
    find_conflicts(examples)
    find_constant_answer(examples)
    return find_near_duplicates(examples, find_exact_duplicates(examples))


def _contamination(examples: Examples, problems: list[dict], name: str) -> None:
    found = set(find_contamination(examples, problems, name).tolist())
    found.update(find_copies(examples, problems, name, found))
    find_reworded(examples, problems, name, found)
