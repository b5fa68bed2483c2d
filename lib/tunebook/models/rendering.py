"""How a stage of a study asks: one question as the model is asked it, and what ends an answer, compared between stages;
and rows with their mask as HTML.

Does not ask anything.
"""

import contextlib
import html
import itertools

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

TRAINED, READ = "background:#dcfce7;color:#14532d", "color:#6b7280"


def rendered_question(tokenizer, thinking: str = "none") -> dict:
    """One question as the model is asked it, and all that ends its answer: `prompt` is text, `ids` are its tokens and
    `ends` those of the ends, `rows_alike` whether a training row begins with them; `sha256` is over these.
    """
    made = {"prompt": asked_text(tokenizer, thinking)[0], "ids": render_prompt(tokenizer, [ASKED], thinking)}
    row, mask = [], [1]
    with contextlib.suppress(InputProblem):  # no mask is right
        row, mask = encode_row(tokenizer, [ASKED], [{"role": "assistant", "content": ANSWER}])
    made |= {"ends": sorted(ends_of(tokenizer)), "rows_alike": row[: mask.index(1)] == made["ids"]}
    return made | {"sha256": hash_json(made)}


def asked_text(tokenizer, thinking: str = "none") -> tuple[str, ...]:
    """The text of one question as the model is asked it, that of the token that closes its answer, "" for none, and
    those of all tokens that end it, sorted.
    """
    mode = thinking_mode(tokenizer.chat_template, thinking)
    text = apply_template(tokenizer, [ASKED], tokenize=False, add_generation_prompt=True, **mode)
    ends = end_texts(tokenizer)
    return text, "" if tokenizer.turn_end is None else ends[0], *sorted(ends)


def same_question(tokenizer, thinking: str, first: dict) -> dict:
    """A stage's check, `name, measured, rule, ok`: how it asks, against the `rendered_question` of 01."""
    made = rendered_question(tokenizer, thinking)
    shown = "".join(f"; {key}: {made[key]!r} / {first[key]!r}"[:200] for key in made if made[key] != first[key])
    shown += "" if made["rows_alike"] else "; a training row begins otherwise than the model is asked"
    rule = f"rows and questions begin alike, with the prompt and the ends of 01 ({first['sha256'][:12]})"
    is_same = made["rows_alike"] and made["sha256"] == first["sha256"]
    return {"name": "same_question", "measured": made["sha256"][:12] + shown, "rule": rule, "ok": is_same}


def mask_html(tokenizer, rows: list[dict]) -> str:
    """Rows as HTML, one paragraph each: what is trained stands on colour, what is only read is grey; all text is
    escaped.
    """
    shown = []
    for row in rows:
        parts = mask_parts(tokenizer, *encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools")))
        spans = (f'<span style="{TRAINED if trained else READ}">{html.escape(text)}</span>' for trained, text in parts)
        shown.append(f'<pre style="white-space:pre-wrap;margin:0 0 .6em">{"".join(spans)}</pre>')
    return "\n".join(shown)


def mask_parts(tokenizer, ids: list[int], mask: list[int]) -> list[tuple[int, str]]:
    """(1 if trained, text) of each run of tokens."""
    groups = itertools.groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    return [(trained, tokenizer.decode([token for token, _ in group])) for trained, group in groups]
