"""Chat templates, the ends of a turn and the loss mask: which text a conversation becomes, and which of its tokens are
trained.

Does not train and does not generate. What is rendered here is what is trained, scored and exported.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
from collections.abc import Iterable

from tunebook.errors import InputProblem

# ChatML without a default system turn: the template of SmolLM2, Qwen and others adds about 20 tokens to every short
# row.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
    " }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# ChatML that writes tools and tool calls too, for models whose own template does not.
CHATML_TOOLS = (
    "{% set is_first = messages[0]['role'] == 'system' %}{% if tools %}{{ '<|im_start|>system\n' }}{% if is_first %}{{"
    " messages[0]['content'] + '\n\n' }}{% endif %}{{ 'Functions you may call, each call as JSON inside"
    " <tool_call></tool_call>:\n' }}{% for tool in tools %}{{ (tool['function'] | tojson) + '\n' }}{% endfor %}{{"
    " '<|im_end|>\n' }}{% endif %}{% for message in messages %}{% if not (tools and is_first and loop.first) %}{{"
    " '<|im_start|>' + message['role'] + '\n' + message['content'] }}{% for call in message['tool_calls'] or [] %}{{"
    " '<tool_call>' + (call['function'] | tojson) + '</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}{%"
    " endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# For base models without control tokens: turns in words, each answer closed by the model's own end of a text.
PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' + message['content'] +"
    " eos_token + '\n' }}{% elif message['role'] == 'user' %}{{ 'User:\n' + message['content'] + '\n' }}{% else %}{{"
    " message['content'] + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning")  # of a turn; few templates write them
LONGEST_TEMPLATE = 100_000  # characters, here and in `tunebook inspect`
TEMPLATES = {"model": "", "chatml": CHATML, "chatml_tools": CHATML_TOOLS, "plain": PLAIN}
DAY = datetime.date(
    2026, 1, 1
)  # what a template that prints today's date prints, in every stage and in the exported file
# Texts of tokens at which llama.cpp ends a generation, whatever the file says. Source: llama.cpp, src/llama-vocab.cpp.
ENDS_BY_TEXT = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>",
    "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>",
    "<|tool_response>",
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
    "<reponame>", "<|file_sep|>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
# (the tokens that a vocabulary has, the one that then is no end); from the same place
NO_END_BESIDE = (
    ({"<|return|>", "<|call|>"}, "<|end|>"), ({"<|calls|>", "<|flush|>"}, "<|end|>"), ({"<|tool_response>"}, "</s>"),
)  # fmt: skip


class TemplateRefuses(InputProblem):
    """The chat template itself refuses a conversation: some take no system turn, or only turns that alternate."""


NO_PREFIX = "chat_template: the rendered prompt is not a prefix of prompt + completion, so no loss mask is right"
NO_END = "chat_template: an earlier answer does not end with a token that ends a turn, so no loss mask is right"
ASKED, ANSWER = {"role": "user", "content": "Every day at noon"}, "0 12 * * *"


def use_template(tokenizer, name: str, thinking: str = "none") -> None:
    """Puts the template called `name` on `tokenizer`: "model" keeps its own, "chatml" is ChatML without a default
    system turn, "plain" is for base models, with turns in words.

    A date that it prints is fixed at DAY, and `thinking` "on" or "off" is written into it, so that every stage and the
    exported file render alike. Raises InputProblem when the model has no template of its own, no ChatML tokens, or no
    such mode.
    """
    if name not in TEMPLATES:
        raise InputProblem(f"chat_template: {name!r} is unknown; choose one of {', '.join(TEMPLATES)}")
    if name in ("chatml", "chatml_tools"):
        if not _has_chatml(tokenizer):
            other = "model" if tokenizer.chat_template else "plain"
            raise InputProblem(
                f"chat_template: this model has no <|im_start|> and <|im_end|> tokens; use chat_template: {other}"
            )
    if TEMPLATES[name]:
        tokenizer.chat_template = TEMPLATES[name]
        if name == "plain" and _puts_bos(tokenizer):
            tokenizer.chat_template = "{{ bos_token }}" + PLAIN
    if isinstance(tokenizer.chat_template, dict):  # named templates, of which one is for a plain conversation
        named = tokenizer.chat_template
        if not isinstance(named.get("default"), str):
            raise InputProblem(
                f"chat_template: this model has the templates {', '.join(sorted(map(str, named)))}, but none called"
                " default; use chat_template: chatml, or another model"
            )
        tokenizer.chat_template = named["default"]
    if not tokenizer.chat_template:
        raise InputProblem("model: it has no chat template, as base models have none; use chat_template: plain")
    if not isinstance(tokenizer.chat_template, str):
        raise InputProblem(
            "chat_template: the model's is no text; fetch its tokenizer again, or use chat_template: chatml"
        )
    if len(tokenizer.chat_template) > LONGEST_TEMPLATE:
        raise InputProblem(
            f"chat_template: the model's has {len(tokenizer.chat_template)} characters, at most {LONGEST_TEMPLATE} are"
            " read; use chat_template: chatml, or another model"
        )
    tokenizer.chat_template = _fixed(tokenizer.chat_template, thinking)


def _has_chatml(tokenizer) -> bool:
    marks = ["<|im_start|>", "<|im_end|>"]
    ids = tokenizer.convert_tokens_to_ids(marks)
    return None not in ids and (tokenizer.unk_token_id not in ids or tokenizer.unk_token in marks)


def _puts_bos(tokenizer) -> bool:
    """Whether a text by itself begins with BOS: base models such as Llama's and Gemma's were trained on no other."""
    bos = tokenizer.bos_token_id
    if hasattr(tokenizer, "adds_bos"):
        return tokenizer.adds_bos
    return bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]


def _fixed(template: str, thinking: str) -> str:
    """The template with DAY for today, and with the mode of thinking set at its beginning."""
    mode = "".join(
        f"{{%- set {key} = {str(value).lower()} %}}" for key, value in thinking_mode(template, thinking).items()
    )
    dated = re.sub(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""", lambda hit: repr(DAY.strftime(hit[2])), template)
    dated = re.sub(r"\bstrftime_now is defined\b", "true", dated)
    if "strftime_now" in dated:
        raise InputProblem(
            "chat_template: the model's prints the date in a form that cannot be fixed, so no two days would have one"
            " prompt; use chat_template: chatml"
        )
    return dated if dated.startswith(mode) else mode + dated


