"""Rows to train on and problems to score, drawn from the phrase grammar with a seed.

Every row is drawn with a random generator of its own, seeded by (seed, number of the draw), so the same seed gives the
same rows in every process, and the first rows do not depend on how many are asked for. Does not split: the caller does,
by `group`, obeying `split_hint`.
"""

import hashlib
import json
from random import Random

from tunebook.errors import InputProblem
from tunebook.tasks.cron.anchors import is_anchor
from tunebook.tasks.cron.expression import fire_key
from tunebook.tasks.cron.grammar.words import choose
from tunebook.tasks.cron.phrases import draw_schedule

STANDARD = "standard"
CARRIERS = {
    STANDARD: "Cron expression for: {phrase}",
    "bare": "{phrase}",
    "convert": "Convert to cron: {phrase}",
    "question": "What is the cron expression for {phrase}?",
    "as": "{phrase} as cron",
    "short": "cron for {phrase}",
    "quoted": 'Give me the cron expression for "{phrase}"',
    "fields": "Schedule: {phrase}\nCron:",
    "write": "Write a cron expression: {phrase}",
    "crontab": "crontab schedule for {phrase}",
}
CARRIER_WEIGHTS = "standard*80|bare*7|convert*3|question*2.5|as*1|short*1.5|quoted*1.5|fields*1.5|write*1|crontab*1"
MOST_ROWS = 200_000
TEST = """from tunebook.tasks.cron.check import check_answer


def check(answer):
    check_answer(answer, "{expression}")
"""


def carrier(phrase: str, kind: str = STANDARD) -> str:
    """The user's message that asks for the expression of `phrase`; `kind` is a key of CARRIERS."""
    return CARRIERS[kind].format(phrase=phrase)


def make_rows(n: int, seed: int, carriers: bool = True) -> list[dict]:
    """`n` training rows: prompt, completion, phrase, slice, group, id, split_hint.

    Prompts are unique, and no phrase, whatever its casing, stands for two groups. `carriers`: a fifth of the rows asks
    in other words than the benchmark does. Raises InputProblem when n is not between 1 and 200,000.
    """
    if not 1 <= n <= MOST_ROWS:
        raise InputProblem(
            f"the schedule task makes 1 to {MOST_ROWS} rows, found rows={n}: choose a number in between."
        )
    rows: list[dict] = []
    groups: dict[str, str] = {}
    prompts: set[str] = set()
    for draw in range(50 * n + 1000):
        row = _make_row(Random(f"schedule_to_cron:{seed}:{draw}"), carriers)
        text, key = row["prompt"][0]["content"], row["phrase"].lower()
        if text in prompts or groups.setdefault(key, row["group"]) != row["group"]:
            continue
        prompts.add(text)
        rows.append(row)
        if len(rows) == n:
            return rows
    raise InputProblem(
        f"the phrase grammar has only {len(rows)} different rows for seed {seed}, rows={n} were asked: ask for fewer."
    )


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems (HumanEval's schema, kind "answer") of these rows: one a phrase, in the standard wording."""
    problems, seen = [], set()
    for row in rows:
        if row["phrase"].lower() in seen:
            continue
        seen.add(row["phrase"].lower())
        expression = row["completion"][0]["content"]
        problems.append(
            {
                "task_id": f"schedule/{len(problems) + 1:04d}",
                "prompt": carrier(row["phrase"]),
                "entry_point": "check",
                "canonical_solution": expression,
                "test": TEST.format(expression=expression),
                "kind": "answer",
                "reading": "first_line",
                "slice": row["slice"],
            }
        )
    return problems


def _make_row(rng: Random, carriers: bool) -> dict:
    schedule = draw_schedule(rng)
    kind = choose(rng, CARRIER_WEIGHTS) if carriers else STANDARD
    content = carrier(schedule.phrase, kind)
    group = fire_key(schedule.expression)
    identity = hashlib.sha256(json.dumps([content, schedule.expression]).encode()).hexdigest()[:12]
    return {
        "id": f"cron-{identity}",
        "prompt": [{"role": "user", "content": content}],
        "completion": [{"role": "assistant", "content": schedule.expression}],
        "phrase": schedule.phrase,
        "slice": schedule.slice,
        "group": group,
        "split_hint": "train" if is_anchor(group) else "",
    }
