"""Keep, retrain or retire: the rule, a pure function of scores on the same problems, the frozen specification and
money.

Every alternative is compared with what ships problem by problem, as the verdict compares with base.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunebook.decision.comparisons import compared
from tunebook.decision.gather import TASK, Evidence
from tunebook.decision.spec import LIMITS
from tunebook.decision.verdict import gain_sentence, judge_unfinished, settles
from tunebook.evaluation.score_folder import Scores
from tunebook.statistics.compare import GO, INCONCLUSIVE, NO_GO, NON_INFERIOR, noninferiority
from tunebook.statistics.compare import decide as decide_gain
from tunebook.statistics.intervals import mean_interval, wilson
from tunebook.statistics.paired import holm
from tunebook.statistics.power import ALPHA

KEEP, RETRAIN, RETIRE = "KEEP", "RETRAIN", "RETIRE"
PROMPT, HOSTED, TUNE = "prompt", "hosted", "tune"


@dataclass(frozen=True)
class Option:
    """An alternative to what ships: a base model with a `prompt`, a `hosted` model, or a `tune` of the new base.
    `blocked` says why it may not ship, whatever it solves.
    """

    name: str
    kind: str
    scores: Scores
    blocked: str = ""


@dataclass(frozen=True)
class Money:
    """What a call of the model that ships costs less than a hosted one, as [low, value, high] (95% over the inputs;
    None: a price is missing), and what one training costs (0: not known).
    """

    saved: tuple[float, float, float] | None = None
    training: float = 0.0


def answer(name: str, shipped: Scores, options: list[Option], evidence: Evidence, money: Money) -> dict:
    """`answer` (KEEP, RETRAIN or RETIRE), whether it is `settled`, the `sentence` for a reader who knows no statistics,
    `reasons`, what would settle an open answer (`settles`), and a row an option.

    RETIRE: a prompt or a hosted model meets the specification, by the lower end of its interval; or a call of what
    ships is shown to cost more than a hosted one, and the hosted model is non-inferior. All these tests together err
    in 5%: they share it. RETRAIN: the new base, prompted or tuned, is shown to solve more than what ships by
    `smallest_gain` (exact test, Holm over the options), and a training fits the budget. Else KEEP, which is settled
    where each option is shown not to gain as much.
    """
    rows = [_row(name, shipped, option, evidence.spec) for option in options]
    for row, p in zip(rows, holm([row["p_exact"] for row in rows]), strict=True):
        row["p_decides"] = p
        row["verdict"] = decide_gain(row["difference"], row["interval"], p, row["margin"])
        if "unfinished" in row:
            judge_unfinished(row)
        shown = decide_gain(row["difference"], row["interval"], p, 0.0)  # NO-GO by a margin is only too small a gain
        row["is_worse"] = shown == NO_GO and row.get("stands") is not False
    _judge_retire(rows, options, shipped, evidence.spec, money)
    word, sentence = _decide(name, rows, evidence.spec, money)
    open_rows = [row for row in rows if row["verdict"] == INCONCLUSIVE] if word == KEEP else []
    reasons = [gain_sentence(row, evidence.task) for row in rows] + [row["blocked"] for row in rows if row["blocked"]]
    asked = list(dict.fromkeys(_settles(name, row, evidence) for row in open_rows))
    limits = [limit for limit in LIMITS if evidence.spec.get(limit) and word == RETIRE]
    asked += [f"whether what takes its place stays under {', '.join(limits)}: measure it"] if limits else []
    asked += [] if rows else ["a score of what could take its place: --model, or --hosted-model"]
    found = {"answer": word, "settled": not asked, "sentence": sentence}
    return found | {"reasons": reasons, "settles": asked, "rows": rows}


def _row(name: str, shipped: Scores, option: Option, spec: dict) -> dict:
    row = compared(option.name, name, shipped, option.scores, spec)
    return row | {"kind": option.kind, "blocked": option.blocked}


def _judge_retire(rows: list[dict], options: list[Option], shipped: Scores, spec: dict, money: Money) -> None:
    """Sets `low` and `high` (points), `meets_spec` and `replaces` (cheaper, and not shown to be worse)."""
    is_dear = money.saved is not None and money.saved[2] < 0
    hosted = sum(option.kind == HOSTED for option in options) if is_dear else 0
    tests = hosted + sum(option.kind != TUNE for option in options)
    error = min(ALPHA / 2, ALPHA / max(tests, 1))  # one-sided; up to two tests it is that of 00's 95% interval
    for row, option in zip(rows, options, strict=True):
        means = [sum(passed) / len(passed) for passed in option.scores.passed.values()]
        n = len(means) * row["samples"]
        confidence = 1 - 2 * error
        bounds = wilson(row["k_b"], n, confidence)
        if row["samples"] > 1:
            bounds = mean_interval(means, confidence, row["samples"])
        row["low"], row["high"] = (100 * end for end in bounds)
        row["meets_spec"] = row["kind"] != TUNE and not row["blocked"] and row["low"] >= spec["target_score"]
        row["replaces"] = False
        if is_dear and row["kind"] == HOSTED and not row["blocked"]:
            kept = noninferiority(shipped.passed, option.scores.passed, spec["largest_loss"], 1 - error)
            row["replaces"] = kept["verdict"] == NON_INFERIOR


def _decide(name: str, rows: list[dict], spec: dict, money: Money) -> tuple[str, str]:
    """The answer and its sentence. What was named first of several is the one that solves most."""
    ranked = sorted(rows, key=lambda row: -row["k_b"] / row["n"])
    if enough := [row for row in ranked if row["meets_spec"]]:
        loss = " It solves fewer, which the specification allows." if enough[0]["is_worse"] else ""
        target = f"as the specification asks (at least {spec['target_score']:g} points, with the error of the score)"
        text = f"without training {_solves(enough[0])}, {target}.{loss}{_privacy(enough[0], spec)}"
        return RETIRE, f"Retire {name}: {text}"
    if cheaper := [row for row in ranked if row["replaces"]]:
        text = f"a call of it costs more than one of {cheaper[0]['model']}, which loses less than"
        text = f"{text} {spec['largest_loss']:g} points against it.{_privacy(cheaper[0], spec)}"
        return RETIRE, f"Retire {name}: {text}"
    better = [row for row in ranked if row["verdict"] == GO and row["kind"] != HOSTED and not row["blocked"]]
    budget = spec.get("budget", 0.0)
    if better and budget and money.training > budget:
        text = f"{_solves(better[0])}, but one training costs {money.training:,.4g} and the budget is {budget:,.4g}"
        return KEEP, f"Keep {name}: {text}."
    if better:
        what = "its tune, which should ship" if better[0]["kind"] == TUNE else "a prompt alone, so train on it"
        return RETRAIN, f"Move to the new base: {_solves(better[0])} with {what}."
    if not rows:
        return KEEP, f"Keep {name}: nothing that could take its place has a score."
    best = ranked[0]
    text = f"nothing that could take its place gains the {best['margin']:g} points that were asked for"
    if all(row["is_worse"] for row in rows):
        text = "it solves more than everything that could take its place"
    elif any(row["verdict"] != NO_GO for row in rows):
        text = "nothing is shown to take its place"
    if best["blocked"]:
        text = f"{text}; {best['blocked']}"
    return KEEP, f"Keep {name}: {text}; the best of it, {_solves(best)}."


def _settles(name: str, row: dict, evidence: Evidence) -> str:
    text = settles(row | {"against": f"{name} by {row['model']}"}, evidence)
    return text.replace("max_new_tokens", "hosted_max_tokens") if row["kind"] == HOSTED else text


def _privacy(row: dict, spec: dict) -> str:
    """What the specification says about texts that leave the machine, where a hosted model would get them."""
    said = spec.get("privacy", "")
    return f" The specification says of privacy: {said}." if said and row["kind"] == HOSTED else ""


def _solves(row: dict) -> str:
    n = row["n"] * row["samples"]
    return f"{row['model']} solves {row['k_b']} of {n} test problems ({row['against']} {row['k_a']})"


def evidence_for(spec: dict, seconds: float = 0.0, training_seconds: float = 0.0, price_hour: float = 0.0) -> Evidence:
    """What an answer rests on beside the scores: `seconds` are what one more problem takes of both models."""
    each = {TASK: seconds}
    return Evidence({}, TASK, spec, seconds=each, training_seconds=training_seconds, price_hour=price_hour)
