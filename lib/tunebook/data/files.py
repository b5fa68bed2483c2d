"""Read one local file of rows: jsonl, json, csv or parquet, each also gzipped.

What is wrong inside the file becomes a finding with row and line; the readable rest is still returned. The content
decides how a file is read, and a name that says otherwise is a finding. Does not look at what the rows mean.
"""

import gzip
import io
import json
import zlib
from pathlib import Path

from tunebook.data.notes import Notes, reject
from tunebook.data.rows import Rows, RowsBuilder
from tunebook.data.sniff import BOMS, NOT_ROWS, content_format
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


def read_file(path: Path, file_format: str = "") -> Rows:
    """Read a local file. `file_format` overrides what the name says.

    Raises InputProblem for a missing file, a folder, or an unknown extension; everything else is a finding.
    """
    if not path.exists():
        raise InputProblem(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputProblem(f"{path}: is a folder; give one file of rows")
    promised = file_format or named_format(path)
    notes, builder, rejects = Notes(), RowsBuilder(), []
    stream, head = _open(path, notes)
    actual = content_format(head, promised)
    if actual in NOT_ROWS:
        notes.add("file_format", detail=f"the content is {actual}, the name says {promised}")
    else:
        if actual != promised:
            notes.add("file_format", detail=f"the content is {actual}, the name says {promised}")
        _read(stream, head, actual, builder, notes, rejects)
    if not builder.n_records and not notes.count("file_format") and not notes.count("torn_file"):
        notes.add("no_rows", detail="the file is empty")
    notes.n_rows = builder.n_records
    return builder.build(str(path), actual, notes.findings(), rejects)


def _open(path: Path, notes: Notes):
    """The decompressed byte stream and its first 4 KiB. A plain file named .gz, or the reverse, is a finding."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    says_gzip = path.suffix.lower() in (".gz", ".gzip")
    if is_gzip != says_gzip and path.stat().st_size:
        notes.add("file_format", detail="the content is gzip" if is_gzip else "the name says gzip, the content is not")
    stream = io.BufferedReader(gzip.GzipFile(path)) if is_gzip else open(path, "rb")  # noqa: SIM115 - _read closes it
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
            _read_json(lines, builder, notes, rejects)
        else:
            _read_jsonl(lines, builder, notes, rejects)
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
        self.encoding = next((name for bom, name in BOMS if head.startswith(bom)), "utf-8")
        if self.encoding == "utf-16":
            notes.add("encoding", 0, 1, detail="the file is UTF-16")
        elif self.encoding == "utf-8-sig":
            notes.add("byte_order_mark")

    def __iter__(self):
        stream = self.stream
        if self.encoding == "utf-16":
            stream = (line.encode() for line in io.TextIOWrapper(self.stream, "utf-16", "replace", newline="\n"))
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


def parse_object(text: str) -> tuple[dict | None, str, str]:
    """Parse one JSON object: (object, "", "") or (object or None, check name, detail with the column)."""
    constants = []
    try:
        value = json.loads(text, parse_constant=lambda name: constants.append(name) or float(name))
    except json.JSONDecodeError as problem:
        return None, "bad_json", f"{problem.msg} at column {problem.colno}"
    except (RecursionError, ValueError) as problem:
        return None, "bad_json", f"{type(problem).__name__}: nested too deeply or a number too long"
    if not isinstance(value, dict):
        return None, "mixed_types", f"a row must be a JSON object, this one is a {type(value).__name__}"
    if constants:
        return value, "not_a_number", f"the value is {constants[0]}"
    if "\\ud" in text.lower() and _has_lone_surrogate(text):
        return None, "encoding", "half of a surrogate pair (\\ud800 to \\udfff)"
    return value, "", ""


def _has_lone_surrogate(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _read_jsonl(lines, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        trouble = lines.take_trouble()
        if trouble:
            notes.add("encoding", builder.n_records, number, trouble)
        value, check, detail = parse_object(text)
        if check == "bad_json" and not lines.ends_with_newline and _stops_early(text):
            check = "torn_file"
        if check:
            notes.add(check, builder.n_records, number, detail)
        if value is None:
            rejects.append(reject(check, builder.skip(), number, text[:2000], detail))
        else:
            builder.add(text, number)


def _stops_early(text: str) -> bool:
    """True when the JSON text is right as far as it goes, so that its end is missing."""
    try:
        json.loads(text)
    except json.JSONDecodeError as problem:
        return problem.pos >= len(text) or problem.msg.startswith("Unterminated")
    except (RecursionError, ValueError):
        pass
    return False


def _read_json(lines, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """A list of objects, an object with one list of objects ({"data": [...]}), or JSON lines under the name .json."""
    text = "".join(lines)
    constants = []
    try:
        value = json.loads(text, parse_constant=lambda name: constants.append(name) or float(name))
    except (ValueError, RecursionError) as problem:
        first = text.lstrip().split("\n", 1)[0]
        if parse_object(first)[0] is not None:
            _read_jsonl(_Plain(text), builder, notes, rejects)
            return
        line = getattr(problem, "lineno", 1)
        is_torn = _stops_early(text.rstrip())
        where = f"{getattr(problem, 'msg', problem)} at line {line}, column {getattr(problem, 'colno', 1)}"
        notes.add("torn_file" if is_torn and text.strip() else "bad_json", builder.skip(), line, where)
        return
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
        is_wrapped = len(lists) == 1 and not {"messages", "prompt", "chosen", "conversations"} & set(value)
        value = lists[0] if is_wrapped else [value]
    for record in value if isinstance(value, list) else [value]:
        _add_record(record, builder, notes, rejects)
    if constants and not notes.count("not_a_number"):
        notes.add("not_a_number", detail=f"the value is {constants[0]}")


class _Plain:
    """Lines of a text that is already in memory."""

    def __init__(self, text: str):
        self.text, self.trouble = text, ""

    @property
    def ends_with_newline(self) -> bool:
        """As of the last line, the only one for which it matters."""
        return self.text.endswith("\n")

    def take_trouble(self) -> str:
        """Nothing: the text was decoded before."""
        return ""

    def __iter__(self):
        return iter(io.StringIO(self.text, newline="\n"))


def _add_record(record, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    text = json.dumps(record, default=str)
    value, check, detail = parse_object(text)
    if check:
        notes.add(check, builder.n_records, None, detail)
    if value is None:
        rejects.append(reject(check, builder.skip(), None, text[:2000], detail))
    else:
        builder.add(text)
