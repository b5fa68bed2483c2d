"""How far a judgement is, on stderr: one live line on a terminal, elsewhere a plain line every half minute.

The parts take unequal time, so each has its measured share. Does not touch stdout.
"""

import time
from typing import TextIO

from tunebook.pipeline.progress import PLAIN_SECONDS, clock

# Share of the time of a million rows of 500 characters; "contamination" and "domain" are one benchmark each.
SHARES = {"reading": 8, "converting": 8, "repetition": 24, "content": 10, "endings": 4, "code": 5, "pairs": 1, "triggers": 6,
          "languages": 5, "secrets": 16, "answers": 1, "contamination": 12, "domain": 1}  # fmt: skip
LIVE_SECONDS = 0.5


class Progress:
    """Call it with (done, total, note): the note's first word is the part, done of total is how far this part is."""

    def __init__(self, stream: TextIO, n_benchmarks: int):
        """`n_benchmarks`: how many the rows are held against."""
        self._stream, self._is_live = stream, stream.isatty()
        self._started = self._last = time.monotonic()
        self._total = sum(SHARES.values()) + (n_benchmarks - 1) * SHARES["contamination"]
        self._done, self._part = 0.0, ("", 0)

    def __call__(self, done: int, total: int, note: str) -> None:
        """Show the part, how much of all is done, and the time left."""
        share = SHARES.get(note.split()[0], 1)
        if note != self._part[0]:
            self._done += self._part[1]
            self._part, done = (note, share), 0
        now = time.monotonic()
        if now - self._last < (LIVE_SECONDS if self._is_live else PLAIN_SECONDS):
            return
        self._last = now
        ratio = min(0.99, (self._done + share * done / max(1, total)) / self._total)
        left = f", {clock((now - self._started) * (1 - ratio) / ratio)} left" if ratio > 0.01 else ""
        start, end = ("\r\x1b[K", "") if self._is_live else ("", "\n")
        self._stream.write(f"{start}{ratio:4.0%} {note}{left}{end}")
        self._stream.flush()

    def end(self) -> None:
        """Clear the live line."""
        if self._is_live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
