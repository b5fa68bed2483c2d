"""Run many programs: hand them to judge processes, collect outcomes in order, repeat time-outs alone.

Does not extract code from model text and computes no score (`tunebook.evaluation` does). Nothing here is called secure:
see `isolation` for what each tier stops and what it does not.
"""

import contextlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.execution.programs import KINDS, TIMEOUTS, Limits, Outcome, Program, clean_detail
from tunebook.execution.sandbox import remove_tree
from tunebook.machine import cores

LIBRARY = str(Path(__file__).resolve().parents[2])
ANSWERS_AT_ONCE = 256
_START = "import sys; sys.path.insert(0, {0!r}); from tunebook.execution import judge; judge.main()"


def run_programs(
    programs: Iterable[Program],
    *,
    workers: int | None = None,
    limits: Limits = Limits(),
    allow_unisolated: bool = False,
    on_result: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Judge every program; outcomes in the order given. `on_result` is called in this thread as outcomes come, in any
    order.

    A time-out is run once more, alone, before it is final. Raises InputProblem on doubled (task_id, sample),
    MachineProblem when the machine offers no isolation and `allow_unisolated` is not set. An outcome `invalid` means
    that no score may be printed.
    """
    from tunebook.execution.isolation import choose_tier

    programs = list(programs)
    _check_ids(programs)
    needs_candidate = any(program.kind == "code" for program in programs)
    tier = choose_tier(allow_unisolated) if needs_candidate else "T0"  # answers are judged without a candidate process
    return run_in_tier(programs, tier, limits, workers, on_result)


def run_in_tier(
    programs: list[Program],
    tier: str,
    limits: Limits = Limits(),
    workers: int | None = None,
    on_result: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """`run_programs` without the choice of a tier; for probes and tests that want a given one."""
    report = on_result or (lambda outcome: None)
    workers = max(1, min(workers or cores(), len(programs)))
    first = _pass_over(programs, workers, tier, limits, lambda o: o.verdict in TIMEOUTS or report(o))
    late = [i for i, outcome in enumerate(first) if outcome.verdict in TIMEOUTS]
    alone = _pass_over([programs[i] for i in late], 1, tier, limits, report)
    for i, outcome in zip(late, alone, strict=True):
        first[i] = outcome
    return first


def _check_ids(programs):
    seen = set()
    for program in programs:
        key = (program.task_id, program.sample)
        if key in seen:
            raise InputProblem(
                f"completion {program.task_id} sample {program.sample} occurs twice; each may occur once"
            )
        if program.kind not in KINDS:
            raise InputProblem(f"problem {program.task_id} has kind {program.kind!r}; it must be {' or '.join(KINDS)}")
        seen.add(key)


@dataclass
class _Line:
    """The programs that wait, and the outcomes that came; shared by the worker threads."""

    programs: list[Program]
    tier: str
    limits: Limits
    next: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    results: queue.Queue = field(default_factory=queue.Queue)
    judges: list = field(default_factory=list)
    is_over: bool = False

    def take(self) -> list[int]:
        """Indices of the next piece of work: many answers, or one program."""
        with self.lock:
            start = self.next
            if self.is_over or start >= len(self.programs):
                return []
            stop = start + 1
            if self.programs[start].kind == "answer":
                while stop < min(len(self.programs), start + ANSWERS_AT_ONCE) and self.programs[stop].kind == "answer":
                    stop += 1
            self.next = stop
            return list(range(start, stop))


def _pass_over(programs, workers, tier, limits, report):
    outcomes = [None] * len(programs)
    line = _Line(programs, tier, limits)
    threads = [threading.Thread(target=_work, args=(line,), daemon=True) for _ in range(min(workers, len(programs)))]
    try:
        for thread in threads:
            thread.start()
        for _ in programs:
            index, outcome = line.results.get()
            if isinstance(outcome, BaseException):
                raise outcome
            outcomes[index] = outcome
            report(outcome)
    finally:
        line.is_over = True
        for judge in list(line.judges):
            judge.end()
        for thread in threads:
            thread.join()
    return outcomes


def _work(line):
    judge = None
    try:
        while indices := line.take():
            judge = _judge_all(line, judge, indices)
    except BaseException as error:
        line.results.put((-1, error))
    finally:
        if judge is not None:
            judge.end()


def _judge_all(line, judge, indices):
    """Judge the programs at `indices`; a judge that dies is replaced, and the program at hand is tried once more."""
    attempts = 0
    while indices:
        if judge is None:
            judge = _Judge(line.tier, line.limits)
            line.judges.append(judge)
        judge.ask([line.programs[i] for i in indices])
        while indices:
            answer = judge.answer()
            if line.is_over:
                return judge
            if answer.get("verdict", "invalid") == "invalid" and attempts == 0:
                attempts = 1
                break
            line.results.put((indices[0], _outcome(line.programs[indices[0]], answer)))
            indices, attempts = indices[1:], 0
            if judge.has_left:
                break
        else:
            return judge
        judge.end()
        judge = None
    return judge


def _outcome(program, answer):
    verdict = answer.get("verdict", "invalid")
    passed = None if verdict == "invalid" else verdict == "pass"
    detail = answer.get("detail") or clean_detail(answer.get("fault", ""))
    return Outcome(program.task_id, program.sample, passed, verdict, detail, answer.get("cpu_seconds", 0.0))


class _Judge:
    """A judge process and its private folder."""

    def __init__(self, tier: str, limits: Limits):
        try:
            self.folder = tempfile.mkdtemp(prefix="tunebook-judge-")
        except OSError as error:
            raise MachineProblem(
                f"no temporary folder for the judge can be made ({error}); make room or set TMPDIR"
            ) from None
        self.limits = limits
        self.is_ended = self.has_left = False
        self.lock = threading.Lock()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _START.format(LIBRARY)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
            )  # fmt: skip
        except OSError as error:
            remove_tree(self.folder)
            raise MachineProblem(f"no judge process can be started ({error}); free memory or mend Python") from None
        settings = {"tier": tier, "limits": limits.as_dict(), "folder": self.folder, "library": LIBRARY}
        self._write({**settings, "bubblewrap": shutil.which("bwrap")})

    def ask(self, programs: list[Program]) -> None:
        self._write([asdict(program) for program in programs])

    def answer(self) -> dict:
        """The next outcome; a `fault` when the judge died, which `has_left` says too."""
        line = self.process.stdout.readline()
        if line.endswith(b"\n"):
            return json.loads(line)
        self.has_left = True
        code = self.process.wait()
        if code == -signal.SIGVTALRM:  # see judge._timed
            return {"verdict": "cpu_limit", "detail": "the test did not end on what the program gave"}
        return {"fault": f"the judge process ended with {code}"}

    def end(self) -> None:
        """Ask the judge to leave, then make sure, and remove its folder."""
        with self.lock:
            if self.is_ended:
                return
            self.is_ended = True
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            with contextlib.suppress(BrokenPipeError):  # what a judge that died early never read is still in the buffer
                self.process.stdin.close()
            remove_tree(self.folder)

    def _write(self, message):
        try:
            self.process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass


__all__ = ["Limits", "MachineProblem", "Outcome", "Program", "run_in_tier", "run_programs"]
