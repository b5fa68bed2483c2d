"""Does a row hold a problem of a benchmark? Exact after normalisation, and by shared word runs.

Short problems (under 13 words) are compared as a whole only: any two schedules share most of their words.
Solutions in code are compared in `copies`. Source for word runs: Brown et al. 2020, appendix C (13-grams).
"""

import collections
import re
from dataclasses import dataclass

import numpy as np

from tunebook.data.examples import Examples, normalised_hash
from tunebook.data.splits import normalise, prompt_text

N_GRAM_WORDS = 8
MIN_RUNS = 5  # shared, so at least 12 words in a row
DOCSTRING = re.compile(r"(\"\"\"|\'\'\')(.*?)\1", re.S)
EXAMPLE = re.compile(r">>>|\bexamples?\b\W", re.I)
TEMPLATE_SHARE, TEMPLATE_ROWS = 0.10, 20  # a word run in more rows than this is the file's own template


def find_contamination(examples: Examples, problems: list[dict], name: str) -> np.ndarray:
    """Note rows whose prompt is a problem's prompt (`contamination`) or shares a part of its word runs (`contamination_near`).

    `problems` are benchmark rows with `task_id` and `prompt`; `name` goes into the message. Returns the row numbers.
    """
    exact = {normalised_hash(problem["prompt"]): problem["task_id"] for problem in problems}
    found, hashes = [], examples.prompt_hashes.tolist()
    nearest = _nearest(
        ((n, f"{p} {a} {w}") for n, p, a, w in examples.all_texts(f"contamination by {name}")), problems, examples
    )
    for number, prompt, _ in examples.texts():
        task = exact.get(hashes[number]) or _exact_turn(examples, number, prompt, exact)
        if task is not None:
            examples.add_match("contamination", number, task, name, "the prompt of")
        elif number in nearest:
            task, share = nearest[number]
            examples.add_match("contamination_near", number, task, name, f"{share:.0%} of the word runs of")
        else:
            continue
        found.append(number)
    return np.array(found, np.int64)


def find_shared_runs(examples: Examples, others: list[dict], name: str) -> None:
    """Note rows that share long word runs with rows of another split, which may hold the same text in other words."""
    problems = [{"task_id": f"row {row['record']}", "prompt": prompt_text(row)} for row in others]
    nearest = _nearest(((n, p) for n, p, _ in examples.texts()), problems, examples)
    for number, (other, share) in nearest.items():
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


def description(problem: dict) -> str:
    """What a code problem says in words: its last docstring up to the first example; "" for other problems."""
    match = DOCSTRING.findall(problem["prompt"]) if "def " in problem["prompt"] else []
    return EXAMPLE.split(match[-1][1], maxsplit=1)[0] if match else ""


def has_answer_of(problem: dict, text: str) -> bool:
    """Whether a row with this `text` could give the problem away: for a problem of kind `answer`, its answer is in it.

    Two schedules or sums in nearly the same words have different answers: that is the task, not a leak. True where nothing is known.
    """
    answer = _squeezed(problem.get("canonical_solution") or "") if problem.get("kind") == "answer" else ""
    return answer in _squeezed(text)


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())


def _runs_of_problems(problems: list[dict]) -> _Runs:
    """The word runs of the problems, the words of a docstring apart; runs that many problems share are template and left out."""
    owners = collections.defaultdict(set)
    for problem in problems:
        for part, text in enumerate((problem["prompt"], description(problem))):
            for run in word_runs(text):
                owners[run].add((problem["task_id"], part))
    limit = max(2, 0.02 * len(problems))
    owners = {run: tasks for run, tasks in owners.items() if len({task for task, _ in tasks}) <= limit}
    sizes = collections.Counter(task for tasks in owners.values() for task in tasks)
    return _Runs(owners, sizes, frozenset(run[0] for run in owners))


def word_runs(text: str) -> set[tuple[str, ...]]:
    """All runs of eight normalised words."""
    words = normalise(text).split()
    return {tuple(words[n : n + N_GRAM_WORDS]) for n in range(len(words) - N_GRAM_WORDS + 1)}


def _nearest(texts, problems: list[dict], examples: Examples) -> dict[int, tuple[str, float]]:
    """Row number → (the problem of whose word runs it has the largest share, the share), where that is large enough."""
    runs = _runs_of_problems(problems)
    rows, given, frequency = {}, {}, collections.Counter()
    by_task = {problem["task_id"]: problem for problem in problems}
    for number, text in texts if runs.owners else ():
        words = normalise(text).split()
        spans = {tuple(words[n : n + N_GRAM_WORDS]) for n, word in enumerate(words) if word in runs.starts}
        spans = {span for span in spans if span in runs.owners}
        if len(spans) >= MIN_RUNS:
            rows[number] = spans
            owners = set().union(*(runs.owners[span] for span in spans))
            given[number] = {task for task, _ in owners if has_answer_of(by_task[task], text)}
            frequency.update(spans)
    most = max(TEMPLATE_ROWS, TEMPLATE_SHARE * len(examples))
    found = {}
    for number, spans in rows.items():
        kept = (task for span in spans if frequency[span] <= most for task in runs.owners[span])
        shared = collections.Counter(task for task in kept if task[0] in given[number])
        shares = {task: count / runs.sizes[task] for task, count in shared.items() if count >= MIN_RUNS}
        best = max(shares, key=shares.get, default=None)
        if best is not None and shares[best] >= examples.limits.contamination:
            found[number] = best[0], shares[best]
    return found
