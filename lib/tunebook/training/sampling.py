"""Answers of a model to training prompts, and the checker that labels them. Does not train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunebook.evaluation.prompts import messages
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.reply import is_open_thought, opened_thought
from tunebook.models.engine import TAIL_TOKENS, Decoding
from tunebook.models.generate import lock_step
from tunebook.models.loading import BaseModel
from tunebook.models.templates import ends_of, render_prompt
from tunebook.training.preferences import Preferences, sampled_preferences

PROBED = 64  # prompts that tell how many pairs the rest would give


@dataclass(frozen=True)
class Sampling:
    """`samples` answers a prompt, judged by `is_right(row, text)`. With `least_pairs` above 0 the first PROBED prompts
    are asked alone: where they promise fewer pairs from all of them, the rest is not asked.
    """

    samples: int
    decoding: Decoding
    is_right: Callable
    least_pairs: int = 0


def sample_preferences(base: BaseModel, adapter: Path, rows: list[dict], how: Sampling, on_progress):
    """The adapted model's own answers to the prompts of `rows` as (Preferences, promise).

    An answer that ends inside a thought is none. `promise` tells what the probe saw: `prompts` in all, `asked`, `mixed`
    (prompts with a right and a wrong answer), `expected` pairs from all of them, `least`, `is_enough`. Where it is not
    enough the preferences are none.
    """
    promise = {"prompts": len(rows), "asked": 0, "mixed": 0, "expected": 0, "least": how.least_pairs, "is_enough": True}
    if not rows:
        return Preferences(), promise
    n_probed = PROBED if 0 < how.least_pairs and PROBED < len(rows) else len(rows)
    with base.engine(adapter) as engine:
        prompts = [engine.encode(row["prompt"], tools=row.get("tools")) for row in rows for _ in range(how.samples)]
        texts: list[str] = [""] * len(prompts)
        opened = opened_thought(engine.decode(prompts[0][-TAIL_TOKENS:]))

        def ask(first: int, end: int) -> Preferences:
            only = range(first * how.samples, end * how.samples)
            for at, done in enumerate(engine.generate(prompts, how.decoding, only=only)):
                texts[done.index] = engine.decode(done.ids)
                on_progress(only.start + at + 1, len(prompts), "answers")
            groups = [texts[at : at + how.samples] for at in range(0, end * how.samples, how.samples)]
            answers = [[text for text in group if not is_open_thought(opened + text)] for group in groups]
            return sampled_preferences(rows[:end], answers, how.is_right)

        found = ask(0, n_probed)
        expected = round(len(found.pairs) * len(rows) / n_probed)
        promise |= {"asked": n_probed, "mixed": len(found.pairs), "expected": expected}
        promise["is_enough"] = expected >= how.least_pairs
        if promise["is_enough"] and n_probed < len(rows):
            found = ask(n_probed, len(rows))
    return (found if promise["is_enough"] else Preferences()), promise


def checker_of(task: str):
    """A function of a row and an answer that says whether the answer is right.

    A shipped task brings its own checker; for other rows ("") an answer is right when it equals the row's completion,
    white space apart, both as the extractor reads them.
    """
    from tunebook.evaluation.extraction import extract, extract_answer

    if not task:

        def is_same(row: dict, text: str) -> bool:
            problem = {"kind": "answer", "canonical_solution": row["completion"][-1]["content"]}
            read, wanted = (extract(one, problem).split() for one in (text, problem["canonical_solution"]))
            return read == wanted

        return is_same
    from tunebook import tasks

    check = tasks.load(task).check_answer

    def is_right(row: dict, text: str) -> bool:
        try:
            check(extract_answer(text, "first_line"), row["completion"][-1]["content"])
        except AssertionError:
            return False
        return True

    return is_right


def answers_before_and_after(model, base: BaseModel, problems: list[dict], asking: Asking) -> list[dict]:
    """What base and the trained `model` say to each problem, greedy: rows `prompt, base, trained`. Shows, and judges
    nothing. Base is the model with its adapter off, or where it has none, loaded again.
    """
    model.eval()
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            before = _greedy(model, base.tokenizer, problems, asking)
    else:
        with base.engine() as engine:
            before = _greedy(engine.model, base.tokenizer, problems, asking)
    after = _greedy(model, base.tokenizer, problems, asking)
    return [
        {"prompt": problem["prompt"], "base": first, "trained": last}
        for problem, first, last in zip(problems, before, after, strict=True)
    ]


def _greedy(model, tokenizer, problems: list[dict], asking: Asking) -> list[str]:
    style, prompts = "chat" if asking.prompt_style == "few_shot" else asking.prompt_style, []
    for problem in problems:
        asked = messages(problem, style, asking.instruction)
        is_text = isinstance(asked, str)
        prompts.append(tokenizer(asked)["input_ids"] if is_text else render_prompt(tokenizer, asked, asking.thinking))
    made = lock_step(model, prompts, ends_of(tokenizer), Decoding(asking.max_new_tokens), max(1, len(prompts)))
    texts = {done.index: tokenizer.decode(done.ids, skip_special_tokens=True).strip() for done in made}
    return [texts[at] for at in range(len(problems))]
