"""Schedules for some days of the week, with a time or without (midnight).

"Weekly" alone is Sunday at midnight, "weekly at 9am" Sunday at nine. Leaves out every second week and the n-th weekday
of a month, which cron cannot say.
"""

from random import Random

from tunebook.tasks.cron.grammar.clock import draw_hour, draw_minute, say_clock, say_clocks
from tunebook.tasks.cron.grammar.days import Days, draw_days
from tunebook.tasks.cron.grammar.words import DAYS, Schedule, chance, choose, day_name

LEAD_FIRST = (
    "{lead} at {t}*42|{lead} {t}*11|{lead}, {t}*3|{lead}, at {t}*3|{lead} @ {t}*3|{lead} ({t})*2|{lead}: {t}*1"
    "|{lead} - {t}*0.7|{lead} by {t}*0.3"
)
TIME_FIRST = "at {t} {tail}*16|{t} {tail}*14|at {t}, {tail}*1.5|{t}, {tail}*1.5|@ {t} {tail}*0.5"
WEEKLY = (
    "weekly*14|every week*8|once a week*8|once per week*2|each week*2|weekly on Sunday*4|weekly on Sundays*2"
    "|every Sunday*4|every Sunday at midnight*4"
    "|Sundays at midnight*2|weekly at midnight*1|once every week*1|1x per week*0.4|weekly (Sunday)*1.5"
    "|at midnight on Sunday*2|midnight on Sundays*1.5|weekly on Sunday at midnight*2"
    "|Sunday at midnight*2|Sunday midnight*1.5|every week on Sunday*1.5|once a week on Sunday*1.5|every 1 week*0.5"
    "|at the start of every week*0.5|weekly on Sun*0.5|Sundays*1|sunday*0.5|on a weekly basis*0.7|@weekly*1"
    "|once a week (Sunday)*0.4"
)
WEEKLY_AT = (
    "weekly at {t}*5|every week at {t}*3|once a week at {t}*3|{t} weekly*1|each week at {t}*0.7|weekly, at {t}*0.5"
    "|at {t} once a week*0.5|at {t} every week*0.7"
)
WEEKLY_ON = (
    "weekly at {t} {tail}*5|every week at {t} {tail}*2|once a week at {t} {tail}*2|weekly @ {t} {tail}*0.5"
    "|weekly, {t} {tail}*0.5"
)
WEEKLY_NOTE = (
    "weekly ({d} {t})*3|weekly ({d} at {t})*2|weekly: {d} {t}|weekly: {d} at {t}|weekly, {d} {t}*2|weekly, {d} at {t}"
    "|weekly - {d} {t}|weekly {d} {t}*2|weekly {d} at {t}*2|once a week ({d} {t})|once a week, {d} at {t}"
)
DAILY_ON = (
    "daily at {t} {tail}*6|every day at {t} {tail}*4|everyday at {t} {tail}*1|daily {t} {tail}*0.7"
    "|each day at {t} {tail}*0.5"
)
IN_PART = (
    "every {d} {p} at {t}*6|{d} {p}s at {t}*3|at {t} every {d} {p}*2|{d} {p} at {t}*2|at {t} on {d} {p}s*1"
    "|on {d} {p}s at {t}*2|each {d} {p} at {t}*0.7"
)
PARTS = {"morning": (5, 11), "afternoon": (13, 17), "evening": (17, 22), "night": (19, 23)}


def place(rng: Random, lead: str, tail: str, time: str) -> str:
    """Put a time next to a wording of days: "every Monday at 9am", "9am on Mondays"."""
    if chance(rng, 0.66):
        return choose(rng, LEAD_FIRST, lead=lead, t=time)
    return choose(rng, TIME_FIRST, t=time, tail=tail).replace(" ,", ",").replace(",,", ",")


def weekly(rng: Random) -> Schedule:
    """Some days of the week at one or several times, or at midnight when no time is stated."""
    kind = choose(rng, "time*73|midnight*13|weekly*5|weekly_at*3|several*6")
    if kind == "weekly":
        return Schedule(choose(rng, WEEKLY), "0 0 * * 0", "weekly")
    hour, minute = draw_hour(rng), draw_minute(rng)
    if kind == "weekly_at":
        return Schedule(choose(rng, WEEKLY_AT, t=say_clock(rng, hour, minute)), f"{minute} {hour} * * 0", "weekly")
    if kind == "midnight":
        days = draw_days(rng, lone=True)
        if chance(rng, 0.3):
            return Schedule(place(rng, days.lead, days.tail, "midnight"), f"0 0 * * {days.field}", "weekly")
        return Schedule(days.lead, f"0 0 * * {days.field}", "weekly")
    days = draw_days(rng)
    if kind == "several":
        hours = sorted({draw_hour(rng), draw_hour(rng), 9 if chance(rng, 0.4) else 12 if chance(rng, 0.4) else 17})
        minute = 0 if chance(rng, 0.75) else 30
        phrase = place(rng, days.lead, days.tail, say_clocks(rng, hours, minute))
        return Schedule(phrase, f"{minute} {','.join(map(str, hours))} * * {days.field}", "weekly")
    return Schedule(_at(rng, days, hour, minute), f"{minute} {hour} * * {days.field}", "weekly")


def _at(rng: Random, days: Days, hour: int, minute: int) -> str:
    """One time on these days: "every Monday at 9am", "9am on Mondays", "Monday mornings at 9"."""
    drawn = rng.random()
    if drawn < 0.05 and days.field.isdigit():
        day = day_name(rng, int(days.field), chance(rng, 0.5))
        return choose(rng, WEEKLY_NOTE, d=day, t=say_clock(rng, hour, minute, at=False))
    if drawn < 0.12:
        phrase = _part_of_day(rng, days, hour, minute)
        if phrase:
            return phrase
    elif drawn < 0.19 and days.tail.startswith(("on ", "every ", "from ", ", ", "(", "except ", "Mon", "mon", "M-F")):
        opening = WEEKLY_ON if len(days.field) == 1 else DAILY_ON
        phrase = choose(rng, opening, t=say_clock(rng, hour, minute), tail=days.tail)
        return phrase.replace(" ,", ",").replace("every day every day", "every day")
    if chance(rng, 0.66):
        return choose(rng, LEAD_FIRST, lead=days.lead, t=say_clock(rng, hour, minute))
    phrase = choose(rng, TIME_FIRST, t="{t}", tail=days.tail).replace(" ,", ",").replace(",,", ",")
    return phrase.format(t=say_clock(rng, hour, minute, at="at {t}" in phrase))


def _part_of_day(rng: Random, days: Days, hour: int, minute: int) -> str:
    """ "every Friday evening at 6"; empty when the hour has no named part, or the days are not one nor weekdays."""
    if not days.field.isdigit() and days.field != "1-5":
        return ""
    day = "weekday" if days.field == "1-5" else DAYS[int(days.field)]
    parts = [part for part, (first, last) in PARTS.items() if first <= hour <= last]
    if not parts:
        return ""
    bare = minute == 0 and chance(rng, 0.4)
    time = hour % 12 if bare else say_clock(rng, hour, minute, at=False)
    return choose(rng, IN_PART, d=day, p=rng.choice(parts), t=time)
