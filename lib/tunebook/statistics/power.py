"""How many problems a comparison needs, and what a given number of problems can show. Rates and gains are fractions.

The paired numbers are exact: the discordant problems are summed over their binomial laws, and only a significant gain
in the right direction counts. They differ by up to 0.6% from a simulation-based or normal table. Nothing here looks at
results.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy

from tunebook.errors import InputProblem

ALPHA = 0.05
TARGET = 0.8
# The usual correlation of two checkpoints of one model on the same problems.
CORRELATION = 0.47
LARGEST = 1_000_000
SMALLEST = 1e-6
# Above this many discordant problems the binomial sums are replaced by normal tails; the power differs by less than
# 0.005.
EXACT_UP_TO = 3000


def discordant(base: float, gain: float, correlation: float = CORRELATION) -> tuple[float, float]:
    """Shares of problems (gained, lost) for a base rate, a gain and the correlation of right answers between the
    models.

    The correlation is cut to what the two rates allow. InputProblem when a rate leaves [0, 1].
    """
    after = base + gain
    if not 0 <= base <= 1 or not -1e-12 <= after <= 1 + 1e-12:
        raise InputProblem(
            f"base {base} and base + gain {after:.4g} must be fractions from 0 to 1: write 0.306 for 30.6%"
        )
    if not -1 <= correlation <= 1:
        raise InputProblem(f"the correlation must lie between -1 and 1, found {correlation}")
    after = min(1.0, max(0.0, after))
    both = base * after + correlation * math.sqrt(base * (1 - base) * after * (1 - after))
    both = min(max(both, base + after - 1, 0.0), base, after)
    return after - both, base - both


def correlation_used(base: float, gain: float, correlation: float = CORRELATION) -> float:
    """The correlation that `discordant` works with: the given one, cut to what the two rates allow.

    Where a rate is 0 or 1 every correlation gives the same shares, those of independent models, so it is 0.

    >>> round(correlation_used(0.3, 0.5, 0.9), 3)
    0.327
    """
    gained, lost = discordant(base, gain, correlation)
    after, both = base + gained - lost, base - lost
    spread = math.sqrt(max(0.0, base * (1 - base) * after * (1 - after)))
    if spread < 1e-9:
        return 0.0
    used = (both - base * after) / spread
    return correlation if abs(used - correlation) < 1e-6 else used


def n_unpaired(base: float, gain: float, target: float = TARGET, alpha: float = ALPHA) -> int:
    """Problems a side when each model answers problems of its own (normal approximation, unpooled variance).

    >>> n_unpaired(0.306, 0.036)
    2649

    Source: Fleiss, Levin and Paik 2003, Statistical methods for rates and proportions, section 4.2.
    """
    _require_gain(gain)
    after = base + gain
    discordant(base, gain, 0.0)
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(target)
    return max(1, math.ceil(z * z * (base * (1 - base) + after * (1 - after)) / gain**2))


def smallest_difference(n: int, variance: float) -> float:
    """The difference that n problems show with 80% power, from the variance of one problem's difference.

    With K samples a problem that variance is omega^2 + sigma_A^2/K + sigma_B^2/K; observed differences of means have it
    already.

    >>> round(smallest_difference(969, 1 / 9), 3)
    0.03
    """
    if not (n >= 1 and 0 <= variance < math.inf):
        raise InputProblem(f"a smallest difference needs n >= 1 and a variance from 0 on, found n={n}, {variance}")
    z = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(TARGET)
    return z * math.sqrt(variance / n)


def power_paired(n: int, gained: float, lost: float, mid: bool = False, alpha: float = ALPHA) -> float:
    """Chance that McNemar's test (exact, or mid-p) shows the gain on n problems, for the given discordant shares."""
    if not (0 <= n < math.inf and gained >= 0 and lost >= 0 and gained + lost <= 1 + 1e-9):
        raise InputProblem(
            f"power needs n >= 0 and shares of all problems, found n={n}, gained={gained}, lost={lost}: see"
            " discordant()"
        )
    share = min(1.0, gained + lost)
    if share <= 0:
        return 0.0
    spread = 9 * math.sqrt(n * share * (1 - share)) + 9
    low, high = max(0, math.floor(n * share - spread)), min(n, math.ceil(n * share + spread))
    from scipy.special import bdtr

    ms = numpy.arange(low, high + 1)
    weights = numpy.diff(bdtr(ms, n, share), prepend=bdtr(low - 1, n, share) if low else 0.0)
    return float(sum(w * _power_given(int(m), gained / share, mid, alpha) for m, w in zip(ms, weights) if w > 1e-12))


def n_paired(
    base: float, gain: float, correlation: float = CORRELATION, mid: bool = False, target: float = TARGET
) -> int | None:
    """Problems, answered by both models, from which number on the chance of showing the gain reaches `target`.

    With counts the power falls a little at some n, so a smaller n can reach it by luck (49 for 0.3 + 0.4 at correlation
    -1, where 50 and 53 do not); from the returned n on (54) every number of problems does. None above LARGEST: no
    benchmark can show such a gain.

    Source: Connor 1987 and Miettinen 1968 for the model; summed exactly here instead of their normal approximations.
    """
    _require_gain(gain)
    up, down = discordant(base, gain, correlation)
    low, high = 1, 64
    while power_paired(high, up, down, mid) < target:
        low, high = high, high * 2
        if high > LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_paired(middle, up, down, mid) >= target else (middle, high)
    return _above_the_teeth(high, up, down, mid, target)


