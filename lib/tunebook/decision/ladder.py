"""The ladder without training: what instruction, examples, a larger model or a hosted one reach on the same problems.

Uses the same completion and score path as every other score. Does not decide.
"""

from __future__ import annotations

import time

from tunebook.data.splits import pick
from tunebook.decision.economics import Prices, share_seconds, whole_seconds
from tunebook.decision.measures import rung_row
from tunebook.errors import InputProblem
from tunebook.evaluation import completions, prompts
from tunebook.evaluation.measure import measure, settings
from tunebook.evaluation.score import score
from tunebook.models.device import choose_placement, this_machine
from tunebook.models.engine import Decoding
from tunebook.models.loading import open_engine
from tunebook.models.source import resolve_model

# few_shot shows fixed examples, retrieved the nearest ones; larger and hosted are other systems.
RUNGS = ("instruction", "few_shot", "retrieved", "larger", "hosted")


def examples_from(rows: list[dict]) -> list[dict]:
    """Worked examples as the prompt room takes them: `prompt` and `completion` as text, from canonical rows."""
    return [
        {"prompt": _unwrapped(row["prompt"][-1]["content"]), "completion": row["completion"][-1]["content"]}
        for row in rows
    ]


def fixed_examples(rows: list[dict], params: dict) -> list[dict]:
    """The worked examples that are the same for every problem: `few_shot` of the rows, chosen by `seed`; none where it is 0."""
    n = params["few_shot"]
    return examples_from(pick(rows, n, params["seed"], lambda row: str(row["prompt"]))) if n else []


def _unwrapped(text: str) -> str:
    """A code row asks in the words of the benchmark's prompt; those are put around it once more when it is shown."""
    head, tail = f"{prompts.CODE_INSTRUCTION}\n\n```python\n", "\n```"
    return text[len(head) : -len(tail)] if text.startswith(head) and text.endswith(tail) else text


