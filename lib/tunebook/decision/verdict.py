"""From scores to GO, NO-GO or INCONCLUSIVE, each reason with its figure and its rule.

A pure function of score folders and the frozen specification: it reads nothing else. Does not render (see `report`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunebook.evaluation.protocol import differences, require_equal
from tunebook.evaluation.scores import read_scores
from tunebook.pipeline.files import read_json
from tunebook.statistics.compare import BLIND, GO, INCONCLUSIVE, NO_GO, NON_INFERIOR, VIOLATION, compare, noninferiority
from tunebook.statistics.paired import holm

ORDER = ("base", "sft", "dpo", "gguf")


@dataclass
class Evidence:
    """What a verdict rests on. `scores[target][benchmark]` is a score folder; `rungs` are rows of the prompting ladder."""

    scores: dict[str, dict[str, Path]]
    task: str
    spec: dict
    rungs: list[dict] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def score_table(evidence: Evidence) -> list[dict]:
    """One row for every model and benchmark: k, n, pass@1 and the 95% interval, all in points."""
    rows = []
    for target in sorted(evidence.scores, key=_place):
        for benchmark, folder in evidence.scores[target].items():
            metrics = read_json(folder / "metrics.json")
            low, high = metrics["interval"]
            rows.append(
                {
                    "model": target,
                    "benchmark": benchmark,
                    "k": metrics["k"],
                    "n": metrics["n"],
                    "pass_at_1": 100 * metrics["pass_at_1"],
                    "low": 100 * low,
                    "high": 100 * high,
                }
            )
    return rows


def comparisons(evidence: Evidence) -> list[dict]:
    """Every trained model against base on the task, paired by problem, with Holm's correction over them."""
    base = evidence.scores.get("base", {}).get(evidence.task)
    rows = []
    for target in sorted(evidence.scores, key=_place):
        folder = evidence.scores[target].get(evidence.task)
        if target == "base" or folder is None or base is None:
            continue
        require_equal(read_json(base / "protocol.json"), read_json(folder / "protocol.json"), "base", target)
        result = compare(read_scores(base).passed, read_scores(folder).passed, evidence.spec["smallest_gain"])
        rows.append({"model": target, "against": "base", **result})
    for row, p in zip(rows, holm([row["p_exact"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def retentions(evidence: Evidence) -> list[dict]:
    """Every trained model against base on what it should not forget, one-sided with the margin of the specification."""
    rows = []
    for benchmark, base in evidence.scores.get("base", {}).items():
        for target in sorted(evidence.scores, key=_place):
            folder = evidence.scores[target].get(benchmark)
            if benchmark == evidence.task or target == "base" or folder is None:
                continue
            if differences(read_json(base / "protocol.json"), read_json(folder / "protocol.json")):
                continue
            result = noninferiority(read_scores(base).passed, read_scores(folder).passed, evidence.spec["largest_loss"])
            is_gated = benchmark in evidence.spec.get("gated", [])
            rows.append({"benchmark": benchmark, "model": target, "gated": is_gated, **result})
    return rows


def decide(evidence: Evidence, shipped: str, weights: str = "") -> dict:
    """The verdict about the model called `shipped`, whose forgetting is that of `weights` when the file itself was not asked: `verdict`, `reasons`, and the tables it rests on.

    GO: the gain is shown and every gated retention is non-inferior. NO-GO: the model is shown to be worse, a gated retention is
    violated, or a rung of the ladder without training is as good as the specification asks. Else INCONCLUSIVE.
    """
    gains, kept = comparisons(evidence), retentions(evidence)
    reasons, votes = [], []
    asked = shipped if any(row["model"] == shipped for row in kept) else weights
    for name in evidence.failed:
        votes.append(INCONCLUSIVE)
        reasons.append(f"{name} failed or did not run, so the study is incomplete")
    gain = next((row for row in gains if row["model"] == shipped), None)
    if gain is None:
        votes.append(INCONCLUSIVE)
        reasons.append(f"{shipped} has no score on {evidence.task} to compare with base")
    else:
        votes.append(gain["verdict"])
        reasons.append(gain_sentence(gain, evidence.task))
    for row in kept:
        if row["model"] == asked:
            reasons.append(retention_sentence(row))
            if row["gated"] and row["verdict"] != NON_INFERIOR:
                votes.append(NO_GO if row["verdict"] == VIOLATION else INCONCLUSIVE)
    enough = [rung for rung in evidence.rungs if rung["meets_spec"]]
    for rung in enough:
        votes.append(NO_GO)
        reasons.append(f"prompting is enough: {rung['rung']} solves {rung['k']}/{rung['n']}, rule: {rung['rule']}")
    verdict = NO_GO if NO_GO in votes else INCONCLUSIVE if INCONCLUSIVE in votes else GO
    return {"verdict": verdict, "shipped": shipped, "reasons": reasons, "gains": gains, "retentions": kept}


def gain_sentence(row: dict, task: str) -> str:
    """What a comparison shows, with its figures and its rule."""
    low, high = row["interval"]
    return (
        f"{row['model']} against {row['against']} on {task}: {row['k_a']}/{row['n']} → {row['k_b']}/{row['n']}, "
        f"{row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], gained {row['gained']}, lost {row['lost']}, "
        f"exact McNemar p = {row['p_exact']:.2g}: {row['verdict']} (rule: {row['rule']})"
    )


def retention_sentence(row: dict) -> str:
    """What was forgotten, and whether the benchmark could have shown it."""
    gate = "gate" if row["gated"] else "reported, no gate"
    meaning = (
        f"{BLIND} of {row['margin']:g} points: base solves too little" if row["verdict"] == BLIND else row["verdict"]
    )
    return (
        f"{row['benchmark']} ({gate}): base {row['k_a']}/{row['n']} → {row['model']} {row['k_b']}/{row['n']}, "
        f"{row['difference']:+.1f} points [{row['lower']:+.1f}, {row['upper']:+.1f}]: {meaning}"
    )


def _place(target: str) -> int:
    return ORDER.index(target) if target in ORDER else len(ORDER)
