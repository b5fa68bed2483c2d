"""Collects what the verdict rests on from the verified stages of a run. Does not decide."""

from __future__ import annotations

from tunebook.decision.spec import read_frozen
from tunebook.decision.verdict import Evidence
from tunebook.errors import InputProblem

SPEC_STAGE, SCORE_STAGE = "00_should_we_fine_tune", "04_evaluate_pass_at_1"


def gather(context) -> tuple[Evidence, str, str]:
    """The evidence, the name of the model that would ship, and the name of the weights in it (they differ for a GGUF file).

    Raises InputProblem when the run has no frozen specification, for then nothing was promised that could be judged.
    """
    found = context.needs()
    if SPEC_STAGE not in found:
        raise InputProblem(
            "06_verdict needs the specification that 00_should_we_fine_tune freezes; put 00 into `stages`"
        )
    spec, _ = read_frozen(found[SPEC_STAGE].file("spec.json"))
    scores = {}
    for name, stage in found.items():
        if name.startswith(SCORE_STAGE) and stage.status != "fail":
            target = name.partition("@")[2]
            names = sorted(stage.metrics["scores"], key=lambda bench: bench != "task")  # the task first
            scores[target] = {bench: _verified(stage, f"scores/{bench}") for bench in names}
    failed = [name for name in context.stages if name != context.name and _is_broken(name, found, context.run_state())]
    rungs = found[SPEC_STAGE].metrics["rungs"] + _zero_shot(scores, found, spec)
    export = found.get("05_export_gguf")
    dpo = found.get("03_train_dpo")
    trained = [name for name in ("dpo", "sft") if name in scores]
    weights = export.metrics["adapter"] if export else dpo.metrics["kept"] if dpo else (trained or ["sft"])[0]
    return Evidence(scores, "task", spec, rungs, failed), "gguf" if "gguf" in scores else weights, weights


def _verified(stage, folder: str):
    """Path of a score folder, each of its files checked against its recorded hash."""
    for name in ("scores.jsonl", "protocol.json"):
        stage.file(f"{folder}/{name}")
    return stage.file(f"{folder}/metrics.json").parent


def _is_broken(name: str, found: dict, states: dict) -> bool:
    state = states.get(name, {}).get("state", "")
    return name not in found or found[name].status == "fail" or state in ("error", "skipped")


def _zero_shot(scores: dict, found: dict, spec: dict) -> list[dict]:
    """The base model's own score as the first rung of the ladder; it is scored once, in 04."""
    if "base" not in scores:
        return []
    metrics = found[f"{SCORE_STAGE}@base"].metrics["scores"]["task"]
    low = 100 * metrics["interval"][0]
    target = spec["target_score"]
    rule = f"lower end of the 95% interval at least {target:g} points"
    return [{"rung": "zero_shot", "k": metrics["k"], "n": metrics["n"], "meets_spec": low >= target, "rule": rule}]
