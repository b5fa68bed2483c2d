"""The turns of a conversation in one form: roles, texts, tool calls, and which of the assistant's turns are trained.

Reads OpenAI's, ShareGPT's and LLaMA-Factory's forms. Does not know files or columns.
"""

import ast
import json
import re

ROLES = ("system", "developer", "user", "assistant", "tool")
OTHER_ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "bot", "chatbot", "model", "chatgpt", "ai", "function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("observation", "function", "function_response", "tool_response", "ipython"), "tool"),
}
CALL_ROLES = ("function_call", "tool_call")
WEIGHT_KEYS = ("weight", "train", "loss")  # OpenAI, axolotl, ms-swift: 0 or false reads the turn without training it
INPUT_SCHEMA = {"input_schema": "parameters"}  # Anthropic's name
TRAIN_ON = ("all", "last")
SPEAKER = r"(?:\A|{gap})\s*(Human|User|Assistant|System|Function response): ?"  # HH-RLHF, Glaive
SPEAKERS = {"function response": "tool"}
WRITTEN_TURN = re.compile(  # ChatML, Llama 3, Gemma, Zephyr and Phi, Guanaco and Alpaca, Llama 2
    r"<\|im_start\|>(\w+)\n|<\|start_header_id\|>(\w+)<\|end_header_id\|>|<start_of_turn>(\w+)\n"
    r"|<\|(system|user|assistant)\|>|### ?(human|user|assistant|system|instruction|input|response): ?|(\[/?INST\])",
    re.I,
)
WRITTEN_NAMES = {
    "instruction": "user",
    "input": "user",
    "response": "assistant",
    "[inst]": "user",
    "[/inst]": "assistant",
}
WRITTEN_ENDS = re.compile(
    r"(?:\s|<\|(?:im_end|eot_id|end|endoftext|begin_of_text|end_of_text)\|>|</?s>|<end_of_turn>|<[be]os>)+\Z"
)
EXCHANGES = (("input", "output"), ("human", "assistant"), ("user", "assistant"), ("question", "answer"))  # Capybara
BLANK_MARKS = frozenset(("nan", "none", "null", "n/a", "<na>", "nat", "#n/a"))
NUMPY_GAP = re.compile(r"\}\s+\{")


class RowProblem(Exception):
    """One row cannot be converted; `check` is the name in `wording.yaml`, the text is the detail."""

    def __init__(self, check: str, detail: str):
        super().__init__(detail)
        self.check = check


def as_messages(value, role: str, field: str) -> list[dict]:
    """A list of checked messages from a string (spoken by `role`), one message, or a list of messages."""
    value = unpacked(value)
    if is_numpy_list(value):
        raise RowProblem("numpy_cell", f"{field} is {value.strip()[:40]!r}")
    if isinstance(value, str) and not role:
        value = transcript(value) or written_turns(value) or value
    if isinstance(value, str) and role == "user" and not (turns := transcript(value) or [{}])[-1].get("content", "-"):
        return turns[:-1]  # an open conversation in one text: the answer is to follow
    if isinstance(value, str) and role:
        if not value.strip():
            raise RowProblem("empty_field", f"{field} is empty")
        return turn(role, value)
    if isinstance(value, dict) and is_message(value):
        value = [value]
    if not isinstance(value, list):
        detail = f"{field} is of type {type(value).__name__}, expected a string or a list of messages"
        as_text = f"; --map {field}={field} writes numbers as text" if isinstance(value, bool | int | float) else ""
        raise RowProblem("mixed_types", detail + as_text)
    if not value:
        raise RowProblem("empty_field", f"{field} is an empty list")
    if all(isinstance(item, str) for item in value) and role:
        places = " or ".join(f"{field}[{n}]" for n in range(min(len(value), 2)))
        raise RowProblem(
            "roles", f"{field} is a list of {len(value)} texts: map one of them, as {places} of its column"
        )
    if all(isinstance(item, str) for item in value):  # LIMA
        value = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(value)]
    for ask, answer in EXCHANGES:
        if all(isinstance(item, dict) and {ask, answer} == item.keys() for item in value):
            value = [part for item in value for part in turn("user", item[ask]) + turn("assistant", item[answer])]
    return [_message(part, field) for item in value for part in _by_blocks(item)]


