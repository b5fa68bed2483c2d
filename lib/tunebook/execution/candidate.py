"""What runs inside the candidate process: load the program, then answer calls with plain values until killed.

Knows no test and no expected value, and decides nothing. Untrusted code runs in this very process and may rewrite all
of it; whatever it sends, the judge takes it for values. Standard library only.
"""

import ast
import json
import os
import struct
import sys
import types

from tunebook.execution.values import MAX_BYTES, NotPlain, decode, encode

MODULE_NAME = "candidate"
TEXT_CHARS = 600
MOST_CLASSES = 16


def serve(channel: int) -> None:
    """Answer on the file descriptor `channel` until it closes. Frames are a 4-byte length and JSON.

    Sends `armed`, `parsed`, then `ready` (or why not), then one answer for each call, each with the call's number.
    """
    own = os.getpid()
    _send(channel, [0, "armed"])
    program = _receive(channel)
    function = _load(channel, program["source"], program["entry_point"])
    while function is not None:
        request = _receive(channel)
        answer = _call(function, request)
        if os.getpid() != own:
            os._exit(0)  # a child that the program forked and that fell out of its function
        _send(channel, answer)


def _load(channel, source, entry_point):
    try:
        tree = ast.parse(source)
        empty = is_empty(tree, entry_point)
        code = compile(source, "<candidate>", "exec", dont_inherit=True, optimize=0)
    except BaseException as error:
        _send(channel, [0, "syntax", _text(error)])
        return None
    _send(channel, [0, "parsed", empty])
    module = types.ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    own = os.getpid()
    try:
        exec(code, module.__dict__)
        function = module.__dict__.get(entry_point)
        if not callable(function):
            raise NameError(f"name '{entry_point}' is not defined")
        answer = [0, "ready"]
    except BaseException as error:
        function, answer = None, [0, *_raised(error)]
    if os.getpid() != own:
        os._exit(0)
    _send(channel, answer)
    return function


def is_empty(tree: ast.Module, entry_point: str) -> bool:
    """Whether the last top-level definition of `entry_point` (or the whole program) does nothing: docstring, pass,
    `...`.
    """
    functions = [
        n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name == entry_point
    ]
    body = functions[-1].body if functions else tree.body
    return all(isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


def _call(function, request):
    number = request["number"]
    try:
        value = function(*decode(request["args"]), **decode(request["kwargs"]))
    except BaseException as error:
        return [number, *_raised(error)]
    try:
        return [number, "value", encode(value)]
    except NotPlain as error:
        return [number, "not_plain", str(error)]
    except BaseException as error:
        return [number, "not_plain", _text(error)]


def _raised(error):
    if isinstance(error, SystemExit):
        return ["exit", _text(error)]
    code = getattr(error, "errno", None)
    kinds = [[str(kind.__module__)[:80], kind.__name__[:80]] for kind in type(error).__mro__[:MOST_CLASSES]]
    try:
        values = encode(error.args)
    except Exception:
        values = None
    return ["raised", kinds, values, _bare(error), code if type(code) is int else 0]


def _text(error):
    return f"{type(error).__name__}: {_bare(error)}"


def _bare(error):
    try:
        return str(error)[:TEXT_CHARS]
    except BaseException:
        return "a text that cannot be shown"


def _send(channel, message):
    data = json.dumps(message).encode("ascii")
    if len(data) > MAX_BYTES:
        data = json.dumps([message[0], "not_plain", f"value takes {len(data)} bytes, more than {MAX_BYTES}"]).encode(
            "ascii"
        )
    view = memoryview(frame(data))
    while view:
        view = view[os.write(channel, view) :]


def frame(data: bytes) -> bytes:
    """The bytes of one message on the channel."""
    return struct.pack(">I", len(data)) + data


def _receive(channel):
    size = struct.unpack(">I", _read(channel, 4))[0]
    return json.loads(_read(channel, size))


def _read(channel, size):
    parts = []
    while size:
        part = os.read(channel, min(size, 1 << 16))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
