"""The Linux calls that Python 3.11 does not offer: thin ctypes wrappers, each raising OSError with the name of the
call.

Does not decide what to confine: see `confine` and `namespaces`. Numbers are from the kernel's syscall tables for x86_64
and aarch64 (Source: linux/arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
"""

import ctypes
import functools
import os
import platform

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_SECCOMP = 38, 36, 22
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_CAP_VERSION_3 = 0x20080522


def machine() -> str:
    """`x86_64`, `aarch64` or whatever this processor calls itself (kernels say arm64 on some systems)."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


@functools.cache
def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _checked(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(what: str, number: int, *args) -> int:
    """Any system call by number; integers are passed as longs, bytes and ctypes objects as pointers."""
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return _checked(_libc().syscall(ctypes.c_long(number), *longs), what)


def prctl(option: int, value=0, extra=0) -> int:
    zero = ctypes.c_ulong(0)
    value = ctypes.c_ulong(value)
    extra = extra if not isinstance(extra, int) else ctypes.c_ulong(extra)
    return _checked(_libc().prctl(ctypes.c_int(option), value, extra, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    _checked(_libc().unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def setns(descriptor: int, flags: int) -> None:
    _checked(_libc().setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    args = [text.encode() or None for text in (source, target, kind)]
    _checked(_libc().mount(*args, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def unmount(target: str) -> None:
    _checked(_libc().umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def make_read_only(target: str) -> None:
    """Make a bind mount, and where the kernel can (5.12) every mount below it, read-only and without set-uid and
    devices.
    """
    attributes = (ctypes.c_uint64 * 4)(1 | 2 | 4, 0, 0, 0)
    try:
        syscall(
            "mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), 32
        )
    except OSError:
        kept = os.statvfs(target).f_flag & 0xE  # nosuid, nodev, noexec may be locked and must be repeated
        mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def pivot_into(folder: str) -> None:
    """Make `folder` (a mount point) the root of this mount namespace and let go of the old root."""
    os.chdir(folder)
    syscall("pivot_root", _PIVOT_ROOT[machine()], b".", b".")
    unmount(".")
    os.chdir("/")


def drop_capabilities() -> None:
    """Empty the capability sets of this thread; `no_new_privs` keeps exec from gaining any back."""
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    syscall("capset", _CAPSET[machine()], ctypes.byref(header), ctypes.byref(nothing))
