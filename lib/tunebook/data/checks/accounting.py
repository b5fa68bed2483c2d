"""What becomes of every column and every message key: used, harmless, dropped by name, or not used.

What would change what is learnt and is not used is an error (`left_out`), text that nothing reads a warning (`unread`),
until it is mapped or dropped by name. Also the types of each column, and ids that repeat. Does not convert rows.
"""

import collections
import shlex
from dataclasses import dataclass, field

from tunebook.data.mapping import EXTRA_WORDS, Reading, extra_field, flags_of, words_of
from tunebook.data.messages import OTHER_ROLES, ROLES, WEIGHT_KEYS, is_blank, is_message, message_text, unpacked
from tunebook.data.notes import Notes
from tunebook.data.ranking import are_judgements
from tunebook.data.row_types import FIELDS, TOOL_COLUMNS
from tunebook.models.templates import THOUGHT_KEYS

# Words of names that place a row, judge it or count it, and say nothing that a model should learn.
HARMLESS = frozenset(
    "id ids idx index uid uuid guid key source src origin url uri link domain dataset subset config split fold"
    " score scores rating ratings reward rewards rank quality difficulty level category categories topic topics tag"
    " tags type kind group slice cluster language lang locale license licence author annotator worker username model"
    " models generator engine provider created updated date time timestamp version year length len num count words"
    " tokens chars hash md5 sha sha256 metadata meta file filename path line row record position seed temperature"
    " finish cost latency verified reviewed toxicity pii name parallel phrase task refusal audio_id mask end"
    " labelling labeling raw".split()
)
TESTED = frozenset("test tests entry challenge assert".split())  # the row's own test, which `answers_fail` runs
SPEAKING_ROLES = frozenset((*ROLES, *OTHER_ROLES))
MEDIA = frozenset("image images audio audios video videos pixel".split())
OTHER_ANSWER = frozenset(
    "completion response answer answers output solution code reply target summary translation".split()
)
BAD_ANSWER = frozenset("rejected dispreferred nonpreferred loser worse preferred chosen".split())
MESSAGE_FIELDS = ("messages", "prompt", "completion", "chosen", "rejected")
N_SAMPLED = 200  # values of a column that are kept to see what it is
MIN_WORDS = 4  # mean words of a column of text; shorter values are labels


@dataclass
class _Column:
    """What was seen of one column: rows in which it holds something, rows where that is in the trained text too."""

    filled: int = 0
    repeated: int = 0
    values: list = field(default_factory=list)
    places: list = field(default_factory=list)


