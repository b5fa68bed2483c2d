"""Read JSON lines and JSON documents into a RowsBuilder; every line that is wrong becomes a finding at its place.

Does not open files and does not look at what the rows mean.
"""

import ast
import io
import json
import math
import re

from tunebook.data.notes import Notes, reject
from tunebook.data.rows import RowsBuilder
from tunebook.files import LooseJson, strict_json

HUGE_NUMBER = re.compile(r"\d[eE]\+?\d{3}")  # 1e999 is read as infinity
LOOSE = {"not_a_number": "the value is {}", "doubled_keys": "the key {!r} stands twice in one object"}
ROW_FIELDS = {"messages", "prompt", "chosen", "conversations", "text"}


def parse_object(text: str) -> tuple[dict | None, str, str]:
    """Parse one JSON object: (object, "", "") or (object or None, check name, detail with the column)."""
    try:
        value, loose = _read(text)
    except json.JSONDecodeError as problem:
        return None, "bad_json", f"{problem.msg} at column {problem.colno}"
    except (RecursionError, ValueError) as problem:
        return None, "bad_json", f"{type(problem).__name__}: nested too deeply or a number too long"
    if not isinstance(value, dict):
        return None, "mixed_types", f"a row must be a JSON object, this one is a {type(value).__name__}"
    if loose:
        return value, loose.check, LOOSE[loose.check].format(loose.name)
    if HUGE_NUMBER.search(text) and _has_infinity(value):
        return value, "not_a_number", "a number is so large that it is read as infinity"
    if "\\ud" in text.lower() and _has_lone_surrogate(text):
        return None, "encoding", "half of a surrogate pair (\\ud800 to \\udfff)"
    return value, "", ""


def _read(text: str) -> tuple:
    """(value, None), or (the value as Python takes it, the LooseJson that says what is wrong)."""
    try:
        return strict_json(text), None
    except LooseJson as problem:
        return json.loads(text), problem


def _has_infinity(value) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_infinity, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and math.isinf(value)


