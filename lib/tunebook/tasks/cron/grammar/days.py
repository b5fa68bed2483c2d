"""Days of the week in words: one day, weekdays, weekends, lists, ranges, and every day except some.

`draw_days` returns `Days(field, lead, tail)`: the cron field, a wording that can open a phrase ("every Monday",
"Mon-Fri", "weekly on Friday") and one that can follow a time ("on Mondays", "Mon-Fri", "every weekday").
"""

from random import Random
from typing import NamedTuple

from tunebook.tasks.cron.grammar.words import DAYS, chance, choose, day_name, runs, say_list

SINGLE_LEAD = (
    "every {day}*16|{days}*5|on {day}*3|on {days}*3|{day}*6|each {day}*2|weekly on {day}*6|weekly on {days}*3"
    "|weekly {day}*1.5|every week on {day}*2|once a week on {day}*2|once a week on {days}*0.5|weekly, {day}*0.7"
    "|weekly, every {day}*0.7|weekly ({day})*1.2|weekly ({days})*0.7|weekly - {day}*0.6|weekly: {day}*0.6"
    "|weekly: every {day}*0.5|once per week on {day}*0.5|each week on {day}*0.5|weekly every {day}*0.5"
    "|{days} only*0.7|{day} only*0.4|once weekly on {day}*0.7|{day} of every week*0.4|weekly {days}*0.4"
)
SINGLE_TAIL = (
    "every {day}*12|on {days}*8|on {day}*10|{days}*4|{day}*3|each {day}*2|every week on {day}*1|weekly on {day}*1"
    "|only on {day}*1|only on {days}*0.5|({day})*0.7|({days})*0.5|, {days}*0.5|on {days} only*0.5|, only on {day}*0.5"
    "|of every {day}*0.3"
)
WEEKDAYS_LEAD = (
    "every weekday*16|weekdays*12|on weekdays*6|each weekday*2|{mon}{to}{fri}*14|monday through friday*3"
    "|every {mon}{to}{fri}*1"
    "|on every weekday|on each weekday*0.5|daily on weekdays*1.5|every day on weekdays*0.5|weekdays only*1.2"
    "|every day {mon}{to}{fri}*1.5|every business day*1.5|business days*1|on business days*1|every workday*1.5"
    "|workdays*1"
    "|every working day*1.5|on working days*1|on workdays*1|every weekday ({mon}{to}{fri})*2"
    "|weekdays ({mon}{to}{fri})*1.5"
    "|every day of the work week*0.3|every day except weekends*0.5|every day except Saturday and Sunday*0.5"
    "|daily except weekends*0.4|every day from {mon} to {fri}*0.7|from {mon} to {fri}*1|daily, {mon}{to}{fri}*0.7"
    "|M-F*1.5|weekdays, {mon}{to}{fri}*0.5|only on weekdays*0.7|every work day*0.5"
)
WEEKDAYS_TAIL = (
    "on weekdays*14|every weekday*8|weekdays*7|{mon}{to}{fri}*14|, Monday through Friday*4|on business days*1.5"
    "|on workdays*1|on working days*1|, {mon}{to}{fri}*4|weekdays only*1|from {mon} to {fri}*2|each weekday*1"
    "|on every weekday*0.7"
    "|every business day*0.7|every workday*0.7|every working day*0.7|({mon}{to}{fri})*2|on weekdays only*0.8"
    "|not on weekends*0.3"
    "|except on weekends*0.4|, weekdays*1|(weekdays)*0.7|on weekdays ({mon}{to}{fri})*1|every day {mon}{to}{fri}*0.5"
    "|M-F*1.5|(M-F)*0.4|, M-F*0.4|only on weekdays*0.7|, weekdays only*1|every week day*0.3"
)
WEEKEND_LEAD = (
    "every weekend*5|weekends*6|on weekends*5|on the weekend*2|each weekend*1|every Saturday and Sunday*3"
    "|saturdays and sundays*2|sat and sun*1|sat/sun*1|{sat} & {sun}*1|on weekends only*1|weekends only*1"
    "|{sat} and {sun}*2"
    "|every day on weekends*0.5|daily on weekends*0.7|on the weekends*0.5|weekends ({sat} and {sun})*0.5|sat-sun*1"
)
WEEKEND_TAIL = (
    "on weekends*10|on the weekend*3|every weekend*3|weekends*3|on Saturday and Sunday*3|{sat} and {sun}*2|sat/sun*1"
    "|on Saturdays and Sundays*2|, {sat} & {sun}*1|on weekends only*1|on weekend days*0.4|each weekend*0.5|sat-sun*1"
)
LIST_LEAD = "every {list}*10|{list}*7|on {list}*5|on {lists}*2|{lists}*3|each {list}*1|weekly on {list}*1"
LIST_TAIL = "on {list}*10|every {list}*7|{list}*4|on {lists}*4|{lists}*2|, {list}*2|each {list}*0.5"
RANGE_LEAD = (
    "{range}*10|every {range}*2|from {range}*2|every day from {range}*2|daily {range}*1|every day {range}*1"
    "|on {range}*1"
)
RANGE_TAIL = "{range}*8|from {range}*3|, {range}*4|on {range}*2|({range})*1|every day from {range}*1"
EXCEPT_LEAD = (
    "every day except {days}*6|daily except {days}*4|every day but {day}*2|all days except {day}*1"
    "|every day except on {days}"
)
EXCEPT_TAIL = (
    "every day except {days}*6|daily except {days}*2|every day but {day}*2|all days except {day}*1|except {days}*1"
    "|except on {days}"
)
RANGES = (
    (1, 4),
    (0, 4),
    (1, 6),
    (2, 5),
    (1, 3),
    (2, 6),
    (4, 6),
    (3, 5),
    (0, 5),
    (5, 0),
    (4, 0),
    (6, 1),
    (2, 4),
    (3, 6),
)
RANGE_WEIGHTS = (5, 3, 5, 3, 3, 4, 2, 2, 1, 2, 1, 0.5, 2, 1)
LETTERS = {"1,3,5": "MWF*4|M/W/F*2|M, W, F|M-W-F*0.5", "2,4": "TTh*3|T/Th*2|Tu/Th*2|TuTh|T, Th"}
COMMON_LISTS = ((1, 3, 5), (2, 4), (1, 3), (1, 4), (3, 5), (1, 5), (1, 2), (2, 5), (0, 3), (1, 2, 3), (4, 5), (2, 4, 6))


