"""The one function that says to which split a row belongs, and what counts as the same row.

Does not read rows or balance splits: the share of each split holds only on average.
"""

import hashlib
import re
import unicodedata

from tunebook.data.messages import message_text
from tunebook.errors import InputProblem

SPLITS = ("train", "dev", "test")
# Opening marks before a word and closing marks after it; in front only quotes, so that ".5" and "5" stay different.
_WORD_ENDS = re.compile(r"(?<![^ ])[\"'`´‘“]+|[.,;:!?\"'`´’”…]+(?![^ ])")
SHARES = (0.80, 0.05, 0.15)


def assign(group: str, seed: int, shares: tuple[float, float, float] = SHARES) -> str:
    """The split ("train", "dev" or "test") of all rows of this group: a pure function of the group's text and the seed.

    `shares` are the expected parts and add up to 1. sha256, so that every machine and every Python gives the same
    answer.
    """
    digest = hashlib.sha256(f"{seed}\n{group}".encode("utf-8", "surrogatepass")).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    if point < shares[0]:
        return "train"
    return "dev" if point < shares[0] + shares[1] else "test"


def split_of(row: dict, seed: int, shares: tuple[float, float, float] = SHARES) -> str:
    """The split of a canonical row: its `split_hint` if it has one, else by its `group`, else by its normalised prompt.

    Raises InputProblem for a `split_hint` other than train, dev or test.
    """
    hint = row.get("split_hint")
    if hint:
        if hint not in SPLITS:
            raise InputProblem(f"split_hint {hint!r} in a row: expected one of {', '.join(SPLITS)}")
        return hint
    return assign(group_of(row), seed, shares)


def group_of(row: dict) -> str:
    """The row's `group` as text, else its normalised prompt (for plain text rows: the normalised text)."""
    if row.get("group") not in (None, ""):
        return str(row["group"])
    return normalise(prompt_text(row) or answer_text(row))


def slice_of(row: dict) -> str:
    """The row's `slice` as text, "" where it has none."""
    return "" if row.get("slice") is None else str(row["slice"])


def prompt_text(row: dict) -> str:
    """What is asked: the texts of the prompt's messages without system turns, one a line."""
    return "\n".join(message_text(m) for m in row["prompt"] if m["role"] not in ("system", "developer"))


def answer_text(row: dict, field: str = "completion") -> str:
    """What is answered: the texts of the assistant's messages, tool calls as JSON, one a line."""
    return "\n".join(message_text(message) for message in row[field] if message["role"] == "assistant")


def normalise(text: str) -> str:
    """Case folded, compatibility forms unified, white space single, punctuation at word ends gone.

    Marks inside a word stay ("9:30", "*/5", "3.5"), as do words of signs alone ("*"), so that different schedules or
    sums stay different: "At 9:30,  PLEASE!" → "at 9:30 please".
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_WORD_ENDS.sub("", " ".join(text.casefold().split())).split())


def prompt_key(row: dict) -> str:
    """What makes two prompts the same: the normalised text of all turns but the system's."""
    return normalise(prompt_text(row))


def split_rows(rows: list[dict], seed: int, shares=SHARES) -> dict[str, list[dict]]:
    """Rows by split, in their old order."""
    parts = {"train": [], "dev": [], "test": []}
    for row in rows:
        parts[split_of(row, seed, shares)].append(row)
    return parts
