"""Answers of a model to training prompts, and the checker that labels them. Does not train."""

from __future__ import annotations

from pathlib import Path

from tunebook.models.device import Placement
from tunebook.models.engine import Decoding, TransformersEngine
from tunebook.models.loading import free_memory, load_model
from tunebook.models.source import ModelSource


def sample_answers(
    source: ModelSource,
    placement: Placement,
    adapter: Path,
    tokenizer,
    rows: list[dict],
    context,
    *,
    samples: int,
    slots: int,
    decoding: Decoding,
) -> list[list[str]]:
    """`samples` answers of the adapted model to each row's prompt, in the order of `rows`, as text without the end token."""
    engine = TransformersEngine(load_model(source, placement, adapter), tokenizer, slots)
    prompts = [engine.encode(row["prompt"]) for row in rows for _ in range(samples)]
    texts: list[str] = [""] * len(prompts)
    for at, done in enumerate(engine.generate(prompts, decoding)):
        texts[done.index] = engine.decode(done.ids)
        context.progress(at + 1, len(prompts), "answers")
    del engine
    free_memory()
    return [texts[first : first + samples] for first in range(0, len(texts), samples)]


def checker_of(task: str):
    """A function of a row and an answer that says whether the answer is right.

    A shipped task brings its own checker; for other rows ("") an answer is right when it equals the row's completion, white space
    apart, both as the extractor reads them.
    """
    from tunebook.evaluation.extraction import extract, extract_answer

    if not task:

        def is_same(row: dict, text: str) -> bool:
            problem = {"kind": "answer", "canonical_solution": row["completion"][-1]["content"]}
            read, wanted = (extract(one, problem).split() for one in (text, problem["canonical_solution"]))
            return read == wanted

        return is_same
    from tunebook import tasks

    check = tasks.load(task).check_answer

    def is_right(row: dict, text: str) -> bool:
        try:
            check(extract_answer(text), row["completion"][-1]["content"])
        except AssertionError:
            return False
        return True

    return is_right
