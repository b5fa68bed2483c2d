"""What the notebooks need of the schedule task: the instruction for an untrained model, and the specification."""

from tunebook.tasks.cron.conventions import CONVENTIONS

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
