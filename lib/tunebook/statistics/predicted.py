"""A rate, or a difference of two, from a judge's predictions for all problems and a person's labels for some of them.

The judge is corrected by its mistakes on the labelled problems, so that the estimate is right however bad the judge is;
a good judge makes the interval narrow. The labelled problems must be a simple random sample of all: neither the judge
nor the person may choose them. Does not ask a judge and does not read files.

Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023, Prediction-powered inference, Science 382; Angelopoulos,
Duchi and Zrnic 2023, PPI++ (how much the judge counts). Where the labelled problems are some of those that the judge
saw, as here, it is the regression estimator of Cochran 1977, Sampling techniques, chapter 7.
"""

import math
from collections.abc import Sequence

import numpy

from tunebook.errors import InputProblem
from tunebook.statistics.intervals import CONFIDENCE, require_finite, z_value

RATE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # least and largest value of an outcome
FEWEST = 10  # labels
UNSEEN = 0.75  # problems added at either end: a kind of mistake may just not have been seen
ROUNDING = 1e-12  # variance of predictions below which they are one and the same
POWER = 0.8
DRAWS = 20_000


def predicted_mean(
    outcomes: Sequence[float | None],
    predictions: Sequence[float],
    ends: tuple[float, float] = RATE,
    confidence: float = CONFIDENCE,
) -> dict:
    """The mean outcome of all problems, and of more like them, with its interval.

    `outcomes` has None where nobody labelled; `predictions` are the judge's, one a problem, on any scale (0 for all
    leaves the labels alone). Outcomes lie between `ends`. Returns `estimate`, `interval`, `n` labelled of `n_all`, the
    `weight` of the judge (PPI++'s lambda; 0 where it says nothing, or the contrary of the truth), and the variances of
    what is left to know, `of_labels` (of one label, the judge counted) and `of_problems`. InputProblem for fewer than
    FEWEST labels, for outcomes out of range, and for unequal lengths.

    The weight is the slope of the outcomes on the predictions, which has the least variance, and less where the
    labelled predictions vary less than all; it lowers the degrees of freedom by one. UNSEEN problems at each end, with
    the judge's mean prediction, are added to the variance alone. A rate has Clopper and Pearson's interval at the
    effective size (Korn and Graubard 1998), a difference Student's. bench_labels measures what they cover from 50
    labels on, where the normal interval is too short.

    >>> row = predicted_mean([1, 0] * 10 + [None] * 20, [0.9, 0.2] * 10 + [0.9] * 20)
    >>> row["n"], row["n_all"], round(row["estimate"], 2)
    (20, 40, 0.75)
    """
    y = numpy.array([math.nan if value is None else value for value in outcomes], dtype=float)
    f, told, (lowest, highest) = numpy.asarray(predictions, dtype=float), ~numpy.isnan(y), ends
    n, n_all = int(told.sum()), len(y)
    if len(f) != n_all:
        raise InputProblem(f"{len(f)} predictions of {n_all} problems: give one for each problem")
    if n < FEWEST:
        raise InputProblem(f"{n} of {n_all} problems are labelled: label at least {FEWEST}, 50 are a beginning")
    require_finite(f, "the judge's predictions")
    if y[told].min() < lowest or y[told].max() > highest:
        raise InputProblem(f"outcomes lie between {lowest:g} and {highest:g}, found {y[told].min()} to {y[told].max()}")
    seen = f[told] - f[told].mean()
    spread = max(seen @ seen / n, f.var())  # of all, too: the labelled ones may lack what the judge rarely says
    weight = max(0.0, float(seen @ y[told] / n / spread)) if spread > ROUNDING else 0.0
    centre, rest = weight * f.mean(), y[told] - weight * f[told]
    estimate = float(numpy.clip(centre + rest.mean(), lowest, highest))
    of_labels = _variance(rest, [lowest - centre, highest - centre])
    of_problems = _variance(y[told], ends) if ends != RATE else _shrunk(estimate, n) * (1 - _shrunk(estimate, n))
    row = {"estimate": estimate, "n": n, "n_all": n_all, "weight": weight}
    row |= {"of_labels": of_labels, "of_problems": of_problems}
    return row | {"interval": _interval(row, ends, n - 1 - (weight > 0), confidence)}


