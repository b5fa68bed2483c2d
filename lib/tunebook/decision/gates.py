"""The gates of a study in CPMAI's order: business need, data understanding, data preparation, modelling, evaluation,
operation.

Each is GO, NO-GO or INCONCLUSIVE with its evidence and its rule. Pure functions of what the stages found.

Source for the order of the phases: Cognilytica's CPMAI method, after CRISP-DM (Chapman et al. 2000).
"""

from __future__ import annotations

from statistics import NormalDist

from tunebook.decision.economics import Prices
from tunebook.decision.spec import READINESS, ask, missing_fields
from tunebook.evaluation.forgetting import NOTHING
from tunebook.evaluation.score import unfinished_share
from tunebook.statistics.compare import GO, INCONCLUSIVE, NO_GO, decide
from tunebook.statistics.power import (
    ALPHA,
    TARGET,
    detectable_effect,
    discordant,
    n_paired,
    n_to_settle,
    power_paired,
)

PHASES = ("business need", "data understanding", "data preparation", "modelling", "evaluation", "operation")
PROMPTING = "prompting is not enough"
UNNAMED = (
    f'gated is empty: name what must not get worse, or write gated: ["{NOTHING}"] where no loss beside the task matters'
)
# Which findings of 01 are about the question of a gate.
ABOUT = {
    "the rows represent the task": (
        "domain_gap slice_missing slice_thin language_mix wrong_language constant_answer".split()
    ),
    "the splits are clean": (
        "split_leakage_near contamination contamination_near contamination_reworded contamination_code".split()
    ),
}
SETTLES = "in 8 of 10 repetitions, the error of the measured difference counted in"  # TARGET in words
KILLED = 0.8  # share of small mistakes that a benchmark must notice


def gate(phase: str, name: str, verdict: str, evidence: str, rule: str, source: str = "") -> dict:
    """One row; `source` is the file or stage in the run that the evidence stands in."""
    return {"phase": phase, "gate": name, "verdict": verdict, "evidence": evidence, "rule": rule, "source": source}


def task_gate(spec: dict) -> dict:
    """Condition 1: the task is narrow and stable, in words and in months."""
    missing = missing_fields(spec)
    stable, retrain = spec.get("stable_months", 0.0), spec.get("retrain_months", 0.0)
    rule = (
        "every field of the task is filled in, and the task stays as it is for longer than the months between two"
        " trainings"
    )
    if stable and retrain and stable < retrain:
        text = f"the task changes every {stable:g} months, it would be trained every {retrain:g}"
        return gate(PHASES[0], "the task is narrow and stable", NO_GO, text, rule, "spec.json")
    if missing:
        return gate(
            PHASES[0], "the task is narrow and stable", INCONCLUSIVE, f"asked for: {ask(missing)}", rule, "spec.json"
        )
    return gate(PHASES[0], "the task is narrow and stable", GO, spec["stability"], rule, "spec.json")


def rung_row(rung: str, found: dict, target: float, needs_offline: bool = False) -> dict:
    """`rung, benchmark, k, n, pass_at_1, low, high` (points), `unfinished` (percent of answers), and whether it
    `meets_spec`: the lower end of its 95% interval reaches `target`, and it is no hosted model where the specification
    `needs_offline`.
    """
    low, high = (100 * end for end in found["interval"])
    is_away = rung == "hosted" and needs_offline
    return {
        "rung": rung,
        "benchmark": "task",
        "benchmark_sha256": found.get("benchmark_sha256", ""),
        "k": found["k"],
        "n": found["n"],
        "pass_at_1": 100 * found["pass_at_1"],
        "low": low,
        "high": high,
        "unfinished": 100 * unfinished_share(found),
        "meets_spec": low >= target and not is_away,
        "rule": f"lower end of the 95% interval at least {target:g} points" + is_away * ", without a network",
    }


def ladder_gate(rungs: list[dict], target: float, unfinished_limit: float = 10.0) -> dict:
    """Is it still unsolved without training? A rung with more than `unfinished_limit` percent of unfinished answers
    is no evidence.
    """
    rule = f"no rung without training has the lower end of its 95% interval at {target:g} points or more"
    enough = [rung for rung in rungs if rung["meets_spec"]]
    best = max(rungs, key=lambda rung: rung["k"] / rung["n"], default=None)
    if enough:
        found = max(enough, key=lambda rung: rung["k"] / rung["n"])
        text = f"prompting is enough: {found['rung']} solves {found['k']}/{found['n']}"
        return gate(PHASES[0], PROMPTING, NO_GO, text, rule, "ladder/")
    if best is None:
        return gate(PHASES[0], PROMPTING, INCONCLUSIVE, "no rung was scored", rule, "ladder/")
    cut = [
        f"{rung['unfinished']:.0f}% in {rung['rung']}" for rung in rungs if rung.get("unfinished", 0) > unfinished_limit
    ]
    if cut:
        text = (
            f"answers were cut or ended inside a thought ({', '.join(cut)}), so nothing is shown: raise max_new_tokens"
        )
        return gate(PHASES[0], PROMPTING, INCONCLUSIVE, text, rule, "ladder/")
    return gate(
        PHASES[0], PROMPTING, GO, f"the best rung, {best['rung']}, solves {best['k']}/{best['n']}", rule, "ladder/"
    )