def learn_ends(tokenizer, named: Iterable[int] = (), end_of_turn: str = "") -> None:
    """Sets `turn_end`, the token that closes the assistant's turn (None where none does), and `ends`, all tokens that
    end a generation: that one, the tokenizer's end token, those `named` by the model's files, and those that llama.cpp
    knows by text.

    `turn_end` is the last control token that the template writes after an answer, in the last turn as in an earlier
    one; `end_of_turn` names it where that cannot be told, and is put after a trained answer where the template writes
    none (`adds_end`). Raises InputProblem where that is not one token.
    """
    tokenizer.turn_end = closing_token(tokenizer)
    tokenizer.adds_end = bool(end_of_turn) and tokenizer.turn_end is None
    if end_of_turn:
        tokenizer.turn_end = named_end(tokenizer, end_of_turn)
    known = tokenizer.get_vocab()
    texts = {text for text in ENDS_BY_TEXT if text in known}
    texts -= {end for beside, end in NO_END_BESIDE if beside <= texts}
    ids = {tokenizer.eos_token_id, tokenizer.turn_end, *(known[text] for text in texts)}
    ids |= {token for token in named if 0 <= token < len(tokenizer)}
    tokenizer.ends = frozenset(ids - {None})


def named_end(tokenizer, end_of_turn: str) -> int:
    """The token whose text is `end_of_turn`. Raises InputProblem where that is not one token."""
    ids = list(tokenizer(end_of_turn, add_special_tokens=False)["input_ids"])
    if len(ids) != 1:
        raise InputProblem(
            f"end_of_turn: {end_of_turn!r} is {len(ids)} tokens of this model; name the one token that closes a turn"
        )
    return ids[0]


