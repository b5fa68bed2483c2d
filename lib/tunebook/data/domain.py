"""Do the training prompts look like the benchmark's? A classifier tries to tell them apart, and its words say why.

An area under the ROC curve (AUC) of 0.5 means that it cannot, 1.0 that every prompt gives itself away. Words in any order;
says nothing about difficulty. Looks at a seeded sample of the rows.
"""

import hashlib
import math

from tunebook.data.examples import Examples
from tunebook.data.splits import normalise

MIN_PROMPTS = 30  # different ones on each side: fewer give no useful interval
N_FOLDS = 5
N_WORDS = 6


def find_domain_gap(examples: Examples, problems: list[dict], name: str) -> dict:
    """Note how well the prompts are told apart (`domain`, info), and a `domain_gap` where nearly always.

    Returns {benchmark, auc, low, high, n_rows, n_problems, row_words, benchmark_words}, or {} for fewer than 30 prompts.
    """
    ours = _sample({normalise(prompt) for _, prompt, _ in examples.texts()} - {""}, examples.limits.sampled)
    theirs = _sample({normalise(problem["prompt"]) for problem in problems}, examples.limits.sampled)
    if min(len(ours), len(theirs)) < MIN_PROMPTS:
        return {}
    scores, words = _classify(ours, theirs)
    auc = area(scores[: len(ours)], scores[len(ours) :])
    low, high = interval(auc, len(ours), len(theirs))
    detail = f"AUC {auc:.2f} [{low:.2f}, {high:.2f}], {len(ours)} prompts against {len(theirs)} of {name}; "
    detail += f"words of the rows: {', '.join(words[0])}; of the benchmark: {', '.join(words[1])}"
    examples.notes.add("domain_gap" if low > examples.limits.domain_auc else "domain", detail=detail)
    sizes = {"n_rows": len(ours), "n_problems": len(theirs)}
    bounds = {"auc": round(auc, 3), "low": round(low, 3), "high": round(high, 3)}
    return {"benchmark": name, **bounds, **sizes, "row_words": words[0], "benchmark_words": words[1]}


def _sample(texts: set[str], n: int, seed: int = 0) -> list[str]:
    """At most `n` texts, chosen and ordered by hash."""
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed}\n{text}".encode()).digest())[:n]


def _classify(ours: list[str], theirs: list[str]) -> tuple:
    """Out-of-fold scores (higher = more like the benchmark), and the words that weigh most on each side."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = ours + theirs, np.array([0] * len(ours) + [1] * len(theirs))
    counter = CountVectorizer(binary=True, min_df=2, token_pattern=r"(?u)[^\s]+", max_features=50_000)
    table = counter.fit_transform(texts)
    folds = np.array([*range(len(ours)), *range(len(theirs))]) % N_FOLDS
    scores = np.zeros(len(texts))
    for fold in range(N_FOLDS):
        model = LogisticRegression(class_weight="balanced", max_iter=300)
        model.fit(table[folds != fold], labels[folds != fold])
        scores[folds == fold] = model.decision_function(table[folds == fold])
    weights = LogisticRegression(class_weight="balanced", max_iter=300).fit(table, labels).coef_[0]
    order, names = np.argsort(weights, kind="stable"), counter.get_feature_names_out()
    return scores, ([str(names[n]) for n in order[:N_WORDS]], [str(names[n]) for n in order[::-1][:N_WORDS]])


def area(negatives, positives) -> float:
    """The share of pairs in which the positive scores higher; equal scores count half.

    >>> area([0.1, 0.4], [0.4, 0.9])
    0.875
    """
    import numpy as np

    ordered = np.sort(negatives)
    below, equal = np.searchsorted(ordered, positives, "left"), np.searchsorted(ordered, positives, "right")
    return float((below + equal).mean() / 2 / len(ordered))


def interval(auc: float, n_negatives: int, n_positives: int) -> tuple[float, float]:
    """The 95% interval of an AUC. Source: Hanley and McNeil 1982, equation 1."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (n_positives - 1) * (q1 - auc**2) + (n_negatives - 1) * (q2 - auc**2)
    error = math.sqrt(max(0.0, auc * (1 - auc) + spread) / (n_negatives * n_positives))
    return max(0.0, auc - 1.96 * error), min(1.0, auc + 1.96 * error)
