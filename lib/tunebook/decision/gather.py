"""Collects what the verdict and its page rest on from the verified stages of a run. Does not decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunebook.decision.economics import share_seconds, whole_seconds
from tunebook.decision.gates import PROMPTING, rung_row
from tunebook.decision.spec import read_frozen, require_overrides
from tunebook.errors import InputProblem
from tunebook.evaluation.score_folder import Scores, read_scores
from tunebook.files import read_json, read_jsonl
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline.manifest import broken
from tunebook.statistics.compare import compare_paired

SPEC_STAGE, SCORE_STAGE, DATA_STAGE = "00_should_we_fine_tune", "04_evaluate_pass_at_1", "01_validate_data"
TASK = "task"
ORDER = ("base", *stage_names.ADAPTERS, "gguf")


@dataclass
class Evidence:
    """What a verdict rests on. `scores[target][benchmark]` is a score folder (or its Scores); `rungs` are rows of the
    prompting ladder, with their own `scores` where they were kept; `slices` maps a name to task ids; `bits[target]`
    maps a document to its bits per byte; `file` has, for each of `spec.LIMITS`, the shipped file's figure as [low,
    value, high] (95% bounds, None where there are too few requests); `chosen_on_test` names the stage that chose what
    ships on the test problems themselves; `seconds` are what a further problem of a benchmark takes, asked of base and
    of the model that ships; `trainings` are further trainings of the same recipe, each with the scores and bits of base
    and of its own model under the name of the study's; money is in the user's currency.
    """

    scores: dict[str, dict[str, Path | Scores]]
    task: str
    spec: dict
    rungs: list[dict] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    slices: dict[str, list[str]] = field(default_factory=dict)
    bits: dict[str, dict[str, float]] = field(default_factory=dict)
    chosen_on_test: str = ""
    file: dict[str, list] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    price_hour: float = 0.0
    trainings: list[Evidence] = field(default_factory=list)

    def read(self, target: str, benchmark: str) -> Scores | None:
        """The scores of one model on one benchmark, None where there are none."""
        return read_kept(self.scores.get(target, {}).get(benchmark))

    def targets(self) -> list[str]:
        """The models in the order of training."""
        return sorted(self.scores, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def read_kept(found) -> Scores | None:
    """The scores of a folder, or those that are read already."""
    return read_scores(found) if isinstance(found, str | Path) else found


def gather_evidence(context) -> tuple[Evidence, str, str]:
    """The evidence, the name of the model that would ship, and the name of the weights in it (they differ for a GGUF
    file).

    Raises InputProblem when the run has no frozen specification, for then nothing was promised that could be judged.
    """
    found = context.needs()
    if SPEC_STAGE not in found:
        remedy = "run 00 first" if SPEC_STAGE in context.stages else "put 00 into `stages`"
        raise InputProblem(f"06_verdict needs the specification that 00_should_we_fine_tune freezes; {remedy}")
    spec, _ = read_frozen(found[SPEC_STAGE].file("spec.json"))
    require_overrides(spec, context)
    scores, bits, texts = {}, {}, {}
    for target, stage in scored(found).items():
        if stage.manifest["params"].get("split") == "dev":
            raise InputProblem(f"{stage.name} scored dev problems, on which choices are made: set split: test for 06")
        scores[target] = _scores_of(stage)
        if (kept := forgetting_of(stage)).get("documents"):
            bits[target], texts[target] = _bits_of(kept), kept["texts_sha256"]
    if len(set(texts.values())) > 1:
        raise InputProblem(f"{', '.join(texts)} read different general texts (another Python?): run 04 again for all")
    export, dpo = found.get("05_export_gguf"), found.get("03_train_dpo")
    on_test = "05_export_gguf" if export and export.metrics.get("selected_on") == "test" else ""
    parts = _rungs(found, spec), _failed(context, found), _slices(found), bits, on_test, file_figures(export)
    evidence = Evidence(scores, TASK, spec, *parts)
    trained = [name for name in reversed(stage_names.ADAPTERS) if name in scores]
    is_preferred = dpo and not {"recover", "grpo"} & scores.keys()
    weights = export.metrics["adapter"] if export else dpo.metrics["kept"] if is_preferred else (trained or ["sft"])[0]
    shipped = "gguf" if "gguf" in scores else weights
    _add_costs(evidence, found, ("base", shipped))
    evidence.trainings = _trainings(found, evidence, weights, bool(is_preferred))
    return evidence, shipped, weights


def _trainings(found: dict, evidence: Evidence, weights: str, is_preferred: bool) -> list[Evidence]:
    """Each further training: of what its own 03 kept where that decides, else of the kind of weights that ships."""
    trainings = []
    for number in sorted({stage_names.repeat(name) for name in found} - {0}):
        dpo = found.get(f"03_train_dpo+{number}") if is_preferred else None
        stage = found.get(f"{SCORE_STAGE}@{dpo.metrics['kept'] if dpo else weights}+{number}")
        if stage and not _broken_checks(stage):
            scores = {"base": evidence.scores.get("base", {}), weights: _scores_of(stage)}
            bits = {"base": evidence.bits.get("base", {}), weights: _bits_of(forgetting_of(stage))}
            trainings.append(Evidence(scores, TASK, evidence.spec, bits=bits))
    return trainings


def _scores_of(stage) -> dict[str, Path]:
    """The score folders of a stage of 04, the task first."""
    names = sorted(stage.metrics["scores"], key=lambda bench: bench != TASK)
    return {bench: verified(stage, f"scores/{bench}") for bench in names}


def _bits_of(kept: dict) -> dict[str, float]:
    """Bits per byte of each general text in a forgetting.json."""
    return {row["name"]: row["bits"] / row["bytes"] for row in kept.get("documents") or ()}


def _add_costs(evidence: Evidence, found: dict, pair: tuple[str, str]) -> None:
    """What asking and training took on this run's machine, and the price of its hour."""
    for target in pair:
        for name, seconds in problem_seconds(scored(found).get(target)).items():
            evidence.seconds[name] = evidence.seconds.get(name, 0.0) + seconds
    evidence.training_seconds = training_seconds(found)
    if has_file(found[SPEC_STAGE], "prices.json"):
        evidence.price_hour = read_json(found[SPEC_STAGE].file("prices.json"))["price_machine_hour"]


