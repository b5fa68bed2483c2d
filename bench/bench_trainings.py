"""How often the interval over trainings holds the recipe's true gain, where the truth is known.

Every training of a recipe shifts all problems by its own draw (in logits) and answers each by its own coin. The true
gain is the mean over further trainings and problems. `file_alone` is the interval of one training (Tango), taken as if
it were about the recipe: what a study with one seed would claim.

`again`: the probability that `verdicts_again` gives to GO for one more training by itself, in bands, beside how often
one got it; the recipes gain between about -10 and 20 points there.
"""

import math

import numpy

from tunebook.statistics.paired import mcnemar, paired_interval
from tunebook.statistics.trainings import over_trainings, verdicts_again

STUDIES = 1500
BANDS = (0.0, 0.1, 0.3, 0.7, 0.9, 1.01)


def measure() -> dict:
    again = {
        f"{trainings} trainings, {n} problems, spread {spread}": _again(trainings, n, spread)
        for trainings in (2, 3, 5)
        for n in (150, 400)
        for spread in (0.0, 0.3)
    }
    return {"coverage": _all_coverage(), "again": again}


def _all_coverage() -> dict:
    return {
        f"{trainings} trainings, {n} problems, spread {spread}": _coverage(trainings, n, spread)
        for trainings in (2, 3, 5)
        for n in (40, 150, 400)
        for spread in (0.0, 0.3, 0.8)
    }


def _coverage(trainings: int, n: int, spread: float) -> dict:
    rng = numpy.random.default_rng([trainings, n, int(10 * spread)])
    base_rate, nodes = 0.3, numpy.linspace(-8, 8, 4001)
    weights = numpy.exp(-(nodes**2) / 2)
    mean_rate = (_rate(0.5 + math.hypot(1.5, spread) * nodes) * weights).sum() / weights.sum()
    truth = 100 * (float(mean_rate) - base_rate)
    held = alone = shown = 0
    width = []
    for _ in range(STUDIES):
        own = rng.normal(0.5, 1.5, n)
        base = rng.random(n) < base_rate
        after = rng.random((trainings, n)) < _rate(own[None, :] + rng.normal(0, spread, (trainings, 1)))
        table = after.astype(float) - base
        result = over_trainings(table.tolist())
        low, high = result["interval"]
        held += low <= truth <= high
        shown += result["verdict"] == "GO"
        width.append(high - low)
        low, high = paired_interval(int((table[0] > 0).sum()), int((table[0] < 0).sum()), n)
        alone += 100 * low <= truth <= 100 * high
    return {
        "truth": round(truth, 2),
        "coverage": round(held / STUDIES, 4),
        "file_alone": round(alone / STUDIES, 4),
        "median_width": round(float(numpy.median(width)), 2),
        "shown": round(shown / STUDIES, 4),
    }


def _again(trainings: int, n: int, spread: float) -> list[dict]:
    rng = numpy.random.default_rng([trainings, n, int(10 * spread), 1])
    told, got = [], []
    for _ in range(STUDIES):
        own = rng.normal(rng.normal(-0.9, 0.4), 1.5, n)
        base = rng.random(n) < 0.3
        shifts = rng.normal(0, spread, (trainings + 1, 1))
        table = (rng.random((trainings + 1, n)) < _rate(own[None, :] + shifts)).astype(float) - base
        told.append(verdicts_again(table[:-1].tolist())["GO"])
        gained, lost = int((table[-1] > 0).sum()), int((table[-1] < 0).sum())
        got.append(gained > lost and mcnemar(gained, lost)[0] < 0.05)
    told, got = numpy.array(told), numpy.array(got)
    rows = []
    for low, high in zip(BANDS, BANDS[1:]):
        inside = (told >= low) & (told < high)
        if inside.sum() >= 30:
            row = {"told": round(float(told[inside].mean()), 3), "got": round(float(got[inside].mean()), 3)}
            rows.append(row | {"studies": int(inside.sum())})
    return rows


def _rate(logits):
    return 1 / (1 + numpy.exp(-logits))