def budget_gate(spec: dict, prices: Prices) -> dict:
    """Does one training, with its staff and data, fit the budget?"""
    cost, budget = prices.staff_hours * prices.price_staff_hour + prices.data_cost, spec.get("budget", 0.0)
    rule, name = "staff hours and data of one training cost at most the budget", "it fits the budget"
    if not budget or not cost:
        asked = [
            words
            for words, value in (
                ("budget: how much may it cost?", budget),
                ("staff_hours, price_staff_hour, data_cost: what does it cost?", cost),
            )
            if not value
        ]
        return gate(PHASES[0], name, INCONCLUSIVE, f"asked for: {'; '.join(asked)}", rule, "prices.json")
    return gate(PHASES[0], name, GO if cost <= budget else NO_GO, f"{cost:g} of {budget:g}", rule, "prices.json")


def volume_gate(spec: dict, economics: dict) -> dict:
    """Are there enough calls a day for an own model to be cheaper than the hosted one? It informs; the verdict is
    about quality.
    """
    rule, name = "the expected calls a day lie above the break-even's 95% interval", "it pays against a hosted model"
    found, calls = (economics or {}).get("break_even"), spec.get("calls_per_day", 0.0)
    if not found or not calls:
        asked = [*([] if calls else ["calls_per_day"]), *((economics or {}).get("missing") or ["prices"])]
        text = f"asked for: {', '.join(asked)}, prices with a source and a date; the figure sweeps them"
        return gate(PHASES[5], name, INCONCLUSIVE, text, rule)
    needed, (low, high) = found["own"]["calls_a_day"], found["own"]["interval"]
    if needed is None:
        return gate(PHASES[5], name, NO_GO, "a hosted call costs no more than an own one", rule, economics["source"])
    word = GO if high is not None and calls > high else NO_GO if low is not None and calls < low else INCONCLUSIVE
    return gate(
        PHASES[5], name, word, f"{calls:,.0f} calls a day, break-even at {needed:,.0f}", rule, economics["source"]
    )


def audit_gate(found: dict) -> dict:
    """Condition 3, first half: the benchmark tells right from wrong."""
    rule = f"right answers pass, empty ones fail, and at least {KILLED:.0%} of small mistakes are noticed"
    broken = [
        f"{len(found[key])} {words}"
        for key, words in (("canonical_failed", "right answers fail"), ("empty_passed", "empty answers pass"))
        if found[key]
    ]
    share = found["killed_ratio"]
    noticed = f"{found['killed']}/{found['mutants']} small mistakes noticed on {found['problems']} problems"
    word = NO_GO if broken else INCONCLUSIVE if share is None or share < KILLED else GO
    return gate(PHASES[4], "the benchmark measures the task", word, "; ".join([*broken, noticed]), rule, "audit.json")


def power_gate(n: int, base: float, spec: dict) -> dict:
    """Condition 3, second half: can this benchmark see the gain? Announced before any money is spent. `base` is a
    fraction.
    """
    wanted = spec.get("expected_gain") or spec["smallest_gain"]
    effect = detectable_effect(n, base)
    rule = f"a gain as large as hoped for (expected_gain, else smallest_gain) is shown with {TARGET:.0%} power"
    name = "the benchmark can see the gain"
    if effect is None:
        return gate(
            PHASES[4], name, INCONCLUSIVE, f"{n} problems cannot show any gain over {base:.1%}", rule, "metrics.json"
        )
    seen = f"{n} problems show {100 * effect:.1f} points or more over {base:.1%}"
    if not wanted:
        text = f"{seen}; no gain was named: set expected_gain"
        return gate(PHASES[4], name, INCONCLUSIVE if spec.get("own_study") else GO, text, rule, "metrics.json")
    if base + wanted / 100 > 1:
        text = f"{base:.1%} + {wanted:g} points is more than everything"
        return gate(PHASES[4], name, INCONCLUSIVE, text, rule, "metrics.json")
    power = power_paired(n, *discordant(base, wanted / 100))
    needed = n_paired(base, wanted / 100)
    enough = f"about {needed:,} problems are needed" if needed else "no benchmark is large enough"
    text = f"{seen}; {wanted:g} points are shown with {power:.0%} power, {enough}"
    return gate(PHASES[4], name, GO if power >= TARGET else INCONCLUSIVE, text, rule, "metrics.json")


