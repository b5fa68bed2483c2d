"""How often the interval from few labels and a judge holds the truth, and how wide it is beside the labels alone.

Two models answer PROBLEMS problems; a judge gives every answer a probability, and a person labels both answers of `n`
problems. The truth is that of the law which the problems are drawn from. `predicted` is `predicted_mean`; `labels` is
Wilson's interval (Tango's for the difference) of the same labels; `judge` believes the judge as if it were the truth;
`normal` is the textbook's PPI++ interval. `width` is that of `predicted` over that of `labels`.

- good, weak: unbiased judges that know much, or little; useless: random; contrary: right where the answer is wrong.
- lenient: calls 40% of the wrong answers right; rare: errs in 3% of the answers, all of them praise.
- partial: sees the second model's wrong answers as right half of the time, the first model's never.

The queue takes the problems that the judge doubts from a second list. `doubtful` says what counting them in would do:
as if they were random (`pooled`), and as a stratum by itself, with its known inclusion probability 1 (`weighted`).
"""

import math

import numpy

from tunebook.statistics.intervals import wilson
from tunebook.statistics.paired import paired_interval
from tunebook.statistics.predicted import DIFFERENCE, agreement, predicted_mean

PROBLEMS, REPEATS = 400, 1000
RATES = (0.02, 0.1, 0.3, 0.5, 0.9, 0.98)
LABELS = (50, 100, 200)
AGREEMENTS = {"mostly": (0.5, 0.08), "nearly all right": (0.95, 0.03), "chance": (0.5, 0.5)}  # rate, share of slips


def measure() -> dict:
    rng = numpy.random.default_rng(17)
    rates = {
        f"{judge}, {n} labels": {f"rate {rate}": _rate(rng, judge, rate, n) for rate in RATES}
        for judge in JUDGES
        for n in LABELS
    }
    pairs = {
        f"{judge}, {n} labels": {f"{a} to {b}": _difference(rng, judge, a, b, n) for a, b in PAIRS}
        for judge in ("good", "partial", "useless")
        for n in LABELS
    }
    covered = [row["predicted"] for part in (*rates.values(), *pairs.values()) for row in part.values()]
    return {
        "least_coverage": min(covered),
        "mean_coverage": round(float(numpy.mean(covered)), 3),
        "rates": rates,
        "differences": pairs,
        "doubtful": {judge: _doubtful(rng, judge) for judge in ("good", "lenient", "weak")},
        "agreement": {name: _agreements(rng, *law) for name, law in AGREEMENTS.items()},
    }


def _rate(rng, judge: str, rate: float, n: int) -> dict:
    kept = {"predicted": [], "labels": [], "judge": [], "normal": []}
    for _ in range(REPEATS):
        right = rng.random(PROBLEMS) < rate
        says = JUDGES[judge](rng, right, False)
        labelled = rng.choice(PROBLEMS, n, replace=False)
        kept["predicted"].append(predicted_mean(_told(right, labelled), says)["interval"])
        kept["labels"].append(wilson(int(right[labelled].sum()), n))
        kept["judge"].append(_normal(says.mean(), says.var() / PROBLEMS))
        kept["normal"].append(_textbook(right[labelled], says[labelled], says))
    return _row(kept, rate)


def _difference(rng, judge: str, first: float, second: float, n: int) -> dict:
    kept = {"predicted": [], "labels": [], "judge": []}
    for _ in range(REPEATS):
        luck = rng.random(PROBLEMS)  # half of the problems are easy or hard for both models alike
        other = numpy.where(rng.random(PROBLEMS) < 0.5, luck, rng.random(PROBLEMS))
        a, b = luck < first, other < second
        gap = JUDGES[judge](rng, b, True) - JUDGES[judge](rng, a, False)
        labelled, change = rng.choice(PROBLEMS, n, replace=False), b.astype(float) - a
        kept["predicted"].append(predicted_mean(_told(change, labelled), gap, DIFFERENCE)["interval"])
        gained, lost = int((change[labelled] > 0).sum()), int((change[labelled] < 0).sum())
        kept["labels"].append(paired_interval(gained, lost, n))
        kept["judge"].append(_normal(gap.mean(), gap.var() / PROBLEMS))
    return _row(kept, second - first)


