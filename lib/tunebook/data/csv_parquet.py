"""Read csv and parquet rows into a RowsBuilder. Does not open files and does not look at what the rows mean."""

import csv
import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq

from tunebook.data.notes import Notes, reject
from tunebook.data.rows import RowsBuilder, plain
from tunebook.errors import InputProblem

MAX_FIELD_CHARACTERS = 64 * 1024 * 1024
PARQUET_BATCH_ROWS = 2_000


def read_csv(lines, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """One row a record, the first record is the header; comma, semicolon or tab. Values stay strings.

    A record with more or fewer fields than the header, and a quote that is never closed, are findings with their line.
    """
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    following = iter(lines)
    first = next(following, "")
    delimiter = max(",;\t", key=first.count)
    is_spaced = f"{delimiter} " in first  # as the header is written, so are the rows: a space belongs to the delimiter
    reader = csv.reader(_chain(first, following), delimiter=delimiter, skipinitialspace=is_spaced, strict=True)
    header = _read_header(reader, first, notes)
    numbers = _NumberColumns(header)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as problem:
            is_torn = "unexpected end" in str(problem)
            what = "a quote that opens here is never closed" if is_torn else str(problem)
            notes.add("torn_file" if is_torn else "bad_csv", builder.skip(), start, what)
            continue
        if fields is None:
            numbers.note(notes)
            return
        if not fields:
            continue
        trouble = lines.take_trouble()
        if trouble:
            notes.add("encoding", builder.n_records, start, trouble)
        if len(fields) != len(header):
            detail = f"{len(fields)} fields, the header has {len(header)}"
            number = builder.skip()
            notes.add("bad_csv", number, start, detail)
            rejects.append(reject("bad_csv", number, start, fields, detail))
            continue
        numbers.see(fields, builder.n_records, start)
        builder.add(json.dumps(dict(zip(header, fields, strict=True))), start)


def _read_header(reader, first: str, notes: Notes) -> list[str]:
    """The column names; a name that stands twice is a finding, since the later column hides the earlier one."""
    try:
        header = next(reader, [])
    except csv.Error as problem:
        lone = "the lines end in a carriage return alone" if "\r" in first.rstrip("\r\n") else str(problem)
        notes.add("bad_csv", None, 1, f"line 1: {lone}")
        return []
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        notes.add("bad_csv", None, 1, f"the header names {doubled[0]!r} {header.count(doubled[0])} times")
    return header


class _NumberColumns:
    """NaN and infinity in columns of numbers: csv has no types, so most cells of the column must be numbers."""

    def __init__(self, header: list[str]):
        self.header, self.n_numbers, self.bad, self.n_rows = header, [0] * len(header), [], 0

    def see(self, fields: list[str], record: int, line: int) -> None:
        """Look at one row; only short cells can be numbers."""
        self.n_rows += 1
        for place, cell in enumerate(fields):
            if len(cell) < 25:
                try:
                    number = float(cell)
                except ValueError:
                    continue
                if math.isfinite(number):
                    self.n_numbers[place] += 1
                else:
                    self.bad.append((place, record, line, cell))

    def note(self, notes: Notes) -> None:
        """Note the bad cells of the columns of numbers."""
        for place, record, line, cell in self.bad:
            if 2 * self.n_numbers[place] > self.n_rows:
                notes.add("not_a_number", record, line, f"{self.header[place]} is {cell}")


def _chain(first: str, rest):
    yield first
    yield from rest


def read_parquet(stream, builder: RowsBuilder, notes: Notes) -> None:
    """All row groups in small batches. A file that Arrow cannot read is a finding; InputProblem for one that holds a
    time that Python cannot.
    """
    try:
        file = pq.ParquetFile(stream.name if isinstance(stream.raw, io.FileIO) else pa.BufferReader(stream.read()))
        for batch in file.iter_batches(PARQUET_BATCH_ROWS):
            for record in _records(batch, str(stream.name or "the parquet file")):
                number = _not_a_number(record)
                if number is not None:
                    notes.add("not_a_number", builder.n_records, None, f"the value is {number}")
                builder.add(json.dumps(without_none_fields(record, is_row=True), default=plain))
    except (pa.ArrowException, OSError) as problem:
        sentence = str(problem).split("\n")[0].rstrip(".")[:200]
        notes.add("torn_file", detail=f"Arrow cannot read the parquet file: {sentence}")


def _records(batch: pa.RecordBatch, file: str) -> list[dict]:
    """The rows of a batch. Raises InputProblem for a time outside the years 1 to 9999, naming the columns of times."""
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError) as problem:
        if isinstance(problem, pa.ArrowException):
            raise
        names = " or ".join(field.name for field in batch.schema if pa.types.is_temporal(field.type))
        raise InputProblem(
            f"{file}: {names or 'a column'} holds a time that Python cannot ({problem}); cast the column to text"
        ) from problem


def _not_a_number(record: dict) -> float | None:
    return next((v for v in record.values() if isinstance(v, float) and not math.isfinite(v)), None)


def without_none_fields(value, is_row: bool = False):
    """Drop keys inside columns that Arrow added because other rows have them (their value is None): keys of messages,
    arguments of other tools.
    """
    if isinstance(value, dict):
        return {key: without_none_fields(item) for key, item in value.items() if is_row or item is not None}
    return [without_none_fields(item) for item in value] if isinstance(value, list) else value
