"""Are two collections of texts from one source? A classifier tries to tell them apart; what it cannot tell has not
moved.

Does not read files and does not say what to do about it.
"""

from collections import Counter

import numpy

from tunebook.errors import InputProblem

FOLDS, RESAMPLES, FEWEST, MOST = 5, 2000, 10, 5000
WORDS = 12


def separate(texts_a: list[str], texts_b: list[str], seed: int = 0) -> dict:
    """AUC of a cross-validated classifier between A and B, its 95% interval, and the words that moved.

    `auc` 0.5: not to be told apart; 1.0: two worlds. The interval is a bootstrap of the held-out scores over distinct
    texts. `words`: at most 12 a direction, `{"word", "share_a", "share_b", "p_holm"}`, those whose share of texts
    differs at 0.05 (Fisher's exact test, Holm). Equal texts are kept in one fold. InputProblem with fewer than 10
    different texts on a side; of more than 5,000 a sample is drawn.

    Source: Lopez-Paz and Oquab 2017, Revisiting classifier two-sample tests; Rabanser et al. 2019, Failing loudly.
    """
    for name, texts in (("first", texts_a), ("second", texts_b)):
        if len(set(texts)) < FEWEST:
            raise InputProblem(
                f"the {name} collection has {len(set(texts))} different texts, {FEWEST} are needed to tell two apart:"
                " collect more"
            )
    rng = numpy.random.default_rng(seed)
    sides = [_sample(texts, rng) for texts in (texts_a, texts_b)]
    texts = sides[0] + sides[1]
    is_b = numpy.repeat([0, 1], [len(sides[0]), len(sides[1])])
    held_out = _held_out_scores(texts, is_b, seed)
    of_a, of_b = held_out[is_b == 0], held_out[is_b == 1]
    auc = _auc(of_a, of_b, numpy.ones(len(of_a)), numpy.ones(len(of_b)))
    groups = [numpy.unique(numpy.array(side, dtype=object), return_inverse=True)[1] for side in sides]
    drawn = [_auc(of_a, of_b, *(_resampled(found, rng) for found in groups)) for _ in range(RESAMPLES)]
    low, high = numpy.quantile(drawn, [0.025, 0.975])
    return {
        "auc": auc,
        "interval": [float(low), float(high)],
        "n_a": len(sides[0]),
        "n_b": len(sides[1]),
        "words": _moved(*sides),
    }


def _sample(texts: list[str], rng) -> list[str]:
    if len(texts) <= MOST:
        return list(texts)
    return [texts[at] for at in sorted(rng.choice(len(texts), MOST, replace=False))]


def _held_out_scores(texts: list[str], is_b: numpy.ndarray, seed: int) -> numpy.ndarray:
    """Score of every text by a model that did not see it: logistic regression on tf-idf of words and pairs of words; of
    runs of 2 to 4 characters where most texts are one word, as in Chinese, Japanese and Thai.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline

    groups = numpy.unique([text.casefold().strip() for text in texts], return_inverse=True)[1]
    scores = numpy.zeros(len(texts))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    texts = numpy.array(texts, dtype=object)
    is_spaced = numpy.mean([len(text.split()) > 1 for text in texts]) >= 0.5
    by_word = {"ngram_range": (1, 2), "token_pattern": r"(?u)\S+"}
    reading = by_word if is_spaced else {"analyzer": "char", "ngram_range": (2, 4)}
    for train, test in folds.split(texts, is_b, groups):
        if len(set(is_b[train])) < 2 or not len(test):
            continue
        model = make_pipeline(
            TfidfVectorizer(sublinear_tf=True, **reading), LogisticRegression(class_weight="balanced", max_iter=500)
        )
        model.fit(texts[train], is_b[train])
        scores[test] = model.decision_function(texts[test])
    return scores


def _resampled(groups: numpy.ndarray, rng) -> numpy.ndarray:
    """How often each text is drawn when whole groups of equal texts are: a text that came twenty times is one
    observation.
    """
    n = int(groups.max()) + 1
    return rng.multinomial(n, numpy.full(n, 1 / n))[groups].astype(float)


def _auc(a: numpy.ndarray, b: numpy.ndarray, weights_a: numpy.ndarray, weights_b: numpy.ndarray) -> float:
    """Chance that a text of B scores above one of A, ties count half (Mann-Whitney), each text with its weight."""
    order = numpy.argsort(a, kind="stable")
    total = numpy.concatenate([[0.0], numpy.cumsum(weights_a[order])])
    below = total[numpy.searchsorted(a[order], b, "left")] + total[numpy.searchsorted(a[order], b, "right")]
    return float((weights_b * below).sum() / 2 / total[-1] / weights_b.sum())


def _moved(texts_a: list[str], texts_b: list[str]) -> list[dict]:
    """Words whose share of texts differs, the largest differences first."""
    from scipy.stats import fisher_exact

    from tunebook.statistics.paired import holm

    a, b = (_document_counts(texts) for texts in (texts_a, texts_b))
    n_a, n_b = len(texts_a), len(texts_b)
    gaps = sorted(a.keys() | b.keys(), key=lambda word: (-abs(a[word] / n_a - b[word] / n_b), word))[: 8 * WORDS]
    p = [float(fisher_exact([[a[w], n_a - a[w]], [b[w], n_b - b[w]]])[1]) for w in gaps]
    adjusted = holm([min(1.0, value * max(1, len(a.keys() | b.keys()) / max(1, len(gaps)))) for value in p])
    rows = [
        {"word": w, "share_a": a[w] / n_a, "share_b": b[w] / n_b, "p_holm": value}
        for w, value in zip(gaps, adjusted, strict=True)
        if value < 0.05
    ]
    more = [row for row in rows if row["share_b"] > row["share_a"]][:WORDS]
    return more + [row for row in rows if row["share_b"] < row["share_a"]][:WORDS]


def _document_counts(texts: list[str]) -> Counter:
    counts = Counter(word for text in texts for word in set(text.casefold().split()))
    return counts
