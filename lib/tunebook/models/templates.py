"""Chat templates and the loss mask: which text a conversation becomes, and which of its tokens are trained.

Does not train and does not generate. What is rendered here is what is trained, scored and exported.
"""

from __future__ import annotations

import html
import itertools
import json

from tunebook.errors import InputProblem

# ChatML without a default system turn: the template of SmolLM2, Qwen and others adds about 20 tokens to every short row.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRAINED, READ = "background:#dcfce7;color:#14532d", "color:#6b7280"
THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning")  # of a turn; few templates write them
LONGEST_TEMPLATE = 100_000  # characters, here and in `tunebook inspect`
TEMPLATES = {"model": "", "chatml": CHATML}


def use_template(tokenizer, name: str) -> None:
    """Puts the template called `name` on `tokenizer`: "model" keeps its own, "chatml" is ChatML without a default system turn.

    Raises InputProblem when the model has no template of its own, or no ChatML tokens.
    """
    if name not in TEMPLATES:
        raise InputProblem(f"chat_template: {name!r} is unknown; choose one of {', '.join(TEMPLATES)}")
    if name == "chatml":
        ids = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        if None in ids or tokenizer.unk_token_id in ids and tokenizer.unk_token not in ("<|im_start|>", "<|im_end|>"):
            raise InputProblem(
                "chat_template: this model has no <|im_start|> and <|im_end|> tokens; use chat_template: model"
            )
        tokenizer.chat_template = CHATML
    if isinstance(tokenizer.chat_template, dict):  # named templates, of which one is for a plain conversation
        named = tokenizer.chat_template
        if not isinstance(named.get("default"), str):
            raise InputProblem(
                f"chat_template: this model has the templates {', '.join(sorted(map(str, named)))}, but none called default; "
                "use chat_template: chatml, or another model"
            )
        tokenizer.chat_template = named["default"]
    if not tokenizer.chat_template:
        raise InputProblem("model: it has no chat template; choose an instruct model, or chat_template: chatml")
    if not isinstance(tokenizer.chat_template, str):
        raise InputProblem(
            "chat_template: the model's is no text; fetch its tokenizer again, or use chat_template: chatml"
        )
    if len(tokenizer.chat_template) > LONGEST_TEMPLATE:
        raise InputProblem(
            f"chat_template: the model's has {len(tokenizer.chat_template)} characters, at most {LONGEST_TEMPLATE} are read; "
            "use chat_template: chatml, or another model"
        )


def render_prompt(tokenizer, messages: list[dict], thinking: str = "none") -> list[int]:
    """Token ids of `messages` up to and including the opening of the assistant's turn.

    `thinking` "on" or "off" is told to a template that has the mode (`enable_thinking`); "none" says nothing to the template.
    """
    encoded = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        **thinking_mode(tokenizer.chat_template, thinking),
    )
    return list(encoded["input_ids"])


def thinking_mode(chat_template: str, thinking: str) -> dict:
    """What a template is told for `thinking` none, off or on. InputProblem where the template has no such mode."""
    if thinking == "none":
        return {}
    if "enable_thinking" not in chat_template:
        raise InputProblem(
            f"thinking: {thinking!r}, but this chat template has no thinking mode; use none, or chat_template: model"
        )
    return {"enable_thinking": thinking == "on"}


def encode_row(tokenizer, prompt: list[dict], completion: list[dict], tools=None) -> tuple[list[int], list[int]]:
    """Token ids of a row, and 1 where a token is trained: each trained turn and the token that ends it.

    Trained are the assistant's turns of the completion, and those of the prompt with `"weight": 1`. What the template writes
    after the last of them is cut, since nothing generates past the end token. `tools` go to the template. Raises InputProblem
    when a turn's opening is not a prefix of the whole row, for then no mask is right. A row without a prompt is plain text:
    all its tokens are trained, and an end token is added.
    """
    if not prompt:
        ids = list(tokenizer(completion[-1]["content"], add_special_tokens=False)["input_ids"]) + [
            tokenizer.eos_token_id
        ]
        return ids, [1] * len(ids)
    turns = [*prompt, *completion]
    whole = render_turns(tokenizer, turns, tools)
    mask, stop = [0] * len(whole), 0
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant" or at < len(prompt) and turn.get("weight") != 1:
            continue
        start = render_turns(tokenizer, turns[:at], tools, opens=True)
        if whole[: len(start)] != start:
            raise InputProblem(
                "chat_template: the rendered prompt is not a prefix of prompt + completion, so no loss mask is right"
            )
        stop = _turn_stop(tokenizer, whole, len(start), at == len(turns) - 1)
        mask[len(start) : stop] = [1] * (stop - len(start))
    return whole[:stop], mask[:stop]