def closing_token(tokenizer) -> int | None:
    """The last control token that the template writes after an answer that is the last turn as well as after one
    that is not; where these have none in common (Olmo 3), the one after the last turn.
    """
    tails = []
    for turns in (
        [ASKED, {"role": "assistant", "content": ANSWER}],
        [ASKED, {"role": "assistant", "content": ANSWER}, ASKED],
    ):
        with contextlib.suppress(TemplateRefuses):  # some take one question only
            tails.append(apply_template(tokenizer, turns, tokenize=False).partition(ANSWER)[2])
    for tail in (os.path.commonprefix(tails), *tails[:1]):
        ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
        if controls := [token for token in ids if is_control(tokenizer, token)]:
            return controls[-1]
    return None


def is_control(tokenizer, token: int) -> bool:
    """Whether a token is no text: a special one of the tokenizer's."""
    if hasattr(tokenizer, "is_control"):
        return tokenizer.is_control(token)
    added = tokenizer.added_tokens_decoder.get(token)
    return token in tokenizer.all_special_ids or added is not None and added.special


def ends_of(tokenizer) -> frozenset[int]:
    """All tokens that end a generation of this tokenizer's model: for the loss mask, both engines, and the exported
    file.
    """
    if not hasattr(tokenizer, "ends"):
        learn_ends(tokenizer)
    return tokenizer.ends


def end_texts(tokenizer) -> list[str]:
    """The texts of all ends, the one that closes a turn first."""
    return [
        tokenizer.decode([token]) for token in sorted(ends_of(tokenizer), key=lambda token: token != tokenizer.turn_end)
    ]


def turn_end(tokenizer, ids: list[int], start: int) -> int:
    """The place after the token that closes the last turn of a rendered conversation, whose text begins at `start`.

    What a template writes after it (a newline, a second end) is never generated, so it is not trained. len(ids) where
    the turn is not closed.
    """
    ends_of(tokenizer)
    return max((at + 1 for at in range(start, len(ids)) if ids[at] == tokenizer.turn_end), default=len(ids))


def render_prompt(tokenizer, messages: list[dict], thinking: str = "none", tools=None) -> list[int]:
    """Token ids of `messages` up to and including the opening of the assistant's turn.

    `thinking` "on" or "off" is told to a template that has the mode (`enable_thinking`); "none" says nothing to the
    template. `tools` go to the template.
    """
    mode = thinking_mode(tokenizer.chat_template, thinking) | ({"tools": tools} if tools else {})
    return apply_template(tokenizer, messages, add_generation_prompt=True, **mode)


def apply_template(tokenizer, messages: list[dict], tokenize: bool = True, **options):
    """Token ids, or the text, of a conversation. Raises TemplateRefuses, with the template's own words, where it
    refuses.
    """
    try:
        made = tokenizer.apply_chat_template(list(messages), tokenize=tokenize, return_dict=tokenize, **options)
    except Exception as problem:  # whatever a template raises
        if isinstance(problem, InputProblem) and not str(problem).startswith("chat template: "):
            raise
        words = str(problem).strip().partition("\n")[0].removeprefix("chat template: ")[:200]
        raise TemplateRefuses(f"chat_template: the model's refuses these turns ({words})") from problem
    return list(made["input_ids"]) if tokenize else made


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

    Trained are the assistant's turns of the completion, and those of the prompt with `"weight": 1`. What the template
    writes after the last of them is cut (see `turn_end`). `tools` go to the template. A thought that the prompt opens
    is closed by what is trained. Raises InputProblem when a turn's opening is not a prefix of the whole row, or an
    earlier trained turn has no end inside itself, for then no mask is right. A row without a prompt is plain text: all
    its tokens are trained, and an end token is added.
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
        if whole[: len(start)] != start and at == len(turns) - 1 and (said := _answer(tokenizer, turns, tools)):
            whole = start + said
            mask = (mask + [0] * len(whole))[: len(whole)]
        is_last = at == len(turns) - 1
        if whole[: len(start)] != start:
            trouble = f"{NO_PREFIX} (it ends {tokenizer.decode(start[-6:])!r})"
            raise InputProblem(f"{trouble}; {_other_template(tokenizer, is_last)}")
        if is_last:
            stop = turn_end(tokenizer, whole, len(start))
        else:
            stop = _earlier_stop(tokenizer, turns, at, whole, start, tools)
        if not stop:
            raise InputProblem(f"{NO_END} (turn {at + 1}); {_other_template(tokenizer, is_last)}")
        mask[len(start) : stop] = [1] * (stop - len(start))
    own = [tokenizer.turn_end] if getattr(tokenizer, "adds_end", False) else []
    return whole[:stop] + own, mask[:stop] + [1] * len(own)


