"""Schedules that repeat every hour or every N hours at stated minutes: "hourly at :15", "every 6 hours at minute 30".

Does not restrict the hours of the day; `windows` does.
"""

from random import Random

from tunebook.tasks.cron.grammar.days import draw_days
from tunebook.tasks.cron.grammar.intervals import HOUR_STEPS, pace_hours
from tunebook.tasks.cron.grammar.words import Schedule, chance, choose, number_word, ordinal, say_list

PAST_HOUR = (
    "at {m} minutes past the hour*4|{m} minutes past the hour*3|at {m} minutes past every hour*4"
    "|{m} minutes past every hour*3|at {m} past every hour*3"
    "|{m} past every hour*2|every hour at {m} past*2|every hour at {m} minutes past*2"
    "|every hour at {m} minutes past the hour*2|at minute {m} of every hour*5"
    "|minute {m} of every hour*3|every hour at minute {m}*7|hourly at :{mm}*5|every hour at :{mm}*5|at minute {m}*4"
    "|at minute {m} past every hour*1.5"
    "|hourly at minute {m}*3|at :{mm} past the hour*2|at :{mm} past every hour*2|at :{mm} of every hour*1"
    "|hourly at {m} past*2|on the {nth} minute of every hour*2"
    "|at the {nth} minute of every hour*3|{nth} minute of every hour*1|{m} minutes after the hour*2"
    "|{m} minutes after every hour*1|at {m} past the hour*2"
    "|{m} past the hour*1|every hour, at {m} minutes past*1|every hour {m} minutes past*1"
    "|hourly at {m} minutes past the hour*1.5|at xx:{mm}*0.7"
    "|hourly (:{mm})*0.7|hourly, at {m} past*1|every hour at xx:{mm}*0.7|every hour at the {nth} minute*1"
    "|hourly, on minute {m}*0.7|hourly :{mm}*0.5"
    "|once an hour at minute {m}*1|once an hour at :{mm}*1|once an hour at {m} past*0.7|every hour on minute {m}*1"
    "|every hour on the :{mm}*0.7"
    "|hourly on minute {m}*0.7|every hour on the {nth} minute*1|each hour at minute {m}*1|each hour at {m} past*0.7"
    "|at {m} minutes past each hour*1"
    "|every hour (at minute {m})*0.7|every hour (minute {m})*0.5|once per hour, at {m} minutes past the hour*1"
    "|once an hour, at {m} past*0.7|on the :{mm} of every hour*0.5|hourly, at {m} minutes past*0.7"
    "|every hour, at :{mm}*0.7|:{mm} every hour*0.7|every hour at {mm} minutes*0.4|at {m} minutes after the hour*1"
    "|every hour, {m} minutes past the hour*1"
)
QUARTER_PAST = (
    "{q} past every hour*3|{q} past the hour*2|every hour at {q} past*2|hourly at {q} past*1|at {q} past every hour*2"
    "|at {q} past the hour*1"
)
BEFORE_HOUR = (
    "{b} to every hour*2|{b} minutes to the hour*1.5|{b} minutes before every hour*2|{b} minutes before the hour*2"
    "|every hour at {b} to*1|at {b} to the hour*1"
)
HALF = (
    "every hour on the half hour*2|on the half hour*2|every hour at half past*2|at the half hour*0.7"
    "|hourly on the half hour*1|on the half hour, every hour*0.5"
)
SOME_MINUTES = (
    "at {list} minutes past the hour*5|at {list} minutes past every hour*3|{list} minutes past the hour*2"
    "|at minutes {list} of every hour*3"
    "|every hour at {colons}*3|at {colons} every hour*2|at minutes {list}*2|every hour at minutes {list}*3"
    "|hourly at {colons}*2|at {list} past every hour*2"
    "|at minute {list} of every hour*1|at minute {list}*1|every hour at minute {list}*1|at {list} past the hour*1"
    "|at {colons} past the hour*1"
)
PAST_HOURS = (
    "every {n} hours at minute {m}*5|at minute {m} past every {nth} hour*3"
    "|every {n} hours at {m} minutes past the hour*3|every {n} hours at :{mm}*3"
    "|at {m} minutes past the hour, every {n} hours*3|every {n} hours at {m} past*1.5"
    "|at {m} minutes past every {nth} hour*1.5|every {nth} hour at minute {m}*1|every {n} hours at the :{mm} mark*0.5"
    "|{m} minutes past the hour every {n} hours*1|every {n} hours, at minute {m}*1"
    "|every {n} hours, {m} minutes past the hour*1|at :{mm} every {n} hours*1"
)


