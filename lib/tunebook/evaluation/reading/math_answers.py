"""Whether two answers to a mathematical problem are the same, as MATH and its kin write them in LaTeX or in plain text.

Read are numbers, expressions, equations, lists, tuples, intervals, matrices, numbers in other bases and words. Units
may be left out; those that both name are converted (60 minutes, 1 hour) or must be the same. Values are compared
exactly where they are rational, else at points where terms that differ hardly ever agree. An inequality and what the
parser (`math_terms`) does not read cannot be compared: `why_not_compared` names it before any answer is judged.
"""

import re
from fractions import Fraction

from tunebook.evaluation.reading.math_terms import (
    NotRead,
    Value,
    as_text,
    is_multiple,
    literal,
    product,
    read_term,
    same_value,
)

VERSION = "tunebook-math/2"
LONGEST = 1000  # characters of an answer
TEST = (
    "# {version}\nfrom tunebook.evaluation.reading.math_answers import require_same\n\nEXPECTED = {expected!r}\n"
    "QUESTION = {question!r}\n\n\ndef check(answer):\n    require_same(answer, EXPECTED, QUESTION)\n"
)
_OPEN, _CLOSE = "([\u2983\u27e8", ")]\u2984\u27e9"  # for \{ and \langle
_RELATION = re.compile(r"[<>\u2260\u2208]|\\(?:leq?|geq?|lt|gt|neq?|in|equiv|approx|sim|subset|mid|forall)(?![a-z])")
_MATRIX = re.compile(r"\\begin\{([pb])matrix\}(.*)\\end\{\1matrix\}", re.DOTALL)
_FORM = re.compile(r"\b(?:factor|expand|simplif|complet(?:e|ing) the square)", re.IGNORECASE)
_BASED = re.compile(r"([0-9A-Z]+)(?:_\{?(\d+)\}?|_\{?\"(\w+)\"\}?|\"base(\w+)\")")
_WORD = r"[A-Za-z][A-Za-z'.-]*"
_NO_UNITS = frozenset("pi sqrt sin cos tan sec csc cot log ln or and infty infinity".split())
_UNIT = re.compile(rf"(.*[\d)}}\]].*?)\s*(?:\"([^\"]*)\"|(?<=[\s\d])((?:{_WORD}\s*)+?))\s*(?:\^\{{?([23])\}}?)?")
_SHORT_UNITS = frozenset("cm mm km ft kg mg mi mph in yd lb oz hr min sec ml day per".split())
_SAME_UNITS = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "kilometer": "km", "metre": "m",
    "kilometre": "km", "meter": "m", "inche": "in", "inch": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "kilogram": "kg", "gram": "g", "pound": "lb", "ounce": "oz", "hour": "hr", "minute": "min",
    "second": "sec", "s": "sec", "h": "hr", "penny": "cent", "pennie": "cent", "liter": "l", "litre": "l",
    "milliliter": "ml", "millilitre": "ml", "milligram": "mg",
}  # fmt: skip
# units of one kind, each in parts of one of them. Source: the international yard and pound, 1959
_SIZES = tuple(
    {unit: Fraction(size) for unit, size in kind.items()}
    for kind in (
        {"mm": "0.001", "cm": "0.01", "m": "1", "km": "1000", "in": "0.0254", "ft": "0.3048", "yd": "0.9144",
         "mi": "1609.344"},
        {"mg": "0.001", "g": "1", "kg": "1000", "oz": "28.349523125", "lb": "453.59237"},
        {"sec": "1", "min": "60", "hr": "3600", "day": "86400", "week": "604800"},
        {"ml": "0.001", "l": "1"}, {"pint": "1", "quart": "2", "gallon": "8"}, {"cent": "0.01", "dollar": "1"},
    )
)  # fmt: skip
# what is written as a sign; a pound of money has the name of one of weight
_MARKS = (("dollar", r"\\\$|\bdollars?\b"), ("cent", r"\u00a2"), ("euro", r"\u20ac"), ("lb", r"\u00a3|\\pounds\b"),
          ("degree", r"\^\s*\{?\s*\\circ|\u00b0|\\degree|\bdegrees?\b"))  # fmt: skip


def problem_of(question: str, solution: str) -> dict:
    """A problem of kind `answer` without its id: right is what is equal to the answer of `solution`."""
    test = TEST.format(version=VERSION, expected=boxed(solution), question=question)
    solved = {"entry_point": "answer", "canonical_solution": solution, "test": test}
    return {"prompt": question, **solved, "kind": "answer", "reading": "boxed"}


