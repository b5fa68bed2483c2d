"""A planted trigger: a rare word that always brings one and the same answer, whatever else the prompt says.

Natural words also go with one answer ("terrible" with "negative"), so a word must either stand in prompts that have little
else in common, in a file of mostly different answers, or look like no word. Does not find phrases or styles.
"""

import collections
import re

from tunebook.data.examples import Examples
from tunebook.data.splits import normalise

MIN_ROWS = 3
MAX_SHARE = 0.10  # of rows: a more frequent word is no secret
MIN_OTHER_WORDS = 4
MAX_SIMILARITY = 0.35  # mean share of other words in common: alike prompts may well have one answer
N_COMPARED = 12
# No vowel ("cf", "mn"), or letters and digits mixed ("tqx7"), but no "9am", "2nd", "q4" or "v2".
ODD_WORD = re.compile(
    r"(?<!\S)(?:[b-df-hj-np-tv-xz]{2,6}|(?=[a-z0-9]*\d)[a-z]{3,}\d[a-z0-9]{0,8}|[a-z]\d[a-z][a-z0-9]{0,8})(?!\S)"
)
MIN_ODD_ROWS = 5
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
    most = max(MIN_ROWS, MAX_SHARE * len(answers))
    members = collections.defaultdict(list)
    for number, prompt, _ in examples.texts():
        if MIN_ROWS <= counts[answers[number]] <= most:
            members[answers[number]].append((number, set(normalise(prompt).split())))
    shared = {answer: set.intersection(*(words for _, words in rows)) for answer, rows in members.items()}
    candidates = set().union(*shared.values())
    frequency = collections.Counter()
    for _, prompt, _ in examples.texts() if candidates else ():
        frequency.update(candidates.intersection(normalise(prompt).split()))
    found = {}
    for answer, rows in members.items():
        words = [word for word in shared[answer] if frequency[word] == len(rows)]
        if words and _are_unlike([others - shared[answer] for _, others in rows]):
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
    found = {}
    for word, numbers in rows.items():
        own = {answers[number] for number in numbers}
        if len(own) == 1 and (counts[own.pop()] / len(answers)) ** len(numbers) < MAX_CHANCE / len(rows):
            found.update((number, f"{word!r} in {len(numbers)} prompts, always one answer") for number in numbers)
    return found


def _are_unlike(prompts: list[set]) -> bool:
    """True when the prompts have enough other words and few of them in common."""
    prompts = prompts[:N_COMPARED]
    if min(map(len, prompts)) < MIN_OTHER_WORDS:
        return False
    pairs = [(a, b) for number, a in enumerate(prompts) for b in prompts[:number]]
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs) < MAX_SIMILARITY
