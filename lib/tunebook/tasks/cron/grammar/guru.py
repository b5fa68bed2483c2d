"""Word an expression as cron explainers do: in the style of crontab editors, or with the library cron-descriptor.

Takes the expression, not the phrase, so any schedule that the grammar draws can be worded. Explainers' texts are what
people paste behind their cron lines; they are a small share of the rows on purpose.
"""

import re
from functools import lru_cache
from random import Random

from tunebook.tasks.cron.grammar.words import DAYS, MONTHS, chance, ordinal


def say_like_editor(rng: Random, expression: str) -> str:
    """ "At minute 5 past every 2nd hour on every day-of-week from Monday through Friday in June"."""
    minute, hour, dom, month, dow = expression.split()
    if minute.isdigit() and hour.replace(",", "").isdigit():
        times = [f"{int(h):02d}:{int(minute):02d}" for h in hour.split(",")]
        text = f"At {_and(times)}"
        if len(times) > 2:
            text = f"At minute {minute} past hour {_and(hour.split(','))}"
    else:
        text = "At " + _part(minute, "minute") + ("" if hour == "*" else f" past {_part(hour, 'hour')}")
        if minute == "*" and hour == "*":
            text = "At every minute"
    text += "" if dom == "*" else f" on {_part(dom, 'day-of-month')}"
    text += "" if dow == "*" else f" on {_part(dow, 'day-of-week')}"
    text += "" if month == "*" else f" in {_part(month, 'month')}"
    return text + ("." if chance(rng, 0.3) else "")


def _part(field: str, unit: str) -> str:
    named = unit in ("month", "day-of-week")
    if field == "*":
        return f"every {unit}"
    if field.startswith("*/"):
        return f"every {ordinal(int(field[2:]))} {unit}"
    if "-" in field and "," not in field:
        span, _, step = field.partition("/")
        first, last = span.split("-")
        nth = f"{ordinal(int(step))} " if step else ""
        return f"every {nth}{unit} from {_name(first, unit)} through {_name(last, unit)}"
    items = [_name(value, unit) for part in field.split(",") for value in _spread(part)]
    return _and(items) if named else f"{unit} {_and(items)}"


def _spread(part: str) -> list[str]:
    first, _, last = part.partition("-")
    return [str(value) for value in range(int(first), int(last or first) + 1)]


def _name(value: str, unit: str) -> str:
    return {"month": lambda n: MONTHS[n - 1], "day-of-week": lambda n: DAYS[n % 7]}.get(unit, str)(int(value))


def _and(items: list[str]) -> str:
    if len(items) < 3:
        return " and ".join(items)
    return ", ".join(items[:-1]) + ", and " + items[-1]


def say_like_library(rng: Random, expression: str) -> str:
    """cron-descriptor's wording, on the 12-hour or the 24-hour clock."""
    return _described(expression, chance(rng, 0.4))


@lru_cache(maxsize=16384)
def _described(expression: str, on_24_hour_clock: bool) -> str:
    from cron_descriptor import Options, get_description

    options = Options()
    options.use_24hour_time_format = on_24_hour_clock
    return re.sub(r"\s+", " ", get_description(expression, options))
