"""The idioms of the schedule task: expressions that are always trained on, never held out.

Splits are made by equivalence class of the expression. An idiom ("twice a day", "quarterly", "hourly") has one class,
so a class in the test split would be a word that the model never saw. These classes therefore carry the split hint
"train". The consequence must be said wherever the test score is: the test split measures composition on expressions that
were never trained, and idioms are measured only on phrases from outside the generator.
"""

from functools import lru_cache

from tunebook.tasks.cron.expression import fire_key

EXPRESSIONS = (
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


def is_anchor(group: str) -> bool:
    """Whether the class with this `fire_key` is an idiom, and must be assigned to the train split."""
    return group in _groups()


@lru_cache(maxsize=1)
def _groups() -> frozenset[str]:
    return frozenset(fire_key(expression) for expression in EXPRESSIONS)
