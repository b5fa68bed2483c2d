"""Schedules that repeat within the day: every N minutes and every N hours.

`draw_pace` gives the bare repetition (the minute and hour fields), which `hourly` and `windows` add minutes and hours
to. Every N is `*/N`, which starts again at each full hour (minutes) or at midnight (hours), also when N does not divide
60 or 24. Leaves out what cron cannot say (every 90 minutes, every 36 hours).
"""

from random import Random
from typing import NamedTuple

from tunebook.tasks.cron.grammar.dates import draw_dates
from tunebook.tasks.cron.grammar.days import draw_days
from tunebook.tasks.cron.grammar.words import Schedule, chance, choose, number_word, ordinal, ordinal_word

MINUTE_STEPS = "5*16|10*14|15*16|30*12|20*6|2*5|3*4|4*2|6*3|12*3|1*6|any*12"
HOUR_STEPS = "2*12|3*9|4*9|6*12|8*7|12*7|5*2|1*3|any*6"
EVERY_MINUTES = (
    "every {n} minutes*30|every {n} mins*6|every {n} min*6|every {n}m*3|every {n}min*2|every {n} minute*1.5"
    "|once every {n} minutes*2.5"
    "|each {n} minutes*1.5|every {n}-minute interval*0.3|at {n}-minute intervals*1|at {n} minute intervals*1"
    "|every {nth} minute*3"
    "|at every {nth} minute*2|in {n} minute intervals*0.6|{n} minute intervals*0.6|every {n} (minutes)*0.1"
    "|every-{n}-minutes*0.3"
    "|one time every {n} minutes*0.3|per {n} minutes*0.2|every {n}mins*0.8|once per {n} minutes*0.3"
    "|repeat every {n} minutes*0.7"
    "|{n} min interval*0.2|every {n} minutes, every hour*0.5|every {n} minutes of every hour*0.6"
    "|every {n} minutes, all day*0.4"
    "|every {n} minutes, every day*0.7|every {n} minutes of the hour*0.4|{n}-minutely*0.1"
    "|every {n} minutes every day*0.4|every {n} minutes 24/7*0.5|every {n} minutes, around the clock*0.3"
    "|on every {nth} minute*0.3|every {n} minutes throughout the day*0.4"
)
EVERY_HOURS = (
    "every {n} hours*30|every {n} hrs*4|every {n}h*4|every {n} hr*2|every {n}hrs*1|every {n} hour*1.2"
    "|once every {n} hours*3|each {n} hours*1.5"
    "|every {nth} hour*4|at {n}-hour intervals*1|at {n} hour intervals*1|every {n} hours on the hour*2"
    "|every {n}-hour interval*0.2"
    "|on the hour every {n} hours*0.5|at minute 0 past every {nth} hour*3|every {n} hours, every day*0.7"
    "|once per {n} hours*0.3"
    "|repeat every {n} hours*0.7|every {n} hours, on the hour*0.7|in {n} hour intervals*0.4|every-{n}-hours*0.3"
    "|every {n} hours at minute 0*1"
    "|every {n} hours throughout the day*0.5|every {n} hours every day*0.4|every {n} hours around the clock*0.2"
    "|at the top of every {nth} hour*0.6|every {n} hours starting at midnight*1|every {n} hours starting at 00:00*0.5"
    "|every {n} hours from midnight*0.4|every {n} hours, starting at midnight*0.5|every {n} hours (on the hour)*0.4"
)
EVERY_MINUTE = (
    "every minute*10|each minute*2|once a minute*2|every 1 minute*2|once per minute*1|every single minute*1"
    "|every 60 seconds*1|minutely*1"
    "|once every minute*1|every minute of every hour*1|every minute of every day*1|every min*1|every 1 min*0.7"
    "|every minute, every day*0.5"
    "|every one minute*0.5|run every minute*0.5|every 1m*0.5|each and every minute*0.3"
)
EVERY_HOUR = (
    "every hour*14|hourly*10|every hour on the hour*4|once an hour*3|on the hour*2|each hour*2|every 1 hour*2"
    "|once per hour*2"
    "|top of every hour*1.5|at the top of every hour*2.5|at the top of the hour*2|every hour, on the hour*2"
    "|at the start of every hour*2"
    "|every 60 minutes*2|0 minutes past the hour*1|at minute 0 of every hour*2|every hour at minute 0*2"
    "|at minute 0*1.5|hourly on the hour*2"
    "|at the beginning of every hour*1|every hour at :00*1|every 1h*0.7|every one hour*0.5|hourly (on the hour)*0.5"
    "|every hour of every day*1"
    "|once every hour*1.5|every full hour*0.7|on the hour, every hour*1.5|every hour, every day*0.7"
    "|each hour on the hour*0.7|every hr*0.5"
    "|every 60 mins*0.7|at the beginning of each hour*0.7|hourly at minute 0*0.7|hourly at :00*0.5|1x per hour*0.3"
    "|every hour (on the hour)*0.5"
    "|every hour at the top of the hour*0.7|at :00 of every hour*0.4|on an hourly basis*0.7|@hourly*0.7"
    "|once per hour, at 0 minutes past the hour*0.5|at minute 0 past every hour*0.7"
)
MINUTE_IDIOMS = {
    2: "every other minute*3|every second minute*2|every two minutes*1|every 2nd minute",
    15: "every quarter hour*3|every quarter of an hour*2|four times an hour*1.5|4 times an hour*1|every 1/4 hour*0.7"
    "|quarter-hourly*0.7"
    "|four times per hour*0.5|every fifteen minutes*1.5|4x per hour*0.3|each quarter hour*0.5",
    20: "three times an hour*2|3 times an hour*1.5|three times per hour*1|every twenty minutes*1.5|3x an hour*0.3"
    "|every third of an hour*0.4",
    30: "every half hour*6|every half an hour*3|half-hourly*1.5|twice an hour*2|every 1/2 hour*1|twice per hour*1"
    "|every thirty minutes*2|half hourly*1"
    "|each half hour*1|every 0.5 hours*0.3|2 times an hour*0.5|once every half hour*1|every half-hour*1.5"
    "|on the hour and half hour*1"
    "|every hour on the hour and half hour*0.5|at :00 and :30 of every hour*0.7|on the hour and at half past*0.4"
    "|two times an hour*0.4",
    10: "six times an hour*1|6 times an hour*0.7|every ten minutes*2",
    5: "every five minutes*2|12 times an hour*0.5|twelve times an hour*0.4",
    12: "five times an hour*1|every twelve minutes*1|5 times an hour*0.5",
}
HOUR_IDIOMS = {
    2: "every other hour*8|every second hour*2|once every other hour*1|every two hours*4|every 120 minutes*1"
    "|every alternate hour*0.6|12 times a day*0.5"
    "|every other hour on the hour*1|every even hour*0.7|on even hours*0.5|twelve times a day*0.3",
    3: "eight times a day*1|8 times a day*1|every three hours*2|eight times daily*0.5|every 180 minutes*0.4",
    4: "six times a day*1|6 times a day*1|every four hours*2|six times daily*0.5|6 times per day*0.5"
    "|every 240 minutes*0.3",
    6: "four times a day*2|4 times a day*2|four times daily*1|every six hours*3|4 times per day*0.7|4x daily*0.7"
    "|4x per day*0.5|every quarter day*0.3",
    8: "three times a day*3|3 times a day*2|three times daily*2|every eight hours*2|3x daily*0.7|thrice a day*0.7"
    "|3 times per day*0.7|3x a day*0.5",
    12: "every twelve hours*3|every half day*0.6|once every 12 hours*1",
}


