"""Prompts about anything but the task, from what every machine with Python has: functions of the standard library, its
language reference, and templates of everyday requests.

They say where a model is to stay as it was. The topics that `evaluation.forgetting` measures are left out, and so is
every prompt in which the data gate finds a problem of a benchmark.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import random

from tunebook.data.study_data import examples_of
from tunebook.data.validate import find_problems_in
from tunebook.evaluation.forgetting import TOPICS, general_texts

MODULES = (
    "base64 bisect calendar collections colorsys copy csv datetime difflib fnmatch fractions functools glob heapq html"
    " inspect ipaddress itertools json keyword locale math mimetypes operator os os.path platform pprint random re"
    " secrets shlex shutil statistics string struct tempfile textwrap time traceback unicodedata urllib.parse uuid"
    " zipfile"
).split()
FUNCTION_FORMS = (
    'Complete this Python function.\n\n```python\ndef {name}{signature}:\n    """{text}"""\n```',
    "What does `{module}.{name}` do in Python? Give a short example.",
    "Write a Python function with this documentation:\n\n{text}",
)
TOPIC_FORMS = (
    "Explain this in simple words:\n\n{text}",
    "Give a short example in Python of what this describes:\n\n{text}",
    "Summarise in one sentence:\n\n{text}",
)
FORMS = (
    "Explain {thing} to {person}.",
    "Give me three tips for {doing}.",
    "Write a short email to {person} about {matter}.",
    "Write a four-line poem about {matter}.",
    "What is the difference between {thing} and {other}?",
    "Write a short story in which {person} learns something about {thing}.",
    "Which questions should I ask {person} about {matter}?",
    "List five words that have to do with {thing}.",
    "What is {number} times {digit}? Show the steps.",
    "Is it a good idea to spend a weekend on {doing}? Answer in two sentences.",
)
WORDS = {
    "thing": "photosynthesis,inflation,a black hole,the stock market,a vaccine,electricity,the moon,democracy,glue,"
    "an earthquake,yeast,a rainbow,gravity,recycling,a violin".split(","),
    "person": "a child,my neighbour,a new colleague,my landlord,a doctor,an old friend,my manager,a teacher,a customer,"
    "my grandmother".split(","),
    "doing": "learning to swim,baking bread,saving money,writing a letter,growing tomatoes,sleeping better,"
    "speaking in public,moving house,cleaning windows,reading more".split(","),
    "matter": "a late delivery,the summer party,a broken window,a lost key,the first snow,a long journey,a birthday,"
    "noise in the evening,a new bicycle,the sea".split(","),
    "number": [str(number) for number in range(12, 60, 7)],
    "digit": [str(number) for number in range(3, 10)],
    "other": "magnetism,a comet,sleep,copper,a poem,trade,rust,a hurricane".split(","),
}
SPARE = 64  # prompts that may hold a problem, beside twice those asked for
LONGEST_TEXT = 240  # characters of a documentation: every token of a prompt is read at every step


def general_prompts(n: int, seed: int, benchmarks: dict[str, list[dict]]) -> tuple[list[dict], list[dict]]:
    """`n` different rows (`prompt`, one user turn, and `source`: function, reference or everyday, in turn), and the
    matches of what was left out since it holds a problem of `benchmarks` (name -> problems) or general text that is
    measured: `row, benchmark, problem, how, prompt`.

    The same seed and the same Python give the same rows; where it has fewer, these are all.
    """
    if not n:
        return [], []
    rng = random.Random(seed)
    kinds = {"function": _functions(), "reference": _topics(), "everyday": _everyday(rng)}
    columns = [[(kind, text) for text in rng.sample(texts, len(texts))] for kind, texts in kinds.items()]
    texts = [pair for row in itertools.zip_longest(*columns) for pair in row if pair]
    rows = [{"prompt": [{"role": "user", "content": text}], "source": kind} for kind, text in dict.fromkeys(texts)]
    rows = rows[: 2 * n + SPARE]  # each is held against every problem
    measured = [
        {"task_id": name, "prompt": text, "kind": "answer"} for name, text in general_texts(len(TOPICS)).items()
    ]
    examples = examples_of([row | {"completion": [{"role": "assistant", "content": "-"}]} for row in rows])
    for name, problems in {**benchmarks, "general text": measured}.items():
        find_problems_in(examples, problems, name)
    held = {match["row"] for match in examples.matches}
    kept = [row for number, row in enumerate(rows) if number not in held]
    matches = [{**match, "prompt": rows[match["row"]]["prompt"][0]["content"]} for match in examples.matches]
    return kept[:n], matches


def _functions() -> list[str]:
    """Prompts about the public functions of MODULES that have a documentation; a module that is not here is left
    out.
    """
    texts = []
    for module in MODULES:
        try:
            names = vars(importlib.import_module(module))
        except ImportError:
            continue
        for name, function in sorted(names.items()):
            if name.startswith("_") or not inspect.isroutine(function):
                continue
            text = _start(inspect.getdoc(function) or "")
            try:
                signature = str(inspect.signature(function))
            except (TypeError, ValueError):
                continue
            if len(text.split()) >= 4 and len(signature) < 80 and " at 0x" not in signature:
                words = {"module": module, "name": name, "signature": signature, "text": text}
                texts.append(FUNCTION_FORMS[len(texts) % len(FUNCTION_FORMS)].format(**words))
    return texts


def _topics() -> list[str]:
    """Prompts about paragraphs of the language reference that stand in no topic which is measured as general text."""
    from pydoc_data.topics import topics

    measured = " ".join(" ".join(topics.get(name, "").split()) for name in TOPICS)
    parts = [text.partition("\n\n")[2] for name, text in sorted(topics.items()) if name not in TOPICS]
    paragraphs = (_start(paragraph) for part in parts for paragraph in part.split("\n\n"))
    texts = [text for text in paragraphs if len(text.split()) >= 12 and "::=" not in text and text not in measured]
    return [TOPIC_FORMS[at % len(TOPIC_FORMS)].format(text=text) for at, text in enumerate(texts)]


def _everyday(rng: random.Random) -> list[str]:
    return [
        form.format(**{key: rng.choice(words) for key, words in WORDS.items()}) for form in FORMS for _ in range(40)
    ]


def _start(text: str) -> str:
    """The first paragraph on one line, at most LONGEST_TEXT characters in whole sentences or words."""
    text = " ".join(text.strip().partition("\n\n")[0].split())
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rpartition(" ")[0]
