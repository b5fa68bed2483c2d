"""The schedule task: how a phrase is read, what an untrained model is told, the specification, and the idioms.

The wordings follow CONVENTIONS; `tests/tasks/test_cron_rows.py` holds the two together.
"""

from functools import cache

from tunebook.tasks.cron.check import fire_key

CONVENTIONS = (
    "Daily, every day, nightly and every night mean midnight; a day, date or month without a time means midnight.",
    "Weekly is Sunday at midnight, monthly the 1st, yearly 1 January; with a time, that time on those days.",
    (
        "Twice a day is 0,12; three, four and six times a day are every 8, 6 and 4 hours; twice an hour is every 30 "
        "minutes."
    ),
    (
        "Quarterly and every 3 months are the 1st of January, April, July and October; twice a year is the 1st of"
        " January and July; twice a month is the 1st and the 15th."
    ),
    "Weekdays, business days and workdays are Monday to Friday; weekends are Saturday and Sunday.",
    "A stated end hour is included: from 9 to 5 is 9-17, so every 15 minutes until 5pm still fires at 17:45.",
    "Business, office and working hours are 9-17, on every day unless days are named.",
    "Days with a span of hours and no interval (weekdays 9 to 5) are hourly.",
    "Every N minutes, hours, days or months is */N, also when N does not divide the hour, day, month or year.",
    (
        "A bare hour is read on the 24-hour clock (at 8 is 08:00), except in spans like 9 to 5 and after morning, "
        "afternoon, evening or night."
    ),
    "A named time zone is ignored: the clock is the scheduler's.",
    (
        "Left out, because unclear or beyond five fields: every 90 minutes, every second week, the last day, the first"
        " Monday, sunrise, every morning without a time, spans across midnight, and a day of the month joined with a"
        " day of the week."
    ),
)
INSTRUCTION = (
    "Translate the schedule into one cron expression with five fields separated by spaces: minute (0-59), hour "
    "(0-23), day of month (1-31), month (1-12), day of week (0-6, 0 is Sunday). Use * for every value, a-b for a "
    "range, a,b for a list and */n for every n. Daily means midnight, weekly Sunday at midnight, monthly the 1st "
    "at midnight, twice a day 0,12, quarterly the 1st of every third month; weekdays are 1-5, weekends 0,6; a "
    "stated end hour is included; a bare hour is on the 24-hour clock; ignore time zones. Answer with the "
    "expression only, for example 30 9 * * 1-5 for every weekday at 9:30."
)
SPEC = {
    "task": "schedule_to_cron",
    "input": "a schedule in English, as people type it",
    "output": "one five-field cron expression, nothing else",
    "users": "people who write crontabs, workflow files and schedulers, and forms that let them type a schedule",
    "metric": "pass@1: the share of problems whose answer fires at exactly the same times as the expected expression",
    "slices": ["interval", "hourly", "daily", "weekly", "monthly", "yearly", "window", "combined"],
    "wrong_answer_cost": "a job that runs at the wrong time, noticed late; show the next run times before it is saved",
    "stability": "stable: the cron syntax has not changed in decades, and the conventions are written down",
    "split": "by equivalence class of the expression; idioms are always in train, so test measures composition",
    "conventions": list(CONVENTIONS),
}
# Idioms have one expression each, so an idiom in the test split would be a word that the model never saw. They are
# always in
# train; the test split measures composition on expressions that were never trained, and must be said to.
IDIOMS = (
    "* * * * *",
    *(f"*/{minutes} * * * *" for minutes in (2, 5, 10, 12, 15, 20, 30)),
    *(f"{minute} * * * *" for minute in (0, 15, 30, 45)),
    *(f"0 */{hours} * * *" for hours in (2, 3, 4, 6, 8, 12)),
    *(f"0 0 */{days} * *" for days in (2, 3, 7)),
    "0 0 * * *",
    "0 12 * * *",
    "0 0 * * 0",
    "0 0 * * 1",
    "0 0 * * 1-5",
    "0 0 * * 0,6",
    "0 0 1 * *",
    "0 0 15 * *",
    "0 0 1,15 * *",
    "0 0 1 */2 *",
    "0 0 1 */3 *",
    "0 0 1 */6 *",
    "0 0 1 1 *",
    "0 9-17 * * *",
    "0 9-17 * * 1-5",
    "*/15 9-17 * * *",
    "*/15 9-17 * * 1-5",
    "*/30 9-17 * * *",
    "*/30 9-17 * * 1-5",
)


def is_idiom(group: str) -> bool:
    """Whether the expressions with this `fire_key` are an idiom, which must be in the train split."""
    return group in _groups()


@cache
def _groups() -> frozenset[str]:
    return frozenset(fire_key(expression) for expression in IDIOMS)
