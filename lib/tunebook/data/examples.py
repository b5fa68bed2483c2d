"""Rows converted once: what is asked and what is answered as two Arrow columns, with the schema's troubles noted.

The checks read these columns, so no check parses a row again. Does not compare rows with each other.
"""

import collections
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from tunebook.data import ranking, row_types
from tunebook.data.checks.accounting import Account, Ids, Types, columns_of
from tunebook.data.mapping import Reading, check_all_read, flags_of, has_better_shape, likely_mapping
from tunebook.data.messages import RowProblem, message_text, transcript, unpacked, written_turns
from tunebook.data.notes import Notes, reject
from tunebook.data.rows import BATCH_ROWS, Rows
from tunebook.data.splits import answer_text, normalise
from tunebook.errors import InputProblem
from tunebook.models.templates import THOUGHT_KEYS


@dataclass(frozen=True)
class Thresholds:
    """Shares lie between 0 and 1.

    `near_duplicate`: similarity (Jaccard of letter runs) from which rows are near duplicates. `contamination`: share of
    a problem's word runs in one row. `constant_answer`: share of rows with one answer, where answers are mostly
    different. `pair_length`: share of pairs whose chosen answer is the longer one. `rare_language`: share below which a
    language is a slip. `domain_auc`: above this (lower end of the interval) prompts and benchmark are different things.
    `sampled`: rows that the language and the domain check look at, rows whose answers are run a tenth of it.
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


N_ROWS_FOR_KIND = 1_000
N_TRIED = 20  # rows on which a likely mapping is tried before it is proposed
FAULTS_OF_BAD_ANSWERS = frozenset(
    "code_syntax wrong_language truncated_answers refusals html_noise mojibake language_mix constant_answer"
    " prompt_repeated blank_cell answers_fail trigger_token".split()
)
MAX_HEAD = 2_000  # characters of a text in which a rendered chat shows itself
RENDERED_CHAT = re.compile(
    r"^\W{0,6}(?:user|human|assistant|system|instruction|question|response|answer|bot|q|a)\W{0,3}:|\[/?INST\]|<\|\w+\|>"
    r"|<(?:start|end)_of_turn>|<</?SYS>>",
    re.I | re.M,
)


@dataclass
class Examples:
    """The rows that could be converted.

    `reading`: how the rows are read; `account`: what becomes of every column (see `checks.accounting`). `positions`:
    their positions in `rows`. `prompts`: the prompt with its system turn; `answers`: the text that is learnt;
    `rejected`: the worse answer of preference rows, else None. `notes` and `rejects` hold the schema's troubles,
    `matches` the rows that hold a benchmark's problem, `bad` the numbers of KTO's bad answers; `beside` one hash a row
    of what is trained beside these texts (tools, and thoughts in keys of their own), 0 for nothing, `parted` the pairs
    whose thoughts differ; `progress(done, total, note)` is called by the longer checks.
    """

    rows: Rows
    reading: Reading
    account: Account
    positions: np.ndarray
    prompts: pa.ChunkedArray
    answers: pa.ChunkedArray
    rejected: pa.ChunkedArray | None
    notes: Notes
    rejects: list = field(default_factory=list)
    limits: Thresholds = Thresholds()
    progress: Callable | None = None
    matches: list = field(default_factory=list)
    bad: frozenset = frozenset()
    beside: np.ndarray | None = None
    parted: frozenset = frozenset()

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def kind(self) -> str:
        """The row type."""
        return self.reading.kind

    def row(self, number: int) -> dict:
        """The canonical row at this number (see `row_types.convert`)."""
        return row_types.read_row(self.rows[int(self.positions[number])], self.reading)

    def __iter__(self) -> Iterator[dict]:
        wanted = iter(self.positions.tolist())
        following = next(wanted, None)
        for position, raw in enumerate(self.rows):
            if position == following:
                yield row_types.read_row(raw, self.reading)
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
        """Note a trouble of the row at this number; an answer that KTO's label calls bad may have the faults of one."""
        if number in self.bad and check in FAULTS_OF_BAD_ANSWERS:
            return
        self.notes.add(check, *self.place(number), detail)

    def add_match(self, check: str, number: int, task: str, name: str, how: str) -> None:
        """Note that the row at this number holds a problem, and keep the match for the table."""
        self.add(check, number, f"{how} {task} of {name}")
        self.matches.append({"row": self.place(number)[0], "benchmark": name, "problem": task, "how": how})

    def add_all(self, check: str, troubles: list[tuple[int, str]]) -> None:
        """Note (number, detail) troubles in row order, so that the first hundred rows are kept."""
        for number, detail in sorted(troubles):
            self.add(check, number, detail)


