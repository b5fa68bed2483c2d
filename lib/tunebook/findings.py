"""Findings: what is wrong or worth knowing inside a readable file. Does not look for anything itself."""

from dataclasses import asdict, dataclass, field

SEVERITIES = ("error", "warn", "info")
ROWS_KEPT = 100


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    `rows` are 0-based record indices and `lines` 1-based lines of a text file, the first 100 of each; `count` counts
    all. `fix` says what the owner of the data can do.
    """

    check: str
    severity: str
    count: int
    message: str
    fix: str
    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def __post_init__(self):
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is not one of {', '.join(SEVERITIES)}")
        object.__setattr__(self, "rows", [int(row) for row in self.rows[:ROWS_KEPT]])
        object.__setattr__(self, "lines", [int(line) for line in self.lines[:ROWS_KEPT]])

    def to_dict(self) -> dict:
        """The JSON form; `lines` only where the file has lines."""
        record = asdict(self)
        if not record["lines"]:
            del record["lines"]
        return record

    @classmethod
    def from_dict(cls, record: dict) -> "Finding":
        """The finding of a JSON object that `to_dict` made. TypeError on unknown keys."""
        return cls(**record)


class Objections(list):
    """Findings on an artefact in their JSON form; `fix` and `check` are those of every objection that brings no own."""

    def __init__(self, fix: str = "", check: str = ""):
        super().__init__()
        self.fix, self.check = fix, check

    def add(self, severity: str, message: str, fix: str = "", check: str = "", count: int = 1) -> "Objections":
        """Append one objection; returns the list."""
        names = {"check": check or self.check, "severity": severity}
        self.append({**names, "count": count, "rows": [], "message": message, "fix": fix or self.fix})
        return self

    def error(self, message: str, **changes) -> "Objections":
        """As `add`, of severity error."""
        return self.add("error", message, **changes)

    def warn(self, message: str, **changes) -> "Objections":
        """As `add`, of severity warn."""
        return self.add("warn", message, **changes)
