"""Schedules for days of the month, months, quarters and years, and combinations of weekdays with months.

"Monthly" is the 1st, "twice a month" the 1st and 15th, "quarterly" the 1st of January, April, July and October, "twice
a year" the 1st of January and July, "yearly" 1 January; all at midnight unless a time is stated. Leaves out phrases
with both a day of the month and a day of the week, because cron joins them with "or".
"""

from random import Random

from tunebook.tasks.cron.grammar.clock import draw_hour, draw_minute, say_clock, say_clocks
from tunebook.tasks.cron.grammar.dates import draw_dates, draw_months, one_date
from tunebook.tasks.cron.grammar.days import draw_days
from tunebook.tasks.cron.grammar.intervals import pace_hours, pace_minutes
from tunebook.tasks.cron.grammar.weekly import place
from tunebook.tasks.cron.grammar.words import (
    MONTHS,
    Schedule,
    chance,
    choose,
    month_name,
    number_word,
    ordinal,
    ordinal_word,
)

QUARTERLY = (
    "quarterly*10|every quarter*8|once a quarter*5|every 3 months*8|every three months*4|each quarter*2"
    "|once every three months*1.5|once every 3 months*1.5"
    "|once per quarter*2|on the first day of every quarter*3|first day of each quarter*2"
    "|at the start of every quarter*2|at the beginning of each quarter*1.5|four times a year*1.5"
    "|start of each quarter*0.7|on the 1st day of every quarter*1|first of every quarter*1|quarterly on the 1st*1.5"
    "|quarterly (1st of Jan, Apr, Jul, Oct)*1.5|4 times a year*1"
    "|on the first of the quarter*0.7|every 3rd month*1|every third month*0.7|every 3 months on the 1st*2"
    "|quarterly (Jan, Apr, Jul, Oct)*1|first day of the quarter*1|quarterly on the first*0.5"
    "|1st day of every 3 months*0.7|first of each quarter*0.7|quarterly, every 3 months*0.5|on a quarterly basis*0.4"
    "|Jan, Apr, Jul and Oct 1st*0.4|on the first day of Jan, Apr, Jul and Oct*0.5"
)
SEMIANNUAL = (
    "twice a year*6|every 6 months*7|every six months*4|twice yearly*2|semi-annually*3|semiannually*2|half-yearly*2"
    "|every half year*1.5|twice per year*1.5|biannually*1.5|two times a year*1"
    "|once every six months*1.5|once every 6 months*1|every half-year*0.7|every 6 months on the 1st*1"
    "|2 times a year*0.5"
)
TWICE_MONTHLY = (
    "twice a month*6|twice monthly*4|semi-monthly*2|two times a month*1|twice per month*1.5|semimonthly*1"
    "|twice each month*1|2x per month*0.4|twice every month*0.7"
)
EVERY_MONTHS = (
    "every {n} months*10|once every {n} months*2|every {nth} month*2|every {n} months on the 1st*2"
    "|every {n} months on the first*1|on the first day of every {nth} month*1|every {n} months on the first day*0.7"
)
OTHER_MONTH = (
    "every other month*6|every second month*2|every two months*3|every 2 months*4|every 2nd month*1"
    "|once every two months*1|on the 1st of every other month*1.5|every other month on the 1st*2"
    "|every other month on the first*0.7"
)
MONTHLY_ON = (
    "monthly at {t} {tail}*4|every month at {t} {tail}*2|once a month at {t} {tail}*2|each month at {t} {tail}*0.7"
)
MONTHLY_NOTE = (
    "monthly ({n} {t})*2|monthly ({n} at {t})*2|monthly: {n} at {t}|monthly, {n} at {t}|monthly - {n} {t}"
    "|monthly {n} {t}"
    "|once a month ({n} {t})|monthly, {n} {t}|monthly: {n} of the month at {t}|monthly ({n} of the month, {t})"
)
YEARLY = (
    "yearly*10|annually*8|once a year*8|every year*7|each year*2|once per year*2|every January 1st*3|on January 1st*2"
    "|January 1st*1|every year on January 1st*3|yearly on January 1st*3|every 12 months*2"
    "|once a year on January 1*1.5|annually on January 1st*1.5|every Jan 1*1|1 January*1|at midnight on January 1st*2"
    "|January 1 at midnight*1|first day of the year*2"
    "|on the first day of the year*2|at the start of every year*1.5|at the beginning of each year*1"
    "|on the first of January*2|first day of every year*1.5|1st of January*2|every 1st of January*1"
    "|every twelve months*0.7|1st January*0.7|beginning of every year*0.7|on a yearly basis*0.4"
)
ON_DATE = (
    "every year on {date}*5|on {date}*7|every {date}*6|{date}*6|yearly on {date}*5|annually on {date}*4"
    "|once a year on {date}*4|each year on {date}*2|{date} every year*3"
    "|on {date} every year*3|on {date} each year*1|{date} of every year*0.5|every year, on {date}*0.7"
    "|yearly ({date})*0.7|once a year, {date}*0.5|{date} each year*0.7|yearly, {date}*0.5"
)
DATE = (
    "{M} {d}*12|{M} {n}*12|{d} {M}*8|the {n} of {M}*8|{n} of {M}*3|{n} {M}*3|{m} {d}*6|{d} {m}*3|{m} {n}*3"
    "|the {w} of {M}*2|{M} the {n}*1.5|{M} {w}*0.7|{w} of {M}*0.7|the {n} of {m}*0.7"
)


