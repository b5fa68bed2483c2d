"""The one function that says to which split a row belongs, what counts as the same row, and where rows come from.

Does not read rows or balance splits: the share of each split holds only on average.
"""

import hashlib
import re
import unicodedata
from dataclasses import replace

from tunebook.data.messages import message_text
from tunebook.data.notes import reject
from tunebook.data.row_types import demonstrations
from tunebook.errors import InputProblem, did_you_mean
from tunebook.picking import pick

SPLITS = ("train", "dev", "test")
# Opening marks before a word and closing marks after it; in front only quotes, so that ".5" and "5" stay different.
_WORD_ENDS = re.compile(r"(?<![^ ])[\"'`´‘“]+|[.,;:!?\"'`´’”…]+(?![^ ])")
SHARES = (0.80, 0.05, 0.15)
# columns that may tell where a row comes from or what kind it is, the likeliest first
TELLING = (
    "source",
    "src",
    "origin",
    "dataset",
    "data_source",
    "subset",
    "config",
    "domain",
    "category",
    "kind",
    "slice",
)
MOST_GROUPS = 24
NONE = "(none)"  # rows in which the column is empty


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


def row_groups(rows: list[dict], column: str = "", least: int = 1) -> tuple[str, dict[str, list[dict]]]:
    """(the column, its values each with their rows); with "" the first of TELLING that has two groups of `least` rows
    or more, and at most MOST_GROUPS.

    InputProblem where no column tells groups, or the named one does not.

    >>> column, groups = row_groups([{"source": "a"}, {"source": "b"}, {"source": "a"}, {}])
    >>> column, {name: len(rows) for name, rows in groups.items()}
    ('source', {'a': 2, 'b': 1, '(none)': 1})
    """
    there = sorted({name for row in rows for name in row})
    for name in [column] if column else [name for known in TELLING for name in there if name.lower() == known]:
        groups = {}
        for row in rows:
            groups.setdefault(group_name(row, name), []).append(row)
        if sum(len(part) >= least for part in groups.values()) >= 2 and len(groups) <= MOST_GROUPS:
            return name, groups
    if column in there:
        raise InputProblem(
            f"group_column: {column} has {len(groups)} values, of which"
            f" {sum(len(part) >= least for part in groups.values())} have {least} rows or more: to compare, name a"
            f" column with 2 to {MOST_GROUPS} values and at least two of such a size"
        )
    if column:
        raise InputProblem(f"group_column: no column {column!r}: {did_you_mean(column, there, ', '.join(there))}")
    raise InputProblem(
        f"group_column: the rows do not say where they come from: none of {', '.join(TELLING)} has two groups of"
        f" {least} rows; name a column of yours, or give the rows one such as `source`"
    )


def held_rows(rows: list[dict], column: str, n_wanted: int, seed: int) -> tuple[list[dict], list[str]]:
    """At most `n_wanted` of the canonical rows (0: all) that are right answers, and the group of each."""
    kept = pick(demonstrations(rows), n_wanted, seed, lambda row: str(row["prompt"]))
    return kept, [group_name(row, column) for row in kept]


def group_name(row: dict, column: str) -> str:
    """The group of a row as text."""
    value = row.get(column)
    return NONE if value is None or str(value).strip() == "" else str(value)


def leave_rows_out(study, named: list[str]):
    """The `StudyData` without the training rows that `named` names, such as "source=forum"; they go to the rejects. Dev
    and test keep theirs, so that scores stay comparable. InputProblem where a name has no row.
    """
    kept, rejects = study.train, list(study.rejects)
    for text in named:
        column, sign, value = str(text).partition("=")
        out = [row for row in kept if sign and group_name(row, column) == value]
        if not out:
            values = sorted({f"{column}={group_name(row, column)}" for row in study.train if column in row})
            there = ", ".join(values[:MOST_GROUPS]) or "no such column"
            raise InputProblem(f"left_out_rows: {text!r} names no training row: write column=value ({there})")
        gone = {id(row) for row in out}
        kept = [row for row in kept if id(row) not in gone]
        why = f"left_out_rows: {text}"
        rejects += [reject("not_used", row.get("record", at), None, row, why) for at, row in enumerate(out)]
    return replace(study, train=kept, rejects=rejects)