def operation_gate(spec: dict) -> dict:
    """Readiness to run it: an owner, somebody who looks, and the capacity to train again."""
    missing = missing_fields({"latency": spec.get("largest_latency_ms", 0)} | spec, READINESS)
    text = f"asked for: {ask(missing)}" if missing else f"{spec['owner']}; {spec['monitoring']}; {spec['retraining']}"
    rule = "owner, monitoring, retraining, latency, privacy, calls a day and months between trainings are named"
    return gate(PHASES[5], "somebody can run it", INCONCLUSIVE if missing else GO, text, rule, "spec.json")


def kept_gate(spec: dict) -> dict:
    """Is it said what must not get worse? A shipped study may leave it open, for its losses are known and reported."""
    gated, name = spec.get("gated", []), "what must not get worse is named"
    rule = f'gated names what must not get worse, or is ["{NOTHING}"] where no loss beside the task matters'
    if not gated and spec.get("own_study"):
        return gate(PHASES[0], name, INCONCLUSIVE, UNNAMED, rule, "spec.json")
    text = "; ".join(gated) or "no gate: a shipped study, whose losses are reported"
    return gate(PHASES[0], name, GO, "no loss beside the task matters" if NOTHING in gated else text, rule, "spec.json")


def data_gate(phase: str, name: str, stage, state: str, findings: list[dict]) -> dict:
    """A gate of 01 from the findings about its question: NO-GO where the stage failed, INCONCLUSIVE where one of
    them warns.
    """
    checks = ABOUT[name]
    rule = f"01 passes and none of its checks about this warns: {', '.join(checks)}"
    row = stage_gate(phase, name, stage, state, rule)
    if stage is None or stage.status == "fail":
        return row
    said = [f for f in findings if f["check"] in checks and f["severity"] != "info"]
    text = "; ".join(f"{f['check']}: {f['message']}" for f in said) or "no finding is about it"
    return row | {"verdict": INCONCLUSIVE if said else GO, "evidence": text}


def stage_gate(phase: str, name: str, stage, state: str, rule: str) -> dict:
    """A gate from a stage's own checks: GO where all hold, NO-GO where the stage failed, INCONCLUSIVE where one
    warns or it did not run.
    """
    if stage is None:
        return gate(phase, name, INCONCLUSIVE, f"did not run ({state or 'not in the study'})", rule)
    broken = [c for c in stage.manifest["checks"] if not c["ok"] and c["severity"] != "info"]
    text = "; ".join(f"{c['name']}: {c['measured']}" for c in broken) or f"{len(stage.manifest['checks'])} checks hold"
    word = {"pass": GO, "warn": INCONCLUSIVE}.get(stage.status, NO_GO)
    return gate(phase, name, word, text, rule, f"{stage.name}/manifest.json")


def progress_gate(name: str, stage, state: str, compared: dict | None) -> dict:
    """Modelling: did this training improve what it was to improve? `compared` is a row of `compare_paired`, before
    against after.

    A training whose checks hold and that changed nothing is INCONCLUSIVE; so is one that was scored nowhere."""
    row = stage_gate(PHASES[3], name, stage, state, "it solves more problems than before, exact test p < 0.05")
    if stage is None or stage.status == "fail":
        return row
    if compared is None:
        text = "it was not scored beside what came before: score both on the same problems"
        promise = stage.metrics.get("promise", {"is_enough": True})
        if not promise["is_enough"]:
            text = "nothing was trained: a probe promised {expected} pairs, dpo_least_pairs asks for {least}".format(
                **promise
            )
        start = stage.metrics.get("start", {"is_enough": True})
        text = text if start["is_enough"] else f"nothing was trained: {start['why']}"
        return row | {"verdict": INCONCLUSIVE, "evidence": text}
    word = decide(compared["difference"], compared["interval"], compared["p_exact"])
    n = compared["n"] * compared["samples"]
    text = (
        f"{compared['k_a']}/{n} → {compared['k_b']}/{n} of the {compared['part']} problems, gained"
        f" {compared['gained']}, "
    )
    text += f"lost {compared['lost']}, exact p = {compared['p_exact']:.2g}"
    if word == INCONCLUSIVE:
        needed = problems_needed(compared | {"margin": 0.0})
        text += (
            f"; about {needed:,} problems settle it {SETTLES}"
            if needed
            else "; no difference was measured: more pairs or another seed"
        )
    return row | {"verdict": word, "evidence": text}


