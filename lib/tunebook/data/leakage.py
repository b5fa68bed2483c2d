"""Does a row hold a problem of a benchmark? Exact after normalisation, and by shared word runs.

Short problems (under 13 words) are compared as a whole only: any two schedules share most of their words.
Solutions in code are compared in `code_leakage`. Source for word runs: Brown et al. 2020, appendix C (13-grams).
"""

import collections
from dataclasses import dataclass

import numpy as np

from tunebook.data.examples import Examples, normalised_hash
from tunebook.data.splits import normalise, prompt_text

N_GRAM_WORDS = 8
MIN_SHARED_RATIO = 0.3  # of a problem's word runs found in one row
MIN_RUNS = 5  # shared, so at least 12 words in a row


def find_contamination(examples: Examples, problems: list[dict], name: str) -> np.ndarray:
    """Note rows whose prompt is a problem's prompt (`contamination`) or shares three in ten of its word runs (`contamination_near`).

    `problems` are benchmark rows with `task_id` and `prompt`; `name` goes into the message. Returns the row numbers.
    """
    exact = {normalised_hash(problem["prompt"]): problem["task_id"] for problem in problems}
    runs = _runs_of_problems(problems)
    found, hashes = [], examples.prompt_hashes.tolist()
    for number, prompt, answer in examples.texts():
        task = exact.get(hashes[number]) or _exact_turn(examples, number, prompt, exact)
        if task is not None:
            examples.add("contamination", number, f"{task} of {name}")
        else:
            task, share = _nearest(f"{prompt} {answer}", runs)
            if task is None:
                continue
            examples.add("contamination_near", number, f"{share:.0%} of the word runs of {task} of {name}")
        found.append(number)
    return np.array(found, np.int64)


def find_shared_runs(examples: Examples, others: list[dict], name: str) -> None:
    """Note rows that share long word runs with rows of another split, which may hold the same text in other words."""
    problems = [{"task_id": f"row {row['record']}", "prompt": prompt_text(row)} for row in others]
    runs = _runs_of_problems(problems)
    for number, prompt, _ in examples.texts():
        other, share = _nearest(prompt, runs)
        if other is not None:
            examples.add("split_leakage_near", number, f"{share:.0%} of the word runs of {other}, which is in {name}")


def _exact_turn(examples: Examples, number: int, prompt: str, exact: dict):
    """The problem that one single turn repeats, where the prompt has several (system turns, earlier answers)."""
    if "\n" not in prompt:
        return None
    turns = examples.row(number)["prompt"]
    if len(turns) < 2:
        return None
    return next((exact[h] for turn in turns if (h := normalised_hash(turn["content"])) in exact), None)


@dataclass(frozen=True)
class _Runs:
    """`owners`: word run → problems that have it; `sizes`: number of runs a problem has; `starts`: first words of runs."""

    owners: dict
    sizes: dict
    starts: frozenset


def _runs_of_problems(problems: list[dict]) -> _Runs:
    """The word runs of the problems; runs that many problems share are template and left out."""
    owners = collections.defaultdict(set)
    for problem in problems:
        for run in word_runs(problem["prompt"]):
            owners[run].add(problem["task_id"])
    limit = max(2, 0.02 * len(problems))
    owners = {run: tasks for run, tasks in owners.items() if len(tasks) <= limit}
    sizes = collections.Counter(task for tasks in owners.values() for task in tasks)
    return _Runs(owners, sizes, frozenset(run[0] for run in owners))


def word_runs(text: str) -> set[tuple[str, ...]]:
    """All runs of eight normalised words."""
    words = normalise(text).split()
    return {tuple(words[n : n + N_GRAM_WORDS]) for n in range(len(words) - N_GRAM_WORDS + 1)}


def _nearest(text: str, runs: _Runs) -> tuple[str | None, float]:
    """The problem with the largest share of its word runs in the text, if that share is large enough."""
    words = normalise(text).split()
    spans = {tuple(words[n : n + N_GRAM_WORDS]) for n, word in enumerate(words) if word in runs.starts}
    shared = collections.Counter(task for span in spans if span in runs.owners for task in runs.owners[span])
    shares = {task: count / runs.sizes[task] for task, count in shared.items() if count >= MIN_RUNS}
    best = max(shares, key=shares.get, default=None)
    return (best, shares[best]) if best is not None and shares[best] >= MIN_SHARED_RATIO else (None, 0.0)
