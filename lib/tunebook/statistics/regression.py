"""Two regressions over many trainings: a score against the rows that taught it, and what was forgotten against the
distance from base.

Does not read runs. Rates are fractions, a level is a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import t as student

from tunebook.errors import InputProblem

DRAWS = 2000
LEAST = 4  # trainings that a fit takes
MOST_VARIANCE = 100.0  # in squared logits


@dataclass(frozen=True)
class Growth:
    """logit(score) = coefficients · (1, ln rows), with their `covariance`, the `spread` between trainings of one size
    (standard deviation, in logits) and the degrees of freedom that are left.
    """

    coefficients: numpy.ndarray
    covariance: numpy.ndarray
    spread: float
    freedom: int

    def predict(self, rows: int, problems: int, level: float = 0.9) -> tuple[float, float, float]:
        """(low, middle, high) score of one further training on `rows` rows, asked `problems` problems."""
        at = numpy.array([1.0, math.log(rows)])
        middle = float(at @ self.coefficients)
        share = float(expit(middle))
        error = self.spread**2 + at @ self.covariance @ at + 1 / max(problems * share * (1 - share), 0.5)
        half = float(student.ppf((1 + level) / 2, self.freedom)) * math.sqrt(error)
        return float(expit(middle - half)), share, float(expit(middle + half))


def fit_growth(trainings: Sequence[tuple[int, int, int]]) -> Growth:
    """`trainings`: (rows, problems solved, problems) of each. The errors are those of the problems and of a spread
    between trainings, so large that what is left is what chance leaves. InputProblem for fewer than two sizes or four
    trainings.

    Source: random-effects meta-regression with the variance of Paule and Mandel 1982.
    """
    if len(trainings) < LEAST or len({rows for rows, _, _ in trainings}) < 2:
        raise InputProblem("a score against its rows takes four trainings of two sizes: run more points of the sweep")
    solved = numpy.array([(k + 0.5, n - k + 0.5) for _, k, n in trainings])
    logits, errors = numpy.log(solved[:, 0] / solved[:, 1]), (1 / solved).sum(axis=1)
    places = numpy.array([(1.0, math.log(rows)) for rows, _, _ in trainings])
    freedom = len(trainings) - 2
    variance = _between(lambda value: _weighted(places, logits, errors + value)[2] - freedom)
    coefficients, covariance, _ = _weighted(places, logits, errors + variance)
    return Growth(coefficients, covariance, math.sqrt(variance), freedom)


def _weighted(places: numpy.ndarray, values: numpy.ndarray, errors: numpy.ndarray):
    """Least squares with these variances: coefficients, their covariance, and the weighted sum of squares left."""
    covariance = numpy.linalg.inv(places.T @ (places / errors[:, None]))
    coefficients = covariance @ places.T @ (values / errors)
    return coefficients, covariance, float(((values - places @ coefficients) ** 2 / errors).sum())


def _between(excess) -> float:
    """The variance between trainings at which what is left is what chance leaves; 0 where less is left already."""
    return brentq(excess, 0.0, MOST_VARIANCE) if excess(0.0) > 0 > excess(MOST_VARIANCE) else 0.0


def tried_on_the_next(trainings: Sequence[tuple[int, int, int]], level: float = 0.9) -> list[dict]:
    """Each size with enough smaller trainings, predicted from those: `rows`, `low`, `predicted`, `high` in points,
    `scores` that were then measured, and how many of them lay `inside`.
    """
    sizes, found = sorted({rows for rows, _, _ in trainings}), []
    for size in sizes[2:]:
        smaller = [one for one in trainings if one[0] < size]
        if len(smaller) < LEAST:
            continue
        here = [(k, n) for rows, k, n in trainings if rows == size]
        low, middle, high = fit_growth(smaller).predict(size, here[0][1], level)
        scores = [k / n for k, n in here]
        row = {"rows": size, "low": 100 * low, "predicted": 100 * middle, "high": 100 * high}
        row |= {"scores": [100 * score for score in scores], "inside": sum(low <= score <= high for score in scores)}
        found.append(row)
    return found


def explained(points: Sequence[tuple[str, float, float]], level: float = 0.95, seed: int = 0) -> dict:
    """How far y follows x: y = a x + b x² through the origin, over points (training, x, y).

    `a`, `b`, `r2` with its interval `r2_interval` (trainings drawn with replacement, since points of one training are
    alike), and for trainings that the fit has not seen: `r2_left_out` and `error_left_out`, the mean distance in units
    of y. InputProblem for fewer than four trainings. The form is that of Shenfeld, Pari and Agrawal 2025, section 4.
    """
    groups = sorted({name for name, _, _ in points})
    if len(groups) < 4:
        raise InputProblem(f"{len(groups)} trainings are too few to leave one out: give four at least")
    parts = {group: numpy.array([(x, y) for name, x, y in points if name == group]) for group in groups}
    every = numpy.vstack(list(parts.values()))
    guesses = {
        group: _curve(numpy.vstack([part for name, part in parts.items() if name != group]), parts[group][:, 0])
        for group in groups
    }
    left_out = numpy.concatenate([parts[group][:, 1] - guesses[group] for group in groups])
    total = ((every[:, 1] - every[:, 1].mean()) ** 2).sum()
    rng, drawn = numpy.random.default_rng(seed), []
    for _ in range(DRAWS):
        sample = numpy.vstack([parts[groups[at]] for at in rng.integers(len(groups), size=len(groups))])
        drawn.append(_r2(sample))
    bounds = numpy.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    a, b = _coefficients(every)
    found = {"a": float(a), "b": float(b), "n": len(every), "trainings": len(groups), "r2": _r2(every)}
    found |= {"r2_interval": [float(bound) for bound in bounds], "r2_left_out": float(1 - (left_out**2).sum() / total)}
    return found | {"error_left_out": float(numpy.abs(left_out).mean())}


def _coefficients(points: numpy.ndarray) -> numpy.ndarray:
    x = points[:, 0]
    return numpy.linalg.lstsq(numpy.column_stack([x, x**2]), points[:, 1], rcond=None)[0]


def _curve(points: numpy.ndarray, at: numpy.ndarray) -> numpy.ndarray:
    a, b = _coefficients(points)
    return a * at + b * at**2


def _r2(points: numpy.ndarray) -> float:
    total = ((points[:, 1] - points[:, 1].mean()) ** 2).sum()
    return float(1 - ((points[:, 1] - _curve(points, points[:, 0])) ** 2).sum() / total) if total else math.nan
