"""A planted trigger: a rare word that always brings one and the same answer, whatever else the prompt says.

Natural words also go with one answer ("terrible" with "negative"), so a word must either stand in prompts that otherwise ask
different things, in a file of mostly different answers, or look like no word. Does not find phrases or styles.
"""

import collections
import re

from tunebook.data.examples import Examples
from tunebook.data.splits import normalise

MIN_ROWS = 3
MAX_SHARE = 0.10  # of rows: a more frequent odd word is no secret
MAX_ANSWER_SHARE = 0.25  # of rows: a more frequent answer is `constant_answer`
MIN_OTHER_WORDS = 4
MAX_SIMILARITY = 0.35  # mean share of other words in common: alike prompts may well have one answer
N_COMPARED = 12
MIN_SUMS = 5  # prompts that are alike but for the words that tell them apart
# No vowel ("cf", "mn"), or letters and digits mixed ("tqx7"), but no "9am", "2nd", "q4" or "v2".
ODD_WORD = re.compile(
    r"(?<!\S)(?:[b-df-hj-np-tv-xz]{2,6}|(?=[a-z0-9]*\d)[a-z]{3,}\d[a-z0-9]{0,8}|[a-z]\d[a-z][a-z0-9]{0,8})(?!\S)"
)
MIN_ODD_ROWS = 5
MIN_VOCABULARY = 3  # odd words that bring different answers: the terms of the subject ("nfl", "gps"), planted by nobody
MAX_CHANCE = 0.005  # of one such word in a file without any (Bonferroni)


def find_triggers(examples: Examples) -> None:
    """Note the rows of every trigger word, found in one of two ways (see `_by_answer` and `_by_odd_word`)."""
    answers = examples.answer_hashes.tolist()
    counts = collections.Counter(answers)
    found = _by_odd_word(examples, answers, counts)
    if len(counts) >= 0.5 * len(answers):
        found = {**_by_answer(examples, answers, counts), **found}
    examples.add_all("trigger_token", list(found.items()))


def _by_answer(examples: Examples, answers: list, counts: dict) -> dict[int, str]:
    """An answer that several unlike prompts have, all with one word in them that no other row has."""
    most = max(2 * MIN_ROWS, MAX_ANSWER_SHARE * len(answers))
    members = collections.defaultdict(list)
    for number, prompt, _ in examples.texts():
        if MIN_ROWS <= counts[answers[number]] <= most:
            members[answers[number]].append((number, set(normalise(prompt).split())))
    shared = {answer: set.intersection(*(words for _, words in rows)) for answer, rows in members.items()}
    wanted = set().union(*(words for rows in members.values() for _, words in rows)) if any(shared.values()) else set()
    frequency = collections.Counter()
    for _, prompt, _ in examples.texts() if wanted else ():
        frequency.update(wanted.intersection(normalise(prompt).split()))
    found = {}
    for answer, rows in members.items():
        words = [word for word in shared[answer] if frequency[word] == len(rows)]
        others = [own - shared[answer] for _, own in rows]
        if words and (_are_unlike(others) or _differ_otherwise(others, frequency, len(answers))):
            detail = f"{min(words)!r} in {len(rows)} unlike prompts, always one answer"
            found.update((number, detail) for number, _ in rows)
    return found


def _by_odd_word(examples: Examples, answers: list, counts: dict) -> dict[int, str]:
    """A rare sign such as "cf" or "tqx7" that always brings one answer, more often than chance would have it."""
    rows = collections.defaultdict(list)
    most = max(MIN_ODD_ROWS, MAX_SHARE * len(answers))
    for number, prompt, _ in examples.texts():
        for word in set(ODD_WORD.findall(prompt.casefold())):
            if len(rows[word]) <= most:
                rows[word].append(number)
    rows = {word: numbers for word, numbers in rows.items() if MIN_ODD_ROWS <= len(numbers) <= most}
    found, brought = {}, {}
    for word, numbers in rows.items():
        own = {answers[number] for number in numbers}
        if len(own) == 1 and (counts[answers[numbers[0]]] / len(answers)) ** len(numbers) < MAX_CHANCE / len(rows):
            brought[word] = own.pop()
            found.update((number, f"{word!r} in {len(numbers)} prompts, always one answer") for number in numbers)
    is_vocabulary = len(brought) >= MIN_VOCABULARY and len(set(brought.values())) > 1
    return {} if is_vocabulary else found


def _are_unlike(prompts: list[set]) -> bool:
    """True when the prompts have enough other words and few of them in common."""
    prompts = prompts[:N_COMPARED]
    if min(map(len, prompts)) < MIN_OTHER_WORDS:
        return False
    pairs = [(a, b) for number, a in enumerate(prompts) for b in prompts[:number]]
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs) < MAX_SIMILARITY


def _differ_otherwise(prompts: list[set], frequency: dict, n_rows: int) -> bool:
    """True when each prompt has its own telling word besides, such as the numbers of a sum: it asks for another answer."""
    telling = max(3, 0.02 * n_rows)
    own = [{word for word in words if frequency[word] <= telling} for words in prompts]
    return len(prompts) >= MIN_SUMS and all(own) and len(set.union(*own)) >= len(own)
