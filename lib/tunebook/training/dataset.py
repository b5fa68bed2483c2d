"""Rows as the trainers take them: token ids with labels, and preferences.

Does not read files and does not decide which rows are fit (see the data room).
"""

from __future__ import annotations

from tunebook.data.row_types import demonstrations
from tunebook.errors import InputProblem
from tunebook.models.templates import encode_row, render_turns

IGNORED = -100


def tokenised(rows: list[dict], tokenizer, max_length: int):
    """A `datasets.Dataset` of `input_ids` and `labels` (-100 where nothing is trained), rows longer than `max_length`
    cut; KTO's bad answers are left out.

    Raises InputProblem when a cut leaves a row without a trained token, naming the row: such a row would teach nothing.
    """
    from datasets import Dataset

    encoded = []
    for at, row in enumerate(demonstrations(rows)):
        ids, mask = encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools"))
        ids, mask = ids[:max_length], mask[:max_length]
        if not any(mask):
            raise InputProblem(
                f"row {at}: its prompt alone fills max_length {max_length}; raise max_length or drop the row"
            )
        encoded.append({"input_ids": ids, "labels": [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]})
    if not encoded:
        raise InputProblem("there is no row to train on; look at the rejects of 01_validate_data")
    return Dataset.from_list(encoded)


def sft_rows(rows: list[dict]) -> tuple[list[dict], str]:
    """The canonical rows that supervised training may imitate, and in one line what of preference rows it takes (""
    without any).

    >>> sft_rows([{"label": True}, {"label": False}])[1]
    '1 of 2 labelled rows are wrong answers: they are not imitated here, 03 trains them with preference: kto'
    """
    kept = demonstrations(rows)
    n_pairs, n_labels = sum("rejected" in row for row in rows), sum(isinstance(row.get("label"), bool) for row in rows)
    lines = (
        [f"{n_pairs} rows are preference pairs: here their chosen answers are imitated, 03 trains the preference"]
        if n_pairs
        else []
    )
    if n_labels:
        lines.append(
            f"{len(rows) - len(kept)} of {n_labels} labelled rows are wrong answers: they are not imitated here, "
            "03 trains them with preference: kto"
        )
    return kept, "; ".join(lines)


def preference_dataset(rows: list[dict]):
    """A `datasets.Dataset` of conversational pairs for DPOTrainer, or labelled answers for KTOTrainer; `tools`
    travel as text, and arguments of calls whose type differs between rows as JSON.
    """
    import json

    from datasets import Dataset

    plain = [row | {"tools": json.dumps(row["tools"])} if row.get("tools") else row for row in rows]
    return Dataset.from_list(plain, on_mixed_types="use_json")


def use_own_tokens(trainer, rows: list[dict]) -> None:
    """Gives a DPO or KTO trainer the answers of its `rows` as SFT trains them and the model writes them: after the
    prompt that it is asked, up to the token that ends the turn (see `encode_row`).

    TRL's own tokens end as the template ends, which may be past that token, or before it.
    """
    from datasets import Dataset

    limit, made = trainer.args.max_length, []
    for row in rows:
        start = render_turns(trainer.processing_class, row["prompt"], row.get("tools"), opens=True)
        found = {"prompt_ids": start} | {key: row[key] for key in ("label",) if key in row}
        for key in row.keys() & {"chosen", "rejected", "completion"}:
            ids, _ = encode_row(trainer.processing_class, row["prompt"], row[key], row.get("tools"))
            found[f"{key}_ids"] = ids[len(start) :]
        made += [found] if len(start) < limit else []
    if "KL_completion_ids" in trainer.train_dataset.column_names:  # each answer beside a neighbour's prompt, as in TRL
        size = trainer.args.per_device_train_batch_size
        for first in range(0, len(made), size):
            batch = [row["completion_ids"] for row in made[first : first + size]]
            for row, other in zip(made[first:], batch[-1:] + batch[:-1], strict=False):
                row["KL_completion_ids"] = other
    trainer.train_dataset = Dataset.from_list(made)
