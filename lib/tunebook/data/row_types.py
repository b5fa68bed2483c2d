"""TRL's row types, read and converted to the conversational prompt + completion form.

Row types ("kinds"): `prompt_completion`, `messages`, `text`, `preference`; plain columns become one of them by a mapping
such as `{"prompt": "question", "completion": "answer"}`. A likely mapping is proposed, never applied silently.
Does not read files.
"""

import ast
import json
import re

from tunebook.errors import InputProblem

KINDS = ("prompt_completion", "messages", "text", "preference")
FIELDS = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
}
LIKELY_NAMES = {
    "prompt": tuple("instruction question query input user problem request source english phrase".split()),
    "completion": ("output", "response", "answer", "solution", "target", "assistant", "reply", "label", "result"),
    "chosen": ("preferred", "accepted", "winner", "better", "response_chosen"),
    "rejected": ("dispreferred", "loser", "worse", "response_rejected"),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
    "text": ("content", "document", "body"),
}
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


class RowProblem(Exception):
    """One row cannot be converted; `check` is the name in `wording.CHECKS`, the text is the detail."""

    def __init__(self, check: str, detail: str):
        super().__init__(detail)
        self.check = check


def row_type_of(columns) -> str:
    """The row type that these column names make, or ""."""
    columns = set(columns)
    for kind in ("preference", "prompt_completion", "messages", "text"):
        if columns >= set(FIELDS[kind]):
            return kind
    return ""


def read_column_mapping(mapping) -> dict[str, str]:
    """A mapping as a dict; accepts a dict, a list of "prompt=question" or one such text with commas.

    "prompt=instruction+input" joins two columns by an empty line. Raises InputProblem for anything else.
    """
    if not mapping:
        return {}
    if isinstance(mapping, dict):
        pairs = list(mapping.items())
    else:
        given = [mapping] if isinstance(mapping, str) else list(mapping)
        parts = [part for text in given for part in re.split(rf",\s*(?=(?:{'|'.join(LIKELY_NAMES)})=)", str(text))]
        pairs = [tuple(part.split("=", 1)) for part in parts]
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in LIKELY_NAMES:
            raise InputProblem(
                f"mapping {'='.join(map(str, pair))}: expected FIELD=COLUMN with FIELD one of {', '.join(LIKELY_NAMES)}"
            )
    return dict(pairs)


def likely_mapping(columns) -> dict[str, str]:
    """Propose a mapping for plain columns, {} when there is none: question, answer → prompt=question, completion=answer."""
    by_lower = {str(column).lower(): column for column in columns}

    def pick(field):
        return by_lower.get(field) or next((by_lower[n] for n in LIKELY_NAMES[field] if n in by_lower), None)

    for fields in (("chosen", "rejected"), ("prompt", "completion"), ("messages",), ("text",)):
        found = {field: pick(field) for field in fields}
        if all(found.values()):
            break
    else:
        return {}
    if fields == ("chosen", "rejected") and pick("prompt"):
        found["prompt"] = pick("prompt")
    if found.get("prompt") == by_lower.get("instruction") and "input" in by_lower:
        found["prompt"] += "+" + by_lower["input"]
    return found


def apply_mapping(row: dict, mapping: dict[str, str]) -> dict:
    """Add the mapped fields to the row. Raises RowProblem when a mapped column is missing."""
    if not mapping:
        return row
    mapped = {}
    for field, columns in mapping.items():
        names = columns.split("+")
        missing = [name for name in names if name not in row]
        if missing:
            raise RowProblem("missing_field", f"no column {missing[0]}")
        values = [row[name] for name in names]
        mapped[field] = values[0] if len(values) == 1 else "\n\n".join(str(v) for v in values if v)
    used = {name for columns in mapping.values() for name in columns.split("+")}
    return {**{key: value for key, value in row.items() if key not in used}, **mapped}


def convert(row: dict, kind: str) -> dict:
    """The canonical row: `prompt` and `completion` as lists of messages; preference rows keep `chosen` and `rejected`.

    {"prompt": "2+2?", "completion": "4"} → {"prompt": [{"role": "user", "content": "2+2?"}], "completion": [{"role":
    "assistant", "content": "4"}]}. `messages`: the prompt is everything before the last assistant turn. `text` keeps its
    text, with an empty prompt: all tokens are trained. Preference rows take `chosen` as completion. Other keys stay.
    Raises RowProblem with the check's name. Source: TRL, "Dataset formats and types".
    """
    missing = [field for field in FIELDS[kind] if row.get(field) is None]
    if missing:
        raise RowProblem("missing_field", f"no {missing[0]}")
    rest = {k: v for k, v in row.items() if k not in ("prompt", "completion", "messages", "text", "chosen", "rejected")}
    if kind == "prompt_completion":
        prompt = as_messages(row["prompt"], "user", "prompt")
        completion = as_messages(row["completion"], "assistant", "completion")
        _check_order(prompt, completion)
        return {**rest, "prompt": prompt, "completion": completion}
    if kind == "messages":
        return {**rest, **_split_messages(as_messages(row["messages"], "", "messages"))}
    if kind == "text":
        if not isinstance(row["text"], str):
            raise RowProblem("mixed_types", f"text is a {type(row['text']).__name__}, expected a string")
        if not row["text"].strip():
            raise RowProblem("empty_field", "text is empty")
        return {**rest, "text": row["text"], "prompt": [], "completion": _turn("assistant", row["text"])}
    return {**rest, **_convert_pair(row)}


def _turn(role: str, content: str) -> list[dict]:
    return [{"role": role, "content": content}]