class Days(NamedTuple):
    """Days of the week: the day-of-week field and the two wordings."""

    field: str
    lead: str
    tail: str


def draw_days(rng: Random, lone: bool = False) -> Days:
    """Some days of the week, the usual kinds more often. `lone`: the phrase has no time, so weekdays are rarer."""
    kind = choose(
        rng,
        "single*46|weekdays*27|weekend*7|list*12|range*6|except*2"
        if not lone
        else "single*70|weekdays*10|weekend*8|list*8|range*4",
    )
    if kind == "single":
        return _single(rng)
    if kind == "list":
        return _list(rng)
    if kind == "range":
        return _range(rng)
    if kind == "except":
        return _except(rng)
    short = chance(rng, 0.55)
    names = {
        "mon": day_name(rng, 1, short),
        "fri": day_name(rng, 5, short),
        "sat": day_name(rng, 6, short),
        "sun": day_name(rng, 0, short),
        "to": _to(rng, short),
    }
    if kind == "weekdays":
        return Days("1-5", choose(rng, WEEKDAYS_LEAD, **names), choose(rng, WEEKDAYS_TAIL, **names))
    return Days("0,6", choose(rng, WEEKEND_LEAD, **names), choose(rng, WEEKEND_TAIL, **names))


def _to(rng: Random, short: bool) -> str:
    return choose(
        rng, "-*8| - *1.5| to *4| through *1.5|–*0.5" if short else " to *6| through *6|-*4| - *1.5| thru *0.5"
    )


def _single(rng: Random) -> Days:
    number = rng.choices(range(7), (7, 8, 5, 5, 5, 7, 6))[0]
    day = day_name(rng, number, chance(rng, 0.15))
    names = {"day": day, "days": DAYS[number] + "s"}
    return Days(str(number), choose(rng, SINGLE_LEAD, **names), choose(rng, SINGLE_TAIL, **names))


def _list(rng: Random) -> Days:
    if chance(rng, 0.5):
        numbers = list(rng.choice(COMMON_LISTS))
    else:
        numbers = rng.sample(range(7), rng.choices((2, 3, 4), (7, 4, 0.5))[0])
    numbers.sort(key=lambda number: number or (0 if chance(rng, 0.5) else 7))
    short = chance(rng, 0.4)
    field = ",".join(str(number) for number in sorted(numbers))
    if field in LETTERS and chance(rng, 0.2):
        text = choose(rng, LETTERS[field])
        return Days(
            field, choose(rng, "{t}*3|every {t}|on {t}", t=text), choose(rng, "{t}*3|on {t}*2|every {t}", t=text)
        )
    names = {
        "list": say_list(rng, [day_name(rng, number, short) for number in numbers]),
        "lists": say_list(rng, [DAYS[number] + "s" for number in numbers]),
    }
    return Days("0,6" if field == "0,6" else field, choose(rng, LIST_LEAD, **names), choose(rng, LIST_TAIL, **names))


def _range(rng: Random) -> Days:
    first, last = rng.choices(RANGES, RANGE_WEIGHTS)[0]
    short = chance(rng, 0.5)
    text = f"{day_name(rng, first, short)}{_to(rng, short)}{day_name(rng, last, short)}"
    values = list(range(first, last + 1)) if first < last else sorted([*range(first, 7), *range(last + 1)])
    extra = (last + 2) % 7
    if extra not in values and chance(rng, 0.08):
        values = sorted([*values, extra])
        text += choose(rng, ",{d}*3|, {d}*2| and {d}*2| & {d}", d=day_name(rng, extra, short))
    return Days(runs(values), choose(rng, RANGE_LEAD, range=text), choose(rng, RANGE_TAIL, range=text))


def _except(rng: Random) -> Days:
    number = rng.choices(range(7), (6, 2, 1, 1, 1, 2, 3))[0]
    names = {"day": DAYS[number], "days": DAYS[number] + ("s" if chance(rng, 0.4) else "")}
    values = [value for value in range(7) if value != number]
    return Days(runs(values), choose(rng, EXCEPT_LEAD, **names), choose(rng, EXCEPT_TAIL, **names))
