"""Rows that ask a benchmark's problem in other words: nearly all of its telling words, in any order.

Words are weighted by how rare they are among the problems and the rows, so that a template counts little. Finds no
translation and no change of every word. Short problems are left to `leakage`.
"""

import collections
import functools
import math
import re

from tunebook.data.examples import Examples
from tunebook.data.leakage import description, has_answer_of

WORD = re.compile(r"[a-z]{3,}")
STOP = frozenset(
    "the and for are that this with from have has was were will can you your any all not but its which when what into than then"
    " them they there their been each one two other given please write function python return returns returned check checks if"
    " should would could such only also about using use used make takes take following complete implement program code".split()
)
MIN_WORDS = 6  # telling words of a problem
MIN_RARE = 3  # shared words that are in few problems
MIN_CONTAINED = 0.70  # of the problem's weight found in the row
MIN_SHARED = 0.50  # of the weight of both together: a long text has every word
N_ROWS_FOR_WEIGHTS = 20_000
MAX_CHARACTERS = 1_500  # of a prompt: longer ones are another task


@functools.lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """A word without its usual endings: numbers → number, sorted → sort."""
    for ending in ("ingly", "edly", "ing", "ies", "ed", "es", "er", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def telling_words(text: str) -> set[str]:
    """The stems of the words that say what is asked."""
    return {_stem(word) for word in WORD.findall(text.lower()) if word not in STOP}


def find_reworded(examples: Examples, problems: list[dict], name: str, skip=()) -> None:
    """Note rows whose prompt has most of the telling words of a problem. `skip`: rows that are known to hold one."""
    words = {problem["task_id"]: telling_words(description(problem) or problem["prompt"]) for problem in problems}
    words = {task: own for task, own in words.items() if len(own) >= MIN_WORDS}
    if not words:
        return
    weights = _weights(examples, words)
    postings = collections.defaultdict(list)
    for task, own in words.items():
        for word in own:
            postings[word].append(task)
    few = max(3, 0.05 * len(words))
    postings = {word: tasks for word, tasks in postings.items() if len(tasks) <= few}
    sums = {task: sum(weights.get(word, 0.0) for word in own) for task, own in words.items()}
    by_task = {problem["task_id"]: problem for problem in problems}
    for number, prompt, answer in examples.texts():
        if number in skip or not prompt or len(prompt) > MAX_CHARACTERS:
            continue
        own = telling_words(prompt)
        shared = collections.Counter(task for word in own & postings.keys() for task in postings[word])
        for task, n_rare in shared.most_common(3):
            if n_rare < MIN_RARE:
                break
            common = sum(weights[word] for word in own & words[task])
            both = sums[task] + sum(weights.get(word, 0.0) for word in own) - common
            is_near = common >= MIN_CONTAINED * sums[task] and common >= MIN_SHARED * both
            if is_near and has_answer_of(by_task[task], f"{prompt} {answer}"):
                how = f"{common / sums[task]:.0%} of the telling words of"
                examples.add_match("contamination_reworded", number, task, name, how)
                break


def _weights(examples: Examples, words: dict[str, set[str]]) -> dict[str, float]:
    """Word → how rare it is among the problems and, in a part of the rows, among the prompts (nats)."""
    among_problems = collections.Counter(word for own in words.values() for word in own)
    among_rows, n_rows = collections.Counter(), 0
    for number, prompt, _ in examples.texts():
        if number >= N_ROWS_FOR_WEIGHTS:
            break
        among_rows.update(telling_words(prompt[:MAX_CHARACTERS]))
        n_rows += 1
    return {
        word: min(
            math.log((1 + len(words)) / max(1, among_problems[word])), math.log((2 + n_rows) / (1 + among_rows[word]))
        )
        for word in among_problems.keys() | among_rows.keys()
    }