def read_examples(rows: Rows, asked: Reading = Reading(), limits: Thresholds | None = None, progress=None) -> Examples:
    """Convert every row, noting what is wrong with it; rows with a trouble are left out and go to the rejects.

    `asked`: how to read them (see `mapping.reading_of`); what it leaves open is found out. Without a mapping for plain
    columns the likely one is used for the further checks, and the finding `columns` (an error) names it. Raises
    InputProblem for a mapping or a drop that names a column which is not there.
    """
    notes = Notes(rows.n_records)
    reading = _decide_reading(rows, asked, notes)
    builder, account = _Columns(has_rejected=reading.kind == "preference"), Account(reading)
    rejects, positions, bad, beside, parted = [], [], set(), [], set()
    for position, row in enumerate(_converted(rows, account, notes, rejects, progress)):
        if row is not None:
            if row.get("label") is False:
                bad.add(len(positions))
            if "rejected" in row and _thoughts(row["chosen"]) != _thoughts(row["rejected"]):
                parted.add(len(positions))
            beside.append(_beside(row))
            builder.add(row)
            positions.append(position)
    if reading.kind:
        account.note(notes)
    columns = builder.build()
    numbers = np.array(positions, np.int64)
    facts = (notes, rejects, limits or Thresholds(), progress, [], frozenset(bad), np.array(beside, np.int64))
    examples = Examples(rows, reading, account, numbers, *columns, *facts, frozenset(parted))
    _note_text_rows(examples)
    _note_monsters(examples)
    return examples


def _converted(rows: Rows, account: Account, notes: Notes, rejects: list, progress) -> Iterator[dict | None]:
    """The canonical form of every row, None where it has a trouble; the account sees all of them, types and ids all
    that is not dropped by name.
    """
    types, ids = Types(), Ids()
    for position, (raw, (record, line)) in enumerate(zip(rows, rows.places(), strict=True)):
        if progress and position % BATCH_ROWS == 0:
            progress(position, len(rows), "converting")
        kept = {name: value for name, value in raw.items() if name not in account.reading.drop}
        types.see(kept, record, line)
        ids.see(kept, record, line)
        row = None
        if account.reading.kind:
            try:
                row = row_types.read_row(raw, account.reading)
            except RowProblem as problem:
                notes.add(problem.check, record, line, str(problem))
                rejects.append(reject(problem.check, record, line, raw, str(problem)))
        account.see(raw, row, record, line)
        if row and row.get("outer_turns"):
            notes.add("outer_turns", record, line, f"{row['outer_turns']} turns")
        yield row
    types.note(notes)
    ids.note(notes)


def _decide_reading(rows: Rows, reading: Reading, notes: Notes) -> Reading:
    """The row type of most of the first 1,000 rows, and the mapping to use."""
    sample = list(itertools.islice(rows, N_ROWS_FOR_KIND))
    columns = collections.Counter(name for raw in sample for name in raw if name not in reading.drop)
    roots = reading.roots()
    if columns and (unknown := next((name for name in roots if name not in columns), "")):
        there = ", ".join(map(str, columns))
        raise InputProblem(f"{rows.source}: the mapping names a column {unknown!r}; there are {there}")
    if sample and (unknown := reading.drop - columns_of(sample)):
        raise InputProblem(f"{rows.source}: drop names {min(unknown)!r}; there are {', '.join(map(str, columns))}")
    if reading.kind == "kto" and "label" not in reading.fields and "label" in columns:
        reading = replace(reading, mapping=(*reading.mapping, ("label", "label")))
    if reading.kind or not sample:
        return reading
    if reading.fields.keys() & {"label", "candidates"}:
        return replace(reading, kind=row_types.kind_of(reading.fields))
    counts = collections.Counter(
        row_types.row_type_of(
            {*(name for name in raw if name not in reading.drop and name not in roots), *reading.fields}
        )
        for raw in sample
    )
    usual = [name for name, count in columns.items() if count * 2 >= len(sample)]
    known = [(count, name) for name, count in counts.items() if name]
    kind = max(known)[1] if known and max(known)[0] * 2 >= len(sample) else ""
    is_half = kind == "preference" and _lacks_prompt(sample, reading)
    is_half = is_half or kind == "text" and not reading.mapping and has_better_shape(usual)
    if kind and not is_half:
        check_all_read(reading.fields, row_types.FIELDS[kind][-1:] if reading.mapping else ())
        return replace(reading, kind=kind)
    return _likely_reading(reading, usual, sample, len(rows), notes)


