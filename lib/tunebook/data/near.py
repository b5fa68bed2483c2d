"""Near duplicates: MinHash finds candidates (rensa), an exact comparison decides, clusters come out.

Templated rows that differ in their answer, or only in a number, or in the words that carry the information, are not
duplicates; rows under 12 words are compared as a whole only. Time grows linearly: in a bucket each row meets its
neighbours and the first row, not all others. Does not remove rows.
"""

import bisect
import collections
import math
from collections.abc import Iterator

import numpy as np

from tunebook.data.examples import Examples, exact_hash
from tunebook.data.rows import BATCH_ROWS
from tunebook.data.splits import normalise

N_PERMUTATIONS = 64
# 16 bands of 4 hashes: candidates from a similarity of about 0.5
MIN_WORDS = 12
MIN_ORDER = 0.8  # share of words in the same order: shuffled sentences are another text
THRESHOLD_SHORT = 0.6  # of a prompt under 12 words, where the long answers agree
MIN_INFORMATIVE = 0.7  # Jaccard of words, each weighted by how rare it is
N_ROWS_FOR_WEIGHTS = 20_000
RUN_LETTERS = 5


def find_near_duplicates(examples: Examples, skip: dict | tuple = ()) -> list[list[int]]:
    """Note all but the first row of each cluster; returns the clusters as lists of row numbers.

    `skip`: numbers of exact duplicates, which are noted already.
    """
    numbers, batches, weights = _sketch(examples, skip)
    pairs = _same_after_normalising(examples, skip)
    texts, compared, threshold = {}, set(), examples.limits.near_duplicate
    for pair in _candidates(batches):
        if pair in compared:
            continue
        compared.add(pair)
        a, b = int(numbers[pair[0]]), int(numbers[pair[1]])
        if (a, b) not in pairs and is_near(_texts(examples, a, texts), _texts(examples, b, texts), weights, threshold):
            pairs.add((a, b))
    clusters = _clusters(pairs)
    firsts = [(number, examples.place(cluster[0])[0]) for cluster in clusters for number in cluster[1:]]
    examples.add_all("near_duplicates", [(number, f"nearly the same as row {first}") for number, first in firsts])
    return clusters


def _sketch(examples: Examples, skip) -> tuple[np.ndarray, list[np.ndarray], dict]:
    """Numbers of the long rows, the keys of their bands (batches of rows × 16), and the weight of each word."""
    from rensa import RMinHash

    numbers, batches, digests, frequency = [], [], [], collections.Counter()
    n_counted = 0
    for number, prompt, answer in examples.texts("repetition"):
        words = normalise(f"{prompt} {answer}").split()
        if n_counted < N_ROWS_FOR_WEIGHTS:
            frequency.update(set(words))
            n_counted += 1
        if number in skip or len(words) < MIN_WORDS:
            continue
        sketch = RMinHash(num_perm=N_PERMUTATIONS, seed=0)
        sketch.update([*words, *map(" ".join, zip(words, words[1:], strict=False))])
        numbers.append(number)
        digests.append(sketch.digest())
        if len(digests) >= BATCH_ROWS:
            batches.append(_band_keys(digests))
            digests = []
    batches.append(_band_keys(digests))
    weights = {word: math.log((1 + n_counted) / count) for word, count in frequency.items()}
    return np.array(numbers, np.int64), batches, weights


def _band_keys(digests: list) -> np.ndarray:
    """One 64-bit number for each band of four hashes: equal bands have equal numbers, and others hardly ever."""
    halves = np.array(digests, np.uint32).reshape(-1, N_PERMUTATIONS).view(np.uint64)
    return halves[:, ::2] * np.uint64(0x9E3779B97F4A7C15) + halves[:, 1::2]


