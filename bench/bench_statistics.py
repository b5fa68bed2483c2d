"""How often the statistics say what is not so: GO without a difference, and intervals that miss the truth.

Simulated scores with a known truth, fixed seed. `false_go` must not exceed 2.5% of the comparisons of a model with
itself (half of the two-sided 5%), `false_verdict` (GO or NO-GO) not 5%; `coverage` of a 95% interval should be near 95%
and not far below.
"""

COMPARISONS, SEED = 2000, 0
# pass@1 of both models, correlation of their right answers, problems, samples a problem
SETTINGS = [
    (0.05, 0.47, 164, 1), (0.30, 0.47, 164, 1), (0.30, 0.80, 164, 1), (0.30, 0.0, 164, 1), (0.90, 0.47, 164, 1),
    (0.50, 0.47, 40, 1), (0.50, 0.47, 1000, 1), (0.30, 0.47, 164, 5), (0.05, 0.47, 100, 10),
]  # fmt: skip


def measure(comparisons: int = COMPARISONS, settings=SETTINGS) -> dict:
    """For each setting the share of verdicts without a difference, and the coverage of three intervals with one of 3
    points.
    """
    import numpy

    draw = numpy.random.default_rng(SEED)
    rows = []
    for base, correlation, problems, samples in settings:
        row = {"pass_at_1": base, "correlation": correlation, "problems": problems, "samples": samples}
        row |= _without_a_difference(draw, base, correlation, problems, samples, comparisons)
        row |= _coverage(draw, base, correlation, problems, samples, comparisons)
        rows.append(row)
    worst = {"false_go": max(r["false_go"] for r in rows), "false_verdict": max(r["false_verdict"] for r in rows)}
    lowest = {name: min(r[name] for r in rows) for name in ("rate_coverage", "difference_coverage")}
    return {"comparisons": comparisons, "seed": SEED, **worst, **lowest, "settings": rows}


def _scores(draw, rate_a, rate_b, correlation, problems, samples) -> list[dict]:
    """Two models' passes: a problem's samples pass with a chance of its own (a beta whose spread gives the
    correlation).
    """
    import numpy

    spread = 1 / correlation - 1 if correlation else None  # a + b of the beta: correlation = 1 / (a + b + 1)
    level = draw.random(problems)
    found = []
    for rate in (rate_a, rate_b):
        if spread is None:
            chance = numpy.full(problems, rate)
        else:
            from scipy.stats import beta

            chance = beta.ppf(level, rate * spread, (1 - rate) * spread)
        passed = draw.random((problems, samples)) < chance[:, None]
        found.append({str(i): row.tolist() for i, row in enumerate(passed)})
    return found


def _without_a_difference(draw, base, correlation, problems, samples, comparisons) -> dict:
    from tunebook.statistics.compare import GO, NO_GO, compare_paired

    verdicts = [
        compare_paired(*_scores(draw, base, base, correlation, problems, samples))["verdict"]
        for _ in range(comparisons)
    ]
    go, no_go = verdicts.count(GO) / comparisons, verdicts.count(NO_GO) / comparisons
    return {"false_go": go, "false_verdict": go + no_go}


def _coverage(draw, base, correlation, problems, samples, comparisons) -> dict:
    """Shares of 95% intervals that hold the truth: of one score, and of a true difference of 3 points."""
    from tunebook.evaluation.score import rates
    from tunebook.statistics.compare import compare_paired

    rate, difference = 0, 0
    for _ in range(comparisons):
        a, b = _scores(draw, base, base + 0.03, correlation, problems, samples)
        low, high = rates(a)["interval"]
        rate += low <= base <= high
        low, high = compare_paired(a, b)["interval"]
        difference += low <= 3.0 <= high
    return {"rate_coverage": rate / comparisons, "difference_coverage": difference / comparisons}