class Pace(NamedTuple):
    """A repetition within the day: its minute and hour fields, its wording, and its slice."""

    minute: str
    hour: str
    phrase: str
    slice: str


def draw_pace(rng: Random) -> Pace:
    """Every N minutes or every N hours, in digits, words or an idiom ("every half hour", "three times a day")."""
    if chance(rng, 0.62):
        drawn = choose(rng, MINUTE_STEPS)
        return pace_minutes(rng, int(drawn) if drawn != "any" else rng.randint(2, 59))
    drawn = choose(rng, HOUR_STEPS)
    return pace_hours(rng, int(drawn) if drawn != "any" else rng.randint(2, 23))


def pace_minutes(rng: Random, step: int) -> Pace:
    """Every `step` minutes (1 to 59)."""
    if step == 1:
        return Pace("*", "*", choose(rng, EVERY_MINUTE), "interval")
    if step in MINUTE_IDIOMS and chance(rng, 0.45 if step in (30, 15, 2) else 0.15):
        return Pace(f"*/{step}", "*", choose(rng, MINUTE_IDIOMS[step]), "interval")
    return Pace(f"*/{step}", "*", _every(rng, EVERY_MINUTES, step), "interval")


def pace_hours(rng: Random, step: int) -> Pace:
    """Every `step` hours (1 to 23)."""
    if step == 1:
        return Pace("0", "*", choose(rng, EVERY_HOUR), "hourly")
    if step in HOUR_IDIOMS and chance(rng, 0.4 if step == 2 else 0.22):
        return Pace("0", f"*/{step}", choose(rng, HOUR_IDIOMS[step]), "interval")
    return Pace("0", f"*/{step}", _every(rng, EVERY_HOURS, step), "interval")


def _every(rng: Random, templates: str, step: int) -> str:
    words = {"nth": ordinal(step) if chance(rng, 0.7) or step > 31 else ordinal_word(step), "n": step}
    phrase = choose(rng, templates, **words)
    if f"{step} " in phrase and chance(rng, 0.22):
        return phrase.replace(f"{step} ", f"{number_word(step)} ", 1)
    return phrase


def interval(rng: Random) -> Schedule:
    """Every N minutes or hours, at times on some days of the week or with an explicit "every day"."""
    pace = draw_pace(rng)
    if chance(rng, 0.02):
        dates = draw_dates(rng)
        phrase = f"{pace.phrase.split(',')[0]} {dates.tail}".replace(" ,", ",")
        return Schedule(phrase, f"{pace.minute} {pace.hour} {dates.field} * *", "combined")
    if chance(rng, 0.13):
        days = draw_days(rng)
        phrase = choose(rng, "{pace} {tail}*7|{lead}, {pace}*1", pace=pace.phrase, tail=days.tail, lead=days.lead)
        return Schedule(phrase.replace(" ,", ","), f"{pace.minute} {pace.hour} * * {days.field}", "interval")
    return Schedule(pace.phrase, f"{pace.minute} {pace.hour} * * *", pace.slice)
