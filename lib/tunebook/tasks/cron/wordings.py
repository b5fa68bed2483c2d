"""Draw from `wordings.yaml`: a wording of a rule, and the values that say what it means. The head of that file tells
its form.

Knows numbers, lists and ranges, but no schedule: which schedules there are, how often, and how they are worded is in
the file.
"""

import re
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import yaml

from tunebook.tasks.cron.forms import say

FIELD_NAMES = ("minute", "hour", "dom", "month", "dow")
NAMED_HOURS = {0: "midnight", 12: "noon"}
Values = dict[str, int | str]


class Wording(NamedTuple):
    """One wording of a rule: its weight, the values under which it is used, its text, and the values that it sets."""

    weight: float
    conditions: tuple[tuple[str, frozenset[int | str]], ...]
    text: str
    sets: tuple[tuple[str, str], ...]


def expand(rng: Random, rule: str, values: Values) -> str:
    """A wording of `rule`, filled in; what it means is added to `values`.

    >>> values = {}
    >>> expand(Random(1), "twice_daily", values), expand(Random(1), "all_but_one", values), values
    ('twice a day', '', {'but': 0, 'dow': '1-6'})
    """
    wording = pick(rng, rule, values)
    for name, text in wording.sets:
        value = fill(rng, text, values)
        if name:
            values[name] = int(value) if value.isdigit() else value
    return fill(rng, wording.text, values)


def pick(rng: Random, rule: str, values: Values) -> Wording:
    """One of the wordings of `rule` whose conditions hold, by weight, not filled in. ValueError when none holds."""
    wordings, weights = _usable(rule, tuple(values.get(name) for name in _conditioned(rule)))
    if not wordings:
        raise ValueError(f"wordings.yaml: no line of {rule!r} fits {values}: add one, or change its conditions")
    return rng.choices(wordings, cum_weights=weights)[0]


def fill(rng: Random, text: str, values: Values) -> str:
    """`text` with everything in braces replaced."""
    return re.sub(r"\{([^{}]+)\}", lambda match: _replace(rng, match[1], values), text)