def _doubtful(rng, judge: str, n: int = 100, chosen: int = 30, rate: float = 0.7) -> dict:
    """Coverage of the random labels alone, of all labels pooled, and of both weighted, with mean widths."""
    kept = {"random": [], "pooled": [], "weighted": []}
    for _ in range(REPEATS):
        right = rng.random(PROBLEMS) < rate
        says = JUDGES[judge](rng, right, False)
        doubted = numpy.argsort(numpy.abs(says - 0.5))[:chosen]
        order = rng.permutation(PROBLEMS)
        kept["random"].append(predicted_mean(_told(right, order[:n]), says)["interval"])
        pooled = numpy.union1d(doubted, order[: n - chosen])
        kept["pooled"].append(predicted_mean(_told(right, pooled), says)["interval"])
        rest = numpy.setdiff1d(numpy.arange(PROBLEMS), doubted)
        row = predicted_mean(_told(right[rest], rng.permutation(len(rest))[: n - chosen]), says[rest])
        share = len(rest) / PROBLEMS
        known = (1 - share) * right[doubted].mean()  # of these problems; others of their kind vary
        low, high = (known + share * end for end in row["interval"])
        kept["weighted"].append((low, high))
    return {
        name: {"coverage": _coverage(ends, rate), "width": round(float(numpy.ptp(ends, axis=1).mean()), 3)}
        for name, ends in kept.items()
    }


def _agreements(rng, rate: float, slips: float, n: int = 60) -> dict:
    cells = numpy.array([(1 - rate) * (1 - slips), (1 - rate) * slips, rate * slips, rate * (1 - slips)])
    second = cells[1] + cells[3]
    chance = rate * second + (1 - rate) * (1 - second)
    truth = {"agree": 1 - slips, "kappa": (1 - slips - chance) / (1 - chance)}
    kept = {name: [] for name in truth}
    for _ in range(REPEATS // 4):
        first = rng.random(n) < rate
        row = agreement(first, first ^ (rng.random(n) < slips))
        for name in truth:
            kept[name].append(row[f"{name}_interval"])
    return {name: _coverage(ends, truth[name]) for name, ends in kept.items()}


def _told(values, labelled) -> list:
    """The values of the labelled problems, None for all others."""
    shown = dict(zip(labelled.tolist(), values[labelled].tolist(), strict=True))
    return [shown.get(at) for at in range(len(values))]


def _normal(mean: float, variance: float) -> tuple[float, float]:
    half = 1.96 * math.sqrt(variance)
    return mean - half, mean + half


def _textbook(right, seen, says) -> tuple[float, float]:
    """PPI++ with its plug-in variance."""
    spread = seen.var()
    weight = min(1.0, max(0.0, float(numpy.cov(right, seen)[0, 1] / spread))) if spread else 0.0
    rest = right - weight * seen
    variance = rest.var() * (1 / len(right) - 1 / len(says)) + right.var() / len(says)
    return _normal(weight * says.mean() + rest.mean(), variance)


def _coverage(ends: list, truth: float) -> float:
    return round(float(numpy.mean([low <= truth <= high for low, high in ends])), 3)


def _row(kept: dict, truth: float) -> dict:
    width = {name: float(numpy.ptp(ends, axis=1).mean()) for name, ends in kept.items()}
    return {name: _coverage(ends, truth) for name, ends in kept.items()} | {
        "width": round(width["predicted"] / width["labels"], 2)
    }


def _sure(rng, right, signal: float, noise: float):
    """Probabilities of a judge whose log-odds are `signal` on the right side, with `noise`."""
    return 1 / (1 + numpy.exp(-(numpy.where(right, signal, -signal) + rng.normal(0, noise, len(right)))))


def _lenient(rng, right, is_second):
    return _sure(rng, right | (rng.random(len(right)) < 0.4), 2.5, 1.0)


def _rare(rng, right, is_second):
    return (right | (rng.random(len(right)) < 0.03)).astype(float)


def _partial(rng, right, is_second):
    return _sure(rng, right | ((rng.random(len(right)) < 0.5) & is_second), 3.0, 1.0)


JUDGES = {
    "good": lambda rng, right, is_second: _sure(rng, right, 3.0, 1.5),
    "weak": lambda rng, right, is_second: _sure(rng, right, 0.1, 0.2),
    "useless": lambda rng, right, is_second: rng.random(len(right)),
    "contrary": lambda rng, right, is_second: _sure(rng, ~right, 1.0, 1.0),
    "lenient": _lenient,
    "rare": _rare,
    "partial": _partial,
}
PAIRS = ((0.3, 0.3), (0.5, 0.65), (0.9, 0.95), (0.02, 0.1), (0.0, 0.03))