def _has_lone_surrogate(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def read_json_lines(lines, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """One object a line; blank lines are passed over. Where the first line is none, the whole file is looked at
    first.
    """
    following = iter(lines)
    for number, line in enumerate(following, 1):
        text = line.strip()
        if not text:
            continue
        trouble = lines.take_trouble()
        if trouble:
            notes.add("encoding", builder.n_records, number, trouble)
        if not builder.n_records and parse_object(text)[0] is None:
            text = line + "".join(following)
            if not read_whole(text, builder, notes):
                _read_lines(_Plain(text), number, builder, notes, rejects)
            return
        rejects += _add_line(lines, number, text, builder, notes)


def _read_lines(lines, start: int, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """Lines of a text in memory, one object a line; the first has the number `start`."""
    for number, line in enumerate(lines, start):
        if text := line.strip():
            rejects += _add_line(lines, number, text, builder, notes)


def _add_line(lines, number: int, text: str, builder: RowsBuilder, notes: Notes) -> list[dict]:
    """Read one line into the builder; what cannot be read is returned as a reject."""
    value, check, detail = parse_object(text)
    if check == "bad_json" and not lines.ends_with_newline and _stops_early(text):
        check = "torn_file"
    if check:
        notes.add(check, builder.n_records, number, detail)
    if value is None:
        return [reject(check, builder.skip(), number, text[:2000], detail)]
    builder.add(text, number)
    return []


def read_whole(text: str, builder: RowsBuilder, notes: Notes) -> bool:
    """Read a text that is wrong as a whole, and say so in one finding `file_format`; False where only some lines are
    wrong.

    Objects spread over lines, side by side, or with a comma after each are read. Bare lists, lines of Python, JSON
    inside strings and commas before a closing bracket are only named.
    """
    records, end = _objects_of(text)
    n_lines = sum(bool(line.strip()) for line in text.split("\n"))
    is_list = text.lstrip()[:1] == "["
    is_whole = not text[end:].strip(" \t\r\n],") and (text.rstrip()[-1:] == "]") == is_list
    if is_whole and records and max(len(records), n_lines) > 1:
        if is_list:
            how = "a comma stands before the closing bracket"
        elif re.search(r"\}\s*,\s*\{", text):
            how = "a comma follows each object"
        else:
            how = "each object is spread over several lines" if n_lines > len(records) else "objects share a line"
        notes.add("file_format", detail=f"{how}; {len(records)} rows are read; write one object a line")
        for record in records:
            _add_record(record, builder, notes, [])
        return True
    sample = [line for line in text.split("\n") if line.strip()][:N_DIAGNOSED]
    for how, is_it in WHOLE_FILE:
        if sum(map(is_it, sample)) > MOST * len(sample):
            notes.add("file_format", detail=f"{how} ({n_lines} lines); write one JSON object a line")
            return True
    if TRAILING_COMMA.search(text) and _parses(TRAILING_COMMA.sub(r"\1", text)):
        line = text.count("\n", 0, TRAILING_COMMA.search(text).start()) + 1
        notes.add(
            "file_format", detail=f"a comma stands before a closing bracket (line {line}), which JSON does not allow"
        )
        return True
    return False


N_DIAGNOSED = 200  # lines that are looked at
MOST = 0.8  # of them
TRAILING_COMMA = re.compile(r",(\s*[}\]])")


def _objects_of(text: str) -> tuple[list[dict], int]:
    """The objects that follow each other in a text, commas and one opening bracket passed over, and where they end."""
    read, at, records = json.JSONDecoder().raw_decode, 0, []
    gap = re.compile(r"[\s,]*\[?\s*" if text.lstrip()[:1] == "[" else r"[\s,]*")
    while True:
        at = gap.match(text, at).end()
        gap = re.compile(r"[\s,]*")
        if text[at : at + 1] != "{":
            return records, at
        try:
            record, at = read(text, at)
        except (ValueError, RecursionError):
            return records, at
        records.append(record)


def _is_list(line: str) -> bool:
    return line.lstrip().startswith("[") and isinstance(_value(line), list)


def _is_python(line: str) -> bool:
    """True for an object as Python prints it, with single quotes."""
    if not re.match(r"\s*\{\s*'", line):
        return False
    try:
        return isinstance(ast.literal_eval(line.strip()), dict)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def _is_packed(line: str) -> bool:
    value = _value(line)
    return isinstance(value, str) and isinstance(_value(value), dict)


def _has_trailing_comma(line: str) -> bool:
    return bool(TRAILING_COMMA.search(line)) and isinstance(_value(TRAILING_COMMA.sub(r"\1", line)), dict)


def _value(text: str):
    """The parsed value, None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parses(text: str) -> bool:
    return isinstance(_value(text), dict | list)


WHOLE_FILE = (
    ("every line is a bare list, so the columns have no names", _is_list),
    ("every line is an object as Python prints it, with single quotes, not JSON", _is_python),
    ("every line is a string that holds JSON, so the rows were written twice", _is_packed),
    ("every line has a comma before a closing bracket, which JSON does not allow", _has_trailing_comma),
)


def _stops_early(text: str) -> bool:
    """True when the JSON text is right as far as it goes, so that its end is missing."""
    try:
        json.loads(text)
    except json.JSONDecodeError as problem:
        is_half_escape = problem.msg.startswith("Invalid \\") and problem.pos >= len(text) - 6
        return problem.pos >= len(text) or problem.msg.startswith("Unterminated") or is_half_escape
    except (RecursionError, ValueError):
        pass
    return False


def read_json_rows(lines, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """A list of objects, an object with one list of objects ({"data": [...]}), or JSON lines under the name .json.

    Columns of equal length ({"prompt": [...], "completion": [...]}) are read as rows, with a finding.
    """
    text = "".join(lines)
    if not text.strip():
        return
    try:
        value, loose = _read(text)
    except (ValueError, RecursionError) as problem:
        _note_broken(text, problem, builder, notes, rejects)
        return
    if isinstance(value, dict):
        value = _rows_inside(value, notes)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        notes.add("file_format", detail=f"the rows are bare lists ({len(value)}), so the columns have no names")
        return
    for record in value if isinstance(value, list) else [value]:
        _add_record(record, builder, notes, rejects)
    if loose and not notes.count(loose.check):
        notes.add(loose.check, detail=LOOSE[loose.check].format(loose.name))


def _note_broken(text: str, problem, builder: RowsBuilder, notes: Notes, rejects: list) -> None:
    """JSON lines are read as such; anything else is one broken record."""
    first = text.lstrip().split("\n", 1)[0]
    if parse_object(first)[0] is not None:
        _read_lines(_Plain(text), 1, builder, notes, rejects)
        return
    if read_whole(text, builder, notes):
        return
    line = getattr(problem, "lineno", 1)
    where = f"{getattr(problem, 'msg', problem)} at line {line}, column {getattr(problem, 'colno', 1)}"
    notes.add("torn_file" if _stops_early(text.rstrip()) else "bad_json", builder.skip(), line, where)


def _rows_inside(value: dict, notes: Notes) -> list:
    """The rows of a document that is one object: under a key, as columns, or the object itself."""
    lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
    if len(lists) == 1 and not ROW_FIELDS & set(value):
        return lists[0]
    if len(lists) == len(value) > 1:
        how = f"the content is one object of {len(lists)} lists of rows ({', '.join(value)})"
        notes.add("file_format", detail=f"{how}; write each into a file of its own")
        return []
    columns = {key: item.values() if isinstance(item, dict) else item for key, item in value.items()}
    lengths = {len(item) if hasattr(item, "__len__") and not isinstance(item, str) else 0 for item in columns.values()}
    is_flat = all(not isinstance(cell, dict | list) for item in columns.values() if lengths != {0} for cell in item)
    if len(value) > 1 and len(lengths) == 1 and lengths != {0} and is_flat:
        notes.add("file_format", detail="the content is one object of columns, expected one object for each row")
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [value]


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
