"""One measurement, from a model to its score: completions under a protocol, judged, in a folder of a stage.

The prompting ladder, choices on dev and notebook 04 all measure through `measure`. Does not choose a protocol and does not decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation import tables
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.complete import complete
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.score import score

# what a variant of a protocol may change, and how its text is read; the rest follows from the model and the benchmark
VARIABLE = {
    "prompt_style": str, "instruction": str, "thinking": str,
    "max_new_tokens": int, "temperature": float, "top_p": float, "n_samples": int, "seed": int,
}  # fmt: skip


def measure(
    engine,
    problems: Benchmark,
    folder: Path,
    context,
    examples: Sequence[dict] = (),
    places: tuple[str, str] = ("completions.jsonl", "score"),
    **fields,
) -> dict:
    """Completions and score of `problems`, at `places` in `folder`; `fields` are those of the Protocol.

    `examples` are shown only in the style few_shot. A stage that was killed goes on where it stood. Returns `metrics`, `rows` (the
    completions), `protocol`, and `cost`: seconds, tokens, tokens_per_second and completions `resumed` from a killed try.
    """
    fields = {"seed": context.params["seed"], **fields}
    protocol = Protocol(problems.sha256, **{**fields, "stops": tuple(fields.get("stops", ()))})
    shown = examples if protocol.prompt_style == "few_shot" else ()
    done = complete(
        engine, problems, protocol, folder / places[0], shown, context.progress, resume=context.resume_folder
    )
    consent = context.params["allow_unisolated"]
    metrics = score(problems, done["rows"], folder / places[1], done["protocol"], allow_unisolated=consent)
    cost = {key: done[key] for key in ("seconds", "tokens", "resumed")}
    cost["tokens_per_second"] = done["tokens"] / done["seconds"]
    return {"metrics": metrics, "rows": done["rows"], "protocol": done["protocol"], "cost": cost}


def settings(name: str, params: dict) -> dict:
    """The protocol fields by which a stage's parameters ask the benchmark called `name`.

    The task's instruction and examples are no help for a retained benchmark: that is asked without them.
    """
    is_task, style = name == "task", params["prompt_style"]
    return {
        "prompt_style": style if is_task or style != "few_shot" else "chat",
        "instruction": params["instruction"] if is_task else "",
        "max_new_tokens": params["max_new_tokens" if is_task else "retained_max_new_tokens"],
        **{key: params[key] for key in ("thinking", "temperature", "top_p", "n_samples")},
    }


def choice_settings(params: dict) -> dict:
    """The protocol fields of a choice on dev: those of the study's score, greedy, one sample a problem, without examples."""
    style = params["prompt_style"]
    kept = {key: params[key] for key in ("instruction", "thinking", "max_new_tokens")}
    return {"prompt_style": "chat" if style == "few_shot" else style, **kept}


def protocol_table(
    engine, benchmarks: dict[str, Benchmark], context, variants: Sequence[str], examples: Sequence[dict], limit: int
) -> list[dict]:
    """Scores of one model under its usual protocol and under each of `variants`, on the first `limit` problems (0: all).

    A variant names the fields that it changes: "prompt_style=raw" or "thinking=on; max_new_tokens=2048". Returns a row a benchmark and protocol: the fields that
    vary and pass@1 with its interval. Nothing is chosen by it: a choice made here would be made on test.
    """
    changes = [{}, *map(read_variant, variants)]
    rows = []
    for name, problems in benchmarks.items() if variants else ():
        found = []
        for at, variant in enumerate(changes):
            if name != "task" and variant.get("prompt_style") == "few_shot":
                continue  # the task's examples are none for another benchmark
            folder = context.folder / "sensitivity" / name / str(at)
            fields = {**settings(name, context.params), **variant}
            done = measure(engine, problems.first(limit), folder, context, examples, **fields)
            found.append((done["protocol"].to_dict(), done["metrics"]))
        rows += [{"benchmark": name, **row} for row in tables.sensitivity(found)]
    return rows


def read_variant(text: str) -> dict:
    """Protocol fields from "field=value; field=value". InputProblem for a field that cannot vary or a value of another type.

    >>> read_variant("prompt_style=raw; max_new_tokens=64")
    {'prompt_style': 'raw', 'max_new_tokens': 64}
    """
    fields = {}
    for part in text.split(";"):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if key not in VARIABLE or not equals:
            raise InputProblem(f"sensitivity: {text!r}: write field=value, with one of {', '.join(VARIABLE)}")
        try:
            fields[key] = VARIABLE[key](value)
        except ValueError:
            raise InputProblem(
                f"sensitivity: {text!r}: {key} must be {VARIABLE[key].__name__}, found {value!r}"
            ) from None
    return fields
