"""The generated rows of the schedule task: right, varied, without contradictions, and the same in every process."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from random import Random

import pytest

from tunebook import tasks
from tunebook.errors import InputProblem
from tunebook.tasks.cron.anchors import EXPRESSIONS, is_anchor
from tunebook.tasks.cron.expression import fire_key, is_equal
from tunebook.tasks.cron.grammar.clock import Clock, say_time
from tunebook.tasks.cron.phrases import draw_schedule
from tunebook.tasks.cron.rows import STANDARD, carrier, make_problems, make_rows

# What the conventions say in the README, as phrases that the grammar must produce with exactly this meaning.
CONVENTIONS = {
    "daily": "0 0 * * *",
    "every night": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
    "hourly": "0 * * * *",
    "twice a day": "0 0,12 * * *",
    "three times a day": "0 */8 * * *",
    "twice an hour": "*/30 * * * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "every 3 months": "0 0 1 1,4,7,10 *",
    "twice a year": "0 0 1 1,7 *",
    "twice a month": "0 0 1,15 * *",
    "weekdays": "0 0 * * 1-5",
    "weekends": "0 0 * * 0,6",
    "every other day": "0 0 */2 * *",
    "every other hour": "0 */2 * * *",
    "every half hour": "*/30 * * * *",
    "every 3 days": "0 0 */3 * *",
    "every hour during business hours": "0 9-17 * * *",
    "every day at noon": "0 12 * * *",
    "at midnight": "0 0 * * *",
}


@pytest.fixture(scope="module")
def rows():
    return make_rows(5000, seed=11)


@pytest.fixture(scope="module")
def drawn():
    rng = Random(3)
    return [draw_schedule(rng) for _ in range(40_000)]


def test_the_conventions_are_what_the_grammar_teaches(drawn):
    meanings = defaultdict(set)
    for schedule in drawn:
        meanings[schedule.phrase.lower()].add(fire_key(schedule.expression))
    seen = {phrase: meanings[phrase] for phrase in CONVENTIONS if phrase in meanings}
    assert set(seen) == set(CONVENTIONS)
    for phrase, groups in seen.items():
        assert groups == {fire_key(CONVENTIONS[phrase])}, phrase


def test_no_phrase_stands_for_two_schedules(rows):
    """A contradiction cannot be learned, and makes one of the two answers a false negative."""
    groups = defaultdict(set)
    for row in rows:
        groups[row["phrase"].lower()].add(row["group"])
    assert len(groups) > 3000
    assert all(len(found) == 1 for found in groups.values())


def test_prompts_are_unique_and_rows_have_the_shape_that_trainers_read(rows):
    assert len({row["prompt"][0]["content"] for row in rows}) == len(rows) == 5000
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert [message["role"] for message in row["prompt"] + row["completion"]] == ["user", "assistant"]
        assert row["phrase"] in row["prompt"][0]["content"]


def test_every_completion_fires_as_its_group(rows):
    for row in rows:
        assert fire_key(row["completion"][0]["content"]) == row["group"]


def test_every_slice_is_there_and_common_schedules_dominate(rows):
    counts = Counter(row["slice"] for row in rows)
    assert set(counts) == set(tasks.load("schedule_to_cron").spec["slices"])
    assert counts["daily"] + counts["weekly"] + counts["interval"] > len(rows) / 2
    assert min(counts.values()) > len(rows) * 0.03


def test_every_hour_minute_day_and_month_is_taught(rows):
    fields = defaultdict(set)
    for row in rows:
        for name, field in zip(
            ("minute", "hour", "dom", "month", "dow"), row["completion"][0]["content"].split(), strict=True
        ):
            fields[name].add(field)
    for name, values in {
        "minute": range(60),
        "hour": range(24),
        "dom": range(1, 32),
        "month": range(1, 13),
        "dow": range(7),
    }.items():
        assert {str(value) for value in values} <= fields[name], name


def test_the_same_seed_gives_the_same_rows_in_another_process():
    """A generator that leans on hash() or on the order of a set differs from process to process."""
    code = "import json; from tunebook.tasks.cron.rows import make_rows; print(json.dumps(make_rows(200, seed=5)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
    assert json.loads(out.stdout) == make_rows(200, seed=5)
    assert make_rows(200, seed=6) != make_rows(200, seed=5)
    assert make_rows(300, seed=5)[:200] == make_rows(200, seed=5)


def test_a_fifth_of_the_rows_asks_in_other_words_unless_told_not_to(rows):
    standard = sum(row["prompt"][0]["content"] == carrier(row["phrase"], STANDARD) for row in rows)
    assert 0.7 < standard / len(rows) < 0.88
    assert all(row["prompt"][0]["content"] == carrier(row["phrase"]) for row in make_rows(100, seed=2, carriers=False))


def test_idioms_are_marked_for_train_and_compositions_are_not(rows):
    assert all(is_anchor(fire_key(expression)) for expression in EXPRESSIONS)
    assert not is_anchor(fire_key("37 14 * * 2"))
    marked = [row for row in rows if row["split_hint"] == "train"]
    assert all((row["split_hint"] == "train") == is_anchor(row["group"]) for row in rows)
    assert 0.05 < len(marked) / len(rows) < 0.4


def test_problems_accept_their_solution_and_refuse_another(rows):
    problems = make_problems(rows[:300])
    assert len({problem["task_id"] for problem in problems}) == len(problems) > 200
    assert len({problem["prompt"].lower() for problem in problems}) == len(problems)
    for problem, other in zip(problems, problems[1:], strict=False):
        namespace = {}
        exec(problem["test"], namespace)
        namespace[problem["entry_point"]](problem["canonical_solution"])
        if not is_equal(problem["canonical_solution"], other["canonical_solution"]):
            with pytest.raises(AssertionError):
                namespace["check"](other["canonical_solution"])


@pytest.mark.parametrize(
    ("hour", "text"), [(0, "12am"), (1, "1am"), (11, "11am"), (12, "12pm"), (13, "1pm"), (23, "11pm")]
)
def test_am_and_pm_turn_over_at_twelve(hour, text):
    assert say_time(Random(1), Clock("{h}{p}"), hour, 0) == text


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(InputProblem, match="schedule_to_cron"):
        tasks.load("schedule_to_corn")
    for rows in (0, -1, 10**9):
        with pytest.raises(InputProblem, match="rows"):
            make_rows(rows, seed=1)
