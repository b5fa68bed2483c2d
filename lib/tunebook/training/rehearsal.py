"""Texts and answers of the base model's own, trained beside the rows so that less is forgotten. No corpus is needed.

Texts hold what base knows; answers to general prompts hold that a chat is not always about the task. The loss on what
base draws at temperature 1 is, up to a constant, an estimate of KL(base || model) there. Source: Huang et al. 2024,
Mitigating catastrophic forgetting in large language models with self-synthesized rehearsal.
"""

from __future__ import annotations

import random

from tunebook.models.engine import Decoding
from tunebook.models.loading import BaseModel
from tunebook.models.templates import ends_of, render_prompt, start_id
from tunebook.training.dataset import IGNORED


def own_texts(base: BaseModel, n: int, prompts: list[dict], tokens: int, seed: int, context) -> list[dict]:
    """`n` rows of `input_ids` and `labels` in mixed order: what base writes after its start token alone, all trained,
    and what it answers to each of `prompts` (a row's `prompt`), where only the answer is.

    Texts and answers have at most `tokens` tokens; an answer that ends has the token that closes the turn. One that
    ends at once is left out. The same seed gives the same rows.
    """
    if not n:
        return []
    ends_of(base.tokenizer)
    end, start = base.tokenizer.turn_end, start_id(base.tokenizer)
    asked = [render_prompt(base.tokenizer, row["prompt"]) for row in prompts]
    asked += [[start]] * (n - len(asked))
    found: list[list[int]] = [[]] * n
    with base.engine() as engine:
        for at, done in enumerate(engine.generate(asked, Decoding(tokens, temperature=1.0, seed=seed))):
            is_closed = done.index < len(prompts) and done.finish_reason == "stop" and end is not None
            found[done.index] = done.ids + ([end] if done.ids and is_closed else [])
            context.progress(at + 1, n, "texts of base's own")
    pairs = [(given, ids) for given, ids in zip(asked, found, strict=True) if ids]
    rows = [{"input_ids": [*given, *ids], "labels": [IGNORED] * len(given) + ids} for given, ids in pairs]
    return random.Random(seed).sample(rows, len(rows))


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
