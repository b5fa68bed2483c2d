"""Schedules for every day, once or several times, and every N days.

A day without a time is midnight; "twice a day" is 0,12; "every N days" is `*/N` in the day-of-month field; nightly and
"every night" are midnight unless a time is stated. Leaves out "every morning" and the like when no time is stated.
"""

from random import Random

from tunebook.tasks.cron.grammar.clock import draw_hour, draw_minute, part_of_day, say_clock, say_clocks
from tunebook.tasks.cron.grammar.words import Schedule, chance, choose, number_word, ordinal, ordinal_word

AT_TIME = (
    "every day at {t}*22|daily at {t}*26|at {t} every day*14|{t} every day*7|{t} daily*14|at {t} daily*6"
    "|each day at {t}*3|everyday at {t}*5"
    "|once a day at {t}*5|once daily at {t}*2|at {t} each day*2|{t} each day*1.5|every single day at {t}*1"
    "|daily @ {t}*2|every day @ {t}*1"
    "|at {t}*10|{t}*6|daily {t}*5|every day {t}*2|every day, at {t}*1|at {t}, every day*1.5|daily, {t}*1"
    "|daily ({t})*3|at {t} everyday*2"
    "|every 24 hours at {t}*1|once per day at {t}*1|at {t} every single day*0.5|daily, at {t}*1"
    "|every day of the week at {t}*1|daily - {t}*0.7"
    "|{t} everyday*1|every day (at {t})*0.5|7 days a week at {t}*0.5|daily: {t}*1|@ {t} daily*0.5"
    "|every day of the year at {t}*0.3"
    "|at {t} on every day*0.5|once a day, at {t}*0.7|every day around {t}*0.4|at {t} seven days a week*0.2"
    "|{t}, daily*1|daily run at {t}*0.5|once every day at {t}*1|on a daily basis at {t}*0.7"
    "|each and every day at {t}*0.3|day in day out at {t}*0.1|once a day ({t})*0.5|@{t} every day*0.3"
)
NIGHTLY = (
    "nightly at {t}*6|every night at {t}*6|at {t} every night*3|{t} every night*1.5|{t} nightly*2"
    "|each night at {t}*1.5|at {t} each night*0.7|nightly, at {t}*0.5|nightly ({t})*0.7|nightly @ {t}*0.4"
)
PART = (
    "every {part} at {t}*6|at {t} every {part}*3|each {part} at {t}*1.5|{t} every {part}*1|at {t} each {part}*0.5"
    "|daily at {t} in the {part}*0.7|every {part} {t}*0.5"
)
MIDNIGHT = (
    "every day*12|daily*14|each day*2|once a day*6|once daily*3|every 24 hours*4|nightly*5|every night*3"
    "|every midnight*2|once per day*2|every single day*1|everyday*3"
    "|once every day*1.5|every 1 day*1|1x per day*0.5|once every 24 hours*1.5|each night*1|once a night*0.5"
    "|every night at midnight*2|nightly at midnight*1"
    "|each day at midnight*1.5|every day at midnight*3|daily at midnight*3|midnight every day*1.5|at midnight*3"
    "|at midnight every day*2.5|midnight daily*1|midnight*1"
    "|at the start of every day*1|at the start of each day*0.7|at the beginning of every day*0.7"
    "|every day at 00:00*1.5|daily at 00:00*2|daily at 12am*1|every day at 12:00 AM*1"
    "|daily (midnight)*1|once a day at midnight*2|daily at midnight (00:00)*0.7|every 24h*0.7|on a daily basis*0.7"
    "|@daily*0.7|@midnight*0.3"
    "|once a day (midnight)*0.4|every day of the week*0.7|every day at 0:00*0.5"
)
TWICE = (
    "twice a day*7|twice daily*6|two times a day*1.5|2 times a day*1|2x per day*0.5|twice per day*2|2x daily*0.7"
    "|twice each day*0.7|twice every day*1"
    "|twice a day at midnight and noon*1.5|twice daily at noon and midnight*1|at noon and midnight*2"
    "|at midnight and noon every day*1.5|daily at noon and midnight*1"
    "|twice daily (midnight and noon)*1|two times per day*0.5|twice-daily*0.5|2 times per day*0.5"
    "|midnight and noon*0.7|twice a day (00:00 and 12:00)*0.7|twice daily (00:00 and 12:00 UTC)*0.5"
    "|twice daily (noon and midnight)*0.5|twice daily at 00:00 and 12:00*0.7"
)
SEVERAL = (
    "every day at {ts}*16|daily at {ts}*16|at {ts} every day*9|at {ts} daily*4|{ts} daily*4|{ts} every day*3"
    "|at {ts}*7|{ts}*3|each day at {ts}*2|{count} a day at {ts}*9"
    "|{count} daily at {ts}*5|{count} a day, at {ts}*1|{count} daily ({ts})*1.5|{count} a day: {ts}*1"
    "|{count} per day at {ts}*1|everyday at {ts}*2|daily ({ts})*1|at {ts} each day*1"
    "|{count} a day ({ts})*1|{count} each day at {ts}*0.7|every day: {ts}*0.5|daily, {ts}*0.5|daily @ {ts}*0.5"
)
COUNTS = {
    2: "twice*8|two times|2 times|2x*0.5",
    3: "three times*5|3 times*3|3x|thrice*0.5",
    4: "four times*4|4 times*3|4x",
    5: "five times|5 times",
    6: "six times|6 times",
}
EVERY_DAYS = (
    "every {n} days*20|once every {n} days*4|every {nth} day*5|each {n} days*1|every {n} days at midnight*0.7"
    "|every {n}d*0.7|at {n}-day intervals*0.7|one time every {n} days*0.3"
    "|every {nth} day of the month*0.7|once in {n} days*0.4|every {n} day*0.4|repeat every {n} days*0.5"
)
OTHER_DAY = (
    "every other day*14|every second day*4|every 2 days*8|every two days*4|every 2nd day*3|on alternate days*1"
    "|once every two days*1.5|once every other day*1|every alternate day*1|once every 2 days*1|alternate days*0.7"
)


