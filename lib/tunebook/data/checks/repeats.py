"""Rows that repeat: exact and near duplicates, one question with two answers, one answer for everything.

Compares by hashes of the text, and for near duplicates by MinHash of its words, so time grows linearly.
"""

import bisect
import collections
import math
from collections.abc import Iterator

import numpy as np

from tunebook.data.examples import Examples, exact_hash
from tunebook.data.rows import BATCH_ROWS
from tunebook.data.splits import normalise

CONSTANT_SHARE_MIXED = 0.5  # of rows, where other answers repeat but are more than a few labels
MAX_LABELS = 10
CONSTANT_SHARE_LABELS = 0.97  # of rows, where answers are a few labels: a rare class is a fair task
MIN_CONSTANT_ROWS = 5
MIN_ROWS = 10


def find_exact_duplicates(examples: Examples) -> dict[int, int]:
    """Note the rows that repeat an earlier row in all that is trained (prompt and answers, thoughts and tools);
    returns number → number of the first one.
    """
    hashes = np.fromiter((exact_hash(p + "\x1e" + a) for _, p, a in examples.texts()), np.int64, len(examples))
    if examples.beside is not None:
        hashes ^= examples.beside
    if examples.bad:  # one answer called good and bad is a contradiction, not a repetition
        hashes ^= np.isin(np.arange(len(examples)), list(examples.bad))
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
            if _answers_agree(examples, members):
                continue
            numbers = ", ".join(str(examples.place(m)[0]) for m in members[:5])
            troubles += [(int(number), f"rows {numbers} ask the same") for number in members]
    examples.add_all("conflicting_answers", troubles)


def _answers_agree(examples: Examples, members: np.ndarray) -> bool:
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
        if (a in examples.bad) != (b in examples.bad):
            continue
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
    if answers[0] != answers[1] and not _texts_agree(*answers, weights, threshold):
        return False
    if prompts[0] == prompts[1] or _texts_agree(*prompts, weights, threshold):
        return True
    words = [text.split() for text in prompts]
    is_short = min(map(len, words)) < MIN_WORDS <= len(answers[0].split())
    same_numbers = _numbers(words[0]) == _numbers(words[1])
    return is_short and same_numbers and _jaccard(_runs(prompts[0]), _runs(prompts[1])) >= THRESHOLD_SHORT


def _texts_agree(a: str, b: str, weights: dict, threshold: float) -> bool:
    return has_few_changes(a, b, threshold) and _weighted(set(a.split()), set(b.split()), weights) >= MIN_INFORMATIVE


def has_few_changes(a: str, b: str, threshold: float) -> bool:
    """True for two normalised texts of 12 words and more with equal numbers, most letter runs in common, in one
    order.
    """
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
            key = (*key, number in examples.bad)
            if examples.rejected is not None:
                key = (*key, exact_hash(normalise(examples.rejected[number].as_py())))
            if key in first:
                pairs.add((first[key], number))
            else:
                first[key] = number
    return pairs


def _clusters(pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Connected rows, each cluster in row order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    numbers, places = np.unique(np.array(sorted(pairs)), return_inverse=True)
    first, second = places.reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(numbers),) * 2)
    clusters = collections.defaultdict(list)
    for number, label in zip(numbers.tolist(), connected_components(graph)[1].tolist(), strict=True):
        clusters[label].append(number)
    return sorted(clusters.values())
