"""The task's specification: frozen and hashed before training, judged against afterwards.

Does not measure and does not decide.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.evaluation.forgetting import BITS, NOTHING
from tunebook.files import hash_json, read_json, sha256_file, write_json
from tunebook.pipeline.record import FROZEN

NEEDED = ("input", "output", "users", "metric", "wrong_answer_cost", "stability")
# What it takes to run the model for long: asked for by name, never a reason not to train.
READINESS = ("owner", "monitoring", "retraining", "latency", "privacy", "calls_per_day", "retrain_months")
QUESTIONS = {
    "input": "what goes in?",
    "output": "what comes out?",
    "users": "who uses it?",
    "metric": "by which number is it judged?",
    "wrong_answer_cost": "what does a wrong answer cost?",
    "stability": "how long does the task stay as it is?",
    "owner": "who answers for it after it ships?",
    "monitoring": "who looks at new inputs, and how often?",
    "retraining": "who can train again, and on what?",
    "latency": "how long may an answer take?",
    "privacy": "may the text leave the machine?",
    "calls_per_day": "how many calls a day?",
    "retrain_months": "after how many months is it trained again?",
}
VAGUE = tuple(
    "todo|tbd|n/a|na|none|none yet|nothing|unknown|not known|to be decided|to be defined|later|various|depends|it"
    " depends|0|x|xxx|idk|i don't know|don't know|not sure|unsure|no idea".split("|")
)
THRESHOLDS = (
    "smallest_gain expected_gain largest_loss largest_bits_rise gated target_score calls_per_day stable_months"
    " retrain_months budget largest_latency_ms largest_memory_mb largest_file_mb needs_offline"
).split()
# How it is measured decides too: another ladder, another benchmark or another protocol gives another verdict.
MEASURED_BY = (
    "benchmark benchmark_limit n_test seed retained retained_limit retained_max_new_tokens general_documents ladder"
    " few_shot search_share larger_model larger_model_revision"
    " hosted_completions hosted_url hosted_model hosted_max_tokens"
    " prompt_style instruction thinking max_new_tokens temperature top_p"
    " n_samples answer_reading code_block cpu_seconds leave_out unfinished_limit audit_problems"
).split()
FEWEST_WORDS = 4
# What the shipped file may need at most, 0 for no limit: parameter, unit, and the figure of `Evidence.file` that is
# judged.
LIMITS = {"largest_latency_ms": "ms", "largest_memory_mb": "MB", "largest_file_mb": "MB"}


def spec_from(params: dict, task=None, problems=None, overrides: dict | None = None) -> dict:
    """The specification of a study: the fields of the shipped `task` (its module, None for the user's rows) under
    the study's `spec_*` parameters, the thresholds, `own_study` where the rows or the benchmark are the user's, and
    under `measured_by` how it is measured: parameters, `overrides` of stages of 04, and hashes of the test problems
    (a Benchmark), of the retained benchmarks and of the hosted answers, since a file may change under its name.
    """
    given = {name.removeprefix("spec_"): value for name, value in params.items() if name.startswith("spec_")}
    given = {name: value for name, value in given.items() if value not in ("", [])}
    shipped = task.spec if task else {"metric": "pass@1"}
    spec = build_spec(shipped, given, {name: params[name] for name in THRESHOLDS if name in params})
    measured_by = {name: params[name] for name in MEASURED_BY if name in params}
    if found := measuring(overrides or {}):
        measured_by["overrides"] = found
    if params.get("rows") or params.get("benchmark"):
        spec |= {"own_study": True}
    if problems is not None:
        hashes = {"task": problems.sha256} | {name: load_benchmark(name).sha256 for name in params["retained"]}
        if params.get("hosted_completions"):
            hashes["hosted_completions"] = sha256_file(Path(params["hosted_completions"]))
        measured_by["sha256"] = hashes
    return spec | {"measured_by": measured_by}


def measuring(overrides: dict) -> dict:
    """Of a study's overrides those that change how stages of 04 measure."""
    found = {stage: {k: v for k, v in given.items() if k in MEASURED_BY} for stage, given in overrides.items()}
    return {stage: given for stage, given in found.items() if given and stage.startswith("04")}


def require_overrides(spec: dict, context) -> None:
    """InputProblem where the run's overrides of 04 are others than those that were frozen."""
    frozen, now = spec.get("measured_by", {}).get("overrides", {}), measuring(context.overrides())
    if frozen != now:
        names = sorted(stage for stage in {*frozen, *now} if frozen.get(stage) != now.get(stage))
        raise InputProblem(
            f"the specification of run {context.run_folder.name} was frozen with other parameters of"
            f" {', '.join(names)}: a changed specification means a new run, choose another --run"
        )


def check_names(spec: dict, named: list[str], problems: list[dict], retained: list[str]) -> None:
    """InputProblem for a slice among `named` (the study's own) that no test problem has, and for a gate on something
    that is not measured: found before anything is trained.
    """
    slices = {problem.get("slice") for problem in problems} - {None, ""}
    for name in named:
        if name not in slices:
            there = f"there are {', '.join(sorted(slices))}" if slices else "they have no slices"
            raise InputProblem(f"spec_slices: no test problem is in slice {name!r}; {there}")
    measured = [BITS, *(load_benchmark(name).name for name in retained)]
    if NOTHING in spec.get("gated", []) and len(spec["gated"]) > 1:
        raise InputProblem(f"gated names {NOTHING!r} beside something: write one of the two")
    for name in spec.get("gated", []):
        if name not in (*measured, NOTHING):
            raise InputProblem(f"gated: {name!r} is not measured; there are {', '.join(measured)}")


def build_spec(shipped: dict, given: dict, thresholds: dict) -> dict:
    """The specification: the shipped task's fields, overridden by those of `given` that are not empty, plus
    `thresholds`.

    `thresholds` are the numbers that the verdict is judged by. Raises InputProblem for one that means nothing: a
    negative gain, a largest loss or rise that is not above 0, or a score outside 0 to 100.
    """
    for name in ("smallest_gain", "expected_gain", "largest_loss"):
        if thresholds.get(name, 0) > 100:
            raise InputProblem(f"{name} is {thresholds[name]}; it is in points, at most 100")
    for name in (
        "smallest_gain",
        "expected_gain",
        "calls_per_day",
        "stable_months",
        "retrain_months",
        "budget",
        *LIMITS,
    ):
        if thresholds.get(name, 0) < 0:
            raise InputProblem(f"{name} is {thresholds[name]}; write 0 (not given) or more")
    for name in ("largest_loss", "largest_bits_rise"):
        if thresholds.get(name, 1) <= 0:
            raise InputProblem(f"{name} is {thresholds[name]}; it is the most that may get worse, so above 0")
    if not 0 < thresholds.get("target_score", 100.0) <= 100:
        raise InputProblem(f"target_score is {thresholds['target_score']}; it is in points, above 0 and at most 100")
    return {**shipped, **{key: value for key, value in given.items() if value != ""}, **thresholds}


def missing_fields(spec: dict, needed: tuple = NEEDED) -> list[str]:
    """Names of the fields which nobody filled in, or filled with a word that says nothing (a number: with 0)."""
    return [name for name in needed if is_vague(spec.get(name, ""))]


def is_vague(value) -> bool:
    """Whether a field says nothing: empty, 0, or one of the words that people write for "nobody has thought about
    it".
    """
    if not isinstance(value, str):
        return not value
    text = " ".join(value.lower().split()).strip(" .!?…-")
    return text in ("", *VAGUE) or text.startswith(("todo", "tbd", "to be decided", "to be defined"))


def ask(names: list[str]) -> str:
    """The missing fields as questions, by the name of the parameter that answers them."""
    return "; ".join(f"{parameter_of(name)}: {QUESTIONS[name]}" for name in names) or "none"


def parameter_of(name: str) -> str:
    """The parameter that fills a field of the specification."""
    return name if name in THRESHOLDS else f"spec_{name}"


def freeze(spec: dict, path: Path) -> str:
    """Writes the specification with its hash, and returns the hash."""
    digest = hash_json(spec)
    write_json(path, {"spec": spec, "sha256": digest})
    return digest


def freeze_for_run(spec: dict, context) -> str:
    """`freeze` in the stage's folder, and once for the whole run: after a stage has trained or scored, another
    specification is refused, for it could have been chosen to fit the result. Raises InputProblem, whose remedy is a
    new run.
    """
    digest = hash_json(spec)
    path = context.run_folder / FROZEN
    if path.is_file() and read_json(path).get("inherited_from"):
        return freeze(inherited(spec, path), context.folder / "spec.json")
    kept = read_json(path) if path.is_file() else {"spec": {}}
    if hash_json(kept["spec"]) == kept.get("sha256") == digest:
        return freeze(spec, context.folder / "spec.json")
    if seen := sorted(folder.parent.name for folder in context.run_folder.glob("0[2-5]_*/manifest.json")):
        changed = sorted(k for k in {*spec, *kept["spec"]} if spec.get(k) != kept["spec"].get(k))
        raise InputProblem(
            f"the specification of run {context.run_folder.name} was frozen before {seen[0]} and differs now in "
            f"{', '.join(changed) or 'its record'}: a changed specification means a new run, choose another --run"
        )
    write_json(path, {"spec": spec, "sha256": digest, "frozen_at": datetime.now(UTC).isoformat(timespec="seconds")})
    return freeze(spec, context.folder / "spec.json")


def inherit(old: Path, path: Path, run: str, changed: list[str]) -> None:
    """Write the frozen specification of the run called `run` as that of another one, which may differ from it in what
    `changed` names.
    """
    spec, digest = read_frozen(old)
    more = {"frozen_at": read_json(old)["frozen_at"], "inherited_from": run, "changed": changed}
    write_json(path, {"spec": spec, "sha256": digest, **more})


def inherited(spec: dict, path: Path) -> dict:
    """The specification that a run has from another one. InputProblem where this run's own `spec` says otherwise in
    anything but what was to change; what came later than the old text is no difference.
    """
    kept, (old, _) = read_json(path), read_frozen(path)
    before, now = _flat(old), _flat(spec)
    free = {*kept["changed"], *(f"sha256 of {name}" for name in kept["changed"])}
    differs = sorted(name for name in before if name not in free and now.get(name) != before[name])
    if differs:
        raise InputProblem(
            f"the specification inherited from run {kept['inherited_from']} differs from this run's in"
            f" {', '.join(differs)}: it was judged by other problems or another text; start a new study"
        )
    return old


def _flat(spec: dict) -> dict:
    """Every field of a specification by one name; the hashes of what it is measured by have one each."""
    by = spec.get("measured_by", {})
    hashes = {f"sha256 of {name}": value for name, value in by.get("sha256", {}).items()}
    return spec | by | hashes | {"measured_by": "", "sha256": ""}


def was_frozen_first(run_folder: Path, digest: str, started_at: list[str]) -> bool | None:
    """Whether the run's specification has this hash and was frozen before every one of `started_at` (ISO times);
    None where the run has no record of it.
    """
    path = run_folder / FROZEN
    if not path.is_file():
        return None
    kept = read_json(path)
    return hash_json(kept["spec"]) == digest and all(kept["frozen_at"] <= moment for moment in started_at)


def read_frozen(path: Path) -> tuple[dict, str]:
    """The frozen specification and its hash. Raises IntegrityProblem when it was changed after it was frozen."""
    stored = read_json(path)
    if hash_json(stored["spec"]) != stored["sha256"]:
        raise IntegrityProblem(
            f"{path}: the specification was changed after it was frozen; start a new run for a new one"
        )
    return stored["spec"], stored["sha256"]


def spec_table(spec: dict) -> list[dict]:
    """The frozen specification as rows `field, value`, how it is measured at the end; a field that nobody filled in
    says so.
    """
    rows = [{"field": name, "value": _shown(value)} for name, value in spec.items() if name != "measured_by"]
    return rows + [
        {"field": f"measured by {name}", "value": _shown(value)} for name, value in spec.get("measured_by", {}).items()
    ]


def _shown(value) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {str(part)[:12]}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) or "not said"


def override_reason(text: str) -> str:
    """The written reason to go on against a gate, "" for none. InputProblem for a reason that says nothing."""
    reason = " ".join(text.split())
    if reason and (is_vague(reason) or len(reason.split()) < FEWEST_WORDS):
        raise InputProblem(f"override is {text!r}: write the reason in a sentence, it stays in the report")
    return reason
