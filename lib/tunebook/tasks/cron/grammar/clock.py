"""Times of day in words: "5pm", "17:00", "half past five in the evening", "noon", lists of times, and spans.

`Clock` holds one manner of saying times, so that every time in a list or a span is said alike. A bare hour is read on
the 24-hour clock ("at 8" is 08:00). Does not say on which days.
"""

from random import Random
from typing import NamedTuple

from tunebook.tasks.cron.grammar.words import chance, choose, number_word, say_list

# {h} hour on the 12-hour clock, {hh} with two digits, {p} am/pm, {m} minute with two digits; H and HH: 24-hour clock.
WHOLE_12 = (
    "{h}{p}*9|{h} {p}*3|{h} {P}*9|{h}{P}*5|{h}:00 {P}*9|{h}:00{p}*5|{h}:00 {p}*3|{h}:00{P}*2|{hh}:00 {P}*3"
    "|{hh}:00{p}|{h} {dots}*0.8|{h}:00 {dots}*0.4|{h}.00{p}*0.4|{h}{a}*0.4|{H}:00 {P}*0.3|{H}{p}*0.2"
)
MINUTE_12 = (
    "{h}:{m}{p}*7|{h}:{m} {p}*3|{h}:{m} {P}*10|{h}:{m}{P}*4|{hh}:{m} {P}*4|{hh}:{m}{p}|{h}:{m} {dots}|{h}.{m}{p}"
    "|{h}.{m} {p}*0.5|{h} {m} {p}*0.3|{h}:{m}{a}*0.5|{H}:{m} {P}*0.4"
)
WHOLE_24 = (
    "{HH}:00*14|{H}:00*5|{H}h*0.8|{HH}00*0.8|{HH}:00h*0.3|{HH}00 hours*0.3|{HH}:00 hours*0.2|{HH}:00:00*0.3"
    "|{HH}h00*0.2|{HH} 00*0.15"
)
MINUTE_24 = "{HH}:{m}*14|{H}:{m}*4|{H}h{m}*0.7|{HH}{m}*0.7|{HH}{m} hours*0.2|{HH}:{m}h*0.3|{HH}.{m}*0.5|{HH}:{m}:00*0.2"
COMMON_HOURS = (
    "0*5|1*5|2*7|3*6|4*5|5*5|6*6|7*5|8*7|9*9|10*6|11*5|12*8|13*6|14*8|15*7|16*7|17*8|18*8|19*6|20*6|21*6|22*6|23*6"
)


class Clock(NamedTuple):
    """A manner of saying times: one of the templates above, or "words", "loose" (half past, in the morning), "bare"."""

    template: str


def draw_hour(rng: Random) -> int:
    """An hour, 0 to 23, the usual ones more often."""
    return int(choose(rng, COMMON_HOURS))


def draw_minute(rng: Random) -> int:
    """A minute, 0 to 59: a whole hour in most of the draws, a quarter in a fifth."""
    kind = rng.random()
    if kind < 0.58:
        return 0
    if kind < 0.8:
        return rng.choice((15, 30, 30, 45))
    return rng.randrange(60) if kind < 0.92 else rng.randrange(5, 60, 5)


def draw_clock(rng: Random, whole: bool, plain: bool = False) -> Clock:
    """A manner for times on the hour (`whole`) or not; `plain` keeps to forms that work in lists and spans."""
    kind = choose(rng, "12*58|24*36|words*2|loose*3.5" if not plain else "12*60|24*39|words*1")
    if kind == "12":
        return Clock(choose(rng, WHOLE_12 if whole else MINUTE_12))
    if kind == "24":
        return Clock(choose(rng, WHOLE_24 if whole else MINUTE_24))
    return Clock(kind)


def say_time(rng: Random, clock: Clock, hour: int, minute: int) -> str:
    """One time in this manner: `say_time(rng, Clock("{h}{p}"), 17, 0)` is "5pm"."""
    twelve = hour % 12 or 12
    if clock.template == "words":
        return _words(rng, twelve, hour, minute)
    if clock.template == "loose":
        return _loose(rng, twelve, hour, minute)
    values = {
        "h": twelve,
        "hh": f"{twelve:02d}",
        "H": hour,
        "HH": f"{hour:02d}",
        "m": f"{minute:02d}",
        "p": "am" if hour < 12 else "pm",
        "P": "AM" if hour < 12 else "PM",
        "a": "a" if hour < 12 else "p",
        "dots": ("a.m." if hour < 12 else "p.m.") if chance(rng, 0.7) else ("A.M." if hour < 12 else "P.M."),
    }
    return clock.template.format(**values)


def part_of_day(rng: Random, hour: int) -> str:
    """The words that make an hour on the 12-hour clock certain: "in the morning", "at night"."""
    if hour < 12:
        return "at night" if hour < 4 and chance(rng, 0.25) else "in the morning"
    if hour < 17:
        return "in the afternoon"
    return "in the evening" if hour < 21 and not (hour == 20 and chance(rng, 0.3)) else "at night"


def _words(rng: Random, twelve: int, hour: int, minute: int) -> str:
    spoken = number_word(twelve)
    if minute:
        spoken += f" {'oh ' if minute < 10 else ''}{number_word(minute)}"
    elif chance(rng, 0.3):
        spoken += " o'clock"
        return f"{spoken} {part_of_day(rng, hour)}"
    return f"{spoken} {choose(rng, '{p}*5|{P}*2', p='am' if hour < 12 else 'pm', P='AM' if hour < 12 else 'PM')}"


