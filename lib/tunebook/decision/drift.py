"""After shipping: have the inputs moved, does the file still give its recorded score, and is it time to train again?

Reads a finished run and new inputs; changes neither. Rules come from the run's frozen specification.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tunebook.data.splits import prompt_text
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.completions import complete
from tunebook.evaluation.prompts import fixed_examples
from tunebook.evaluation.protocol import from_dict
from tunebook.evaluation.score import score
from tunebook.evaluation.score_folder import read_scores
from tunebook.files import read_json, read_jsonl
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import record
from tunebook.pipeline.context import Upstream
from tunebook.pipeline.stages import ADAPTERS
from tunebook.statistics.compare import GO, NO_GO, compare_paired
from tunebook.statistics.domains import separate

TEXT_KEYS = ("prompt", "messages", "input", "question", "text")
UPGRADE = (
    "a new base model or new prices: before anything is trained, `tunebook upgrade RUN --model NEW` scores the new base"
    " under the frozen specification, paired with what ships: keep, retrain or retire"
)


def read_run(folder: Path) -> dict[str, Upstream]:
    """The finished stages of a run, by name, each manifest checked."""
    states = record.load_record(folder)["states"]
    done = [name for name, state in states.items() if state["state"] in record.FINISHED]
    return {name: Upstream(folder / name, manifests.read_manifest(folder / name)) for name in done}


def read_inputs(path: Path) -> list[str]:
    """The texts of new inputs from JSON lines: a string a line, or an object with prompt, messages, input, question or
    text.

    Of a conversation, what the user said. InputProblem names the line of the first row that has none of them.
    """
    texts = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputProblem(
            f"{path} cannot be read as UTF-8 JSON lines ({type(problem).__name__}): give a .jsonl file"
        ) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            texts.append(_text_of(line, f"{path}, line {number}"))
    if not texts:
        raise InputProblem(f"{path} has no inputs: write one a line")
    return texts


def _text_of(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise InputProblem(f"{where}: not JSON: write one string or one object a line") from None
    value = next((row[key] for key in TEXT_KEYS if row.get(key)), None) if isinstance(row, dict) else row
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict) and turn.get("role") == "user"]
        value = "\n".join(str(turn.get("content", "")) for turn in turns)
    if not isinstance(value, str) or not value.strip():
        raise InputProblem(f"{where}: no text of an input: name it {', '.join(TEXT_KEYS)}")
    return value


def input_drift(found: dict[str, Upstream], texts: list[str], limit: float, seed: int) -> dict:
    """`separate` of the training prompts and the new inputs; `moved` where even the lower end of the AUC is above
    `limit`.
    """
    if "01_validate_data" not in found:
        raise InputProblem(
            "the run has no 01_validate_data, so its training prompts are not known: give a run that trained"
        )
    rows = read_jsonl(found["01_validate_data"].file("train.jsonl"))
    result = separate([prompt_text(row) for row in rows if row.get("prompt")], texts, seed)
    return {**result, "limit": limit, "moved": result["interval"][0] > limit}


def canary(found: dict[str, Upstream], make_engine, allow_unisolated: bool = False, on_progress=None) -> dict:
    """The frozen benchmark once more on the file that ships, under the recorded protocol, against the recorded score,
    paired.

    `make_engine(target, found)` opens the model. `worse` where the exact McNemar test shows a loss at 0.05.
    InputProblem where the run scored no trained model.
    """
    names = [name for name in found if name.startswith("04_") and "+" not in name]
    scored = [name.partition("@")[2] for name in names if not name.endswith("@base")]
    if not scored:
        raise InputProblem("the run scored no trained model, so there is nothing to watch: run 04@sft or 04@gguf first")
    verdict = found.get("06_verdict")
    shipped = verdict.metrics["shipped"] if verdict else "gguf"
    target = shipped if shipped in scored else scored[-1]
    stage = found[f"04_evaluate_pass_at_1@{target}"]
    for name in ("scores.jsonl", "metrics.json"):
        stage.file(f"scores/task/{name}")
    recorded = read_scores(stage.path / "scores" / "task")
    protocol = from_dict(read_json(stage.file("scores/task/protocol.json")))
    problems = from_problems("task", read_jsonl(found["01_validate_data"].file("test_problems.jsonl")))
    engine = make_engine(target, found)
    with tempfile.TemporaryDirectory(prefix="tunebook-canary-") as name:
        examples = _examples(found, stage.manifest["params"]) if protocol.prompt_style == "few_shot" else ()
        done = complete(engine, problems, protocol, Path(name) / "completions.jsonl", examples, on_progress)
        score(problems, done["rows"], Path(name) / "score", done["protocol"], allow_unisolated=allow_unisolated)
        result = compare_paired(recorded.passed, read_scores(Path(name) / "score").passed)
    return {"target": target, **result, "worse": result["verdict"] == NO_GO, "better": result["verdict"] == GO}


def _examples(found: dict[str, Upstream], params: dict) -> list[dict]:
    """The worked examples that 04 showed."""
    rows = read_jsonl(found["01_validate_data"].file("train.jsonl"))
    return fixed_examples([row for row in rows if row["prompt"]], params["few_shot"], params["seed"])


def open_shipped(target: str, found: dict[str, Upstream]):
    """The engine of the file that ships, opened as 04 opened it; without a file, the base model with the adapter that
    was scored last.
    """
    from tunebook.models.device import choose_placement, this_machine
    from tunebook.models.gguf_engine import GgufModel
    from tunebook.models.loading import open_engine
    from tunebook.models.source import resolve_model

    params = found[f"04_evaluate_pass_at_1@{target}"].manifest["params"]
    if target == "gguf":
        export = found["05_export_gguf"]
        return GgufModel(export.file(export.metrics["chosen_file"]), params["slots"])
    adapter = found[ADAPTERS[target]].folder("adapter")
    source = resolve_model(params["model"], params["model_revision"])
    spoken = {key: params[key] for key in ("end_of_turn", "thinking") if key in params}
    placement = choose_placement(this_machine())
    return open_engine(source, placement, params["chat_template"], params["slots"], adapter, **spoken)


def advise(
    found: dict[str, Upstream], drift: dict | None, watched: dict | None, now: datetime | None = None
) -> list[dict]:
    """What to do, by the rules of the frozen specification: rows `rule, holds, advice`; a rule that was not looked
    at has None.
    """
    first = found.get("00_should_we_fine_tune")
    spec = read_json(first.file("spec.json"))["spec"] if first else {}
    months = spec.get("retrain_months", 0.0)
    trained = next((found[name] for name in ("03_train_dpo", "02_train_sft") if name in found), None)
    age = None
    if trained and months:
        made = datetime.fromisoformat(trained.manifest["timing"]["started_at"])
        age = ((now or datetime.now(UTC)) - made).days / 30.44
    return [
        {
            "rule": "the file gives its recorded score (exact McNemar, 0.05)",
            "holds": None if watched is None else not watched["worse"],
            "advice": (
                "take the file back: it, its runtime or its prompt has changed; run the study again where that is"
                " wanted"
            ),
        },
        {
            "rule": (
                f"the new inputs look like the training prompts (AUC, lower end at most {drift['limit']:g})"
                if drift
                else "the new inputs look like the training prompts"
            ),
            "holds": None if drift is None else not drift["moved"],
            "advice": (
                "judge a sample of the new inputs by hand, add them to rows and benchmark as a new run, and train again"
                " if the score fell"
            ),
        },
        {
            "rule": (
                f"trained less than {months:g} months ago"
                if months
                else "trained recently enough (retrain_months was not said)"
            ),
            "holds": None if age is None else age <= months,
            "advice": f"training is due by the specification: {spec.get('retraining') or 'nobody was named for it'}",
        },
    ]
