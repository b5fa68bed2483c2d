"""Gained and lost problems with both answers, to be read side by side. Texts are raw: whoever shows them escapes them."""

from __future__ import annotations

SHOWN = 12
CHARACTERS = 600


def side_by_side(
    gain: dict, problems: list[dict], before: list[dict], after: list[dict], shown: int = SHOWN
) -> list[dict]:
    """Rows `change, task_id, slice, prompt, expected, before, after`: lost problems first, at most `shown` of each change.

    `gain` is a row of `measures.comparisons`; `before` and `after` are completions. The first sample of a problem is shown.
    """
    texts = [_first_samples(rows) for rows in (before, after)]
    known = {problem["task_id"]: problem for problem in problems}
    rows = []
    for change, tasks in (("lost", gain["lost_tasks"]), ("gained", gain["gained_tasks"])):
        for task in tasks[:shown]:
            problem = known.get(task, {})
            rows.append(
                {
                    "change": change,
                    "task_id": task,
                    "slice": problem.get("slice", ""),
                    "prompt": _cut(problem.get("prompt", "")),
                    "expected": _cut(problem.get("canonical_solution", "")),
                    "before": _cut(texts[0].get(task, "")),
                    "after": _cut(texts[1].get(task, "")),
                }
            )
    return rows


def _first_samples(rows: list[dict]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row["task_id"], row["completion"])
    return found


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else text[:CHARACTERS] + "…"
