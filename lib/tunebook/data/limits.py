"""The thresholds of the data gate that a study may change: params/base.yaml has them, and these are the same numbers.

Smaller constants stay with their check. Does not decide anything.
"""

from dataclasses import dataclass

from tunebook.errors import InputProblem


@dataclass(frozen=True)
class Limits:
    """Shares lie between 0 and 1.

    `near_duplicate`: similarity (Jaccard of letter runs) from which rows are near duplicates. `contamination`: share of a
    problem's word runs in one row. `constant_answer`: share of rows with one answer, where answers are mostly different.
    `pair_length`: share of pairs whose chosen answer is the longer one. `rare_language`: share below which a language is a
    slip. `domain_auc`: above this (lower end of the interval) prompts and benchmark are different things. `sampled`: rows
    that the language and the domain check look at, rows whose answers are run a tenth of it.
    """

    near_duplicate: float = 0.7
    contamination: float = 0.3
    constant_answer: float = 0.2
    pair_length: float = 0.7
    rare_language: float = 0.15
    domain_auc: float = 0.95
    sampled: int = 5000

    def __post_init__(self):
        for name, value in vars(self).items():
            if name == "sampled" and value < 1 or name != "sampled" and not 0 < value <= 1:
                raise InputProblem(f"limit_{name} is {value}; it is a {'number from 1' if value else 'share above 0'}")


def limits_of(params: dict) -> Limits:
    """The limits among the parameters of a stage: `limit_near_duplicate` and so on; what is missing keeps its default."""
    return Limits(**{name: params[f"limit_{name}"] for name in vars(Limits()) if f"limit_{name}" in params})