def problem_seconds(stage) -> dict[str, float]:
    """Seconds that one problem of each benchmark took a stage of 04, where they are known; {} for None."""
    found = {}
    for name, metrics in stage.metrics["scores"].items() if stage else ():
        cost = (stage.manifest.get("costs") or {}).get(name, {})
        if cost.get("seconds") and metrics.get("n"):
            found[name] = cost["seconds"] / metrics["n"]
    return found


def training_seconds(found: dict) -> float:
    """What the first training of each kind took, together."""
    trained = [found[name] for name in stage_names.ADAPTERS.values() if name in found]
    return sum(stage.manifest["timing"]["seconds"] for stage in trained)


def file_figures(export) -> dict[str, list]:
    """What the chosen file needs, as 05 measured it on its machine, one request at a time: [low, value, high] by
    parameter, and whether it answered without a network (None: not tried).
    """
    if export is None or "chosen" not in export.metrics:
        return {}
    chosen = export.metrics["chosen"]
    size = next(row["bytes"] for row in export.metrics["types"] if row["type"] == chosen) / 1e6
    figures = {"largest_file_mb": [size] * 3, "needs_offline": export.metrics.get("answers_offline")}
    if speed := (export.manifest.get("costs") or {}).get("speeds", {}).get(chosen):
        figures["largest_memory_mb"] = [speed["peak_bytes"] / 1e6] * 3
        figures["largest_latency_ms"] = [speed.get("p95_low_ms"), speed["p95_ms"], speed.get("p95_high_ms")]
    return figures


def preferred_on_dev(stage) -> dict | None:
    """`compare_paired` of 03's dev problems, SFT against DPO; None where both did not answer them."""
    names = ("dev/sft/score", "dev/dpo/score")
    if stage is None or not all(has_file(stage, f"{name}/scores.jsonl") for name in names):
        return None
    return compare_paired(*(read_scores(verified(stage, name)).passed for name in names)) | {"part": "dev"}


def reinforced(found: dict) -> dict | None:
    """`compare_paired` of what 08 started from against what it kept, on test where both were scored, else on its
    unsealed dev problems; None where nothing was trained.
    """
    stage, models = found.get("08_train_grpo"), scored(found)
    if stage is None or not stage.metrics["steps"]:
        return None
    pair = stage.metrics["grpo_from"], "grpo"
    if all(name in models for name in pair):
        passed = [read_scores(verified(models[name], f"scores/{TASK}")).passed for name in pair]
        return compare_paired(*passed) | {"part": "test"}
    change = stage.metrics["dev_change"]
    return change and change | {"part": "unsealed dev", "samples": 1}


