"""Whether a training is sick, from its loss rows and the points at which it was watched: a name, the reason, and the
remedy.

Pure functions of numbers. Does not measure and does not stop anything (`watch`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance

from tunebook.errors import InputProblem

WINDOW = 20  # logged steps whose mean is compared; single steps of few rows scatter by half their mean
# a loss diverges that climbs back by so many nats, by this share of what it had fallen, and by so many standard errors
CLIMB_NATS, CLIMB_SHARE, CLIMB_ERRORS = 0.5, 0.5, 5.0
FLAT_STEPS, FLAT_SHARE = 60, 0.3  # flat is said after so many steps, and not before this share of all
# share of its start by which a healthy loss has fallen by then; flat is said only where a fall by FLAT_MOST is beyond
# the scatter
FLAT_FALL, FLAT_MOST = 0.02, 0.1
KNOWN_NATS = 0.3  # below it a loss has nowhere to fall: the task is known
OVERFIT_RISE, OVERFIT_NATS = 0.1, 0.02  # held-out loss above its best by this share and so many nats, twice in a row
SLOWER = "lower learning_rate, to a third to begin with, or raise warmup_share"
FASTEST_FORGETTING = 1.0  # percent of general text lost since the last point, where learning gained less


@dataclass(frozen=True)
class Sickness:
    """`is_fatal`: the weights are of no use; else the training went on too long."""

    name: str
    reason: str
    remedy: str
    is_fatal: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}; {self.remedy}"


def require_finite(value: float | None, what: str) -> None:
    """InputProblem for a number that is none: nothing can be saved of such a training."""
    if value is not None and not math.isfinite(value):
        raise InputProblem(
            f"{what} is not finite, so the weights are of no use: {SLOWER}; look at the rows of that step"
        )


def diagnose(
    rows: Sequence[dict], points: Sequence[dict], n_steps: int, largest_rise: float, is_likelihood: bool = True
) -> Sickness | None:
    """The first sickness that shows, None for a healthy training.

    `rows`: `step`, `loss` of each logged step of one kind, in order. `points`: `step`, `held_out_loss` (nats a token)
    and `rise` (percent more bits for general text than base; None where no text is read), the first of them before step
    1. `n_steps`: of the whole training. `largest_rise`: percent that general text may cost. `is_likelihood`: whether
    the loss is one of tokens; that of preferences and of rewards may begin at 0, and fall little, in health.
    """
    losses = [row["loss"] for row in rows]
    return (
        _diverging(losses)
        or (_hidden(rows) or _flat(losses, points, n_steps) if is_likelihood else None)
        or _overfitting(rows, points)
        or _forgetting(points, largest_rise)
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _diverging(losses: Sequence[float]) -> Sickness | None:
    if len(losses) < 2 * WINDOW:
        return None
    means = [_mean(losses[at : at + WINDOW]) for at in range(len(losses) - WINDOW + 1)]
    first, best, last = means[0], min(means), means[-1]
    lowest = means.index(best)
    error = math.sqrt(sum(variance(part) / WINDOW for part in (losses[lowest : lowest + WINDOW], losses[-WINDOW:])))
    if last - best > max(CLIMB_NATS, CLIMB_SHARE * (first - best), CLIMB_ERRORS * error):
        shown = f"the loss fell to {best:.3g} and climbed back to {last:.3g} (means of {WINDOW} steps)"
        return Sickness("diverging", shown, SLOWER)
    return None


def _hidden(rows: Sequence[dict]) -> Sickness | None:
    """No token is trained: the loss is exactly 0 from the beginning."""
    if len(rows) < 3 or any(row["loss"] for row in rows):
        return None
    return Sickness(
        "mask hides the answer",
        "no token of the answers is trained: the loss is exactly 0",
        "look at the coloured rows of 01 and at chat_template",
    )


def _flat(losses: Sequence[float], points: Sequence[dict], n_steps: int) -> Sickness | None:
    """The second half of the losses lies where the first does, beyond their scatter; the held-out loss, where there
    is one, decides.
    """
    n = len(losses)
    if n < max(FLAT_STEPS, FLAT_SHARE * n_steps):
        return None
    halves = losses[: n // 2], losses[n // 2 :]
    first, second = map(_mean, halves)
    error = math.sqrt(sum(variance(half) / len(half) for half in halves))
    if first < KNOWN_NATS or first - second > FLAT_FALL * first or first - second + 2 * error > FLAT_MOST * first:
        return None
    held = [point for point in points if point.get("held_out_loss") is not None]
    if held and (
        held[-1]["step"] < FLAT_STEPS or held[-1]["held_out_loss"] < (1 - FLAT_FALL) * held[0]["held_out_loss"]
    ):
        return None
    return Sickness(
        "flat",
        f"after {n} steps the loss is {second:.3g}, it began at {first:.3g} (means of half the steps)",
        "raise learning_rate, three times to begin with; look whether the answers follow from the prompts at all",
    )


def _overfitting(rows: Sequence[dict], points: Sequence[dict]) -> Sickness | None:
    """The held-out loss rose twice above its best while the training loss went on falling."""
    held = [point for point in points if point.get("held_out_loss") is not None]
    if len(held) < 3:
        return None
    best = min(held, key=lambda point: point["held_out_loss"])
    limit = max((1 + OVERFIT_RISE) * best["held_out_loss"], best["held_out_loss"] + OVERFIT_NATS)
    then, now = ([row["loss"] for row in rows if row["step"] <= point["step"]][-WINDOW:] for point in (best, held[-1]))
    if (
        not then
        or any(point["held_out_loss"] < limit or point["step"] <= best["step"] for point in held[-2:])
        or _mean(now) >= _mean(then)
    ):
        return None
    return Sickness(
        "overfitting",
        f"the held-out loss rose from {best['held_out_loss']:.3g} at step {best['step']} to"
        f" {held[-1]['held_out_loss']:.3g} while the training loss fell",
        f"train fewer epochs or more rows; checkpoints: 4 keeps the best of four points, and step {best['step']} was"
        " the best here",
        is_fatal=False,
    )


def _forgetting(points: Sequence[dict], largest_rise: float) -> Sickness | None:
    """General text costs more than allowed, and since the last point it lost more percent than the task gained, where
    held-out rows show what it gained.
    """
    seen = [point for point in points if point.get("rise") is not None]
    if len(seen) < 2 or seen[-1]["rise"] <= largest_rise:
        return None
    lost = seen[-1]["rise"] - seen[-2]["rise"]
    first, before, now = (seen[at].get("held_out_loss") for at in (0, -2, -1))
    is_held = None not in (first, before, now)
    gained = 100 * (before - now) / max(first, 1e-9) if is_held else 0.0
    if lost <= max(FASTEST_FORGETTING, gained):
        return None
    learned = f", in which the held-out loss fell by {gained:.2g}% of its start" if is_held else ""
    return Sickness(
        "forgetting faster than learning",
        f"general text costs {seen[-1]['rise']:.3g}% more bits than for base, {lost:.2g} points of it since step"
        f" {seen[-2]['step']}{learned}",
        "lower learning_rate, raise rehearsal_share, or train fewer epochs",
        is_fatal=False,
    )


def hides_answer(rows: Sequence[dict], dataset, tokenizer, ignored: int = -100) -> Sickness | None:
    """Whether the labels of the first rows of `dataset` (`labels`, ignored where nothing is trained) leave out the
    answers of `rows`.

    The trained tokens as text must hold each row's last answer, white space and a thought before it apart: the prompt
    may open the thought, and the template write it otherwise. dataset[i] is made of rows[i].
    """
    for at, (row, labels) in enumerate(zip(rows, dataset["labels"], strict=False)):
        wanted = str(row["completion"][-1].get("content") or "").strip()
        shown = tokenizer.decode([label for label in labels if label != ignored])
        if wanted and "".join(wanted.rpartition("</think>")[2].split()) not in "".join(shown.split()):
            return Sickness(
                "mask hides the answer",
                f"of row {at} the text {shown[:60]!r} is trained, its answer is {wanted[:60]!r}",
                "look at the coloured rows of 01 and at chat_template; a row longer than max_length loses its end",
            )
    return None
