"""The judge's hold on one candidate: send a call, wait for a plain value, watch what it uses, end it.

Everything that comes from the candidate is taken for a claim about a value, or for noise. Limits are judged here, from
outside. Does not know tests. `Fault` is the machine's failure, `Stop` (see `Messages`) the candidate's.
"""

import json
import os
import select
import signal
import socket
import struct
import time

from tunebook.execution import places, processes
from tunebook.execution.values import MAX_BYTES, NotPlain, decode

POLL_SECONDS = 0.02
FOLDER_SECONDS = 0.1  # between two counts of its files
GRACE_SECONDS = 60.0  # for the forker, on a machine that is very busy


class Fault(Exception):
    """The machinery failed, not the candidate."""


class JudgeAlone(BaseException):
    """The process that asked for verdicts is gone."""


class Session:
    """One candidate process with its three descriptors; `close` must be called."""

    def __init__(self, limits: dict, folder: str | None):
        """`folder`: the home of the candidate where it is on disk and must be watched; None where its file system is
        limited.
        """
        self.limits, self.folder = limits, folder
        self.channel, self.far_channel = socket.socketpair()
        self.status, self.far_status = socket.socketpair()
        if hasattr(socket, "SO_PASSCRED"):
            self.status.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.output, self.far_output = os.pipe()
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        self.reaper = self.ended = None
        self.messages, self.news = Messages(), b""
        self.is_armed = self.is_parsed = self.is_closed = False
        self.printed = self.number = 0
        self.cpu_seconds, self.seen = 0.0, {}
        self.memory_kills = processes.out_of_memory_kills()
        self.started = self.watched = self.advanced = self.counted = time.monotonic()
        self.poll = select.poll()
        for descriptor in (self.channel.fileno(), self.status.fileno(), self.output):
            self.poll.register(descriptor, select.POLLIN)
        self.poll.register(0, 0)  # only to learn that the other end of stdin is gone

    def hand_over(self, control: socket.socket) -> None:
        """Give the far ends to the forker."""
        ends = [self.far_channel.fileno(), self.far_status.fileno(), self.far_output]
        socket.send_fds(control, [b"sample"], ends)
        self.far_channel.close()
        self.far_status.close()
        os.close(self.far_output)

    def send(self, message: dict) -> None:
        data = json.dumps(message).encode("ascii")
        view = memoryview(struct.pack(">I", len(data)) + data)
        while view and not self.is_closed:
            try:
                view = view[self.channel.send(view) :]
            except BlockingIOError:
                self.poll.modify(self.channel.fileno(), select.POLLIN | select.POLLOUT)
                self._step()
                if not self.is_closed:
                    self.poll.modify(self.channel.fileno(), select.POLLIN)
            except OSError:
                self._close_channel()

    def receive(self) -> list:
        """The next message with the current number, as `[kind, ...]`. Raises Stop, Fault."""
        while True:
            frame = self.messages.take()
            if frame is None and self.ended is not None:
                frame = self._last_frame()
            if frame is None:
                self._step()
                continue
            if not self.is_armed and frame[1] == "armed":
                self.is_armed = True
            elif not self.is_armed:
                raise Fault(f"the candidate process could not be set up: {frame[1:]}")
            elif frame[0] == self.number:
                return frame[1:]
            elif frame[0] > self.number:
                raise Stop("invalid_output", NO_MESSAGE)

    def value(self, message: list):
        """The plain value of a `value` message. Raises Stop `invalid_output`."""
        try:
            return decode(message[1])
        except (NotPlain, IndexError) as error:
            raise Stop("invalid_output", f"the answer is {error}") from None

    def close(self, control: socket.socket) -> int:
        """End the whole tree; returns how many processes survived (an error of the run when it is not 0)."""
        try:
            self.status.settimeout(GRACE_SECONDS)
            while self.reaper is None:
                self._read_status()
                if self.reaper is None and self.ended is not None:
                    raise Fault("the forker could not start a candidate")
            tasks = self._measure()
            processes.end([self.reaper] if processes.IS_LINUX else [self.reaper, *(task.pid for task in tasks)])
            control.settimeout(GRACE_SECONDS)
            answer = control.recv(4096)
        except TimeoutError:
            answer = b""
        finally:
            self.channel.close()
            self.status.close()
            os.close(self.output)
        if not answer:
            raise Fault("the forker ended or does not answer")
        return json.loads(answer)["left"]

    def _last_frame(self):
        """What an ended candidate had sent before its end, or Stop; a child that it left may hold the channel open."""
        size = -1
        while size != len(self.messages.data) and not self.is_closed:
            size = len(self.messages.data)
            self._read_channel()
        frame = self.messages.take()
        if frame is None:
            self._stop_for_end()
        return frame

    def _step(self):
        for descriptor, event in self.poll.poll(POLL_SECONDS * 1000):
            if descriptor == 0 and event & (select.POLLHUP | select.POLLERR):
                raise JudgeAlone
            if descriptor == self.output:
                self._read_output()
            elif descriptor == self.status.fileno():
                self._read_status()
            elif descriptor == self.channel.fileno() and event & ~select.POLLOUT:
                self._read_channel()
        if time.monotonic() - self.watched > POLL_SECONDS:
            self._watch()

    def _read_channel(self):
        try:
            data = self.channel.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.messages.data += data
        if len(self.messages.data) > 2 * MAX_BYTES:  # it writes while it does not read
            raise Stop("invalid_output", NO_MESSAGE)
        if not data:
            self._close_channel()

    def _close_channel(self):
        if not self.is_closed:
            self.is_closed, self.closed = True, time.monotonic()
            self.poll.unregister(self.channel.fileno())

    def _read_output(self):
        try:
            data = os.read(self.output, 1 << 18)
        except BlockingIOError:
            return
        self.printed += len(data)
        if not data:
            self.poll.unregister(self.output)
        if self.printed > self.limits["output_bytes"]:
            raise Stop("output_limit", f"more than {self.limits['output_bytes']} bytes printed")

    def _read_status(self):
        try:
            data, extras, _, _ = self.status.recvmsg(4096, socket.CMSG_SPACE(12))
        except TimeoutError:
            raise Fault("the forker does not answer") from None
        self.news += data
        if self.reaper is None and b"\n" in self.news:
            self.reaper = int(self.news.split()[1])
            for level, kind, content in extras:
                if level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", -1):
                    self.reaper = struct.unpack("3i", content[:12])[0]  # the number in the judge's own namespace
        lines = self.news.split(b"\n")
        for line in lines[:-1]:
            if line.startswith(b"ended "):
                self.ended = int(line.split()[1])
        if not data:
            self.poll.unregister(self.status.fileno())
            self.ended = signal.SIGKILL if self.ended is None else self.ended

    def _stop_for_end(self):
        self._measure()
        code = os.waitstatus_to_exitcode(self.ended)
        names = {int(one): one.name for one in signal.Signals}  # a real-time signal has none
        how = f"exit code {code}" if code >= 0 else f"killed by {names.get(-code, f'signal {-code}')}"
        if not self.is_armed:
            raise Fault(f"the candidate process could not be set up ({how})")
        if -code == signal.SIGKILL and processes.out_of_memory_kills() > self.memory_kills:
            raise Fault("the machine ran out of memory")
        if -code == signal.SIGXCPU or self.cpu_seconds >= self.limits["cpu_seconds"]:
            raise Stop("cpu_limit", f"more than {self.limits['cpu_seconds']} s of CPU time")
        if -code == signal.SIGSYS:
            raise Stop("denied", "a system call of another architecture")
        if not self.is_parsed:
            raise Stop("syntax", f"the compiler ended with the program ({how})")
        raise Stop("early_exit", f"the process ended before it answered ({how})")

    def _measure(self):
        """The tasks now. Children that nobody waits for are in no reaped sum, so all that were ever seen are summed
        too.
        """
        tasks = processes.below(self.reaper) if self.reaper else []
        own = processes.usage(self.reaper) if self.reaper else None
        family = [*tasks, own] if own else tasks
        self.seen |= {(task.pid, task.start): task.cpu_seconds for task in family}
        used = max(sum(task.cpu_seconds + task.children_seconds for task in family), sum(self.seen.values()))
        if used > self.cpu_seconds or any(task.is_busy for task in tasks):
            self.advanced = time.monotonic()
        self.cpu_seconds = max(self.cpu_seconds, used)
        return tasks

    def _watch(self):
        """Compare what the tree uses with the limits, from outside."""
        tasks, limits = self._measure(), self.limits
        self.watched = now = time.monotonic()
        if sum(task.threads for task in tasks) > limits["processes"]:
            raise Stop("proc_limit", f"more than {limits['processes']} processes and threads")
        if sum(task.memory_bytes for task in tasks) > limits["memory_bytes"]:
            raise Stop("mem_limit", f"more than {limits['memory_bytes']} bytes of memory")
        if self.cpu_seconds >= limits["cpu_seconds"]:
            raise Stop("cpu_limit", f"more than {limits['cpu_seconds']} s of CPU time")
        if now - self.advanced > limits["idle_seconds"]:
            raise Stop("wall_limit", f"{limits['idle_seconds']} s without using the CPU")
        if now - self.started > limits["wall_seconds"]:
            raise Stop("wall_limit", f"more than {limits['wall_seconds']} s")
        if self.folder and now - self.counted > FOLDER_SECONDS:
            self._watch_folder(tasks)
        if self.is_closed and self.ended is None and now - self.closed > 1.0:
            raise Stop("early_exit", "the program closed its channel")

    def _watch_folder(self, tasks):
        files, size = places.use_of(self.folder, self.limits["folder_files"])
        size += processes.unlinked_bytes([task.pid for task in tasks])
        self.counted = time.monotonic()
        if files > self.limits["folder_files"] or size > self.limits["folder_bytes"]:
            raise Stop("output_limit", f"{files} files of {size} bytes written")


NO_MESSAGE = "an answer that is not a message"


class Stop(BaseException):
    """The candidate is done for, with this verdict; nothing that the test does after it counts."""

    def __init__(self, verdict: str, detail: str):
        super().__init__(verdict, detail)
        self.verdict, self.detail = verdict, detail


class Messages:
    """Bytes as they came in `data`; a message is a 4-byte length and JSON `[number, kind, ...]`."""

    def __init__(self):
        self.data = bytearray()

    def take(self) -> list | None:
        """The next whole message, None if there is none yet. Raises Stop `invalid_output`."""
        if len(self.data) < 4:
            return None
        size = struct.unpack_from(">I", self.data)[0]
        if size > MAX_BYTES:
            raise Stop("invalid_output", f"an answer of {size} bytes, more than {MAX_BYTES}")
        if len(self.data) < 4 + size:
            return None
        text = bytes(self.data[4 : 4 + size])
        del self.data[: 4 + size]
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise Stop("invalid_output", NO_MESSAGE) from None
        if type(message) is not list or len(message) < 2 or type(message[0]) is not int or type(message[1]) is not str:
            raise Stop("invalid_output", NO_MESSAGE)
        return message
