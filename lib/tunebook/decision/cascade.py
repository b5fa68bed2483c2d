"""Which answers of the model that ships may stay local while the other calls go to a hosted model: the threshold of
confidence, chosen on dev, what it gives on test, and its price.

The confidence of an answer is the log-probability that the model gave it, as `evaluation.completions` records it. Does
not decide whether the model ships.
"""

from __future__ import annotations

import math

import numpy

from tunebook.decision import gather as rooms
from tunebook.decision.economics import NO_PRICE, Prices, fixed_a_month, pays_from, per_call, resampled
from tunebook.decision.report import HOSTED_CALLS
from tunebook.evaluation.completions import logp_file
from tunebook.evaluation.score_folder import read_scores
from tunebook.files import read_jsonl
from tunebook.statistics.intervals import rate_line
from tunebook.statistics.selective import choose_threshold, problems_needed, stays, upper_bound

UNRECORDED = "its answers were recorded without log-probabilities (another engine, a choice by likelihood, or older)"


def build_cascade(context, report: dict, risk: float, seed: int) -> dict:
    """{} where `risk` is 0, else `line` (the guarantee, or why there is none, in words), `source`, and where dev and
    test were answered what `choose_threshold` found, with `test_share` and `test_wrong` in each row of `curve`, `test`
    (counts `n, kept, wrong`) and `price` ({} without prices).

    `report` is that of `build_report`. The first sample of each problem counts.
    """
    if not risk:
        return {}
    found = context.needs()
    stage = rooms.scored(found).get(report["shipped"])
    place = f"{stage.name}/dev/score/metrics.json" if stage else ""
    dev, test = (
        _judged(stage, *files)
        for files in (
            ("dev/completions.jsonl", "dev/score"),
            (f"completions/{rooms.TASK}.jsonl", f"scores/{rooms.TASK}"),
        )
    )
    if not dev or not test:
        why = (
            f"04 did not score {report['shipped']} on dev and test: set cascade_risk for 04 too, and have dev problems"
        )
        return {"line": f"No threshold was chosen: {why}.", "source": place}
    if None in [row["logp"] for row in dev + test]:
        return {"line": f"No threshold was chosen: {UNRECORDED}.", "source": place}
    chosen = cascade_of(dev, test, risk)
    price = {}
    if chosen["kept"] and report["economics"]:
        hosted = found[rooms.SPEC_STAGE]
        priced = read_jsonl(hosted.file(HOSTED_CALLS)) if rooms.has_file(hosted, HOSTED_CALLS) else []
        local = dict(zip([row["task_id"] for row in test], stays([row["logp"] for row in test], chosen)))
        price = cascade_price(
            rooms.calls(found, report["economics"]["model"]), local, report["economics"], seed, priced
        )
    line = f"{chosen['line']} {price['line']}" if price else chosen["line"]
    return chosen | {"line": line, "price": price, "source": place}


def _judged(stage, answers: str, score: str) -> list[dict]:
    """`task_id, logp` (None: not recorded) and `right` of the first answer to each problem; [] where there are none."""
    if stage is None or not rooms.has_file(stage, f"{score}/metrics.json"):
        return []
    passed, kept = read_scores(rooms.verified(stage, score)).passed, logp_file(answers).as_posix()
    rows = read_jsonl(stage.file(kept)) if rooms.has_file(stage, kept) else []
    logp = {row["task_id"]: row["logp"] for row in rows if not row["sample"]}
    return [{"task_id": task, "logp": logp.get(task), "right": right[0]} for task, right in passed.items()]


def cascade_of(dev: list[dict], test: list[dict], risk: float) -> dict:
    """`choose_threshold` on `dev`, what it gives on `test`, and both in words; rows have `logp` and `right`."""
    chosen = choose_threshold([row["logp"] for row in dev], [row["right"] for row in dev], risk)
    for point in chosen["curve"]:
        kept, wrong = _counts(test, point | {"kept": 1})
        point["test_share"], point["test_wrong"] = kept / len(test), wrong / kept if kept else None
    kept, wrong = _counts(test, chosen)
    chosen["test"] = {"n": len(test), "kept": kept, "wrong": wrong}
    return chosen | {"line": _words(chosen)}


