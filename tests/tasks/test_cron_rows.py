"""The generated rows of the schedule task: right, varied, without contradictions, and the same in every process."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import islice
from random import Random

import cronsim
import pytest

from tunebook import tasks
from tunebook.errors import InputProblem
from tunebook.tasks.cron.check import fire_key
from tunebook.tasks.cron.forms import FORMS
from tunebook.tasks.cron.generator import ask, draw_schedule, make_problems, make_rows
from tunebook.tasks.cron.task import IDIOMS, is_idiom
from tunebook.tasks.cron.wordings import expand, fill, pick, rules

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

# Phrases as people type them, told apart from the conventions because a reworded grammar may lose a few of the rare
# ones.
TYPED = {
    "every 5 mins": "*/5 * * * *",
    "every 5m": "*/5 * * * *",
    "every half an hour": "*/30 * * * *",
    "every quarter hour": "*/15 * * * *",
    "every 3rd minute": "*/3 * * * *",
    "every 5 minutes on weekends": "*/5 * * * 0,6",
    "at the top of every hour": "0 * * * *",
    "every hour at :30": "30 * * * *",
    "at 15 minutes past the hour": "15 * * * *",
    "quarter past the hour": "15 * * * *",
    "at minute 45 of every hour": "45 * * * *",
    "at 0 and 30 minutes past the hour": "0,30 * * * *",
    "every 4h": "0 */4 * * *",
    "6 times a day": "0 */4 * * *",
    "once a day at 4am": "0 4 * * *",
    "2am every day": "0 2 * * *",
    "at 5:30pm every day": "30 17 * * *",
    "daily at 17:00": "0 17 * * *",
    "every morning at 8": "0 8 * * *",
    "every night at 11pm": "0 23 * * *",
    "every day at 9am and 5pm": "0 9,17 * * *",
    "at noon and midnight": "0 0,12 * * *",
    "on alternate days": "0 0 */2 * *",
    "monday to friday": "0 0 * * 1-5",
    "weekdays at 8am": "0 8 * * 1-5",
    "saturdays and sundays at noon": "0 12 * * 0,6",
    "once a week on monday": "0 0 * * 1",
    "every monday at 9am": "0 9 * * 1",
    "every sunday night at 11": "0 23 * * 0",
    "every monday, wednesday and friday": "0 0 * * 1,3,5",
    "every day except sunday": "0 0 * * 1-6",
    "on the 15th of every month": "0 0 15 * *",
    "1st and 15th of the month": "0 0 1,15 * *",
    "first of the month at noon": "0 12 1 * *",
    "from the 1st to the 7th of every month": "0 0 1-7 * *",
    "every other month": "0 0 1 */2 *",
    "semi-annually": "0 0 1 1,7 *",
    "every hour from 9 to 5": "0 9-17 * * *",
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


def test_what_people_type_is_drawn_with_its_meaning(drawn):
    meanings = defaultdict(set)
    for schedule in drawn:
        meanings[schedule.phrase.lower()].add(fire_key(schedule.expression))
    drawn_here = [phrase for phrase in TYPED if phrase in meanings]
    assert len(drawn_here) >= 0.9 * len(TYPED)
    assert all(meanings[phrase] == {fire_key(TYPED[phrase])} for phrase in drawn_here)


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
    code = "import json; from tunebook.tasks.cron.generator import make_rows; print(json.dumps(make_rows(200, seed=5)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
    assert json.loads(out.stdout) == make_rows(200, seed=5)
    assert make_rows(200, seed=6) != make_rows(200, seed=5)
    assert make_rows(300, seed=5)[:200] == make_rows(200, seed=5)


def test_a_fifth_of_the_rows_asks_in_other_words_unless_told_not_to(rows):
    standard = sum(row["prompt"][0]["content"] == ask(row["phrase"]) for row in rows)
    assert 0.7 < standard / len(rows) < 0.88
    assert all(row["prompt"][0]["content"] == ask(row["phrase"]) for row in make_rows(100, seed=2, carriers=False))


def test_idioms_are_marked_for_train_and_compositions_are_not(rows):
    assert all(is_idiom(fire_key(expression)) for expression in IDIOMS)
    assert not is_idiom(fire_key("37 14 * * 2"))
    marked = [row for row in rows if row["split_hint"] == "train"]
    assert all((row["split_hint"] == "train") == is_idiom(row["group"]) for row in rows)
    assert 0.05 < len(marked) / len(rows) < 0.4


def test_problems_accept_their_solution_and_refuse_another(rows):
    problems = make_problems(rows[:300])
    assert len({problem["task_id"] for problem in problems}) == len(problems) > 200
    assert len({problem["prompt"].lower() for problem in problems}) == len(problems)
    for problem, other in zip(problems, problems[1:], strict=False):
        namespace = {}
        exec(problem["test"], namespace)
        namespace[problem["entry_point"]](problem["canonical_solution"])
        if fire_key(problem["canonical_solution"]) != fire_key(other["canonical_solution"]):
            with pytest.raises(AssertionError):
                namespace["check"](other["canonical_solution"])


@pytest.mark.parametrize(
    ("hour", "text"), [(0, "12am"), (1, "1am"), (11, "11am"), (12, "12pm"), (13, "1pm"), (23, "11pm")]
)
def test_am_and_pm_turn_over_at_twelve(hour, text):
    assert fill(Random(1), "{hour:12}{hour:am}", {"hour": hour}) == text


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(InputProblem, match="schedule_to_cron"):
        tasks.load("schedule_to_corn")
    for rows in (0, -1, 10**9):
        with pytest.raises(InputProblem, match="rows"):
            make_rows(rows, seed=1)


SPOKEN_TIME = re.compile(
    r"(?<![\d:.])(\d{1,2})(?:[:.](\d\d))?(?: ?([ap])\.?m\b|([ap])\b)|(?<![\d:])(\d{1,2}):(\d\d)(?! ?[ap]\b|"
    r" ?[ap]\.?m|\d)|\b(noon|midnight)\b"
)


def times_in(phrase: str) -> set[tuple[int, int]]:
    """The clock times that a reader finds in a phrase: "5pm", "17:30", "noon"."""
    times = set()
    for hour, minute, half, letter, hour_24, minute_24, name in SPOKEN_TIME.findall(phrase):
        half = half or letter
        if name:
            times.add((12 if name == "noon" else 0, 0))
        elif half:
            on_24 = int(hour) if int(hour) > 12 else int(hour) % 12 + (12 if half == "p" else 0)
            times.add((on_24, int(minute or 0)))
        else:
            times.add((int(hour_24), int(minute_24)))
    return times


def first_fires(expression: str, count: int) -> list[datetime]:
    return list(islice(cronsim.CronSim(expression, datetime(2027, 1, 1)), count))


def test_the_times_in_a_phrase_are_those_at_which_its_expression_fires(drawn):
    """Read by another rule and fired by another library: a slip in the wordings would teach a wrong answer to every
    model.
    """
    told, wrong = 0, []
    for schedule in drawn[:6000]:
        minute, hour, *_ = schedule.expression.split()
        relative = re.search(
            r"\b(past|to|before|after|quarter|half|mins?|minutes?|m)\b|\d(:59| min| \d\d ?[ap])",
            schedule.phrase.lower(),
        )
        if schedule.slice == "window" or relative or not minute.isdigit() or not hour.replace(",", "").isdigit():
            continue
        times = times_in(re.sub("12(:00)? (?=noon|midnight)", "", schedule.phrase.lower()))
        fired = {(moment.hour, moment.minute) for moment in first_fires(schedule.expression, 6)}
        told += bool(times)
        wrong += [schedule] * (not times <= fired)
    assert wrong == [] and told > 2500


def test_the_days_and_months_in_a_phrase_are_those_of_its_expression(drawn):
    days = "sunday monday tuesday wednesday thursday friday saturday".split()
    months = "january february march april may june july august september october november december".split()
    told = 0
    for schedule in drawn[:6000]:
        phrase = schedule.phrase.lower()
        named_days = {at for at, name in enumerate(days) if re.search(rf"\b{name}s?\b", phrase)}
        named_months = {at for at, name in enumerate(months, start=1) if re.search(rf"\b{name}\b", phrase)}
        if not named_days | named_months or re.search(r"\be[xc]\w{3,6}\b|\bbut\b", phrase):
            continue
        told += 1
        fields = fire_numbers(schedule.expression)
        assert named_days <= fields["dow"] and named_months <= fields["month"], schedule
        if not re.search(r"\b(and|to|thru|through|until)\b|[-–,/&+]", phrase):
            assert not named_days or fields["dow"] == named_days, schedule
            assert not named_months or fields["month"] == named_months, schedule
    assert told > 1200


def fire_numbers(expression: str) -> dict[str, set[int]]:
    """The days of the week and the months that an expression names, all of them where it names none."""
    *_, month, dow = expression.split()
    wide = {"month": (month, 12, 1), "dow": (dow, 7, 0)}
    return {
        name: (
            set(range(low, low + size))
            if field == "*"
            else {n for n in range(low, low + size) if step_or_list(field, n, low)}
        )
        for name, (field, size, low) in wide.items()
    }


def step_or_list(field: str, n: int, low: int) -> bool:
    if field.startswith("*/"):
        return (n - low) % int(field[2:]) == 0
    ends = [part.partition("-")[::2] for part in field.split(",")]
    return any(int(first) <= n <= int(last or first) for first, last in ends)


def test_every_slot_of_the_data_file_is_known_and_every_rule_used():
    """A slip of the pen in the data file must not wait for the one row in ten thousand that draws the line."""
    wordings = [wording for lines in rules().values() for wording in lines]
    texts = [wording.text for wording in wordings] + [text for wording in wordings for _, text in wording.sets]
    slots = {slot for text in texts for slot in re.findall(r"\{([^{}]+)\}", text)}
    set_somewhere = {name for wording in wordings for name, _ in wording.sets if name}
    known = {"minute", "hour", "times", "opens", "closes", "phrase"} | set_somewhere
    assert len(slots) > 100
    for slot in slots - set(rules()):
        name, _, form = slot.partition(":")
        numbers, _, source = slot.partition(" of ")
        if source:
            assert numbers.isdigit() or numbers == "span", slot
            assert source in rules() or re.fullmatch(r"\d+-\d+(/\d+)?", source), slot
        else:
            assert name in known and form in {*FORMS, "dy", "mon", "last"}, slot
    used = {slot for slot in slots if slot in rules()} | {slot.partition(" of ")[2] for slot in slots}
    assert set(rules()) - used == {"typed", "carrier", "labelled", "and", "to"}
    assert all(text.count("{") == text.count("}") for text in texts)


def test_a_line_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="'count' fits"):
        pick(Random(0), "count", {"items": 9})


def test_a_changed_wording_makes_the_stage_run_again():
    """The rows come from the data file, so a reused stage must know it."""
    from tunebook.pipeline.manifest import code_files

    assert {"tasks/cron/wordings.yaml", "tasks/cron/wordings.py"} <= set(code_files())


@pytest.mark.parametrize(
    ("form", "text"), [("th", "22nd"), ("ordinal", "twenty-second"), ("word", "twenty-two"), ("next", "11")]
)
def test_numbers_are_said_as_people_say_them(form, text):
    assert fill(Random(0), f"{{n:{form}}}", {"n": 22}) == text


def test_lists_and_ranges_are_joined_and_go_round_the_week():
    values = {"dow": "5-0"}
    texts = {expand(Random(i), "mon_fri", dict(values)) for i in range(40)}
    assert {"Fri-Sun", "Friday to Sunday"} <= texts and all(re.fullmatch(r"Fri.+Sun(day)?", text) for text in texts)
    assert any(s.expression.endswith(" 0,5,6") for s in map(draw_schedule, map(Random, range(4000))))
