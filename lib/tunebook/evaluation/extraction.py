"""From a model's raw text to the program or the answer that is judged. One extractor; its VERSION is in every protocol.

Never runs the text. A program is kept as the model wrote it wherever it parses; what is cut is only what stands around
it: thinking, control tokens, fences, prose, repeated definitions and printed examples. An error inside the function
stays an error, and so does what acts beside it (an assert of the model's own, input(), exit): HumanEval runs it too.
"""

import ast
import re
import textwrap

from tunebook.evaluation import syntax
from tunebook.evaluation.reading import packing
from tunebook.evaluation.reply import (
    GLUED_FENCE,
    LARGEST,
    SPACES,
    Reading,
    before_control,
    extract_answer,
    fence_lines,
    has_fence,
    line_of_mark,
    outer_blocks,
    replies,
    unwrapped,
)
from tunebook.evaluation.syntax import (
    FUNCTIONS,
    compiles,
    dedent,
    definition,
    is_module_of_functions,
    only_helpers,
    parse_python,
    tidy,
)

VERSION = "tunebook-extract/6"
FENCES = 24

_CODE_LINE = re.compile(
    r"\s*(?:>>> |(?:async )?def \w+|class \w+|return\b|pass\b|raise\b|yield\b|import \w|from [\w.]+ import\b|for .+"
    r" in .+:"
    r"|(?:if|elif|while|with) .+:|(?:else|try|finally)\s*:|@\w+|[\w.\[\]]+ *[-+*/|&%]?="
    r" *\S|[\w.]+\(.*|\"\"\"|'''|\.\.\.|\()"
)


def extract(text: str, problem: dict, reading: Reading = Reading()) -> str:
    """Program or answer, by the problem's kind; "" when there is nothing to judge.

    >>> extract("Sure:\\n```python\\ndef f(x):\\n    return x\\n```", {"prompt": "", "entry_point": "f"})
    'def f(x):\\n    return x\\n'
    """
    if problem.get("kind") == "answer":
        return extract_answer(text, reading.answer)
    return extract_code(text, problem, reading.block)


def extract_code(text: str, problem: dict, block: str = "last") -> str:
    """Full source of the program for a code problem: the prompt's imports and helpers, and the model's function.

    `text` is the raw completion: a body, a whole function, fences, prose around. Returns "" when there is no code
    (verdict `no_code`), and source that does not compile when the model's function does not (verdict `syntax`). A
    thought is cut where it stands at the start; elsewhere a mark that closes one is text where a program holds it, and
    a cut where nothing parses without.
    """
    found, source = [reply for reply in replies(text) if reply.strip()], ""
    if found and len(text) > LARGEST:
        return _joined(problem["prompt"], found[-1])
    for reply, later in zip(found, [*found[1:], ""], strict=False):
        source = _unpacked_program(reply, problem, block) or source
        mark = line_of_mark(reply[: -len(later)]) if later else None
        if mark and any(line.strip().startswith(mark) for line in source.split("\n")):
            break  # the mark at which the next reply begins is text of the program
    return source or (_unparsed(before_control(found[-1]).translate(SPACES), problem) if found else "")


def _unpacked_program(text: str, problem: dict, block: str) -> str:
    """The program of one reply: of the code in it where the reply is JSON, and with HTML's marks as what they stand
    for where nothing parses otherwise, or where only such a mark parses.
    """
    for code in packing.code_in_json(text, problem["entry_point"]):
        if source := _spaced_program(code, problem, block):
            return source
    source, plain = _spaced_program(text, problem, block), packing.without_html(text)
    if plain != text and (not source or packing.acts_on_marks(source)):
        source = _spaced_program(plain, problem, block) or source
    return source or _spaced_program(packing.without_escapes(text), problem, block)


def _spaced_program(text: str, problem: dict, block: str) -> str:
    """The program of one reply, control tokens or odd spaces cut only where that is needed."""
    prompt, name = problem["prompt"], problem["entry_point"]
    for respaced in dict.fromkeys((text, text.translate(SPACES))):
        source = readable_whole(respaced, prompt, name)
        if source:
            return source
    variants = (before_control(text), text, before_control(text, quoted=True))
    for variant in dict.fromkeys((*variants, unwrapped(variants[0]), GLUED_FENCE.sub(r"\n\1", variants[0]))):
        for respaced in dict.fromkeys((variant, variant.translate(SPACES))):
            source = _program(respaced, problem, block)
            if source:
                return source
    return ""


def readable_whole(text: str, prompt: str, name: str) -> str:
    """The program where all of the text is code, a module or the prompt's continuation, so that every mark in it is
    a string's.
    """
    source = whole_function(text, prompt, name)
    if source:
        return source
    source = _joined(prompt, text)
    tree = parse_python(source) if text[:1].isspace() else None
    return tidy(source, tree, name) if tree and compiles(source) and definition(tree, name) else ""


