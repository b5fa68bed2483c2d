"""Texts of the base model's own, trained beside the rows so that less is forgotten. No corpus is needed.

The loss on texts that base draws at temperature 1 is, up to a constant, an estimate of KL(base || model) on general
text. Source: Huang et al. 2024, Mitigating catastrophic forgetting in large language models with self-synthesized
rehearsal.
"""

from __future__ import annotations

import random

from tunebook.models.engine import Decoding
from tunebook.models.loading import BaseModel
from tunebook.models.templates import start_id
from tunebook.training.dataset import IGNORED


def own_texts(base: BaseModel, n: int, tokens: int, seed: int, on_progress) -> list[dict[str, list[int]]]:
    """`n` rows of `input_ids` and `labels`: at most `tokens` tokens each that base writes after its start token, all
    trained.

    A text that ends at once is left out. The same seed gives the same texts.
    """
    if not n:
        return []
    start = start_id(base.tokenizer)
    found: list[list[int]] = [[]] * n
    with base.engine() as engine:
        for at, done in enumerate(engine.generate([[start]] * n, Decoding(tokens, temperature=1.0, seed=seed))):
            found[done.index] = done.ids
            on_progress(at + 1, n, "texts of base's own")
    return [{"input_ids": [start, *ids], "labels": [IGNORED, *ids]} for ids in found if ids]


def interleave(dataset, texts: list[dict], batch_size: int, seed: int):
    """The rows in a shuffled order with batches of texts alone spread evenly among them, to be read in this order, and
    what each step then reads: "rows" or "texts". Texts that do not fill a batch are left out.

    Batches of one kind keep the loss of the task and that of general text apart.
    """
    from datasets import concatenate_datasets

    order = random.Random(seed).sample(range(len(dataset)), len(dataset))
    n_rows, n_texts = -(-len(dataset) // batch_size), len(texts) // batch_size
    kinds, places, used = [], [], 0
    for step in range(n_rows):
        kinds.append("rows")
        places += order[step * batch_size : (step + 1) * batch_size]
        while step + 1 < n_rows and used * n_rows < (step + 1) * n_texts - n_rows / 2:
            kinds.append("texts")
            places += range(len(dataset) + used * batch_size, len(dataset) + (used + 1) * batch_size)
            used += 1
    whole = (
        concatenate_datasets([dataset, type(dataset).from_list(texts, features=dataset.features)]) if texts else dataset
    )
    return whole.select(places), kinds
