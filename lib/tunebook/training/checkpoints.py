"""Which point of a training is kept: what it learned on dev against what it forgot. Test is not opened here.

Source: Shenfeld, Pari and Agrawal 2025, RL's Razor: the distance from base on the new task predicts what is forgotten elsewhere.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import TrainerCallback

from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.forgetting import bits_per_byte, measure_kept
from tunebook.evaluation.measure import choice_settings, measure
from tunebook.models.device import Placement
from tunebook.models.engine import TransformersEngine
from tunebook.models.loading import free_memory, load_model
from tunebook.models.source import ModelSource
from tunebook.training.settings import save_adapter


class KeepAdapters(TrainerCallback):
    """Saves the adapter `n` times at even distances, the last time at the end; `folders` maps the step to its folder."""

    def __init__(self, n: int, folder: Path, source: ModelSource):
        self.n, self.folder, self.source = n, folder, source
        self.folders: dict[int, Path] = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step in {round(state.max_steps * part / self.n) for part in range(1, self.n + 1)}:
            place = self.folder / f"step-{state.global_step}"
            save_adapter(model, place, self.source)
            self.folders[state.global_step] = place


def keep_best(
    source: ModelSource, placement: Placement, folders: dict[int, Path], tokenizer, dev: list[dict], context
) -> tuple[list[dict], int]:
    """Compares the checkpoints on the problems `dev` and copies the best one over `adapter/` of the stage; their rows, and the step
    of the one that is kept."""
    problems = from_problems("dev", dev, source="dev_problems.jsonl")
    rows = compare_checkpoints(source, placement, folders, tokenizer, problems, context)
    kept, reason = choose_checkpoint(rows, context.params["largest_bits_rise"])
    shutil.copytree(folders[kept["step"]], context.folder / "adapter", dirs_exist_ok=True)
    context.check("checkpoint", f"step {kept['step']}", reason, True, severity="info")
    return rows, kept["step"]


def compare_checkpoints(
    source: ModelSource, placement: Placement, folders: dict[int, Path], tokenizer, problems, context
) -> list[dict]:
    """A row a checkpoint: `step`, `k`, `n` on `problems`, `bits_per_byte` of general text, its `rise` over base in percent, and the
    distance `kl` from base on the task's prompts in nats a token. Takes the protocol, `slots`, `general_documents` (0: no text is
    read) and `seed` from the stage's parameters.
    """
    params = context.params
    told = problems, params["general_documents"], params["seed"]
    base = TransformersEngine(load_model(source, placement), tokenizer, params["slots"])
    before = bits_per_byte(measure_kept(base, None, *told, context.folder / "checkpoints" / "base.json"))
    rows = []
    for step, adapter in folders.items():
        engine = TransformersEngine(load_model(source, placement, adapter), tokenizer, params["slots"])
        folder = context.folder / "checkpoints" / f"step-{step}"
        found = measure(engine, problems, folder, context, **choice_settings(params))["metrics"]
        kept = measure_kept(engine, base, *told, folder / "forgetting.json")
        bits = bits_per_byte(kept)
        del engine
        free_memory()
        rows.append(
            {
                "step": step,
                "k": found["k"],
                "n": found["n"],
                "bits_per_byte": None if bits is None else round(bits, 4),
                "rise": None if bits is None else round(100 * (bits / before - 1), 2),
                "kl": kept["kl"]["nats_per_token"] if bits is not None else None,
            }
        )
    return rows


def choose_checkpoint(rows: list[dict], largest_rise: float) -> tuple[dict, str]:
    """The row that is kept, and why; every row gets `on_front`: no other solves as much and forgets less.

    Of the front, those whose rise is within `largest_rise` percent compete; the one that solves most dev problems is kept, at equal
    scores the one nearer to base. Where none is within, the last one is kept.

    >>> rows = [{"step": s, "k": k, "rise": r, "kl": r / 10} for s, k, r in ((1, 5, 1.0), (2, 9, 4.0), (3, 9, 8.0))]
    >>> choose_checkpoint(rows, 10.0)[0]["step"], [row["on_front"] for row in rows]
    (2, [True, True, False])
    """
    for row in rows:
        row["on_front"] = not any(_is_worse(row, other) for other in rows)
    meets = [row for row in rows if row["on_front"] and (row["rise"] or 0.0) <= largest_rise]
    limit = f"{largest_rise:g}% more bits for general text"
    if not meets:
        return rows[-1], f"no checkpoint stays within {limit}, so the last one is kept"
    kept = max(meets, key=lambda row: (row["k"], -(row["kl"] or 0.0), -row["step"]))
    return kept, f"solves most on dev among those on the front that need at most {limit}"


def _is_worse(row: dict, other: dict) -> bool:
    """Whether `other` is at least as good in both and better in one."""
    pair, rival = ((one["k"], -(one["rise"] or 0.0)) for one in (row, other))
    return rival[0] >= pair[0] and rival[1] >= pair[1] and rival != pair


RULE = "dpo when it solves more dev problems than sft, else sft"


def keep_better(
    source: ModelSource, placement: Placement, adapters: dict[str, Path], tokenizer, problems, context, *, slots: int
) -> dict:
    """Scores every adapter on `problems` (None: no dev part, so the first adapter is kept) and copies the better to `chosen/`.

    `adapters` are in order of preference at equal scores. Returns `kept`, `rule`, and `rows` of `adapter, k, n`.
    """
    rows = []
    for name, adapter in adapters.items() if problems else ():
        engine = TransformersEngine(load_model(source, placement, adapter), tokenizer, slots)
        folder = context.folder / "dev" / name
        found = measure(engine, problems, folder, context, **choice_settings(context.params))["metrics"]
        del engine
        free_memory()
        rows.append({"adapter": name, "k": found["k"], "n": found["n"]})
    kept = max(rows, key=lambda row: row["k"])["adapter"] if rows else next(iter(adapters))
    shutil.copytree(adapters[kept], context.folder / "chosen")
    return {
        "kept": kept,
        "rule": RULE if rows else "no dev part, so the adapter of the demonstrations is kept",
        "rows": rows,
    }
