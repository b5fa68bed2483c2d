"""What the scores say, comparison by comparison: gains, slices, forgetting, and whether the exported file holds.

Pure functions of score folders and the frozen specification. Each row has its figures, its rule and a word; `verdict`
decides.
"""

from __future__ import annotations

from tunebook.decision.gather import Evidence, read_kept
from tunebook.errors import InputProblem
from tunebook.evaluation.forgetting import BITS
from tunebook.evaluation.protocol import differences, require_equal
from tunebook.evaluation.score import unfinished_share
from tunebook.evaluation.score_folder import Scores
from tunebook.statistics.compare import INCONCLUSIVE, compare_paired, noninferiority, rise
from tunebook.statistics.compare import decide as decide_gain
from tunebook.statistics.paired import holm
from tunebook.statistics.trainings import over_trainings

# Rungs that ask the same base model; the others are other systems and decide only by meeting the specification.
PROMPT_RUNGS = ("instruction", "few_shot", "retrieved", "searched")


def score_table(evidence: Evidence) -> list[dict]:
    """One row for every model and benchmark: k, n, pass@1 and the 95% interval, all in points."""
    rows = []
    for target in evidence.targets():
        for benchmark in evidence.scores[target]:
            metrics = evidence.read(target, benchmark).metrics
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


def gain_comparisons(evidence: Evidence) -> list[dict]:
    """Every trained model against base on the task, paired by problem, with Holm's correction over them."""
    base, rows = evidence.read("base", evidence.task), []
    for target in evidence.targets():
        found = evidence.read(target, evidence.task)
        if target == "base" or found is None or base is None:
            continue
        require_equal(base.protocol, found.protocol, "base", target)
        rows.append(compared(target, "base", base, found, evidence.spec))
    return _corrected(rows)


def best_prompt(rungs: list[dict]) -> dict | None:
    """The rung that asks the same base model and solves most; None without one."""
    own = [rung for rung in rungs if rung["rung"] in PROMPT_RUNGS]
    return max(own, key=lambda rung: rung["k"] / rung["n"], default=None)


def rung_comparisons(evidence: Evidence) -> list[dict]:
    """Every trained model against the best rung of the ladder whose scores were kept, and against each other system.

    The prompts differ on purpose; the benchmark and the number of samples must be the same. Holm's correction over all
    rows.
    """
    kept = [rung for rung in evidence.rungs if rung.get("scores") is not None]
    best, rows = best_prompt(kept), []
    for rung in ([best] if best else []) + [rung for rung in kept if rung["rung"] not in PROMPT_RUNGS]:
        before = read_kept(rung["scores"])
        for target in evidence.targets():
            found = evidence.read(target, evidence.task)
            if target == "base" or found is None:
                continue
            if before.protocol["benchmark_sha256"] != found.protocol["benchmark_sha256"]:
                raise InputProblem(f"rung {rung['rung']} and {target} answered different problems: run 00 and 04 again")
            if samples_of(before) != samples_of(found):
                continue
            rows.append(compared(target, rung["rung"], before, found, evidence.spec))
    return _corrected(rows)


def samples_of(found: Scores) -> set[int]:
    """How many samples a problem has; several numbers where they differ."""
    return {len(passed) for passed in found.passed.values()}


def left_out(evidence: Evidence, shipped: str) -> list[tuple[str, str]]:
    """What could not be compared with the model that ships, as (what it is about, sentence)."""
    found, said = evidence.read(shipped, evidence.task), []
    for rung in evidence.rungs:
        before = read_kept(rung.get("scores"))
        if rung["rung"] not in PROMPT_RUNGS and before and found and samples_of(before) != samples_of(found):
            text = f"rung {rung['rung']} is not compared with {shipped}: another number of samples a problem"
            said.append((f"rung {rung['rung']}", text))
    for benchmark in evidence.scores.get("base", {}):
        base, now = evidence.read("base", benchmark), evidence.read(shipped, benchmark)
        if benchmark != evidence.task and now and (fields := differences(base.protocol, now.protocol)):
            said.append(
                (benchmark, f"{benchmark} is not compared: {shipped} was asked otherwise ({', '.join(fields)})")
            )
    return said


def compared(target: str, against: str, before: Scores, found: Scores, spec: dict) -> dict:
    row = {"model": target, "against": against, **compare_paired(before.passed, found.passed, spec["smallest_gain"])}
    limit = spec.get("measured_by", {}).get("unfinished_limit", 10.0)
    shares = {name: 100 * unfinished_share(scores.metrics) for name, scores in ((against, before), (target, found))}
    cut = [f"{share:.0f}% of {name}'s" for name, share in shares.items() if share > limit]
    if cut:
        row["unfinished"] = f"{' and '.join(cut)} answers are cut or end inside a thought (unfinished_limit {limit:g}%)"
        row["at_worst"] = [_at_worst(before.at_best, found.passed, row), _at_worst(before.passed, found.at_best, row)]
    return row


def _at_worst(before: dict, found: dict, row: dict) -> str:
    """The verdict if every unfinished answer of one side were right; p is doubled, for it may be one of two tests."""
    if not before or not found:
        return INCONCLUSIVE
    worst = compare_paired(before, found, row["margin"])
    return decide_gain(worst["difference"], worst["interval"], min(1.0, 2 * worst["p_exact"]), row["margin"])


