"""How columns become the fields of a row: `--map FIELD=COLUMN`, and the mapping that is likely for a file.

A likely mapping is proposed, never applied silently. It keeps every column that changes what is learnt.
"""

import json
import re
import shlex
import string
from dataclasses import dataclass

from tunebook.data import ranking
from tunebook.data.messages import TRAIN_ON, RowProblem, is_blank, system_text, unpacked
from tunebook.errors import InputProblem
from tunebook.evaluation.shapes import at_path

KINDS = ("prompt_completion", "messages", "text", "preference", "kto")
LIKELY_NAMES = {
    "prompt": tuple("instruction question query input inputs user problem request source english phrase"
                    " document article dialogue sentence review".split()),
    "completion": tuple("output response answer solution target targets assistant reply label result summary highlights"
                        " translation canonical_solution generated_solution answerkey ground_truth expected_output"
                        " ideal code".split()),
    "chosen": tuple("preferred accepted winner better response_chosen chosen_response preferred_output"
                    " response_j".split()),
    "rejected": tuple("dispreferred loser worse response_rejected rejected_response non_preferred_output"
                      " response_k".split()),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "chat", "turns", "contents"),
    "text": ("content", "document", "body"),
}  # fmt: skip
# Words of a column's name by which it belongs to the row, though no row type has a field for it.
EXTRA_WORDS = {
    "system": "system sys persona",
    "context": (
        "context contexts passage passages document documents background article paragraph evidence knowledge input"
        " choices options endings"
    ),
    "history": "history previous past",
    "tools": "tools functions",
    "label": "label desirable kto thumbs",
    "weight": "weight weights",
}
EXTRA_WORDS = {field: frozenset(words.split()) for field, words in EXTRA_WORDS.items()}
# answers, and what each is worth or which is better: the best is chosen, the worst is rejected
RANKED = ("candidates", "scores", "better")
SINGLE = ("messages", "history", "tools", "label", "weight", "better")  # fields of one column
# the fields that are read together, each beside some of EXTRA_WORDS
TOGETHER = ("prompt completion label", "messages label", "text", "prompt chosen rejected", "messages rejected",
            "prompt candidates scores", "prompt candidates better")  # fmt: skip
