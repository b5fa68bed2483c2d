"""The T2 room: own user, mount, process, network and IPC namespaces around the forker, and one more process namespace a
sample.

Inside there is a read-only Python with its system libraries, four devices, a small private /tmp, no /proc, no network
interface that is up, and no process but the forker's. Does not hide the kernel: whoever finds a hole in it is out.
Needs Linux that lets this user make namespaces; the caller tries it and sees.
"""

import os

from tunebook.execution import linux
from tunebook.execution.places import DEVICES

_ROOM = linux.NEWUSER | linux.NEWNS | linux.NEWPID | linux.NEWNET | linux.NEWIPC | linux.NEWUTS
INSIDE_ID = 1000
HOME = (  # mounted afresh for each sample; Landlock allows its parent, since it looks past a mount point
    "/candidate/home"
)


def enter(folder: str, read: list[str], hidden: list[str], uid: int | None) -> int:
    """Move this process into the room; returns a descriptor of its process namespace, for `next_sample_apart`.

    `folder`: an empty folder that serves as mount point. `read` is shown but for the folders `hidden`. `uid`: what real
    root turns into first (None: not root). The caller's process is left behind as a stub that waits: this function
    returns only in the child.
    """
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    if uid is not None and _may_mount():
        _build_root(folder, read, hidden)
        become(uid)
        linux.unshare(_ROOM)
        _map_ids(proc, uid, uid)
    else:
        outside = os.getuid(), os.getgid()
        linux.unshare(_ROOM)
        _map_ids(proc, *outside)
        _build_root(folder, read, hidden)
    _leave_stub_behind()
    own = os.open("self/ns/pid", os.O_RDONLY, dir_fd=proc)
    os.close(proc)
    return own


def _may_mount():
    """Whether real root has its full power here, and if so a mount namespace of its own; in most containers it has
    not.
    """
    try:
        linux.unshare(linux.NEWNS)
    except PermissionError:
        return False
    return True


def become(uid: int) -> None:
    """Root turns into a user id that owns nothing; it keeps no group and no way back."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def next_sample_apart() -> None:
    """The next fork starts a process namespace of its own, whose first process takes everything with it when it
    dies.
    """
    linux.unshare(linux.NEWPID)


def samples_together(own: int) -> None:
    """Forks come back into the forker's process namespace (`own` from `enter`)."""
    linux.setns(own, linux.NEWPID)


def fresh_home(folder: str, limits: dict) -> None:
    """Mount an empty private folder in memory, limited in bytes and files."""
    options = f"mode=700,size={limits['folder_bytes']},nr_inodes={limits['folder_files']}"
    linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def _map_ids(proc, uid, gid):
    for name, text in (("setgroups", "deny"), ("uid_map", f"{INSIDE_ID} {uid} 1"), ("gid_map", f"{INSIDE_ID} {gid} 1")):
        descriptor = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _build_root(folder, read, hidden):
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
    for path in read:
        if os.path.islink(path):
            os.makedirs(os.path.dirname(folder + path), exist_ok=True)
            os.symlink(os.readlink(path), folder + path)
        else:
            _show(path, folder + path)
            linux.make_read_only(folder + path)
    for path in hidden:
        linux.mount("tmpfs", folder + path, "tmpfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, "size=4k")
    for path in DEVICES:
        _show(path, folder + path)
    os.makedirs(folder + HOME)
    for path in ("/tmp", "/dev/shm"):
        os.symlink(HOME, folder + path)
    linux.pivot_into(folder)
    linux.mount("", "/", flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)


def _show(path, target):
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    linux.mount(path, target, flags=linux.MS_BIND | linux.MS_REC)


def _leave_stub_behind():
    child = os.fork()
    if child == 0:
        return
    os.closerange(0, 1 << 16)
    os.waitpid(child, 0)
    os._exit(0)


def bubblewrap(program: str | None, box: str, read: list[str], hidden: list[str]) -> list[str]:
    """The command that starts a program in such a room where only bubblewrap may make one (Ubuntu 24.04 and later).

    One room a forker, not a sample: `box`, a folder on disk, holds the homes.
    """
    if program is None:
        raise OSError("there is no bubblewrap (bwrap)")
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc"]
    for path in read:
        command += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for path in hidden:
        command += ["--tmpfs", path, "--remount-ro", path]
    for path in DEVICES:
        command += ["--dev-bind", path, path]
    parent = os.path.dirname(HOME)
    return [*command, "--bind", box, parent, "--symlink", HOME, "/tmp", "--remount-ro", "/", "--chdir", "/", "--"]
