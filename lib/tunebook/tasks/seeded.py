"""What the small generated tasks share: one row for every draw of a seed, and one benchmark problem for every row."""

import hashlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tunebook.errors import InputProblem


class Draw(NamedTuple):
    """What a task draws: the message, its right answer, the group of equivalent rows, and the slice ("" for none)."""

    message: str
    answer: str
    group: str
    slice: str = ""


def draw_rows(task: str, n: int, seed: int, draw: Callable[[Random], Draw]) -> list[dict]:
    """`n` rows: prompt, completion, group, id, and the slice where there is one. InputProblem when n is below 1."""
    if n < 1:
        raise InputProblem(f"{task} makes 1 row or more, {n} were asked")
    return [_row(draw(Random(f"{task}:{seed}:{at}"))) for at in range(n)]


def to_problems(rows: list[dict], prefix: str, test: str, reading: str = "first_line") -> list[dict]:
    """Benchmark problems of these rows, one a row, kind "answer"; `{expected}` in `test` becomes the quoted answer, and
    `reading` says how answers are read.
    """
    return [
        {
            "task_id": f"{prefix}/{at:04d}",
            "prompt": row["prompt"][0]["content"],
            "entry_point": "check",
            "canonical_solution": row["completion"][0]["content"],
            "test": test.replace("{expected}", repr(row["completion"][0]["content"])),
            "kind": "answer",
            "reading": reading,
            **{key: row[key] for key in ("slice",) if key in row},
        }
        for at, row in enumerate(rows, start=1)
    ]


def _row(drawn: Draw) -> dict:
    return {
        "id": hashlib.sha256(drawn.message.encode()).hexdigest()[:12],
        "prompt": [{"role": "user", "content": drawn.message}],
        "completion": [{"role": "assistant", "content": drawn.answer}],
        "group": drawn.group,
        **({"slice": drawn.slice} if drawn.slice else {}),
    }
