"""How a stage of a study asks: one question as the model is asked it, and what ends an answer, compared between stages.

Does not ask anything.
"""

import contextlib

from tunebook.errors import InputProblem
from tunebook.files import hash_json
from tunebook.models.templates import (
    ANSWER,
    ASKED,
    apply_template,
    encode_row,
    end_texts,
    ends_of,
    render_prompt,
    thinking_mode,
)


def rendered_question(tokenizer, thinking: str = "none") -> dict:
    """One question as the model is asked it, and all that ends its answer: `prompt` and `ends` are texts, `ids` the
    tokens of the prompt, `rows_alike` whether a training row begins with them; `sha256` is over these.
    """
    made = {"prompt": asked_text(tokenizer, thinking)[0], "ids": render_prompt(tokenizer, [ASKED], thinking)}
    row, mask = [], [1]
    with contextlib.suppress(InputProblem):  # no mask is right
        row, mask = encode_row(tokenizer, [ASKED], [{"role": "assistant", "content": ANSWER}])
    made |= {"ends": sorted(end_texts(tokenizer)), "rows_alike": row[: mask.index(1)] == made["ids"]}
    return made | {"sha256": hash_json(made)}


def asked_text(tokenizer, thinking: str = "none") -> tuple[str, str]:
    """The text of one question as the model is asked it, and that of the token that closes its answer, "" for none."""
    mode = thinking_mode(tokenizer.chat_template, thinking)
    text = apply_template(tokenizer, [ASKED], tokenize=False, add_generation_prompt=True, **mode)
    ends_of(tokenizer)
    return text, "" if tokenizer.turn_end is None else tokenizer.decode([tokenizer.turn_end])


def same_question(tokenizer, thinking: str, first: dict) -> dict:
    """A stage's check, `name, measured, rule, ok`: how it asks, against the `rendered_question` of 01."""
    made = rendered_question(tokenizer, thinking)
    shown = "".join(f"; {key}: {made[key]!r} / {first[key]!r}"[:200] for key in made if made[key] != first[key])
    shown += "" if made["rows_alike"] else "; a training row begins otherwise than the model is asked"
    rule = f"rows and questions begin alike, with the prompt and the ends of 01 ({first['sha256'][:12]})"
    is_same = made["rows_alike"] and made["sha256"] == first["sha256"]
    return {"name": "same_question", "measured": made["sha256"][:12] + shown, "rule": rule, "ok": is_same}
