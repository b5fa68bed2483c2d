"""How often a threshold of confidence keeps its promise where the truth is known, and how many answers stay local.

`choose_threshold` sees `n` judged answers of a model; the true share of wrong answers above its threshold comes from
the model's law (a sample of POPULATION). A split keeps the promise where this share is at most the risk, or nothing
stays: that must be so in 95% of the splits or more. Models differ in what their confidence is worth:

- good: right nine times in ten, and it knows when; informative: right four times in five. The probability that both
  give an answer is that of being right.
- overconfident: the answers of `informative`, with confidences far too high: only their order counts.
- uninformative: wrong at 3.01%, whatever its confidence; constant: the same with one confidence only.
- just_too_wrong: wrong at 2.95% above some confidence, at 3.2% below it.
- inverted: the surer, the wronger.
- waves: the share of wrong answers rises and falls on the way down, so that a lower threshold can have a smaller one.
"""

import numpy

from tunebook.statistics.selective import choose_threshold

SPLITS = 4000  # so that the share that keeps it is known to 0.35 points
POPULATION = 400_000
RISK = 0.03


def measure() -> dict:
    return {f"{name}, {n} dev problems": _splits(name, n) for name in MODELS for n in (150, 400, 1000)}


def _splits(name: str, n: int) -> dict:
    confidence, wrong = MODELS[name](numpy.random.default_rng(7), POPULATION)
    order = numpy.argsort(-confidence, kind="stable")
    sorted_confidence, total = -confidence[order], numpy.cumsum(wrong[order])
    rng = numpy.random.default_rng([n, len(name)])
    kept, share = [], []
    for _ in range(SPLITS):
        values, chance = MODELS[name](rng, n)
        found = choose_threshold(values, rng.random(n) >= chance, RISK)
        count = 0
        if found["kept"]:
            least = found["threshold"]
            count = POPULATION if least is None else int(numpy.searchsorted(sorted_confidence, -least, side="left"))
        kept.append(not count or total[count - 1] / count <= RISK)
        share.append(count / POPULATION)
    some = [value for value in share if value]
    return {
        "kept": round(float(numpy.mean(kept)), 3),
        "threshold_found": round(len(some) / SPLITS, 3),
        "mean_share_local": round(float(numpy.mean(some)), 3) if some else 0.0,
        "best_share_local": round(_best(total), 3),
    }


def _best(total: numpy.ndarray) -> float:
    """The largest share that could stay, if the truth were known."""
    holds = numpy.flatnonzero(total / numpy.arange(1, len(total) + 1) <= RISK)
    return (int(holds[-1]) + 1) / len(total) if len(holds) else 0.0


def _good(rng, n: int):
    right = 1 / (1 + numpy.exp(-rng.normal(6.0, 4.0, n)))
    return numpy.log(right), 1 - right


def _informative(rng, n: int):
    right = 1 / (1 + numpy.exp(-rng.normal(3.0, 2.5, n)))
    return numpy.log(right), 1 - right


def _overconfident(rng, n: int):
    logp, wrong = _informative(rng, n)
    return logp / 50, wrong


def _uninformative(rng, n: int):
    return rng.random(n), numpy.full(n, 0.0301)


def _constant(rng, n: int):
    return numpy.zeros(n), numpy.full(n, 0.0301)


def _edge(rng, n: int):
    place = rng.random(n)
    return -place, numpy.where(place < 0.3, 0.0295, 0.0320)


def _inverted(rng, n: int):
    place = rng.random(n)
    return -place, 0.06 * (1 - place)


def _waves(rng, n: int):
    place = rng.random(n)
    return -place, numpy.clip(0.031 + 0.03 * numpy.sin(40 * place), 0, 1)


MODELS = {
    "good": _good,
    "informative": _informative,
    "overconfident": _overconfident,
    "uninformative": _uninformative,
    "constant": _constant,
    "just_too_wrong": _edge,
    "inverted": _inverted,
    "waves": _waves,
}