def transcript(text: str) -> list[dict]:
    """The turns of a conversation in one text ("\\n\\nHuman: ...\\n\\nAssistant: ..."), [] where it is none."""
    gap = "\n\n" if "\n\nassistant:" in text.lower() else "\n"
    parts = re.split(SPEAKER.format(gap=gap), text, flags=re.I)
    if len(parts) < 5 or parts[0].strip():
        return []
    names = [name.lower() for name in parts[1::2]]
    roles = [SPEAKERS.get(name) or OTHER_ROLES.get(name, name) for name in names]
    texts = [content.strip().removesuffix("<|endoftext|>").strip() for content in parts[2::2]]
    return [{"role": role, "content": content} for role, content in zip(roles, texts, strict=True)]


def written_turns(text: str) -> list[dict]:
    """The turns of a conversation that a chat template has written out in one text, [] where it is none. What stands
    before Alpaca's instruction is its system turn.
    """
    marks, turns = list(WRITTEN_TURN.finditer(text)), []
    if not marks:
        return []
    if head := WRITTEN_ENDS.sub("", text[: marks[0].start()]).strip():
        if marks[0][marks[0].lastindex].lower() != "instruction":
            return []
        turns += turn("system", head)
    for at, mark in enumerate(marks):
        name = mark[mark.lastindex].lower()
        role = WRITTEN_NAMES.get(name) or OTHER_ROLES.get(name, name)
        end = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        content = WRITTEN_ENDS.sub("", text[mark.end() : end]).strip()
        if content.startswith("<<SYS>>") and "<</SYS>>" in content:  # Llama 2
            system, content = content.removeprefix("<<SYS>>").split("<</SYS>>", 1)
            turns += turn("system", system.strip())
        if turns and turns[-1]["role"] == role == "user":  # Alpaca's input
            turns[-1]["content"] += f"\n\n{content.strip()}"
        else:
            turns += turn(role, content.strip())
    return turns if {"user", "assistant"} <= {message["role"] for message in turns} else []


def system_text(value, path: str):
    """The text of a system message (Gemini), or of a list of blocks (Anthropic, Bedrock); a text stays."""
    if isinstance(value, list):
        value = {"role": "system", "content": value}
    return as_messages(value, "", path)[0]["content"] if isinstance(value, dict) else value


def turn(role: str, content: str) -> list[dict]:
    """One turn as a list of messages."""
    return [{"role": role, "content": content}]


def is_message(value) -> bool:
    """True for an object with `role`, or with ShareGPT's `from` and `value`."""
    return isinstance(value, dict) and ("role" in value or {"from", "value"} <= value.keys())