def numbers(text: str, around: int = 0) -> list[int]:
    """The numbers of a list with ranges. With `around`, a range that goes backwards goes on after that many numbers.

    >>> numbers("1-3,5"), numbers("5-0", 7)
    ([1, 2, 3, 5], [5, 6, 7])
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        found += range(low, high + 1 + (around if high < low else 0))
    return found


@cache
def rules() -> dict[str, tuple[Wording, ...]]:
    """Every rule of the file."""
    text = Path(__file__).with_name("wordings.yaml").read_text(encoding="utf-8")
    return {rule: tuple(_read(rule, lines)) for rule, lines in yaml.safe_load(text).items()}


def _read(rule: str, lines: str) -> list[Wording]:
    wordings = []
    for line in re.sub(r"\n\s+", " ", lines.strip()).split("\n"):
        match = re.fullmatch(r"([\d.]+)(?: \[(.*?)\])?: (.*)", line)
        if match is None:
            raise ValueError(f"wordings.yaml: {rule!r} has the line {line!r}: write `weight: wording | wording`")
        conditions = tuple(_condition(text) for text in (match[2] or "").split())
        meaning, of_line = "", []
        for text in reversed(match[3].split(" | ")):  # a wording without an arrow means what the next one means
            text, arrow, after = text.partition("=>")
            meaning = after if arrow else meaning
            sets = tuple(re.findall(r"(?:(\w+)=)?((?:\{[^}]*\}|[^\s{}])+)", meaning))
            of_line.append(Wording(float(match[1]), conditions, text.strip(), sets))
        wordings += reversed(of_line)
    return wordings


def _condition(text: str) -> tuple[str, frozenset[int | str]]:
    """`hour=0-5,23`: the name, and its values as numbers and as texts."""
    name, _, wanted = text.partition("=")
    return name, frozenset([wanted, *wanted.split(","), *(numbers(wanted) if wanted[0].isdigit() else [])])


@cache
def _conditioned(rule: str) -> tuple[str, ...]:
    """The values on which the lines of a rule depend."""
    return tuple(sorted({name for wording in rules()[rule] for name, _ in wording.conditions}))


@lru_cache(maxsize=65536)
def _usable(rule: str, held: tuple[int | str | None, ...]) -> tuple[list[Wording], list[float]]:
    """The wordings whose conditions hold for these values of `_conditioned`, and their summed weights."""
    values = dict(zip(_conditioned(rule), held, strict=True))
    usable = [w for w in rules()[rule] if all(values[name] in wanted for name, wanted in w.conditions)]
    return usable, list(accumulate(wording.weight for wording in usable))


def _replace(rng: Random, slot: str, values: Values) -> str:
    """What stands in braces: a rule, a draw of numbers, times, or a value in a form."""
    if slot in rules():
        return expand(rng, slot, values)
    if " of " in slot:
        return _draw_numbers(rng, *slot.split(" of "), values)
    if slot == "times":
        return _join(rng, _times(rng, numbers(str(values["hour"])), values["minute"]), "clock")
    if slot in ("opens", "closes") and slot not in values:
        values["opens"], values["closes"] = _ends(rng, str(values["hour"]).partition("/")[0])
    name, _, form = slot.partition(":")
    value = values[name]
    if isinstance(value, int):
        return say(rng, value, form)
    if form == "last":
        return value.rpartition("-")[2]
    return _say_list(rng, value, form) if name in FIELD_NAMES else value


def _draw_numbers(rng: Random, count: str, source: str, values: Values) -> str:
    """`2 of 0-55/5`: different numbers, in order; `span of 1-31`: a range; a rule may stand for the numbers."""
    n = 2 if count == "span" else int(count)
    drawn: set[int] = set()
    if source in rules():
        while len(drawn) < n:
            drawn.add(int(expand(rng, source, values)))
    else:
        ends, _, step = source.partition("/")
        drawn.update(rng.sample(numbers(ends)[:: int(step or 1)], n))
    return ("-" if count == "span" else ",").join(map(str, sorted(drawn)))


def _say_list(rng: Random, value: str, form: str) -> str:
    """A list with ranges: every number in `form`, joined as people do."""
    items = []
    for part in value.split(","):
        ends = [say(rng, int(end), form) for end in part.split("-")]
        items.append(ends[0] if len(ends) == 1 else _between(rng, "to", {"form": form or "none"}).join(ends))
    return _join(rng, items, form)


def _join(rng: Random, items: list[str], form: str) -> str:
    if len(items) == 1:
        return items[0]
    last = _between(rng, "and", {"form": form, "items": len(items)})
    return (last if last in (",", "/") else ", ").join(items[:-1]) + last + items[-1]


def _between(rng: Random, rule: str, values: Values) -> str:
    """What stands between A and B in a wording of `rule`."""
    return pick(rng, rule, values).text[1:-1]


def _times(rng: Random, hours: list[int], minute: int | str) -> list[str]:
    """Each hour with the minute (0 where that is no number), all in one manner of `clock`."""
    minute, drawn = minute if isinstance(minute, int) else 0, rng.random()
    if minute == 0 and len(hours) > 1 and drawn < 0.1 and hours[-1] > 12:
        return [str(hour) for hour in hours]  # 8, 12 and 16
    if minute == 0 and len(hours) > 1 and 0.1 < drawn < 0.25 and not {0, 12} & set(hours):
        if len({hour < 12 for hour in hours}) == 1:  # 9 and 11 am
            return [*(str(hour % 12) for hour in hours[:-1]), fill(rng, "{hour:12} {hour:am}", {"hour": hours[-1]})]
    manner, named = pick(rng, "clock", {"minute": minute}).text, minute == 0 and drawn > 0.45
    said = [NAMED_HOURS.get(hour) if named else None for hour in hours]
    return [name or fill(rng, manner, {"hour": hour, "minute": minute}) for name, hour in zip(said, hours, strict=True)]


def _ends(rng: Random, span: str) -> list[str]:
    """Both ends of a span of hours in one manner; "9" and "5" where nobody means the morning."""
    first, last = (int(end) for end in span.split("-"))
    if 6 <= first <= 11 and 13 <= last <= 18 and rng.random() < 0.14:
        return [str(first), str(last - 12)]
    return _times(rng, [first, last], 0)
