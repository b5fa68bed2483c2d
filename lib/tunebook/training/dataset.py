"""Rows as the trainer takes them: token ids with labels, and preference pairs.

Does not read files and does not decide which rows are fit (see the data room).
"""

from __future__ import annotations

from tunebook.errors import InputProblem
from tunebook.models.templates import encode_row

IGNORED = -100


def tokenised(rows: list[dict], tokenizer, max_length: int):
    """A `datasets.Dataset` of `input_ids` and `labels` (-100 where nothing is trained), rows longer than `max_length` cut.

    Raises InputProblem when a cut leaves a row without a trained token, naming the row: such a row would teach nothing.
    """
    from datasets import Dataset

    encoded = []
    for at, row in enumerate(rows):
        ids, mask = encode_row(tokenizer, row["prompt"], row["completion"])
        ids, mask = ids[:max_length], mask[:max_length]
        if not any(mask):
            raise InputProblem(
                f"row {at}: its prompt alone fills max_length {max_length}; raise max_length or drop the row"
            )
        encoded.append({"input_ids": ids, "labels": [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]})
    if not encoded:
        raise InputProblem("there is no row to train on; look at the rejects of 01_validate_data")
    return Dataset.from_list(encoded)


def preference_pairs(rows: list[dict], samples: list[list[str]], is_right) -> list[dict]:
    """Pairs of a model's own right and wrong answers: `samples[i]` are its answers to `rows[i]`.

    `is_right(row, text)` judges one answer. A row gives one pair when it has both kinds: its most frequent right answer
    against its most frequent wrong one, ties broken by order. Conversational `prompt`, `chosen`, `rejected`.
    """
    from collections import Counter

    pairs = []
    for row, texts in zip(rows, samples, strict=True):
        right = Counter(text for text in texts if is_right(row, text))
        wrong = Counter(text for text in texts if text not in right)
        if right and wrong:
            answer = {"role": "assistant", "content": right.most_common(1)[0][0]}
            miss = {"role": "assistant", "content": wrong.most_common(1)[0][0]}
            pairs.append({"prompt": row["prompt"], "chosen": [answer], "rejected": [miss]})
    return pairs


def pair_dataset(pairs: list[dict]):
    """A `datasets.Dataset` of conversational pairs for DPOTrainer."""
    from datasets import Dataset

    return Dataset.from_list(pairs)