def daily(rng: Random) -> Schedule:
    """Every day, once at a time, at midnight when no time is stated, or several times."""
    kind = choose(rng, "time*74|midnight*8|twice*5|several*13")
    if kind == "midnight":
        return Schedule(choose(rng, MIDNIGHT), "0 0 * * *", "daily")
    if kind == "twice":
        return Schedule(choose(rng, TWICE), "0 0,12 * * *", "daily")
    if kind == "several":
        return _several(rng)
    hour, minute = draw_hour(rng), draw_minute(rng)
    return Schedule(_once(rng, hour, minute), f"{minute} {hour} * * *", "daily")


def _once(rng: Random, hour: int, minute: int) -> str:
    drawn = rng.random()
    if drawn < 0.1 and (hour >= 19 or hour <= 5):
        return choose(rng, NIGHTLY, t=say_clock(rng, hour, minute))
    if drawn < 0.17 and 4 <= hour <= 21 and hour != 12:
        part = "morning" if hour < 12 else "afternoon" if hour < 17 else "evening"
        bare = minute == 0 and chance(rng, 0.4)
        return choose(rng, PART, t=hour % 12 if bare else say_clock(rng, hour, minute, at=False), part=part)
    if drawn < 0.2 and minute == 0:
        return choose(
            rng,
            "every day at {h} {part}*3|at {h} {part} every day*2|{h} {part}*1|daily at {h} {part}*2",
            h=hour % 12 or 12,
            part=part_of_day(rng, hour),
        )
    phrase = choose(rng, AT_TIME, t="{t}")
    return phrase.format(t=say_clock(rng, hour, minute, at="at {t}" in phrase and len(phrase) > 6))


def _several(rng: Random) -> Schedule:
    count = rng.choices((2, 3, 4, 5), (70, 20, 8, 2))[0]
    hours = sorted({draw_hour(rng) for _ in range(count)})
    while len(hours) < 2:
        hours = sorted({draw_hour(rng) for _ in range(count)})
    minute = 0 if chance(rng, 0.7) else rng.choice((30, 15, 45)) if chance(rng, 0.7) else rng.randint(1, 59)
    phrase = choose(rng, SEVERAL, ts=say_clocks(rng, hours, minute), count=choose(rng, COUNTS[len(hours)]))
    return Schedule(phrase, f"{minute} {','.join(map(str, hours))} * * *", "daily")


def every_days(rng: Random) -> Schedule:
    """Every N days, with or without a time."""
    step = int(choose(rng, "2*12|3*8|4*3|5*4|6*1.5|7*3|10*3|14*1.5|any*3").replace("any", str(rng.randint(2, 30))))
    if step == 2 and chance(rng, 0.75):
        phrase = choose(rng, OTHER_DAY)
    else:
        nth = ordinal_word(step) if chance(rng, 0.3) else ordinal(step)
        phrase = choose(rng, EVERY_DAYS, n=number_word(step) if chance(rng, 0.2) else step, nth=nth)
        if "th day" in phrase and step > 3:
            phrase = f"every {step} days"
    if chance(rng, 0.35):
        return Schedule(phrase, f"0 0 */{step} * *", "combined")
    hour, minute = draw_hour(rng), draw_minute(rng)
    text = choose(
        rng,
        "{d} at {t}*14|at {t} every {n} days*3|{d}, at {t}*1|{d} {t}*0.7|{d} @ {t}*0.5|{d} ({t})*0.5|at {t} {d}*2",
        d=phrase.replace(" at midnight", ""),
        n=step,
        t=say_clock(rng, hour, minute),
    )
    return Schedule(text, f"{minute} {hour} */{step} * *", "combined")
