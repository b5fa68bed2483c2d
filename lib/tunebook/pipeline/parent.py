"""End a process when its parent ends, kill -9 included, and end a whole tree of processes. Linux has a call for the first; elsewhere
ipykernel's own watch of its parent remains."""

import contextlib
import ctypes
import os
import signal
import sys

import psutil

PR_SET_PDEATHSIG = 1  # Source: prctl(2)


def die_with_parent(parent_pid: int) -> None:
    """Ask for SIGKILL when the parent dies; leave at once where `parent_pid` is already gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all below it: the kernel, and whatever the kernel started."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        members = [*process.children(recursive=True), process]
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        psutil.wait_procs(members, timeout=10)
