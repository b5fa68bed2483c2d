"""What `check` gets in place of the candidate, and what the candidate's answers mean.

Turns messages into values, exceptions or verdicts; runs nothing itself. Every message is the candidate's own word: none can be
more than a value, and all that is no value is a failure.
"""

import builtins
import errno
import reprlib

from tunebook.execution.inbox import Stop
from tunebook.execution.session import Session
from tunebook.execution.values import NotPlain, encode

_EXCEPTIONS = {n: c for n, c in vars(builtins).items() if isinstance(c, type) and issubclass(c, Exception)}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class TestFault(AssertionError):
    """The problem cannot be judged as it is written; every program fails it, the canonical solution first."""


class CandidateError(Exception):
    """Stands for an exception of the candidate that is no builtin one."""


def stand_in(session: Session, calls: dict):
    """What `check` gets for the candidate: a function that asks the other process.

    Keeps in `calls`: `fatal` (the Stop after which nothing counts), `raised` (the last exception of the candidate, with its
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
        calls["raised"] = _exception_of(message)
        raise calls["raised"]

    return candidate


def verdict_of(message: list) -> tuple[str, str]:
    """Verdict and detail for a message that is no value. All of it is the candidate's word, and all of it is a failure."""
    kind, rest = message[0], message[1:]
    if kind == "exit":
        return "early_exit", str(rest[0]) if rest else ""
    if kind == "not_plain":
        return "invalid_output", str(rest[0]) if rest else ""
    if kind != "raised" or len(rest) != 3:
        return "invalid_output", "an answer that is not a message"
    name, text, code = str(rest[0]), rest[1], rest[2]
    if name == "MemoryError" or code == errno.ENOMEM:
        return "mem_limit", str(text)
    if name == "PermissionError":
        return "denied", str(text)
    if code == errno.EAGAIN or "can't start new thread" in str(text):
        return "proc_limit", str(text)
    if code in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        return "output_limit", str(text)
    return "exception", str(text)


def _exception_of(message):
    name, text = str(message[1]), str(message[2])
    try:
        return _EXCEPTIONS.get(name, CandidateError)(text)
    except Exception:
        return CandidateError(text)


def why_wrong(error: BaseException, last_call: tuple | None) -> str:
    """The call before the failed assertion, and the assertion's message if it has one."""
    reason = str(error)[:400] if isinstance(error, AssertionError) else f"the test raised {shown(error)}"
    parts = [_shown_call(*last_call) if last_call else "", reason]
    return "; ".join(part for part in parts if part)


def shown(error: BaseException) -> str:
    """Type and message of an exception, shortened."""
    return f"{type(error).__name__}: {str(error)[:400]}"


def _shown_call(args, kwargs, value):
    parts = [_repr(a) for a in args] + [f"{k}={_repr(v)}" for k, v in kwargs.items()]
    return f"candidate({', '.join(parts)}) gave {_repr(value)}"


def _repr(value):
    try:
        return _SHORT.repr(value)
    except Exception:
        return f"a large {type(value).__name__}"