def _program(text: str, problem: dict, block: str) -> str:
    """The best reading of one reply, or "" when none parses and defines the entry point."""
    prompt, name = problem["prompt"], problem["entry_point"]
    blocks, outer = fenced_blocks(text), outer_blocks(text)
    turn = -1 if block == "last" else 1
    for piece in dict.fromkeys((text, *blocks[::turn])):
        source = whole_function(piece, prompt, name, others=blocks)
        if source:
            return source
    source = leading_body(text, prompt, name)
    if source:
        return source
    for piece in dict.fromkeys((*outer[::turn], text)):
        source = trimmed_function(piece, prompt, name)
        if source:
            return source
    for piece in blocks or [text]:
        source = body(piece, prompt, name) or transcript(piece, prompt, name)
        if source:
            return source
    return ""


def _unparsed(text: str, problem: dict) -> str:
    """What is judged when no reading parses: the outer code as it is, or "" when the text does not look like code."""
    text = next((block for block in outer_blocks(text) if block.strip()), "" if has_fence(text) else text)
    if not any(_CODE_LINE.match(line) for line in text.split("\n")):
        return ""
    has_function = re.search(rf"^(?:async )?def {re.escape(problem['entry_point'])}\b", text, re.MULTILINE)
    if has_function or syntax.is_module_of_functions(text):
        start = re.search(r"^(?:from |import |(?:async )?def |class |@)", text, re.MULTILINE)
        return with_preamble(text[start.start() :], problem["prompt"], problem["entry_point"])
    return _joined(problem["prompt"], text)


def _joined(prompt: str, text: str) -> str:
    return prompt + text if prompt.endswith("\n") or text.startswith("\n") else f"{prompt}\n{text}"


def fenced_blocks(text: str) -> list[str]:
    """Contents of all fences that parse; a fence inside a docstring does not close the block around it."""
    lines, marks = text.split("\n"), fence_lines(text)[:FENCES]
    blocks, at = [], 0
    while at < len(marks):
        ends = [*range(at + 1, len(marks)), len(marks)]
        for end in ends:
            stop = marks[end] if end < len(marks) else len(lines)
            block = "\n".join(lines[marks[at] + 1 : stop])
            if block.strip() and syntax.parse_python(syntax.dedent(block)) is not None:
                blocks.append(block)
                break
        else:
            end = at + 1
            blocks.append("\n".join(lines[marks[at] + 1 : marks[end] if end < len(marks) else len(lines)]))
        at = end + 1
    return blocks


BOUNDARIES = 200
_STARTS = re.compile(r"(?:import \w|from [\w.]+ import\b|(?:async )?def \w|class \w|@\w)")


def whole_function(text: str, prompt: str, name: str, others: list[str] = ()) -> str:
    """`text` is a module that defines the entry point; imports and functions of `others` (further fences) come
    before it.
    """
    text = dedent(text)
    tree = parse_python(text)
    if tree is None or not definition(tree, name):
        return ""
    helpers = [dedent(other) for other in others]
    helpers = [other for other in helpers if other != text and only_helpers(other, name)]
    return with_preamble("\n".join([*helpers, tidy(text, tree, name)]), prompt, name)


def trimmed_function(text: str, prompt: str, name: str) -> str:
    """The entry point stands in `text` as a whole function between prose, prompts or broken later code, which are
    cut.
    """
    lines = dedent(text).split("\n")
    anchor = re.compile(rf"(?:async )?def {re.escape(name)}\b|{re.escape(name)} *=|class \w")
    anchors = [i for i, line in enumerate(lines) if anchor.match(line)][:8]
    if not anchors:
        return ""
    first = next((i for i, line in enumerate(lines) if _STARTS.match(line)), anchors[0])
    for start, at in [(min(first, anchors[0]), anchors[0]), *((i, i) for i in anchors)]:
        block = _longest(lines, start, at, name)
        if block:
            return with_preamble(tidy(block, parse_python(block), name), prompt, name)
    return ""


def _longest(lines: list[str], start: int, at: int, name: str) -> str:
    """The longest run from `start`, ending before a line at column 0, that parses; ends at the first run that stops
    parsing.
    """
    ends = [i for i in range(at + 1, len(lines)) if lines[i][:1].strip()][:BOUNDARIES]
    best = ""
    for end in [*ends, len(lines)]:
        block = "\n".join(lines[start:end]) + "\n"
        tree = parse_python(block)
        if tree is not None and definition(tree, name):
            best = block
        elif best:
            # One more line may complete an open bracket or an `else`, so a failure is final only at a new statement.
            if end < len(lines) and not re.match(r"[)\]}]|else\b|elif\b|except\b|finally\b", lines[end]):
                break
    return best or _without_cut_line(lines[start:], "", name)


