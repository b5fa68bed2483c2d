"""The decision between two scores of the same problems, and the non-inferiority test of a retained benchmark.

Works on per-problem lists of pass/fail. Differences, margins and effects are in points (0 to 100). Does not read files.
"""

import math
from collections.abc import Sequence

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE
from tunebook.statistics.paired import clustered_interval, mcnemar, paired_interval, sign_flip
from tunebook.statistics.power import ALPHA, CORRELATION, detectable_effect, smallest_difference

GO, NO_GO, INCONCLUSIVE = "GO", "NO-GO", "INCONCLUSIVE"
NON_INFERIOR, VIOLATION, BLIND = "non-inferior", "violation", "cannot see a loss"
FEWEST_PAIRS = 5  # below, a mean of per-document changes has no usable interval
Passed = dict[str, list[bool]]


def compare_paired(passed_a: Passed, passed_b: Passed, margin: float = 0.0) -> dict:
    """Is B better than A by more than `margin` points? Both map task_id to that problem's samples, True where it
    passed.

    GO if L > margin, NO-GO if U < margin, else INCONCLUSIVE, with [L, U] the paired 95% interval of B - A; GO over a
    margin above 0 also needs p < 0.05, and at margin 0 p decides alone (exact McNemar, with several samples a problem
    the sign-flip test). `k_a` and `k_b` count passed samples, `gained` and `lost` problems whose rate rose or fell.
    InputProblem when problems or sample counts differ.

    >>> a = {str(i): [i < 50] for i in range(164)}
    >>> b = {str(i): [6 <= i < 62] for i in range(164)}
    >>> result = compare_paired(a, b)
    >>> result["verdict"], result["gained"], result["lost"], round(result["p_exact"], 3)
    ('INCONCLUSIVE', 12, 6, 0.238)
    """
    samples = _check_pairs(passed_a, passed_b)
    differences = {task: sum(passed_b[task]) - sum(passed_a[task]) for task in passed_a}
    counts = _counts(passed_a, passed_b, differences)
    n, total = len(differences), sum(differences.values())
    if samples == 1:
        p_exact, p_mid = mcnemar(counts["gained"], counts["lost"])
    else:
        p_exact, p_mid = sign_flip(list(differences.values()))
    interval = list(_bounds(list(differences.values()), samples, CONFIDENCE))
    return {
        "verdict": decide(total, interval, p_exact, margin),
        "rule": rule(margin, samples),
        "n": n,
        "samples": samples,
        **counts,
        "difference": 100 * total / (n * samples),
        "interval": interval,
        "p_exact": p_exact,
        "p_mid": p_mid,
        "detectable_effect": _detectable_points(passed_a, passed_b, samples),
        "margin": margin,
    }


def _counts(passed_a: Passed, passed_b: Passed, differences: dict[str, int]) -> dict:
    gained = [task for task, d in differences.items() if d > 0]
    lost = [task for task, d in differences.items() if d < 0]
    return {
        "k_a": sum(map(sum, passed_a.values())),
        "k_b": sum(map(sum, passed_b.values())),
        "gained": len(gained),
        "lost": len(lost),
        "both": sum(all(passed_a[task]) and all(passed_b[task]) for task in passed_a),
        "neither": sum(not any(passed_a[task]) and not any(passed_b[task]) for task in passed_a),
        "gained_tasks": gained,
        "lost_tasks": lost,
    }


def decide(total: float, interval: list[float], p_exact: float, margin: float = 0.0) -> str:
    """The rule alone: `total` is any number with the sign of B - A, `interval` and `margin` are in points. Whoever
    asks for more than a gain gets no GO where a gain itself is not shown.
    """
    if margin == 0:
        if p_exact >= ALPHA or total == 0:
            return INCONCLUSIVE
        return GO if total > 0 else NO_GO
    if interval[0] > margin and (margin < 0 or p_exact < ALPHA):
        return GO
    return NO_GO if interval[1] < margin else INCONCLUSIVE


def rule(margin: float = 0.0, samples: int = 1) -> str:
    """The decision rule in words, to be shown next to every verdict and written down before training."""
    test = "exact McNemar p" if samples == 1 else "sign-flip p"
    if margin == 0:
        return f"GO if B passes more and {test} < 0.05, NO-GO if A passes more and p < 0.05, else INCONCLUSIVE"
    also = f" and {test} < 0.05" if margin > 0 else ""
    return (
        f"GO if the paired 95% interval of B - A lies above {margin:g} points{also}, NO-GO if below, else INCONCLUSIVE"
    )


