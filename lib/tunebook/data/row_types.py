"""TRL's row types, read and converted to the conversational prompt + completion form.

Row types ("kinds"): `prompt_completion`, `messages`, `text`, `preference`, `kto`. Plain columns become one of them by a
mapping (see `mapping`). Does not read files.
"""

import json

from tunebook.data.mapping import FIRST_USER, Reading, apply_mapping, value_at
from tunebook.data.messages import (
    RowProblem,
    as_messages,
    check_order,
    read_history,
    read_tools,
    split_turns,
    transcript,
    turn,
    unpacked,
)
from tunebook.data.ranking import best_and_worst, conversations, judgement_of

FIELDS = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
    "kto": ("label",),
}
TOOL_COLUMNS = ("tools", "functions")  # read without a mapping: TRL's and OpenAI's own names
EXTRAS = ("system", "context", "history", "weight", FIRST_USER)  # mapped fields that are worked into the turns
CONSUMED = ("prompt", "completion", "messages", "text", "chosen", "rejected", "label", *TOOL_COLUMNS)


def row_type_of(columns) -> str:
    """The row type that these column names make, or ""."""
    columns = set(columns)
    if "rejected" in columns and "messages" in columns:
        return "preference"
    for kind in ("preference", "prompt_completion", "messages", "text"):
        if columns >= set(FIELDS[kind]):
            return kind
    return ""


def kind_of(mapping: dict[str, str]) -> str:
    """The row type that a mapping makes, or ""."""
    return "kto" if "label" in mapping else "preference" if "candidates" in mapping else row_type_of(mapping)


def read_row(raw: dict, reading: Reading) -> dict:
    """The canonical row of a raw one: without the dropped columns and keys, mapped, converted.

    Raises RowProblem; a row that has none of its type's fields but makes another type is `mixed_types`.
    """
    raw = without(raw, reading.drop)
    mapped = apply_mapping(raw, reading.fields)
    used = reading.roots()
    row = {key: value for key, value in raw.items() if key not in used and key not in mapped}
    fields = {key: value for key, value in mapped.items() if key not in EXTRAS}
    if "candidates" in reading.fields:
        paths = reading.fields["candidates"].split("+")
        if talks := conversations(fields.get("prompt"), [value_at(raw, path) for path in paths], paths):
            fields |= {"candidates": talks, "prompt": None}
        fields |= best_and_worst(
            fields.pop("candidates"), fields.pop("scores", None), fields.pop("better", None), paths
        )
    needed = [*FIELDS[reading.kind], *(("messages",) if reading.kind == "preference" else ())]
    if not any(name in row or name in fields for name in needed):
        other = row_type_of({**row, **fields})
        if other:
            raise RowProblem("mixed_types", f"this row is of type {other}, most are {reading.kind}")
    if "weight" in mapped:
        _check_weight(mapped["weight"])
    return convert({**row, **fields}, reading.kind, reading.train_on, mapped)


def without(value, names: frozenset):
    """A row without the named columns, and its messages without the named keys."""
    if not names:
        return value
    row = {key: unpacked(item) for key, item in value.items() if key not in names}
    return {
        key: (
            [without(part, names) if isinstance(part, dict) else part for part in item]
            if isinstance(item, list)
            else item
        )
        for key, item in row.items()
    }


