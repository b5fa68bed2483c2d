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