FIELDS = (*LIKELY_NAMES, *EXTRA_WORDS, *RANKED)
CHOICES = frozenset(("choices", "options", "endings"))  # columns whose texts are written with a letter each
ABOUT = frozenset("id ids length len url title source name count num quality config type score rating".split())
FIRST_USER = "first_user"  # as a part of `system`: its text goes into the first user turn
TEXT_FIELDS = ("prompt", "completion", "chosen", "rejected", "text", "system", "context")
LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_]\w{2,8})*")
# Name, the columns by which it is known, and its mapping (what else the file holds is added to it).
SHAPES = (
    ("OpenAI's preference rows", "input preferred_output non_preferred_output",
     {"prompt": "input.messages", "chosen": "preferred_output", "rejected": "non_preferred_output"}),
    ("pairs beside a conversation (ms-swift)", "messages rejected_response",
     {"messages": "messages", "rejected": "rejected_response"}),
    ("pairs beside a conversation (ms-swift)", "messages rejected_messages",
     {"chosen": "messages", "rejected": "rejected_messages"}),
    ("pairs beside a conversation (LLaMA-Factory)", "conversations chosen rejected",
     {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected"}),
    ("SHP", "history human_ref_a human_ref_b score_a score_b",
     {"prompt": "history", "candidates": "human_ref_a+human_ref_b", "scores": "score_a+score_b"}),
    ("UltraFeedback", "instruction completions models",
     {"prompt": "instruction", "candidates": "completions[].response", "scores": "completions[].overall_score"}),
    ("WebGPT's comparisons", "question answer_0 answer_1 score_0 score_1",
     {"prompt": "question.full_text", "candidates": "answer_0+answer_1", "scores": "score_0+score_1"}),
    ("Nectar", "prompt answers good_natured",
     {"prompt": "prompt", "candidates": "answers[].answer", "scores": "-answers[].rank"}),
    ("OpenOrca's pairs", "question chosen rejected", {"prompt": "question", "chosen": "chosen",
    "rejected": "rejected"}),
    ("MBPP", "text code test_list", {"prompt": "text", "completion": "code"}),
    ("MBPP", "prompt code test_list", {"prompt": "prompt", "completion": "code"}),
    ("HumanEval", "prompt canonical_solution", {"prompt": "prompt", "completion": "canonical_solution"}),
    ("SQuAD", "context question answers",
     {"prompt": "question", "completion": "answers.text[0]", "context": "context"}),
    ("Dolly", "instruction context response", {"prompt": "instruction", "completion": "response",
    "context": "context"}),
    ("Alpaca", "instruction input output", {"prompt": "instruction+input", "completion": "output"}),
    ("OpenOrca", "system_prompt question response",
     {"prompt": "question", "completion": "response", "system": "system_prompt"}),
    ("xLAM", "query answers tools", {"prompt": "query", "completion": "answers", "tools": "tools"}),
    ("ShareGPT", "conversations", {"messages": "conversations"}),
    ("GSM8K", "question answer", {"prompt": "question", "completion": "answer"}),
    ("texts with labels", "text label", {"prompt": "text", "completion": "label"}),
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How rows are read: their row type, the mapping, the columns left out by name, what is trained, and the revision
    of a Hub data set.
    """

    kind: str = ""
    mapping: tuple = ()
    drop: frozenset = frozenset()
    train_on: str = "all"
    revision: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The mapping as a dict."""
        return dict(self.mapping)

    def roots(self) -> dict[str, str]:
        """Column → the field it becomes, by the mapping."""
        roots = {}
        for field, paths in self.mapping:
            for root in map(root_of, _paths(field, paths)):
                roots[root] = f"{roots[root]}, {field}" if roots.get(root, field) != field else field
        return roots


def reading_of(mapping=None, kind: str = "", drop=(), train_on: str = "all", revision: str = "") -> Reading:
    """How a file is to be read, from parameters or flags.

    `mapping`: see `read_column_mapping`. `kind` names the row type where it must not be detected. `drop`: columns and
    message keys that are left out by name, as a list or one text with commas. `train_on`: "all" or "last", the
    assistant turns of a conversation that are trained. `revision`: of a Hub data set. Raises InputProblem for a mapping
    or word that is not known.
    """
    if kind and kind not in KINDS:
        raise InputProblem(f"row type {kind}: expected one of {', '.join(KINDS)}")
    if train_on not in TRAIN_ON:
        raise InputProblem(f"train_on: {train_on!r} is unknown; choose one of {', '.join(TRAIN_ON)}")
    given = [drop] if isinstance(drop, str) else drop
    names = frozenset(name.strip() for text in given for name in str(text).split(",") if name.strip())
    return Reading(kind, tuple(read_column_mapping(mapping).items()), names, train_on, revision)


def read_column_mapping(mapping) -> dict[str, str]:
    """A mapping as a dict; accepts a dict, a list of "prompt=question" or one such text with commas.

    "prompt=instruction+input" joins two columns by an empty line; "input.messages" and "answers.text[0]" reach inside a
    column, "completions[].response" into each of a list, "answers.text[0]|unanswerable" has a text for rows without
    one; "candidates" with "scores" (of which "-rank" is lowest for the best) or "better" (the
    column that names one) make pairs; "system=first_user" puts system turns into the
    first user turn. Raises InputProblem for anything else.
    """
    if not mapping:
        return {}
    if isinstance(mapping, dict):
        pairs = list(mapping.items())
    else:
        given = [mapping] if isinstance(mapping, str) else list(mapping)
        parts = [part for text in given for part in re.split(rf",\s*(?=(?:{'|'.join(FIELDS)})=)", str(text))]
        pairs = [tuple(part.split("=", 1)) for part in parts]
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in FIELDS:
            raise InputProblem(
                f"mapping {'='.join(map(str, pair))}: expected FIELD=COLUMN with FIELD one of {', '.join(FIELDS)}"
            )
    fields = [field for field, _ in pairs]
    if twice := next((field for field in fields if fields.count(field) > 1), ""):
        columns = "+".join(str(column) for field, column in pairs if field == twice)
        raise InputProblem(f"mapping: {twice} is given twice; columns are joined by a plus: {twice}={columns}")
    ranking.check_direction(dict(pairs))
    check_all_read(dict(pairs))
    return dict(pairs)


def check_all_read(mapping: dict[str, str], also: tuple = ()) -> None:
    """InputProblem for a column that no row would read: a second one of a field of one, a field of another row type.
    `also`: fields that the file has under their own names.
    """
    if twice := next((field for field in SINGLE if "+" in str(mapping.get(field, ""))), ""):
        raise InputProblem(f"mapping {twice}={mapping[twice]}: a plus joins texts, {twice} is one column; name one")
    if not _are_read({*mapping, *also}):
        asked = ", ".join({**mapping, **dict.fromkeys(also)})
        extras = "all but text also with system, context, history, tools, weight"
        raise InputProblem(f"mapping: no row type reads {asked} together; these are: {'; '.join(TOGETHER)} ({extras})")


def _are_read(fields) -> bool:
    extras = EXTRA_WORDS.keys() - {"label"}
    return any(fields <= {*known.split(), *(extras if known != "text" else ("weight",))} for known in TOGETHER)


def _paths(field: str, paths: str) -> list[str]:
    """The columns of one field, without the word that says where a system text goes and the sign of scores."""
    parts = [path for path in paths.split("+") if field != "system" or path != FIRST_USER]
    return [path.removeprefix("-") for path in parts] if field == "scores" else parts


def flags_of(mapping: dict[str, str]) -> str:
    """The mapping as it is typed: --map prompt=question --map completion=answer."""
    return " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in mapping.items())


def words_of(name: str) -> frozenset:
    """The words of a column's name: "systemPrompt_v2" → system, prompt, v2."""
    return frozenset(re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", str(name)).lower()))


def root_of(path: str) -> str:
    """The column of a path: "answers.text[0]" → "answers"."""
    return re.split(r"[.\[|]", path, maxsplit=1)[0]


def value_at(row: dict, path: str):
    """The value of a column, or inside one ("input.messages", "answers.text[0]"); also in a csv cell that holds JSON.

    Raises RowProblem where there is none, and no text for that stands behind a bar ("answers.text[0]|none").
    """
    place, bar, otherwise = ("", "", "") if path in row else path.partition("|")
    try:
        value = at_path(row, place or path, lambda text: _parsed(text, path))
        return otherwise if bar and is_blank(value) else value
    except KeyError:
        if bar:
            return otherwise
        raise RowProblem("missing_field", f"no column {path}") from None


def _parsed(text: str, path: str):
    if "array(" in text:
        raise RowProblem("numpy_cell", f"{path}: {text[:60]!r}")
    try:
        return json.loads(text)
    except ValueError:
        return unpacked(text)


def apply_mapping(row: dict, mapping: dict[str, str]) -> dict:
    """The mapped fields of a row, numbers as text; with "+" the parts that are not blank, an empty line between them.

    Raises RowProblem when a mapped column is missing; those of EXTRA_WORDS may be, and are then left out.
    """
    mapped = {}
    for field, given in mapping.items():
        paths = _paths(field, given)
        if field == "system" and FIRST_USER in given.split("+"):
            mapped[FIRST_USER] = True
        if not paths:
            continue
        first, *others = paths
        if field in EXTRA_WORDS and root_of(first) not in row and first not in row:
            continue
        if field in RANKED:
            signed = zip(given.split("+"), (value_at(row, path) for path in paths), strict=True)
            values = [ranking.scored(value, sign) if field == "scores" else value for sign, value in signed]
            mapped[field] = ranking.listed(values) if field != "better" else values[0]
            continue
        paths = [first, *(path for path in others if path in row or root_of(path) in row)]
        values = [value_at(row, path) for path in paths]
        if field == "context":
            is_number = isinstance(row.get(mapping.get("completion")), int)
            values = [_listed(value, path, is_number) for value, path in zip(values, paths, strict=True)]
        if field in TEXT_FIELDS:
            values = [_as_text(value) for value in values]
        if field == "system":
            values = [system_text(value, path) for value, path in zip(values, paths, strict=True)]
        if others:
            _check_texts(field, values, paths)
            mapped[field] = "\n\n".join(str(value) for value in values if not is_blank(value))
        elif field not in EXTRA_WORDS or not is_blank(values[0]):
            mapped[field] = values[0]
    return mapped


def _check_texts(field: str, values: list, paths: list[str]) -> None:
    """RowProblem where a plus would join what is no text, as Python prints it."""
    for value, path in zip(values, paths, strict=True):
        if isinstance(unpacked(value), list | dict) and value:
            raise RowProblem("mixed_types", f"{path} holds no plain text, and {field} joins texts: {'+'.join(paths)}")


def _as_text(value):
    """Numbers and truth values as text; texts, lists and objects stay."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _listed(value, path: str, is_number: bool):
    """A list of texts as one text; choices a line each with a letter, or with the number that the answers use."""
    marks = range(len(value)) if is_number and isinstance(value, list) else string.ascii_uppercase
    if isinstance(value, dict) and {"text", "label"} <= value.keys():
        value, marks = value["text"], value["label"]
    elif isinstance(value, dict):
        value, marks = list(value.values()), list(value)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return value
    if words_of(path) & CHOICES:
        return "\n".join(f"{mark}. {text}" for mark, text in zip(marks, value, strict=False))
    return "\n\n".join(value)


def likely_mapping(columns, sample=()) -> tuple[dict[str, str], str]:
    """(a mapping for plain columns or {}, the name of a known shape or ""): question, answer → prompt=question,
    completion=answer.

    `sample`: some rows. Columns that are blank in all of them are left out.
    """
    filled = [c for c in columns if not sample or any(not is_blank(row.get(c)) for row in sample)]
    by_lower = {str(column).strip().lower(): column for column in columns}
    for name, known, mapping in SHAPES:
        if set(known.split()) <= by_lower.keys():
            found = {field: _with_case(path, by_lower) for field, path in mapping.items()}
            if name == "SQuAD" and any(_lacks(row, found["completion"]) for row in sample):
                found["completion"] += "|unanswerable"  # SQuAD 2.0
            if name == "GSM8K" and not any("####" in str(row.get(found["completion"])) for row in sample):
                name = ""
            return {**found, **_extras(filled, found, sample)}, name
    found = _judged(by_lower) or _pick(by_lower) or _languages(filled, sample)
    return ({**found, **_extras(filled, found, sample)} if found else {}), ""


def _judged(by_lower: dict) -> dict[str, str]:
    """Two answers with what says which is better, beside a prompt."""
    if {"chosen", "rejected"} <= by_lower.keys():
        return {}
    prompts = ("prompt", *LIKELY_NAMES["prompt"], "context")
    return ranking.judged_pair(by_lower, next((by_lower[name] for name in prompts if name in by_lower), None))


def _lacks(row: dict, path: str) -> bool:
    try:
        return is_blank(value_at(row, path))
    except RowProblem:
        return True


def _languages(columns: list, sample) -> dict[str, str]:
    """The two sides of a translation that one column holds: {"translation": {"en": ..., "de": ...}}."""
    for column in columns:
        value = sample[0].get(column) if sample else None
        if isinstance(value, dict) and len(value) == 2 and all(map(LANGUAGE.fullmatch, map(str, value))):
            return dict(zip(("prompt", "completion"), (f"{column}.{key}" for key in value), strict=True))
    return {}


def has_better_shape(columns) -> bool:
    """True for columns with a `text` that a known data set reads as question and answer (MBPP, rendered Alpaca)."""
    found, shape = likely_mapping(columns)
    is_answer = shape or found == {"prompt": "question", "completion": "answer"}
    return bool(is_answer) and "completion" in found and not {"text", "label"} == set(found.values())


def _with_case(path: str, by_lower: dict) -> str:
    signed = [(part[: part.startswith("-")], part.removeprefix("-")) for part in path.split("+")]
    return "+".join(sign + by_lower[root_of(part)] + part[len(root_of(part)) :] for sign, part in signed)


def _pick(by_lower: dict) -> dict[str, str]:
    """The first row type whose fields all have a likely column."""

    def pick(field):
        return by_lower.get(field) or next((by_lower[n] for n in LIKELY_NAMES[field] if n in by_lower), None)

    for fields in (("chosen", "rejected"), ("prompt", "completion"), ("messages",), ("text",)):
        found = {field: pick(field) for field in fields}
        if found.get("rejected") and not found["chosen"]:
            found["chosen"] = pick("completion")
        if all(found.values()):
            break
    else:
        return {}
    if fields == ("chosen", "rejected"):
        if prompt := pick("prompt"):
            found = {"prompt": prompt, **found}
    if found.get("prompt") == by_lower.get("instruction") and "input" in by_lower:
        found["prompt"] += "+" + by_lower["input"]
    return found


def _extras(columns, found: dict, sample) -> dict[str, str]:
    """The columns that belong to the row besides: system, context, history, tools, KTO's label, weight; also one
    level inside.
    """
    used = {path for field, paths in found.items() for path in _paths(field, paths)}
    roots = {root_of(path) for path in used}
    inside = [f"{c}.{key}" for c in columns if c in roots for row in sample[:1] if isinstance(row.get(c), dict)
              for key, value in row[c].items() if f"{c}.{key}" not in used and not is_blank(value)]  # fmt: skip
    extras = {}
    for column in [column for column in columns if column not in roots] + inside:
        field = extra_field(column.rsplit(".", 1)[-1])
        values = [row[column] for row in sample if row.get(column) is not None]
        if field == "context" and field in extras:
            extras[field] += f"+{column}"
            continue
        if not field or field in extras or field in found or not _are_read({*found, field}):
            continue
        if field == "label" and not ranking.are_judgements(values):
            continue
        if field != "weight" or any(value != 1 for value in values):
            extras[field] = column
    return extras


def extra_field(column: str) -> str:
    """The field of EXTRA_WORDS that a column's name tells, or ""."""
    words = words_of(column)
    if words & ABOUT:
        return ""
    return next((field for field, known in EXTRA_WORDS.items() if words & known), "")
