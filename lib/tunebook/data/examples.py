"""Rows converted once: what is asked and what is answered as two Arrow columns, with the schema's troubles noted.

The checks read these columns, so no check parses a row again. Does not compare rows with each other.
"""

import collections
import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tunebook.data import row_types
from tunebook.data.notes import Notes, reject
from tunebook.data.rows import BATCH_ROWS, Rows
from tunebook.data.splits import answer_text, normalise
from tunebook.errors import InputProblem


@dataclass(frozen=True)
class Thresholds:
    """Shares lie between 0 and 1.

    `near_duplicate`: similarity (Jaccard of letter runs) from which rows are near duplicates. `contamination`: share of a
    problem's word runs in one row. `constant_answer`: share of rows with one answer, where answers are mostly different.
    `pair_length`: share of pairs whose chosen answer is the longer one. `rare_language`: share below which a language is a
    slip. `domain_auc`: above this (lower end of the interval) prompts and benchmark are different things. `sampled`: rows
    that the language and the domain check look at, rows whose answers are run a tenth of it.
    """

    near_duplicate: float = 0.7
    contamination: float = 0.3
    constant_answer: float = 0.2
    pair_length: float = 0.7
    rare_language: float = 0.15
    domain_auc: float = 0.95
    sampled: int = 5000

    def __post_init__(self):
        for name, value in vars(self).items():
            if name == "sampled" and value < 1 or name != "sampled" and not 0 < value <= 1:
                raise InputProblem(f"limit_{name} is {value}; it is a {'number from 1' if value else 'share above 0'}")


ID_NAMES = ("id", "uid", "uuid", "row_id", "example_id", "sample_id")
GROUP_NAMES = ("task_id", "question_id", "problem_id", "prompt_id")  # several rows may belong to one of these
MAX_DOUBLED_FEW = 3  # more repeated ids than these shares of the rows number groups, not rows
MAX_DOUBLED_SHARE = {**dict.fromkeys(ID_NAMES, 0.5), **dict.fromkeys(GROUP_NAMES, 0.1)}
_TYPE_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}


class Types:
    """Which JSON types each column has; the rarer types of a column are troubles."""

    def __init__(self):
        self.seen = collections.defaultdict(dict)

    def see(self, raw: dict, record: int, line: int | None) -> None:
        """Look at one raw row."""
        for name, value in raw.items():
            if value is not None:
                entry = self.seen[name].setdefault(_TYPE_NAMES.get(type(value), "other"), [0, []])
                entry[0] += 1
                if len(entry[1]) < 100:
                    entry[1].append((record, line))

    def note(self, notes: Notes) -> None:
        """Note the rows of the rarer types."""
        for name, kinds in self.seen.items():
            if name in ("chosen", "rejected") and notes.count("pair_types"):
                continue
            usual = max(kinds, key=lambda kind: kinds[kind][0])
            for kind, (count, places) in kinds.items():
                if kind != usual:
                    for record, line in places:
                        notes.add("mixed_types", record, line, f"{name} is a {kind}, in most rows a {usual}")
                    notes.set_count("mixed_types", notes.count("mixed_types") + count - len(places))


class Ids:
    """Ids that repeat, in a column where most values are different (else it numbers groups, not rows)."""

    def __init__(self):
        self.seen = {}

    def see(self, raw: dict, record: int, line: int | None) -> None:
        """Look at one raw row."""
        for name in MAX_DOUBLED_SHARE:
            value = raw.get(name)
            if isinstance(value, str | int) and value != "":
                first, doubled = self.seen.setdefault(name, (set(), []))
                if value in first:
                    doubled.append((record, line, value))
                first.add(value)

    def note(self, notes: Notes) -> None:
        """Note the rows whose id an earlier row has."""
        for name, (first, doubled) in self.seen.items():
            n_rows = len(first) + len(doubled)
            if len(doubled) <= max(MAX_DOUBLED_FEW, MAX_DOUBLED_SHARE[name] * n_rows):
                for record, line, value in doubled:
                    notes.add("doubled_ids", record, line, f"{name} {value!r} again")


N_ROWS_FOR_KIND = 1_000


