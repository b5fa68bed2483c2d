"""Days of the month and months in words: "the 15th", "day 15", "1st and 15th", "first of the month", "Jan-Mar".

Leaves out what cron cannot say: the last day, the first Monday, the nearest weekday.
"""

from random import Random
from typing import NamedTuple

from tunebook.tasks.cron.grammar.words import chance, choose, month_name, ordinal, ordinal_word, runs, say_list

FIRST_LEAD = (
    "on the first day of every month*4|first day of the month*4|first day of every month*4"
    "|the first day of each month*2"
    "|1st of every month*4|1st of the month*4|1st day of the month*2|1st of each month*2|first of the month*3"
    "|first of every month*3"
    "|monthly*8|every month*6|once a month*4|monthly on the 1st*5|monthly on the first*1.5|every month on the 1st*3"
    "|on the 1st of every month*4|on the first of the month*3|on the 1st of the month*2|the 1st of every month*2"
    "|each month*1"
    "|at the start of every month*1.5|at the beginning of every month*1.5|start of the month*1"
    "|beginning of each month*1"
    "|once per month*1|monthly (1st)*1|monthly, 1st*0.5|every 1st of the month*2|on the first day of each month*2"
    "|monthly on day 1*1|monthly (1st of the month)*1|monthly on the 1st of the month*1"
    "|every month on the first day*1"
    "|every first of the month*0.7|on the 1st*1|on day 1 of the month*1|on day 1 of every month*1|@monthly*0.4"
    "|on a monthly basis*0.4|1st of month*2"
    "|first of month*2|first of each month*1.5|monthly on 1st*1|monthly on the first day*1|every month on 1st*0.5"
    "|every 1st*0.4|monthly: 1st*0.5"
)
DAY_LEAD = (
    "on the {n} of every month*6|on the {n} of each month*3|on the {n} of the month*4|{n} of every month*3"
    "|{n} of the month*3"
    "|{n} of each month*2|monthly on the {n}*6|every month on the {n}*4|every {n} of the month*2"
    "|on day {d} of the month*2"
    "|on day {d} of every month*3|day {d} of every month*2|day {d} of each month*1|the {n} of every month*3"
    "|the {n} of each month*1"
    "|monthly on day {d}*3|on the {n}*2|on the {n} day of every month*1.5|{n} day of the month*1.5"
    "|{n} day of every month*1"
    "|once a month on the {n}*2|each month on the {n}*1.5|monthly ({n})*0.7|every month on day {d}*1.5"
    "|monthly, on the {n}*0.7"
    "|the {n} day of each month*1|on the {n} day of the month*1.5|every {n} day of the month*0.3|monthly {n}*0.5"
    "|{n} of month*0.7|monthly, day {d}*0.4|on {n} of every month*0.7|the {n} day of every month*0.7"
    "|every month on {n}*0.5"
)
DAY_TAIL = (
    "on the {n} of every month*8|on the {n} of each month*4|on the {n} of the month*5|on the {n}*2"
    "|every {n} of the month*1.5"
    "|on day {d} of the month*3|on day {d} of every month*3|every month on the {n}*3|monthly on the {n}*1.5"
    "|on the {n} day of the month*2"
    "|on the {n} day of every month*2|, on day {d} of the month*2|each month on the {n}*1|on day {d} of each month*1"
    "|on the {n} day of each month*1"
    "|{n} of every month*1|{n} of the month*1|, the {n} of every month*1"
)
FIRST_TAIL = (
    "on the first day of every month*5|on the first day of the month*4|on the first of every month*3"
    "|on the first of the month*3"
    "|on the first day of each month*3|on the 1st of every month*6|on the 1st of the month*4"
    "|on the 1st of each month*2|monthly*2"
    "|every month on the 1st*2|on the 1st*2|on the 1st day of the month*2|on day 1 of the month*2"
    "|, on day 1 of the month*1"
    "|first day of the month*1|1st of every month*1|on the 1st day of every month*1|at the start of every month*0.5"
    "|once a month*0.7|every 1st of the month*0.7|every first of the month*0.5|(1st of the month)*0.5"
    "|on 1st of every month*0.7|on 1st of month*0.7|, first day of the month*0.5"
)
MANY_LEAD = (
    "on the {list} of every month*5|on the {list} of each month*3|{list} of every month*3"
    "|on the {list} of the month*3|monthly on the {list}*3"
    "|every month on the {list}*2|the {list} of each month*2|on the {list}*2|on days {days} of the month*2"
    "|{list} of the month*2"
    "|every {list} of the month*1|days {days} of every month*1|on days {days}*0.7|each month on the {list}*1|{list}*1"
    "|the {list} of every month*2|the {list}*0.7|both the {list} of the month*0.5|{list} of each month*1.5"
)
SPAN_LEAD = (
    "on days {a}-{b} of the month*3|every day from the {an} to the {bn} of the month*3"
    "|from the {an} to the {bn} of every month*3"
    "|on the {an} through {bn} of every month*2|days {a} to {b} of each month*2|days {a} through {b} of the month*2"
    "|{an}-{bn} of every month*2"
    "|daily from the {an} to the {bn} of each month*1|between the {an} and {bn} of every month*1"
    "|{an} to {bn} of the month*1"
)


