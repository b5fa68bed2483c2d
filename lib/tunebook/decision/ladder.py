"""The ladder without training: what the base model reaches by instruction and by examples alone.

Uses the same completion and score path as every other score. Does not choose examples and does not decide.
"""

from __future__ import annotations

from tunebook.errors import InputProblem
from tunebook.evaluation.measure import measure

RUNGS = ("instruction", "few_shot")


def examples_from(rows: list[dict]) -> list[dict]:
    """Worked examples as the prompt room takes them: `prompt` and `completion` as text, from canonical rows."""
    return [{"prompt": row["prompt"][-1]["content"], "completion": row["completion"][-1]["content"]} for row in rows]


def score_rung(rung: str, engine, problems, context, instruction: str = "", examples: list[dict] = ()) -> dict:
    """Scores one rung on all problems; the folder is `ladder/RUNG` of the stage.

    Returns `rung, benchmark, k, n, pass_at_1, low, high` (points), `prompt_seconds` a problem, and whether it `meets_spec`: the
    lower end of its 95% interval reaches the stage's `target_score`.
    """
    if rung not in RUNGS:
        raise InputProblem(f"ladder: {rung!r} is no rung; choose from {', '.join(RUNGS)}")
    if rung == "instruction" and not instruction:
        raise InputProblem("ladder: this task has no instruction; leave the rung out, or use few_shot")
    shown = list(examples) if rung == "few_shot" else []
    if rung == "few_shot" and not shown:
        raise InputProblem("ladder: few_shot needs examples; raise few_shot above 0, or leave the rung out")
    fields = {"prompt_style": "few_shot", "instruction": ""} if shown else {"instruction": instruction}
    fields["max_new_tokens"] = context.params["max_new_tokens"]
    found = measure(engine, problems, context.folder / "ladder" / rung, context, shown, **fields)["metrics"]
    target = context.params["target_score"]
    low, high = (100 * end for end in found["interval"])
    return {
        "rung": rung,
        "benchmark": "task",
        "k": found["k"],
        "n": found["n"],
        "pass_at_1": 100 * found["pass_at_1"],
        "low": low,
        "high": high,
        "meets_spec": low >= target,
        "rule": f"lower end of the 95% interval at least {target:g} points",
    }