@dataclass
class Examples:
    """The rows that could be converted.

    `positions`: their positions in `rows`. `prompts`: the prompt with its system turn; `answers`: the text that is learnt;
    `rejected`: the worse answer of preference rows, else None. `notes` and `rejects` hold the schema's troubles, `matches` the rows that hold a benchmark's problem; `progress(done, total,
    note)` is called by the longer checks.
    """

    rows: Rows
    kind: str
    mapping: dict
    positions: np.ndarray
    prompts: pa.ChunkedArray
    answers: pa.ChunkedArray
    rejected: pa.ChunkedArray | None
    notes: Notes
    rejects: list = field(default_factory=list)
    limits: Thresholds = Thresholds()
    progress: Callable | None = None
    matches: list = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def row(self, number: int) -> dict:
        """The canonical row at this number (see `formats.convert`)."""
        raw = self.rows[int(self.positions[number])]
        return row_types.convert(row_types.apply_mapping(raw, self.mapping), self.kind)

    def __iter__(self) -> Iterator[dict]:
        wanted = iter(self.positions.tolist())
        following = next(wanted, None)
        for position, raw in enumerate(self.rows):
            if position == following:
                yield row_types.convert(row_types.apply_mapping(raw, self.mapping), self.kind)
                following = next(wanted, None)

    def texts(self, note: str = "") -> Iterator[tuple[int, str, str]]:
        """(number, prompt, answer) of every row, batch by batch; with a `note`, `progress` hears of each batch."""
        start = 0
        for prompts, answers in zip(self.prompts.chunks, self.answers.chunks, strict=True):
            if note and self.progress:
                self.progress(start, len(self), note)
            pairs = zip(prompts.to_pylist(), answers.to_pylist(), strict=True)
            for offset, (prompt, answer) in enumerate(pairs):
                yield start + offset, prompt, answer
            start += len(prompts)

    def all_texts(self, note: str = "") -> Iterator[tuple[int, str, str, str]]:
        """(number, prompt, answer, rejected answer or "") of every row; `note` as in `texts`."""
        worse = iter(()) if self.rejected is None else (t for c in self.rejected.chunks for t in c.to_pylist())
        for number, prompt, answer in self.texts(note):
            yield number, prompt, answer, next(worse, "")

    @functools.cached_property
    def prompt_hashes(self) -> np.ndarray:
        """63-bit hash of each normalised prompt."""
        return np.fromiter((normalised_hash(prompt) for _, prompt, _ in self.texts()), np.int64, len(self))

    @functools.cached_property
    def answer_hashes(self) -> np.ndarray:
        """63-bit hash of each normalised answer."""
        return np.fromiter((normalised_hash(answer) for _, _, answer in self.texts()), np.int64, len(self))

    def place(self, number: int) -> tuple[int, int | None]:
        """Record number and line in the source of the row at this number."""
        position = int(self.positions[number])
        return self.rows.record(position), self.rows.line(position)

    def add(self, check: str, number: int, detail: str = "") -> None:
        """Note a trouble of the row at this number."""
        self.notes.add(check, *self.place(number), detail)

    def add_match(self, check: str, number: int, task: str, name: str, how: str) -> None:
        """Note that the row at this number holds a problem, and keep the match for the table."""
        self.add(check, number, f"{how} {task} of {name}")
        self.matches.append({"row": self.place(number)[0], "benchmark": name, "problem": task, "how": how})

    def add_all(self, check: str, troubles: list[tuple[int, str]]) -> None:
        """Note (number, detail) troubles in row order, so that the first hundred rows are kept."""
        for number, detail in sorted(troubles):
            self.add(check, number, detail)


def read_examples(rows: Rows, mapping=None, kind: str = "", limits: Thresholds | None = None, progress=None) -> Examples:
    """Convert every row, noting what is wrong with it; rows with a trouble are left out and go to the rejects.

    `kind` names the row type where it must not be detected. Without a mapping for plain columns the likely one is used
    for the further checks, and the finding `columns` (an error) names it. Raises InputProblem for a bad mapping or kind.
    """
    mapping = row_types.read_column_mapping(mapping)
    if kind and kind not in row_types.KINDS:
        raise InputProblem(f"row type {kind}: expected one of {', '.join(row_types.KINDS)}")
    notes = Notes(rows.n_records)
    kind, mapping = _decide_kind(rows, mapping, kind, notes)
    builder = _Columns(has_rejected=kind == "preference")
    rejects, types, ids = [], Types(), Ids()
    positions = []
    for position, (raw, (record, line)) in enumerate(zip(rows, rows.places(), strict=True)):
        if progress and position % BATCH_ROWS == 0:
            progress(position, len(rows), "converting")
        types.see(raw, record, line)
        ids.see(raw, record, line)
        if not kind:
            continue
        try:
            row = _convert_checked(raw, mapping, kind)
        except row_types.RowProblem as problem:
            notes.add(problem.check, record, line, str(problem))
            rejects.append(reject(problem.check, record, line, raw, str(problem)))
            continue
        if row.get("trailing_turns"):
            notes.add("trailing_turns", record, line, f"{row['trailing_turns']} turns after the last answer")
        builder.add(row)
        positions.append(position)
    types.note(notes)
    ids.note(notes)
    if kind == "text" and positions:
        notes.add("text_rows", detail="there is no question to mask")
        notes.set_count("text_rows", len(positions))
    columns = builder.build()
    numbers = np.array(positions, np.int64)
    examples = Examples(rows, kind, mapping, numbers, *columns, notes, rejects, limits or Thresholds(), progress)
    _note_monsters(examples)
    return examples


