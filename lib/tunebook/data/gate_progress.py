"""How far a judgement is, on stderr, by tqdm: a live line on a terminal, elsewhere a plain line every half minute.

The parts take unequal time, so each has its measured share.
"""

from typing import TextIO

# Share of the time of a million rows of 500 characters; "contamination" and "domain" are one benchmark each.
SHARES = {"reading": 8, "converting": 8, "repetition": 24, "content": 10, "endings": 4, "code": 5, "pairs": 1,
"triggers": 6,
          "languages": 5, "secrets": 16, "answers": 1, "contamination": 12, "domain": 1}  # fmt: skip
PLAIN_SECONDS = 30.0


class Progress:
    """Call it with (done, total, note): the note's first word is the part, done of total is how far this part is."""

    def __init__(self, stream: TextIO, n_benchmarks: int):
        """`n_benchmarks`: how many the rows are held against."""
        from tqdm import tqdm

        is_live = stream.isatty()
        self._bar = tqdm(
            total=sum(SHARES.values()) + (n_benchmarks - 1) * SHARES["contamination"], file=stream, leave=False,
            delay=0.0 if is_live else PLAIN_SECONDS, mininterval=0.5 if is_live else PLAIN_SECONDS, ascii=not is_live,
            bar_format="{percentage:3.0f}% {desc}, {remaining} left" + ("" if is_live else "\n"),
        )  # fmt: skip
        self._done, self._part = 0.0, ("", 0)

    def __call__(self, done: int, total: int, note: str) -> None:
        """Show the part, how much of all is done, and the time left."""
        share = SHARES.get(note.split()[0], 1)
        if note != self._part[0]:
            self._done += self._part[1]
            self._part, done = (note, share), 0
            self._bar.set_description_str(note, refresh=False)
        now = min(self._bar.total, self._done + share * done / max(1, total))
        self._bar.update(max(0.0, now - self._bar.n))

    def end(self) -> None:
        """Clear the live line."""
        self._bar.close()
