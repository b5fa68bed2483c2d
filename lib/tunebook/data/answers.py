"""Rows that bring their own `test`: run a seeded sample of the answers and say which fail.

The row's test runs inside the candidate, isolated like the answer, since rows may come from strangers. It shows wrong
data, not cheating; scores are made by `evaluation`. Needs isolation; without it nothing runs and a finding says so.
"""

import ast
import hashlib

from tunebook.data.codes import parse, python_of
from tunebook.data.examples import Examples
from tunebook.errors import MachineProblem

TEST_NAMES = ("test", "tests", "test_list", "test_code", "unit_test", "unit_tests")
SAMPLED_SHARE = (
    10  # of the rows that the language check looks at, one in ten is run: a program takes a tenth of a second
)
_DRIVER = "\n\ndef tunebook_row_passes():\n    {call}\n    return True\n"
_TEST = "def check(candidate):\n    assert candidate() is True\n"


def find_failing_answers(examples: Examples, seed: int = 0, n_sampled: int = 0) -> tuple[int, int]:
    """Note rows whose answer fails the row's test (`TEST_NAMES`); returns (passed, run). Rows without a test are passed over."""
    from tunebook.execution.programs import Program
    from tunebook.execution.runner import run_programs

    n_sampled = n_sampled or max(1, examples.limits.sampled // SAMPLED_SHARE)
    numbers = _rows_with_tests(examples, seed, n_sampled)
    sources = {number: row_program(examples.row(number)) for number in numbers}
    for number in numbers:
        problem = parse(test_of(examples.row(number)))[1]
        if problem:
            examples.add("answers_fail", number, f"the test itself does not parse: {problem}")
    programs = [
        Program(str(number), 0, source, "tunebook_row_passes", _TEST, reference="")
        for number, source in sources.items()
        if source
    ]
    if not programs:
        return 0, 0
    try:
        outcomes = run_programs(programs)
    except MachineProblem as problem:
        examples.notes.add("answers_not_run", detail=str(problem))
        return 0, 0
    run = [
        outcome for outcome in outcomes if outcome.passed is not None and "ModuleNotFoundError" not in outcome.detail
    ]
    for outcome in run:
        if not outcome.passed:
            examples.add(
                "answers_fail", int(outcome.task_id), f"{outcome.verdict}: {outcome.detail[:120]}".rstrip(": ")
            )
    n_passed = sum(outcome.passed for outcome in run)
    if run:
        sampled = f"a sample of {len(run)}" if len(numbers) == n_sampled else f"{len(run)}"
        examples.notes.add("answers_run", detail=f"{n_passed} of {sampled} answers pass ({n_passed / len(run):.1%})")
        examples.notes.set_count("answers_run", len(run))
    return n_passed, len(run)


def _rows_with_tests(examples: Examples, seed: int, n_sampled: int) -> list[int]:
    """At most `n_sampled` numbers of rows with a test, chosen by hash."""
    head = examples.rows.texts.slice(0, 1000).to_pylist()
    if not any(f'"{name}":' in text for text in head for name in TEST_NAMES):
        return []
    numbers = [number for number, row in enumerate(examples) if test_of(row)]
    numbers.sort(key=lambda number: hashlib.sha256(f"{seed}\n{number}".encode()).digest())
    return sorted(numbers[:n_sampled])


def test_of(row: dict) -> str:
    """The row's test as one program, "" where there is none; a column `test` that holds no assertion is something else."""
    for name in TEST_NAMES:
        value = row.get(name)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            value = "\n".join(value)
        if isinstance(value, str) and ("assert" in value or "def check" in value):
            return value
    return ""


def row_program(row: dict) -> str:
    """A program whose function `tunebook_row_passes` runs the row's test on its answer; "" when the form is unknown.

    Known: `def check(candidate)` with an `entry_point`, `def check(answer)` without one, and bare assert lines.
    """
    from tunebook.data.splits import answer_text, prompt_text

    answer, test, entry = answer_text(row), test_of(row), row.get("entry_point") or ""
    tree, _ = parse(test)
    if tree is None:
        return ""
    has_check = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    if has_check and not entry:
        return f"{test}\n\nANSWER = {answer!r}\n" + _DRIVER.format(call="check(ANSWER)")
    code = _solution(prompt_text(row), answer, entry)
    if has_check:
        return f"{code}\n\n{test}\n" + _DRIVER.format(call=f"check({entry})")
    lines = ast.unparse(tree).replace("\n", "\n    ")
    return f"{code}\n" + _DRIVER.format(call=lines)


def _solution(prompt: str, answer: str, entry: str) -> str:
    """The answer as a whole program: its fenced code, itself, or the body that continues the prompt's function."""
    blocks, _ = python_of(answer)
    code = "\n\n".join(blocks) or answer
    defines = f"def {entry}" in code if entry else parse(code)[0] is not None
    return code if defines else prompt + ("" if prompt.endswith("\n") else "\n") + answer
