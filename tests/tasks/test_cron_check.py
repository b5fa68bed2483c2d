"""Two expressions are equal exactly when they fire at the same times."""

import random
from datetime import datetime, timedelta

import cronsim
import pytest

from tunebook.tasks.cron.check import FIELDS, check_answer, fire_key, parse

EQUAL = [
    ("0 0 * * 7", "0 0 * * 0"),
    ("0 9 * * 1-5", "0 9 * * MON-FRI"),
    ("0 9 * * 5-7", "0 9 * * 0,5,6"),
    ("*/1 * * * *", "* * * * *"),
    ("0-59/15 * * * *", "*/15 * * * *"),
    ("0,30 * * * *", "*/30 * * * *"),
    ("0 0,12 * * *", "0 */12 * * *"),
    ("0 0 1 */3 *", "0 0 1 jan,apr,jul,oct *"),
    ("05 09 * * *", "  5   9 * * * "),
    ("0 0 1-31 * *", "0 0 * * *"),
    ("0 0 31 * *", "0 0 31 1,3,5,7,8,10,12 *"),
    ("0 0 * * */2", "0 0 * * 0,2,4,6"),
    ("0 0 13 * 1", "0 0 13 * mon"),
]
DIFFERENT = [
    ("0 0 31 * *", "0 0 30 * *"),
    ("0 0 28 2 *", "0 0 29 2 *"),
    ("0 0 28-31 2 *", "0 0 28 2 *"),
    ("0 0 13 * 5", "0 0 13 * *"),
    ("0 0 13 * 5", "0 0 * * 5"),
    ("0 0 */2 * 1", "0 0 1-31/2 * 1"),
    ("0 0 29 2 */2", "0 0 29 2 *"),
    ("0 0 * * 6", "0 0 * * 0"),
    ("* 5 * * *", "0 5 * * *"),
    ("0 9 * * *", "0 21 * * *"),
]
MALFORMED = [
    "",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * * 13 *",
    "* * * * 8",
    "5-1 * * * *",
    "*/0 * * * *",
    "0/15 * * * *",
    "1,,2 * * * *",
    "1- * * * *",
    "-1 * * * *",
    "0 9 * * mo",
    "jan * * * *",
    "0 0 L * *",
    "0 0 ? * *",
    "@daily",
    "٣ * * * *",
    "0 0 1 1 * " + "*" * 500,
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_spellings_of_one_schedule_are_equal(a, b):
    assert parse(a) == parse(b)
    assert fire_key(a) == fire_key(b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_rare_days_and_day_combinations_are_told_apart(a, b):
    assert parse(a) != parse(b)
    assert fire_key(a) != fire_key(b)


@pytest.mark.parametrize("expression", MALFORMED)
def test_a_malformed_expression_is_refused_in_one_sentence(expression):
    with pytest.raises(ValueError, match=r"^[^\n]{10,160}$"):
        parse(expression)


def random_field(rng, field, both_days_restricted):
    low, high = field.low, min(field.high, 6) if field.name == "day-of-week" else field.high
    a, b = sorted((rng.randint(low, high), rng.randint(low, high)))
    forms = [
        f"{a}",
        f"{a}-{b}",
        f"{a},{b}",
        f"{a}-{b}/{rng.randint(1, 4)}" if a < b else f"{a}",
    ]  # 1-1/3 is its dialect
    if not both_days_restricted:
        forms += ["*", "*", f"*/{rng.randint(1, high)}"]
    return rng.choice(forms)


def test_random_expressions_fire_when_cronsim_says_so():
    """cronsim follows Debian's cron. A slip in steps, ranges or the either-day rule would mark right answers wrong."""
    rng = random.Random(20261122)
    start = datetime(2027, 6, 1)
    compared = 0
    for _ in range(300):
        days_restricted = rng.random() < 0.3
        fields = [random_field(rng, f, days_restricted and f.name.startswith("day-of")) for f in FIELDS]
        try:
            fires = list_fires(cronsim.CronSim(" ".join(fields), start), limit=60)
        except cronsim.CronSimError:
            continue
        compared += 1
        assert first_fires(parse(" ".join(fields)), start, len(fires)) == fires, fields
    assert compared > 250


def list_fires(simulation, limit):
    fires = []
    for moment in simulation:
        fires.append(moment)
        if len(fires) == limit:
            break
    return fires


def first_fires(times, start, count):
    """The first `count` fire times after `start` by the bit masks, walking the calendar day by day."""
    single_day = {}
    fires, day = [], start.replace(hour=0, minute=0)
    while len(fires) < count:
        key = (day.month, day.day, day.isoweekday() % 7)
        if key not in single_day:
            # a step of 31 or 7 leaves one value, and a field that begins with * must match together with the other
            date = parse(f"0 0 {day.day} {day.month} *").dates & parse(f"0 0 * * {key[2]}").dates
            single_day[key] = bool(times.dates & date)
        if single_day[key]:
            for minute in range(24 * 60):
                if times.hours >> minute // 60 & 1 and times.minutes >> minute % 60 & 1:
                    moment = day + timedelta(minutes=minute)
                    if moment > start:
                        fires.append(moment)
        day += timedelta(days=1)
    return fires[:count]


@pytest.mark.parametrize(
    "answer",
    ["30 9 * * 1-5", " 30 9 * * MON-FRI\n", "`30 9 * * 1-5`", '"30 9 * * 1,2,3,4,5"', "```\n30 9 * * 1-5\n```"],
)
def test_white_space_quotes_and_spelling_do_not_make_an_answer_wrong(answer):
    check_answer(answer, "30 9 * * 1-5")


@pytest.mark.parametrize(
    "answer", ["", "30 9 * * *", "9 30 * * 1-5", "30 9 * * 1-5 root", "Answer: 30 9 * * 1-5", "* * * * *", None]
)
def test_a_wrong_answer_fails_with_a_short_reason(answer):
    with pytest.raises(AssertionError, match=r"^[^\n]{5,200}$"):
        check_answer(answer, "30 9 * * 1-5")
