"""Rows to train on and problems to score, drawn from the wordings with a seed.

Every row is drawn with a random generator of its own, seeded by (seed, number of the draw), so the same seed gives the
same rows in every process, and the first rows do not depend on how many are asked for. Does not split: the caller does,
by `group`, obeying `split_hint`.
"""

import hashlib
import json
import re
from random import Random
from typing import NamedTuple

from tunebook.errors import InputProblem
from tunebook.tasks.cron.check import fire_key
from tunebook.tasks.cron.explainers import say_like_editor, say_like_library
from tunebook.tasks.cron.task import is_idiom
from tunebook.tasks.cron.wordings import FIELD_NAMES, Values, expand, numbers, rules

MOST_ROWS = 200_000
TEST = """from tunebook.tasks.cron.check import check_answer


def check(answer):
    check_answer(answer, "{expression}")
"""
LIBRARY_SHARE, EDITOR_SHARE = 0.05, 0.05  # of the rows, worded by cron-descriptor and as crontab editors do
MISSPELT, LABELLED, WITH_A_DOT = 0.02, 0.09, 0.03  # of the typed phrases
NEVER_MISSPELT = ("noon", "midnight", "hour", "hours", "minute", "minutes", "past")
LABEL_PLACE = re.compile(
    r"(daily|weekly|monthly|hourly|nightly|quarterly|yearly)(?=$| (?:at|on|@|\(|every|between|from|during))"
)


class Schedule(NamedTuple):
    """A worded schedule: what a person typed, the expression it means, and the slice it is reported in."""

    phrase: str
    expression: str
    slice: str


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
    raise InputProblem(f"the wordings give only {len(rows)} different rows for seed {seed}, rows={n}: ask for fewer.")


def make_problems(rows: list[dict]) -> list[dict]:
    """Benchmark problems (HumanEval's schema, kind "answer") of these rows: one a phrase, in the standard wording."""
    distinct: dict[str, dict] = {}
    for row in rows:
        distinct.setdefault(row["phrase"].lower(), row)
    return [
        {
            "task_id": f"schedule/{at:04d}",
            "prompt": ask(row["phrase"]),
            "entry_point": "check",
            "canonical_solution": row["completion"][0]["content"],
            "test": TEST.format(expression=row["completion"][0]["content"]),
            "kind": "answer",
            "reading": "first_line",
            "slice": row["slice"],
        }
        for at, row in enumerate(distinct.values(), start=1)
    ]


def ask(phrase: str, rng: Random | None = None) -> str:
    """The user's message that asks for the expression of `phrase`: the benchmark's, or with `rng` one of several.

    >>> ask("every day at noon")
    'Cron expression for: every day at noon'
    """
    if rng is None:
        return rules()["carrier"][0].text.replace("{phrase}", phrase)
    return expand(rng, "carrier", {"phrase": phrase}).replace("\\n", "\n")


def draw_schedule(rng: Random) -> Schedule:
    """One worded schedule, with what people type around it and, now and then, a typing error."""
    values: Values = {"minute": 0, "hour": 0, "dom": "*", "month": "*", "dow": "*"}
    typed = expand(rng, "typed", values)
    values |= {"month": _in_order(values["month"], 1, 12), "dow": _in_order(values["dow"], 0, 6)}
    expression = " ".join(str(values[name]) for name in FIELD_NAMES)
    drawn = rng.random()
    if drawn < LIBRARY_SHARE:
        phrase = say_like_library(rng, expression)
    elif drawn < LIBRARY_SHARE + EDITOR_SHARE:
        phrase = say_like_editor(rng, expression)
        phrase = phrase.lower() if rng.random() < 0.2 else phrase
    else:
        phrase = _mistype(rng, _tidy(typed))
    return Schedule(phrase, expression, str(values["slice"]))


def _make_row(rng: Random, carriers: bool) -> dict:
    schedule = draw_schedule(rng)
    content = ask(schedule.phrase, rng if carriers else None)
    group = fire_key(schedule.expression)
    identity = hashlib.sha256(json.dumps([content, schedule.expression]).encode()).hexdigest()[:12]
    return {
        "id": f"cron-{identity}",
        "prompt": [{"role": "user", "content": content}],
        "completion": [{"role": "assistant", "content": schedule.expression}],
        "phrase": schedule.phrase,
        "slice": schedule.slice,
        "group": group,
        "split_hint": "train" if is_idiom(group) else "",
    }


def _in_order(field: int | str, low: int, high: int) -> str:
    """A field whose ranges may go round (Friday to Sunday, "5-0"), as cron reads it: "0,5,6"."""
    text = str(field)
    if not re.fullmatch(r"[\d,-]+", text):
        return text
    size = high - low + 1
    values = sorted({(number - low) % size + low for number in numbers(text, size)})
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _tidy(phrase: str) -> str:
    """Without the spaces and doubled words that come of putting wordings together."""
    phrase = re.sub(r" +([,!])", r"\1", phrase.strip(" ,"))
    phrase = re.sub(r",(?: ?,)+", ",", phrase)
    return re.sub(r"\b(every day|every) (?=\1\b)", "", phrase)


def _mistype(rng: Random, phrase: str) -> str:
    """The phrase in somebody's casing, perhaps with a label, a final dot or a wrong letter; what it means stays."""
    if rng.random() < LABELLED:
        phrase = LABEL_PLACE.sub(lambda match: f"{match[1]} {expand(rng, 'labelled', {})}", phrase, count=1)
    if rng.random() < MISSPELT:
        phrase = _misspell(rng, phrase)
    casing = rng.choices((_sentence, str.lower, str, _title, str.upper), (42, 30, 22, 4, 2))[0]
    return casing(phrase) + ("." if rng.random() < WITH_A_DOT and phrase[-1].isalnum() else "")


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:]


def _title(phrase: str) -> str:
    return re.sub(r"(?<![\w'])[a-z](?=[a-z]{2})", lambda match: match.group().upper(), phrase)


def _misspell(rng: Random, phrase: str) -> str:
    """Drop, swap or double one letter inside one word of at least five letters."""
    words = [match for match in re.finditer(r"[A-Za-z]{5,}", phrase) if match.group().lower() not in NEVER_MISSPELT]
    if not words:
        return phrase
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    one, two = phrase[at], phrase[at + 1]
    return phrase[:at] + rng.choice((one + one + two, two + one, two, two + one, two)) + phrase[at + 2 :]
