"""Draw worded schedules: a phrase as people type it, its cron expression, and its slice.

How a phrase is read is in `conventions`. Common schedules dominate, as in real use: BUILDERS holds the shares. Does not
draw what the conventions leave out.
"""

from collections.abc import Callable
from random import Random

from tunebook.tasks.cron.grammar.daily import daily, every_days
from tunebook.tasks.cron.grammar.guru import say_like_editor, say_like_library
from tunebook.tasks.cron.grammar.hourly import hourly
from tunebook.tasks.cron.grammar.intervals import interval
from tunebook.tasks.cron.grammar.monthly import combined, monthly, yearly
from tunebook.tasks.cron.grammar.noise import dress
from tunebook.tasks.cron.grammar.weekly import weekly
from tunebook.tasks.cron.grammar.windows import window
from tunebook.tasks.cron.grammar.words import Schedule, chance

BUILDERS: tuple[tuple[Callable[[Random], Schedule], float], ...] = (
    (interval, 0.12),
    (hourly, 0.07),
    (daily, 0.27),
    (weekly, 0.27),
    (monthly, 0.11),
    (yearly, 0.04),
    (window, 0.07),
    (every_days, 0.03),
    (combined, 0.02),
)
LIBRARY_SHARE = 0.05
EDITOR_SHARE = 0.05


def draw_schedule(rng: Random) -> Schedule:
    """One worded schedule. The share worded by cron-descriptor is 5%, in the style of crontab editors 5%."""
    builders, weights = zip(*BUILDERS, strict=True)
    schedule = rng.choices(builders, weights)[0](rng)
    drawn = rng.random()
    if drawn < LIBRARY_SHARE:
        return schedule._replace(phrase=say_like_library(rng, schedule.expression))
    if drawn < LIBRARY_SHARE + EDITOR_SHARE:
        text = say_like_editor(rng, schedule.expression)
        return schedule._replace(phrase=text.lower() if chance(rng, 0.2) else text)
    return schedule._replace(phrase=dress(rng, schedule.phrase))
