"""What `check` gets in place of the candidate, and what the candidate's answers mean.

Turns messages into values, exceptions or verdicts; runs nothing itself. Every message is the candidate's own word: none can be
more than a value, and all that is no value is a failure.
"""

import errno
import reprlib
import sys

from tunebook.execution.candidate import MODULE_NAME
from tunebook.execution.inbox import Stop
from tunebook.execution.session import Session
from tunebook.execution.values import NotPlain, decode, encode

TEXT_CHARS = 400
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class TestFault(AssertionError):
    """The problem cannot be judged as it is written; every program fails it, the canonical solution first."""


class CandidateError(Exception):
    """Stands for an exception of the candidate whose class the judge does not have."""


def stand_in(session: Session, calls: dict, names: dict):
    """What `check` gets for the candidate: a function that asks the other process.

    `names` are those of the test: an exception of the candidate's own class is there the class of that name. Keeps in `calls`: `fatal` (the Stop after which nothing counts), `raised` (the last exception of the candidate, with its
    `verdict` and `text`) and `last` (arguments and value of the last call that gave one).
    """

    def candidate(*args, **kwargs):
        if calls["fatal"] is not None:
            raise calls["fatal"]
        try:
            request = {"args": encode(args), "kwargs": encode(kwargs)}
        except NotPlain as error:
            raise TestFault(f"the test passes what cannot cross to the candidate: {error}") from None
        try:
            session.number += 1
            session.send({"number": session.number, **request})
            message = session.receive()
            if message[0] == "value":
                value = session.value(message)
                calls["last"] = (args, kwargs, value)
                return value
            calls["verdict"], calls["text"] = verdict_of(message)
            if message[0] != "raised" or calls["verdict"] == "invalid_output":
                raise Stop(calls["verdict"], calls["text"])
        except Stop as stop:
            calls["fatal"] = stop
            raise
        calls["raised"] = _exception_of(message, names)
        raise calls["raised"]

    return candidate


def verdict_of(message: list) -> tuple[str, str]:
    """Verdict and detail for a message that is no value. All of it is the candidate's word, and all of it is a failure."""
    kind, rest = message[0], message[1:]
    if kind == "exit":
        return "early_exit", str(rest[0]) if rest else ""
    if kind == "not_plain":
        return "invalid_output", str(rest[0]) if rest else ""
    if kind != "raised" or len(rest) != 4 or not _are_kinds(rest[0]):
        return "invalid_output", "an answer that is not a message"
    name, code = rest[0][0][1], rest[3]
    text = f"{name}: {str(rest[2])[:TEXT_CHARS]}"
    if name == "MemoryError" or code == errno.ENOMEM:
        return "mem_limit", text
    if name == "PermissionError":
        return "denied", text
    if code == errno.EAGAIN or "can't start new thread" in text:
        return "proc_limit", text
    if code in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        return "output_limit", text
    return "exception", text


def _are_kinds(kinds) -> bool:
    """Whether this is a list of pairs of texts: module and name of a class and of those above it."""
    return (
        type(kinds) is list and bool(kinds) and all(type(k) is list and list(map(type, k)) == [str, str] for k in kinds)
    )


def _exception_of(message, names):
    """An exception like the candidate's: the nearest of its classes that the judge has, with the same arguments."""
    _, kinds, values, text, _ = message
    try:
        arguments = decode(values)
    except NotPlain:
        arguments = None
    arguments = arguments if type(arguments) is tuple else (str(text),)
    for module, name in kinds:
        kind = _class_of(module, name, names)
        if kind is not None:
            return _made(kind, arguments)
    return CandidateError(*arguments)


def _class_of(module, name, names):
    """A class of the test's own, or of a module of the standard library that is loaded; never one of the runner's."""
    if module == MODULE_NAME:
        found = names.get(name)
    elif module.partition(".")[0] in sys.stdlib_module_names:
        found = getattr(sys.modules.get(module), name, None)
    else:
        return None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _made(kind, arguments):
    try:
        return kind(*arguments)
    except Exception:  # its arguments are no plain values: bytes, objects
        error = CandidateError(*arguments)
    try:
        error = kind.__new__(kind)
        error.args = arguments
    except Exception:
        pass
    return error


def why_wrong(error: BaseException, last_call: tuple | None) -> str:
    """The call before the failed assertion, and the assertion's message if it has one."""
    reason = _text(error) if isinstance(error, AssertionError) else f"the test raised {shown(error)}"
    parts = [_shown_call(*last_call) if last_call else "", reason]
    return "; ".join(part for part in parts if part)


def shown(error: BaseException) -> str:
    """Type and message of an exception, shortened."""
    return f"{type(error).__name__}: {_text(error)}"


def _text(error):
    try:
        return str(error)[:TEXT_CHARS]
    except Exception:  # a value of the candidate is in it, an integer of more digits than Python writes
        return "its message cannot be shown"


def _shown_call(args, kwargs, value):
    parts = [_repr(a) for a in args] + [f"{k}={_repr(v)}" for k, v in kwargs.items()]
    return f"candidate({', '.join(parts)}) gave {_repr(value)}"


def _repr(value):
    try:
        return _SHORT.repr(value)
    except Exception:
        return f"a large {type(value).__name__}"