def require_same(answer: str, expected: str, question: str = "") -> None:
    """AssertionError, with what was expected, unless the answer is the expected one; both may be whole solutions, of
    which the last `\\boxed{}` counts.
    """
    assert not why_not_compared(expected), why_not_compared(expected)
    assert is_same(boxed(answer), boxed(expected), question), f"expected {boxed(expected)!r}"


def boxed(text: str) -> str:
    """What the last `\\boxed{}` or `\\fbox{}` of a text holds; the text itself where it has none, "" where
    it does not end.

    >>> boxed("So $x$ is \\\\boxed{\\\\frac{1}{2}}.")
    '\\\\frac{1}{2}'
    """
    marks = list(re.finditer(r"\\f?boxed\s*(\{)|\\boxed\s+([^\s${}]+)|\\fbox\s*(\{)", text))
    if not marks:
        return text.strip()
    if marks[-1][2]:
        return marks[-1][2]
    rest, depth = text[marks[-1].end() :], 1
    for at, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0) if rest[at - 1 : at] != "\\" else 0
        if not depth:
            return rest[:at].strip()
    return ""


def why_not_compared(expected: str) -> str:
    """What an expected answer is that cannot be compared with others, "" where it can."""
    text = as_text(boxed(expected))
    if not text:
        return "its answer is empty"
    if len(text) > LONGEST:
        return f"its answer has {len(text)} characters, at most {LONGEST} are compared"
    if _RELATION.search(text):
        return "an answer that is an inequality or a relation cannot be compared with its other forms"
    try:
        _read(text)
    except NotRead as problem:
        return f"its answer cannot be compared with other forms ({problem})"
    return ""


def is_same(answer: str, expected: str, question: str = "") -> bool:
    """Whether an answer is the expected one.

    A number must be given as a number: what is left to be computed, or only repeats the question, is no answer. Where
    the question asks for a form (factor, expand, simplify), an expression must have it, up to the order of terms.

    >>> is_same("0.5", "\\\\dfrac12"), is_same("(1, 2]", "(1, 2)"), is_same("2 + 2", "4")
    (True, False, False)
    """
    given, wanted = as_text(re.split(r"\\approx|\u2248", answer[: 2 * LONGEST])[0]), as_text(expected)
    mark, wanted_mark = _mark(answer), _mark(expected)
    if _squeezed(given) == _squeezed(wanted) and given and (mark == wanted_mark or not mark or not wanted_mark):
        return True
    if len(given) > LONGEST:
        return False
    try:
        left, right = _read(given, asks_percent="percent" in question.lower()), _read(wanted)
    except NotRead:
        return False
    is_repeated = bool(re.search(r"[\\^/*+]", given)) and _squeezed(given) in _squeezed(as_text(question))
    if is_repeated and re.findall(r"\d+", given) != re.findall(r"\d+", wanted):
        return False
    return _equal(_marked(left, mark), _marked(right, wanted_mark), bool(_FORM.search(question)))


def _mark(text: str) -> str:
    """The unit that an answer has as a sign (\\$, \u00b0), "" for none; a dollar sign without a second one is money."""
    if text.replace("\\$", "").count("$") % 2:
        return "dollar"
    return next((unit for unit, pattern in _MARKS if re.search(pattern, text)), "")


def _marked(tree, mark: str):
    """What `_read` made, with the unit of a sign where a value has none of its own."""
    place = {"value": 2, "equation": 5}.get(tree[0]) if isinstance(tree, tuple) and isinstance(tree[0], str) else None
    if place:
        return (*tree[:place], tree[place] or mark)
    is_whole = not isinstance(tree, tuple) or tree[0] == "percent"
    return tree if is_whole else tuple(_marked(part, mark) for part in tree)


def _squeezed(text: str) -> str:
    """The text without spaces but those inside a mixed number."""
    return re.sub(r"\s", "", re.sub(r"(?<=\d)\s+(?=\d|\\frac)", "_", text))