def hourly(rng: Random) -> Schedule:
    """Every hour or every N hours, at one or several stated minutes."""
    kind = choose(rng, "zero*20|one*50|some*12|steps*18")
    if kind == "zero":
        pace = pace_hours(rng, 1)
        if chance(rng, 0.25):
            days = draw_days(rng)
            return Schedule(f"{pace.phrase} {days.tail}".replace(" ,", ","), f"0 * * * {days.field}", "hourly")
        return Schedule(pace.phrase, "0 * * * *", "hourly")
    minute = rng.choice((15, 30, 45, 5, 10, 20)) if chance(rng, 0.4) else rng.randint(1, 59)
    if kind == "one":
        if chance(rng, 0.12):
            days = draw_days(rng)
            return Schedule(
                f"{_past(rng, minute)} {days.tail}".replace(" ,", ","), f"{minute} * * * {days.field}", "hourly"
            )
        every_day = choose(rng, " every day*2|, every day*3|, all day*1| of every day*1") if chance(rng, 0.05) else ""
        return Schedule(_past(rng, minute) + every_day, f"{minute} * * * *", "hourly")
    if kind == "some":
        minutes = (
            [0, 30]
            if chance(rng, 0.1)
            else sorted(rng.sample(range(0, 60, 5) if chance(rng, 0.6) else range(60), rng.choice((2, 2, 3))))
        )
        colons = say_list(rng, [f":{value:02d}" for value in minutes])
        phrase = choose(
            rng, SOME_MINUTES, list=say_list(rng, [str(value) for value in minutes], plain=True), colons=colons
        )
        return Schedule(phrase, f"{','.join(map(str, minutes))} * * * *", "hourly")
    drawn = choose(rng, HOUR_STEPS.replace("|1*3", ""))
    step = int(drawn) if drawn != "any" else rng.randint(2, 23)
    words = {"n": step if chance(rng, 0.85) else number_word(step), "nth": ordinal(step)}
    if minute == 30 and chance(rng, 0.25):
        return Schedule(f"every {words['n']} hours on the half hour", f"30 */{step} * * *", "hourly")
    if step == 2 and chance(rng, 0.3):
        return Schedule(f"every other hour at {say_minute(rng, minute)}", f"{minute} */2 * * *", "hourly")
    return Schedule(
        choose(rng, PAST_HOURS, m=minute, mm=f"{minute:02d}", **words), f"{minute} */{step} * * *", "hourly"
    )


def say_minute(rng: Random, minute: int) -> str:
    """A minute of the hour after "every hour at": "minute 5", ":05", "5 past"."""
    return choose(rng, "minute {m}*3|:{mm}*2|{m} past|{m} minutes past the hour", m=minute, mm=f"{minute:02d}")


def _past(rng: Random, minute: int) -> str:
    if minute in (15, 30) and chance(rng, 0.3):
        if minute == 30 and chance(rng, 0.4):
            return choose(rng, HALF)
        return choose(rng, QUARTER_PAST, q="half" if minute == 30 else choose(rng, "quarter*3|a quarter"))
    if minute >= 45 and chance(rng, 0.25):
        return choose(rng, BEFORE_HOUR, b="quarter" if minute == 45 and chance(rng, 0.3) else 60 - minute).replace(
            "quarter minutes", "15 minutes"
        )
    spoken = number_word(minute) if chance(rng, 0.12) else str(minute)
    return choose(rng, PAST_HOUR, m=spoken, mm=f"{minute:02d}", nth=ordinal(minute))
