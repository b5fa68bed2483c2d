"""The two or three numbers that a verdict hinges on: what would have changed it."""

from __future__ import annotations

import math

from tunebook.decision.comparisons import (
    kept_of,
)
from tunebook.decision.gates import SETTLES, problems_needed
from tunebook.statistics.compare import BLIND, GO, INCONCLUSIVE
from tunebook.statistics.compare import decide as decide_gain
from tunebook.statistics.intervals import wilson
from tunebook.statistics.paired import holm, mcnemar, paired_interval


def hinges(outcome: dict, rungs: list[dict], spec: dict) -> list[dict]:
    """At most three rows `number, meaning, about`: the gain, the nearest gate, and the best prompt."""
    shipped = outcome["shipped"]
    judged = [row for row in outcome["gains"] + outcome["rungs"] if row["model"] == shipped and "p_decides" in row]
    gains = [row for row in judged if row["verdict"] == outcome["verdict"]] or judged
    rows = [_gain(gains[0], judged)] if gains and gains[0]["samples"] == 1 else []
    rows += _nearest_gate(outcome)
    rows += _best_rung(rungs, spec)
    return rows[:3]


def _gain(row: dict, judged: list[dict]) -> dict:
    """How many problems would have to come out otherwise; `judged` are the tests that Holm's correction is over."""
    others = [other["p_exact"] for other in judged if other is not row]
    about = "gain" if row["against"] == "base" else f"rung {row['against']}"
    if row.get("stands") is False:
        meaning = f"is no evidence about the gain over {row['against']}: {row['unfinished']}"
        return {"number": f"{row['difference']:+.1f} points", "meaning": meaning, "about": about}
    gained, lost, n, margin = row["gained"], row["lost"], row["n"], row["margin"]
    if row["verdict"] == GO:
        fewer = next((k for k in range(1, gained + 1) if _word(gained - k, lost, n, margin, others) != GO), gained)
        meaning = (
            f"of the {gained} gained problems would have to be wrong again (with {lost} lost) before the gain over"
            f" {row['against']} is not shown"
        )
        return {"number": str(fewer), "meaning": meaning, "about": about}
    more = next((k for k in range(1, n - gained - lost + 1) if _word(gained + k, lost, n, margin, others) == GO), None)
    if row["verdict"] == INCONCLUSIVE and more is not None:
        needed = problems_needed(row)
        seen = f"; a new study of about {needed:,} problems settles it {SETTLES}" if needed else ""
        meaning = f"more gained problems (with {lost} lost) would have shown the gain over {row['against']}{seen}"
        return {"number": str(more), "meaning": meaning, "about": about}
    meaning = f"points is the difference; its interval would have to lie above {margin:g}"
    return {"number": f"{row['difference']:+.1f}", "meaning": meaning, "about": about}


def _word(gained: int, lost: int, n: int, margin: float, others: list[float]) -> str:
    interval = [100 * end for end in paired_interval(gained, lost, n)]
    return decide_gain(gained - lost, interval, holm([mcnemar(gained, lost)[0], *others])[0], margin)


def _nearest_gate(outcome: dict) -> list[dict]:
    """The gated retention whose bound is nearest to its margin; without a gate, the largest loss that nobody gated."""
    rows = kept_of(outcome, (outcome["shipped"], outcome["weights"]))
    rows = [row for row in rows if row["verdict"] != BLIND] or rows
    gated = [row for row in rows if row["gated"]]
    if not rows:
        return []
    row = min(gated or rows, key=_room)
    worst = row.get("upper") if "rise" in row else -row["lower"]
    unit = "%" if "rise" in row else " points"
    if worst is None or row["verdict"] == BLIND:
        return [
            {
                "number": f"{row['margin']:g}{unit}",
                "meaning": f"is the loss on {row['benchmark']} that the base model is too weak to show",
                "about": row["benchmark"],
            }
        ]
    role = (
        "a margin below this turns the gate" if row["gated"] else "a gate with a margin below this would stop the file"
    )
    if row["verdict"] == "violation":
        shown = -row["upper"] if "rise" not in row else row["lower"]
        meaning = (
            f"is the least that {row['benchmark']} lost (95%); the margin of {row['margin']:g}{unit} would have to be"
            " larger than that"
        )
        return [{"number": f"{shown:.1f}{unit}", "meaning": meaning, "about": row["benchmark"]}]
    meaning = (
        f"is the most that {row['benchmark']} can have lost (95%), against a margin of {row['margin']:g}{unit}; {role}"
    )
    return [{"number": f"{worst:.1f}{unit}", "meaning": meaning, "about": row["benchmark"]}]


def _room(row: dict) -> float:
    """Distance from the bound to the margin, in margins; negative where the gate is broken."""
    worst = row.get("upper") if "rise" in row else -row["lower"]
    return math.inf if worst is None else (row["margin"] - worst) / row["margin"]


def _best_rung(rungs: list[dict], spec: dict) -> list[dict]:
    if not rungs:
        return []
    best = max(rungs, key=lambda rung: rung["k"] / rung["n"])
    n, target = best["n"], spec.get("target_score", 100.0)
    needed = next((k for k in range(n + 1) if 100 * wilson(k, n)[0] >= target), None)
    if needed is None:
        return []
    meaning = (
        f"of {n} problems solved by prompting alone would make training needless; the best rung ({best['rung']}) solves"
        f" {best['k']}"
    )
    if best["k"] >= needed:
        meaning = (
            f"of {n} problems is the fewest at which prompting alone is enough; the best rung ({best['rung']}) solves"
            f" {best['k']}"
        )
    return [{"number": str(needed), "meaning": meaning, "about": f"rung {best['rung']}"}]
