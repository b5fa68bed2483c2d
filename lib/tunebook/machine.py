"""What this machine's processor is (cores, features, model name) and how much memory this process took. Knows nothing
of GPUs and needs no package.
"""

import ctypes
import gc
import os
import platform
import re
import subprocess
import sys
from functools import cache
from ipaddress import ip_address
from pathlib import Path

CPUINFO, STATUS, CLEAR = Path("/proc/cpuinfo"), Path("/proc/self/status"), Path("/proc/self/clear_refs")


def cores() -> int:
    """How many cores this process may use (a container may give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """How many threads numeric work takes: OMP_NUM_THREADS where it is a number, as torch reads it, else `cores()`."""
    said = os.environ.get("OMP_NUM_THREADS", "").strip()
    return int(said) if said.isdecimal() and int(said) else cores()


def is_here(host: str) -> bool:
    """Whether an address is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def cpu_flags() -> frozenset[str]:
    """Features of this CPU by their names in Linux's /proc/cpuinfo; empty where they cannot be read."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
        names = subprocess.run(command, capture_output=True, text=True, check=False).stdout.lower()
        return frozenset(names.replace("avx1.0", "avx").replace("sse4.2", "sse4_2").split())
    return frozenset((cpu_field("flags") or cpu_field("Features")).split())


def peak_bytes() -> int:
    """The high-water mark of this process's resident memory, since its program began or `forget_peak`."""
    try:  # a child's ru_maxrss begins with its parent's
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return largest_resident()


def largest_resident(of_children: bool = False) -> int:
    """Bytes of getrusage's ru_maxrss, which macOS gives in bytes and other systems in KiB."""
    import resource  # lacking on Windows, where the set-up speaks first

    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Lets `peak_bytes` begin anew, on Linux; elsewhere it stays that of the whole program."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        pass


def cpu_field(name: str) -> str:
    """One field of /proc/cpuinfo, as "model name"; "" where there is none."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def free_heap() -> None:
    """Collects what nobody holds, and has glibc give the free pieces of its heap back to the machine. It keeps them
    else: 480 rows of the quickstart, trained after base had answered, held 2,262 MiB at the peak and not 1,945.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # macOS and musl have none
    if trim:
        trim(0)
