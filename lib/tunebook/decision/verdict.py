"""From scores to GO, NO-GO or INCONCLUSIVE, each reason with its figure and its rule.

A pure function of the evidence and the frozen specification: it reads nothing else. Does not render (see `report`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product

from tunebook.decision.comparisons import (
    PROMPT_RUNGS,
    best_prompt,
    bits_comparisons,
    file_comparison,
    gain_comparisons,
    kept_by_trainings,
    kept_of,
    left_out,
    retentions,
    rung_comparisons,
    slice_comparisons,
    trainings_comparison,
)
from tunebook.decision.economics import machine_cost
from tunebook.decision.gates import SETTLES, UNNAMED, problems_needed
from tunebook.decision.gather import Evidence
from tunebook.decision.spec import LIMITS
from tunebook.evaluation.forgetting import NOTHING
from tunebook.statistics.compare import BLIND, GO, INCONCLUSIVE, NO_GO, NON_INFERIOR, VIOLATION
from tunebook.statistics.compare import decide as decide_gain
from tunebook.statistics.paired import holm

NAMES = {"base": "the base model", "searched": "the prompt that was searched"}
LIMIT_WORDS = {
    "largest_latency_ms": "time within which 95 of 100 answers of the file come (one request at a time)",
    "largest_memory_mb": "peak memory of a process with the file",
    "largest_file_mb": "size of the file",
}


@dataclass
class Votes:
    """Reasons as they are found, each with the word it votes for ("" where it only informs), what it is `about`, so
    that a page can link it to its file, and the same for a reader who knows no statistics (`plain`). `settles`: what
    would settle an open one.
    """

    words: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    settles: list[str] = field(default_factory=list)

    def add(self, reason: str, about: str, word: str = "", plain: str = "", settles: str = "") -> None:
        """One reason; `word` is GO, NO-GO or INCONCLUSIVE where it decides, "" where it only informs."""
        self.reasons.append(reason)
        self.about.append(about)
        self.words.append(word)
        self.plain.append(plain or reason)
        if word == INCONCLUSIVE and settles:
            self.settles.append(settles)

    def verdict(self) -> str:
        """NO-GO outweighs INCONCLUSIVE, which outweighs GO."""
        return NO_GO if NO_GO in self.words else INCONCLUSIVE if INCONCLUSIVE in self.words else GO


def decide(evidence: Evidence, shipped: str, weights: str = "") -> dict:
    """The verdict about the model called `shipped`, whose forgetting is that of `weights` when the file itself was not
    asked: `verdict`, `reasons`, and the tables it rests on.

    GO: the gain over base and over the best prompt is shown, every gated retention is non-inferior and the file stays
    under every limit. NO-GO: the model is shown to be worse, a slice that the specification names, a gated retention or
    a limit is violated, or a rung of the ladder without training is as good as the specification asks. Else
    INCONCLUSIVE, whose last reason says what would settle it.
    """
    tables = {
        "gains": gain_comparisons(evidence),
        "rungs": rung_comparisons(evidence),
        "slices": slice_comparisons(evidence, shipped),
        "retentions": retentions(evidence),
        "bits": bits_comparisons(evidence),
        "file": file_comparison(evidence, shipped, weights or shipped),
        "trainings": trainings_comparison(evidence, weights or shipped),
        "kept_by_trainings": kept_by_trainings(evidence),
    }
    votes = Votes()
    for name, how in evidence.failed.items():
        votes.add(f"the study is incomplete: {name} {how}", name, INCONCLUSIVE, settles=f"a run in which {name} passes")
    _judge_gain(votes, evidence, tables, shipped)
    _judge_trainings(votes, evidence, tables)
    _judge_slices(votes, evidence, tables["slices"], shipped)
    _judge_retained(votes, evidence, tables, (shipped, weights))
    _judge_file(votes, evidence, tables["file"])
    _judge_rungs(votes, evidence, shipped)
    if votes.verdict() == INCONCLUSIVE:
        votes.add("what would settle it: " + "; ".join(dict.fromkeys(votes.settles)), "settles")
    return {"verdict": votes.verdict(), "shipped": shipped, "weights": weights or shipped, **vars(votes), **tables}


def _judge_gain(votes: Votes, evidence: Evidence, tables: dict, shipped: str) -> None:
    """Against base and against the best prompt; two tests on one model are corrected by Holm before they decide."""
    found = [row for row in tables["gains"] if row["model"] == shipped]
    found += [row for row in tables["rungs"] if row["model"] == shipped and row["against"] in PROMPT_RUNGS]
    is_answered = any(rung["meets_spec"] for rung in evidence.rungs)
    if not is_answered and (not found or found[0]["against"] != "base"):
        text = f"{shipped} has no score on {evidence.task} to compare with base"
        votes.add(text, "gain", INCONCLUSIVE, settles=f"a score of base and of {shipped} on the same problems")
    best = best_prompt(evidence.rungs)
    if best and found and best["rung"] not in [row["against"] for row in found]:
        text = f"{shipped} is not compared with the best prompt, {best['rung']} ({best['k']}/{best['n']})"
        remedy = "score both on the same problems, with as many samples"
        votes.add(f"{text}: {remedy}", f"rung {best['rung']}", INCONCLUSIVE, text, f"for {best['rung']}, {remedy}")
    for row, p in zip(found, holm([row["p_exact"] for row in found]), strict=True):
        row["p_decides"] = p
        row["verdict"] = decide_gain(row["difference"], row["interval"], p, row["margin"])
        if "unfinished" in row:
            judge_unfinished(row)
        about = "gain" if row["against"] == "base" else f"rung {row['against']}"
        votes.add(gain_sentence(row, evidence.task), about, row["verdict"], _plain_gain(row), settles(row, evidence))


def judge_unfinished(row: dict) -> None:
    """A gain stands where it is shown even if every unfinished answer of the other side were right, a loss even if all
    of its own were; else nothing is shown. The bounds are those of the worst case (Manski 2003, chapter 1).
    """
    at = {GO: 0, NO_GO: 1}.get(row["verdict"])
    if at is not None and row["at_worst"][at] == row["verdict"]:
        row["unfinished"] += f"; even with all of {(row['against'], row['model'])[at]}'s counted as right it is so"
        row["stands"] = True
    else:
        row["verdict"], row["stands"] = INCONCLUSIVE, False
        row["unfinished"] += ", so nothing is shown: raise max_new_tokens"


def _judge_trainings(votes: Votes, evidence: Evidence, tables: dict) -> None:
    """Whether another training of the recipe would gain as well, and whether the further ones kept what is gated."""
    row, n = tables["trainings"], len(evidence.trainings)
    kept = {(found["training"], found["benchmark"]): found for found in tables["kept_by_trainings"] if found["gated"]}
    gated = [name for name in evidence.spec.get("gated", []) if name != NOTHING]
    if n and gated:
        lost = {}
        for key in product(range(2, n + 2), gated):
            found = kept.get(key)
            if found is None or found["verdict"] != NON_INFERIOR:
                said = f"{key[1]} is gated but was not measured" if found is None else kept_sentence(found)
                lost.setdefault(key[0], []).append(said)
        text = f"{n - len(lost)} of {n} further trainings keep everything that is gated"
        text += "".join(f"; training {number}: {'; '.join(said)}" for number, said in lost.items())
        plain = f"another training of this recipe may forget more ({len(lost)} of {n} further ones did not hold a gate)"
        word = INCONCLUSIVE if lost else GO
        votes.add(text, "trainings", word, plain if lost else "", "further trainings that keep what is gated")
    if row:
        low, high = row["interval"]
        each = ", ".join(f"{gain:+.1f}" for gain in row["each"])
        gain = f"{row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        text = f"{row['trainings']} trainings of {row['model']} against base: {each}; another one: {gain}, "
        text += f"standard deviation between trainings {row['sd']:.1f} points: {row['verdict']} (rule: {row['rule']})"
        again, shares = row["again"], row["again"]["shares"]
        text += f"; trained once more, that file alone would get GO with probability {again[GO]:.0%}, NO-GO with"
        text += f" {again[NO_GO]:.0%}; of the variance of one training's gain {shares['problems']:.0%} lies in which"
        text += (
            f" problems are asked, {shares['trainings']:.0%} in the seed, {shares['rest']:.0%} in sampling and the rest"
        )
        shown = {GO: "is shown", NO_GO: "is ruled out"}.get(row["verdict"], "is neither shown nor ruled out")
        plain = f"a gain by another training of this recipe {shown} ({gain}; trained again, GO in {again[GO]:.0%})"
        settles = f"for another training, more seeds than {row['trainings']} or more problems than {row['n']}"
        votes.add(text, "trainings", row["verdict"], plain, settles)


def _plain_gain(row: dict) -> str:
    n, name = row["n"] * row["samples"], NAMES.get(row["against"], f"the prompt {row['against']}")
    counts = f"{row['k_b']} of {n} solved, {name} {row['k_a']}"
    if row["verdict"] == GO:
        return f"it solves more test problems than {name} ({counts})"
    if row.get("stands") is False:
        return f"whether it solves more than {name} cannot be told ({counts}): {row['unfinished']}"
    if row["verdict"] == INCONCLUSIVE:
        wanted = f" of more than {row['margin']:g} points" if row["margin"] else ""
        return f"a gain{wanted} over {name} is neither shown nor ruled out ({counts})"
    if row["margin"] > 0:
        return f"the gain over {name} is below the {row['margin']:g} points that were asked for ({counts})"
    return f"it solves fewer test problems than {name} ({counts})"


def settles(row: dict, evidence: Evidence) -> str:
    """How many problems or texts would settle an open comparison in 8 of 10 repetitions, and what they cost."""
    what = row.get("benchmark", "")
    if "against" in row:
        what = f"the {'gain over' if row['difference'] > row['margin'] else 'difference from'} {row['against']}"
    if row.get("stands") is False:
        return f"for {what}, answers that end: raise max_new_tokens"
    if row["verdict"] == BLIND and "rise" in row:
        return f"for {what}, at least 5 texts (general_documents)"
    if row["verdict"] == BLIND:
        rate = 100 * row["k_a"] / (row["n"] * row["samples"])
        if rate <= row["margin"]:
            return (
                f"for {what}, another benchmark: base solves {rate:.1f}% of it, so it cannot lose {row['margin']:g}"
                " points"
            )
        needed = math.ceil(row["n"] * (row["smallest_provable_margin"] / row["margin"]) ** 2)
        needed = max(needed, row["n"] + 1)
        return f"for {what}, about {needed:,} problems (there are {row['n']}){_cost(row, needed, evidence)}"
    needed, unit = problems_needed(row), "texts" if "rise" in row else "problems"
    if needed is None:
        more = "" if "rise" in row else ", or 00's power with expected_gain named"
        cost = machine_cost(evidence.training_seconds, evidence.price_hour)
        seed = f"another seed{f' ({cost})' if cost else ''}"
        return f"for {what}, a difference: the measured one lies on its margin, so take {seed}{more}"
    samples = "" if "rise" in row else f", fewer with n_samples above {row['samples']}"
    there = f"(there are {row['n']}){_cost(row, needed, evidence)}"
    return f"for {what}, about {needed:,} {unit} {there}: a new study of that size settles it {SETTLES}{samples}"


def _cost(row: dict, needed: int, evidence: Evidence) -> str:
    """What the missing problems cost, "" where no stage recorded its seconds."""
    seconds = evidence.seconds.get(row.get("benchmark", evidence.task), 0.0) * (needed - row["n"])
    cost = machine_cost(seconds, evidence.price_hour)
    return f", {cost}" if cost else ""


def _judge_slices(votes: Votes, evidence: Evidence, rows: list[dict], shipped: str) -> None:
    named = evidence.spec.get("slices", [])
    for name in named if evidence.read(shipped, evidence.task) else ():
        if name not in evidence.slices:
            text = f"slice {name} is named in the specification, and no test problem has it"
            votes.add(text, "slices", INCONCLUSIVE, settles=f"test problems in slice {name}")
    for row in rows:
        if row["shown"] == "worse":
            word = NO_GO if row["slice"] in named else ""
            role = "named in the specification" if word else "reported, no gate"
            text = f"slice {row['slice']} ({role}): {_rates(row)} is worse, Holm p = {row['p_holm']:.2g}"
            votes.add(text, "slices", word, loss_words(row))


def _judge_retained(votes: Votes, evidence: Evidence, tables: dict, names: tuple[str, str]) -> None:
    """What was forgotten: of the file where it was asked, else of the weights in it. A gate that was never measured
    is open.
    """
    judged, gated = kept_of(tables, names), evidence.spec.get("gated", [])
    for row in judged:
        word = NO_GO if row["verdict"] == VIOLATION else INCONCLUSIVE if row["verdict"] != NON_INFERIOR else GO
        unit = "%" if "rise" in row else " points"
        lost = f"{row['benchmark']} lost {{}} than {row['margin']:g}{unit}"
        open_or_held = f"whether {lost.format('more')} cannot be told" if word == INCONCLUSIVE else lost.format("less")
        plain = loss_words(row) if word == NO_GO else open_or_held
        settled = settles(row, evidence) if word == INCONCLUSIVE else ""
        votes.add(kept_sentence(row), row["benchmark"], word if row["gated"] else "", plain, settled)
    measured = {row["benchmark"] for row in judged}
    for benchmark in gated:
        if benchmark not in (*measured, NOTHING) and evidence.scores.get("base"):
            text = f"{benchmark} is gated but was not measured on base and on {names[0]}"
            votes.add(text, benchmark, INCONCLUSIVE, settles=f"a score of base and {names[0]} on {benchmark}")
    if not gated and evidence.spec.get("own_study"):
        votes.add(UNNAMED, "gated", INCONCLUSIVE, settles='gated in a new run: what must not get worse, or ["nothing"]')
    if NOTHING in gated:
        votes.add(
            "gated: nothing: the specification says that no loss beside the task matters, so none decides", "gated"
        )


def _judge_file(votes: Votes, evidence: Evidence, file: dict | None) -> None:
    """Whether the exported file still has what the weights had, and stays under the limits of the specification."""
    if file:
        is_lost = file["verdict"] == VIOLATION
        plain = "the exported file lost what its weights could do" if is_lost else ""
        votes.add(file_sentence(file), "file", NO_GO if is_lost else "", plain)
    for name, unit in LIMITS.items():
        limit, what = evidence.spec.get(name, 0), LIMIT_WORDS[name]
        if not limit:
            continue
        low, value, high = evidence.file.get(name, (None, None, None))
        if value is None:
            text = f"{what} is limited to {limit:g} {unit} but was not measured"
            votes.add(text, name, INCONCLUSIVE, settles="05 in the stages, which measures the file")
            continue
        is_over, is_under = low is not None and low > limit, high is not None and high <= limit
        word = NO_GO if is_over else GO if is_under else INCONCLUSIVE
        bounds = "" if low == high else f" [{low or 0:.4g}, {'no bound' if high is None else f'{high:.4g}'}]"
        text = f"{what}: {value:.4g} {unit}{bounds}, at most {limit:g} {unit} (rule: the 95% bounds are not above it)"
        plain = f"{what} is {value:.4g} {unit}, {'at most' if word == GO else 'and the limit is'} {limit:g}"
        votes.add(
            text,
            name,
            word,
            plain,
            "more requests to the file (more dev problems), or a limit further from what was measured",
        )
    if evidence.spec.get("needs_offline"):
        answered = evidence.file.get("needs_offline")
        text = {True: "the file answers with the network cut off", False: "the file does not answer without a network"}
        text = text.get(answered, "whether the file answers without a network was not shown: it was never cut off")
        word = {True: GO, False: NO_GO}.get(answered, INCONCLUSIVE)
        votes.add(text, "needs_offline", word, text, "05 on Linux, where a process can be cut off the network")


def _judge_rungs(votes: Votes, evidence: Evidence, shipped: str) -> None:
    for about, text in left_out(evidence, shipped):
        votes.add(text, about)
    if evidence.chosen_on_test:
        text = "selected on test: without a dev part the file's type was chosen on the problems that judge it"
        votes.add(text, evidence.chosen_on_test)
    for rung in (rung for rung in evidence.rungs if rung["meets_spec"]):
        plain = f"prompting alone is enough: {NAMES.get(rung['rung'], rung['rung'])} solves {rung['k']} of {rung['n']}"
        reason = f"prompting is enough: {rung['rung']} solves {rung['k']}/{rung['n']}, rule: {rung['rule']}"
        votes.add(reason, f"rung {rung['rung']}", NO_GO, plain)


def shown_losses(outcome: dict) -> list[dict]:
    """What is shown to have got worse, gated or not: rows of retentions, general text, slices, and of the exported
    file.
    """
    rows = kept_of(outcome, (outcome["shipped"], outcome["weights"])) + outcome["slices"]
    return [row for row in [*rows, *([outcome["file"]] if outcome["file"] else [])] if row.get("shown") == "worse"]


def loss_words(row: dict) -> str:
    """A loss in plain words, with its figures."""
    role = "" if "gated" not in row or "against" in row else " (not gated)" if not row["gated"] else ""
    if "rise" in row:
        allowed = f" (allowed: {row['margin']:g}%)" if row["gated"] else role
        return f"general text costs {row['rise']:.1f}% more bits{allowed}"
    n = row["n"] * row["samples"]
    name = (
        f"slice {row['slice']}"
        if "slice" in row
        else "the file against its weights"
        if "against" in row
        else row["benchmark"]
    )
    return f"{name} fell from {row['k_a']} to {row['k_b']} of {n}{role}"


def gain_sentence(row: dict, task: str) -> str:
    """What a comparison shows, with its figures and its rule."""
    low, high = row["interval"]
    p = f"{'exact McNemar' if row['samples'] == 1 else 'sign-flip'} p = {row['p_exact']:.2g}"
    if row.get("p_decides", row["p_exact"]) != row["p_exact"]:
        p += f" (Holm: {row['p_decides']:.2g})"
    return (
        f"{row['model']} against {row['against']} on {task}: {_rates(row)}, "
        f"{row['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], gained {row['gained']}, lost {row['lost']}, "
        f"{p}: {row['verdict']} (rule: {row['rule']})" + (f"; {row['unfinished']}" if "unfinished" in row else "")
    )


def kept_sentence(row: dict) -> str:
    """What was forgotten, and whether the measure could have shown it: of a benchmark in points, of general text in
    percent of the bits a byte that base needs.
    """
    gate = "gate" if row["gated"] else "reported, no gate"
    if "rise" in row:
        interval = "" if row["lower"] is None else f" [{row['lower']:+.1f}, {row['upper']:+.1f}]"
        return (
            f"bits per byte of general text ({gate}): base {row['before']:.3f} → {row['model']} {row['after']:.3f} on"
            f" {row['n']} documents, {row['rise']:+.1f}%{interval} against a margin of {row['margin']:g}%:"
            f" {row['verdict']}"
        )
    blind = f"{BLIND} of {row['margin']:g} points: base solves too little"
    meaning = shown_loss(row) or (blind if row["verdict"] == BLIND else row["verdict"])
    return (
        f"{row['benchmark']} ({gate}): base {_rates(row, row['model'])}, "
        f"{row['difference']:+.1f} points [{row['lower']:+.1f}, {row['upper']:+.1f}]: {meaning}"
        + (f" ({row['parts']})" if row.get("parts") else "")
    )


def shown_loss(row: dict) -> str:
    """That a loss is shown, and what can be told of its size; "" where none is."""
    margin = f"{row['margin']:g} points"
    if row.get("shown") != "worse":
        return ""
    size = {
        VIOLATION: f"and it is more than {margin}: {VIOLATION}",
        NON_INFERIOR: f"and it is less than {margin}: {NON_INFERIOR}",
        BLIND: f"whether it is less than {margin} cannot be told: base solves too little",
    }.get(row["verdict"], f"whether it is less than {margin} cannot be told: too few problems")
    return f"a loss is shown (exact p = {row['p_exact']:.2g}); {size}"


def file_sentence(row: dict) -> str:
    """Whether the exported file still has what the weights had."""
    return (
        f"the exported file against its weights ({row['against']}): {_rates(row)}, "
        f"{row['difference']:+.1f} points [{row['lower']:+.1f}, {row['upper']:+.1f}], margin {row['margin']:g}: "
        f"{shown_loss(row) or row['verdict']}"
    )


def _rates(row: dict, model: str = "") -> str:
    """k/n before and after; with several samples a problem, n counts samples as k does."""
    n = row["n"] * row["samples"]
    return f"{row['k_a']}/{n} → {model + ' ' if model else ''}{row['k_b']}/{n}"
