"""From a model's raw text to the program or the answer that is judged. One extractor; its VERSION is in every protocol.

Never runs the text. A program is kept as the model wrote it wherever it parses; what is cut is only what stands around it:
thinking, control tokens, fences, prose, repeated definitions and printed examples. An error inside the function stays an error.
"""

import re

from tunebook.evaluation import readings, syntax

VERSION = "tunebook-extract/2"
LARGEST = 200_000
FENCES = 24

_THINK_END = re.compile(r"</(?:think|thinking|reasoning)>")
_THINK_START = re.compile(r"\s*<(?:think|thinking|reasoning)>")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(
    r"<\|(?:im_end|im_start|endoftext|eot_id|end_of_text|end|eom_id|start_header_id|user|assistant|system|return)\|>"
    r"|</s>|<eos>|<end_of_turn>|<start_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>"
)
_TURN_START = re.compile(
    r"\s*(?:<\|im_start\|>|<\|start_header_id\|>)?\s*assistant(?:<\|end_header_id\|>)?\s*\n|\s*<s>"
)
_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[^`\n]*")
_SPACES = str.maketrans(
    {"\u00a0": " ", "\u2007": " ", "\u202f": " ", "\u3000": "  "}
    | dict.fromkeys(map(ord, "\u200b\u200c\u2060\ufeff"), "")
)
_CODE_LINE = re.compile(
    r"\s*(?:>>> |(?:async )?def \w+|class \w+|return\b|pass\b|raise\b|yield\b|import \w|from [\w.]+ import\b|for .+ in .+:"
    r"|(?:if|elif|while|with) .+:|(?:else|try|finally)\s*:|@\w+|[\w.\[\]]+ *[-+*/|&%]?= *\S|[\w.]+\(.*|\"\"\"|'''|\.\.\.|\()"
)


def extract_code(text: str, problem: dict) -> str:
    """Full source of the program for a code problem: the prompt's imports and helpers, and the model's function.

    `text` is the raw completion: a body, a whole function, fences, prose around. Returns "" when there is no code (verdict
    `no_code`), and source that does not compile when the model's function does not (verdict `syntax`).
    """
    text = clean(text)
    if not text.strip():
        return ""
    if len(text) > LARGEST:
        return _joined(problem["prompt"], text)
    variants = [text]
    cut = _before_control(text)
    if cut != text:
        variants.append(cut)
    for variant in variants:
        for respaced in dict.fromkeys((variant, variant.translate(_SPACES))):
            source = _program(respaced, problem)
            if source:
                return source
    return _unparsed(cut.translate(_SPACES), problem)


def _program(text: str, problem: dict) -> str:
    """The best reading of one cleaned text, or "" when none parses and defines the entry point."""
    prompt, name = problem["prompt"], problem["entry_point"]
    blocks = fenced_blocks(text)
    for block in dict.fromkeys((text, *blocks)):
        source = readings.whole_function(block, prompt, name, others=blocks)
        if source:
            return source
    source = readings.leading_body(text, prompt, name)
    if source:
        return source
    for block in dict.fromkeys((*outer_blocks(text), text)):
        source = readings.trimmed_function(block, prompt, name)
        if source:
            return source
    for block in blocks or [text]:
        source = readings.body(block, prompt, name) or readings.transcript(block, prompt, name)
        if source:
            return source
    return ""


def _unparsed(text: str, problem: dict) -> str:
    """What is judged when no reading parses: the outer code as it is, or "" when the text does not look like code."""
    text = next((block for block in outer_blocks(text) if block.strip()), "" if _has_fence(text) else text)
    if not any(_CODE_LINE.match(line) for line in text.split("\n")):
        return ""
    has_function = re.search(rf"^(?:async )?def {re.escape(problem['entry_point'])}\b", text, re.MULTILINE)
    if has_function or syntax.is_module_of_functions(text):
        start = re.search(r"^(?:from |import |(?:async )?def |class |@)", text, re.MULTILINE)
        return readings.with_preamble(text[start.start() :], problem["prompt"], problem["entry_point"])
    return _joined(problem["prompt"], text)


def _joined(prompt: str, text: str) -> str:
    return prompt + text if prompt.endswith("\n") or text.startswith("\n") else f"{prompt}\n{text}"


def extract_answer(text: str) -> str:
    """The answer of an `answer` problem: thinking, control tokens, fences and quotes removed, first line that is not empty.

    >>> extract_answer("<think>weekdays</think>```\\n30 9 * * 1-5\\n```<|im_end|>")
    '30 9 * * 1-5'
    """
    lines = [line.strip() for line in extract_text(text).split("\n")]
    line = next((line for line in lines if line.strip("`~ \t")), "")
    line = re.sub(r"^answer\s*:\s*", "", line, flags=re.IGNORECASE)
    spans = re.findall(r"`+([^`]+)`+", line)
    if len(spans) == 1:
        line = spans[0]
    line = line.strip().strip("`").strip()
    if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
        line = line[1:-1].strip()
    return line


def extract_text(text: str) -> str:
    """An answer of several lines: thinking and control tokens removed, the content of the first fence where there is one.

    >>> extract_text("Here it is:\\n```sql\\nSELECT a\\nFROM t\\n```\\nDone.")
    'SELECT a\\nFROM t'
    """
    text = _before_control(clean(text)).translate(_SPACES)
    return next((block for block in outer_blocks(text) if block.strip()), text).strip()


def extract(text: str, problem: dict) -> str:
    """Program or answer, by the problem's kind; "" when there is nothing to judge.

    An answer is one line, unless the problem's own canonical solution has several.
    """
    if problem.get("kind") != "answer":
        return extract_code(text, problem)
    is_long = "\n" in (problem.get("canonical_solution") or "").strip()
    return extract_text(text) if is_long else extract_answer(text)


def clean(text: str) -> str:
    """Text without thinking, terminal escapes, a leading turn marker, byte order mark and foreign line ends."""
    text = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")).replace("\x1b", "")
    ends = list(_THINK_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    elif _THINK_START.match(text):
        return ""
    start = _TURN_START.match(text)
    return text[start.end() :] if start else text


def _before_control(text: str) -> str:
    found = _CONTROL.search(text)
    return text[: found.start()] if found else text


def _has_fence(text: str) -> bool:
    return any(_FENCE.fullmatch(line) for line in text.split("\n"))


def outer_blocks(text: str) -> list[str]:
    """Contents of the fences read in the plain way, each closed by the next; the last may be unterminated."""
    lines, blocks, start = text.split("\n"), [], None
    for i, line in enumerate(lines):
        if not _FENCE.fullmatch(line):
            continue
        if start is None:
            start = i + 1
        else:
            blocks.append("\n".join(lines[start:i]))
            start = None
    if start is not None:
        blocks.append("\n".join(lines[start:]))
    return blocks


def fenced_blocks(text: str) -> list[str]:
    """Contents of all fences that parse; a fence inside a docstring does not close the block around it."""
    lines = text.split("\n")
    marks = [i for i, line in enumerate(lines) if _FENCE.fullmatch(line)][:FENCES]
    blocks, at = [], 0
    while at < len(marks):
        ends = [*range(at + 1, len(marks)), len(marks)]
        for end in ends:
            stop = marks[end] if end < len(marks) else len(lines)
            block = "\n".join(lines[marks[at] + 1 : stop])
            if block.strip() and syntax.parse(syntax.dedent(block)) is not None:
                blocks.append(block)
                break
        else:
            end = at + 1
            blocks.append("\n".join(lines[marks[at] + 1 : marks[end] if end < len(marks) else len(lines)]))
        at = end + 1
    return blocks
