"""The two small tasks: rows from the seed alone, answers that pass, and no benchmark where there is none."""

import ast

import pytest

from tunebook import tasks
from tunebook.errors import InputProblem
from tunebook.evaluation.prompts import CODE_INSTRUCTION, messages
from tunebook.tasks import order_number, python_functions


@pytest.mark.parametrize("name", ["python_functions", "order_number", "text_to_fields"])
def test_rows_depend_on_the_seed_alone(name):
    task = tasks.load(name)
    assert task.make_rows(40, 1) == task.make_rows(40, 1) != task.make_rows(40, 2)
    assert len({row["id"] for row in task.make_rows(40, 1)}) >= 39 and task.instruction and task.spec["metric"]


def test_functions_are_asked_for_in_the_benchmarks_words_and_answered_whole():
    """Another wording in training than in the score would measure the wording."""
    rows = python_functions.make_rows(100, 0)
    for row in rows:
        request, answer = row["prompt"][0]["content"], row["completion"][0]["content"]
        signature = request.removeprefix(f"{CODE_INSTRUCTION}\n\n```python\n").removesuffix("\n```")
        assert messages({"prompt": signature, "kind": "code"})[0]["content"] == request
        source = answer.removeprefix("```python\n").removesuffix("\n```")
        assert source.startswith(signature) and len(ast.parse(source).body) == 1
        assert len(request) + len(answer) <= python_functions.MOST_CHARACTERS


def test_functions_without_tests_are_no_benchmark():
    for broken in (
        lambda: python_functions.make_problems([{}]),
        lambda: python_functions.make_rows(10**6, 0),
        lambda: python_functions.check_answer("", ""),
    ):
        with pytest.raises(InputProblem):
            broken()


def test_the_order_number_is_in_the_message_and_its_problem_accepts_nothing_else():
    for row, problem in zip(rows := order_number.make_rows(50, 3), order_number.make_problems(rows), strict=True):
        number = row["completion"][0]["content"]
        assert number in problem["prompt"] and problem["canonical_solution"] == number
        names = {}
        exec(problem["test"], names)
        names["check"](f" {number}.\n")
        for wrong in ("", number[:-1], f"The number is {number}"):
            with pytest.raises(AssertionError):
                names["check"](wrong)
