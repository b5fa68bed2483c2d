"""Scores every exported file on the problems on which choices are made, and names the one that ships.

Every file is paired with the transformers model, problem by problem. Does not open test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.measure import answer_and_score
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.score_folder import read_scores
from tunebook.export.parity import HeldOutRows, agreement, divergence, gguf_log_probabilities
from tunebook.models.gguf_engine import GgufModel
from tunebook.statistics.compare import BLIND, NON_INFERIOR, VIOLATION, noninferiority
from tunebook.statistics.paired import mcnemar

REFERENCE = "transformers"
MEANING = {
    NON_INFERIOR: "holds: no loss of the margin",
    VIOLATION: "loss shown",
    BLIND: "cannot see a loss: the model solves too little",
    "inconclusive": "cannot be shown: more dev problems would decide",
}


@dataclass(frozen=True)
class Trial:
    """What every file answers: problems on which choices are made and how they are asked, the margin in points that
    a file may lose, and the sequences in flight.
    """

    problems: Benchmark
    asking: Asking
    margin: float = 5.0
    slots: int = 64


def score_on(engine, trial: Trial, name: str, context) -> dict:
    """Greedy answers and their score in `dev/NAME`: `type, k, n, pass_at_1, low, high` (points), with `rows` and
    `folder`.
    """
    folder = context.folder / "dev" / name
    done = answer_and_score(engine, trial.problems, folder, context, **trial.asking.choice_fields())
    found = done["metrics"]
    low, high = (100 * end for end in found["interval"])
    row = {
        "type": name,
        "k": found["k"],
        "n": found["n"],
        "pass_at_1": 100 * found["pass_at_1"],
        "low": low,
        "high": high,
    }
    return {
        **row,
        "tokenizer": engine.tokenizer,
        "rows": done["rows"],
        "folder": folder / "score",
        "seconds": done["cost"]["seconds"],
    }


def score_types(
    files: dict[str, Path], reference: dict, trial: Trial, rows: HeldOutRows, trained: list, context
) -> list[dict]:
    """A row for every file: its score, its distance from the trained model (log-probabilities `trained` on the held-out
    `rows`), and the paired result against `reference`.

    `verdict` is that of `statistics.compare.noninferiority` with the trial's margin, `why` says it in words.
    """
    made = []
    for kind, path in files.items():
        engine = GgufModel(path, trial.slots)
        distance = divergence(trained, gguf_log_probabilities(engine, rows))
        found = score_on(engine, trial, kind, context)
        engine.close()
        passed = [read_scores(one["folder"]).passed for one in (reference, found)]
        paired = noninferiority(*passed, trial.margin)
        gained = sum(
            a[0] < b[0] for a, b in zip(passed[0].values(), [passed[1][task] for task in passed[0]], strict=True)
        )
        lost = reference["k"] - found["k"] + gained
        made.append(
            {
                **{key: found[key] for key in ("type", "k", "n", "pass_at_1", "low", "high")},
                "bytes": path.stat().st_size,
                **agreement(reference["rows"], found["rows"], reference["tokenizer"]),
                **distance,
                **{"gained": gained, "lost": lost, "p_exact": mcnemar(gained, lost)[0]},
                **{key: paired[key] for key in ("difference", "lower", "upper", "margin", "verdict")},
                "why": why(paired),
            }
        )
    return made


def why(paired: dict) -> str:
    """The paired result in words, with its figures and its rule."""
    return (
        f"{paired['difference']:+.1f} points against the trained model, one-sided bounds [{paired['lower']:+.1f},"
        f" {paired['upper']:+.1f}], margin {paired['margin']:g}: {MEANING[paired['verdict']]}"
    )


def smallest_that_holds(rows: list[dict], types: list[str]) -> dict:
    """The smallest file of `types` that is shown to lose less than the margin; the f16 file, which is always made,
    where none is.

    A file whose loss can neither be shown nor excluded does not ship: its size would be chosen by hope.
    """
    holding = [row for row in rows if row["verdict"] == NON_INFERIOR and row["type"] in types]
    if holding:
        return min(holding, key=lambda row: row["bytes"])
    return next(row for row in rows if row["type"] == "f16")


def tensors_of_another_type(kind: str, types: dict[str, int]) -> int:
    """How many tensors of a file of type `kind` have fallen back to another type; `types`: type of a tensor -> how
    many.
    """
    made_of = kind.removesuffix("_s").removesuffix("_m").removesuffix("_l")  # q4_k_m is made of Q4_K
    return sum(count for name, count in types.items() if name.lower() not in (kind, made_of, "f32"))
