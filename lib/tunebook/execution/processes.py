"""The processes below one process: what they use, and how to end them all.

Linux reads /proc; macOS asks `ps`, which is slower and does not see a daemon that left its parent. Does not use names: only
process ids that descend from the one given.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

IS_LINUX = sys.platform == "linux"
_TICK = os.sysconf("SC_CLK_TCK") if IS_LINUX else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if IS_LINUX else 4096


@dataclass(frozen=True)
class Task:
    """One process: CPU seconds with those of its reaped children, resident bytes, threads, and whether it wants the CPU."""

    pid: int
    cpu_seconds: float
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
    """Fields of a stat file from the state on (field 3 of proc(5)); None when it is gone or belongs to a zombie."""
    try:
        with open(path, "rb") as handle:
            return handle.read().rpartition(b")")[2].split()
    except OSError:
        return None


def usage(pid: int) -> Task | None:
    """What one process uses now; None when it is gone or a zombie."""
    fields = _stat(f"/proc/{pid}/stat")
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    ticks = sum(int(field) for field in fields[11:15])
    busy = fields[0] in (b"R", b"D") or (int(fields[17]) > 1 and _has_busy_thread(pid))
    return Task(pid, ticks / _TICK, int(fields[21]) * _PAGE, int(fields[17]), busy)


def _has_busy_thread(pid):
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    states = (_stat(f"/proc/{pid}/task/{thread}/stat") for thread in threads)
    return any(fields and fields[0] in (b"R", b"D") for fields in states)


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
        Task(int(r[0]), _clock(r[3]), int(r[2]) * 1024, 1, r[4][0] in "RU")
        for r in rows
        if int(r[0]) in family - {root}
    ]


def _clock(text):
    seconds = 0.0
    for part in text.replace("-", ":").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