def _likely_reading(reading: Reading, usual: list, sample: list[dict], n_rows: int, notes: Notes) -> Reading:
    """The reading by the likely mapping, with the finding `columns` that names it."""
    likely, shape = likely_mapping([name for name in usual if name not in reading.drop], sample)
    likely = {**likely, **reading.fields}
    detail = (f"known as {shape}; " if shape else "") + f"columns {', '.join(map(str, usual[:12]))}"
    kind = row_types.kind_of(likely)
    made = replace(reading, kind=kind, mapping=tuple(likely.items()))
    if kind and (misfit := _misfit(sample[:N_TRIED], made)):
        detail += f"; {flags_of(likely)} does not fit: {misfit}"
        made = replace(reading, kind="", mapping=())
    elif kind:
        text = ", ".join(f"{name}={column}" for name, column in likely.items())
        detail += f"; the likely mapping is {text} ({flags_of(likely)})"
    elif several := ranking.several_answers(sample):
        detail += f"; {several}"
    notes.add("columns", detail=detail)
    notes.set_count("columns", n_rows)
    return made


def _misfit(sample: list[dict], reading: Reading) -> str:
    """Why none of these rows can be read so; "" where one can, or where its turns alone are wrong."""
    problem = None
    for raw in sample:
        try:
            row_types.read_row(raw, reading)
            return ""
        except RowProblem as found:
            problem = found
    return str(problem) if problem and problem.check in ("mixed_types", "roles") else ""


def _lacks_prompt(sample: list[dict], reading: Reading) -> bool:
    """True for pairs of bare answers: no prompt, and `chosen` does not begin with one."""
    if "prompt" in reading.fields or "messages" in reading.fields:
        return False
    row = sample[0]
    chosen = unpacked(row.get("chosen"))
    if "prompt" in row or "messages" in row:
        return False
    if isinstance(chosen, list):
        return bool(chosen) and isinstance(chosen[0], dict) and chosen[0].get("role", "assistant") == "assistant"
    return isinstance(chosen, dict) or isinstance(chosen, str) and not transcript(chosen)


def _note_text_rows(examples: Examples) -> None:
    """Plain text is trained whole: a warning where it looks like a rendered chat, else only said."""
    if examples.kind != "text" or not len(examples):
        return
    heads = (answer[:MAX_HEAD] for _, _, answer in itertools.islice(examples.texts(), N_ROWS_FOR_KIND))
    is_chat = any(RENDERED_CHAT.search(text) for text in heads)
    tried = (answer for _, _, answer in itertools.islice(examples.texts(), N_TRIED))
    detail = "there is no question to mask"
    if is_chat and all(transcript(text) or written_turns(text) for text in tried):
        column = examples.reading.fields.get("text", "text")
        detail += f", and the model is asked in its own chat template: {flags_of({'messages': column})} reads the turns"
    examples.notes.add("text_rows" if is_chat else "documents", detail=detail)
    examples.notes.set_count("text_rows" if is_chat else "documents", len(examples))


def _thoughts(turns: list[dict]) -> list:
    """What the assistant's turns hold in keys of thoughts, a list for each turn that has one."""
    held = [[turn[key] for key in THOUGHT_KEYS if turn.get(key)] for turn in turns if turn["role"] == "assistant"]
    return [thoughts for thoughts in held if thoughts]


def _beside(row: dict) -> int:
    """A hash of what is trained of a row beside its texts: thoughts in keys of their own, and tools; 0 for nothing."""
    turns = [*row["prompt"], *row["completion"], *row.get("rejected", ())]
    held = [_thoughts(turns), row.get("tools") or []]
    return exact_hash(json.dumps(held, sort_keys=True)) if any(held) else 0


class _Columns:
    """Grows the text columns batch by batch."""

    def __init__(self, has_rejected: bool):
        self.names = ("prompts", "answers", "rejected") if has_rejected else ("prompts", "answers")
        self.chunks = [[] for _ in self.names]
        self.batch = [[] for _ in self.names]

    def add(self, row: dict) -> None:
        prompt = "\n".join(map(message_text, row["prompt"]))
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
