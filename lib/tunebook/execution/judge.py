"""The judge process: holds tests and expected values, runs `check`, and says the verdict.

Started by the runner as `python -I -B` with a cleared environment. Reads settings and programs as JSON lines on stdin,
writes one outcome a line. The candidate that `check` calls is a proxy that sends values to another process (`session`).
Refuses to judge where `assert` does nothing. Tests are trusted; they run here with a CPU limit only.
"""

import errno
import functools
import json
import os
import random
import reprlib
import signal
import sys
import time

from tunebook.execution.candidate import MODULE_NAME
from tunebook.execution.programs import BROKEN_TEST, Program, clean_detail
from tunebook.execution.sandbox import Sandbox, remove_tree
from tunebook.execution.session import Fault, JudgeAlone, Session, Stop
from tunebook.execution.values import NotPlain, decode, encode

TEST_SECONDS = 10.0  # CPU time of one test in the judge itself; twice that ends the judge


class TestTimeout(BaseException):
    """The test itself used up its CPU time, usually on a value that the candidate made for that."""

    came = False  # in the test that runs now; it may have caught the exception


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    if not asserts_work():
        answers.write(b'{"fault": "assert does nothing in this Python (-O or PYTHONOPTIMIZE): no test can fail"}\n')
        return
    settings = json.loads(sys.stdin.buffer.readline())
    sys.path.append(settings["library"])
    signal.signal(signal.SIGPROF, _time_is_up)
    signal.signal(signal.SIGTERM, _leave)
    sandbox = Sandbox(settings)
    try:
        for line in iter(sys.stdin.buffer.readline, b""):
            for fields in json.loads(line):
                outcome = _judge(Program(**fields), sandbox)
                answers.write(json.dumps(outcome).encode("ascii") + b"\n")
    except (JudgeAlone, BrokenPipeError):
        pass
    except Exception as error:
        answers.write(json.dumps({"fault": f"the judge failed: {shown(error)}"}).encode("ascii") + b"\n")
    finally:
        sandbox.close()
        remove_tree(settings["folder"])


def asserts_work() -> bool:
    """False under -O, where a wrong program would pass every test."""
    try:
        assert False  # noqa: B011 (that this raises is what is asked)
    except AssertionError:
        return sys.flags.optimize == 0
    return False


def _time_is_up(number, frame):
    TestTimeout.came = True
    raise TestTimeout


def _leave(number, frame):
    raise JudgeAlone


def _judge(program, sandbox):
    try:
        run = {"answer": _judge_answer, "code": _judge_code, "reference": _judge_reference}[program.kind]
        verdict, detail, seconds = run(program, sandbox)
    except Fault as fault:
        verdict, detail, seconds = "invalid", str(fault), 0.0
    return {"verdict": verdict, "detail": clean_detail(detail), "cpu_seconds": round(seconds, 3)}


def _judge_answer(program, sandbox):
    started = time.process_time()
    try:
        _timed(lambda: _check_of(program, {"__name__": "judge"})(program.source))
        verdict, detail = "pass", ""
    except TestTimeout:
        verdict, detail = "cpu_limit", "the test did not end on this answer"
    except AssertionError as error:
        verdict, detail = "wrong", shown(error)
    except Exception as error:
        verdict, detail = "wrong", f"the test raised {shown(error)}"
    if not program.source.strip() and verdict != "pass":
        verdict = "no_code"
    return verdict, detail, time.process_time() - started


def _judge_reference(program, sandbox):
    """Whether the problem's own solution passes in the process of its test, where everything arrives as one process has
    it.

    The detail of a pass is `changes its argument in place` where it does so, else empty.
    """
    started, own, names, calls = time.process_time(), {"__name__": "judge"}, {"__name__": "judge"}, []
    sys.stdin = open(os.devnull)  # the judge's own is read through `buffer`

    def watched(*args, **kwargs):
        before = _plain(args)
        value = own[program.entry_point](*args, **kwargs)
        calls.append(_plain(args) != before)
        return value

    def check():
        exec(_compiled(program.reference), own)
        _check_of(program, names, watched)(watched)

    try:
        _timed(check)
        verdict, detail = "pass", "changes its argument in place" if any(calls) else ""
    except TestTimeout:
        verdict, detail = "cpu_limit", "the test did not end on the problem's own solution"
    except (Exception, SystemExit) as error:
        verdict, detail = "wrong", shown(error)
    return verdict, detail, time.process_time() - started


def _plain(args):
    try:
        return json.dumps(encode(args))
    except NotPlain:
        return ""