def _loose(rng: Random, twelve: int, hour: int, minute: int) -> str:
    """Half past, quarter to, minutes past and to, o'clock: always with am, pm or a part of the day."""
    half = (
        part_of_day(rng, hour) if chance(rng, 0.5) else choose(rng, "am*3|AM") if hour < 12 else choose(rng, "pm*3|PM")
    )
    if minute == 0:
        return (
            f"{twelve} o'clock {part_of_day(rng, hour)}" if chance(rng, 0.4) else f"{twelve} {part_of_day(rng, hour)}"
        )
    spoken, following = (f"{twelve}", f"{twelve % 12 + 1}")
    if chance(rng, 0.4):
        spoken, following = number_word(twelve), number_word(twelve % 12 + 1)
    if minute == 30:
        return f"half past {spoken} {half}"
    if minute == 15 or (minute == 45 and hour not in (11, 23)):
        quarter = choose(rng, "quarter*4|a quarter")
        return f"{quarter} past {spoken} {half}" if minute == 15 else f"{quarter} to {following} {half}"
    if chance(rng, 0.5):
        return f"{twelve}:{minute:02d} {half}"
    unit = choose(rng, " *2| minutes *2") if minute % 5 == 0 else " minutes "
    if minute > 34 and hour not in (11, 23):
        return f"{60 - minute}{unit}to {following} {half}"
    if minute > 34:
        return f"{twelve}:{minute} {half}"
    return f"{minute}{unit}past {spoken} {half}"


def say_clock(rng: Random, hour: int, minute: int, at: bool = True) -> str:
    """One time as a person would type it after "at" (`at`: also without am or pm, when nothing else can be meant)."""
    special = _special(rng, hour, minute)
    if special:
        return special
    if chance(rng, 0.02):
        first, second = Clock(rng.choice(("{HH}:{m}", "{H}:{m}"))), Clock(rng.choice(("{h}:{m} {P}", "{h}:{m}{p}")))
        first, second = (first, second) if chance(rng, 0.5) else (second, first)
        return f"{say_time(rng, first, hour, minute)} ({say_time(rng, second, hour, minute)})"
    if at and minute == 0 and chance(rng, 0.06):
        return str(hour)
    if at and 6 <= hour <= 12 and minute in (15, 30) and chance(rng, 0.04):
        return f"{'half' if minute == 30 else 'quarter'} past {choose(rng, '{n}*2|{w}', n=hour, w=number_word(hour))}"
    return say_time(rng, draw_clock(rng, minute == 0), hour, minute)


def _special(rng: Random, hour: int, minute: int) -> str:
    """Noon, midnight, and minutes next to them; empty when the time has no such name or the draw says no."""
    if minute == 0 and hour in (0, 12) and chance(rng, 0.5):
        return choose(
            rng,
            "midnight*14|12 midnight*0.5|12:00 midnight*0.3"
            if hour == 0
            else "noon*12|midday*2|12 noon|12:00 noon*0.5",
        )
    name = {0: "midnight", 12: "noon", 23: "midnight", 11: "noon"}.get(hour)
    if not name or not minute or not chance(rng, 0.2):
        return ""
    after = hour in (0, 12)
    count = minute if after else 60 - minute
    if count > 45:
        return ""
    if count == 30 and after:
        return choose(rng, "half past {name}|30 minutes after {name}|30 minutes past {name}", name=name)
    unit = choose(rng, " minutes*4| min| mins") if count > 1 else " minute"
    count_word = choose(rng, "{n}*4|{w}", n=count, w=number_word(count))
    return f"{count_word}{unit} {choose(rng, 'after*2|past') if after else choose(rng, 'before*3|to')} {name}"


def say_clocks(rng: Random, hours: list[int], minute: int) -> str:
    """Several times with the same minute: "9am and 5pm", "9 and 11 am", "8, 12 and 16"."""
    halves = {hour < 12 for hour in hours}
    if minute == 0 and len(halves) == 1 and 0 not in hours and 12 not in hours and chance(rng, 0.15):
        last = choose(rng, "am*2| am| AM*2|AM") if True in halves else choose(rng, "pm*2| pm| PM*2|PM")
        return say_list(rng, [str(hour % 12) for hour in hours], plain=True) + last
    if minute == 0 and hours[-1] > 12 and chance(rng, 0.08):
        return say_list(rng, [str(hour) for hour in hours], plain=True)
    clock = draw_clock(rng, minute == 0, plain=True)
    named = chance(rng, 0.6)
    items = []
    for hour in hours:
        name = {0: "midnight", 12: "noon"}.get(hour) if minute == 0 and named else None
        items.append(name or say_time(rng, clock, hour, minute))
    return say_list(rng, items)


def say_span(rng: Random, first: int, last: int) -> str:
    """A span of whole hours without its preposition: a template in which the caller fills {to}."""
    if first < last <= 23 and chance(rng, 0.12):
        return f"{first}{{to}}{last}"
    if 6 <= first <= 11 and 13 <= last <= 18 and chance(rng, 0.14):
        return f"{first}{{to}}{last - 12}"
    clock = draw_clock(rng, True, plain=True)
    texts = []
    for hour in (first, last):
        name = {0: "midnight", 12: "noon"}.get(hour) if chance(rng, 0.7) else None
        texts.append(name or say_time(rng, clock, hour, 0))
    same = (first < 12) == (last < 12) and first and first != 12 and last != 12
    if same and clock.template == "{h}{p}" and chance(rng, 0.3):
        texts[0] = str(first % 12)
    return f"{texts[0]}{{to}}{texts[1]}"