def _check_weight(value) -> None:
    """A row's weight: 0 leaves it out, 1 trains it; nothing between is obeyed."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number == 0:
        raise RowProblem("weight_zero", "its weight is 0")
    if number != 1:
        raise RowProblem("weights", f"the row's weight is {value!r}")


def convert(row: dict, kind: str, train_on: str = "all", extras: dict | None = None) -> dict:
    """The canonical row: `prompt` and `completion` as lists of messages; preference rows keep `chosen` and `rejected`.

    {"prompt": "2+2?", "completion": "4"} → {"prompt": [{"role": "user", "content": "2+2?"}], "completion": [{"role":
    "assistant", "content": "4"}]}. `messages`: see `messages.split_turns`. `text` keeps its text, with an empty prompt:
    all tokens are trained. Preference rows take `chosen` as completion; KTO rows keep `label` as a truth value.
    `extras` holds the mapped `system`, `context` and `history`. Other keys stay. Raises RowProblem with the check's
    name. Source: TRL, "Dataset formats and types".
    """
    extras = extras or {}
    fields = FIELDS[kind] if kind != "preference" or "messages" not in row else ("rejected",)
    missing = [field for field in fields if row.get(field) is None]
    if missing:
        raise RowProblem("missing_field", f"no {missing[0]}")
    rest = {key: value for key, value in row.items() if key not in CONSUMED}
    if kind == "text":
        return {**rest, **_convert_text(row["text"])}
    tools = [tool for name in TOOL_COLUMNS for tool in read_tools(row.get(name))]
    rest |= {"tools": tools} if tools else {}
    if kind == "preference":
        return {**rest, **_convert_pair(row, extras)}
    if kind == "kto":
        label = judgement_of(row["label"])
        if label is None:
            raise RowProblem("mixed_types", f"label is {row['label']!r}, expected true or false")
        rest["label"] = label
    if kind == "messages" or kind == "kto" and row.get("messages") is not None:
        turns = _with_extras(as_messages(row["messages"], "", "messages"), extras)
        return {**rest, **split_turns(turns, train_on if kind == "messages" else "last")}
    return {**rest, **_convert_prompt(row, train_on, extras)}


def _convert_text(text) -> dict:
    if not isinstance(text, str):
        raise RowProblem("mixed_types", f"text is a {type(text).__name__}, expected a string")
    if not text.strip():
        raise RowProblem("empty_field", "text is empty")
    return {"text": text, "prompt": [], "completion": turn("assistant", text)}


def _convert_prompt(row: dict, train_on: str, extras: dict) -> dict:
    missing = [field for field in ("prompt", "completion") if row.get(field) is None]
    if missing:
        raise RowProblem("missing_field", f"no {missing[0]}")
    prompt = _with_extras(as_messages(row["prompt"], "user", "prompt"), extras)
    completion = calls_of(row) or as_messages(row["completion"], "assistant", "completion")
    check_order(prompt, completion)
    return split_turns(prompt + completion, train_on, len(prompt))


def calls_of(row: dict) -> list[dict]:
    """The turn of a completion that is JSON text of tool calls beside `tools` (xLAM's answers); [] for any other."""
    text, tools = row["completion"], row.get("tools")
    if not tools or not isinstance(text, str) or not text.lstrip().startswith(("[", "{")):
        return []
    try:
        calls = json.loads(text)
        calls = calls if isinstance(calls, list) else [calls]
        if all({"name", "arguments"} <= call.keys() for call in calls) and calls:
            return as_messages([{"role": "assistant", "content": "", "tool_calls": calls}], "", "completion")
    except (ValueError, AttributeError):
        pass
    return []


def _with_extras(turns: list[dict], extras: dict) -> list[dict]:
    """The turns with the system text first, the earlier turns before the question, and the context after its text."""
    turns = list(turns)
    start = 1 if turns and turns[0]["role"] in ("system", "developer") else 0
    if extras.get("context"):
        place = next((n for n, message in enumerate(turns) if message["role"] == "user"), None)
        if place is None:
            raise RowProblem("alternation", "there is a context, but no user turn to put it in")
        turns[place] = {**turns[place], "content": f"{turns[place]['content']}\n\n{extras['context']}"}
    turns[start:start] = [{k: v for k, v in m.items() if k != "weight"} for m in read_history(extras.get("history"))]
    system = extras.get("system")
    if system and not (start and turns[0]["content"].strip() == str(system).strip()):
        if start:
            raise RowProblem("alternation", "there is a system text beside a system turn")
        turns[:0] = turn("system", str(system))
    return _merged_system(turns) if extras.get(FIRST_USER) else turns


def _merged_system(turns: list[dict]) -> list[dict]:
    """The system turn's text before the first user turn's, for templates that take no system turn."""
    if len(turns) < 2 or turns[0]["role"] not in ("system", "developer") or turns[1]["role"] != "user":
        return turns
    return [{**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}, *turns[2:]]


def _convert_pair(row: dict, extras: dict) -> dict:
    """Explicit pairs keep their prompt; of implicit ones it is the common beginning, up to the answer where they
    part.
    """
    if row.get("messages") is not None and row.get("chosen") is None:
        turns = as_messages(row["messages"], "", "messages")
        last = max((n for n, m in enumerate(turns) if m["role"] == "assistant"), default=len(turns))
        row = {"prompt": turns[:last], "chosen": turns[last : last + 1], "rejected": row["rejected"]}
        row["rejected"] = as_messages(row["rejected"], "assistant", "rejected")
    chosen, rejected, prompt = unpacked(row["chosen"]), unpacked(row["rejected"]), row.get("prompt")
    if type(chosen) is not type(rejected):
        raise RowProblem("pair_types", f"chosen is a {type(chosen).__name__}, rejected a {type(rejected).__name__}")
    if isinstance(chosen, str) and prompt is None:
        chosen, rejected = transcript(chosen), transcript(rejected)
        if bool(chosen) != bool(rejected):
            raise RowProblem("pair_prompts", "one of the two is no conversation")
        if not chosen:
            raise RowProblem("missing_field", "no prompt, and chosen and rejected are no conversations")
    chosen, rejected = (
        as_messages(side, "assistant", name) for side, name in ((chosen, "chosen"), (rejected, "rejected"))
    )
    given = as_messages(prompt, "user", "prompt") if prompt is not None else []
    if any(all(message["role"] != "assistant" for message in side) for side in (chosen, rejected)):
        raise RowProblem("no_assistant_turn", "chosen or rejected has no assistant turn")
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        given, chosen, rejected = _part(given, chosen, rejected)
    if not given:
        raise RowProblem("missing_field", "no prompt")
    given = _with_extras(given, extras)
    for side in (chosen, rejected):
        check_order(given, side)
        for message in side:
            message.pop("weight", None)
    return {"prompt": given, "chosen": chosen, "rejected": rejected, "completion": chosen}


def _part(given: list[dict], chosen: list[dict], rejected: list[dict]) -> tuple:
    """(prompt, chosen, rejected) of two whole conversations: they part at the first answer that differs."""
    shorter = min(len(chosen), len(rejected))
    at = next((n for n in range(shorter) if chosen[n] != rejected[n]), shorter - 1)
    is_question = any(side[at]["role"] != "assistant" for side in (chosen, rejected))
    if is_question or (given and given[-1] not in chosen[:at]):
        raise RowProblem("pair_prompts", "the turns before the first answer that differs are not the same")
    system = given[:1] if given and given[0]["role"] == "system" != chosen[0]["role"] else []
    return system + chosen[:at], chosen[at:], rejected[at:]


def demonstrations(rows: list[dict]) -> list[dict]:
    """The canonical rows that supervised training may imitate: all but KTO's bad answers."""
    return [row for row in rows if row.get("label") is not False]