def _corrected(rows: list[dict]) -> list[dict]:
    for row, p in zip(rows, holm([row["p_exact"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def slice_comparisons(evidence: Evidence, target: str) -> list[dict]:
    """`target` against base in every slice; `shown` is "worse", "better" or "" at 0.05.

    Holm's correction is over all slices, and over the named ones alone for those that the specification names, so that
    slices which nobody asked about do not weaken the gate.
    """
    base, found = evidence.read("base", evidence.task), evidence.read(target, evidence.task)
    if base is None or found is None:
        return []
    rows = []
    for name, tasks in evidence.slices.items():
        parts = [{task: scores.passed[task] for task in tasks if task in scores.passed} for scores in (base, found)]
        if parts[0]:
            rows.append({"slice": name, "model": target, **compare_paired(*parts)})
    named = [row for row in rows if row["slice"] in evidence.spec.get("slices", [])]
    _corrected(rows)
    for row in [*_corrected(named), *rows]:
        row["shown"] = ("better" if row["k_b"] > row["k_a"] else "worse") if row["p_holm"] < 0.05 else ""
    return rows


def retentions(evidence: Evidence) -> list[dict]:
    """Every trained model against base on what it should not forget, one-sided with the margin of the specification."""
    rows = []
    for benchmark in evidence.scores.get("base", {}):
        base = evidence.read("base", benchmark)
        for target in evidence.targets():
            found = evidence.read(target, benchmark)
            if benchmark == evidence.task or target == "base" or found is None:
                continue
            if differences(base.protocol, found.protocol):
                continue
            result = noninferiority(base.passed, found.passed, evidence.spec["largest_loss"])
            is_gated = benchmark in evidence.spec.get("gated", [])
            parts = _parts(base.metrics.get("slices", {}), found.metrics.get("slices", {}))
            rows.append({"benchmark": benchmark, "model": target, "gated": is_gated, "parts": parts, **result})
    return rows


def _parts(before: dict, after: dict) -> str:
    """Right answers of both in each slice, to show where a loss lies; no test is made of it."""
    rows = {name: (part["k"], after[name]["k"], part["n"]) for name, part in before.items() if name in after}
    return ", ".join(f"{name} {k_a} → {k_b} of {n}" for name, (k_a, k_b, n) in rows.items())


def bits_comparisons(evidence: Evidence) -> list[dict]:
    """Every trained model's bits per byte of general text against base's, paired by document, as a rise in percent."""
    base, rows = evidence.bits.get("base", {}), []
    for target in evidence.targets():
        now = evidence.bits.get(target, {})
        if target == "base" or not base or not now:
            continue
        if base.keys() != now.keys():
            raise InputProblem(f"{target} and base read different general texts: run 04 again for both")
        is_gated = BITS in evidence.spec.get("gated", [])
        pairs = [(base[name], now[name]) for name in base]
        result = rise(pairs, evidence.spec.get("largest_bits_rise", 0.0))
        shown = "worse" if result["lower"] is not None and result["lower"] > 0 else ""
        rows.append({"benchmark": BITS, "model": target, "gated": is_gated, "shown": shown, **result})
    return rows


def file_comparison(evidence: Evidence, shipped: str, weights: str) -> dict | None:
    """The exported file against the weights it was made of, on the task, one-sided; None where either was not
    scored.
    """
    before, after = evidence.read(weights, evidence.task), evidence.read(shipped, evidence.task)
    if shipped == weights or before is None or after is None:
        return None
    result = noninferiority(before.passed, after.passed, evidence.spec["largest_loss"])
    return {"benchmark": evidence.task, "model": shipped, "against": weights, "gated": False, **result}


def trainings_comparison(evidence: Evidence, weights: str) -> dict | None:
    """What the recipe gains over base, over its trainings: that of `weights` and the further ones. None with one."""
    base, own = evidence.read("base", evidence.task), evidence.read(weights, evidence.task)
    if not evidence.trainings or base is None or own is None:
        return None
    rows = []
    for found in (own, *(training.read(weights, evidence.task) for training in evidence.trainings)):
        require_equal(base.protocol, found.protocol, "base", "a further training")
        rows.append([_share(found.passed[task]) - _share(base.passed[task]) for task in base.passed])
    return {"model": weights, "against": "base", **over_trainings(rows, evidence.spec["smallest_gain"])}


def kept_by_trainings(evidence: Evidence) -> list[dict]:
    """What each further training keeps: rows of `retentions` and `bits_comparisons`, with the number of the `training`
    (the study's own is the first).
    """
    return [
        row | {"training": number}
        for number, further in enumerate(evidence.trainings, 2)
        for row in retentions(further) + bits_comparisons(further)
    ]


def _share(samples: list[bool]) -> float:
    return sum(samples) / len(samples)


def kept_of(tables: dict, names: tuple[str, str]) -> list[dict]:
    """A row a retained benchmark and one for general text: of the first of `names` (the file, its weights) that was
    measured.
    """
    rows = tables["retentions"] + tables["bits"]
    first: dict[str, dict] = {}
    for name in names:
        for row in rows:
            if row["model"] == name:
                first.setdefault(row["benchmark"], row)
    return list(first.values())