def monthly(rng: Random) -> Schedule:
    """Some days of every month, at a time or at midnight; twice a month; every N months."""
    kind = choose(rng, "dates*80|twice*4|months*8")
    time = None if chance(rng, 0.35) else (draw_hour(rng), draw_minute(rng))
    if kind == "twice":
        return _timed(rng, choose(rng, TWICE_MONTHLY), "1,15 * *", time, "monthly")
    if kind == "months":
        step = rng.choice((2, 2, 2, 4, 4, 5, 3, 6))
        if step == 2 and chance(rng, 0.7):
            phrase = choose(rng, OTHER_MONTH)
        else:
            phrase = choose(
                rng,
                EVERY_MONTHS,
                n=number_word(step) if chance(rng, 0.3) else step,
                nth=ordinal(step) if chance(rng, 0.6) else ordinal_word(step),
            )
        if chance(rng, 0.25) and "first" not in phrase and "1st" not in phrase:
            day = rng.randint(1, 28)
            return _timed(rng, f"{phrase} on the {ordinal(day)}", f"{day} */{step} *", time, "monthly")
        return _timed(rng, phrase, f"1 */{step} *", time, "monthly")
    dates = draw_dates(rng)
    if time is None:
        if chance(rng, 0.3):
            return Schedule(place(rng, dates.lead, dates.tail, "midnight"), f"0 0 {dates.field} * *", "monthly")
        return Schedule(dates.lead, f"0 0 {dates.field} * *", "monthly")
    hour, minute = time
    if chance(rng, 0.06) and dates.field.isdigit():
        text = say_clock(rng, hour, minute, at=False)
        phrase = choose(rng, MONTHLY_NOTE, n=ordinal(int(dates.field)), t=text)
    elif chance(rng, 0.08) and dates.tail.startswith("on "):
        phrase = choose(rng, MONTHLY_ON, t=say_clock(rng, hour, minute), tail=dates.tail)
    else:
        phrase = place(rng, dates.lead, dates.tail, say_clock(rng, hour, minute))
    return Schedule(phrase, f"{minute} {hour} {dates.field} * *", "monthly")


