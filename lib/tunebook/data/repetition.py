"""Rows that repeat: exact duplicates, one question with two answers, one answer for everything.

Compares by hashes of the text, so time grows linearly. Near duplicates are in `near`.
"""

import collections

import numpy as np

from tunebook.data.examples import Examples, exact_hash
from tunebook.data.near import has_few_changes
from tunebook.data.splits import normalise

CONSTANT_SHARE_MIXED = 0.5  # of rows, where other answers repeat but are more than a few labels
MAX_LABELS = 10
CONSTANT_SHARE_LABELS = 0.97  # of rows, where answers are a few labels: a rare class is a fair task
MIN_CONSTANT_ROWS = 5
MIN_ROWS = 10


def find_exact_duplicates(examples: Examples) -> dict[int, int]:
    """Note the rows that repeat an earlier row exactly (prompt and answers); returns number → number of the first one."""
    hashes = np.fromiter((exact_hash(p + "\x1e" + a) for _, p, a in examples.texts()), np.int64, len(examples))
    if examples.rejected is not None:
        extra = (exact_hash(text.as_py()) for text in examples.rejected)
        hashes ^= np.fromiter(extra, np.int64, len(examples)) >> 1
    repeated, first = _repeats(hashes)
    found = {int(number): first[int(hashes[number])] for number in repeated}
    for number, earlier in found.items():
        examples.add("exact_duplicates", number, f"the same as row {examples.place(earlier)[0]}")
    return found


def _repeats(hashes: np.ndarray) -> tuple[np.ndarray, dict]:
    """Numbers whose hash occurred before, and the first number of each repeated hash."""
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1]) + 1
    repeated = np.sort(order[same])
    wanted = set(hashes[repeated].tolist())
    first = {}
    for number in order[np.isin(hashes[order], list(wanted))] if wanted else ():
        first.setdefault(int(hashes[number]), int(number))
    return repeated, first


def find_conflicts(examples: Examples) -> None:
    """Note rows whose normalised prompt occurs with another answer in another row (preference pairs: see `pairs`)."""
    n = len(examples)
    if not n or examples.kind not in ("prompt_completion", "messages"):
        return
    prompts, answers = examples.prompt_hashes, examples.answer_hashes
    order = np.lexsort((answers, prompts))
    troubles = []
    by_prompt, by_answer = prompts[order], answers[order]
    starts = np.flatnonzero(np.r_[True, by_prompt[1:] != by_prompt[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], n], strict=True):
        if stop - start > 1 and by_answer[start] != by_answer[stop - 1]:
            members = np.sort(order[start:stop])
            if _agree(examples, members):
                continue
            numbers = ", ".join(str(examples.place(m)[0]) for m in members[:5])
            troubles += [(int(number), f"rows {numbers} ask the same") for number in members]
    examples.add_all("conflicting_answers", troubles)


def _agree(examples: Examples, members: np.ndarray) -> bool:
    """True when the answers differ in a few words only: that is a near duplicate, not a conflict."""
    first, *others = (normalise(examples.answers[int(number)].as_py()) for number in members)
    threshold = examples.limits.near_duplicate
    return all(first == other or has_few_changes(first, other, threshold) for other in others)


def find_constant_answer(examples: Examples) -> None:
    """Note one answer that dominates, where the other answers are different, or where even labels hardly vary."""
    counts = collections.Counter(exact_hash(answer.strip().casefold()) for _, _, answer in examples.texts())
    if len(examples) < MIN_ROWS:
        return
    top, n_top = counts.most_common(1)[0]
    n_others = len(examples) - n_top
    n_different = len(counts) - 1
    share = CONSTANT_SHARE_LABELS
    if n_different > n_others / 2:
        share = examples.limits.constant_answer
    elif n_different > MAX_LABELS:
        share = CONSTANT_SHARE_MIXED
    if n_top < max(MIN_CONSTANT_ROWS, share * len(examples)):
        return
    for number, _, answer in examples.texts():
        if exact_hash(answer.strip().casefold()) == top:
            examples.add("constant_answer", number, f"{answer.strip()[:60]!r} answers {n_top} of {len(examples)} rows")
