"""The text that a model sees for a problem. The wording is versioned: change it only together with VERSION.

Does not apply a chat template (that needs a tokenizer) and does not generate.
"""

from collections.abc import Sequence

from tunebook.errors import InputProblem
from tunebook.picking import pick

VERSION = "tunebook-prompt/2"
STYLES = ("chat", "raw", "few_shot")
CODE_INSTRUCTION = (
    "Complete the following Python function. Answer with the whole function in one ```python code block and nothing"
    " else."
)
# Source: Chen et al. 2021, section 2.1: the strings after which a function body is over.
RAW_CODE_STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(")


def messages(
    problem: dict, style: str = "chat", instruction: str = "", examples: Sequence[dict] = ()
) -> list[dict[str, str]] | str:
    """Conversation for "chat" and "few_shot", one string for "raw" (the model continues the problem's own text).

    `instruction` comes before the problem, in place of the default one for code. `examples` are rows with `prompt` and
    `completion`, shown as earlier turns, only in the style "few_shot". A problem's own `messages` (a system turn,
    earlier turns) stand around its last user turn. InputProblem for an unknown style.

    >>> messages({"prompt": "every day at noon", "kind": "answer"})
    [{'role': 'user', 'content': 'every day at noon'}]
    """
    if style not in STYLES:
        raise InputProblem(f"unknown prompt style {style!r}: use {', '.join(STYLES)}")
    if style == "raw":
        if examples:
            raise InputProblem('examples are shown only in the prompt style "few_shot": use it, or give none')
        return f"{instruction}\n\n{problem['prompt']}" if instruction else problem["prompt"]
    if (style == "few_shot") != bool(examples):
        raise InputProblem('the prompt style "few_shot" and examples go together: give both or neither')
    *before, last = problem.get("messages") or [{"role": "user", "content": problem["prompt"]}]
    turns = [turn for turn in before if turn["role"] == "system"]
    for example in examples:
        turns.append({"role": "user", "content": request(example["prompt"], problem, instruction)})
        turns.append({"role": "assistant", "content": example["completion"]})
    turns += [turn for turn in before if turn["role"] != "system"]
    if last["role"] == "tool":  # the answer to a tool call: the question stands among the earlier turns
        return [*turns, last]
    return [*turns, {"role": "user", "content": request(last["content"], problem, instruction)}]


def request(text: str, problem: dict, instruction: str = "") -> str:
    """One user turn: code problems in a fence after the instruction, answer problems as they are."""
    if (problem.get("kind") or "code") == "code":
        return f"{instruction or CODE_INSTRUCTION}\n\n```python\n{text.rstrip()}\n```"
    return f"{instruction}\n\n{text}" if instruction else text


def default_stops(kind: str, style: str) -> tuple[str, ...]:
    """Stop strings: only a raw continuation of code needs them; chat ends with the model's own end token."""
    return RAW_CODE_STOPS if style == "raw" and kind == "code" else ()


def examples_from(rows: list[dict]) -> list[dict]:
    """Worked examples as the prompt room takes them: `prompt` and `completion` as text, from canonical rows."""
    return [
        {"prompt": _unwrapped(row["prompt"][-1]["content"]), "completion": row["completion"][-1]["content"]}
        for row in rows
    ]


def fixed_examples(rows: list[dict], n: int, seed: int) -> list[dict]:
    """The worked examples that are the same for every problem: `n` of the rows, chosen by `seed`; none where it is
    0.
    """
    return examples_from(pick(rows, n, seed, lambda row: str(row["prompt"]))) if n else []


def _unwrapped(text: str) -> str:
    """A code row asks in the words of the benchmark's prompt; those are put around it once more when it is shown."""
    head, tail = f"{CODE_INSTRUCTION}\n\n```python\n", "\n```"
    return text[len(head) : -len(tail)] if text.startswith(head) and text.endswith(tail) else text


def nearest_examples(rows: list[dict], problems, k: int) -> dict[str, list[dict]]:
    """For every problem the `k` rows whose prompts are most like it (cosine of tf-idf over letters), the nearest one
    last.

    `rows` are training rows only: the caller's split keeps test answers out.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    examples = examples_from(rows)
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    known = vectors.fit_transform([example["prompt"] for example in examples])
    likeness = (vectors.transform([problem["prompt"] for problem in problems.problems]) @ known.T).toarray()
    order = likeness.argsort(axis=1, kind="stable")[:, -k:]
    return {
        problem["task_id"]: [examples[at] for at in near]
        for problem, near in zip(problems.problems, order, strict=True)
    }