def as_messages(value, role: str, field: str) -> list[dict]:
    """A list of checked messages from a string (spoken by `role`) or a list of messages."""
    value = _unpacked(value)
    if isinstance(value, str) and role:
        if not value.strip():
            raise RowProblem("empty_field", f"{field} is empty")
        return _turn(role, value)
    if not isinstance(value, list):
        raise RowProblem("mixed_types", f"{field} is a {type(value).__name__}, expected a string or a list of messages")
    if not value:
        raise RowProblem("empty_field", f"{field} is an empty list")
    return [_message(item, field) for item in value]


def _unpacked(value):
    """Messages that a csv cell holds as text, as JSON or as Python wrote them; anything else stays, other lists of objects too."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            is_talk = all(isinstance(m, dict) and ("role" in m or {"from", "value"} <= m.keys()) for m in found)
            return found if is_talk else value
    return value


def _message(item, field: str) -> dict:
    """One message with a known role and a non-empty text; other keys (tool_calls, name) stay."""
    if not isinstance(item, dict):
        raise RowProblem("roles", f"a message in {field} is a {type(item).__name__}, expected role and content")
    if isinstance(item.get("from"), str) and "value" in item:
        item = {"role": SHAREGPT_ROLES.get(item["from"], item["from"]), "content": item["value"]}
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in ("system", "developer", "user", "assistant", "tool"):
        raise RowProblem("roles", f"role {role!r} in {field}")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        texts = [part.get("text") or "" for part in content]
        content = "".join(texts) if all(isinstance(text, str) for text in texts) else content
    is_call = role == "assistant" and item.get("tool_calls")
    if content is not None and not isinstance(content, str):
        raise RowProblem("roles", f"the {role} content in {field} is a {type(content).__name__}, expected a string")
    if not (content or "").strip() and not is_call:
        raise RowProblem("empty_field", f"the {role} message in {field} is empty")
    extra = {key: value for key, value in item.items() if key not in ("role", "content") and value is not None}
    return {"role": role, "content": content or "", **extra}


def _check_order(prompt: list[dict], completion: list[dict]) -> None:
    """System first, then user and assistant in turn; the prompt ends before the assistant speaks."""
    if not any(message["role"] == "assistant" for message in completion):
        raise RowProblem("no_assistant_turn", "the completion has no assistant turn")
    previous = None
    for place, message in enumerate(prompt + completion):
        role = message["role"]
        if role in ("system", "developer"):
            if place:
                raise RowProblem("alternation", f"turn {place + 1} is {role}, which comes first only")
            previous = "system"
            continue
        allowed = {None: ("user",), "system": ("user",), "user": ("assistant",), "tool": ("assistant", "tool")}
        allowed["assistant"] = ("user", "tool")
        if role not in allowed[previous]:
            raise RowProblem("alternation", f"turn {place + 1} is {role} after {previous or 'nothing'}")
        previous = role
    if prompt and prompt[-1]["role"] == "assistant":
        raise RowProblem("alternation", "the prompt ends with an assistant turn")


def _split_messages(messages: list[dict]) -> dict:
    last = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None:
        raise RowProblem("no_assistant_turn", f"the roles are {', '.join(m['role'] for m in messages)}")
    prompt, completion = messages[:last], messages[last : last + 1]
    _check_order(prompt, completion)
    trailing = {"trailing_turns": len(messages) - last - 1} if len(messages) > last + 1 else {}
    return {"prompt": prompt, "completion": completion, **trailing}


def _convert_pair(row: dict) -> dict:
    """Explicit pairs keep their prompt; implicit ones share the turns (or the text) before chosen and rejected differ."""
    chosen, rejected, prompt = _unpacked(row["chosen"]), _unpacked(row["rejected"]), row.get("prompt")
    if type(chosen) is not type(rejected):
        raise RowProblem("pair_types", f"chosen is a {type(chosen).__name__}, rejected a {type(rejected).__name__}")
    if isinstance(chosen, str) and prompt is None:
        cut = next((n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), len(chosen))
        cut = chosen.rfind("Assistant:", 0, cut) + len("Assistant:") if "Assistant:" in chosen[:cut] else 0
        prompt, chosen, rejected = chosen[:cut], chosen[cut:].strip(), rejected[cut:].strip()
        if not prompt and "Assistant:" in chosen and "Assistant:" in rejected:
            raise RowProblem("pair_prompts", "the turns before the last answer differ")
        if not prompt:
            raise RowProblem("missing_field", "no prompt, and chosen and rejected share no turn")
    chosen = as_messages(chosen, "assistant", "chosen")
    rejected = as_messages(rejected, "assistant", "rejected")
    given = as_messages(prompt, "user", "prompt") if prompt is not None else []
    start = next((n for n, message in enumerate(chosen) if message["role"] == "assistant"), None)
    if start is None or all(message["role"] != "assistant" for message in rejected):
        raise RowProblem("no_assistant_turn", "chosen or rejected has no assistant turn")
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        last = max(n for n, message in enumerate(chosen) if message["role"] == "assistant")
        if rejected[:last] != chosen[:last] or (given and given != chosen[:last] and given[-1] != chosen[last - 1]):
            raise RowProblem("pair_prompts", "the turns before the last answer differ")
        given, chosen, rejected = chosen[:last], chosen[last:], rejected[last:]
    if not given:
        raise RowProblem("missing_field", "no prompt")
    _check_order(given, chosen)
    _check_order(given, rejected)
    return {"prompt": given, "chosen": chosen, "rejected": rejected, "completion": chosen}
