"""Word an expression as cron explainers do: in the style of crontab editors, or with the library cron-descriptor.

Takes any expression that the wordings give. Explainers' texts are what people paste behind their cron lines; they are a
small share of the rows on purpose.
"""

import re
from functools import lru_cache
from random import Random

from tunebook.tasks.cron.forms import DAYS, MONTHS, ordinal


def say_like_editor(rng: Random, expression: str) -> str:
    """ "At minute 5 past every 2nd hour on every day-of-week from Monday through Friday in June"."""
    minute, hour, dom, month, dow = expression.split()
    hours = hour.split(",")
    if minute.isdigit() and hour.replace(",", "").isdigit() and len(hours) < 3:
        text = f"At {_and([f'{int(h):02d}:{int(minute):02d}' for h in hours])}"
    else:
        text = f"At {_part(minute, 'minute')}"
        text += "" if hour == "*" else f" past {_part(hour, 'hour')}"
    text += "" if dom == "*" else f" on {_part(dom, 'day-of-month')}"
    text += "" if dow == "*" else f" on {_part(dow, 'day-of-week')}"
    text += "" if month == "*" else f" in {_part(month, 'month')}"
    return text + rng.choice((".", "", ""))


def say_like_library(rng: Random, expression: str) -> str:
    """cron-descriptor's wording, on the 12-hour or the 24-hour clock."""
    return _described(expression, rng.random() < 0.4)


def _part(field: str, unit: str) -> str:
    if field == "*":
        return f"every {unit}"
    if field.startswith("*/"):
        return f"every {ordinal(int(field[2:]))} {unit}"
    if "-" in field and "," not in field:
        span, _, step = field.partition("/")
        first, last = span.split("-")
        nth = f"{ordinal(int(step))} " if step else ""
        return f"every {nth}{unit} from {_name(int(first), unit)} through {_name(int(last), unit)}"
    ends = [[int(end) for end in part.split("-")] for part in field.split(",")]
    names = [_name(n, unit) for numbers in ends for n in range(numbers[0], numbers[-1] + 1)]
    return _and(names) if unit in ("month", "day-of-week") else f"{unit} {_and(names)}"


def _name(number: int, unit: str) -> str:
    if unit == "month":
        return MONTHS[number - 1]
    return DAYS[number % 7] if unit == "day-of-week" else str(number)


def _and(items: list[str]) -> str:
    return " and ".join(items) if len(items) < 3 else f"{', '.join(items[:-1])}, and {items[-1]}"


@lru_cache(maxsize=16384)
def _described(expression: str, on_24_hour_clock: bool) -> str:
    from cron_descriptor import Options, get_description

    options = Options()
    options.use_24hour_time_format = on_24_hour_clock
    return re.sub(r"\s+", " ", get_description(expression, options))