def nearest_examples(rows: list[dict], problems, k: int) -> dict[str, list[dict]]:
    """For every problem the `k` rows whose prompts are most like it (cosine of tf-idf over letters), the nearest one last.

    `rows` are training rows only: the caller's split keeps test answers out.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    examples = examples_from(rows)
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = vectors.fit_transform([example["prompt"] for example in examples])
    likeness = (vectors.transform([problem["prompt"] for problem in problems.problems]) @ known.T).toarray()
    order = likeness.argsort(axis=1, kind="stable")[:, -k:]
    return {
        problem["task_id"]: [examples[at] for at in near]
        for problem, near in zip(problems.problems, order, strict=True)
    }


def check_rungs(names: list[str], params: dict, has_instruction: bool, n_rows: int) -> list[str]:
    """The rungs to score: those named, and `larger` and `hosted` where a model or a file is given. InputProblem where one of them
    lacks what it needs; found before any model is loaded."""
    for name in names:
        if name not in RUNGS:
            raise InputProblem(f"ladder: {name!r} is no rung; choose from {', '.join(RUNGS)}")
    wanted = [name for name in RUNGS if name in names]
    for name, parameter in (("larger", "larger_model"), ("hosted", "hosted_completions")):
        if name in wanted and not params[parameter]:
            raise InputProblem(f"ladder: {name} needs {parameter}; name it, or leave the rung out")
        if params[parameter] and name not in wanted:
            wanted.append(name)
    if "instruction" in wanted and not has_instruction:
        raise InputProblem("ladder: this task has no instruction; set instruction, leave the rung out, or use few_shot")
    if ("few_shot" in wanted or "retrieved" in wanted) and not (params["few_shot"] and n_rows):
        raise InputProblem("ladder: few_shot needs examples; raise few_shot above 0, or leave the rung out")
    return wanted


def climb(wanted: list[str], engine, problems, rows: list[dict], instruction: str, context) -> tuple[list[dict], dict]:
    """Scores the rungs `wanted` (see `check_rungs`). Returns their rows, and the calls of each by its name.

    `rows` are the training rows that examples come from. The larger model is loaded after the others and shown fixed examples.
    """
    params, found, calls = context.params, [], {}
    fixed = fixed_examples(rows, params)
    for rung in wanted:
        if rung == "hosted":
            row, calls[rung] = score_hosted(params["hosted_completions"], problems, context, engine.tokenizer)
        elif rung == "larger":
            row, calls[rung] = score_rung(rung, _larger(engine, context), problems, context, instruction, fixed)
        else:
            shown = {"few_shot": fixed, "instruction": ()}.get(rung)
            shown = nearest_examples(rows, problems, params["few_shot"]) if shown is None else shown
            row, calls[rung] = score_rung(rung, engine, problems, context, instruction, shown)
        found.append(row)
    return found, calls


def _larger(engine, context):
    """The larger local model that the study names, on the same device and in the same conversation form."""
    params = context.params
    source = resolve_model(params["larger_model"], params["larger_model_revision"])
    context.external(source.name, source.revision, source.sha256)
    return open_engine(source, choose_placement(this_machine()), params["chat_template"], engine.slots)


def score_rung(rung: str, engine, problems, context, instruction: str = "", examples=()) -> tuple[dict, list[dict]]:
    """Scores one rung on all problems; the folder is `ladder/RUNG` of the stage. Returns the row of `describe`, and every call with
    its tokens and its share of the seconds.

    `examples` are rows of `examples_from`, or of `nearest_examples`. The instruction and examples are never shown together.
    """
    params, folder = context.params, context.folder / "ladder" / rung
    fixed = {"prompt_style": "few_shot", "instruction": ""} if examples else {"instruction": instruction}
    fields = settings("task", params) | {"prompt_style": "chat"} | fixed  # else a rung is asked as the score in 04 is
    done = measure(engine, problems, folder, context, examples, **fields)
    protocol, calls = done["protocol"], []
    by_task = {problem["task_id"]: problem for problem in problems.problems}
    for row in done["rows"]:
        problem = by_task[row["task_id"]]
        shown = examples[problem["task_id"]] if isinstance(examples, dict) else examples
        asked = prompts.messages(problem, protocol.prompt_style, protocol.instruction, shown)
        calls.append({"input_tokens": len(engine.encode(asked)), "output_tokens": row["n_tokens"]})
    share_seconds(calls, whole_seconds(done["cost"], sum(call["output_tokens"] for call in calls)))
    started = time.perf_counter()
    list(engine.generate([engine.encode(asked)], Decoding(protocol.max_new_tokens)))
    calls[0]["latency"] = time.perf_counter() - started
    return rung_row(rung, done["metrics"], params["target_score"]), calls


def score_hosted(path: str, problems, context, tokenizer) -> tuple[dict, list[dict]]:
    """The rung of a hosted model from a completions file that the user brings; it is judged like every other.

    Tokens are counted with the base model's tokenizer, so a price from them is an estimate; seconds are not known (0).
    """
    rows = completions.read_completions(path, problems)
    consent = context.params["allow_unisolated"]
    found = score(problems, rows, context.folder / "ladder" / "hosted" / "score", None, allow_unisolated=consent)
    texts = {problem["task_id"]: problem["prompt"] for problem in problems.problems}
    calls = [
        {
            "input_tokens": len(tokenizer(texts[row["task_id"]])["input_ids"]),
            "output_tokens": len(tokenizer(row["completion"])["input_ids"]),
            "seconds": 0.0,
        }
        for row in rows
    ]
    return rung_row("hosted", found, context.params["target_score"]), calls


def rung_cost(rung: str, calls: list[dict], prices: Prices) -> dict:
    """Price and latency of a rung, means a call: tokens, machine seconds (in a full batch), the seconds of one call alone, and money a
    thousand calls where the price that it needs is given."""
    means = {key: sum(call[key] for call in calls) / len(calls) for key in ("input_tokens", "output_tokens", "seconds")}
    if rung == "hosted":
        priced = bool(prices.price_hosted_input or prices.price_hosted_output)
        money = (
            means["input_tokens"] * prices.price_hosted_input + means["output_tokens"] * prices.price_hosted_output
        ) / 1e6
    else:
        priced = bool(prices.price_machine_hour)
        money = means["seconds"] / 3600 * prices.price_machine_hour / prices.utilisation
    shown = {key: round(value, 4) for key, value in means.items()}
    shown["seconds_alone"] = round(calls[0]["latency"], 3) if "latency" in calls[0] else "not known"
    return {"rung": rung, **shown, "money_per_1000_calls": round(1000 * money, 6) if priced else "no price given"}
