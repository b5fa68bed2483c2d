"""Where the judge gets its candidates from: one forker with its private folder, restarted when it fails.

Does not judge. A survivor, or a forker that cannot be had, is a Fault.
"""

import json
import os
import socket
import subprocess
import sys

from tunebook.execution import namespaces, places, processes
from tunebook.execution.session import GRACE_SECONDS, Fault, Session

_START = "import sys; sys.path.insert(0, {0!r}); from tunebook.execution import forker; forker.main({1})"
IS_LINUX = sys.platform == "linux"
BUBBLEWRAP = "T2-bwrap"
PLAIN = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}


class Sandbox:
    """Sessions on demand. The forker starts with the first one, so that a judge of answers needs none."""

    def __init__(self, settings: dict):
        self.settings = settings
        self.process = self.control = None
        self.apart = settings["tier"] == "T2"  # a file system and a process namespace for each sample
        self.box = os.path.join(settings["folder"], "box")  # holds nothing but the home; Landlock allows what is in it
        self.home = os.path.join(self.box, "home")

    def session(self) -> Session:
        if self.process is None:
            try:
                self._start()
            except OSError as error:
                raise Fault(f"isolation {self.settings['tier']} cannot be had: {error}") from None
        if not self.apart:
            os.chmod(self.box, 0o711)
            os.mkdir(self.home, 0o700)
            if self.uid is not None:
                os.chown(self.home, self.uid, self.uid)
            os.chmod(self.box, 0o511)  # the candidate cannot put a link in the place of its home
        session = Session(self.settings["limits"], None if self.apart else self.home)
        try:
            session.hand_over(self.control)
        except OSError:
            self.close()
            raise Fault("the forker is gone") from None
        return session

    def end(self, session: Session) -> None:
        """Kill the candidate's tree, count who survived, remove what it wrote."""
        try:
            left = session.close(self.control)
        except (Fault, OSError):
            self.close()
            raise
        if left:
            self.close()
            raise Fault(f"{left} processes of the candidate survived")
        if not self.apart:
            self._empty_box()

    def close(self) -> None:
        """End the forker and everything below it."""
        if self.process is None:
            return
        processes.end_below(self.process.pid)
        self.process.kill()
        self.process.wait()
        self.control.close()
        self.process = None
        self._empty_box()

    def _empty_box(self):
        os.chmod(self.box, 0o711)
        for name in os.listdir(self.box):
            remove_tree(os.path.join(self.box, name))

    def _start(self):
        folder = self.settings["folder"]
        os.chmod(folder, 0o711)
        for path in (os.path.join(folder, "root"), self.box):
            os.makedirs(path, exist_ok=True)
        read = places.readable_paths()
        self.uid = self._candidate_uid(read)
        self.control, far = socket.socketpair()
        start = _START.format(self.settings["library"], far.fileno())
        command = [sys.executable, "-I", "-B", "-c", start]
        if self.settings["tier"] == BUBBLEWRAP:
            command = [
                *namespaces.bubblewrap(
                    self.settings["bubblewrap"], self.box, [*read, self.settings["library"]], places.hidden_paths()
                ),
                *command,
            ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[far.fileno()],
            env={**PLAIN, "MALLOC_ARENA_MAX": "2"}, cwd="/", start_new_session=True,
        )  # fmt: skip
        far.close()
        self.control.settimeout(GRACE_SECONDS)
        self.control.send(json.dumps(self._instructions(read)).encode())
        self._wait_until_ready(self.settings["tier"])

    def _instructions(self, read):
        """What the forker is told: where it is, and what a candidate gets. No test, no program."""
        settings = self.settings
        home = self.home if settings["tier"] in ("T1", "T0") else namespaces.HOME
        room = processes.tasks_of_user(os.getuid() if self.uid is None else self.uid)
        room += settings["limits"]["processes"] + (
            256 if self.uid is None else 8
        )  # room for the user's other processes
        return {
            **{name: settings[name] for name in ("tier", "limits", "library")},
            "apart": self.apart,
            "read": read,
            "hidden": places.hidden_paths(),
            "home": home,
            "uid": self.uid,
            "process_room": room,
            "folder": os.path.join(settings["folder"], "root"),
            "environment": {**PLAIN, "HOME": home, "TMPDIR": home},
        }

    def _wait_until_ready(self, tier):
        try:
            answer = json.loads(self.control.recv(4096) or b"{}")
        except (TimeoutError, ValueError):
            answer = {}
        if "ready" not in answer:
            self.close()
            raise Fault(f"isolation {tier} cannot be had: {answer.get('error', 'the forker ended')}")

    def _candidate_uid(self, read):
        """A user of its own for candidates of real root, where that user can still read Python."""
        if not IS_LINUX or os.getuid() != 0 or self.settings["tier"] == BUBBLEWRAP:
            return None
        uid = places.spare_uid()
        if self.settings["tier"] != "T2":
            needed = [*read, os.path.dirname(self.settings["folder"])]
            if not all(places.is_open_to(uid, path) for path in needed):
                return None
        return uid


def remove_tree(path: str) -> None:
    """Remove what a candidate made: any depth, any modes, links not followed. Nothing of the candidate may be alive."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError:
        for command in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            subprocess.run([*command, "--", path], stdin=subprocess.DEVNULL, capture_output=True)
            if not os.path.lexists(path):
                return
        raise Fault(f"{path} could not be removed") from None
