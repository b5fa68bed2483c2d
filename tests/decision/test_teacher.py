"""A teacher's answers: what a student may learn of them, what they cost, and what agreement is worth."""

import pytest

from tunebook import tasks
from tunebook.decision.economics import Prices
from tunebook.decision.teacher import Teacher, agreement_rows, judge_student, rows_to_ask, student_rows, yield_row
from tunebook.errors import InputProblem
from tunebook.evaluation.hosted import Hosted


def row(prompt: str, answer: str, **more) -> dict:
    asked, said = {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}
    return {"prompt": [asked], "completion": [said], **more}


def told(name: str, answers: list[str], right: list[bool], common, share: float) -> dict:
    ended = [bool(text) for text in answers]
    return {
        "task_id": name,
        "slice": "",
        "answers": answers,
        "right": right,
        "ended": ended,
        "common": common,
        "share": share,
    }


ROWS = [row("a", "1"), row("b", "2"), row("c", "3")]
ANSWERS = [
    told("a", ["9", "1", "1"], [False, True, True], 1, 2 / 3),
    told("b", ["7", "7", "7"], [False, False, False], 0, 1.0),
    told("c", ["", "4", "3"], [False, False, True], 1, 1 / 3),
]


@pytest.mark.parametrize(("keep", "said"), [("right", ["1", "3"]), ("agreed", ["1", "7"]), ("all", ["9", "7", "4"])])
def test_the_student_gets_the_teachers_words_and_never_its_own_rows_answer(keep, said):
    kept = student_rows(ROWS, ANSWERS, keep)
    assert [one["completion"][0]["content"] for one in kept] == said
    assert all(one["source"] == "teacher" for one in kept)
    assert ROWS[1]["completion"][0]["content"] == "2", "the rows that were given stay as they are"


def test_a_rule_that_is_none_or_cannot_be_applied_is_one_sentence():
    with pytest.raises(InputProblem, match="teacher_keep: 'best' is no rule; write right, agreed or all"):
        student_rows(ROWS, ANSWERS, "best")
    with pytest.raises(InputProblem, match="agreed needs several answers"):
        student_rows(ROWS[:1], [told("a", ["1"], [True], 0, 1.0)], "agreed")


def test_agreement_shows_that_samples_may_agree_on_what_is_wrong():
    rows = {found["samples"]: (found["prompts"], found["right"]) for found in agreement_rows(ANSWERS)}
    assert rows == {"all agree": (1, 0), "most agree": (1, 1), "no half agrees": (1, 0)}
    assert agreement_rows([told("a", ["1"], [True], 0, 1.0)]) == []


def test_the_yield_has_its_interval_and_a_price_only_where_one_is_given():
    done = {"cost": {"seconds": 7200.0, "tokens": 90, "money": 0.5}}
    kept = student_rows(ROWS, ANSWERS)
    local = yield_row(done, ANSWERS, kept, Prices(price_machine_hour=2.0, utilisation=0.5), False)
    assert (local["prompts"], local["answers"], local["right"], local["kept"]) == (3, 9, 3, 2)
    assert local["money_per_kept_row"] == pytest.approx(2 * 2.0 / 0.5 / 2)
    assert local["yield_low"] < 2 / 3 < local["yield_high"]
    assert yield_row(done, ANSWERS, kept, Prices(price_hosted_input=1.0), True)["money_per_kept_row"] == 0.25
    assert yield_row(done, ANSWERS, kept, Prices(), True)["money_per_kept_row"] == "no price given"


def test_only_rows_with_one_answer_in_words_are_asked():
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    pair = {"prompt": [{"role": "user", "content": "p"}], "chosen": [], "rejected": []}
    rows = [*ROWS, {**row("d", "x"), "completion": [call]}, row("e", "bad", label=False), pair]
    chosen, problems = rows_to_ask(rows, "")
    assert sorted(problem["prompt"] for problem in problems.problems) == ["a", "b", "c"]
    assert [one["prompt"][0]["content"] for one in chosen] == [problem["prompt"] for problem in problems.problems]
    assert len(rows_to_ask(rows, "", 2)[0]) == 2
    with pytest.raises(InputProblem, match="nothing to ask"):
        rows_to_ask([pair], "")


def test_what_rows_ask_in_two_wordings_is_asked_once():
    """Rows of the shipped task say one phrase with other words around it; its problems are distinct phrases."""
    rows = tasks.load("schedule_to_cron").make_rows(900, 0)
    chosen, problems = rows_to_ask(rows, "schedule_to_cron", 600)
    assert len(chosen) == len(problems.problems) == 600
    for row, problem in zip(chosen, problems.problems, strict=True):
        assert row["phrase"] in problem["prompt"] and problem["canonical_solution"] == row["completion"][0]["content"]
    assert len(rows_to_ask([*ROWS, *ROWS], "")[0]) == len(ROWS)


def test_a_teacher_is_one_model_or_one_server():
    Teacher("folder").check()
    Teacher(hosted=Hosted("http://127.0.0.1:1/v1", "m")).check()
    for wrong in (Teacher(), Teacher("folder", hosted=Hosted("http://127.0.0.1:1/v1", "m"))):
        with pytest.raises(InputProblem, match="teacher and hosted_url"):
            wrong.check()


def test_a_teacher_that_never_answers_leaves_no_row_and_the_gate_says_so():
    """The gate of 01 passed on no row at all."""
    silent = [told(name, ["", ""], [False, False], None, 0.0) for name in "abc"]
    kept = student_rows(ROWS, silent)
    assert kept == student_rows(ROWS, silent, "agreed") == student_rows(ROWS, silent, "all") == []
    findings = judge_student(kept, [], {}).findings
    assert [(found.check, found.severity) for found in findings] == [("no_rows", "error")]
    done = {"cost": {"seconds": 1.0, "tokens": 0, "money": 0.1}}
    assert (
        yield_row(done, silent, kept, Prices(price_machine_hour=1.0), False)["money_per_kept_row"] == "no row was kept"
    )
