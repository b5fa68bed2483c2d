"""Paired change of a positive quantity, document by document, in percent of its first value: bits per byte, seconds, bytes.

Does not decide what a change means beyond the margin it is given.
"""

import math
from collections.abc import Sequence

from tunebook.errors import InputProblem
from tunebook.statistics.compare import BLIND, NON_INFERIOR, VIOLATION
from tunebook.statistics.intervals import CONFIDENCE

FEWEST = 5  # pairs; below, a mean of per-document changes has no usable interval


def rise(pairs: Sequence[tuple[float, float]], margin: float, confidence: float = CONFIDENCE) -> dict:
    """Did the quantity rise by less than `margin` percent (above 0)? Pairs are (before, after), both above 0.

    The mean of the per-pair rises with Student's interval, one-sided at `confidence`: "non-inferior" when the upper bound is
    below the margin, "violation" when the lower one is above it, "cannot see a loss" with fewer than 5 pairs, else "inconclusive".

    >>> rise([(1.0, 1.01), (1.0, 1.02), (1.0, 1.0), (1.0, 1.01), (1.0, 1.01)], margin=5)["verdict"]
    'non-inferior'

    Source: Student 1908; EMEA 2005 for the interval approach.
    """
    if margin <= 0:
        raise InputProblem(f"the largest rise must be above 0 percent, found {margin:g}: write 10 for 10%")
    if any(not (math.isfinite(a) and math.isfinite(b)) or a <= 0 or b < 0 for a, b in pairs):
        raise InputProblem("a relative rise needs finite values, the first above 0: measure again")
    rises = [100 * (after / before - 1) for before, after in pairs]
    n = len(rises)
    mean = math.fsum(rises) / n if n else 0.0
    low, high, verdict = -math.inf, math.inf, BLIND
    if n >= FEWEST:
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, confidence)) * math.sqrt(math.fsum((r - mean) ** 2 for r in rises) / (n - 1) / n)
        low, high = mean - half, mean + half
        verdict = NON_INFERIOR if high < margin else VIOLATION if low > margin else "inconclusive"
    before, after = (math.fsum(side) / n if n else 0.0 for side in zip(*pairs, strict=True)) if n else (0.0, 0.0)
    return {
        "verdict": verdict,
        "n": n,
        "before": before,
        "after": after,
        "rise": mean,
        "lower": low if math.isfinite(low) else None,
        "upper": high if math.isfinite(high) else None,
        "margin": margin,
        "rule": f"one-sided {confidence:.0%}: non-inferior if the upper bound of the mean rise is below {margin:g}%",
    }
