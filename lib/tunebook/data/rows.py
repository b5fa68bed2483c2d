"""Rows as they stand in the source: a compact Arrow column of JSON texts with their record and line numbers.

Keeping the JSON text (not typed columns) keeps mixed types visible, and one million rows of 500 characters in about
0.6 GiB. Does not judge the rows.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

BATCH_ROWS = 10_000


@dataclass
class Rows:
    """Records of one source.

    `texts`: one JSON object each. `index`: 0-based record number in the source (broken records keep their number, so
    numbers may have gaps). `lines`: 1-based line numbers for text files, else None. `n_records` counts the broken too.
    """

    source: str
    format: str
    texts: pa.ChunkedArray
    index: pa.ChunkedArray
    lines: pa.ChunkedArray | None
    n_records: int
    findings: list = field(default_factory=list)
    rejects: list = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[dict]:
        for chunk in self.texts.chunks:
            for start in range(0, len(chunk), BATCH_ROWS):
                for text in chunk.slice(start, BATCH_ROWS).to_pylist():
                    yield json.loads(text)

    def __getitem__(self, position: int) -> dict:
        return json.loads(self.texts[position].as_py())

    def record(self, position: int) -> int:
        """Record number in the source of the row at this position."""
        return self.index[position].as_py()

    def line(self, position: int) -> int | None:
        """Line number in the source of the row at this position, or None."""
        return None if self.lines is None else self.lines[position].as_py()

    def places(self) -> Iterator[tuple[int, int | None]]:
        """(record number, line number or None) of every row, in order."""
        lines = self.lines if self.lines is not None else None
        for number, chunk in enumerate(self.index.chunks):
            records = chunk.to_pylist()
            yield from zip(records, lines.chunk(number).to_pylist() if lines else [None] * len(records), strict=True)


class RowsBuilder:
    """Grows the columns of Rows batch by batch, so that no list of a million strings is held."""

    def __init__(self):
        self._chunks = ([], [], [])
        self._batch = ([], [], [])
        self.n_records = 0

    def add(self, text: str, line: int | None = None) -> None:
        """Append the next record: its JSON text and its line."""
        for column, value in zip(self._batch, (text, self.n_records, line), strict=True):
            column.append(value)
        self.n_records += 1
        if len(self._batch[0]) >= BATCH_ROWS:
            self._flush()

    def skip(self) -> int:
        """Count a record that cannot be read; returns its number."""
        self.n_records += 1
        return self.n_records - 1

    def _flush(self) -> None:
        types = (pa.large_string(), pa.int64(), pa.int64())
        for chunks, column, kind in zip(self._chunks, self._batch, types, strict=True):
            chunks.append(pa.array(column, kind))
        self._batch = ([], [], [])

    def build(self, source: str, kind: str, findings: list, rejects: list) -> Rows:
        """Finish: the Rows of everything that was added."""
        self._flush()
        texts, index, lines = (
            pa.chunked_array(chunks, pa.large_string() if number == 0 else pa.int64())
            for number, chunks in enumerate(self._chunks)
        )
        has_lines = lines.null_count < len(lines)
        return Rows(source, kind, texts, index, lines if has_lines else None, self.n_records, findings, rejects)


def plain(value):
    """What JSON cannot hold: bytes become an object, so that binary columns are seen as such; dates become text."""
    return {"binary": len(value)} if isinstance(value, bytes) else str(value)


def rows_from_records(records, source: str, kind: str) -> Rows:
    """Rows from an iterable of dicts (a shipped task, a Hub data set, the rows of a split).

    A key `record` keeps the number that the row had in the user's file.
    """
    builder, numbers = RowsBuilder(), []
    for number, record in enumerate(records):
        builder.add(json.dumps(record, ensure_ascii=True, default=plain))
        numbers.append(record.get("record", number))
    rows = builder.build(source, kind, [], [])
    if all(isinstance(number, int) for number in numbers):
        rows.index = pa.chunked_array([pa.array(numbers[s : s + BATCH_ROWS], pa.int64()) for s in _starts(rows.texts)])
    return rows


def _starts(column: pa.ChunkedArray) -> range:
    """First positions of the column's chunks."""
    return range(0, max(len(column), 1), BATCH_ROWS)
