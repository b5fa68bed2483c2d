"""Intervals of one rate k/n and the unbiased pass@k. Does not compare two models: that is `paired`."""

import math
from statistics import NormalDist

from tunebook.errors import InputProblem

CONFIDENCE = 0.95


def z_value(confidence: float = CONFIDENCE) -> float:
    """The two-sided normal quantile: 1.96 for a confidence of 0.95."""
    if not 0 < confidence < 1:
        raise InputProblem(f"the confidence must lie between 0 and 1, found {confidence}: write 0.95 for 95%")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of the rate k/n, as fractions in [0, 1].

    >>> tuple(round(end, 3) for end in wilson(50, 164))
    (0.24, 0.379)

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference; JASA 22.
    """
    if n < 1 or not 0 <= k <= n:
        raise InputProblem(f"a rate needs 0 <= k <= n and n >= 1, found k={k}, n={n}")
    z = z_value(confidence)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return max(0.0, low), min(1.0, high)


def mean_interval(means: list[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of the mean of per-problem rates (several samples a problem), clustered by problem, in [0, 1].

    The variance between problems already contains the variance of the samples. With variance v the mean is as exact as a
    rate of m(1-m)/v independent problems, so Wilson's interval at that size is used; it never has zero width.
    Source: Miller 2024, Adding error bars to evals (clustered standard errors); Korn and Graubard 1998 (effective size).
    """
    n = len(means)
    if n < 1:
        raise InputProblem("no problem was scored, so there is no rate: score at least one problem")
    mean = sum(means) / n
    size = float(n)
    if n > 1 and 0 < mean < 1:
        variance = sum((value - mean) ** 2 for value in means) / (n - 1) / n
        if variance > 0:
            size = max(float(n), mean * (1 - mean) / variance)
    z = z_value(confidence)
    centre = (mean + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(mean * (1 - mean) / size + z * z / (4 * size * size))
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples is right, when c of n were: 1 - C(n-c, k)/C(n, k), without bias.

    >>> round(pass_at_k(10, 3, 5), 3)
    0.917

    Source: Chen et al. 2021, Evaluating large language models trained on code, equation 1.
    """
    if not 0 <= c <= n:
        raise InputProblem(f"pass@k needs 0 <= correct <= samples, found {c} correct of {n} samples")
    if not 1 <= k <= n:
        raise InputProblem(
            f"pass@{k} cannot be estimated from {n} samples a problem: take k <= {n} or draw more samples"
        )
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def rate_line(k: int, n: int, confidence: float = CONFIDENCE) -> str:
    """The one way in which Tunebook prints a rate: k/n, the percentage and Wilson's interval.

    >>> rate_line(50, 164)
    '50/164 = 30.5% [24.0%, 37.9%]'
    """
    low, high = wilson(k, n, confidence)
    return f"{k}/{n} = {k / n:.1%} [{low:.1%}, {high:.1%}]"


def is_a_rate_of(value: float, n: int, digits: int = 3) -> bool:
    """Whether a published rate, rounded to `digits`, is k/n for any k.

    >>> is_a_rate_of(0.305, 164), is_a_rate_of(0.306, 164)
    (True, False)
    """
    nearest = round(value * n)
    return any(round(k / n, digits) == round(value, digits) for k in (nearest - 1, nearest, nearest + 1) if 0 <= k <= n)
