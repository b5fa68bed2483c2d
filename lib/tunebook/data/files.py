"""Read one local file of rows: jsonl, json, csv or parquet, each also gzipped.

What is wrong inside the file becomes a finding with row and line; the readable rest is still returned. The content
decides how a file is read, and a name that says otherwise is a finding. Does not look at what the rows mean.
"""

import gzip
import io
import zlib
from pathlib import Path

from tunebook.data.json_rows import read_json, read_json_lines
from tunebook.data.notes import Notes
from tunebook.data.rows import Rows, RowsBuilder
from tunebook.data.sniff import NOT_ROWS, content_format, encoding_of
from tunebook.data.tables import read_csv, read_parquet
from tunebook.errors import InputProblem

EXTENSIONS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def named_format(path: Path) -> str:
    """The format that the name promises: "jsonl", "json", "csv" or "parquet".

    Raises InputProblem for an unknown extension.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".gzip"):
        suffixes.pop()
    if not suffixes or suffixes[-1] not in EXTENSIONS:
        known = ", ".join(sorted(EXTENSIONS))
        raise InputProblem(f"{path}: unknown extension; Tunebook reads {known}, each also with .gz: convert the file")
    return EXTENSIONS[suffixes[-1]]


def read_file(path: Path, file_format: str = "", progress=None) -> Rows:
    """Read a local file. `file_format` overrides what the name says; `progress(done, total, note)` counts its bytes.

    Raises InputProblem for a missing file, a folder, or an unknown extension; everything else is a finding.
    """
    if not path.exists():
        raise InputProblem(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputProblem(f"{path}: is a folder; give one file of rows")
    if not path.is_file():
        raise InputProblem(f"{path}: is a pipe or a device, which cannot be read twice; write the rows to a file")
    promised = file_format or named_format(path)
    notes, builder, rejects = Notes(), RowsBuilder(), []
    stream, head = _open(path, notes, progress)
    actual = content_format(head, promised)
    if actual != promised:
        notes.add("file_format", detail=f"the content is {actual}, the name says {promised}")
    if actual in NOT_ROWS:
        stream.close()
    else:
        _read(stream, head, actual, builder, notes, rejects)
    if not builder.n_records and not any(map(notes.count, ("file_format", "torn_file", "bad_csv"))):
        notes.add("no_rows", detail="the file holds no row")
    notes.n_rows = builder.n_records
    return builder.build(str(path), actual, notes.findings(), rejects)


class _Counted(io.FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, progress):
        super().__init__(path)
        self.size, self.progress = path.stat().st_size, progress

    def readinto(self, buffer) -> int:
        n = super().readinto(buffer)
        if self.progress:
            self.progress(self.tell(), max(self.size, 1), "reading")
        return n


def _open(path: Path, notes: Notes, progress):
    """The decompressed byte stream and its first 4 KiB. A plain file named .gz, or the reverse, is a finding."""
    file = io.BufferedReader(_Counted(path, progress), 1 << 18)
    is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
    says_gzip = path.suffix.lower() in (".gz", ".gzip")
    if is_gzip != says_gzip and path.stat().st_size:
        notes.add("file_format", detail="the content is gzip" if is_gzip else "the name says gzip, the content is not")
    stream = io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 18) if is_gzip else file
    try:
        head = stream.peek(4096)[:4096]
    except (EOFError, OSError, zlib.error):
        head = b""
    return stream, head


def _read(stream, head: bytes, kind: str, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """Read the rows into the builder; a broken compressed stream or parquet file becomes a finding."""
    try:
        if kind == "parquet":
            read_parquet(stream, builder, notes)
            return
        lines = _Lines(stream, head, notes)
        if kind == "csv":
            read_csv(lines, builder, notes, rejects)
        elif kind == "json":
            read_json(lines, builder, notes, rejects)
        else:
            read_json_lines(lines, builder, notes, rejects)
        if lines.trouble:
            notes.add("encoding", detail=lines.trouble)
    except (EOFError, zlib.error, OSError) as problem:
        notes.add("torn_file", detail=f"reading stops after {builder.n_records} rows: {problem}")
    finally:
        stream.close()


class _Lines:
    """Iterate over decoded lines; notes a BOM. Bytes that are not UTF-8 wait in `trouble` for the row they belong to."""

    def __init__(self, stream, head: bytes, notes: Notes):
        self.stream, self.trouble, self.ends_with_newline = stream, "", True
        self.encoding = encoding_of(head)
        if self.encoding == "utf-8-sig":
            notes.add("byte_order_mark")
        elif self.encoding != "utf-8":
            notes.add("encoding", 0, 1, detail=f"the file is {self.encoding.upper()[:6]}")

    def __iter__(self):
        stream = self.stream
        if not self.encoding.startswith("utf-8"):
            stream = (line.encode() for line in io.TextIOWrapper(self.stream, self.encoding, "replace", newline="\n"))
        for number, raw in enumerate(stream, 1):
            self.ends_with_newline = raw.endswith(b"\n")
            if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                raw = raw[3:]
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as problem:
                where = f"line {number}, byte {problem.start + 1} is 0x{raw[problem.start]:02x}"
                self.trouble = self.trouble or where
                yield raw.decode("utf-8", "replace")

    def take_trouble(self) -> str:
        """The bad bytes since the last call, or ""."""
        trouble, self.trouble = self.trouble, ""
        return trouble