class Dates(NamedTuple):
    """Days of the month: the day-of-month field and the two wordings, as in `days.Days`."""

    field: str
    lead: str
    tail: str


class Months(NamedTuple):
    """Some months: the month field, and wordings after "every day" (`tail`) and after a day of the month (`of`)."""

    field: str
    tail: str
    of: str


def draw_dates(rng: Random) -> Dates:
    """Some days of the month, the first more often."""
    kind = choose(rng, "first*38|one*42|many*12|span*6|opening*2")
    if kind == "first":
        return Dates("1", choose(rng, FIRST_LEAD), choose(rng, FIRST_TAIL))
    if kind == "one":
        return one_date(rng, rng.choice((15, 10, 5, 20, 25, 28, 2, *range(1, 32), *range(1, 32))))
    if kind == "many":
        return _many(rng)
    first, last = (1, rng.choice((3, 5, 7, 10, 15))) if chance(rng, 0.5) else sorted(rng.sample(range(1, 32), 2))
    names = {"a": first, "b": last, "an": ordinal(first), "bn": ordinal(last)}
    if kind == "opening" and first == 1:
        text = choose(
            rng,
            "the first {b} days of every month|first {b} days of the month|the first {b} days of each month",
            b=last,
        )
        return Dates(f"1-{last}", text, f"on {text}")
    text = choose(rng, SPAN_LEAD, **names)
    return Dates(f"{first}-{last}", text, text)


def one_date(rng: Random, day: int) -> Dates:
    """One day of the month (1 to 31)."""
    name = ordinal_word(day) if chance(rng, 0.15) else ordinal(day)
    return Dates(str(day), choose(rng, DAY_LEAD, n=name, d=day), choose(rng, DAY_TAIL, n=name, d=day))


def _many(rng: Random) -> Dates:
    days = [1, 15] if chance(rng, 0.4) else sorted(rng.sample(range(1, 32), rng.choices((2, 3), (4, 1))[0]))
    names = [ordinal_word(day) if chance(rng, 0.1) else ordinal(day) for day in days]
    if chance(rng, 0.3):
        names[1:] = [f"the {name}" for name in names[1:]]
    texts = {"list": say_list(rng, names), "days": say_list(rng, [str(day) for day in days])}
    return Dates(",".join(map(str, days)), choose(rng, MANY_LEAD, **texts), choose(rng, MANY_LEAD, **texts))


def draw_months(rng: Random) -> Months:
    """Some months: one, a list, or a range, which may wrap round the year."""
    kind = choose(rng, "one*60|range*22|list*18")
    short = chance(rng, 0.3)
    if kind == "one":
        number = rng.randint(1, 12)
        name = month_name(rng, number, short)
        tail = choose(
            rng,
            "in {m}*8|in {m} only|only in {m}*0.7|every {m}|during {m}|in the month of {m}*0.5|throughout {m}*0.4",
            m=name,
        )
        return Months(str(number), tail, choose(rng, "of {m}*3|in {m}", m=name))
    if kind == "list":
        numbers = sorted(rng.sample(range(1, 13), rng.choices((2, 3, 4), (5, 2, 1))[0]))
        if chance(rng, 0.35):
            numbers = [1, 4, 7, 10] if chance(rng, 0.6) else [1, 7]
        text = say_list(rng, [month_name(rng, number, short) for number in numbers])
        return Months(",".join(map(str, numbers)), f"in {text}", choose(rng, "of {t}*2|in {t}", t=text))
    first, last = rng.sample(range(1, 13), 2)
    if first > last and not chance(rng, 0.12):
        first, last = last, first
    first_name, last_name = month_name(rng, first, short), month_name(rng, last, short)
    text = choose(
        rng,
        "from {a} to {b}*4|from {a} through {b}*4|{a} to {b}|{a}-{b}|between {a} and {b}*1.5|, {a} through {b}*2",
        a=first_name,
        b=last_name,
    )
    field = f"{first}-{last}" if first < last else runs([*range(1, last + 1), *range(first, 13)])
    return Months(field, text, text)
