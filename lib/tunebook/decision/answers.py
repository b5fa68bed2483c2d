"""Gained and lost problems with both answers, to be read side by side: as rows, whose texts are raw, and as HTML, which escapes them."""

from __future__ import annotations

from tunebook.decision.markup import esc, link

SHOWN, SHOWN_CARDS = 12, 5
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


def cards(report: dict) -> str:
    """The rows of a report as HTML, at most SHOWN_CARDS of each change, both answers beside each other."""
    cards = []
    for change in ("lost", "gained"):
        rows = [row for row in report["answers"] if row["change"] == change]
        total = sum(row[change] for row in report["gains"] if row["model"] == report["shipped"])
        cards.append(f"<h3>{change.capitalize()} problems: {min(len(rows), SHOWN_CARDS)} of {total}</h3>")
        for row in rows[:SHOWN_CARDS]:
            sides = "".join(
                f"<div><h4>{name}</h4><pre>{esc(row[key])}</pre></div>"
                for name, key in (("base", "before"), (esc(report["shipped"]), "after"))
            )
            cards.append(
                f"<article><p><b>{link(row['task_id'], _completions(report))}</b> {esc(row['slice'])}</p><pre>{esc(row['prompt'])}</pre>"
                f"<p>expected</p><pre>{esc(row['expected'])}</pre><div class=sides>{sides}</div></article>"
            )
    return "\n".join(cards) if report["answers"] else ""


def _completions(report: dict) -> str:
    """The answers of the model that ships, inside the run."""
    return report["sources"].get("gain", "").replace("scores/task/metrics.json", "completions/task.jsonl")