def _above_the_teeth(n: int, up: float, down: float, mid: bool, target: float) -> int:
    """The number after the last one that misses `target`. Each tooth of the power is shorter than the stretch looked
    at.
    """
    at = n
    while at - n <= 16 + 2 * math.sqrt(n * (up + down)) and n * (up + down) <= EXACT_UP_TO:
        at += 1
        if power_paired(at, up, down, mid) < target:
            n = at + 1
    return n


@lru_cache(maxsize=256)
def detectable_effect(
    n: int, base: float, correlation: float = CORRELATION, power: float = TARGET, mid: bool = False
) -> float | None:
    """Smallest gain, as a fraction, that n paired problems show with the given power; None when no gain can be
    shown.
    """
    low, high = 0.0, 1.0 - base
    if n < 1 or high <= 0 or power_paired(n, *discordant(base, high, correlation), mid) < power:
        return None
    for _ in range(14):
        middle = (low + high) / 2
        enough = power_paired(n, *discordant(base, middle, correlation), mid) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def plan(base: float, gain: float, correlation: float = CORRELATION, problems: int = 164) -> dict:
    """Everything that `tunebook power` prints. `power` is the mid-p test's on `problems`, `power_exact` the exact
    one's.

    `correlation` is the one that was used; it differs from `correlation_asked` where the rates do not allow that.
    """
    up, down = discordant(base, gain, correlation)
    if problems > LARGEST:
        raise InputProblem(f"{problems:,} problems: more than {LARGEST:,} are not computed")
    return {
        "base": base,
        "gain": gain,
        "correlation": correlation_used(base, gain, correlation),
        "correlation_asked": correlation,
        "problems": problems,
        "n_unpaired_per_side": n_unpaired(base, gain),
        "n_paired_exact": n_paired(base, gain, correlation),
        "n_paired_mid": n_paired(base, gain, correlation, mid=True),
        "power": power_paired(problems, up, down, mid=True),
        "power_exact": power_paired(problems, up, down),
        "detectable_effect": detectable_effect(problems, base, correlation),
    }


def n_to_settle(n: int, distance: float, error: float, z: float = 1.96, target: float = TARGET) -> int:
    """Problems with which a new study tells a difference from its margin, either way, in `target` of repetitions.

    On `n` problems the difference lay `distance` from the margin, with the standard error `error`; a difference of `z`
    errors decides. The measured difference is an estimate: the true one is drawn around it with its standard error (a
    flat prior), and the new study's own error comes on top. Were the measured one taken for the truth, as many problems
    as 80% power asks for would settle about six in ten (bench_verdicts). A true difference that is exactly the margin
    is settled by no number.

    >>> n_to_settle(150, 6.0, 4.29), n_to_settle(150, 0.0, 4.29)
    (1524, 8828)

    Source: Spiegelhalter and Freedman 1986 (predictive power); O'Hagan, Stevens and Campbell 2005, Assurance in
    clinical trial design, Pharmaceutical Statistics 4.
    """
    from scipy.optimize import bisect
    from scipy.special import ndtr

    away = abs(distance) / error

    def missed(root: float) -> float:
        """Share of new studies that stay open, above what is allowed; `root` is the root of n over the new number."""
        spread = math.hypot(1.0, root)
        return ndtr((z * root - away) / spread) - ndtr((-z * root - away) / spread) - (1 - target)

    largest = next(root for root in (2.0**power for power in range(1, 64)) if missed(root) > 0)
    return math.ceil(n / bisect(missed, 1e-4, largest, xtol=1e-9) ** 2)


def _require_gain(gain: float) -> None:
    if not 0 < gain < math.inf:
        raise InputProblem(f"the gain must be above 0, found {gain}: write 0.036 for 3.6 points")
    if gain < SMALLEST:
        raise InputProblem(f"the gain is {gain:g}: below {SMALLEST:g} no benchmark is large enough")


@lru_cache(maxsize=200_000)
def _fewest_gains(m: int, mid: bool, alpha: float) -> int:
    """Fewest gains among m discordant problems that are significant; m + 1 when none are."""
    from scipy.special import bdtr

    lost = numpy.arange((m + 1) // 2)  # fewer than half: the gain has the right direction
    up_to = bdtr(lost, m, 0.5)
    p = up_to + numpy.append(0.0, up_to[:-1]) if mid else 2 * up_to
    n_significant = int((p < alpha * (1 - 1e-12)).sum())  # p rises with the losses
    return m + 1 - n_significant if n_significant else m + 1


@lru_cache(maxsize=200_000)
def _power_given(m: int, share_up: float, mid: bool, alpha: float) -> float:
    """Chance of a significant gain when m problems are discordant."""
    if m > EXACT_UP_TO and 0 < share_up < 1:
        fewest = m / 2 + NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(m) / 2 + (0.0 if mid else 0.5)
        return NormalDist().cdf((m * share_up - fewest) / math.sqrt(m * share_up * (1 - share_up)))
    from scipy.special import bdtrc

    fewest = _fewest_gains(m, mid, alpha)
    if fewest > m:
        return 0.0
    return float(bdtrc(fewest - 1, m, share_up))
