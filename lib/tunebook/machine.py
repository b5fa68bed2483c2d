"""What this machine's processor is: cores, features, model name. Knows nothing of GPUs and needs no package."""

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cores() -> int:
    """How many cores this process may use (a container may give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_flags() -> frozenset[str]:
    """Features of this CPU by their names in Linux's /proc/cpuinfo; empty where they cannot be read."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
        names = subprocess.run(command, capture_output=True, text=True, check=False).stdout.lower()
        return frozenset(names.replace("avx1.0", "avx").replace("sse4.2", "sse4_2").split())
    return frozenset((cpu_field("flags") or cpu_field("Features")).split())


def cpu_field(name: str) -> str:
    """One field of /proc/cpuinfo, as "model name"; "" where there is none."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