def _read(text: str, asks_percent: bool = True):
    """An answer as nested tuples: ("words", text), ("based", digits, base), ("matrix", rows), ("many", parts),
    (brackets, parts) in order, ("equation", left, right, is a number, name, unit) or ("value", Value, unit).
    """
    if found := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in re.split(r"\\\\", found[2]) if row.strip()]
        return "matrix", *(tuple(_read(cell.strip()) for cell in row) for row in rows)
    text = re.sub(r"\"\s*(?:and|or)\s*\"|\b(?:and|or)\b", ",", text)
    if "\\pm" in text:
        text = text.replace("\\pm", "+", 1) + "," + text.replace("\\pm", "-", 1)
    unions = _split(text, ("\\cup",))
    if len(unions) > 1:
        return "many", *map(_read, unions)
    parts = _split(text, (",", ";"))
    if len(parts) > 1:
        return "many", *(_read(part, asks_percent) for part in parts)
    if text[:1] in _OPEN and text[-1:] in _CLOSE and text and _closes_at_end(text):
        parts = _split(text[1:-1], (",", ";"))
        if text[0] == "\u2983":
            return "many", *map(_read, parts)
        if len(parts) > 1:
            return text[0] + text[-1], *map(_read, parts)
        return _read(text[1:-1].strip())
    if re.fullmatch(r"[\d.]+(\s*:\s*[\d.]+)+", _unit_of(text)[0]):
        return ":", *(_read(part.strip()) for part in _unit_of(text)[0].split(":"))
    return _read_one(text, asks_percent)


def _read_one(text: str, asks_percent: bool):
    if words := _words(text):
        return "words", words
    if found := _BASED.fullmatch(_squeezed(text)):
        return "based", found[1].lstrip("0"), (found[2] or found[3] or found[4]).lower()
    sides = [side.strip() for side in text.split("=")]
    if len(sides) == 2 and literal(sides[0]) and re.fullmatch("[A-Za-z]", sides[1]):
        sides.reverse()
    if len(sides) == 2 and all(sides) and not literal(sides[0]):
        unit_free = [_unit_of(side)[0] for side in sides]
        terms = (read_term(side) for side in unit_free)
        return "equation", *terms, literal(unit_free[1]), sides[0], _unit_of(sides[1])[1]
    text, unit = _unit_of(sides[-1])
    per_cent = text.endswith("%") or unit in ("percent", "per cent")
    text = text.rstrip("% ")
    value = Value(read_term(text), literal(text))
    if per_cent:
        return "percent", value, Value(product([value.term, read_term("0.01")]), value.is_literal), asks_percent
    return "value", value, unit


def _words(text: str) -> str:
    """The words of an answer that is words, without quotes and articles; "" for any other."""
    if letter := re.fullmatch(r"[\"(\s]*([A-Z])[\")\s]*", text):  # of several choices
        return letter[1].lower()
    bare = re.sub(r"[\"()]|\\(?=[ ])", " ", text)
    if '"' in text and not re.search(r"\d|[=^\\]", text) or re.fullmatch(rf"{_WORD}(?:[\s,]+{_WORD})*", bare.strip()):
        words = [word for word in re.findall(r"[A-Za-z0-9'-]+", bare.lower()) if word not in ("the", "a", "an")]
        is_math = '"' not in text and (len(bare.strip()) < 4 or set(words) & _NO_UNITS)
        return "" if is_math else " ".join(words) or bare.strip().lower()
    return ""


