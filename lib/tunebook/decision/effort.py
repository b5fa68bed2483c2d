"""What each way to a score takes: seconds once (searching, training), and seconds and money a call. One table for
prompting and training, so that a gain is seen beside its price. Does not measure and does not decide.
"""

from __future__ import annotations

from tunebook.decision import gather as rooms
from tunebook.decision.economics import NO_PRICE, Prices
from tunebook.files import read_csv, read_json
from tunebook.pipeline.stages import ADAPTERS

# The stages whose time went into a model: its own, and that of SFT, from which the later ones go on.
MADE_BY = {"base": ()} | {model: tuple(dict.fromkeys((ADAPTERS["sft"], stage))) for model, stage in ADAPTERS.items()}


def prompting_effort(rungs: list[dict], costs: list[dict], searched: dict, prices: Prices) -> list[dict]:
    """A row a rung: `name, kind, score, low, high, n` (points), `once_seconds`, `call_seconds` (None: another's
    machine), and `once_money`, `call_money` (of 1,000 calls), None where no price was given.

    `rungs` are those of `climb`, `costs` of `rung_cost`, `searched` is `Search.record()`, {} without a search.
    """
    rows, taken = [], {row["rung"]: row for row in costs}
    for rung in rungs:
        cost, name = taken.get(rung["rung"], {}), rung["rung"]
        seconds = None if name == "hosted" or not cost else float(cost["seconds"])
        once = searched.get("seconds", 0.0) if name == "searched" else 0.0
        rows.append(_row(name, "prompting", rung, (once, seconds), prices))
        if name == "hosted" and (money := cost.get("money_per_1000_calls", NO_PRICE)) != NO_PRICE:
            rows[-1]["call_money"] = float(money)
    return rows


def effort_rows(context) -> list[dict]:
    """`prompting_effort` of the run's 00, and a row alike (`kind` is training) for every model that 04 scored."""
    found = context.needs()
    stage = found[rooms.SPEC_STAGE]
    prices = Prices(**read_json(stage.file("prices.json"))) if rooms.has_file(stage, "prices.json") else Prices()
    path = "tables/ladder_costs.csv"
    costs = read_csv(stage.file(path)) if rooms.has_file(stage, path) else []
    searched = (stage.manifest.get("costs") or {}).get("search", {})
    rows = prompting_effort(stage.metrics["rungs"], costs, searched, prices)
    for target, scored in rooms.scored(found).items():
        if rooms.TASK not in scored.metrics["scores"]:
            continue
        export = found.get("05_export_gguf")
        weights = export.metrics["adapter"] if target == "gguf" and export else target
        stages = [*MADE_BY.get(weights, ()), *(["05_export_gguf"] if target == "gguf" else [])]
        once = sum(found[name].manifest["timing"]["seconds"] for name in stages if name in found)
        calls = rooms.calls(found, target)
        seconds = sum(call["seconds"] for call in calls) / len(calls) if calls else None
        score = scored.metrics["scores"][rooms.TASK]
        low, high = (100 * end for end in score["interval"])
        points = {"pass_at_1": 100 * score["pass_at_1"], "low": low, "high": high, "n": score["n"]}
        name, kind = ("zero_shot", "prompting") if target == "base" else (target, "training")
        rows.append(_row(name, kind, points, (once, seconds), prices))
    return rows


def _row(name: str, kind: str, score: dict, seconds: tuple[float, float | None], prices: Prices) -> dict:
    once, call = seconds
    hour = prices.price_machine_hour
    return {
        "name": name,
        "kind": kind,
        "score": score["pass_at_1"],
        "low": score["low"],
        "high": score["high"],
        "n": score["n"],
        "once_seconds": round(once, 1),
        "call_seconds": call,
        "once_money": once / 3600 * hour if hour else None,
        "call_money": 1000 * call / 3600 * hour / prices.utilisation if hour and call is not None else None,
    }