class Account:
    """Grows row by row; then `table` says what becomes of each column, and `note` what is left out."""

    def __init__(self, reading: Reading):
        self.reading = reading
        used = dict.fromkeys(
            (*FIELDS.get(reading.kind, ()), *(("prompt", "completion", "messages") if reading.kind == "kto" else ()))
        )
        if reading.kind == "preference":
            used |= dict.fromkeys(("prompt", "messages") if "chosen" not in reading.fields else ("prompt",))
        used |= dict.fromkeys(TOOL_COLUMNS if reading.kind != "text" else ())
        self.used = {name: name for name in used if name not in reading.fields} | reading.roots()
        self.has_chosen = False  # then `messages` is no part of a pair
        self.columns: dict[str, _Column] = {}
        self.keys: dict[str, _Column] = {}
        self.n_rows = self.n_turns = self.n_trained = self.n_characters = self.n_trained_characters = 0

    def see(self, raw: dict, row: dict | None, record: int, line: int | None) -> None:
        """Look at one raw row, and at its canonical form where it has one."""
        self.n_rows += 1
        self.has_chosen |= "chosen" in raw
        texts = None
        for name, value in raw.items():
            column = self.columns.setdefault(name, _Column())
            if is_blank(value):
                continue
            self._see_value(column, value, record, line)
            if self._is_used(name):
                if isinstance(value, list | str):
                    self._see_keys(value, record, line)
            elif row and isinstance(value, str | list) and name not in self.reading.drop and not is_harmless(name):
                texts = _texts(row) if texts is None else texts
                column.repeated += _is_in(value, texts)
        if row:
            self._count(row)

    def _is_used(self, name: str) -> bool:
        is_chosen = name == "messages" and self.has_chosen and "messages" not in self.reading.roots()
        return name in self.used and not (is_chosen and self.reading.kind == "preference")

    def _see_value(self, column: _Column, value, record: int, line: int | None) -> None:
        column.filled += 1
        if len(column.values) < N_SAMPLED:
            column.values.append(value)
        if len(column.places) < 100:
            column.places.append((record, line))

    def _see_keys(self, value, record: int, line: int | None) -> None:
        value, seen = unpacked(value), {}
        for message in value if isinstance(value, list) else ():
            blocks = message.get("content") if is_message(message) else ()
            if isinstance(blocks, list) and any(isinstance(b, dict) and b.get("type") == "tool_use" for b in blocks):
                seen.setdefault("tool_calls", blocks)
            for key, item in message.items() if is_message(message) else ():
                if key not in ("role", "content", "from", "value", "parts") and item not in (None, "", [], {}):
                    seen.setdefault(key, item)
        for key, item in seen.items():
            self._see_value(self.keys.setdefault(key, _Column()), item, record, line)

    def _count(self, row: dict) -> None:
        """Assistant turns and characters, and how many of them are trained."""
        self.n_turns += row.get("cut_turns", 0)
        for is_given, messages in ((True, row["prompt"]), (False, row["completion"])):
            for message in messages:
                is_spoken = message["role"] == "assistant"
                is_trained = is_spoken and (message.get("weight") == 1 or not is_given)
                self.n_turns += is_spoken
                self.n_trained += is_trained
                n_characters = len(message_text(message))
                self.n_characters += n_characters
                self.n_trained_characters += n_characters * is_trained

    def table(self) -> list[dict]:
        """`column, becomes, how` of every column and message key; becomes: used, harmless, dropped, not used."""
        return [{key: row[key] for key in ("column", "becomes", "how")} for row in self._fates()]

    def _fates(self) -> list[dict]:
        """The table, with the severity of what is not used."""
        rows = [{"column": name, **self._fate(name, column)} for name, column in self.columns.items()]
        rows += [
            {"column": f"messages.{name}", **self._fate_of_key(name, column)} for name, column in self.keys.items()
        ]
        return rows

    def _fate(self, name: str, column: _Column) -> dict:
        if name in self.reading.drop:
            return {"becomes": "dropped", "how": "by name"}
        if self._is_used(name):
            what = self.used[name]
            return {"becomes": "used", "how": _HOW.get(what) if what == name and what in _HOW else f"as {what}"}
        if not column.filled:
            return {"becomes": "harmless", "how": "blank in every row"}
        if words_of(name) & TESTED:
            return {"becomes": "used", "how": "the row's own test"}
        if column.repeated == column.filled:
            return {"becomes": "harmless", "how": "repeats what is used"}
        return self._fate_of_rest(name, column)

    def _fate_of_rest(self, name: str, column: _Column) -> dict:
        """A column that no field takes: by what its name says, then by what it holds."""
        words, extra = words_of(name), extra_field(name)
        if extra == "weight" and all(value in (1, "1") for value in column.values):
            return {"becomes": "harmless", "how": "1 in every row"}
        if extra == "label" and self.reading.kind != "text":
            if not are_judgements(column.values):
                return {"becomes": "not used", "how": "it judges no answer", "severity": "warn"}
            if all(value in (True, "true", "True", "1") for value in column.values):
                return {"becomes": "harmless", "how": "true in every row"}
        if "kwargs" in words:
            return {"becomes": "not used", "how": "it changes how the rows are written", "severity": "error"}
        if self.reading.kind == "text" and {str(value).lower() for value in column.values} <= SPEAKING_ROLES:
            is_tree = {"message_id", "parent_id"} <= self.columns.keys()
            how = "each row is one turn of a conversation" + (
                ", OASST's form: join the turns from message_id to parent_id, a row of messages for each path"
                if is_tree else "")  # fmt: skip
            return {"becomes": "not used", "how": how, "severity": "error"}
        if extra:
            why = (
                "the label is not trained" if self.reading.kind == "text" and extra == "label" else _WHY.get(extra, "")
            )
            return {"becomes": "not used", "how": why, "severity": "error"}
        if words & MEDIA:
            return {"becomes": "not used", "how": "this kit trains text only", "severity": "error"}
        if is_harmless(name):
            return {"becomes": "harmless", "how": ""}
        if words & BAD_ANSWER:
            return {"becomes": "not used", "how": "the other answer of a pair", "severity": "error"}
        if "candidates" in self.reading.fields and all(isinstance(value, bool) for value in column.values):
            return {"becomes": "not used", "how": "it judges one of the answers"}
        if words & OTHER_ANSWER:
            return {"becomes": "not used", "how": "another answer", "severity": "warn"}
        if {True, False} <= {value for value in column.values if isinstance(value, bool)}:
            return {"becomes": "not used", "how": "it may say which answers are good", "severity": "warn"}
        return {"becomes": "not used", "how": "", **({"severity": "warn"} if _is_text(column.values) else {})}

    def _fate_of_key(self, name: str, column: _Column) -> dict:
        if name in self.reading.drop:
            return {"becomes": "dropped", "how": "by name"}
        if name in WEIGHT_KEYS:
            return {"becomes": "used", "how": "0 reads the turn without training it"}
        if name in ("tool_calls", "function_call", "tool_call_id", "name", *THOUGHT_KEYS):
            return {"becomes": "used", "how": "written by the model's chat template, where it knows it"}
        if words_of(name) & MEDIA:
            return {"becomes": "not used", "how": "this kit trains text only", "severity": "error"}
        if is_harmless(name):
            return {"becomes": "harmless", "how": ""}
        return {"becomes": "not used", "how": "", **({"severity": "warn"} if _is_text(column.values) else {})}

    def note(self, notes: Notes) -> None:
        """One finding for what changes what is learnt (`left_out`), one for text that nothing reads (`unread`)."""
        for check, severity in (("left_out", "error"), ("unread", "warn")):
            lost = [row for row in self._fates() if row.get("severity") == severity]
            if not lost:
                continue
            columns = {**self.columns, **{f"messages.{name}": column for name, column in self.keys.items()}}
            details = [self._remedy(row, columns[row["column"]]) for row in lost]
            for row in lost:
                for record, line in columns[row["column"]].places:
                    notes.add(check, record, line, "; ".join(details))
            notes.set_count(check, max(columns[row["column"]].filled for row in lost))

    def _remedy(self, row: dict, column: _Column) -> str:
        name, why = row["column"], f", {row['how']}" if row["how"] else ""
        drop = f"--drop {shlex.quote(name.removeprefix('messages.'))}"
        return f"{name} ({column.filled} rows{why}): {self._map_flags(name)}{drop}"

    def _map_flags(self, name: str) -> str:
        """The mapping that would use the column, "" where there is none."""
        kind, extra = self.reading.kind, extra_field(name)
        if name.startswith("messages."):
            return ""
        if kind == "text":
            text = self.reading.fields.get("text", "text")
            return f"{flags_of({'prompt': text, 'completion': name})}, or " if extra == "label" else ""
        if not extra and any(isinstance(value, bool) for value in self.columns[name].values):
            extra = "label"
        fields = self.reading.fields
        if extra == "context":
            others = [column for column in self.columns if column != name and self._is_lost_context(column)]
            return f"{flags_of({extra: '+'.join([*filter(None, [fields.get(extra)]), name, *others])})}, or "
        if extra in EXTRA_WORDS:
            return f"{flags_of({extra: name})}, or "
        if "rejected" in words_of(name) and kind in ("prompt_completion", "messages"):
            field = "messages" if kind == "messages" else "completion"
            better = "messages" if kind == "messages" else "chosen"
            return f"{flags_of({better: fields.get(field, field), 'rejected': name})}, or "
        return ""

    def _is_lost_context(self, name: str) -> bool:
        fate = self._fate(name, self.columns[name])
        return extra_field(name) == "context" and fate.get("severity") == "error"

    def uses_template(self) -> int:
        """Rows with tools, tool calls or thoughts, which only some chat templates write; 0 for none."""
        columns = [self.columns["functions"]] if "functions" in self.used.keys() & self.columns.keys() else []
        columns += [self.columns[name] for name, what in self.used.items() if "tools" in what and name in self.columns]
        keys = [self.keys[name] for name in ("tool_calls", "function_call", *THOUGHT_KEYS) if name in self.keys]
        return min(self.n_rows, max((column.filled for column in columns + keys), default=0))

    def counts(self) -> dict[str, int]:
        """Assistant turns and characters, and how many of them are trained."""
        return {"turns": self.n_turns, "trained_turns": self.n_trained,
                "characters": self.n_characters, "trained_characters": self.n_trained_characters}  # fmt: skip

    def trained(self) -> str:
        """How many assistant turns and characters are trained."""
        how = f"train_on: {self.reading.train_on}"
        what = {"text": "all text", "preference": "chosen, against rejected", "kto": "answers by their label"}
        how = what.get(self.reading.kind, how)
        return (
            f"{self.n_trained:,} of {self.n_turns:,} assistant turns ({how}), "
            f"{self.n_trained_characters:,} of {self.n_characters:,} characters"
        )


