"""Which answers may stay local: a confidence threshold with a guarantee on the share of wrong answers above it.

The threshold is chosen on problems whose answers were judged (dev); the guarantee is about new calls that are drawn as
those were. Does not ask a model and does not read files.
"""

import math
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE, require_finite

MOST_STARTS = 4  # sequences of thresholds that are tried, each at its part of the error
MOST_PROBLEMS = 100_000


def most_wrong(kept, risk: float, error: float):
    """The most wrong answers among `kept` (a number or an array) with which a true share above `risk` is refused at the
    level `error`; -1 where even none would not do.

    It is the largest count at which the one-sided Clopper-Pearson bound of the share lies below `risk`.

    >>> most_wrong([98, 99, 157], 0.03, 0.05).tolist()
    [-1.0, 0.0, 1.0]
    """
    from scipy.stats import binom

    return binom.ppf(error, kept, risk) - 1


def upper_bound(wrong: int, kept: int, error: float = 1 - CONFIDENCE) -> float:
    """Clopper and Pearson's one-sided upper bound of the share wrong/kept, 1.0 where nothing was kept.

    >>> round(upper_bound(0, 99), 4), round(upper_bound(2, 50), 3)
    (0.0298, 0.121)

    Source: Clopper and Pearson 1934, Biometrika 26.
    """
    from scipy.special import betaincinv

    return float(betaincinv(wrong + 1, kept - wrong, 1 - error)) if wrong < kept else 1.0


def choose_threshold(
    confidences: Sequence[float], right: Sequence[bool], risk: float, confidence: float = CONFIDENCE
) -> dict:
    """The lowest threshold such that, with `confidence`, at most the share `risk` of the answers above it is wrong.

    Answers stay where their confidence is above `threshold` (None: all stay). `kept` and `wrong` count those of the `n`
    given; `kept` 0 says that no threshold keeps the risk (see `problems_needed`). `curve` has for some thresholds the
    `share` that stays and, of these, the share `wrong` and its bound `upper`. InputProblem for a risk outside (0, 1),
    or unequal or unfinite values.

    Given the threshold "the confidence at place k + 1 from above", the answers above it are draws from all such ones,
    so each test is exact. The places are fixed beforehand by `n`, `risk` and `confidence`: up to MOST_STARTS sequences
    begin at numbers that could show the risk, share the error, and go on to lower thresholds until the first that does
    not pass. That the first passes wrongly has at most the stated probability; for the later ones it supposes that a
    lower threshold never has a smaller true share of wrong answers (bench_cascade has one where it has).

    Source: Angelopoulos, Bates, Candes, Jordan and Lei 2021, Learn then Test (fixed sequences from several starts);
    Geifman and El-Yaniv 2017, Selective classification for deep neural networks (the exact bound of what is kept).
    """
    if not 0 < risk < 1 or not 0 < confidence < 1:
        raise InputProblem(f"a risk of {risk} with {confidence} confidence: both lie between 0 and 1, as 0.03")
    if len(confidences) != len(right) or not len(right):
        raise InputProblem(f"{len(confidences)} confidences of {len(right)} judged answers: give one for each answer")
    require_finite(confidences, "the confidences of the answers")
    values = numpy.asarray(confidences, dtype=float)
    order = numpy.argsort(-values, kind="stable")
    values, wrong = values[order], numpy.concatenate([[0], numpy.cumsum(~numpy.asarray(right, dtype=bool)[order])])
    n = len(values)
    above = [*numpy.searchsorted(-values, -values).tolist(), n]  # answers above the one at place k
    starts, error = _starts(n, risk, 1 - confidence)
    passes = wrong[above] <= most_wrong(above, risk, error)
    best = 0
    for start in starts:
        for k in [*range(start, n, max(1, starts[0] // 8)), n]:
            if above[k] < starts[0]:  # ties: too few lie above
                continue
            if not passes[k]:
                break
            best = max(best, above[k])
    shown = sorted({above[k] for k in range(max(1, n // 40), n + 1, max(1, n // 40))} | {best, n} - {0})
    return {
        "threshold": float(values[best]) if 0 < best < n else None,
        "kept": best,
        "wrong": int(wrong[best]),
        "n": n,
        "risk": risk,
        "confidence": confidence,
        "curve": [_point(values, wrong, kept, confidence) for kept in shown if kept],
    }


def _point(values, wrong, kept: int, confidence: float) -> dict:
    """A row of the curve: what stays where the first `kept` of the sorted answers do."""
    among = int(wrong[kept])
    return {
        "threshold": float(values[kept]) if kept < len(values) else None,
        "share": kept / len(values),
        "wrong": among / kept,
        "upper": upper_bound(among, kept, 1 - confidence),
    }


def _starts(n: int, risk: float, error: float) -> tuple[list[int], float]:
    """Places at which the sequences begin, each twice the one before, at most `n` / 2 where there are several, and the
    error of each; none where `n` is too small.
    """
    for count in range(MOST_STARTS, 0, -1):
        least = math.floor(math.log(error / count) / math.log1p(-risk)) + 1
        if least * 2 ** (count - 1) <= (n / 2 if count > 1 else n):
            return [least * 2**at for at in range(count)], error / count
    return [], error


def problems_needed(chosen: dict) -> int | None:
    """About how many judged problems would give a threshold if the shares that `choose_threshold` saw were the true
    ones; None for more than MOST_PROBLEMS, or where also of the surest answers too many are wrong.
    """
    rows = [row for row in chosen["curve"] if row["share"] >= 0.1]
    shares, wrong = (numpy.array([row[key] for row in rows]) for key in ("share", "wrong"))
    size, risk, error = chosen["n"], chosen["risk"], 1 - chosen["confidence"]
    while size <= MOST_PROBLEMS:
        kept = numpy.floor(size * shares)
        if (wrong * kept <= most_wrong(kept, risk, _starts(size, risk, error)[1])).any():
            return size
        size = math.ceil(1.05 * size)
    return None


def stays(confidences: Sequence[float], chosen: dict) -> list[bool]:
    """Which answers stay local under what `choose_threshold` chose."""
    least = -math.inf if chosen["threshold"] is None else chosen["threshold"]
    return [bool(chosen["kept"]) and value > least for value in confidences]