def body(text: str, prompt: str, name: str) -> str:
    """`text` continues the prompt: the function's body, indented or not, or with only its first line's indent lost."""
    prompt = prompt if prompt.endswith("\n") else prompt + "\n"
    text = text.strip("\n").rstrip()
    if not text or (not text[:1].isspace() and is_module_of_functions(text)):
        return ""
    tabs = re.sub(r"(?m)^[\t ]*\t[\t ]*", lambda m: m.group().replace("\t", "    "), text)
    indented = textwrap.indent(dedent(text), "    ")
    rest = [line for line in text.split("\n")[1:] if line.strip()]
    first = "    " + text.lstrip()
    for variant in dict.fromkeys((text, tabs, indented, first)):
        source = f"{prompt}{variant}\n"
        if compiles(source) and definition(parse_python(source), name):
            return tidy(source, parse_python(source), name)
    for variant in [v for v in dict.fromkeys((text, tabs)) if v[:1].isspace()]:
        if source := _cut_tail(prompt, variant.split("\n"), name, ""):
            return source
    if text[:1].isspace():
        return ""
    # Without any indent a cut is safe only after an empty line; a body that lost its first indent goes on indented.
    source = _cut_tail(prompt, indented.split("\n"), name, "    ")
    if not source and rest and rest[0][:1].isspace():
        source = _cut_tail(prompt, first.split("\n"), name, "")
    return source


def leading_body(text: str, prompt: str, name: str) -> str:
    """`text` begins with the function's body and repeats the whole function later, as raw continuations do."""
    head = re.split(rf"(?m)^(?:async )?def {re.escape(name)}\b", text, maxsplit=1)
    source = body(head[0], prompt, name) if len(head) == 2 and head[0].strip() else ""
    found = definition(parse_python(source), name) if source else None
    if not isinstance(found, FUNCTIONS):
        return ""
    acts = (ast.Return, ast.Raise, ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match)
    return source if isinstance(found.body[-1], acts) else ""


def _cut_tail(prompt: str, lines: list[str], name: str, margin: str) -> str:
    """Prompt and body up to the last cut that leaves a module which compiles, or with an unreachable last line cut.

    A cut is made before a line that begins at `margin`; where the margin is the body's own, only after an empty line.
    """
    ends = [i for i in range(1, len(lines)) if lines[i].startswith(margin) and lines[i][len(margin) :][:1].strip()]
    if margin:
        ends = [i for i in ends if not lines[i - 1].strip()]
    for end in [*reversed(ends[:BOUNDARIES])]:
        source = prompt + "\n".join(lines[:end]) + "\n"
        if compiles(source) and definition(parse_python(source), name):
            return tidy(source, parse_python(source), name)
    return _without_cut_line(lines, prompt, name)


def _without_cut_line(lines: list[str], prompt: str, name: str) -> str:
    """The last line, broken off by the token limit, is dropped only if the function has already returned before it."""
    source = prompt + "\n".join(lines[:-1]) + "\n"
    tree = parse_python(source)
    if tree is None or not compiles(source):
        return ""
    found = definition(tree, name)
    if not isinstance(found, FUNCTIONS) or not isinstance(found.body[-1], (ast.Return, ast.Raise)):
        return ""
    return source


def transcript(text: str, prompt: str, name: str) -> str:
    """`text` is an interpreter session: lines after `>>> ` and `... ` are the code, the others its output."""
    lines = text.split("\n")
    if not any(re.match(r"\s*>>> ?", line) for line in lines):
        return ""
    kept = [
        found.group(1)
        for line in lines
        if (found := re.match(r"\s*(?:>>>|\.\.\.)(?: (.*)|$)", line)) and found.group(1)
    ]
    code = "\n".join(kept)
    return whole_function(code, prompt, name) or trimmed_function(code, prompt, name) or body(code, prompt, name)


def preamble(prompt: str, name: str) -> str:
    """What the prompt gives before the entry point: imports and helper functions; "" where that is prose."""
    found = list(re.finditer(rf"^(?:async )?def {re.escape(name)}\b", prompt, re.MULTILINE))
    text = prompt[: found[-1].start()] if found else prompt
    return text if text.strip() and parse_python(text) is not None else ""


def with_preamble(code: str, prompt: str, name: str) -> str:
    """The prompt's imports and helpers, then the code; `from __future__` lines move to the top, where Python wants
    them.
    """
    future = re.findall(r"^from __future__ import .*$", code, re.MULTILINE)
    code = re.sub(r"^from __future__ import .*$", "", code, flags=re.MULTILINE) if future else code
    return "\n".join([*future, preamble(prompt, name), code.rstrip("\n")]).lstrip("\n") + "\n"