def _judge_code(program, sandbox):
    session = sandbox.session()
    try:
        verdict, detail = _run_check(program, session)
    except Stop as stop:
        verdict, detail = stop.verdict, stop.detail
    finally:
        sandbox.end(session)
    return verdict, detail, session.cpu_seconds


def _run_check(program, session):
    is_empty = _load(program, session)
    calls = {"fatal": None, "raised": None, "last": None}
    try:
        names = {"__name__": "judge"}
        candidate = proxy_for(session, calls, names)
        _timed(lambda: _check_of(program, names, candidate, calls)(candidate))
        verdict, detail = "pass", ""
    except (Stop, JudgeAlone, Fault):
        raise
    except TestTimeout:
        verdict, detail = "cpu_limit", "the test did not end on what the program returned"
    except BaseException as error:
        if error is calls["raised"]:
            verdict, detail = calls["verdict"], calls["text"]
        else:
            verdict, detail = "wrong", why_wrong(error, calls["last"])
    if calls["fatal"] is not None:
        raise calls["fatal"]
    if is_empty and verdict in ("wrong", "exception"):
        verdict, detail = "no_code", "the function has no body"
    return verdict, detail


def _load(program, session):
    """Send the program and wait until it stands; returns whether it is empty. Raises Stop with the verdict if it
    does not.
    """
    session.send({"source": program.source, "entry_point": program.entry_point})
    message = session.receive()
    if message[0] == "syntax":
        raise Stop("syntax", str(message[1]))
    if message[0] != "parsed":
        raise Fault("the candidate process did not start as it should")
    session.is_parsed, is_empty = True, message[1] is True
    message = session.receive()
    if message[0] != "ready":
        verdict, detail = verdict_of(message)
        raise Stop("no_code" if not program.source.strip() else verdict, detail)
    return is_empty


def _timed(run):
    TestTimeout.came = False
    signal.setitimer(signal.ITIMER_PROF, TEST_SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * TEST_SECONDS)
    try:
        run()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if TestTimeout.came:
        raise TestTimeout


def _check_of(program, names, candidate=None, calls=None):
    """The test's `check`, in the namespace `names`: the reference's helpers, the candidate by its own name, seeded
    random numbers.

    Raises TestFault for a problem that does not load: the caller gives no score then. Some tests call their own `check`
    while they load: what the candidate of `calls` caused there is its own failure.
    """
    if candidate is not None:
        _load_helpers(program, names)
        names[program.entry_point] = candidate  # a test that calls it by name means the candidate, not the reference
    try:
        exec(_compiled(program.test), names)
        check = names["check"]
    except Exception as error:
        if calls and (calls["last"] or calls["raised"]):
            raise
        raise TestFault(f"{BROKEN_TEST}: {shown(error)}") from None
    random.seed(program.task_id)
    return check


def _load_helpers(program, names):
    """HumanEval 10, 32, 38 and 50 define in the prompt what their test calls."""
    for text in filter(None, (program.reference, program.prompt)):
        try:
            exec(_compiled(text), names)
            return
        except Exception:
            continue  # the self-check reports a canonical solution that does not load


@functools.lru_cache(maxsize=4096)
def _compiled(text):
    return compile(text, "<test>", "exec", dont_inherit=True, optimize=0)


TEXT_CHARS = 400
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class TestFault(AssertionError):
    """The problem cannot be judged as it is written; every program fails it, the canonical solution first."""


class CandidateError(Exception):
    """Stands for an exception of the candidate whose class the judge does not have."""


def proxy_for(session: Session, calls: dict, names: dict):
    """What `check` gets for the candidate: a function that asks the other process.

    `names` are those of the test: an exception of the candidate's own class is there the class of that name. Keeps in
    `calls`: `fatal` (the Stop after which nothing counts), `raised` (the last exception of the candidate, with its
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
        except Exception as error:  # the judge's own; a test that expects one must not take it for the candidate's
            calls["fatal"] = error if isinstance(error, Fault) else Fault(f"the judge failed: {shown(error)}")
            raise calls["fatal"] from None
        calls["raised"] = _exception_of(message, names)
        raise calls["raised"]

    return candidate


def verdict_of(message: list) -> tuple[str, str]:
    """Verdict and detail for a message that is no value. All of it is the candidate's word, and all of it is a
    failure.
    """
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
    """A class of the test's own, or of a module of the standard library that is loaded; never one of the runner's, nor
    of unittest, where some mean that a test is skipped.
    """
    top = module.partition(".")[0]
    if module == MODULE_NAME:
        found = names.get(name)
    elif top in sys.stdlib_module_names and top != "unittest":
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
