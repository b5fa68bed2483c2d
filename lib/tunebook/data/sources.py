"""Where rows come from: a local file, a Hub data set with a revision, or a task that ships with the kit.

Does not convert or judge rows: `examples` and the checks do.
"""

import gzip
import io
import json
import re
import zlib
from pathlib import Path

from tunebook.data.csv_parquet import read_csv, read_parquet, without_none_fields
from tunebook.data.json_rows import read_json_lines, read_json_rows
from tunebook.data.notes import Notes, word_finding
from tunebook.data.rows import Rows, RowsBuilder, rows_from_records
from tunebook.errors import InputProblem, MachineProblem

N_TASK_ROWS = 2_000
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}")


def read_rows(source: str, *, revision: str = "", file_format: str = "", progress=None) -> Rows:
    """Read every row of `source`.

    A path to jsonl, json, csv or parquet (and .gz); `owner/name`, `owner/name:config` or `owner/name:config:split` for
    a Hub data set (split "train" unless named); or the name of a shipped task (its first 2,000 generated rows, seed 0).
    What is wrong inside a file is in `.findings`. Raises InputProblem for a missing file, an unknown extension or an
    unknown name, MachineProblem when the Hub cannot be reached.
    """
    path = Path(source)
    if path.exists() or not _looks_like_name(source):
        return read_file(path, file_format, progress)
    if "/" in source:
        return _read_hub(source, revision)
    return _read_task(source)


def _looks_like_name(source: str) -> bool:
    """True for `owner/name` and bare task names, False for anything with a data extension or more folders."""
    suffixes = {suffix.lower() for suffix in Path(source).suffixes}
    if suffixes & (set(EXTENSIONS) | {".gz"}) or source.startswith((".", "/", "~")):
        return False
    if "/" in source:
        return bool(_HUB_NAME.fullmatch(source)) and not Path(source).parent.is_dir()
    return "." not in source


def _read_task(name: str) -> Rows:
    from tunebook import tasks

    task = tasks.load(name)
    return rows_from_records(task.make_rows(N_TASK_ROWS, 0), name, "task")


def _read_hub(source: str, revision: str) -> Rows:
    """Rows of a Hub data set; without a revision there is a finding, since the data may change under the study."""
    import datasets

    name, *rest = source.split(":")
    config, split = (rest + ["", ""])[:2]
    try:
        data = datasets.load_dataset(name, config or None, split=split or "train", revision=revision or None)
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError, OSError, ValueError) as problem:
        sentence = str(problem).split("\n")[0].rstrip(".")
        if isinstance(problem, ValueError):
            raise InputProblem(f"data set {source}: {sentence}; name it owner/name:config:split") from problem
        raise MachineProblem(
            f"data set {source} (revision {revision or 'not given'}) cannot be read from the Hub: {sentence}; check the"
            " name and the network, or give a local jsonl, json, csv or parquet file"
        ) from problem
    rows = rows_from_records((without_none_fields(record, is_row=True) for record in data), source, "hub")
    if not revision:
        rows.findings.append(word_finding("unpinned", len(rows), n_rows=len(rows), detail=source))
    return rows


EXTENSIONS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


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
    if not builder.n_records and not any(map(notes.count, ("file_format", "torn_file", "bad_csv", "absurd_size"))):
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


MAX_UNPACKED = 64 * 1024 * 1024  # bytes, and MAX_RATIO times what is packed: text packs to a fifth or a twentieth
MAX_RATIO = 200
MAX_LINE = 64 * 1024 * 1024  # bytes of one row


class _AbsurdSize(Exception):
    """A packed file grows beyond all measure as it is unpacked; the text says how far."""


