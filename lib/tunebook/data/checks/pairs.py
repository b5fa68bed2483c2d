"""Preference pairs: do chosen and rejected differ, in what, and does one pair contradict another?

Does not judge which answer is better.
"""

import numpy as np

from tunebook.data.checks.repeats import has_few_changes
from tunebook.data.examples import Examples, exact_hash
from tunebook.data.mapping import words_of
from tunebook.data.splits import normalise

MIN_PAIRS = 20
LENGTH_RATIO = 1.2  # median length of the longer side over the shorter
MAX_CHANCE = 0.001  # of the sign test: fewer pairs may be an accident
SCORE_WORDS = frozenset(("score", "scores", "rating", "ratings", "reward", "rewards"))
NEAR_SHARE = 0.85  # of letter runs


def find_pair_troubles(examples: Examples) -> None:
    """Note equal, nearly equal and contradictory pairs, and a bias to longer or shorter answers; of KTO rows
    contradictions.
    """
    if examples.kind == "kto":
        _note_two_labels(examples)
    if examples.rejected is None:
        return
    seen, contradictions = {}, []
    longer, ratios = 0, []
    rejected = (text for chunk in examples.rejected.chunks for text in chunk.to_pylist())
    for (number, prompt, chosen), worse in zip(examples.texts(), rejected, strict=True):
        if chosen.strip() == worse.strip():
            if number not in examples.parted:  # else the thoughts differ
                examples.add("pair_equal", number)
            continue
        if _nearly_equal(chosen, worse):
            examples.add("pair_near_equal", number)
        keys = tuple(exact_hash(normalise(text)) for text in (prompt, chosen, worse))
        other = seen.get((keys[0], keys[2], keys[1]))
        if other is not None:
            place = examples.place(other)[0]
            contradictions.append((other, f"row {examples.place(number)[0]} prefers the other answer"))
            contradictions.append((number, f"row {place} prefers the other answer"))
        seen.setdefault(keys, number)
        if len(chosen) != len(worse):
            longer += len(chosen) > len(worse)
            ratios.append((max(len(chosen), 1)) / max(len(worse), 1))
    examples.add_all("pair_contradiction", contradictions)
    _note_length_bias(examples, longer, np.array(ratios))


def _note_two_labels(examples: Examples) -> None:
    """Note answers that are called good in one row and bad in another."""
    seen = {}
    for number, key in enumerate(zip(examples.prompt_hashes.tolist(), examples.answer_hashes.tolist(), strict=True)):
        seen.setdefault(key, []).append(number)
    for numbers in seen.values():
        if 0 < len(examples.bad.intersection(numbers)) < len(numbers):
            places = ", ".join(str(examples.place(number)[0]) for number in numbers[:5])
            examples.add_all(
                "pair_contradiction", [(n, f"rows {places} call one answer good and bad") for n in numbers]
            )


def find_score_contradictions(examples: Examples) -> None:
    """Note pairs whose own scores say that the rejected answer is the better one."""
    if examples.rejected is None:
        return
    names = [_score_names(examples, side) for side in ("chosen", "rejected")]
    if len(names[0]) != 1 or len(names[1]) != 1:
        return
    (better,), (worse,) = names
    for number, row in enumerate(examples):
        high, low = row.get(better), row.get(worse)
        if all(isinstance(value, int | float) for value in (high, low)) and high < low:
            examples.add("pair_scores", number, f"{better} {high:g}, {worse} {low:g}")


def _score_names(examples: Examples, side: str) -> list[str]:
    """The columns of scores of one side: score_chosen, rejected_rating and the like."""
    names = (name for name in examples.account.columns if name not in examples.reading.drop)
    return [name for name in names if side in words_of(name) and words_of(name) & SCORE_WORDS]


def _nearly_equal(a: str, b: str) -> bool:
    """Equal but for case, space and punctuation; or 12 words and more with equal numbers and nearly all letters the
    same.
    """
    a, b = normalise(a), normalise(b)
    return a == b or has_few_changes(a, b, NEAR_SHARE)


def _note_length_bias(examples: Examples, longer: int, ratios: np.ndarray) -> None:
    """Sign test: are chosen answers longer (or shorter) more often than chance, and by much?"""
    from scipy.stats import binomtest

    n = len(ratios)
    if n < MIN_PAIRS:
        return
    share, typical = longer / n, float(np.median(ratios))
    is_long = share >= examples.limits.pair_length and typical >= LENGTH_RATIO
    is_short = share <= 1 - examples.limits.pair_length and typical <= 1 / LENGTH_RATIO
    more = max(longer, n - longer)
    p = binomtest(more, n).pvalue
    if not (is_long or is_short) or p > MAX_CHANCE:
        return
    word = "longer" if is_long else "shorter"
    text = f"chosen is {word} in {more} of {n} pairs, median length ratio {typical:.2f}, sign test p = {p:.1e}"
    examples.notes.add("pair_length_bias", detail=text)
    examples.notes.set_count("pair_length_bias", more)
