"""What a run that shipped left, what may take the place of its model, and what both cost. Reads verified stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunebook.decision import gather
from tunebook.decision.comparisons import PROMPT_RUNGS, best_prompt
from tunebook.decision.drift import read_run
from tunebook.decision.economics import DAYS_A_MONTH, Prices, break_even, per_call, resampled, training_cost
from tunebook.decision.report import HOSTED_CALLS
from tunebook.decision.spec import read_frozen
from tunebook.decision.upgrade.answer import HOSTED, PROMPT, TUNE, Money, Option
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.protocol import require_comparable
from tunebook.evaluation.score_folder import Scores, read_scores
from tunebook.files import read_json, read_jsonl
from tunebook.pipeline import record, verify
from tunebook.statistics.compare import GO

VERDICT = "06_verdict"
# How a system is asked is its own: its template, its prompt, the room that it needs. All else must be equal.
ASKED = (
    "prompt_style prompt_template instruction examples_sha256 chat_template_sha256 rendered_sha256 thinking stops"
    " max_new_tokens"
).split()


@dataclass(frozen=True)
class Shipped:
    """A run that shipped: its folder and stages, the model in its verdict with its scores, and the frozen text."""

    folder: Path
    found: dict
    target: str
    scores: Scores
    spec: dict


def read_shipped(folder: Path) -> Shipped:
    """The run in `folder`, every file checked against its record. InputProblem where it never shipped,
    IntegrityProblem where a file differs.
    """
    checked = verify.verify_run(folder)
    if checked.problems:
        raise IntegrityProblem(f"run {folder.name} is not what was recorded: {checked.problems[0]}")
    found = read_run(folder)
    word = found[VERDICT].metrics.get("verdict") if VERDICT in found else record.load_record(folder).get("verdict")
    if word != GO or VERDICT not in found:
        raise InputProblem(
            f"run {folder.name} never shipped (its verdict: {word or 'none'}), so there is nothing to keep or retire:"
            " start a new study with the new model (tunebook run PARAMS --set model=NEW)"
        )
    target = found[VERDICT].metrics["shipped"]
    spec, _ = read_frozen(found[gather.SPEC_STAGE].file("spec.json"))
    return Shipped(folder, found, target, task_scores(found, target), spec)


def task_scores(found: dict, target: str) -> Scores:
    """The task's scores of a model; its weights may be gone."""
    return read_scores(gather.verified(found[f"{gather.SCORE_STAGE}@{target}"], f"scores/{gather.TASK}"))


def options_of(shipped: Shipped, new: dict, model: str, hosted: str) -> list[Option]:
    """What may take the place of what ships: of the stages `new`, else, where they left none, of the run that shipped.
    `model` and `hosted` are the names that the new ones get, "" where they have not changed.
    """
    options = []
    for found, base, server in ((new, model, hosted), (shipped.found, "", "")):
        kinds = {option.kind for option in options}
        stage, best = found.get(gather.SPEC_STAGE), PROMPT_RUNGS
        if found is shipped.found:  # its verdict was about the best prompt
            best = [(best_prompt(stage.metrics["rungs"]) or {}).get("rung")]
        for rung in (row["rung"] for row in stage.metrics["rungs"]) if stage else ():
            kind = PROMPT if rung in best else HOSTED if rung == "hosted" else ""
            folder = f"ladder/{rung}/score"
            if kind and kind not in kinds and gather.has_file(stage, f"{folder}/metrics.json"):
                name = server or "the hosted model" if kind == HOSTED else f"{base or 'the old base'} ({rung})"
                away = kind == HOSTED and shipped.spec.get("needs_offline")
                blocked = f"{name} needs a network, and the specification asks for none (needs_offline)" if away else ""
                options.append(Option(name, kind, read_scores(gather.verified(stage, folder)), blocked))
        if PROMPT not in kinds and "base" in gather.scored(found):
            options.append(Option(f"{base or 'the old base'} (zero_shot)", PROMPT, task_scores(found, "base")))
    if VERDICT in new and new[VERDICT].metrics["shipped"] in gather.scored(new):
        target, word = new[VERDICT].metrics["shipped"], new[VERDICT].metrics["verdict"]
        blocked = "" if word == GO else f"the verdict about the tune of {model} itself is {word}"
        options.append(Option(f"{model} ({target}, trained)", TUNE, task_scores(new, target), blocked))
    for option in options:
        require_same(shipped.scores, option.scores, shipped.folder.name, option.name)
    return options


def require_same(a: Scores, b: Scores, name_a: str, name_b: str) -> None:
    """InputProblem with the fields that differ where two systems were not judged alike."""
    parts = [{key: value for key, value in scores.protocol.items() if key not in ASKED} for scores in (a, b)]
    require_comparable(*parts, name_a, name_b)


def cost_of(shipped: Shipped, hosted_found: dict, prices: Prices, calls_per_day: float, seed: int) -> dict:
    """What a call of what ships and one of the hosted model cost at `prices`, what one training costs and for how long
    it is used, and from how many calls a day it pays; None where a price is missing.
    """
    calls, spec_stage = gather.calls(shipped.found, shipped.target), hosted_found[gather.SPEC_STAGE]
    hosted = read_jsonl(spec_stage.file(HOSTED_CALLS)) if gather.has_file(spec_stage, HOSTED_CALLS) else []
    seconds = sum(stage.manifest["timing"]["seconds"] for stage in shipped.found.values())
    months, ends = prices.horizon()
    missing = set(prices.missing())
    is_known = not missing & {"price_machine_hour", "price_staff_hour", "staff_hours"}
    cost = {
        "missing": prices.missing(),
        "training": (training_cost(prices, seconds) or None) if is_known else None,
        "months": months,
        "ends": ends,
    }
    cost["hosted_calls"] = len(hosted)
    if not calls or missing & {"price_machine_hour", "price_hosted_input", "price_hosted_output"}:
        return cost | dict.fromkeys(("own", "hosted", "saved", "a_month", "pays_from", "interval", "paid_back"))
    each = per_call(calls, prices, hosted)
    drawn = sorted(resampled(each["hosted"], each["own"], seed))
    own, other = (float(each[name].mean()) for name in ("own", "hosted"))
    saved = [float(drawn[round(len(drawn) * 0.025)]), other - own, float(drawn[round(len(drawn) * 0.975) - 1])]
    a_month = saved[1] * calls_per_day * DAYS_A_MONTH if calls_per_day else None
    rate = shipped.scores.metrics["pass_at_1"]
    pays = break_even(calls, prices, seconds, rate, seed, hosted)["own"]
    pays = pays if is_known else {"calls_a_day": None, "interval": None}
    paid_back = cost["training"] / a_month if a_month and a_month > 0 and cost["training"] else None
    return cost | {
        **{"own": own, "hosted": other, "saved": saved, "a_month": a_month},
        **{"pays_from": pays["calls_a_day"], "interval": pays["interval"], "paid_back": paid_back},
    }


def money_of(cost: dict) -> Money:
    """What the rule needs of a cost."""
    return Money(tuple(cost["saved"]) if cost["saved"] else None, cost["training"] or 0.0)


def prices_of(found: dict) -> Prices:
    """The prices that a run was judged by."""
    stage = found[gather.SPEC_STAGE]
    return Prices(**read_json(stage.file("prices.json"))) if gather.has_file(stage, "prices.json") else Prices()
