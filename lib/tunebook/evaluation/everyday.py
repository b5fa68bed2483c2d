"""The retained benchmark "everyday", built from `everyday.yaml`: cloze, continuations and simple instructions, on
which a model of 135M parameters stands well above guessing, so that a loss can be seen.

A problem with `choices` is answered by likelihood (see `likelihood`), one without freely. Scores nothing.
"""

import random
from pathlib import Path

import yaml

WRONG = 3  # wrong endings a problem: guessing gets one in four
ANSWER_TOKENS = 48  # of the answer to an instruction, all of which are short
_CHECK = """import re

EXPECTED, OTHERS = {expected!r}, {others!r}


def check(answer):
    words = re.findall(r"[a-z0-9]+", answer.lower())
    assert {rule}, f"expected {{EXPECTED}}"
"""
# What a checker asks of the words of an answer, beside which others may stand.
RULES = {
    "sentence": "len(words) > 3 and any(word.startswith(EXPECTED) for word in words)",
    "names": "EXPECTED in words",
    "choice": "EXPECTED in words and not set(OTHERS) & set(words)",
}


def everyday_problems() -> list[dict]:
    """The problems in a fixed shuffled order, each with its `slice`; those with `choices` hold the right one."""
    text = Path(__file__).with_name("everyday.yaml").read_text(encoding="utf-8")
    sections, problems = yaml.safe_load(text), []
    for name in ("cloze", "continuation"):
        for form, items in sections[name].items():
            problems += [problem | {"slice": name} for problem in _choices(form, _items(items))]
    for rule, forms in sections["instructions"].items():
        problems += [
            _asked(rule, form.replace("{}", start), ending)
            for form, items in forms.items()
            for start, ending in _items(items)
        ]
    random.Random("everyday").shuffle(problems)  # so that the first of them are some of each slice
    shared = {"entry_point": "check", "kind": "answer", "reading": "first_line"}
    return [{"task_id": f"everyday/{at:03d}", **problem, **shared} for at, problem in enumerate(problems, start=1)]


def _items(text: str) -> list[tuple[str, list[str]]]:
    """(start, [right ending, wrong endings]) of "start=right|wrong; start=right"."""
    parts = (item.strip().partition("=") for item in text.split(";"))
    return [(start, ending.split("|")) for start, _, ending in parts]


def _choices(form: str, items: list[tuple[str, list[str]]]) -> list[dict]:
    """Problems whose wrong endings are the item's own, or `WRONG` others of the form, drawn by the item itself."""
    endings = list(dict.fromkeys(ending[0] for _, ending in items))
    problems = []
    for start, (right, *wrong) in items:
        rng = random.Random(f"{form}/{start}")
        wrong = wrong or rng.sample([ending for ending in endings if ending != right], WRONG)
        test = _CHECK.format(expected=right, others=wrong, rule="answer == EXPECTED")
        choices = rng.sample([right, *wrong], len(wrong) + 1)
        prompt = form.replace("{}", start)
        problems.append({"prompt": prompt, "canonical_solution": right, "choices": choices, "test": test})
    return problems


def _asked(rule: str, prompt: str, endings: list[str]) -> dict:
    """One instruction with its checker."""
    right, *others = endings
    test = _CHECK.format(expected=right, others=others, rule=RULES[rule])
    solution = f"It is about {right}." if rule == "sentence" else right
    answer = {"canonical_solution": solution, "answer_tokens": ANSWER_TOKENS}
    return {"prompt": prompt, "test": test, "slice": "instructions", **answer}
