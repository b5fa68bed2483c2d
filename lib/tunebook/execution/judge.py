"""The judge process: holds tests and expected values, runs `check`, and says the verdict.

Started by the runner as `python -I -B` with a cleared environment. Reads settings and programs as JSON lines on stdin, writes one
outcome a line. The candidate that `check` calls is a stand-in that sends values to another process (`session`). Refuses to judge
where `assert` does nothing. Tests are trusted; they run here with a CPU limit only.
"""

import functools
import json
import os
import random
import signal
import sys
import time

from tunebook.execution.inbox import Stop
from tunebook.execution.programs import BROKEN_TEST, Program, clean_detail
from tunebook.execution.session import Fault, JudgeAlone
from tunebook.execution.standin import TestFault, shown, stand_in, verdict_of, why_wrong
from tunebook.execution.workshop import Workshop, remove_tree

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
    workshop = Workshop(settings)
    try:
        for line in iter(sys.stdin.buffer.readline, b""):
            for fields in json.loads(line):
                outcome = _judge(Program(**fields), workshop)
                answers.write(json.dumps(outcome).encode("ascii") + b"\n")
    except (JudgeAlone, BrokenPipeError):
        pass
    except Exception as error:
        answers.write(json.dumps({"fault": f"the judge failed: {shown(error)}"}).encode("ascii") + b"\n")
    finally:
        workshop.close()
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


def _judge(program, workshop):
    try:
        run = _judge_answer if program.kind == "answer" else _judge_code
        verdict, detail, seconds = run(program, workshop)
    except Fault as fault:
        verdict, detail, seconds = "invalid", str(fault), 0.0
    return {"verdict": verdict, "detail": clean_detail(detail), "cpu_seconds": round(seconds, 3)}


def _judge_answer(program, workshop):
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


def _judge_code(program, workshop):
    session = workshop.session()
    try:
        verdict, detail = _run_check(program, session)
    except Stop as stop:
        verdict, detail = stop.verdict, stop.detail
    finally:
        workshop.end(session)
    return verdict, detail, session.cpu_seconds


def _run_check(program, session):
    is_empty = _load(program, session)
    calls = {"fatal": None, "raised": None, "last": None}
    try:
        names = {"__name__": "judge"}
        candidate = stand_in(session, calls, names)
        _timed(lambda: _check_of(program, names, candidate)(candidate))
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
    """Send the program and wait until it stands; returns whether it is empty. Raises Stop with the verdict if it does not."""
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


def _check_of(program, names, candidate=None):
    """The test's `check`, in the namespace `names`: the reference's helpers, the candidate by its own name, seeded random numbers.

    Raises TestFault for a problem that does not load: the caller gives no score then.
    """
    if program.kind == "code":
        _load_helpers(program, names)
        names[program.entry_point] = candidate  # a test that calls it by name means the candidate, not the reference
    try:
        exec(_compiled(program.test), names)
        check = names["check"]
    except Exception as error:
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