def scored(found: dict) -> dict:
    """The stages of 04 that gave a score, by target; those of further trainings are left out."""
    names = [name for name in found if name.startswith(SCORE_STAGE) and not stage_names.repeat(name)]
    stages = {name.partition("@")[2]: found[name] for name in names}
    return {target: stage for target, stage in stages.items() if not _broken_checks(stage)}


def forgetting_of(stage) -> dict:
    """forgetting.json of a stage of 04; {} where it measured nothing."""
    return read_json(stage.file("forgetting.json")) if has_file(stage, "forgetting.json") else {}


def has_file(stage, name: str) -> bool:
    """Whether a finished stage recorded a file of this name."""
    return any(record["path"] == name for record in stage.manifest["files"])


def verified(stage, folder: str):
    """Path of a score folder, each of its files checked against its recorded hash."""
    for name in ("scores.jsonl", "protocol.json"):
        stage.file(f"{folder}/{name}")
    return stage.file(f"{folder}/metrics.json").parent


def _failed(context, found: dict) -> dict[str, str]:
    """Stages that failed, and how. What a failed gate, or the answer that prompting is enough, only skipped is left
    out.
    """
    states = context.run_state()
    failed, skipped = {}, {}
    for name in context.stages:
        state = states.get(name, {}).get("state", "")
        if name == context.name:
            continue
        if state == "skipped":
            skipped[name] = "was skipped"
        elif name not in found or state == "error":
            failed[name] = "broke off" if state == "error" else "did not run"
        elif rules := _broken_checks(found[name]):
            failed[name] = "failed its gate: " + "; ".join(rules)
    is_answered = any(stage.status == "fail" and not _broken_checks(stage) for stage in found.values())
    return failed if is_answered else failed or skipped


def _broken_checks(stage) -> list[str]:
    """The checks that failed a stage, with what was measured; that prompting is enough is an answer, not a failure."""
    return broken([check for check in stage.manifest["checks"] if check["name"] != PROMPTING])


def _rungs(found: dict, spec: dict) -> list[dict]:
    """The rungs of 00 with their score folders, and the base model's own score as the first rung: it is scored once,
    in 04.
    """
    stage = found[SPEC_STAGE]
    rungs = []
    for rung in stage.metrics["rungs"]:
        folder = f"ladder/{rung['rung']}/score"
        kept = verified(stage, folder) if has_file(stage, f"{folder}/metrics.json") else None
        rungs.append({**rung, "scores": kept})
    base = scored(found).get("base")
    if base is None:
        return rungs
    return [*rungs, rung_row("zero_shot", base.metrics["scores"][TASK], spec["target_score"])]


def _slices(found: dict) -> dict[str, list[str]]:
    """Task ids of every slice of the test problems."""
    slices: dict[str, list[str]] = {}
    for problem in test_problems(found):
        if problem.get("slice"):
            slices.setdefault(problem["slice"], []).append(problem["task_id"])
    return slices


def test_problems(found: dict) -> list[dict]:
    """The problems of the test split, [] where 01 left none."""
    stage = found.get(DATA_STAGE)
    return read_jsonl(stage.file("test_problems.jsonl")) if stage and has_file(stage, "test_problems.jsonl") else []


def completions(found: dict, target: str) -> list[dict]:
    """What a model answered to the task, [] where it was not asked."""
    stage = scored(found).get(target)
    return read_jsonl(stage.file(f"completions/{TASK}.jsonl")) if stage else []


def calls(found: dict, target: str) -> list[dict]:
    """Tokens and seconds of every call of a model on the task, the seconds of the batch shared by tokens; [] where
    unknown.
    """
    stage = scored(found).get(target)
    if stage is None or not has_file(stage, "calls.jsonl") or TASK not in stage.manifest["costs"]:
        return []
    rows, cost = read_jsonl(stage.file("calls.jsonl")), stage.manifest["costs"][TASK]
    if cost.get("resumed") and not cost["tokens"]:
        return []
    share_seconds(rows, whole_seconds(cost, sum(row["output_tokens"] for row in rows)))
    return rows