class _Unpacked(gzip.GzipFile):
    """A gzip file that stops where it unpacks to an absurd size."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if self.tell() > MAX_UNPACKED and self.tell() > MAX_RATIO * self.fileobj.tell():
            raise _AbsurdSize(f"{self.fileobj.tell():,} packed bytes unpack to more than {self.tell():,}")
        return data


def _open(path: Path, notes: Notes, progress):
    """The decompressed byte stream and its first 4 KiB. A plain file named .gz, or the reverse, is a finding."""
    file = io.BufferedReader(_Counted(path, progress), 1 << 18)
    is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
    says_gzip = path.suffix.lower() in (".gz", ".gzip")
    if is_gzip != says_gzip and path.stat().st_size:
        notes.add("file_format", detail="the content is gzip" if is_gzip else "the name says gzip, the content is not")
    stream = io.BufferedReader(_Unpacked(fileobj=file), 1 << 18) if is_gzip else file
    try:
        head = stream.peek(4096)[:4096]
    except (EOFError, OSError, zlib.error, _AbsurdSize):
        head = b""
    return stream, head


def _read(stream, head: bytes, kind: str, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """Read the rows into the builder; a broken compressed stream or parquet file becomes a finding."""
    try:
        if kind == "parquet":
            read_parquet(stream, builder, notes)
            return
        lines = _Lines(stream, head, notes, MAX_LINE if kind == "jsonl" else -1)
        if kind == "csv":
            read_csv(lines, builder, notes, rejects)
        elif kind == "json":
            read_json_rows(lines, builder, notes, rejects)
        else:
            read_json_lines(lines, builder, notes, rejects)
        if lines.trouble:
            notes.add("encoding", detail=lines.trouble)
    except (EOFError, zlib.error, OSError) as problem:
        notes.add("torn_file", detail=f"reading stops after {builder.n_records} rows: {problem}")
    except _AbsurdSize as problem:
        notes.add("absurd_size", detail=str(problem))
    finally:
        stream.close()


class _Lines:
    """Iterate over decoded lines; notes a BOM and lines over `longest` bytes (-1: any length), which it passes over.

    Bytes that are not UTF-8 wait in `trouble` for the row they belong to.
    """

    def __init__(self, stream, head: bytes, notes: Notes, longest: int):
        self.stream, self.trouble, self.ends_with_newline = stream, "", True
        self.notes, self.longest = notes, longest
        self.encoding = encoding_of(head)
        if self.encoding == "utf-8-sig":
            notes.add("byte_order_mark")
        elif self.encoding != "utf-8":
            notes.add("encoding", 0, 1, detail=f"the file is {self.encoding.upper()[:6]}")

    def __iter__(self):
        stream = iter(self._next_line, b"")
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

    def _next_line(self) -> bytes:
        """The next line, b"" at the end; an absurdly long one is passed over in pieces."""
        line = self.stream.readline(self.longest)
        if len(line) != self.longest or line.endswith(b"\n"):
            return line
        self.notes.add("absurd_size", detail=f"a line is longer than {self.longest:,} bytes, and is passed over")
        while line and not line.endswith(b"\n"):
            line = self.stream.readline(self.longest)
        return b"\n"

    def take_trouble(self) -> str:
        """The bad bytes since the last call, or ""."""
        trouble, self.trouble = self.trouble, ""
        return trouble


MAGIC = ((b"PAR1", "parquet"), (b"PK\x03\x04", "zip"), (b"%PDF", "pdf"), (b"ARROW1", "arrow"), (b"SQLite", "sqlite"))
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROL = bytes(set(range(32)) - {8, 9, 10, 12, 13, 27})
LFS_POINTER = (b"version https://git-lfs", "only the pointer of Git LFS (`git lfs pull` fetches the file)")
MAGIC += (LFS_POINTER,)
NOT_ROWS = (LFS_POINTER[1], "zip", "pdf", "arrow", "sqlite", "html", "binary")
MAX_CONTROL_SHARE = 0.2  # of the first bytes: more is no text; a hole of zero bytes in a text file stays below


def encoding_of(head: bytes) -> str:
    """The encoding by its byte order mark, or by the zero bytes between Latin letters; "utf-8" otherwise."""
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    head = head[: len(head) // 2 * 2]
    if len(head.translate(None, _CONTROL)) < 0.4 * len(head):
        return "utf-8"
    zeros = head[1::2].count(0), head[::2].count(0)
    for number, encoding in enumerate(("utf-16-le", "utf-16-be")):
        if zeros[number] > 0.3 * len(head) / 2 and zeros[1 - number] < 0.02 * len(head) / 2:
            return encoding
    return "utf-8"


def content_format(head: bytes, promised: str) -> str:
    """What the bytes are: `promised` unless they clearly are something else."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    text, encoding = head, encoding_of(head)
    if encoding != "utf-8":
        text = head[: len(head) // 4 * 4].decode(encoding, "replace").encode()
    elif len(head.translate(None, _CONTROL)) < (1 - MAX_CONTROL_SHARE) * len(head):
        return "binary"
    text = text.lstrip()
    if text[:100].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "html"
    if promised == "parquet":
        return ("jsonl" if text[:1] == b"{" else "json" if text[:1] == b"[" else "csv") if text else promised
    if promised in ("jsonl", "json"):
        if text[:1] == b"[" and text[1:2] != b"\n":
            first_line = text.split(b"\n", 1)[0]
            return "json" if promised == "json" or not _parses_as_array_line(first_line) else "jsonl"
        if text[:1] == b"[":
            return "json"
        looks_csv = text[:1].isalpha() and b"," in text.split(b"\n")[0] and b"{" not in text.split(b"\n")[0]
        return "csv" if looks_csv else promised
    return "jsonl" if re.match(rb'\{\s*"', text) else "json" if re.match(rb'\[\s*\{\s*"', text) else promised


def _parses_as_array_line(line: bytes) -> bool:
    """True when a line starting with [ is a complete JSON list of something else than objects."""
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return not any(isinstance(item, dict) for item in value)