def _decide_kind(rows: Rows, mapping: dict, kind: str, notes: Notes) -> tuple[str, dict]:
    """The row type of most of the first 1,000 rows, and the mapping to use."""
    counts, columns = collections.Counter(), collections.Counter()
    for number, raw in enumerate(rows):
        if number >= N_ROWS_FOR_KIND:
            break
        names = set(raw) | set(mapping)
        counts[row_types.row_type_of(names)] += 1
        columns.update(list(raw))
    named = (name for names in mapping.values() for name in names.split("+"))
    if counts and (unknown := next((name for name in named if name not in columns), "")):
        raise InputProblem(
            f"{rows.source}: the mapping names a column {unknown!r}; there are {', '.join(map(str, columns))}"
        )
    if kind or not counts:
        return kind, mapping
    known = [(count, name) for name, count in counts.items() if name]
    if known and max(known)[0] * 2 >= sum(counts.values()):
        return max(known)[1], mapping
    usual = [name for name, count in columns.items() if count * 2 >= sum(counts.values())]
    likely = row_types.likely_mapping(usual)
    text = ", ".join(f"{name}={column}" for name, column in likely.items())
    detail = f"columns {', '.join(map(str, usual[:12]))}" + (
        f"; the likely mapping is {text} (--map {text.replace(', ', ' --map ')})" if likely else ""
    )
    notes.add("columns", detail=detail)
    notes.set_count("columns", len(rows))
    return row_types.row_type_of(likely), likely


def _convert_checked(raw: dict, mapping: dict, kind: str) -> dict:
    """Convert one row; a row that has none of the type's fields but makes another type is `mixed_types`."""
    mapped = row_types.apply_mapping(raw, mapping)
    if not any(name in mapped for name in row_types.FIELDS[kind]):
        other = row_types.row_type_of(mapped)
        if other:
            raise row_types.RowProblem("mixed_types", f"this row is of type {other}, most are {kind}")
    return row_types.convert(mapped, kind)


class _Columns:
    """Grows the text columns batch by batch."""

    def __init__(self, has_rejected: bool):
        self.names = ("prompts", "answers", "rejected") if has_rejected else ("prompts", "answers")
        self.chunks = [[] for _ in self.names]
        self.batch = [[] for _ in self.names]

    def add(self, row: dict) -> None:
        prompt = "\n".join(message["content"] for message in row["prompt"])
        values = (prompt, answer_text(row)) + ((answer_text(row, "rejected"),) if len(self.names) == 3 else ())
        for column, value in zip(self.batch, values, strict=True):
            column.append(value)
        if len(self.batch[0]) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        for chunks, column in zip(self.chunks, self.batch, strict=True):
            chunks.append(pa.array(column, pa.large_string()))
        self.batch = [[] for _ in self.names]

    def build(self) -> tuple:
        self.flush()
        columns = [pa.chunked_array(chunks, pa.large_string()) for chunks in self.chunks]
        return (*columns, None) if len(columns) == 2 else tuple(columns)


def _note_monsters(examples: Examples) -> None:
    """Rows over 20,000 characters and over 20 times the length that nine in ten rows stay under."""
    if not len(examples):
        return
    lengths = np.fromiter((len(p) + len(a) for _, p, a in examples.texts()), np.int64, len(examples))
    limit = max(20_000, 20 * np.quantile(lengths, 0.9, method="lower"))
    for number in np.flatnonzero(lengths > limit):
        examples.add("monstrous_row", number, f"{lengths[number]} characters, the median is {int(np.median(lengths))}")


def normalised_hash(text: str) -> int:
    """63-bit hash of the normalised text."""
    return exact_hash(normalise(text))


def exact_hash(text: str) -> int:
    """63-bit hash of the text, equal on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1
