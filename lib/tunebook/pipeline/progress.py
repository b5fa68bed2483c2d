"""What a person sees while a study runs: on a terminal one live line, elsewhere a plain line now and then. Writes no
files.
"""

import io
import os
import shutil
import sys
import time
from typing import TextIO

PLAIN_SECONDS = 30.0
BOLD, RESET = "\x1b[1m", "\x1b[0m"


class Display:
    """Prints to one stream. Colour only on a terminal that did not set NO_COLOR; no control characters anywhere
    else.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._is_live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_colour = self._is_live and not os.environ.get("NO_COLOR")
        self._place, self._started, self._last_plain, self._rate_from = "", 0.0, 0.0, None

    def start_stage(self, number: int, total: int, instance: str) -> None:
        """A stage begins to run."""
        self._place = f"stage {number}/{total} {instance}"
        self._started = self._last_plain = time.monotonic()
        self._rate_from = None
        self.tick({})

    def tick(self, progress: dict) -> None:
        """Show how far the stage is; called several times a second."""
        now = time.monotonic()
        text = f"{self._place}  {self.describe(progress, now)}"
        if self._is_live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\x1b[K" + text[:width])
            self._stream.flush()
        elif now - self._last_plain >= PLAIN_SECONDS:
            self._last_plain = now
            self.say(text)

    def describe(self, progress: dict, now: float) -> str:
        """Step, time left and note as text; `now` is of the monotonic clock."""
        if not progress.get("total"):
            return f"{clock(now - self._started)} so far"
        done, total, seconds = progress["done"], progress["total"], progress["seconds"]
        note = f"  {progress['note']}" if progress.get("note") else ""
        if self._rate_from is None or done < self._rate_from[0]:
            self._rate_from = (done, seconds)  # what came before the first step is no part of the rate
        steps, spent = done - self._rate_from[0], seconds - self._rate_from[1]
        left = ""
        if steps > 0 and done < total:
            left = f"  {clock(max(spent / steps * (total - done) - self._age(progress, now), 0))} left"
        return f"step {done}/{total}{left}{note}"

    def _age(self, progress: dict, now: float) -> float:
        """Seconds since this progress was first seen, so that the time left runs down between steps."""
        key = (progress["done"], progress["seconds"])
        if getattr(self, "_seen", (None, 0.0))[0] != key:
            self._seen = (key, now)
        return now - self._seen[1]

    def end_stage(self, instance: str, seconds: float, state: str, content_hash: str) -> None:
        """The one line that stays for each stage."""
        shown = f"{BOLD}{state}{RESET}" if self._has_colour else state
        self.say(f"{instance:<30} {seconds:8.1f} s  {shown:<7}  {content_hash[:8]}".rstrip())

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._is_live:
            self._stream.write("\r\x1b[K")
        self._stream.write(text + "\n")
        self._stream.flush()


class CellLine:
    """One line below the running cell of a notebook, changed in place; nothing where there is no notebook."""

    def __init__(self):
        self._words, self._handle, self._cell, self._last = Display(io.StringIO()), None, None, {}

    def show(self, progress: dict) -> None:
        """Show `done`, `total`, `note` and the time left; a new cell gets a line of its own."""
        self._last = progress
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        if shell is None or not hasattr(shell, "kernel"):
            return
        line = {"text/plain": self._words.describe(progress, time.monotonic())}
        if self._cell != shell.execution_count:
            self._cell, self._started = shell.execution_count, time.monotonic()
            self._handle = ipython.display.display(line, raw=True, display_id=True)
            shell.events.register("post_run_cell", self._end)
            self._events = shell.events
        else:
            self._handle.update(line, raw=True)

    def _end(self, result) -> None:
        """The cell has ended: the line says so, and promises no more time."""
        self._events.unregister("post_run_cell", self._end)
        spent, last = clock(time.monotonic() - self._started), self._last
        text = f"stopped at step {last['done']}/{last['total']}, {spent}; what had finished before stays"
        line = {"text/plain": f"done, {spent}" if result.success else text}
        self._handle.update(line, raw=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss.

    >>> clock(100), clock(3725)
    ('1:40', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
