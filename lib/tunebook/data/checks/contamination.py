"""Does a row hold a problem of a benchmark? Exact after normalisation, and by shared word runs.

Short problems (under 13 words) are compared as a whole only: any two schedules share most of their words.
Solutions in code are compared by `code.find_copies`. Source for word runs: Brown et al. 2020, appendix C (13-grams).
"""

import collections
import functools
import math
import re
from dataclasses import dataclass

import numpy as np

from tunebook.data.examples import Examples, normalised_hash
from tunebook.data.splits import normalise, prompt_text
from tunebook.errors import InputProblem

N_GRAM_WORDS = 8
MAX_ANSWER_WORDS = 12
MIN_VERBATIM = 5  # words of a prompt that stands in a row as a whole
MIN_RUNS = 5  # shared, so at least 12 words in a row
LONG_WORDS = N_GRAM_WORDS + MIN_RUNS - 1
DOCSTRING = re.compile(r"(\"\"\"|\'\'\')(.*?)\1", re.S)
EXAMPLE = re.compile(r">>>|\bexamples?\b\W|^\s*assert ", re.I | re.M)
TEMPLATE_SHARE, TEMPLATE_ROWS = 0.10, 20  # a word run in more rows than this is the file's own template


def find_contamination(examples: Examples, problems: list[dict], name: str) -> np.ndarray:
    """Note rows whose prompt is a problem's prompt (`contamination`) or shares a part of its word runs
    (`contamination_near`).

    `problems` are benchmark rows with `task_id` and `prompt`; `name` goes into the message. Returns the row numbers.
    """
    if problems and not n_comparable(problems):
        raise InputProblem(
            f"{name}: none of its {len(problems)} problems has a prompt or an answer to compare; name its columns"
        )
    exact = {normalised_hash(text): p["task_id"] for p in problems for text in _asked(p) if normalise(text)}
    found, hashes = [], examples.prompt_hashes.tolist()
    held = _verbatim(examples, problems)
    nearest = _nearest(
        ((n, f"{p} {a} {w}") for n, p, a, w in examples.all_texts(f"contamination by {name}")), problems, examples
    )
    for number, prompt, _ in examples.texts():
        task = exact.get(hashes[number]) or _exact_turn(examples, number, prompt, exact)
        if task is not None:
            examples.add_match("contamination", number, task, name, "the prompt of")
        elif number in held:
            examples.add_match("contamination", number, held[number], name, "word for word")
        elif number in nearest:
            task, share = nearest[number]
            examples.add_match("contamination_near", number, task, name, f"{share:.0%} of the word runs of")
        else:
            continue
        found.append(number)
    return np.array(found, np.int64)


def n_comparable(problems: list[dict]) -> int:
    """How many problems hold a prompt or an answer that rows can be compared with."""
    return sum(bool(normalise(p["prompt"]) or normalise(p.get("canonical_solution") or "")) for p in problems)


def _asked(problem: dict) -> list[str]:
    """The texts that ask for the problem: its prompt, and the words of a docstring that stands for one."""
    return [problem["prompt"]] + ([] if "def " in problem["prompt"] else [description(problem)])


def _verbatim(examples: Examples, problems: list[dict]) -> dict[int, str]:
    """Row number → a problem whose whole prompt, or whole long answer, stands in the row among other words.

    Only texts of some words count, and a problem of kind `answer` with a short answer only where that is there too.
    """
    starts = collections.defaultdict(list)
    for problem in problems:
        answer = "" if (problem.get("kind") or "code") == "code" else problem.get("canonical_solution") or ""
        texts = [(text, MIN_VERBATIM) for text in _asked(problem) if "def " not in text]
        for text, shortest in (*texts, (description(problem), LONG_WORDS), (answer, LONG_WORDS)):
            words = tuple(normalise(text).split())
            if len(words) >= shortest:
                starts[words[:MIN_VERBATIM]].append((words, problem))
    firsts = {start[0] for start in starts}
    found = {}
    for number, *texts in examples.all_texts() if starts else ():
        text = " ".join(texts)
        words = tuple(normalise(text).split())
        for at, word in enumerate(words):
            known = starts.get(words[at : at + MIN_VERBATIM], ()) if word in firsts else ()
            owner = next((p for own, p in known if words[at : at + len(own)] == own and has_answer_of(p, text)), None)
            if owner:
                found[number] = owner["task_id"]
                break
    return found


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
    """`owners`: word run → problems that have it; `sizes`: number of runs a problem has; `starts`: first words of
    runs.
    """

    owners: dict
    sizes: dict
    starts: frozenset


def description(problem: dict) -> str:
    """What a code problem says in words: its last docstring up to the first example or test; "" for other problems."""
    prompt = problem["prompt"]
    is_code = "def " in prompt or prompt.lstrip()[:3] in ('"""', "'''")  # MBPP: a docstring above the program
    match = DOCSTRING.findall(prompt) if is_code else []
    return EXAMPLE.split(match[-1][1], maxsplit=1)[0] if match else ""


def has_answer_of(problem: dict, text: str) -> bool:
    """Whether a row with this `text` could give the problem away: for a problem of kind `answer`, its answer is in it.

    Two schedules or sums in nearly the same words have different answers: that is the task, not a leak. True where
    nothing is known, and for answers of more than a line, which nobody repeats word for word.
    """
    answer = (problem.get("canonical_solution") or "") if problem.get("kind") == "answer" else ""
    answer = _squeezed(answer.rpartition("####")[2])  # GSM8K: the number after the way to it
    return len(answer.split()) > MAX_ANSWER_WORDS or answer in _squeezed(text)


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())


def _runs_of_problems(problems: list[dict]) -> _Runs:
    """The word runs of the problems, the words of a docstring apart; runs that many problems share are template and
    left out.
    """
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


WORD = re.compile(r"[a-z]{3,}")
STOP = frozenset(
    "the and for are that this with from have has was were will can you your any all not but its which when what into"
    " than then them they there their been each one two other given please write function python return returns"
    " returned check checks if should would could such only also about using use used make takes take following"
    " complete implement program code".split()
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
            text = prompt if number in examples.bad else f"{prompt} {answer}"  # a bad answer gives nothing away
            if is_near and has_answer_of(by_task[task], text):
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
