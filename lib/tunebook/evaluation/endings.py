"""How a completion ended, in the few words of the failure table. Does not judge: the verdicts are the runner's."""

from collections import Counter
from collections.abc import Iterable

# One line of the failure table for each verdict word; a failed completion that the token limit cut counts as truncated.
TAXONOMY = {
    "pass": "pass", "wrong": "wrong answer", "exception": "exception", "syntax": "syntax", "no_code": "no code",
    "cpu_limit": "time-out", "wall_limit": "time-out", "early_exit": "early exit", "invalid_output": "invalid output",
    "mem_limit": "over a limit", "output_limit": "over a limit", "proc_limit": "over a limit", "denied": "denied",
}  # fmt: skip


def ending(row: dict, finish_reason: str | None) -> str:
    """The line of the failure table that a judged row belongs to."""
    is_cut = not row["passed"] and finish_reason == "length"
    return "truncated" if is_cut else TAXONOMY.get(row["verdict"], row["verdict"])


def taxonomy(endings: Iterable[Counter]) -> dict[str, int]:
    """How many rows ended in each way, the most frequent first."""
    return dict(sum(endings, Counter()).most_common())
