"""How often `tunebook upgrade` answers wrongly where the truth is known: the rule itself on drawn scores.

What ships, prompts on a new base, a hosted model and a new tune answer the same `n` problems, right with known rates;
what is hard for one is hard for all (a shared latent difficulty). A RETIRE is false where no prompt truly meets the
target of 90 points, and the hosted model is not cheaper or truly loses `largest_loss` = 5 points. A RETRAIN is false
where nothing new is truly better. A KEEP that calls itself settled is false where something is as good or better.
"""

from statistics import NormalDist

import numpy

from tunebook.decision.upgrade.answer import HOSTED, PROMPT, TUNE, Money, Option, answer, evidence_for
from tunebook.evaluation.score_folder import Scores

DRAWS = 1000  # so that a rate of 5% is known to 1.4 points
SHARED = 0.6  # share of the latent variance that is the problem's
SPEC = {"target_score": 90.0, "smallest_gain": 0.0, "largest_loss": 5.0}
EDGE = 0.8999  # truly below the target, as little as can be
DEAR, CHEAP = Money((-3.0, -2.0, -1.0)), Money((1.0, 2.0, 3.0))
# name: n, rate of what ships, rates of what could take its place, money, what is wrong to say
CASES = {
    "nothing is better": (400, 0.6, {PROMPT: [0.6], TUNE: [0.6]}, CHEAP, "RETIRE RETRAIN settled"),
    "six prompts, none better": (400, 0.6, {PROMPT: [0.6] * 6}, CHEAP, "RETIRE RETRAIN settled"),
    "a prompt just below the target": (400, 0.8, {PROMPT: [EDGE]}, CHEAP, "RETIRE"),
    "six prompts just below it, n 100": (100, 0.8, {PROMPT: [EDGE] * 6}, CHEAP, "RETIRE"),
    "six prompts just below it": (400, 0.8, {PROMPT: [EDGE] * 6}, CHEAP, "RETIRE"),
    "a cheaper hosted model loses 5 points": (400, 0.7, {HOSTED: [0.65]}, DEAR, "RETIRE"),
    "it loses 5, three prompts just below": (400, 0.92, {PROMPT: [EDGE] * 3, HOSTED: [0.87]}, DEAR, "RETIRE"),
    "it loses 5, three prompts, n 100": (100, 0.92, {PROMPT: [EDGE] * 3, HOSTED: [0.87]}, DEAR, "RETIRE"),
    "what ships is 10 points better": (400, 0.7, {PROMPT: [0.6, 0.5]}, CHEAP, "RETIRE RETRAIN"),
    "a prompt is 10 points better": (400, 0.6, {PROMPT: [0.7, 0.5]}, CHEAP, "RETIRE settled"),
    "a tune is 10 points better": (400, 0.6, {PROMPT: [0.5], TUNE: [0.7]}, CHEAP, "RETIRE settled"),
    "a prompt is at 95": (400, 0.8, {PROMPT: [0.95, 0.7]}, CHEAP, "settled"),
    "a cheaper hosted model is as good": (400, 0.7, {HOSTED: [0.7]}, DEAR, "RETRAIN settled"),
}


def measure() -> dict:
    return {name: _case(at, *case) for at, (name, case) in enumerate(CASES.items())}


def _case(seed: int, n: int, ships: float, others: dict, money: Money, wrong: str) -> dict:
    rng, said = numpy.random.default_rng([seed, n]), []
    kinds = [(kind, rate) for kind, rates in others.items() for rate in rates]
    for _ in range(DRAWS):
        drawn = _draw(rng, n, [ships, *(rate for _, rate in kinds)])
        options = [Option(f"{kind} {at}", kind, scores) for at, ((kind, _), scores) in enumerate(zip(kinds, drawn[1:]))]
        found = answer("sft", drawn[0], options, evidence_for(SPEC), money)
        said.append("settled" if found["answer"] == "KEEP" and found["settled"] else found["answer"])
    shares = {word: round(said.count(word) / DRAWS, 4) for word in ("RETIRE", "RETRAIN", "settled", "KEEP")}
    return shares | {"wrong": round(sum(shares[word] for word in wrong.split()), 4), "would_be_wrong": wrong}


def _draw(rng, n: int, rates: list[float]) -> list[Scores]:
    shared = rng.normal(size=n)
    scores = []
    for rate in rates:
        latent = numpy.sqrt(SHARED) * shared + numpy.sqrt(1 - SHARED) * rng.normal(size=n)
        right = latent < NormalDist().inv_cdf(rate)
        scores.append(Scores("", {str(at): [bool(value)] for at, value in enumerate(right)}, {}, {"n": n}))
    return scores
