"""Tests and intervals for two models on the same problems. Differences are fractions; `compare` turns them into points.

Does not read files and does not decide anything: the rule that makes GO, NO-GO or INCONCLUSIVE is in `compare`.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE, require_finite, z_value


def mcnemar(gained: int, lost: int) -> tuple[float, float]:
    """Two-sided exact and mid-p McNemar p-values from the two kinds of discordant problems.

    >>> tuple(round(p, 3) for p in mcnemar(12, 6))
    (0.238, 0.167)

    Source: McNemar 1947; Fagerland, Lydersen and Laake 2013 (mid-p).
    """
    if not (gained >= 0 and lost >= 0):
        raise InputProblem(f"gained and lost are counts, found {gained} and {lost}")
    from scipy.special import bdtr

    if gained == lost:
        return 1.0, 1.0
    m, fewer = gained + lost, min(gained, lost)
    below, up_to = (float(bdtr(k, m, 0.5)) if k >= 0 else 0.0 for k in (fewer - 1, fewer))
    return min(1.0, 2 * up_to), min(1.0, below + up_to)


def paired_interval(gained: int, lost: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Tango's score interval of the difference of two paired rates, (gained - lost)/n, as fractions in [-1, 1].

    Source: Tango 1998, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design; Statistics in Medicine 17. Chosen because it keeps its coverage at few discordant problems and none at all.
    """
    if not (1 <= n < math.inf and gained >= 0 and lost >= 0 and gained + lost <= n):
        raise InputProblem(f"a paired interval needs gained + lost <= n, found gained={gained}, lost={lost}, n={n}")
    from scipy.optimize import bisect

    z = z_value(confidence)
    estimate = (gained - lost) / n
    low = -1.0 if lost == n else bisect(lambda d: _tango_z(gained, lost, n, d) - z, -1.0, estimate, xtol=1e-10)
    high = 1.0 if gained == n else bisect(lambda d: _tango_z(gained, lost, n, d) + z, estimate, 1.0, xtol=1e-10)
    return low, high


def _tango_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Score statistic of the hypothesis that the true difference is `delta`; falls as delta rises."""
    b = (2 * n - gained + lost) * delta - gained - lost
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    numerator = gained - lost - n * delta
    if variance <= 0:
        return math.copysign(math.inf, numerator) if abs(numerator) > 1e-12 else 0.0
    return numerator / math.sqrt(variance)


def clustered_interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of the mean per-problem difference with several samples a problem; the problem is the cluster.

    Half a problem is added that gains everything, half that loses everything, and one unchanged, so that a run without
    any difference does not get an interval of zero width. Source: Miller 2024, Adding error bars to evals (paired,
    clustered); Agresti and Min 2005 (the added half problems).
    """
    n = len(differences)
    if n < 1:
        raise InputProblem(
            "no problem was scored by both models, so there is no difference: score at least one problem"
        )
    require_finite(differences, "the differences of the problems")
    size = n + 2
    mean = sum(differences) / size
    square = (sum(d * d for d in differences) + 1.0) / size
    half = z_value(confidence) * math.sqrt(max(0.0, square - mean * mean) / size)
    return max(-1.0, mean - half), min(1.0, mean + half)


def sign_flip(differences: Sequence[int]) -> tuple[float, float]:
    """Two-sided exact and mid-p values of the sum of whole-number differences when each sign is as likely as the other.

    With differences of -1, 0 and 1 this is exactly McNemar's test; with several samples a problem it is its
    generalisation. Source: Fisher 1935, The design of experiments, section 21 (the permutation test of paired
    differences).
    """
    from scipy.stats import binom

    observed = abs(sum(differences))
    if observed == 0:
        return 1.0, 1.0
    law = numpy.ones(1)
    for step, count in sorted(Counter(abs(d) for d in differences if d).items()):
        part = numpy.zeros(2 * step * count + 1)
        part[:: 2 * step] = binom.pmf(range(count + 1), count, 0.5)
        law = numpy.convolve(law, part) if len(law) * len(part) < 10**8 else _convolve_large(law, part)
    centre = len(law) // 2
    tail, at = float(law[centre + observed :].sum()), float(law[centre + observed])
    return min(1.0, 2 * tail), min(1.0, 2 * tail - at)


def _convolve_large(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    size = len(a) + len(b) - 1
    return numpy.clip(numpy.fft.irfft(numpy.fft.rfft(a, size) * numpy.fft.rfft(b, size), size), 0, None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of several comparisons, in the given order; each is compared with the common level.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    require_finite(p_values, "p-values")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
