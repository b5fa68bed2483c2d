"""Code that a reply holds in a packing: as a string of JSON, or in HTML. Runs nothing and does not look for functions
otherwise (see `extraction`).
"""

import ast
import html
import json
import re

from tunebook.evaluation.reply import before_control, has_fence, outer_blocks
from tunebook.evaluation.syntax import parse_python

CODE_KEYS = frozenset("code solution program function completion answer python content output response body".split())
_MARK = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#[xX][0-9a-fA-F]{1,5});")
_TAG = re.compile(r"</?(?:pre|code|br|p|div|span)\b[^<>]*>", re.IGNORECASE)
_NAMES = frozenset(("lt", "gt", "amp", "quot", "apos", "nbsp"))


def code_in_json(text: str, name: str) -> list[str]:
    """The strings of a reply that is JSON, or whose fences are, in which the function called `name` is defined; where
    the whole reply is JSON and none does, those under a key that says code.

    >>> code_in_json('{"code": "def f(x):\\n    return x"}', "f")
    ['def f(x):\\n    return x']
    """
    text = before_control(text).strip()
    pieces = [block for block in outer_blocks(text) if block.strip()] if has_fence(text) else [text]
    strings = [pair for piece in pieces for pair in _strings(_read(piece.strip()))]
    defines = re.compile(rf"(?m)^[ \t]*(?:async )?def {re.escape(name)}\b")
    found = [code for _, code in strings if defines.search(code)]
    return found or [code for key, code in strings if len(pieces) == 1 and key.lower() in CODE_KEYS and code.strip()]


def without_html(text: str) -> str:
    """The text with HTML's marks as the signs they stand for, and a line break for each tag that lays out code; the
    text itself where it holds no mark and no tag.
    """
    if not _MARK.search(text) and not re.search(r"<(?:pre|code)\b", text, re.IGNORECASE):
        return text
    return _MARK.sub(lambda hit: html.unescape(hit[0]).replace("\xa0", " "), _TAG.sub("\n", text))


def without_escapes(text: str) -> str:
    """A text of one line whose line breaks are written as in JSON with real ones; any other as it is."""
    text = text.strip()
    if "\\n" not in text or "\n" in text:
        return text
    made = _read('"' + re.sub(r'(?<!\\)"', r"\"", text) + '"')
    return made if isinstance(made, str) else text


def acts_on_marks(source: str) -> bool:
    """Whether a program parses only since `a &lt; b` is a bitwise and with a name `lt` that nothing defines."""
    nodes = list(ast.walk(parse_python(source) or ast.Module([], [])))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    ands = [node.right for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd)]
    return any(isinstance(node, ast.Name) and node.id in _NAMES - bound for node in ands)


def _read(text: str):
    """The value of a text that is JSON or a Python literal, None for any other."""
    if text[:1] not in ("{", "[", '"', "'"):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _strings(value, key: str = "code", depth: int = 0):
    """(key, string) of every string in a value, those in JSON inside a string too."""
    if isinstance(value, str):
        inner = _read(value.strip()) if depth and value.lstrip()[:1] in ("{", "[") else None
        yield from [(key, value)] if not isinstance(inner, dict | list) else _strings(inner, key, depth + 1)
    elif isinstance(value, dict | list) and depth < 8:
        pairs = value.items() if isinstance(value, dict) else ((key, item) for item in value)
        for name, item in pairs:
            yield from _strings(item, str(name), depth + 1)
