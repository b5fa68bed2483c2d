"""Five-field cron expressions: parse them, tell whether two of them fire at the same times, and judge an answer by
that.

Semantics are Vixie cron's. A field is `*`, a number, a name (JAN, MON), a range `a-b`, a step `*/n` or `a-b/n`, or a
comma list of these; 7 is Sunday. Days: when the day-of-month field or the day-of-week field *begins* with `*` (so `*/2`
counts as a star), a date must satisfy both; when neither does, one of the two is enough.

A date enters these rules only through its month, day and weekday. All 7 x 366 of those triples occur in the Gregorian
calendar (29 February on every weekday within 28 years), so the set of matching triples stands for the set of matching
dates: it tells apart whatever twelve years of dates tell apart, and also the weekdays on which 29 February is rare.

Does not read seconds, years, `@daily`, `L`, `W`, `#`, `?` or time zones, and does not compute next run times.
Source: crontab(5) and entry.c of Vixie cron 3.0 (flags DOM_STAR and DOW_STAR).
"""

import hashlib
import re
from functools import lru_cache
from typing import NamedTuple

MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
LONGEST = 400

_PART = re.compile(r"(?:(\*)|([0-9]{1,3}|[a-z]{3})(?:-([0-9]{1,3}|[a-z]{3}))?)(?:/([0-9]{1,3}))?")


class Field(NamedTuple):
    """Name, lowest and highest number of a field, and the names that stand for numbers from `first_name` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day-of-month", 1, 31),
    Field("month", 1, 12, MONTH_NAMES, 1),
    Field("day-of-week", 0, 7, DAY_NAMES, 0),
)


class FireTimes(NamedTuple):
    """When an expression fires, as bit masks: bit m of `minutes`, bit h of `hours`, and one bit a (month, day, weekday)
    triple of `dates`. Two expressions fire at the same times exactly when these are equal."""

    minutes: int
    hours: int
    dates: int


def parse(expression: str) -> FireTimes:
    """The times at which `expression` fires. Raises ValueError, one sentence, when it is malformed.

    >>> parse("0 9 * * MON-FRI") == parse("0 9 * * 1,2,3,4,5")
    True
    """
    if len(expression) > LONGEST:
        raise ValueError(f"a cron expression has at most {LONGEST} characters, found {len(expression)}")
    return _parse(" ".join(expression.lower().split()))


def check_answer(answer: str, expected: str) -> None:
    """Raise AssertionError, with a short reason, unless `answer` fires at the same times as `expected`.

    White space and surrounding backticks or quotes are forgiven. An expression inside prose is not looked for: taking
    the answer out of a completion is the extractor's work, the same for every model.

    >>> check_answer("`30 9 * * MON-FRI`", "30 9 * * 1-5")
    """
    text = str(answer).strip().strip("`'\"").strip()
    try:
        times = parse(text)
    except ValueError as problem:
        raise AssertionError(f"not a cron expression: {problem}") from None
    if times != parse(expected):
        raise AssertionError(f"{text} does not fire at the same times as {expected}")


@lru_cache(maxsize=65536)
def fire_key(expression: str) -> str:
    """16 hex digits that are equal for expressions which fire at the same times: the group of a row."""
    times = parse(expression)
    text = f"{times.minutes:x}/{times.hours:x}/{times.dates:x}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=65536)
def _parse(expression: str) -> FireTimes:
    texts = expression.split()
    if len(texts) != len(FIELDS):
        raise ValueError(f"a cron expression has five fields, found {len(texts)}: {expression[:60]!r}")
    minutes, hours, doms, months, dows = (_field_mask(text, field) for text, field in zip(texts, FIELDS, strict=True))
    dows = (dows | dows >> 7) & 0b1111111
    month_dates, dom_dates, dow_dates = (
        _union(mask, sets) for mask, sets in zip((months, doms, dows), _calendar(), strict=True)
    )
    if texts[2].startswith("*") or texts[4].startswith("*"):
        return FireTimes(minutes, hours, month_dates & dom_dates & dow_dates)
    return FireTimes(minutes, hours, month_dates & (dom_dates | dow_dates))


def _field_mask(text: str, field: Field) -> int:
    mask = 0
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:20]!r} is not a number, range, step or '*' in the {field.name} field")
        star, first, last, step = match.groups()
        if step is not None and not star and last is None:
            raise ValueError(f"a step needs a range or '*' before it in the {field.name} field, found {part!r}")
        if step is not None and int(step) == 0:
            raise ValueError(f"a step must be at least 1 in the {field.name} field, found {part!r}")
        low = field.low if star else _number(first, field)
        high = (6 if field.high == 7 else field.high) if star else low if last is None else _number(last, field)
        if high < low:
            raise ValueError(f"the range {part!r} runs backwards in the {field.name} field")
        for value in range(low, high + 1, int(step or 1)):
            mask |= 1 << value
    return mask


def _number(text: str, field: Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.first_name
    if not text.isdigit() or not field.low <= int(text) <= field.high:
        raise ValueError(f"the {field.name} field takes {field.low} to {field.high}, found {text!r}")
    return int(text)


def _union(mask: int, date_sets: tuple[int, ...]) -> int:
    dates = 0
    for value, date_set in enumerate(date_sets):
        if mask >> value & 1:
            dates |= date_set
    return dates


@lru_cache(maxsize=1)
def _calendar() -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """For every month, day of month and day of week: the bit mask of the (month, day, weekday) triples that have it."""
    months, doms, dows = [0] * 13, [0] * 32, [0] * 7
    bit = 1
    for month, days in enumerate(DAYS_IN_MONTH, start=1):
        for day in range(1, days + 1):
            for weekday in range(7):
                months[month] |= bit
                doms[day] |= bit
                dows[weekday] |= bit
                bit <<= 1
    return tuple(months), tuple(doms), tuple(dows)