def unpacked(value):
    """Messages that a csv cell holds as text, as JSON or as Python wrote them; anything else stays, other lists too."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            return found if all(map(is_message, found)) else value
    return value


def is_blank(value) -> bool:
    """True for nothing, and for the marks of a blank cell that pandas and Python leave as text ("nan", "None")."""
    if isinstance(value, str):
        return not value.strip() or value.strip().lower() in BLANK_MARKS
    return value is None or value != value or value in ([], {})


def is_numpy_list(value) -> bool:
    """True for numpy's print of a list of messages: objects without commas between them, which no reader takes
    apart.
    """
    text = value.strip() if isinstance(value, str) else ""
    is_list = text.startswith("[{") and text.endswith("}]") and bool(NUMPY_GAP.search(text))
    return is_list and ("'role'" in text or "'from'" in text) and unpacked(text) == text


def message_text(message: dict) -> str:
    """What a turn says: its content, then its tool calls as JSON, one a line."""
    calls = message.get("tool_calls") or ()
    return "\n".join([message["content"], *(json.dumps(call.get("function", call)) for call in calls)]).strip("\n")


def _message(item, field: str) -> dict:
    """One message with a known role and a non-empty text; other keys (tool_calls, name) stay."""
    if not isinstance(item, dict):
        raise RowProblem("roles", f"a message in {field} is a {type(item).__name__}, expected role and content")
    item = _in_usual_keys(item)
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise RowProblem("roles", f"role {role!r} in {field}")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        texts = [part.get("text") or "" for part in content]
        content = "".join(texts) if all(isinstance(text, str) for text in texts) else content
    if isinstance(content, list):
        others = sorted({str(part.get("type")) for part in content if isinstance(part, dict)} - {"text"})
        raise RowProblem(
            "roles", f"the {role} content in {field} holds {', '.join(others) or 'a list'}; this kit trains text only"
        )
    if content is not None and not isinstance(content, str):
        raise RowProblem("roles", f"the {role} content in {field} is a {type(content).__name__}, expected a string")
    calls = [_call(call, field) for call in _listed(item.get("tool_calls"), field)] if role == "assistant" else []
    if not (content or "").strip() and not calls and role != "tool":  # a tool may answer nothing
        raise RowProblem("empty_field", f"the {role} message in {field} is empty")
    known = ("role", "content", "tool_calls", *WEIGHT_KEYS)
    extra = {key: value for key, value in item.items() if key not in known and value is not None}
    made = {"role": role, "content": content or "", **extra}
    if calls:
        made["tool_calls"] = calls
    weight = _weight(item, field)
    return made if weight is None or role != "assistant" else {**made, "weight": weight}


def _by_blocks(item) -> list:
    """Anthropic's message as turns: results of tools first, each its own; tool uses as calls, thinking as such."""
    blocks = item.get("content") if isinstance(item, dict) else None
    named = {block.get("type") for block in blocks if isinstance(block, dict)} if isinstance(blocks, list) else set()
    if not named & {"tool_use", "tool_result", "thinking"} or not all(isinstance(block, dict) for block in blocks):
        return [item]

    def of(kind):
        return [block for block in blocks if block.get("type") == kind]

    results = [{"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
               for block in of("tool_result")]  # fmt: skip
    calls = [{"id": block.get("id"), "name": block.get("name"), "arguments": block.get("input") or {}}
             for block in of("tool_use")]  # fmt: skip
    thoughts = "\n\n".join(block.get("thinking") or "" for block in of("thinking"))
    rest = [block for block in blocks if block.get("type") not in ("tool_use", "tool_result", "thinking")]
    said = {**item, "content": rest} | ({"tool_calls": calls} if calls else {})
    said |= {"reasoning_content": thoughts} if thoughts else {}
    return results + ([said] if rest or calls or not results else [])


def _in_usual_keys(item: dict) -> dict:
    """ShareGPT's from and value as role and content; a call of its own role, or OpenAI's function_call, as
    tool_calls.
    """
    if isinstance(item.get("from"), str) and "value" in item:
        rest = {key: value for key, value in item.items() if key not in ("from", "value")}
        item = {"role": item["from"], "content": item["value"], **rest}
    if "role" not in item and isinstance(item.get("speaker"), str) and "text" in item:
        rest = {key: value for key, value in item.items() if key not in ("speaker", "text")}
        item = {"role": item["speaker"], "content": item["text"], **rest}
    role, parts = item.get("role"), item.get("content", item.get("parts"))
    role = role.lower() if isinstance(role, str) else role
    if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):  # Gemini's, Bedrock's too
        parts = [{"type": "text" if "text" in part else next(iter(part), ""), **part} for part in parts]
        item = {key: value for key, value in item.items() if key != "parts"} | {"content": parts}
    if role in CALL_ROLES:
        item = {**item, "content": None, "tool_calls": item.get("content")}
    elif item.get("function_call"):
        item = {**item, "tool_calls": item["function_call"]}
    item = {key: value for key, value in item.items() if key != "function_call"}
    return {**item, "role": OTHER_ROLES.get(role, role)} if isinstance(role, str) else item


def _listed(calls, field: str) -> list:
    """Tool calls as a list, also from JSON text; [] for nothing."""
    if is_blank(calls):
        return []
    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except ValueError:
            raise RowProblem("roles", f"a tool call in {field} is no JSON: {calls[:60]!r}") from None
    calls = [calls] if isinstance(calls, dict) else calls or []
    if not isinstance(calls, list):
        raise RowProblem("roles", f"tool_calls in {field} is a {type(calls).__name__}, expected a list of calls")
    return calls


