"""What the whole file must agree on: one type a column, one id a row. Looks at raw rows, before any conversion."""

import collections

from tunebook.data.notes import Notes

ID_NAMES = ("id", "uid", "uuid", "row_id", "example_id", "sample_id")
GROUP_NAMES = ("task_id", "question_id", "problem_id", "prompt_id")  # several rows may belong to one of these
MAX_DOUBLED_FEW = 3  # more repeated ids than these shares of the rows number groups, not rows
MAX_DOUBLED_SHARE = {**dict.fromkeys(ID_NAMES, 0.5), **dict.fromkeys(GROUP_NAMES, 0.1)}
_TYPE_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}


class Types:
    """Which JSON types each column has; the rarer types of a column are troubles."""

    def __init__(self):
        self.seen = collections.defaultdict(dict)

    def see(self, raw: dict, record: int, line: int | None) -> None:
        """Look at one raw row."""
        for name, value in raw.items():
            if value is not None:
                entry = self.seen[name].setdefault(_TYPE_NAMES.get(type(value), "other"), [0, []])
                entry[0] += 1
                if len(entry[1]) < 100:
                    entry[1].append((record, line))

    def note(self, notes: Notes) -> None:
        """Note the rows of the rarer types."""
        for name, kinds in self.seen.items():
            if name in ("chosen", "rejected") and notes.count("pair_types"):
                continue
            usual = max(kinds, key=lambda kind: kinds[kind][0])
            for kind, (count, places) in kinds.items():
                if kind != usual:
                    for record, line in places:
                        notes.add("mixed_types", record, line, f"{name} is a {kind}, in most rows a {usual}")
                    notes.set_count("mixed_types", notes.count("mixed_types") + count - len(places))


class Ids:
    """Ids that repeat, in a column where most values are different (else it numbers groups, not rows)."""

    def __init__(self):
        self.seen = {}

    def see(self, raw: dict, record: int, line: int | None) -> None:
        """Look at one raw row."""
        for name in MAX_DOUBLED_SHARE:
            value = raw.get(name)
            if isinstance(value, str | int) and value != "":
                first, doubled = self.seen.setdefault(name, (set(), []))
                if value in first:
                    doubled.append((record, line, value))
                first.add(value)

    def note(self, notes: Notes) -> None:
        """Note the rows whose id an earlier row has."""
        for name, (first, doubled) in self.seen.items():
            n_rows = len(first) + len(doubled)
            if len(doubled) <= max(MAX_DOUBLED_FEW, MAX_DOUBLED_SHARE[name] * n_rows):
                for record, line, value in doubled:
                    notes.add("doubled_ids", record, line, f"{name} {value!r} again")
