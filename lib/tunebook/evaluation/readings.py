"""Ways to read a piece of text as the program that defines the entry point. Used by `extraction` alone; runs nothing.

A reading is accepted only if it parses and the entry point has a body; each function returns source, or "" when it does not fit.
"""

import ast
import re
import textwrap

from tunebook.evaluation.syntax import (
    FUNCTIONS,
    compiles,
    dedent,
    definition,
    is_module_of_functions,
    only_helpers,
    parse,
    tidy,
)

BOUNDARIES = 200
_STARTS = re.compile(r"(?:import \w|from [\w.]+ import\b|(?:async )?def \w|class \w|@\w)")


def whole_function(text: str, prompt: str, name: str, others: list[str] = ()) -> str:
    """`text` is a module that defines the entry point; imports and functions of `others` (further fences) come before it."""
    text = dedent(text)
    tree = parse(text)
    if tree is None or not definition(tree, name):
        return ""
    helpers = [dedent(other) for other in others]
    helpers = [other for other in helpers if other != text and only_helpers(other, name)]
    return with_preamble("\n".join([*helpers, tidy(text, tree, name)]), prompt, name)


def trimmed_function(text: str, prompt: str, name: str) -> str:
    """The entry point stands in `text` as a whole function between prose, prompts or broken later code, which are cut."""
    lines = dedent(text).split("\n")
    anchor = re.compile(rf"(?:async )?def {re.escape(name)}\b|{re.escape(name)} *=|class \w")
    anchors = [i for i, line in enumerate(lines) if anchor.match(line)][:8]
    if not anchors:
        return ""
    first = next((i for i, line in enumerate(lines) if _STARTS.match(line)), anchors[0])
    for start, at in [(min(first, anchors[0]), anchors[0]), *((i, i) for i in anchors)]:
        block = _longest(lines, start, at, name)
        if block:
            return with_preamble(tidy(block, parse(block), name), prompt, name)
    return ""


def _longest(lines: list[str], start: int, at: int, name: str) -> str:
    """The longest run from `start`, ending before a line at column 0, that parses; ends at the first run that stops parsing."""
    ends = [i for i in range(at + 1, len(lines)) if lines[i][:1].strip()][:BOUNDARIES]
    best = ""
    for end in [*ends, len(lines)]:
        block = "\n".join(lines[start:end]) + "\n"
        tree = parse(block)
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
        if compiles(source) and definition(parse(source), name):
            return tidy(source, parse(source), name)
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
    found = definition(parse(source), name) if source else None
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
        if compiles(source) and definition(parse(source), name):
            return tidy(source, parse(source), name)
    return _without_cut_line(lines, prompt, name)


def _without_cut_line(lines: list[str], prompt: str, name: str) -> str:
    """The last line, broken off by the token limit, is dropped only if the function has already returned before it."""
    source = prompt + "\n".join(lines[:-1]) + "\n"
    tree = parse(source)
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
    return text if text.strip() and parse(text) is not None else ""


def with_preamble(code: str, prompt: str, name: str) -> str:
    """The prompt's imports and helpers, then the code; `from __future__` lines move to the top, where Python wants them."""
    future = re.findall(r"^from __future__ import .*$", code, re.MULTILINE)
    code = re.sub(r"^from __future__ import .*$", "", code, flags=re.MULTILINE) if future else code
    return "\n".join([*future, preamble(prompt, name), code.rstrip("\n")]).lstrip("\n") + "\n"