def reward_gate(stage, state: str, compared: dict | None) -> dict:
    """`progress_gate` of 08, with what its sealed problems said of the reward, and what cheating policies earned."""
    row = progress_gate("the judge's reward helps further", stage, state, compared)
    if stage is None:
        return row
    last, cheats = stage.metrics["sealed"][-1], stage.metrics["cheats"][1:]
    earned = max((cheat["reward"] for cheat in cheats), default=0.0)
    text = f"{len(cheats)} cheating policies earned {f'up to {earned:.2f}' if earned else 'nothing'}"
    if stage.metrics["steps"]:
        text += "; sealed problems, never rewarded: {gain:+.1f} points [{0:+.1f}, {1:+.1f}]".format(
            *last["gain_interval"], **last
        ) + ", the reward gained {gap:+.1f} points [{0:+.1f}, {1:+.1f}] more".format(*last["gap_interval"], **last)
    return row | {"evidence": f"{row['evidence']}; {text}"}


def recovery_gate(stage, state: str, outcome: dict) -> dict:
    """Modelling: did what the adapter forgot come back, by 09's own rule on dev? The evidence is what both models
    scored after it; `outcome` is of `verdict.decide`. No point that meets the rule leaves it open.
    """
    row = stage_gate(PHASES[3], "what was forgotten comes back", stage, state, "a point of 09 meets its rule on dev")
    if stage is None or stage.status == "fail":
        return row
    found, told = stage.metrics, [f"{stage.metrics['kept']} goes on: {stage.metrics['why']}"]
    for one in outcome["gains"] + outcome["retentions"] + outcome["bits"]:
        name, model = one.get("benchmark", "test problems"), one["model"]
        if model in (found["recover_from"], "recover"):
            n = one["n"] * one.get("samples", 1)
            size = f"{one['rise']:+.1f}%" if "rise" in one else f"{one['k_b']}/{n} (base {one['k_a']})"
            told.append(f"{name}: {model} {size}")
    word = GO if found["point"] else INCONCLUSIVE
    return row | {"verdict": word, "evidence": "; ".join(told), "rule": f"a point of 09 meets, on dev: {found['rule']}"}


def teacher_gate(stage, state: str) -> dict:
    """Data preparation: do the teacher's answers make rows? GO where every check of 10 holds."""
    rule = "every check of 10 holds: half of the prompts keep a row, answers end, the gate of 01 finds no error"
    row = stage_gate(PHASES[2], "a teacher's answers make the rows", stage, state, rule)
    if stage is None:
        return row
    gave = stage.metrics["yield"]
    text = "{kept} of {prompts} prompts keep a row ({yield:.1%} [{yield_low:.1%}, {yield_high:.1%}]), ".format(**gave)
    text += "{right} of {answers} answers are right, {seconds:,.0f} s; money a row: {money_per_kept_row}".format(**gave)
    return row | {"evidence": f"{text}; {row['evidence']}"}


def labels_gate(stage, state: str) -> dict:
    """Evaluation: did the answers get better by people's labels? By the interval of judge and labels together, which
    holds however bad the judge is.
    """
    rule = "by judge and labels of a random sample, the 95% interval of the change lies above smallest_gain"
    row = stage_gate(PHASES[4], "people find the answers better", stage, state, rule)
    if stage is None or stage.status == "fail":
        return row
    found = stage.metrics
    word = {True: GO, False: NO_GO, None: INCONCLUSIVE}[found["gained"]]
    return row | {"verdict": word, "evidence": f"{found['result']}; {found['agreement']}"}


def problems_needed(row: dict) -> int | None:
    """Problems with which a new study tells the difference from its margin in 8 of 10 repetitions (see `n_to_settle`);
    None where the measured one lies on the margin.

    `row` is of `compare_paired` (two-sided 95%, a margin to gain), of `noninferiority` or of `rise` (one-sided, a
    margin to lose). Where it was one of several tests, `p_decides` says how much stricter Holm's correction made it.
    """
    value, margin = row.get("difference", row.get("rise")), row["margin"]
    low, high = row["interval"] if "interval" in row else (row["lower"], row["upper"])
    z = 1.96 if "interval" in row else 1.645
    if "interval" not in row and "rise" not in row:
        margin = -margin
    half = value - low if value > margin else high - value
    if value == margin or half <= 0:
        return None
    strictness = row["p_exact"] / row["p_decides"] if row.get("p_decides") else 1.0
    needs = NormalDist().inv_cdf(1 - ALPHA / 2 * strictness) if "interval" in row else z
    return max(row["n"] + 1, n_to_settle(row["n"], value - margin, half / z, needs))


def in_order(gates: list[dict]) -> list[dict]:
    """The gates by phase."""
    return sorted(gates, key=lambda row: PHASES.index(row["phase"]))