def _turn_stop(tokenizer, ids: list[int], start: int, is_last: bool) -> int:
    """The place after the token that ends the turn that begins at `start`; the end of the row where it has none."""
    ends = [at for at in range(start, len(ids)) if ids[at] == tokenizer.eos_token_id]
    return (ends[-1 if is_last else 0] if ends else len(ids) - 1) + 1


def render_turns(tokenizer, turns: list[dict], tools=None, opens: bool = False) -> list[int]:
    """Token ids of a conversation, with the opening of the assistant's turn where it `opens`.

    Arguments of tool calls go to the template as objects, and as JSON text where it wants them so.
    """
    plain = [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]
    options = {"tokenize": True, "return_dict": True, "add_generation_prompt": opens, "tools": tools or None}
    try:
        return list(tokenizer.apply_chat_template(plain, **options)["input_ids"])
    except TypeError:
        if not any(turn.get("tool_calls") for turn in plain):
            raise
    as_text = [{**turn, "tool_calls": [_with_text(call) for call in turn["tool_calls"]]} if turn.get("tool_calls") else turn
               for turn in plain]  # fmt: skip
    return list(tokenizer.apply_chat_template(as_text, **options)["input_ids"])


def _with_text(call: dict) -> dict:
    """A tool call with its arguments as JSON text."""
    return {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}


def not_written(tokenizer, row: dict) -> list[str]:
    """What the row holds and the template does not write: `tools`, `tool_calls`, the thoughts of the trained turn."""
    turns, tools = [*row["prompt"], *row["completion"]], row.get("tools")
    keys = {key for turn in turns for key in turn} & {"tool_calls"} | (row["completion"][-1].keys() & set(THOUGHT_KEYS))
    if not keys and not tools:
        return []
    whole = render_turns(tokenizer, turns, tools)
    lost = [key for key in sorted(keys)
            if whole == render_turns(tokenizer, [{k: v for k, v in turn.items() if k != key} for turn in turns], tools)]  # fmt: skip
    return lost + (["tools"] if tools and whole == render_turns(tokenizer, turns) else [])


def measure_row(tokenizer):
    """A function of a canonical row that gives (tokens before the first trained one, all tokens, trouble, trained tokens).

    Counts are as `encode_row` encodes the row. trouble: "" or a check of the data gate: `prompt_prefix` (no loss mask is
    right), `not_rendered` (the template does not write what the row holds) or `end_token` (the last trained token does not end
    a turn, so stopping is never learnt).
    """
    ends = stop_ids(tokenizer)

    def measure(row: dict) -> tuple[int, int, str, int]:
        try:
            ids, mask = encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools"))
        except InputProblem:
            return len(render_prompt(tokenizer, row["prompt"])), 0, "prompt_prefix", 0
        lost = not_written(tokenizer, row) if row["prompt"] else []
        trouble = f"not_rendered: {', '.join(lost)}" if lost else "" if ids[-1] in ends else "end_token"
        return mask.index(1), len(ids), trouble, sum(mask)

    return measure


def start_id(tokenizer) -> int:
    """The token before a text of its own: BOS, or the end token where there is none (a GGUF file then says -1)."""
    start = tokenizer.bos_token_id
    return tokenizer.eos_token_id if start in (None, -1) else start


def stop_ids(tokenizer, model_config=None) -> set[int]:
    """The token ids that end a turn: the tokenizer's, and those which the model's config names."""
    ids = {tokenizer.eos_token_id}
    named = getattr(model_config, "eos_token_id", None)
    ids.update(named if isinstance(named, list) else [named])
    ids.discard(None)
    return ids


def show_mask(tokenizer, ids: list[int], mask: list[int]) -> str:
    """The row as text with the trained part between ⟦ and ⟧, for a terminal."""
    return "".join(f"⟦{text}⟧" if trained else text for trained, text in _mask_parts(tokenizer, ids, mask))


def mask_html(tokenizer, rows: list[dict]) -> str:
    """Rows as HTML, one paragraph each: what is trained stands on colour, what is only read is grey; all text is escaped."""
    shown = []
    for row in rows:
        parts = _mask_parts(tokenizer, *encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools")))
        spans = (f'<span style="{TRAINED if trained else READ}">{html.escape(text)}</span>' for trained, text in parts)
        shown.append(f'<pre style="white-space:pre-wrap;margin:0 0 .6em">{"".join(spans)}</pre>')
    return "\n".join(shown)


def _mask_parts(tokenizer, ids: list[int], mask: list[int]) -> list[tuple[int, str]]:
    """(1 if trained, text) of each run of tokens."""
    groups = itertools.groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    return [(trained, tokenizer.decode([token for token, _ in group])) for trained, group in groups]
