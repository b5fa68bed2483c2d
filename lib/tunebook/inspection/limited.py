"""Runs one function on a file from somebody else in a child process with limits, and takes only JSON back.

A malformed file can make a parser loop, take all memory or die; here only the child does. On Linux the child also gives
up everything but reading the named files (Landlock, seccomp), where the kernel has them. Does not parse anything
itself.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tunebook.errors import InputProblem

LIBRARY = Path(__file__).parent.parent.parent
START = (
    "import sys; sys.path[:0] = sys.argv[1].split(':'); from tunebook.inspection import limited;"
    " limited.serve_call(sys.argv[2])"
)
ANSWER_BYTES = 64 * 2**20
DEADLY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class ChildLimits:
    """What the child may use: seconds of CPU and of the clock, bytes of address space."""

    cpu_seconds: int = 30
    wall_seconds: int = 90
    memory_bytes: int = 2 * 2**30


class Refused(InputProblem):
    """The child did not come to an answer: it broke a limit or died. The message says which, without the file's
    name.
    """

    by_signal = False  # ended by what the work itself brought: an assertion, a bad address, too much CPU time


LARGE_BYTES = 2**30
BYTES_A_SECOND = 50_000_000  # at least so much is looked through in a second, on a slow disk


def look(function: str, argument: dict, files: list[Path], size: int, scan: bool) -> dict:
    """`call` for a reader of `size` bytes: what is large is scanned, for as long as that takes, only after its header
    was taken.

    A reader that refuses a header answers without `tensors`.
    """
    if size > LARGE_BYTES:
        found = call(function, {**argument, "scan": False}, files)
        if not scan or "tensors" not in found:
            return found
    seconds = 30 + size // BYTES_A_SECOND
    return call(function, {**argument, "scan": scan}, files, ChildLimits(seconds, 3 * seconds))


def call(function: str, argument: dict, files: list[Path] = (), limits: ChildLimits = ChildLimits()) -> dict:
    """What `function` ("package.module:name") returns for `argument`, both JSON objects; it may read only `files`.

    Raises Refused when the child breaks a limit or dies, and InputProblem with the child's own sentence.
    """
    request = {"argument": argument, "files": [os.path.realpath(file) for file in files], "limits": asdict(limits)}
    child = subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", START, places_of_packages(), function],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        answer, _ = child.communicate(json.dumps(request).encode(), timeout=limits.wall_seconds)
    except subprocess.TimeoutExpired:
        raise Refused(f"reading it took more than {limits.wall_seconds} seconds") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        child.stdout.close()
    return _answer_of(answer, child.returncode, limits)


def _answer_of(answer: bytes, code: int, limits: ChildLimits) -> dict:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        refused = Refused(f"reading it took more than {limits.cpu_seconds} seconds of CPU time")
        refused.by_signal = code == -signal.SIGXCPU
        raise refused
    if code == 0 and len(answer) <= ANSWER_BYTES:
        try:
            found = json.loads(answer)
        except json.JSONDecodeError:
            found = {}
        if "problem" in found:
            raise InputProblem(found["problem"])
        if "memory" in found:
            raise Refused(f"reading it took more than {limits.memory_bytes // 2**20} MiB of memory")
        if "answer" in found:
            return found["answer"]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    refused = Refused(f"reading it ended the child process that tried ({how})")
    refused.by_signal = -code in DEADLY
    raise refused


def places_of_packages() -> str:
    """This library, and on Colab the folder that stands before Colab's packages: a child started with -I sees neither
    by itself.
    """
    return ":".join(filter(None, [os.environ.get("TUNEBOOK_PACKAGES", ""), str(LIBRARY)]))


def serve_call(function: str) -> None:
    """The child's whole life: limits first, then the function, then one JSON object on stdout."""
    request = json.loads(sys.stdin.buffer.read())
    give_up(request["limits"], request["files"])
    module, _, name = function.partition(":")
    try:
        answer = {"answer": getattr(importlib.import_module(module), name)(**request["argument"])}
    except InputProblem as problem:
        answer = {"problem": str(problem)}
    except MemoryError:
        answer = {"memory": True}
    except OSError as problem:
        what = problem.filename or ", ".join(request["files"][:1]) or "a file"
        answer = {
            "problem": (
                f"{what} cannot be read ({problem.strerror}); look at its permissions, or whether it was replaced"
                " meanwhile"
            )
        }
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def give_up(limits: dict, files: list[str]) -> None:
    """Enters the limits and, where the kernel has them, Landlock (read `files` and Python's own) and seccomp."""
    cpu, memory = limits["cpu_seconds"], limits["memory_bytes"]
    wanted = {"CORE": 0, "FSIZE": 0, "NOFILE": 64, "CPU": cpu, "AS": memory}
    for name, most in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(number, (soft, min(soft + 1, hard) if name == "CPU" and hard > 0 else soft))
    if sys.platform != "linux":
        return
    from tunebook.execution import confine, linux, places

    with contextlib.suppress(OSError):
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        own = f"/proc/{os.getpid()}/status"
        rules = confine.landlock_rules(
            [*places.readable_paths(), *sys.argv[1].split(":"), own, *filter(os.path.exists, files)], [], ["/dev/null"]
        )
        if rules is not None:
            confine.restrict_files(rules)
        if confine.can_filter():
            confine.restrict_calls(shares_files=True, shares_processes=True)
