"""Weighted choice between wordings, number words, lists, and the names of days and months.

Does not know about schedules.
"""

from functools import lru_cache
from random import Random
from typing import NamedTuple

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty"}
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
SHORT_DAYS = (("Sun",), ("Mon",), ("Tue", "Tues"), ("Wed", "Weds"), ("Thu", "Thurs", "Thur"), ("Fri",), ("Sat",))
MONTHS = ("January February March April May June July August September October November December").split()
SHORT_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class Schedule(NamedTuple):
    """A worded schedule: what a person typed, the expression it means, and the slice it is reported in."""

    phrase: str
    expression: str
    slice: str


@lru_cache(maxsize=4096)
def _alternatives(text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    options, sums, total = [], [], 0.0
    for item in text.split("|"):
        option, _, weight = item.partition("*")
        total += float(weight or 1)
        options.append(option)
        sums.append(total)
    return tuple(options), tuple(sums)


def choose(rng: Random, alternatives: str, **values: object) -> str:
    """One of `"a*3|b*2|c"`, drawn by weight (1 where none is given), with `{name}` filled from `values`."""
    options, sums = _alternatives(alternatives)
    option = rng.choices(options, cum_weights=sums)[0]
    return option.format(**values) if values else option


def chance(rng: Random, share: float) -> bool:
    """True in `share` (0 to 1) of the draws."""
    return rng.random() < share


def number_word(number: int) -> str:
    """0 to 59 in words: 45 is "forty-five"."""
    if number < 20:
        return ONES[number]
    tens, ones = number // 10 * 10, number % 10
    return TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def ordinal_word(number: int) -> str:
    """1 to 31 in words: 21 is "twenty-first"."""
    if number <= 20:
        return ORDINALS[number]
    return "thirtieth" if number == 30 else f"{TENS[number // 10 * 10]}-{ORDINALS[number % 10]}"


def say_list(rng: Random, items: list[str], plain: bool = False) -> str:
    """ "a, b and c" in one of the usual manners; `plain` leaves the slash and plus forms out."""
    if len(items) == 1:
        return items[0]
    last = choose(
        rng,
        "{} and {}*8|{} & {}*2|{},{}*1" if plain else "{} and {}*8|{} & {}*2|{}, {}*2|{},{}*1.2|{}/{}*0.7|{} + {}*0.3",
    )
    if last in ("{}/{}", "{},{}"):
        return last[2:-2].join(items)
    if last == "{}, {}" and len(items) > 2:
        return ", ".join(items)
    if len(items) == 2:
        return last.format(*items)
    comma = "," if "and" in last and chance(rng, 0.4) else ""
    return last.format(", ".join(items[:-1]) + comma, items[-1])


def day_name(rng: Random, day: int, short: bool) -> str:
    """A weekday (0 or 7 is Sunday), in full or abbreviated."""
    return rng.choice(SHORT_DAYS[day % 7]) if short else DAYS[day % 7]


def month_name(rng: Random, month: int, short: bool) -> str:
    """A month (1 to 12), in full or abbreviated."""
    if short and month == 9:
        return choose(rng, "Sep*3|Sept")
    return SHORT_MONTHS[month - 1] if short else MONTHS[month - 1]


def runs(values: list[int]) -> str:
    """A cron list of sorted numbers, three or more neighbours written as a range: [1, 2, 3, 6] is "1-3,6"."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    texts = [f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p)) for p in parts]
    return ",".join(texts)