def _call(call, field: str) -> dict:
    """One call as `{"type": "function", "function": {"name", "arguments"}}`, the arguments as an object."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem("roles", f"a tool call in {field} has no function name")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            raise RowProblem("roles", f"the arguments of {function['name']} in {field} are no JSON") from None
    name = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**name, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _weight(item: dict, field: str) -> int | None:
    """0 or 1 by the first of the keys that say whether a turn is trained, None where none does."""
    for key in WEIGHT_KEYS:
        value = item.get(key)
        if value is not None:
            if value not in (0, 1):
                raise RowProblem("weights", f"{key} {value!r} in {field}")
            return int(value)
    return None


def read_tools(value) -> list[dict]:
    """The tools of a row as chat templates take them; [] for none. From a list, JSON text, or OpenAI's `functions`."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError:
            raise RowProblem("roles", f"tools is no JSON: {value[:60]!r}") from None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | None) or not all(isinstance(tool, dict) for tool in value or ()):
        raise RowProblem("roles", "tools is no list of objects")
    named = [{INPUT_SCHEMA.get(key, key): item for key, item in tool.items()} for tool in value or ()]
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in named]


def read_history(value) -> list[dict]:
    """Earlier turns: a list of [question, answer] pairs, a list of messages, or one of them as JSON text; [] for
    none.
    """
    if isinstance(value, str):
        if not value.strip():
            return []
        try:
            value = json.loads(value)
        except ValueError:
            try:
                value = ast.literal_eval(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                raise RowProblem("roles", f"history is no list of turns: {value[:60]!r}") from None
    turns = []
    for item in value or ():
        if isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(text, str) for text in item):
            turns += turn("user", item[0]) + turn("assistant", item[1])
        else:
            turns.append(_message(item, "history"))
    return turns


def check_order(prompt: list[dict], completion: list[dict]) -> None:
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
        allowed = {None: ("user",), "system": ("user",), "user": ("assistant",), "tool": ("assistant", "tool", "user")}
        allowed["assistant"] = ("user", "tool")
        if role not in allowed[previous]:
            raise RowProblem("alternation", f"turn {place + 1} is {role} after {previous or 'nothing'}")
        previous = role
    if prompt and prompt[-1]["role"] == "assistant":
        raise RowProblem("alternation", "the prompt ends with an assistant turn")


def split_turns(messages: list[dict], train_on: str, n_given: int = 0) -> dict:
    """`prompt` and `completion`: the last trained turn is the completion, what comes after it teaches nothing and is
    cut, and so are answers before the first question (ShareGPT's pages begin in the middle).

    With `train_on` "all" the assistant's earlier turns from `n_given` on carry `"weight": 1`, and are trained too;
    turns of weight 0 never are. `outer_turns` counts turns before the first question and after the last answer,
    `cut_turns` the assistant's that are cut.
    """
    system = [message for message in messages[:1] if message["role"] in ("system", "developer")]
    asked = next((n for n, message in enumerate(messages) if message["role"] == "user"), len(system))
    early = [message for message in messages[len(system) : asked] if not n_given]
    if early and {message["role"] for message in early} == {"assistant"} and asked < len(messages):
        messages = [*system, *messages[asked:]]
    else:
        early = []
    spoken = [n for n, message in enumerate(messages) if n >= n_given and message["role"] == "assistant"]
    if not spoken:
        raise RowProblem("no_assistant_turn", f"the roles are {', '.join(m['role'] for m in messages)}")
    trained = [n for n in spoken if messages[n].get("weight", 1)]
    if not trained:
        raise RowProblem("weight_zero", "every assistant turn has weight 0")
    last = trained[-1]
    marked = set(trained[:-1]) if train_on == "all" else set()
    marked |= {n for n, message in enumerate(messages[:n_given]) if message.get("weight") == 1}
    plain = [{key: value for key, value in message.items() if key != "weight"} for message in messages[: last + 1]]
    turns = [{**message, "weight": 1} if n in marked else message for n, message in enumerate(plain)]
    check_order(turns[:last], turns[last:])
    counts = {
        "outer_turns": len(early) + len(messages) - spoken[-1] - 1,
        "cut_turns": len(early) + sum(n > last for n in spoken),
    }
    return {"prompt": turns[:last], "completion": turns[last:], **{name: n for name, n in counts.items() if n}}