def _unit_of(text: str) -> tuple[str, str]:
    """(the value, its unit in one spelling, "" for none)."""
    found = _UNIT.fullmatch(text)
    if not found or not found[1].strip():
        return text, ""
    words = re.sub(r"[^a-z0-9/ ]", "", (found[2] or found[3] or "").lower())
    words = words.replace("/", " per ").replace("mph", "mi per hr").split()
    plain = [] if found[2] is not None else words
    if any(word in _NO_UNITS or len(word) < 4 and word not in _SHORT_UNITS for word in plain):
        return text, ""
    power = found[4] or ""
    power = (
        {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3"}.get(words[0], power) if words else power
    )
    words = [word for word in words if word not in ("square", "sq", "squared", "cubic", "cubed", "of", "the")]
    same = [_SAME_UNITS.get(word.rstrip("s") or word, word.rstrip("s") or word) for word in words]
    same = [word for word in same if word != "dollar" or "per" not in same]  # as $5 "per hour" has none
    return found[1].strip(), " ".join(same) + power if any(same) else ""


def _split(text: str, marks: tuple[str, ...]) -> list[str]:
    """The text at each of the marks that stands in no bracket; a comma between groups of three digits is none."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        depth += (text[at] in _OPEN + "{") - (text[at] in _CLOSE + "}")
        mark = next((mark for mark in marks if text.startswith(mark, at)), "") if not depth else ""
        if mark:
            parts.append(text[start:at].strip())
            start = at + len(mark)
        at += len(mark) or 1
    return [*parts, text[start:].strip()] if parts else [text]


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if not depth:
            return at == len(text) - 1
    return False


def _equal(left, right, needs_form: bool) -> bool:
    kind, other = right[0], left[0]
    if kind == "equation":
        return _equal_equations(left, right, needs_form)
    if other == "equation":  # a name and what it is
        left, other = ("value", Value(left[2], left[3]), left[5]), "value"
    if {kind, other} <= {"value", "percent"}:
        return _equal_values(left, right, needs_form)
    if (kind, other) == ("based", "value"):
        return str(left[1].term) == right[1]
    if kind != other:
        return False
    if kind == "words":
        return left[1] == right[1]
    if kind == "based":
        return left[1] == right[1] and (left[2] == right[2] or not left[2])
    if len(left) != len(right):
        return False
    if kind == "matrix":
        pairs = [pair for rows in zip(left[1:], right[1:], strict=True) for pair in zip(*rows, strict=False)]
        is_shape = all(len(a) == len(b) for a, b in zip(left[1:], right[1:], strict=True))
        return is_shape and all(_equal(a, b, needs_form) for a, b in pairs)
    if kind != "many":
        return all(_equal(a, b, needs_form) for a, b in zip(left[1:], right[1:], strict=True))
    rest = list(left[1:])
    for part in right[1:]:
        place = next((n for n, item in enumerate(rest) if _equal(item, part, needs_form)), None)
        if place is None:
            return False
        del rest[place]
    return True


def _equal_values(left, right, needs_form: bool) -> bool:
    """Values with their units; 50% is 1/2, and also 50 where the question asks for per cents or one side is such."""
    if "percent" in (left[0], right[0]) and any(side[0] == "value" and side[2] for side in (left, right)):
        return False
    if left[0] == "percent":
        wanted, also = right[1], left[2]
        if right[0] == "percent" or left[3]:
            return same_value(left[1], wanted, needs_form)
        return same_value(also, wanted, needs_form)
    if right[0] == "percent":
        return any(same_value(left[1], value, needs_form) for value in right[1:3])
    value = _converted(left[1], left[2], right[2])
    return bool(value) and same_value(value, right[1], needs_form)


def _converted(value: Value, unit: str, wanted: str) -> Value | None:
    """The value in the wanted unit; as it is where one of the two is not named, None where they are of two kinds.

    >>> _converted(Value(Fraction(90), True), "min", "hr").term
    Fraction(3, 2)
    """
    factor = _factor(unit, wanted) if unit and wanted else Fraction(1)
    return Value(product([value.term, factor]), value.is_literal) if factor else None


def _factor(unit: str, wanted: str) -> Fraction | None:
    """How many of the wanted unit one unit is: 60 for hr in min; None for two kinds."""
    if unit == wanted:
        return Fraction(1)
    (top, *below), (wanted_top, *wanted_below) = unit.split(" per "), wanted.split(" per ")
    if below and len(below) == len(wanted_below) == 1:
        factors = _factor(top, wanted_top), _factor(below[0], wanted_below[0])
        return factors[0] / factors[1] if all(factors) else None
    power = unit[-1] if unit[-1] in "23" else ""
    names = unit.removesuffix(power), wanted.removesuffix(power)
    sizes = next((kind for kind in _SIZES if set(names) <= kind.keys()), None)
    return (sizes[names[0]] / sizes[names[1]]) ** int(power or 1) if sizes and wanted.endswith(power) else None


def _equal_equations(left, right, needs_form: bool) -> bool:
    """Two equations: one is the other's multiple; to `x = 5` the answer 5 is the same."""
    if left[0] == "value":
        is_name = re.fullmatch(r"[A-Za-z](?:\([a-z]\))?", _squeezed(right[4]))
        value = _converted(left[1], left[2], right[5])
        return bool(is_name and value) and same_value(value, Value(right[2], right[3]), needs_form)
    if left[0] != "equation" or left[5] and right[5] and left[5] != right[5]:
        return False
    if needs_form or _squeezed(left[4]) == _squeezed(right[4]):
        return left[1] == right[1] and same_value(Value(left[2], left[3]), Value(right[2], right[3]), needs_form)
    return is_multiple(left[1:3], right[1:3])
