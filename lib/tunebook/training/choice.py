"""Which of two adapters is kept, by their scores on dev. Test is not opened here."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunebook.evaluation.measure import choice_settings, measure
from tunebook.models.device import Placement
from tunebook.models.engine import TransformersEngine
from tunebook.models.loading import free_memory, load_model
from tunebook.models.source import ModelSource

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
