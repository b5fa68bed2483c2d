"""How the schedule task reads what a phrase leaves open, sentence by sentence, for the README and the notebooks.

The grammar follows these; `tests/test_tasks_cron_rows.py` holds the two together.
"""

CONVENTIONS = (
    "Daily, every day, nightly and every night mean midnight; a day, date or month without a time means midnight.",
    "Weekly is Sunday at midnight, monthly the 1st, yearly 1 January; with a time, that time on those days.",
    "Twice a day is 0,12; three, four and six times a day are every 8, 6 and 4 hours; twice an hour is every 30 "
    "minutes.",
    "Quarterly and every 3 months are the 1st of January, April, July and October; twice a year is the 1st of January "
    "and July; twice a month is the 1st and the 15th.",
    "Weekdays, business days and workdays are Monday to Friday; weekends are Saturday and Sunday.",
    "A stated end hour is included: from 9 to 5 is 9-17, so every 15 minutes until 5pm still fires at 17:45.",
    "Business, office and working hours are 9-17, on every day unless days are named.",
    "Days with a span of hours and no interval (weekdays 9 to 5) are hourly.",
    "Every N minutes, hours, days or months is */N, also when N does not divide the hour, day, month or year.",
    "A bare hour is read on the 24-hour clock (at 8 is 08:00), except in spans like 9 to 5 and after morning, "
    "afternoon, evening or night.",
    "A named time zone is ignored: the clock is the scheduler's.",
    "Left out, because unclear or beyond five fields: every 90 minutes, every second week, the last day, the first "
    "Monday, sunrise, every morning without a time, spans across midnight, and a day of the month joined with a day of "
    "the week.",
)
