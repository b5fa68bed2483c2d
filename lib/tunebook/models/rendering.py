"""How a stage of a study asks: one question as the model is asked it, and what ends an answer, compared between stages;
rows with their mask as HTML; and what of a row is trained.

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
    NO_END,
    THOUGHT_KEYS,
    TemplateRefuses,
    apply_template,
    encode_row,
    end_texts,
    ends_of,
    render_prompt,
    render_turns,
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


def not_written(tokenizer, row: dict) -> list[str]:
    """What the row holds and the template does not write: `tools`, `tool_calls`, and the thoughts of trained turns, in
    a key or in the content. Many templates write those of the last turn only.
    """
    turns, tools = [*row["prompt"], *row["completion"]], row.get("tools")
    lost, n_given = [], len(row["prompt"])
    if tools or any("tool_calls" in turn for turn in turns):
        whole = render_turns(tokenizer, turns, tools)
        bare = [{key: value for key, value in turn.items() if key != "tool_calls"} for turn in turns]
        lost += ["tool_calls"] if bare != turns and whole == render_turns(tokenizer, bare, tools) else []
        lost += ["tools"] if tools and whole == render_turns(tokenizer, turns) else []
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant" or at < n_given and turn.get("weight") != 1:
            continue
        for bare in _thoughtless(turn):
            less = [*turns[:at], bare, *turns[at + 1 :]]
            trained = [encode_row(tokenizer, part[:n_given], part[n_given:], tools) for part in (turns, less)]
            if trained[0] == trained[1]:
                lost.append("the thought of the last turn" if at == len(turns) - 1 else "the thoughts of earlier turns")
    return list(dict.fromkeys(lost))


def _thoughtless(turn: dict) -> list[dict]:
    """A turn without the thought that a key or its content holds, in the ways in which templates cut it; [] for a turn
    without one.
    """
    rest = {key: value for key, value in turn.items() if key not in THOUGHT_KEYS}
    answer = (turn.get("content") or "").rpartition("</think>")
    if not answer[0].rpartition("<think>")[2].strip():
        return [rest] if rest != turn else []
    return [rest | {"content": text} for text in dict.fromkeys((answer[2], answer[2].lstrip("\n"), answer[2].strip()))]


def measure_row(tokenizer):
    """A function of a canonical row that gives (tokens before the first trained one, all tokens, trouble, trained
    tokens).

    Counts are as `encode_row` encodes the row. trouble: "" or a check of the data gate: `prompt_prefix` (no loss mask
    is right), `not_rendered: ` with what the template does not write, `template_refuses: ` with the template's own
    words, or `end_token` (the last trained token does not end a turn, so stopping is never learnt).
    """
    ends = ends_of(tokenizer)

    def measure(row: dict) -> tuple[int, int, str, int]:
        try:
            ids, mask = encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools"))
        except TemplateRefuses as problem:
            return 0, 0, f"template_refuses: {problem}", 0
        except InputProblem as problem:
            ids = render_turns(tokenizer, row["prompt"], row.get("tools"), opens=True)
            is_open = str(problem).startswith(NO_END)
            said = "an earlier answer has no end" if is_open else f"the prompt ends {tokenizer.decode(ids[-6:])!r}"
            return len(ids), 0, f"prompt_prefix: {said}", 0
        lost = not_written(tokenizer, row) if row["prompt"] else []
        named = f"end_token: this model's ends are {', '.join(end_texts(tokenizer)[:6])}"
        trouble = f"not_rendered: {', '.join(lost)}" if lost else "" if ids[-1] in ends else named
        return mask.index(1), len(ids), trouble, sum(mask)

    return measure