def _answer(tokenizer, turns: list[dict], tools) -> list[int]:
    """Token ids of the last turn as they follow the prompt's, where those of the whole conversation do not: a token
    lies across the place where the turn begins, or the prompt opens a thought that the template leaves out of a written
    turn (R1 distilled), or writes otherwise. Then the turn goes on with its own thought, if it has one, and closes it.

    [] where the template does something else.
    """
    prompt = render_turns(tokenizer, turns[:-1], tools, opens=True, tokenize=False)
    whole, bare = render_turns(tokenizer, turns, tools, tokenize=False), re.sub(r"<think>\s*\Z", "", prompt)
    said = whole.removeprefix(prompt)
    if bare != prompt and whole.startswith(bare):
        head, _, answer = whole[len(bare) :].rpartition("</think>")
        held = [head, (turns[-1].get("content") or "").rpartition("</think>")[0]]
        held += [turns[-1][key] for key in THOUGHT_KEYS if isinstance(turns[-1].get(key), str)]
        own = next(filter(None, (text.rpartition("<think>")[2].strip("\n") for text in held)), "")
        said = (own + "\n" if own else "") + "</think>\n\n" + answer.lstrip("\n")
    elif said == whole:
        return []
    before, ids = (list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("\n", "\n" + said))
    return ids[len(before) :] if ids[: len(before)] == before else []


def _other_template(tokenizer, is_last: bool) -> str:
    """What to do where no loss mask is right for a turn."""
    other = "chatml" if _has_chatml(tokenizer) else "plain"
    return f"use chat_template: {other}" + ("" if is_last else ", or train_on: last")


def _earlier_stop(tokenizer, turns: list[dict], at: int, whole: list[int], start: list[int], tools) -> int:
    """The place after the first end in the assistant's turn `at`, which is not the last and follows `start` in the
    `whole` row; 0 where none lies inside it.

    The turn reaches as far as the row reads the same where it is the last one (then the next token may be its end),
    or where all later turns say something else.
    """
    ends = ends_of(tokenizer)
    stop = next((place + 1 for place in range(len(start), len(whole)) if whole[place] in ends), 0)
    others = [
        {**turn, "content": "1" if (turn.get("content") or "").lstrip().startswith("0") else "0"}
        for turn in turns[at + 1 :]
    ]
    for shown, closing in ((turns[: at + 1], 1), ([*turns[: at + 1], *others], 0)):
        with contextlib.suppress(TemplateRefuses):
            ids = render_turns(tokenizer, shown, tools)
            if ids != whole and stop <= len(os.path.commonprefix([whole, ids])) + closing:
                return stop
    return 0


def render_turns(tokenizer, turns: list[dict], tools=None, opens: bool = False, tokenize: bool = True):
    """Token ids, or the text, of a conversation, with the opening of the assistant's turn where it `opens`.

    Arguments of tool calls go to the template as objects, and as JSON text where it wants them so.
    """
    plain = [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]
    options = {"add_generation_prompt": opens, "tokenize": tokenize, **({"tools": tools} if tools else {})}
    try:
        return apply_template(tokenizer, plain, **options)
    except TemplateRefuses:
        if not any(turn.get("tool_calls") for turn in plain):
            raise
    return apply_template(tokenizer, [_with_text(turn) for turn in plain], **options)


def _with_text(turn: dict) -> dict:
    """A turn whose tool calls have their arguments as JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in turn.get("tool_calls") or ()
    ]
    return {**turn, "tool_calls": calls} if calls else turn


def start_id(tokenizer) -> int:
    """The token before a text of its own: BOS, or the end token where there is none (a GGUF file then says -1)."""
    start = tokenizer.bos_token_id
    return tokenizer.eos_token_id if start in (None, -1) else start
