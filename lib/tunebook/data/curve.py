"""Would more rows help? An estimate from the losses of a run that saw each training row once.

While every row is new, the training loss is a test loss, and its fall over the rows seen is a learning curve. Not for
runs of several passes. An estimate from one run: it says nothing about the score.
"""

import csv
import itertools
import math
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_json

MIN_STEPS = 20
N_BINS = 8
WORTH = 0.05  # of the loss: a smaller fall for twice the rows is little
EXPONENTS = [n / 100 for n in range(5, 155, 5)]


def read_curve(run: Path) -> tuple[list[int], list[float]]:
    """(rows seen, loss in nats a token) after every step of a run's 02_train_sft.

    Raises InputProblem where the run has no such stage, or went over its rows more than once.
    """
    folder = run / "02_train_sft"
    if not (folder / "manifest.json").is_file():
        raise InputProblem(f"{run}: has no finished 02_train_sft, so no learning curve; name a run that trained")
    params = read_json(folder / "manifest.json")["params"]
    if params["epochs"] > 1:
        raise InputProblem(
            f"{run}: trained {params['epochs']} epochs; only the losses of new rows are a learning curve"
        )
    tables = sorted((folder / "tables").glob("*loss*.csv"))
    if not tables:
        raise InputProblem(f"{run}: 02_train_sft left no table of losses; run it again")
    with open(tables[0], newline="", encoding="utf-8") as file:
        records = [row for row in csv.DictReader(file) if row.get("loss")]
    losses = [float(row["loss"]) for row in records if row.get("kind", "rows") == "rows"]
    return [step * params["batch_size"] for step in range(1, len(losses) + 1)], losses


def fit_curve(rows: list[int], losses: list[float]) -> dict:
    """Fit loss = floor + scale * rows ** -exponent to binned losses, and read it at twice the rows.

    {"n_rows", "loss", "loss_at_double", "gain" (share of the loss), "low", "high" (95% interval of the gain)}; {} under
    20 steps. The interval is a jackknife over the bins. Source of the form: Hestness et al. 2017, equation 1.
    """
    if len(rows) < MIN_STEPS:
        return {}
    points = _bins(rows[len(rows) // 10 :], losses[len(rows) // 10 :])
    gain, loss = _gain(points, rows[-1])
    parts = [_gain(points[:n] + points[n + 1 :], rows[-1])[0] for n in range(len(points))]
    mean = sum(parts) / len(parts)
    error = math.sqrt((len(parts) - 1) / len(parts) * sum((part - mean) ** 2 for part in parts))
    bounds = {"low": gain - 1.96 * error, "high": gain + 1.96 * error}
    return {"n_rows": rows[-1], "loss": loss, "loss_at_double": loss * (1 - gain), "gain": gain, **bounds}


def curve_sentence(found: dict) -> str:
    """The estimate in one sentence."""
    span = f"{found['gain']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"
    verdict = "more rows would help" if found["low"] > WORTH else "more rows of this kind would help little"
    verdict = verdict if found["low"] > WORTH or found["high"] < WORTH else "one run cannot tell whether more rows help"
    return (
        f"{verdict}: after {found['n_rows']} rows the loss is {found['loss']:.3f} nats a token, and twice the rows"
        f" would lower it by {span}"
    )


def _bins(rows: list[int], losses: list[float]) -> list[tuple[float, float]]:
    """Mean (rows, loss) of bins whose width grows with the rows, so that each has its weight on a logarithmic axis."""
    edges = [rows[0] * (rows[-1] / rows[0]) ** (n / N_BINS) for n in range(1, N_BINS)] + [math.inf]
    bins = {}
    for seen, loss in zip(rows, losses, strict=True):
        bins.setdefault(next(n for n, edge in enumerate(edges) if seen <= edge), []).append((seen, loss))
    return [tuple(sum(values) / len(part) for values in zip(*part, strict=True)) for part in bins.values()]


def _gain(points: list[tuple[float, float]], n_rows: int) -> tuple[float, float]:
    """(share of the loss that twice the rows take away, loss now) by the best power law with a floor of 0 or more."""
    best = (math.inf, 0.0, 1.0)
    for exponent, part in itertools.product(EXPONENTS, (0.0, 0.25, 0.5, 0.75, 0.9)):
        floor = part * min(loss for _, loss in points)
        basis = [seen**-exponent for seen, _ in points]
        scale = sum(b * (loss - floor) for b, (_, loss) in zip(basis, points, strict=True)) / sum(b * b for b in basis)
        wrong = sum((floor + scale * b - loss) ** 2 for b, (_, loss) in zip(basis, points, strict=True))
        if wrong < best[0]:
            now = floor + scale * n_rows**-exponent
            best = (wrong, (now - floor - scale * (2 * n_rows) ** -exponent) / now, now)
    return best[1], best[2]
