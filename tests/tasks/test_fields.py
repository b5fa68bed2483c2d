"""Extraction and facts: the rows' own answers pass, wrong fields fail and are named, and a study of them passes the
data gate.
"""

import json
from random import Random

import pytest

from tunebook import tasks
from tunebook.data.study_data import Sizes, load_study_data
from tunebook.data.validate import judge_study
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.readiness import Judging, check_runner
from tunebook.evaluation.reply import Reading
from tunebook.tasks import facts, order_number, text_to_fields


def check_of(problem: dict):
    names: dict = {}
    exec(problem["test"], names)
    return names[problem["entry_point"]]


@pytest.fixture(scope="module")
def rows():
    return text_to_fields.make_rows(600, 5)


def test_the_rows_own_answers_pass_in_any_order_of_keys_and_white_space(rows):
    for problem in text_to_fields.make_problems(rows):
        record = json.loads(problem["canonical_solution"])
        shuffled = dict(Random(problem["task_id"]).sample(list(record.items()), len(record)))
        for answer in (
            problem["canonical_solution"],
            json.dumps(shuffled, indent=2) + "\n",
            json.dumps(record, ensure_ascii=True),
        ):
            check_of(problem)(answer)


def test_a_fenced_or_indented_answer_comes_whole_out_of_a_completion(rows):
    """The extractor takes one line of an answer unless the right answer has several."""
    problem = text_to_fields.make_problems(rows)[0]
    record = json.loads(problem["canonical_solution"])
    for text in (json.dumps(record, indent=2), json.dumps(record)):
        for completion in (text, f"Here it is:\n```json\n{text}\n```\nAnything else?"):
            check_of(problem)(extract(completion, problem))


def test_another_records_answer_fails(rows):
    for problem, other in zip(problems := text_to_fields.make_problems(rows), problems[1:], strict=False):
        with pytest.raises(AssertionError, match="valid JSON, [0-4] of 5 fields right: "):
            check_of(problem)(other["canonical_solution"])


EXPECTED = '{"order": "KB-4821", "quantity": 1, "total": 12.5, "date": null}'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            '{"order": "KB-4821", "quantity": 2, "total": 12.5, "date": null}',
            "3 of 4 fields right: quantity is 2, not 1",
        ),
        ('{"order": "KB-4821", "quantity": 1, "total": "12.5", "date": null}', '3 of 4 .*: total is "12.5", not 12.5'),
        ('{"order": "KB-4821", "quantity": true, "total": 12.5, "date": null}', "quantity is true, not 1"),
        ('{"order": "KB-4821", "quantity": 1, "total": 12.5}', "3 of 4 fields right: date is missing"),
        (EXPECTED[:-1] + ', "note": "x"}', "4 of 4 fields right: note is not asked for"),
        (f"[{EXPECTED}]", "no object"),
        (f"Here it is: {EXPECTED}", "no valid JSON, 0 of 4"),
        (EXPECTED[:-1], "no valid JSON, 0 of 4"),
        (EXPECTED.replace('"total"', '"order": "KB-4822", "total"'), "no valid JSON, 0 of 4"),
        (EXPECTED.replace("12.5", "NaN"), "no valid JSON"),
        ("", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_a_wrong_answer_is_told_field_by_field(answer, words):
    with pytest.raises(AssertionError, match=words) as caught:
        text_to_fields.check_answer(answer, EXPECTED)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_equal_numbers_are_equal():
    text_to_fields.check_answer('{"date": null, "total": 12.50, "quantity": 1.0, "order": "KB-4821"}', EXPECTED)


def test_what_the_text_gives_is_in_the_answer_and_nothing_else(rows):
    """An answer that the text does not hold would teach to invent."""
    nulls = 0
    for row in rows:
        text, record = row["prompt"][0]["content"], json.loads(row["completion"][0]["content"])
        for name, value in record.items():
            nulls += value is None
            if value is None or name in ("date", "time"):
                continue
            said = f"{value:.2f}" if name == "total" else str(value)
            assert said.casefold() in text.casefold(), row
    assert 30 < nulls < 600
    assert {row["slice"] for row in rows} == set(text_to_fields.SPEC["slices"])


@pytest.mark.parametrize(("name", "n_rows"), [("text_to_fields", 700), ("facts", 400)])
def test_a_study_has_disjoint_splits_and_passes_the_gate_of_01(name, n_rows):
    study = load_study_data(name, "", "", Sizes(n_rows, 50, 150))
    groups = [{row["group"] for row in part} for part in (study.train, study.dev, study.test)]
    assert (len(study.train), len(study.dev), len(study.test_problems)) == (n_rows, 50, 150)
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    judgement = judge_study(study, {"test": study.test_problems})
    assert judgement.verdict != "fail", [(item.check, item.message) for item in judgement.findings]
    for problem in study.test_problems:
        check_of(problem)(problem["canonical_solution"])


def test_a_fact_has_one_answer_whoever_asks_and_the_trained_ones_say_nothing_about_the_others():
    """Were the names to follow a rule, held-out facts could be learned, and the study would measure the rule."""
    heads: dict = {}
    for seed in range(3):
        for row in facts.make_rows(800, seed):
            heads.setdefault(row["group"], set()).add(row["completion"][0]["content"])
    assert len(heads) > 1000 and all(len(names) == 1 for names in heads.values())
    assert len({next(iter(names)) for names in heads.values()}) > 0.98 * len(heads)
    facts.check_answer(" Elogan Varidor.\n", "Elogan Varidor")
    for wrong in ("", "Varidor", "Elogan Varidor leads it"):
        with pytest.raises(AssertionError):
            facts.check_answer(wrong, "Elogan Varidor")


def test_both_are_tasks_with_a_specification():
    for name in ("text_to_fields", "facts"):
        task = tasks.load(name)
        assert task.instruction and task.spec["metric"] and task.spec["wrong_answer_cost"]


@pytest.mark.parametrize("task", [facts, order_number, text_to_fields])
def test_the_reading_of_a_task_finds_its_own_right_answers_however_models_write_them(task):
    """Several lines read as one line made every study of fields end before its first score."""
    problems = from_problems("test", task.make_problems(task.make_rows(6, 0)))
    assert check_runner(problems, Judging(allow_unisolated=True, reading=Reading(problems.reading)))["ok"]


def test_a_benchmark_that_is_read_wrongly_is_one_short_sentence():
    problems = from_problems("test", text_to_fields.make_problems(text_to_fields.make_rows(60, 0)))
    with pytest.raises(InputProblem, match="and 40 more") as told:
        check_runner(problems, Judging(allow_unisolated=True, reading=Reading("first_line")))
    assert len(str(told.value)) < 4000