def _shrunk(rate: float, n: int) -> float:
    """The rate with half a problem more at each end, so that it is never 0 or 1."""
    return (rate * n + 0.5) / (n + 1)


def _variance(values: numpy.ndarray, ends: Sequence[float]) -> float:
    """Variance with UNSEEN values more at each end."""
    weights = numpy.append(numpy.ones(len(values)), [UNSEEN, UNSEEN])
    values = numpy.append(values, ends)
    mean = weights @ values / weights.sum()
    return float(weights @ (values - mean) ** 2 / (weights.sum() - 1))


def _error(row: dict, n: int) -> float:
    """Standard error of the estimate with `n` labels: labelling all problems leaves what other problems would give."""
    return math.sqrt(row["of_labels"] * (1 / n - 1 / row["n_all"]) + row["of_problems"] / row["n_all"])


def _interval(row: dict, ends: tuple[float, float], freedom: int, confidence: float) -> list[float]:
    from scipy.special import betaincinv, stdtrit

    value, error, student = row["estimate"], _error(row, row["n"]), float(stdtrit(freedom, 0.5 + confidence / 2))
    if ends != RATE:
        return [max(ends[0], value - student * error), min(ends[1], value + student * error)]
    size = min(row["n_all"], row["of_problems"] / error**2 * (z_value(confidence) / student) ** 2)
    k, tail = value * size, (1 - confidence) / 2
    low = betaincinv(k, size - k + 1, tail) if k > 0 else 0.0
    return [float(low), float(betaincinv(k + 1, size - k, 1 - tail)) if k < size else 1.0]


def labels_needed(row: dict, margin: float = 0.0, confidence: float = CONFIDENCE) -> int | None:
    """Labels with which the interval leaves `margin` out in POWER of the repetitions, if what `row` (of
    `predicted_mean`) says is the truth; its own number where it does so already, None where labelling all of these
    problems would not do: that takes more problems.
    """
    low, high = row["interval"]
    if not low <= margin <= high:
        return row["n"]
    wanted = ((row["estimate"] - margin) / (z_value(confidence) + z_value(2 * POWER - 1))) ** 2
    left = (wanted - row["of_problems"] / row["n_all"]) / row["of_labels"] + 1 / row["n_all"]
    return max(row["n"] + 1, math.ceil(1 / left)) if left > 1 / row["n_all"] else None


def agreement(first: Sequence[bool], second: Sequence[bool], confidence: float = CONFIDENCE) -> dict:
    """How far two people agree on the same answers: `n`, `agree` (share) and Cohen's `kappa` (0: as by chance; None
    where both gave one and the same label to all), each with its interval.

    The intervals are a Bayesian bootstrap over the answers with Jeffreys' half answer in each of the four cells, so
    that a few answers without a dispute do not look certain. InputProblem where there is nothing to compare.

    Source: Cohen 1960, A coefficient of agreement for nominal scales; Rubin 1981, The Bayesian bootstrap.
    """
    if len(first) != len(second) or not len(first):
        raise InputProblem(f"{len(first)} and {len(second)} labels: two people must have labelled the same answers")
    cells = numpy.bincount(2 * numpy.asarray(first, dtype=int) + numpy.asarray(second, dtype=int), minlength=4)
    drawn = numpy.random.default_rng(0).dirichlet(cells + 0.5, DRAWS)
    ends, row = [(1 - confidence) / 2, (1 + confidence) / 2], {"n": len(first)}
    for name, measure in (("agree", _agree), ("kappa", _kappa)):
        value = float(measure(cells[None] / cells.sum())[0])
        row[name] = None if math.isnan(value) else value
        row[f"{name}_interval"] = [float(end) for end in numpy.quantile(measure(drawn), ends)]
    return row


def _agree(shares: numpy.ndarray) -> numpy.ndarray:
    return shares[:, 0] + shares[:, 3]


def _kappa(shares: numpy.ndarray) -> numpy.ndarray:
    a, b = shares[:, 2] + shares[:, 3], shares[:, 1] + shares[:, 3]
    chance = a * b + (1 - a) * (1 - b)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return numpy.where(chance < 1, (_agree(shares) - chance) / (1 - chance), numpy.nan)