_HOW = {
    "prompt": "the question", "completion": "the answer", "messages": "the conversation",
    "text": "all of it is trained",
    "chosen": "the better answer", "rejected": "the worse answer", "label": "whether the answer is good",
    "tools": "written by the model's chat template, where it knows tools",
    "functions": "written by the model's chat template, where it knows tools",
}  # fmt: skip
_WHY = {
    "label": "false marks answers that must not be imitated: KTO rows, not SFT rows",
    "weight": "0 marks rows that must not be trained",
    "context": "the questions need it",
    "system": "the system text",
    "history": "the turns before",
}


def is_harmless(name: str) -> bool:
    """True for names that place, judge or count a row."""
    return bool(words_of(name) & HARMLESS)


def _texts(row: dict) -> list[str]:
    """All that is read or trained of a canonical row, squeezed."""
    sides = (row["prompt"], row["completion"], row.get("rejected") or ())
    return [_squeezed(part) for side in sides for message in side for part in message["content"].split("\n\n")]


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _is_in(value, texts: list[str]) -> bool:
    """True when the column's texts are in the row's, or hold all of them (Alpaca's rendered `text`)."""
    whole = " ".join(texts)
    if isinstance(value, list):
        parts = [m.get("content", m.get("value")) if isinstance(m, dict) else m for m in value]
        return bool(parts) and all(isinstance(part, str) and _squeezed(part) in whole for part in parts)
    value = _squeezed(value)
    return value in whole or len(whole) > 20 and all(text in value for text in texts)


def _is_text(values: list) -> bool:
    """True for a column whose values are sentences, most of them different."""
    texts = [text for value in values for text in _leaves(value)]
    n_words = sum(len(text.split()) for text in texts)
    return bool(texts) and n_words >= MIN_WORDS * len(texts) and len(set(texts)) > len(texts) / 2


def _leaves(value) -> list[str]:
    """The texts in a value, those inside objects and lists too."""
    if isinstance(value, dict | list):
        return [text for part in (value.values() if isinstance(value, dict) else value) for text in _leaves(part)]
    return [value] if isinstance(value, str) else []


def columns_of(rows: list[dict]) -> set[str]:
    """The names that `drop` may use: columns and message keys of these rows."""
    names = {name for row in rows for name in row}
    for row in rows:
        for value in row.values():
            items = unpacked(value) if isinstance(value, list | str) else ()
            names |= {
                key for item in (items if isinstance(items, list) else ()) if isinstance(item, dict) for key in item
            }
    return names


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