def noninferiority(passed_a: Passed, passed_b: Passed, margin: float, confidence: float = CONFIDENCE) -> dict:
    """Did B lose less than `margin` points (above 0) against A? One-sided at `confidence`, margin fixed beforehand.

    `verdict`: "non-inferior" when the lower bound of B - A is above -margin, "violation" when the upper bound is below
    it, "cannot see a loss" when B is not shown to be better and even a B that fails everything would not show a
    violation, else "inconclusive". Whatever the margin, `shown` is "worse" or "better" where `p_exact` (two-sided) is
    below 0.05: a loss can be shown although its size cannot be told. Source: EMEA 2005, Guideline on the choice of the
    non-inferiority margin (the interval approach).
    """
    if margin <= 0:
        raise InputProblem(f"the non-inferiority margin must be above 0 points, found {margin:g}: write 5 for 5 points")
    samples = _check_pairs(passed_a, passed_b)
    two_sided = 2 * confidence - 1
    differences = [sum(passed_b[task]) - sum(passed_a[task]) for task in passed_a]
    low, high = _bounds(differences, samples, two_sided)
    p_exact = _p_exact(differences, samples)
    worst = _bounds([-sum(row) for row in passed_a.values()], samples, two_sided)[1]
    verdict = "inconclusive"
    if high < -margin:
        verdict = VIOLATION
    elif worst >= -margin and low <= 0:
        verdict = BLIND
    elif low > -margin:
        verdict = NON_INFERIOR
    n, k_a, k_b = len(passed_a), sum(map(sum, passed_a.values())), sum(map(sum, passed_b.values()))
    return {
        "verdict": verdict,
        "n": n,
        "samples": samples,
        "k_a": k_a,
        "k_b": k_b,
        "difference": 100 * (k_b - k_a) / (n * samples),
        "p_exact": p_exact,
        "shown": "" if p_exact >= ALPHA or k_a == k_b else "worse" if k_b < k_a else "better",
        "lower": low,
        "upper": high,
        "margin": margin,
        "smallest_provable_margin": smallest_provable_margin(passed_a, samples),
        "rule": f"one-sided {confidence:.0%}: non-inferior if the lower bound of B - A is above -{margin:g} points",
    }


def _p_exact(differences: list[int], samples: int) -> float:
    """Exact McNemar p, with several samples a problem that of the sign-flip test."""
    if samples == 1:
        return mcnemar(sum(d > 0 for d in differences), sum(d < 0 for d in differences))[0]
    return sign_flip(differences)[0]


def rise(pairs: Sequence[tuple[float, float]], margin: float, confidence: float = CONFIDENCE) -> dict:
    """Did the quantity rise by less than `margin` percent (above 0)? Pairs are (before, after), both above 0.

    The mean of the per-pair rises with Student's interval, one-sided at `confidence`: "non-inferior" when the upper
    bound is below the margin, "violation" when the lower one is above it, "cannot see a loss" with fewer than 5 pairs,
    else "inconclusive".

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
    if n >= FEWEST_PAIRS:
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


def smallest_provable_margin(passed_a: Passed, samples: int = 1, correlation: float = CORRELATION) -> float:
    """Margin in points that a B as good as A would stay within with 80% power, one-sided at 95% (normal approximation).

    A base of 0 or 100% has no variance to plan with; one pass more or less is assumed there.
    Source: Miller 2024 for the variance of a paired difference; the factor is z(0.95) + z(0.80) = 2.487.
    """
    n = len(passed_a)
    rate = sum(map(sum, passed_a.values())) / (n * samples)
    rate = min(max(rate, 1 / (n + 2)), 1 - 1 / (n + 2))
    return 100 * 2.487 * math.sqrt(2 * rate * (1 - rate) * (1 - correlation) / n)


def _bounds(differences: list[int], samples: int, confidence: float) -> tuple[float, float]:
    """Paired interval in points of whole-number differences per problem, for `samples` samples a problem."""
    if samples == 1:
        gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        low, high = paired_interval(gained, lost, len(differences), confidence)
    else:
        low, high = clustered_interval([d / samples for d in differences], confidence)
    return 100 * low, 100 * high


def _check_pairs(passed_a: Passed, passed_b: Passed) -> int:
    """Samples a problem, equal everywhere; InputProblem names what does not match."""
    if not passed_a or not passed_b:
        raise InputProblem(f"score {'B' if passed_a else 'A'} has no problems, so there is nothing to compare")
    only_a, only_b = sorted(passed_a.keys() - passed_b.keys()), sorted(passed_b.keys() - passed_a.keys())
    if only_a or only_b:
        side, missing = ("B", only_a) if only_a else ("A", only_b)
        raise InputProblem(
            f"score {side} lacks {len(missing)} problems of the other, first {missing[0]!r}: score both on the same"
            " benchmark"
        )
    counts = {len(row) for row in passed_a.values()} | {len(row) for row in passed_b.values()}
    if len(counts) != 1 or 0 in counts:
        raise InputProblem(
            f"the sample counts differ between problems or scores, found {sorted(counts)}: score the same number of"
            " samples of every problem in both"
        )
    return counts.pop()


def _detectable_points(passed_a: Passed, passed_b: Passed, samples: int) -> float | None:
    """Gain in points that these problems show with 80% power.

    With one sample: exact, from A's rate and the usual correlation. With several: from the variance of the differences
    of means.
    """
    n = len(passed_a)
    if samples == 1:
        effect = detectable_effect(n, sum(map(sum, passed_a.values())) / n, CORRELATION)
        return None if effect is None else 100 * effect
    means = [(sum(passed_b[task]) - sum(passed_a[task])) / samples for task in passed_a]
    mean = sum(means) / n
    return 100 * smallest_difference(n, (sum((d - mean) ** 2 for d in means) + 1) / (n + 2))
