"""Write files so that a reader never sees half of one, and hash them.

Does not know what a run or a stage is. Every writer makes a temporary file in the same folder, flushes it to the disk,
renames it over the target and flushes the folder: after a crash the target is the old file or the new one, nothing
else.
"""

import csv
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem

GIB = 1024**3
GZIP = b"\x1f\x8b"  # how such a file begins


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace `path` by `data` in one step; makes the folder where it is missing. MachineProblem when the disk is
    full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        replace(temporary, path)
    except OSError as problem:
        Path(temporary).unlink(missing_ok=True)
        raise MachineProblem(
            f"{path} cannot be written ({problem.strerror}): free space or choose another folder"
        ) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def replace(temporary: str | Path, path: str | Path) -> None:
    """Rename a complete, flushed file over `path` and flush the folder, so that the new name survives a power cut."""
    os.replace(temporary, path)
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, obj) -> None:
    """Replace `path` by JSON with sorted keys, two spaces and a final newline. ValueError on NaN: JSON has none."""
    write_text(path, json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[dict]) -> None:
    """Replace `path` by one JSON object a line, keys in the order of the row."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: str | Path) -> dict:
    """One JSON object. InputProblem where the file is missing, is not JSON or is not an object."""
    path = Path(path)
    value = parse_json(read_text(path), f"{path}")
    if not isinstance(value, dict):
        raise InputProblem(f"{path}: expected one JSON object, found {type(value).__name__}")
    return value


def read_jsonl(path: str | Path) -> list[dict]:
    """Rows of a JSON lines file, see `numbered_rows`."""
    return [row for _, row in numbered_rows(path)]


def numbered_rows(path: str | Path) -> list[tuple[int, dict]]:
    """(1-based line, row) of a JSON lines file, gzip or not by its content; empty lines are passed over.
    InputProblem names the file, the line and the column.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}, line {number}")
        if not isinstance(row, dict):
            raise InputProblem(f"{path}, line {number}: expected one JSON object a line, found {type(row).__name__}")
        rows.append((number, row))
    return rows


def read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == GZIP else data).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InputProblem(f"{path} is not UTF-8 text (byte {problem.start}): save it as UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise InputProblem(f"{path} is not whole gzip ({problem}): pack it again") from None
    except OSError as problem:
        raise InputProblem(f"{path} cannot be read: {problem.strerror}") from None


def parse_json(text: str, where: str):
    """The value of a JSON text that JSON can write again: InputProblem, which names `where`, for anything that is no
    JSON, NaN and Infinity, a key twice in one object, a number of more digits than Python reads, nesting without
    end, and half a character (a lone surrogate).
    """
    try:
        value = strict_json(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as problem:
        line = f"line {problem.lineno}, " if "line" not in where else ""
        raise InputProblem(f"{where}, {line}column {problem.colno}: not JSON ({problem.msg})") from None
    except UnicodeEncodeError:
        raise InputProblem(
            f"{where}: holds half a character (a lone surrogate): write the text as UTF-8 again"
        ) from None
    except ValueError as problem:
        raise InputProblem(f"{where}: not JSON ({str(problem).partition(';')[0]})") from None
    except RecursionError:
        raise InputProblem(f"{where}: JSON nested too deeply") from None


class LooseJson(ValueError):
    """What Python reads and JSON does not have. `check`: `doubled_keys` or `not_a_number`; `name`: the key, number."""

    def __init__(self, check: str, name: str, sentence: str):
        super().__init__(sentence)
        self.check, self.name = check, name


def strict_json(text: str, has_infinity: bool = False):
    """The value of a JSON text. LooseJson for a key twice in one object (readers take the last, which one was meant is
    not known), and for NaN and Infinity but with `has_infinity`; else ValueError and RecursionError as `json.loads`.
    """
    return (_SINGLE_KEYS if has_infinity else _STRICT).decode(text)


def _single_keys(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = [key for key, _ in pairs]
        name = next(key for key in seen if seen.count(key) > 1)
        raise LooseJson("doubled_keys", name, f"the key {name!r} occurs twice")
    return found


def _refuse_constant(name: str):
    raise LooseJson("not_a_number", name, f"{name} is no JSON: write a number, or null")


_STRICT = json.JSONDecoder(object_pairs_hook=_single_keys, parse_constant=_refuse_constant)  # making one takes time
_SINGLE_KEYS = json.JSONDecoder(object_pairs_hook=_single_keys)


def read_csv(path: str | Path) -> list[dict]:
    """Rows of a table that `context.table` wrote, every value as text."""
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def sha256_file(path: str | Path) -> str:
    """SHA-256 of the file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_json(obj) -> str:
    """SHA-256 of the canonical JSON of `obj`: sorted keys, no spaces, so that equal values have equal hashes.

    >>> hash_json({"b": 1, "a": 2}) == hash_json({"a": 2, "b": 1})
    True
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def require_disk(folder: str | Path, bytes_needed: int) -> None:
    """MachineProblem unless the disk of `folder` (or of its nearest existing parent) has `bytes_needed` free."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < bytes_needed:
        raise MachineProblem(
            f"{folder}: {free / GIB:.1f} GiB free, {bytes_needed / GIB:.1f} GiB needed: free space or set"
            " TUNEBOOK_OUTPUTS to a larger disk"
        )