def _candidates(batches: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of positions that share a band: each member of a bucket with the member before it and with the first."""
    for band in range(batches[0].shape[1]):
        keys = np.concatenate([batch[:, band] for batch in batches])
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        firsts = order[np.searchsorted(ordered, ordered[same])]
        for a, b, first in zip(order[same - 1].tolist(), order[same].tolist(), firsts.tolist(), strict=True):
            yield min(a, b), max(a, b)
            if first != a:
                yield min(first, b), max(first, b)


def _texts(examples: Examples, number: int, cache: dict) -> tuple[str, str]:
    if len(cache) > 50_000:
        cache.clear()
    if number not in cache:
        cache[number] = (normalise(examples.prompts[number].as_py()), normalise(examples.answers[number].as_py()))
    return cache[number]


def is_near(first: tuple[str, str], second: tuple[str, str], weights: dict, threshold: float) -> bool:
    """True when two normalised (prompt, answer) pairs say the same with few words changed."""
    prompts, answers = zip(first, second, strict=True)
    if prompts[0] == prompts[1] and has_few_changes(*answers, threshold):
        return True
    if answers[0] != answers[1] and not _agree(*answers, weights, threshold):
        return False
    if prompts[0] == prompts[1] or _agree(*prompts, weights, threshold):
        return True
    words = [text.split() for text in prompts]
    is_short = min(map(len, words)) < MIN_WORDS <= len(answers[0].split())
    same_numbers = _numbers(words[0]) == _numbers(words[1])
    return is_short and same_numbers and _jaccard(_runs(prompts[0]), _runs(prompts[1])) >= THRESHOLD_SHORT


def _agree(a: str, b: str, weights: dict, threshold: float) -> bool:
    return has_few_changes(a, b, threshold) and _weighted(set(a.split()), set(b.split()), weights) >= MIN_INFORMATIVE


def has_few_changes(a: str, b: str, threshold: float) -> bool:
    """True for two normalised texts of 12 words and more with equal numbers, most letter runs in common, in one order."""
    words_a, words_b = a.split(), b.split()
    if min(len(words_a), len(words_b)) < MIN_WORDS or _numbers(words_a) != _numbers(words_b):
        return False
    return _jaccard(_runs(a), _runs(b)) >= threshold and _in_order(words_a, words_b)


def _in_order(a: list[str], b: list[str]) -> bool:
    """True when most words that stand once in both texts come in the same order (longest rising run of places)."""
    counts = collections.Counter(a), collections.Counter(b)
    once = {word for word in counts[0] if counts[0][word] == counts[1][word] == 1}
    at = {word: place for place, word in enumerate(b) if word in once}
    tails = []
    for place in (at[word] for word in a if word in once):
        where = bisect.bisect(tails, place)
        tails[where : where + 1] = [place]
    return len(tails) >= MIN_ORDER * len(once)


def _numbers(words: list[str]) -> collections.Counter:
    return collections.Counter(word for word in words if any(sign.isdigit() for sign in word))


def _runs(text: str) -> set[str]:
    return {text[n : n + RUN_LETTERS] for n in range(max(1, len(text) - RUN_LETTERS + 1))}


def _jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def _weighted(a: set, b: set, weights: dict) -> float:
    rare = math.log(1 + len(weights))
    shared = sum(weights.get(word, rare) for word in a & b)
    return shared / (shared + sum(weights.get(word, rare) for word in a ^ b) or 1.0)


def _same_after_normalising(examples: Examples, skip) -> set[tuple[int, int]]:
    """Pairs that differ in case, white space or punctuation only, of any length."""
    first, pairs = {}, set()
    for number, key in enumerate(zip(examples.prompt_hashes.tolist(), examples.answer_hashes.tolist(), strict=True)):
        if number not in skip:
            if examples.rejected is not None:
                key = (*key, exact_hash(normalise(examples.rejected[number].as_py())))
            if key in first:
                pairs.add((first[key], number))
            else:
                first[key] = number
    return pairs


def _clusters(pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Connected rows, each cluster in row order."""
    parent = {}

    def root(number):
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for a, b in pairs:
        low, high = sorted((root(int(a)), root(int(b))))
        parent[high] = low
    clusters = collections.defaultdict(list)
    for number in sorted(parent):
        clusters[root(number)].append(number)
    return sorted(clusters.values())
