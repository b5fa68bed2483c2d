"""Searches of prompts whose true rates are known: how good is the prompt that is found, what does dev say of it, and
how often does the gate of 00 stop a study that no prompt meets?

A prompt solves each problem with its own rate. The search
is `decision.search.halve`, the gate `decision.gates.ladder_gate`.
"""

import numpy

PROMPTS, DEV, TEST, TARGET = 80, 150, 400, 90.0
# name, rates of the prompts (mean and spread, or all the same), answers
SCENARIOS = (
    ("all prompts solve exactly the target, long search", (0.9, 0.0), 4000),
    ("prompts of 10 to 60%, short search", (0.35, 0.15), 400),
    ("prompts of 10 to 60%, long search", (0.35, 0.15), 4000),
)


def measure(searches: int = 2000, seed: int = 0) -> dict:
    """A row a scenario. `dev_above_truth` and `test_above_truth`: points by which the chosen prompt's score lies above
    its true rate, on average; `below_best`: points by which its rate lies below the best one's; `stopped`: share of
    studies that the gate ends, and `stopped_by_dev`, the share if the score on dev were believed.
    """
    rng = numpy.random.default_rng(seed)
    rows = [scenario(rng, *given, searches) for given in SCENARIOS]
    return {"prompts": PROMPTS, "dev": DEV, "test": TEST, "target": TARGET, "seed": seed, "scenarios": rows}


def scenario(rng, name: str, rates: tuple[float, float], answers: int, searches: int) -> dict:
    """The row of one scenario. `holds`: the test score is the true rate within three standard errors, and where every
    prompt solves exactly the target at most 2.5% (a one-sided 97.5% bound) are stopped, with the simulation's error.
    """
    from tunebook.statistics.intervals import wilson

    found = [one_search(rng, rates, answers) for _ in range(searches)]
    means = {key: float(numpy.mean([row[key] for row in found])) for key in found[0]}
    errors = [row["test_above_truth"] for row in found]
    is_right = abs(means["test_above_truth"]) < 3 * numpy.std(errors) / searches**0.5
    if not rates[1]:
        is_right &= wilson(round(means["stopped"] * searches), searches)[0] <= 0.025
    return {"scenario": name, "searches": searches, **means, "holds": bool(is_right)}


def one_search(rng, rates: tuple[float, float], answers: int) -> dict:
    """One search, and its prompt scored once on test problems of its own."""
    from tunebook.decision.gates import ladder_gate, rung_row
    from tunebook.decision.search import halve
    from tunebook.statistics.intervals import wilson

    truth = rng.normal(*rates, PROMPTS).clip(0, 1)
    passes = rng.random((PROMPTS, DEV)) < truth[:, None]
    best, tried = halve([1.0] * PROMPTS, DEV, lambda number, part: passes[number, list(part)].tolist(), answers)
    k = int((rng.random(TEST) < truth[best]).sum())

    def stopped(k: int, n: int) -> bool:
        rung = rung_row("searched", {"k": k, "n": n, "pass_at_1": k / n, "interval": wilson(k, n)}, TARGET)
        return ladder_gate([rung], TARGET)["verdict"] == "NO-GO"

    return {
        "tried": len(tried),
        "asked": sum(row["n"] for row in tried),
        "dev_above_truth": 100 * (tried[0]["k"] / tried[0]["n"] - truth[best]),
        "test_above_truth": 100 * (k / TEST - truth[best]),
        "below_best": 100 * (truth.max() - truth[best]),
        "stopped": stopped(k, TEST),
        "stopped_by_dev": stopped(tried[0]["k"], tried[0]["n"]),
    }