def yearly(rng: Random) -> Schedule:
    """Once a year on a date, every quarter, twice a year, or on a day of some months."""
    kind = choose(rng, "date*52|quarter*15|half*7|year*10|some*16")
    time = None if chance(rng, 0.4) else (draw_hour(rng), draw_minute(rng))
    if kind == "quarter":
        return _timed(rng, choose(rng, QUARTERLY), "1 */3 *", time, "yearly")
    if kind == "half":
        return _timed(rng, choose(rng, SEMIANNUAL), "1 */6 *", time, "yearly")
    if kind == "year":
        phrase = choose(rng, YEARLY)
        return _timed(rng, phrase, "1 1 *", None if "midnight" in phrase else time, "yearly")
    if kind == "some":
        months = draw_months(rng)
        day = rng.choice((1, 1, 1, 15, rng.randint(1, 30)))
        dates = one_date(rng, day)
        lead = choose(
            rng,
            "on the {n} {of}*5|the {n} {of}*2|on the {n} day {of}*1|{n} {of}*2",
            n=ordinal(day) if chance(rng, 0.7) else ordinal_word(day),
            of=months.of,
        )
        if chance(rng, 0.2) and not months.tail.startswith(("every", "throughout")):
            lead = f"{dates.tail} {months.tail}"
        return _timed(rng, lead.replace(" ,", ","), f"{day} {months.field} *", time, "yearly")
    month, day = rng.randint(1, 12), rng.randint(1, 31)
    day = min(day, 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31)
    names = {
        "M": MONTHS[month - 1],
        "m": month_name(rng, month, True),
        "d": day,
        "n": ordinal(day),
        "w": ordinal_word(day),
    }
    return _timed(rng, choose(rng, ON_DATE, date=choose(rng, DATE, **names)), f"{day} {month} *", time, "yearly")


def combined(rng: Random) -> Schedule:
    """Every day, some weekdays, or a pace, in some months only."""
    months = draw_months(rng)
    kind = choose(rng, "daily*40|weekday*40|pace*20")
    if kind == "pace":
        pace = (
            pace_minutes(rng, rng.choice((5, 10, 15, 30)))
            if chance(rng, 0.5)
            else pace_hours(rng, rng.choice((1, 1, 2, 3, 4, 6)))
        )
        phrase = f"{pace.phrase.split(',')[0]} {months.tail}".replace(" ,", ",")
        return Schedule(phrase, f"{pace.minute} {pace.hour} * {months.field} *", "combined")
    time = None if chance(rng, 0.2) else (draw_hour(rng), draw_minute(rng))
    if kind == "weekday":
        days = draw_days(rng)
        text = f"{days.lead} {months.tail}" if chance(rng, 0.8) else f"{days.tail} {months.tail}"
        return _timed(rng, text.replace(" ,", ",").lstrip(", "), f"* {months.field} {days.field}", time, "combined")
    text = choose(
        rng, "every day {m}*6|daily {m}*4|each day {m}*1|every day of the month {m}*0.3", m=months.tail
    ).replace(" ,", ",")
    if time and chance(rng, 0.3):
        hours = sorted({time[0], draw_hour(rng)})
        phrase = f"{choose(rng, 'daily*2|every day')} at {say_clocks(rng, hours, time[1])} {months.tail}".replace(
            " ,", ","
        )
        return Schedule(phrase, f"{time[1]} {','.join(map(str, hours))} * {months.field} *", "combined")
    return _timed(rng, text, f"* {months.field} *", time, "combined")


def _timed(rng: Random, phrase: str, date_fields: str, time: tuple[int, int] | None, name: str) -> Schedule:
    """Add a time after (mostly) or before a wording of dates; midnight, said or unsaid, when there is none."""
    hour, minute = time or (0, 0)
    if time is not None or ("midnight" not in phrase and chance(rng, 0.15)):
        text = say_clock(rng, hour, minute) if time else "midnight"
        phrase = choose(
            rng,
            "{d} at {t}*12|at {t} {d}*4|{d}, {t}*1|{d} {t}*1.5|{d}, at {t}*1.5|{t} {d}*2|{d} @ {t}*0.6|{d} ({t})*0.7",
            d=phrase,
            t=text,
        )
    return Schedule(phrase, f"{minute} {hour} {date_fields}", name)
