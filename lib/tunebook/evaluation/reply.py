"""What stands around the answer in a model's reply: terminal escapes, channels, thoughts, turn marks and fences; and
how an answer is read.

Runs nothing and knows no Python (see `extraction`). A mark between quotes or backticks on its line is text that the
model wrote about the mark, and is never taken for one.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from tunebook.evaluation.reading.math_answers import boxed

LARGEST = 200_000
MOST_MARKS = 8
ANSWERS = ("first_line", "last_line", "whole", "last_number", "boxed")
BLOCKS = ("first", "last")

_NAMES = "think|thinking|thought|reasoning|analysis|scratchpad|seed:think"
_OPENS = re.compile(
    rf"\s*(?:<(?:{_NAMES})>|\[THINK\]|<\|begin_of_thought\|>|<\|START_THINKING\|>|\u25c1think\u25b7)", re.IGNORECASE
)
_CLOSES = re.compile(
    rf"</(?:{_NAMES})>|\[/THINK\]|<\|end_of_thought\|>|<\|END_THINKING\|>|\u25c1/think\u25b7", re.IGNORECASE
)
# gpt-oss writes in channels; where a server drops the control tokens, only their names are left
_CHANNELS = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>")
_MESSAGE = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)(?=<\|(?:channel|start)\|>|\Z)", re.DOTALL
)
_BARE_ANALYSIS = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z<`\"'])")
_BARE_FINAL = re.compile(r"assistant(?:commentary)?final")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(
    r"<\|(?:im_end|im_start|endoftext|eot_id|end_of_text|end|eom_id|start_header_id|user|assistant|system|return|call|start"
    r"|end_of_role|end_of_solution|END_RESPONSE|END_OF_TURN_TOKEN)\|>"
    r"|</s>|<eos>|<end_of_turn>|<start_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>"
)
_TURN_START = re.compile(
    r"\s*(?:<\|im_start\|>|<\|start_header_id\|>|<\|start\|>)?\s*assistant(?:<\|end_header_id\|>)?\s*\n|\s*<s>"
    r"|\s*<\|(?:begin_of_solution|START_RESPONSE)\|>"
)
_SHOT_START, _SHOT_END = re.compile(r"\s*\[BEGIN\]\s*\n"), re.compile(r"(?m)^\[DONE\][ \t]*$")  # around MBPP's programs
_QUOTED = re.compile(r"""(["'`])(?:(?!\1)[^\n\\]|\\.)+\1""")
_WRAPPED = re.compile(r"\s*<(answer|solution|final_answer|output)>\s*(.*?)\s*(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
GLUED_FENCE = re.compile(r"(?m)(?<=[^\s`])(`{3}[ \t]*)$")  # a fence that closes on the last line of its code
_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[^`\n]*")
_NUMBER = re.compile(
    r"(?P<sign>(?<!\w)-)?(?:(?<![\w./])(?:(?P<whole>\d+) )?(?P<top>\d+)/(?P<bottom>[1-9]\d*)(?![\d/])"
    r"|(?P<plain>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?:(?:\s*(?:\\times|\\cdot|[*x\u00d7])\s*10\s*(?:\^|\*\*)\s*\{?|[eE])(?P<power>[+-]?\d{1,2})(?![\w.]\d|[A-Za-z]))?)"
)
_IN_NUMBER = re.compile(r"(?<=\d)(?:,?\\[,!;:]|\{,\}|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")  # between thousands
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
_SIGN_OF_FRACTION = re.compile(r"(?<=\d)? ?([\u00bc-\u00be\u2150-\u215e])")  # the one-character ones
_MARKED = re.compile(
    r"(?m)^[ \t]*####(?![ \t]*\d+[.):][ \t]+\S)(?=.*\d)|\\boxed\{"
)  # GSM8K's and MATH's mark of the answer
_ANSWER_IS = re.compile(r"\banswer(?:\*\*)?\s*(?:is\b|:|=)[:\s*]*", re.IGNORECASE)
_FORMULA = re.compile(r"\$+([^$]+)\$+|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_SAYS_ANSWER = re.compile(r"####|\\boxed\b|\banswer\b", re.IGNORECASE)
SPACES = str.maketrans(
    {"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u3000": "  ", "\u2028": "\n", "\u2029": "\n"}
    | dict.fromkeys(map(ord, "\u200b\u200c\u2060\ufeff"), "")
)


@dataclass(frozen=True)
class Reading:
    """How the answer is taken from a reply, one of ANSWERS, and which code block that defines the function, one of
    BLOCKS.
    """

    answer: str = "whole"
    block: str = "last"


def replies(text: str) -> list[str]:
    """The reply without its thought, in each way in which it can be cut, the least cut first; none where the thought
    never ends.

    A reply that begins with a thought is cut after each mark that closes one. Any other is first taken whole: the
    template may have opened the thought, or the mark is text. Line ends are made plain, terminal escapes and a leading
    turn mark removed.

    >>> replies("<think>seven</think> 7"), replies("<think>seven")
    ([' 7'], [])
    """
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")).replace("\x1b", "")
    channel = _final_channel(text)
    if channel is None:
        return []
    ends = [found.end() for found in _CLOSES.finditer(channel) if not _is_quoted(channel, found.start())]
    starts = [] if _OPENS.match(channel) else [0]
    starts += ends if len(ends) <= MOST_MARKS else ends[: MOST_MARKS // 2] + ends[-MOST_MARKS // 2 :]
    return [_without_turn_mark(channel[start:]) for start in starts]


def is_open_thought(text: str) -> bool:
    """Whether the reply ends inside a thought, so that there is no answer yet."""
    return not replies(text)


def opened_thought(prompt: str) -> str:
    """The mark with which a rendered prompt opens the thought that the model continues; "" where it opens none.

    >>> opened_thought("<|im_start|>assistant\\n<think>\\n"), opened_thought("<think>\\n\\n</think>\\n\\n")
    ('<think>', '')
    """
    last = prompt.rstrip().rpartition("\n")[2]
    found = re.search(rf"(?:{_OPENS.pattern})\Z", last, re.IGNORECASE)
    return found.group().strip() if found else ""


def line_of_mark(text: str) -> str:
    """The line up to the last mark in the text that closes a thought."""
    end = [found.end() for found in _CLOSES.finditer(text)][-1]
    return text[:end].rpartition("\n")[2].strip()


def _final_channel(text: str) -> str | None:
    """What gpt-oss says in its last `final` channel; the text itself where it has no channels, None where it never
    gets there.
    """
    if _CHANNELS.match(text):
        finals = [content for name, content in _MESSAGE.findall(text) if name == "final"]
        return re.sub(r"<\|(?:return|end|call)\|>\s*\Z", "", finals[-1]) if finals else None
    if _BARE_ANALYSIS.match(text):
        final = _BARE_FINAL.search(text)
        return text[final.end() :] if final else None
    return text


def _without_turn_mark(text: str) -> str:
    start = _TURN_START.match(text)
    text = text[start.end() :] if start else text
    start = _SHOT_START.match(text)
    return _SHOT_END.split(text[start.end() :] if start else text, maxsplit=1)[0]


def _is_quoted(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)]
    return any(found.start() < at - start < found.end() for found in _QUOTED.finditer(line))


def before_control(text: str, quoted: bool = False) -> str:
    """The text up to its first control token, which ends the turn; with `quoted` also one between quotes."""
    for found in _CONTROL.finditer(text):
        if quoted or not _is_quoted(text, found.start()):
            return text[: found.start()]
    return text


def unwrapped(text: str) -> str:
    """The content of the tag (<answer>, <solution>) or of the backticks that wrap all of the text, else the text."""
    wrapped = _WRAPPED.match(text) or re.fullmatch(r"\s*(`)([^`]+)`\s*", text)
    return wrapped.group(2) if wrapped else text


def has_fence(text: str) -> bool:
    """Whether a line of the text opens or closes a fence."""
    return any(_FENCE.fullmatch(line) for line in text.split("\n"))


def fence_lines(text: str) -> list[int]:
    """The numbers of the lines that open or close a fence, 0-based."""
    return [i for i, line in enumerate(text.split("\n")) if _FENCE.fullmatch(line)]


def outer_blocks(text: str) -> list[str]:
    """Contents of the fences read in the plain way, each closed by the next; the last may be unterminated."""
    lines, marks = text.split("\n"), fence_lines(text)
    return [
        "\n".join(lines[start + 1 : end]) for start, end in zip(marks[::2], [*marks[1::2], len(lines)], strict=False)
    ]


def extract_answer(text: str, reading: str = "whole") -> str:
    """The answer of an `answer` problem: thought, control tokens, wrapping tags and a fence removed, then what
    `reading` names.

    `last_number` is that of the last `####` line or `\\boxed{}` where there is one; 1/2 is 0.5. `boxed` is what the
    last `\\boxed{}` holds, else what is said to be the answer, else the formula in the last line or all of it.
    `whole` and `first_line` are of the first fence where there is one; a line loses quotes, backticks and a leading
    "Answer:".

    >>> extract_answer("<think>weekdays</think>```\\n30 9 * * 1-5\\n```<|im_end|>", "first_line")
    '30 9 * * 1-5'
    >>> extract_answer("6 bags of 12\\nThat makes 1,072 rolls (2 parts).", "last_line")
    'That makes 1,072 rolls (2 parts).'
    >>> extract_answer("6 bags of 12.\\n#### 1,072", "last_number")
    '1072'
    >>> extract_answer("Here it is:\\n```sql\\nSELECT a\\nFROM t\\n```\\nDone.")
    'SELECT a\\nFROM t'
    """
    found = replies(text)
    if not found:
        return ""
    text = before_control(found[-1])
    text = (_IN_NUMBER.sub("", text) if reading == "last_number" else text).translate(SPACES)
    text = unwrapped(text)
    if reading == "last_number":
        return _last_number(_marked(text)) or _last_number(text)
    if reading == "boxed":
        return boxed(text) if "boxed" in text else _said_answer(text)
    if reading != "last_line":
        text = _fenced(text)
    lines = [line.strip() for line in text.split("\n") if line.strip("`~ \t") and not _FENCE.fullmatch(line)]
    if reading == "whole" and len(lines) > 1:
        return text.strip()
    return _plain_line(lines[-1 if reading == "last_line" else 0]) if lines else ""


def _marked(text: str) -> str:
    """What stands behind the last mark of an answer: the rest of the line of `####`, the content of `\\boxed{}`."""
    marks = list(_MARKED.finditer(text))
    if not marks:
        return ""
    rest, depth = text[marks[-1].end() :], 1
    if not marks[-1].group().startswith("\\"):
        return rest.partition("\n")[0]
    for at, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if not depth:
            return rest[:at]
    return rest


def _said_answer(text: str) -> str:
    """What follows the last "the answer is", else the last line: of each the formula in it, or all of it."""
    said = list(_ANSWER_IS.finditer(text))
    lines = [line for line in text.split("\n") if line.strip("`~* \t") and not _FENCE.fullmatch(line)]
    rest = text[said[-1].end() :].partition("\n")[0] if said else lines[-1] if lines else ""
    formulas, end = [], 0
    for found in _FORMULA.finditer(rest):  # several between "and" or "or" are one answer
        is_next = formulas and re.fullmatch(r"[\s,]*(?:and|or)?\s*", rest[end : found.start()])
        if said and formulas and not is_next:
            break
        formulas = [*(formulas if is_next else []), next(filter(None, found.groups())).strip()]
        end = found.end()
    if formulas and not re.search(r"\bnot\b|n't\b", rest[:end]):
        return ", ".join(formulas)
    return _plain_line(re.split(r"\.(?:\s+(?=[A-Z])|\s*\Z)", rest.strip().strip("*"))[0])


def _last_number(text: str) -> str:
    """The last number as plain digits, "" for none; an index or exponent (m2, km^2) is no number where there is
    another.
    """
    text = _SIGN_OF_FRACTION.sub(lambda hit: " " + unicodedata.normalize("NFKC", hit[1]).replace("\u2044", "/"), text)
    text = re.sub(r"-[ \t]*\\?([$\u20ac\u00a3])[ \t]*(?=\d)", "-", text.replace("\u2212", "-"))
    numbers = list(_NUMBER.finditer(_FRACTION.sub(r" \1\2/\3\4", text)))
    free = [found for found in numbers if not re.search(r"[a-z]\Z|[a-z})]\s*\^\s*\{?\Z", found.string[: found.start()])]
    if not numbers:
        return ""
    last = (free or numbers)[-1]
    sign, plain = last["sign"] or "", last["plain"]
    if plain and last["power"]:
        return sign + format(Decimal(plain.replace(",", "") + "e" + last["power"]).normalize(), "f")
    if plain:
        return sign + ("0" if plain[0] == "." else "") + plain.replace(",", "")
    return f"{sign}{int(last['whole'] or 0) + int(last['top']) / int(last['bottom']):.12g}"


def _fenced(text: str) -> str:
    """The content of the first fence; the text itself where it has none, or where it says its answer after the
    fences.
    """
    marks = fence_lines(text)
    if marks and _SAYS_ANSWER.search("\n".join(text.split("\n")[marks[-1] + 1 :] if len(marks) % 2 == 0 else [])):
        return text
    return next((block for block in outer_blocks(text) if block.strip()), text)


def _plain_line(line: str) -> str:
    line = re.sub(r"\*\*([^*]+)\*\*", r"\1", line) if line.count("**") == 2 and line[:2] == "**" else line
    line = re.sub(r"^answer\s*:\s*", "", line, flags=re.IGNORECASE)
    spans = re.findall(r"`+([^`]+)`+", line)
    if len(spans) == 1:
        line = spans[0]
    line = line.strip().strip("`").strip()
    if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
        line = line[1:-1].strip()
    return line