def _counts(rows: list[dict], chosen: dict) -> tuple[int, int]:
    """Answers that stay, and the wrong ones of them."""
    local = [row for row, is_local in zip(rows, stays([row["logp"] for row in rows], chosen)) if is_local]
    return len(local), sum(not row["right"] for row in local)


def _words(chosen: dict) -> str:
    """The guarantee in one sentence and what test says, or that there is none and what would give one."""
    risk, sure = f"{100 * chosen['risk']:g}%", f"{chosen['confidence']:.0%}"
    if not chosen["kept"]:
        if needed := problems_needed(chosen):
            more = f"at the shares seen there about {needed:,} dev problems would be needed (n_dev)"
        else:
            more = "more dev problems would not help: also of its surest answers too many are wrong there"
        return (
            f"No threshold keeps it: that at most {risk} of the answers that stay local are wrong cannot be shown with"
            f" {sure} confidence on {chosen['n']} dev problems; {more}."
        )
    least, test = chosen["threshold"], chosen["test"]
    which = "all stay" if least is None else f"those whose probability is above {math.exp(least):.3g}"
    said = f"With {sure} confidence at most {risk} of the answers that stay local are wrong: {which},"
    said += f" {rate_line(test['kept'], test['n'])} of the test answers."
    if test["kept"]:
        said += f" On test {rate_line(test['wrong'], test['kept'])} of them are wrong"
        low = 1 - upper_bound(test["kept"] - test["wrong"], test["kept"])
        said += ": more than was promised, so dev does not stand for test." if low > chosen["risk"] else "."
    return said


def cascade_price(calls: list[dict], local: dict[str, bool], economics: dict, seed: int, hosted_calls=()) -> dict:
    """Money of 1,000 calls, all answered here and those that do not stay asked of the hosted model too, with the 95%
    interval over the inputs, beside `hosted` alone, and `pays`, the calls a day from which that is cheaper with the
    fixed costs (None where their prices are missing); {} without prices of both.

    `local` says of every task whether its answer stays; `economics` is that of the report.
    """
    prices = Prices(**economics["prices"])
    if not prices.price_machine_hour or not (prices.price_hosted_input or prices.price_hosted_output):
        return {"line": f"Its price: {NO_PRICE}."}
    calls = [call for call in calls if call["task_id"] in local]
    costs = per_call(calls, prices, hosted_calls)
    own, hosted, stay = costs["own"], costs["hosted"], numpy.array([local[call["task_id"]] for call in calls])
    spared = hosted * (stay if len(hosted) == len(own) else stay.mean())
    money = own.mean() + hosted.mean() - spared.mean()
    low, high = numpy.quantile(resampled(hosted - spared, -own, seed), [0.025, 0.975])
    price = {"per_1000": 1000 * float(money), "interval": [1000 * float(low), 1000 * float(high)]}
    price |= {"hosted": 1000 * float(hosted.mean()), "pays": None}
    said = f"1,000 calls then cost {price['per_1000']:.3g} [{1000 * low:.3g}, {1000 * high:.3g}]"
    said += f" instead of {price['hosted']:.3g} of the hosted model alone"
    if not economics["missing"]:
        price["pays"] = pays = pays_from(fixed_a_month(prices, economics["machine_seconds"]), own, spared, seed)
        ends = ["never" if end is None else f"{end:,.0f}" for end in [pays["calls_a_day"], *pays["interval"]]]
        said += f"; with the fixed costs that pays from {ends[0]} calls a day ({ends[1]} to {ends[2]})"
        if pays["calls_a_day"] is None:
            said = said.partition(";")[0] + "; with the fixed costs no number of calls pays"
    return price | {"line": f"{said}."}
