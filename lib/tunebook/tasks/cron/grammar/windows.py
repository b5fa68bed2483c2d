"""A repetition within some hours of the day: "every 15 minutes between 9am and 5pm on weekdays".

A stated last hour is included: "from 9 to 5" is hours 9-17, so "every 15 minutes until 5pm" still fires at 17:45.
Business, office and working hours are 9-17, on every day unless days are named. Leaves out spans that cross midnight
and spans that begin or end within an hour.
"""

from random import Random

from tunebook.tasks.cron.grammar.clock import draw_clock, draw_hour, say_span, say_time
from tunebook.tasks.cron.grammar.dates import draw_dates
from tunebook.tasks.cron.grammar.days import draw_days
from tunebook.tasks.cron.grammar.hourly import say_minute
from tunebook.tasks.cron.grammar.intervals import pace_minutes
from tunebook.tasks.cron.grammar.words import Schedule, chance, choose

SPANS = (
    ("between {span}", " and "),
    ("from {span}", " to "),
    ("between the hours of {span}", " and "),
    ("from {span}", " through "),
    ("from {span}", " until "),
    ("{span}", "-"),
    ("{span}", " - "),
    ("{span}", " to "),
    ("({span})", "-"),
    ("from {span}", "-"),
    ("between {span}", "-"),
    (", {span}", "-"),
    ("during {span}", "-"),
    ("from {span}", " till "),
    (", from {span}", " to "),
    (", between {span}", " and "),
)
SPAN_WEIGHTS = (24, 24, 2, 5, 4, 8, 3, 5, 3, 2, 2, 2, 1, 2, 2, 2)
BUSINESS = (
    "during business hours*10|during working hours*4|during office hours*3|in business hours*1|during work hours*2"
    "|within business hours*1"
    "|in working hours*1|(business hours)*1|, business hours only*1|during business hours only*1"
    "|during business hours (9-5)*1|during business hours (9am-5pm)*1"
)
WITH_DAYS = (
    "{pace} {span} {tail}*10|{pace} {tail} {span}*3|{lead} {pace} {span}*1.5|{pace}, {span}, {tail}*2"
    "|{lead}: {pace} {span}*0.7|{lead}, {pace} {span}*1.5|{pace}, {lead} {span}*3|{pace}, {lead}, {span}*1"
    "|{pace} {lead} {span}*1.5"
)
EVERY_DAY = "{pace} {span}*14|{pace}, {span}|{pace} {span} every day*1.5|{span}, {pace}|every day, {pace} {span}*0.5"
HOURLY = (
    "every hour*8|hourly*6|once an hour|every hour on the hour*1.5|each hour|on the hour*0.7|every 1 hour*0.3"
    "|every 60 minutes*0.4"
)
IN_HOUR = (
    "during the {h} hour*4|between {h} and {end}*3|of the {h} hour*2|within the {h} hour*1|in the {h} hour*2"
    "|past hour {n}*1|during hour {n}*1|in hour {n}*1"
)


def window(rng: Random) -> Schedule:
    """A pace with a span of hours, often with days of the week, or all within one hour."""
    kind = choose(rng, "span*76|business*14|hour*8|bare*2")
    if kind == "hour":
        return _one_hour(rng)
    if kind == "bare":
        return _bare(rng)
    minute, step, phrase = _pace(rng)
    if kind == "business":
        first, last, text = 9, 17, choose(rng, BUSINESS)
    else:
        first, last, text = _span(rng, shortest=2 * step if step > 1 else 1)
    hours = f"{first}-{last}" + (f"/{step}" if step > 1 else "")
    if chance(rng, 0.04):
        dates = draw_dates(rng)
        return Schedule(_tidy(f"{phrase} {text} {dates.tail}"), f"{minute} {hours} {dates.field} * *", "window")
    if chance(rng, 0.42):
        days = draw_days(rng)
        phrase = choose(rng, WITH_DAYS, pace=phrase, span=text, tail=days.tail, lead=days.lead)
        return Schedule(_tidy(phrase), f"{minute} {hours} * * {days.field}", "window")
    phrase = choose(rng, EVERY_DAY, pace=phrase, span=text)
    return Schedule(_tidy(phrase), f"{minute} {hours} * * *", "window")


def _pace(rng: Random) -> tuple[str, int, str]:
    """Minute field, hour step and wording: mostly every N minutes or hourly, now and then every 2 to 4 hours."""
    kind = choose(rng, "minutes*55|hourly*35|hours*7|past*6")
    if kind == "hourly":
        return "0", 1, choose(rng, HOURLY)
    if kind == "hours":
        step = rng.choice((2, 2, 3, 4))
        word = ("two", "three", "four")[step - 2]
        return "0", step, choose(rng, "every {n} hours*5|every {w} hours*2", n=step, w=word)
    if kind == "past":
        minute = rng.choice((5, 10, 15, 20, 30, 45)) if chance(rng, 0.7) else rng.randint(1, 59)
        return str(minute), 1, f"{choose(rng, 'every hour at*2|hourly at')} {say_minute(rng, minute)}"
    pace = pace_minutes(rng, int(choose(rng, "5*10|10*9|15*11|20*4|30*10|2*2|3*2|1*4|6|12|4")))
    return pace.minute, 1, pace.phrase.split(",")[0]


def _span(rng: Random, shortest: int = 1) -> tuple[int, int, str]:
    """First and last hour, at least `shortest` hours apart, and their wording."""
    first = rng.choice((6, 7, 8, 8, 9, 9, 9, 10)) if chance(rng, 0.55) else rng.randint(0, 22 - shortest)
    last = (
        rng.choice((14, 15, 16, 17, 17, 18, 18, 19, 20, 20, 21, 22))
        if first < 15 and chance(rng, 0.6)
        else rng.randint(first + 1, 23)
    )
    last = min(23, max(last, first + shortest))
    wording, to = rng.choices(SPANS, SPAN_WEIGHTS)[0]
    return first, last, wording.format(span=say_span(rng, first, last).format(to=to))


def _one_hour(rng: Random) -> Schedule:
    hour, pace = draw_hour(rng), pace_minutes(rng, int(choose(rng, "1*5|5*4|10*4|15*3|2*2|20*2|30*2|3")))
    clock = draw_clock(rng, True, plain=True)
    text = say_time(rng, clock, hour, 0)
    last = f"{hour % 12 or 12}:59 {'am' if hour < 12 else 'pm'}"
    end = text.replace(":00", ":59", 1) if ":00" in text else last
    phrase = f"{pace.phrase.split(',')[0]} {choose(rng, IN_HOUR, h=text, end=end, n=hour)}"
    return Schedule(phrase, f"{pace.minute} {hour} * * *", "window")


def _bare(rng: Random) -> Schedule:
    """Days and a span of hours without a pace, which means hourly: "weekdays 9am to 5pm"."""
    first, last, text = _span(rng)
    days = draw_days(rng)
    phrase = choose(rng, "{lead} {span}*3|{lead}, {span}*2|{span} {tail}*2", lead=days.lead, span=text, tail=days.tail)
    return Schedule(_tidy(phrase), f"0 {first}-{last} * * {days.field}", "window")


def _tidy(phrase: str) -> str:
    phrase = phrase.replace(" ,", ",").replace(",,", ",").strip(", ")
    return phrase.replace(", ,", ",").replace("every day every", "every")
