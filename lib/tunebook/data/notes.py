"""Collect troubles row by row and turn them into findings; say what the gate makes of them.

Does not judge a row: it counts, keeps the first hundred row numbers and words the sentence from `wording.yaml`.
"""

import functools
import itertools
from pathlib import Path

from tunebook.findings import Finding
from tunebook.pipeline.params import read_yaml

N_SHOWN_ROWS = 100


@functools.cache
def checks() -> dict[str, tuple[str, str, str]]:
    """Name of every check -> (severity, what it says, what to do about it)."""
    lines = read_yaml(Path(__file__).with_name("wording.yaml"))
    return {name: tuple(line.split(" | ")) for name, line in lines.items()}


class Notes:
    """Troubles by check name. `n_rows` is the number of records in the source, for "3 of 200 rows"."""

    def __init__(self, n_rows: int = 0):
        self.n_rows = n_rows
        self._found = {}

    def add(self, check: str, row: int | None = None, line: int | None = None, detail: str = "") -> None:
        """Note one trouble of a row (0-based record index; `line` 1-based); a row counts once for each check."""
        entry = self._found.setdefault(check, {"count": 0, "rows": [], "detail": detail})
        if row is None:
            entry["count"] += 1
            return
        place = (int(row), None if line is None else int(line))
        if place in entry["rows"]:
            return
        entry["count"] += 1
        if entry["rows"] and place[0] < min(entry["rows"])[0]:
            entry["detail"] = detail
        if len(entry["rows"]) < N_SHOWN_ROWS:
            entry["rows"].append(place)

    def set_count(self, check: str, count: int) -> None:
        """Say how many rows a trouble concerns, where they are not added one by one."""
        self._found[check]["count"] = count

    def count(self, check: str) -> int:
        """Number of troubles noted under this name."""
        return self._found[check]["count"] if check in self._found else 0

    def findings(self) -> list[Finding]:
        """One finding a check, errors first, in the order of the table."""
        names = [name for name in checks() if name in self._found]
        return merge_findings([word_finding(name, n_rows=self.n_rows, **self._found[name]) for name in names])


def word_finding(check: str, count: int, rows=(), detail: str = "", n_rows: int = 0, severity: str = "") -> Finding:
    """Word one finding: "Rows that are not valid JSON: 2 of 40; first: row 3, line 4: Expecting value at column 17."

    `rows` are record numbers, or (record number, line) pairs. Raises KeyError for a check that `wording.yaml` does
    not list.
    """
    usual_severity, what, fix = checks()[check]
    places = sorted(row if isinstance(row, tuple) else (row, None) for row in rows)
    rows, lines = [row for row, _ in places], [line for _, line in places if line is not None]
    place = (f"row {rows[0]}" if rows else "") + (f", line {lines[0]}" if rows and lines else "")
    first = ": ".join(part for part in (place, detail) if part)
    if what.startswith("="):
        message = what[1:] + (f": {first}" if first else "")
    else:
        message = f"Rows that {what}: {count}" + (f" of {n_rows}" if n_rows else "")
        message += f"; first: {first}" if rows and first else f"; {first}" if first else ""
    severity = severity or usual_severity
    return Finding(check, severity, count, f"{message.rstrip('.')}.", fix, rows, lines)


def status_of_findings(findings: list[Finding]) -> str:
    """`fail` with any error, else `warn` with any warning, else `pass`."""
    severities = {item.severity for item in findings}
    return "fail" if "error" in severities else "warn" if "warn" in severities else "pass"


def reject(check: str, row: int, line: int | None, record, reason: str = "") -> dict:
    """One line of rejects.jsonl: what was removed, where it stood, and why."""
    return {
        "row": row,
        "line": line,
        "check": check,
        "reason": reason or (checks()[check][1] if check in checks() else check),
        "record": record,
    }


def merge_findings(*lists) -> list[Finding]:
    """Join lists of findings, errors first; the order within a severity stays."""
    rank = {"error": 0, "warn": 1, "info": 2}
    return sorted(itertools.chain(*lists), key=lambda item: rank[item.severity])
