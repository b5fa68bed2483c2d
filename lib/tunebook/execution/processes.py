"""The processes below one process: what they use, and how to end them all.

Linux reads /proc; macOS asks `ps`, which is slower and does not see a daemon that left its parent. Does not use names:
only process ids that descend from the one given.
"""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass

IS_LINUX = sys.platform == "linux"
_TICK = os.sysconf("SC_CLK_TCK") if IS_LINUX else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if IS_LINUX else 4096


@dataclass(frozen=True)
class Task:
    """One process: its CPU seconds, those of its reaped children, resident bytes, threads, and whether it wants the
    CPU.

    `start` tells it from a later process with the same number.
    """

    pid: int
    start: int
    cpu_seconds: float
    children_seconds: float
    memory_bytes: int
    threads: int
    is_busy: bool


def below(root: int, most: int = 10_000) -> list[Task]:
    """Every live process below `root` (without it), at most `most`. A process that ends meanwhile is left out."""
    if not IS_LINUX:
        return _below_by_ps(root)
    found, waiting, seen = [], [root], {root}
    while waiting and len(found) < most:
        for pid in _children(waiting.pop()):
            if pid not in seen:
                seen.add(pid)
                waiting.append(pid)
                usage_now = usage(pid)
                if usage_now is not None:
                    found.append(usage_now)
    return found


def end(pids: list[int]) -> None:
    """Stop all first, so that none can fork while the others die, then kill."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass


def end_below(root: int, seconds: float = 5.0) -> int:
    """Kill everything below `root` again and again; returns how many are left after `seconds` (0 is the rule)."""
    limit = time.monotonic() + seconds
    while True:
        alive = [task.pid for task in below(root)]
        if not alive or time.monotonic() > limit:
            return len(alive)
        end(alive)
        time.sleep(0.002)


def end_children(seconds: float = 5.0) -> int:
    """Kill and reap everything below this process, which is a subreaper: orphans come to it. Returns how many stay."""
    limit = time.monotonic() + seconds
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return 0
        alive = [task.pid for task in below(os.getpid())]
        if time.monotonic() > limit:
            return max(1, len(alive))
        end(alive)
        time.sleep(0.001)


def unlinked_bytes(pids: list[int]) -> int:
    """Bytes on disk of files without a name that these processes hold open; 0 where /proc cannot tell."""
    held = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{name}")
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                        held[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(held.values())


def out_of_memory_kills() -> int:
    """How often this machine's kernel has killed for want of memory since it started (0 where it does not say)."""
    try:
        with open("/proc/vmstat", "rb") as handle:
            return int(handle.read().partition(b"\noom_kill ")[2].split(b"\n", 1)[0] or 0)
    except OSError:
        return 0


def tasks_of_user(uid: int) -> int:
    """Threads that the user `uid` runs now, as RLIMIT_NPROC counts them; 0 where /proc cannot tell."""
    total = 0
    for name in os.listdir("/proc") if IS_LINUX else []:
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            pass
    return total


def _children(pid):
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as handle:
                found += [int(child) for child in handle.read().split()]
    except FileNotFoundError:
        if os.path.exists(f"/proc/{pid}") and not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            return _children_by_scan(pid)
    except OSError:
        pass
    return found


def _children_by_scan(parent):
    """For kernels without CONFIG_PROC_CHILDREN."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(f"/proc/{name}/stat")
            if fields and int(fields[1]) == parent:
                found.append(int(name))
    return found


def _stat(path):
    """Fields of a stat file from the state on (field 3 of proc(5)); None when it is gone."""
    try:
        with open(path, "rb") as handle:
            return handle.read().rpartition(b")")[2].split()
    except OSError:
        return None


def usage(pid: int) -> Task | None:
    """What one process uses now; None when it is gone or a zombie. One whose first thread alone has ended lives on
    in the others.
    """
    fields = _stat(f"/proc/{pid}/stat")
    if not fields or fields[0] == b"X" or (fields[0] == b"Z" and int(fields[17]) <= 1):
        return None
    own, waited = (sum(map(int, fields[at : at + 2])) / _TICK for at in (11, 13))
    threads = _threads(pid) if int(fields[17]) > 1 else [fields]
    busy = any(thread[0] in (b"R", b"D") for thread in threads)
    memory = max((int(thread[21]) for thread in threads), default=0) * _PAGE
    return Task(pid, int(fields[19]), own, waited, memory, int(fields[17]), busy)


def _threads(pid):
    """Fields of the stat file of each thread."""
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [fields for name in names if (fields := _stat(f"/proc/{pid}/task/{name}/stat"))]


def _below_by_ps(root):
    text = subprocess.run(["ps", "-Ao", "pid=,ppid=,rss=,time=,state="], capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines()]
    family = {root}
    for _ in rows:
        grown = {int(r[0]) for r in rows if int(r[1]) in family and not r[4].startswith("Z")} | family
        if grown == family:
            break
        family = grown
    return [
        Task(int(r[0]), 0, _clock(r[3]), 0.0, int(r[2]) * 1024, 1, r[4][0] in "RU")
        for r in rows
        if int(r[0]) in family - {root}
    ]


def _clock(text):
    seconds = 0.0
    for part in text.replace("-", ":").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
