"""Terms of one mathematical expression: read from LaTeX or plain text, in one order, and compared by value.

A term is a Fraction, ("name", x), ("sum", terms), ("product", factors), ("power", base, exponent) or (function, term);
sums and products are flat, sorted, and hold one number at most. Knows no lists, units or words (see `math_answers`).
"""

import cmath
import math
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

TOLERANCE = 1e-10  # relative, between terms that are not both rational
POINTS = (0.7390851332, -1.6180339887, 2.2360679775, 0.4142135624, -0.3819660113, 3.3027756377)  # any will do
LARGEST_POWER = 400
_FUNCTIONS = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp, "abs": abs,
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "sinh": cmath.sinh, "cosh": cmath.cosh,
    "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x), "cot": lambda x: 1 / cmath.tan(x),
    "log": cmath.log10, "factorial": lambda x: math.gamma(x.real + 1),
}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "i": 1j, "infty": math.inf}
_WORDS = re.compile(r"(?<![a-zA-Z\\])(sqrt|arcsin|arccos|arctan|sin|cos|tan|log|ln|pi|infinity|infty)(?![a-z])")
_SIGNS = str.maketrans({
    "\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2215": "/",
    "\u03c0": "\\pi ", "\u221e": "\\infty ", "\u221a": "\\sqrt ", "\u222a": "\\cup ", "\u2264": "\\le ",
    "\u2265": "\\ge ", "\u00b1": "\\pm ", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    "\u00b0": "^\\circ ", "\u20ac": " ", "\u00a3": " ", "\u00a2": " ",
})  # fmt: skip
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2}(?![\w.]))?")
_PLAIN = r"(?:\d+(?:\.\d+)?|\.\d+)"
_LITERAL = re.compile(
    rf"[+-]?\s*(?:{_PLAIN}(?:[eE][+-]?\d{{1,2}})?(?:\s*\*\s*10\s*\^\s*\{{?[+-]?\d{{1,2}}\}}?)?"
    rf"|(?:\d+\s*)?\\frac\{{[+-]?{_PLAIN}\}}\{{{_PLAIN}\}}|(?:\d+\s+)?{_PLAIN}\s*/\s*{_PLAIN}|\d+\^\{{?-?\d{{1,3}}\}}?"
    rf"|\\infty)\s*%?"
)


class NotRead(ValueError):
    """A text that is no term this module knows."""


@dataclass(frozen=True)
class Value:
    """A term, and whether it was written as one number."""

    term: object
    is_literal: bool


def as_text(text: str) -> str:
    """An answer in one spelling: no signs of money, spacing or degrees; text commands as quoted words; sets in their
    own brackets.
    """
    text = re.sub(r"\s*([\u00bc-\u00be\u2150-\u215e])", lambda hit: " " + unicodedata.normalize("NFKC", hit[1]), text)
    text = text.replace("\u2044", "/")
    text = re.sub(r"[\u00b2\u00b3\u2070-\u2079]", lambda hit: "^" + unicodedata.normalize("NFKC", hit[0]), text)
    text = text.translate(_SIGNS).replace("\\$", "").replace("$", "").replace("\\%", "%")
    text = re.sub(r"(?<=\d)(?:\{,\}|,?\\[,!:;]|\\ |\u2009)(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\A(\s*[-+]?\s*\d{1,3}(?:,\d{3})+(?!\d))", lambda hit: hit[1].replace(",", ""), text)
    text = re.sub(r"(\d*)\.(\d*)\\overline\s*\{?(\d+)\}?", _repeating, text)
    text = re.sub(
        r"(?<!\\)\\(?:[,!;: ]|q?quad|displaystyle|left|right|[bB]igg?[lr]?|limits|\(|\)|\[|\])(?![a-zA-Z])", " ", text
    )
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|\\degrees?\b", "", text.replace("~", " "))
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\(?:cdot|times|ast)(?![a-zA-Z])", "*", text)
    text = re.sub(
        r"\\(?:text|mbox|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|hbox)\s*\{([^{}]*)\}", _quoted, text
    )
    text = re.sub(r"\"\s*(?:degrees?|dollars?)\s*\"", "", text)
    text = text.replace("\\{", "\u2983").replace("\\}", "\u2984").replace("\\lbrace", "\u2983")
    text = text.replace("\\rbrace", "\u2984").replace("\\langle", "\u27e8").replace("\\rangle", "\u27e9")
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{", re.sub(r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}", text))
    text = re.sub(r"\A\s*[A-Za-z]\s*(?:\\in(?![a-z])|\u2208)\s*", "", text)
    text = re.sub(r"\s+", " ", text).strip().rstrip(" .,;").strip()
    text = text.replace(" ", "") if re.fullmatch(r"-?\d{1,3}(?: \d{3})+", text) else text
    while re.fullmatch(r"\{[^{}]*\}", text):
        text = text[1:-1].strip() if "," not in text else f"\u2983{text[1:-1]}\u2984"
    return re.sub(r"\s+", " ", text)


def _quoted(hit) -> str:
    return f'"{hit[1]}"' if re.search(r"[^\W\d_]", hit[1]) else hit[1]


def _repeating(hit) -> str:
    """A decimal whose last digits repeat, as a fraction."""
    whole, fixed, again = hit.groups()
    nines = int("9" * len(again) + "0" * len(fixed))
    return f"\\frac{{{int(whole + fixed + again) - int(whole + fixed or 0)}}}{{{nines}}}"


def literal(text: str) -> bool:
    """Whether a text of `as_text` is one number, as it is written down: 12, -1/2, 1 1/2, 1.5*10^3, 2^10."""
    return bool(_LITERAL.fullmatch(text.strip()))


def read_term(text: str):
    """The term of a text of `as_text`. NotRead where it is none."""
    text = _WORDS.sub(lambda hit: "\\" + hit[1].replace("infinity", "infty") + " ", text)
    text = re.sub(r"(?<![\d.\w^}])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}", r"(\1+\2/\3)", text)
    text = re.sub(r"(?<![\d.\w^}])(\d+) +(\d+)/(\d+)(?![\d.])", r"(\1+\2/\3)", text)
    reader = _Reader(text)
    try:
        term = reader.sum()
    except (RecursionError, ZeroDivisionError, OverflowError, IndexError):
        raise NotRead("no term") from None
    reader.skip()
    if reader.at < len(text):
        raise NotRead(f"{text[reader.at :][:20]!r} is not read")
    return term


class _Reader:
    """Reads one text from its beginning; `at` is the place of the next letter."""

    def __init__(self, text: str):
        self.text, self.at = text, 0

    def skip(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def take(self, *words: str) -> str:
        """The first of the words that stands next, which is passed over; "" for none."""
        self.skip()
        for word in words:
            end = self.at + len(word)
            if self.text.startswith(word, self.at) and not (word[0] == "\\" and self.text[end : end + 1].isalpha()):
                self.at = end
                return word
        return ""

    def sum(self):
        sign = self.take("+", "-")
        terms = [_negative(self.product()) if sign == "-" else self.product()]
        while sign := self.take("+", "-"):
            terms.append(_negative(self.product()) if sign == "-" else self.product())
        return add(terms)

    def product(self):
        factors = [self.power()]
        while True:
            if self.take("*"):
                factors.append(_negative(self.power()) if self.take("-") else self.power())
            elif self.take("/", "\\div"):
                factors.append(power(self.power(), Fraction(-1)))
            elif self.starts_factor():
                factors.append(self.power())
            else:
                return product(factors)

    def starts_factor(self) -> bool:
        self.skip()
        rest = self.text[self.at :]
        if rest[:1].isdigit():  # two numbers side by side are no product
            return not self.text[: self.at].rstrip()[-1:].isdigit()
        return rest[:1].isalpha() or rest[:1] in tuple("({[") or bool(re.match(r"\\[a-zA-Z]", rest))

    def power(self):
        base = self.atom()
        while self.take("!"):
            base = ("factorial", base)
        return power(base, self.argument()) if self.take("^") else base

    def argument(self):
        """A group in braces, else one sign: a digit, a letter or a command with its own."""
        if self.take("{"):
            return self.until("}")
        self.skip()
        if self.text[self.at : self.at + 1].isdigit():
            self.at += 1
            return Fraction(self.text[self.at - 1])
        return _negative(self.argument()) if self.take("-") else self.atom()

    def until(self, close: str):
        term = self.sum()
        if not self.take(close):
            raise NotRead(f"{close} is missing")
        return term

    def atom(self):
        self.skip()
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return Fraction(found[0])
        for opens, closes in (("(", ")"), ("[", "]"), ("{", "}")):
            if self.take(opens):
                return self.until(closes)
        if self.take("|", "\\lvert"):
            term = self.sum()
            if not self.take("|", "\\rvert"):
                raise NotRead("| is missing")
            return ("abs", term)
        found = re.compile(r"\\?[a-zA-Z]+").match(self.text, self.at)
        if not found:
            raise NotRead(f"{self.text[self.at :][:20]!r} is not read" if self.text[self.at :] else "it ends too early")
        name = found[0] if found[0][0] == "\\" else found[0][0]
        self.at += len(name)
        return self.command(name[1:]) if name[0] == "\\" else ("name", name + self.index())

    def index(self) -> str:
        found = re.compile(r"\s*_\s*(?:\{([^{}]*)\}|(\w))").match(self.text, self.at)
        self.at = found.end() if found else self.at
        return "_" + (found[1] or found[2]) if found else ""

    def command(self, name: str):
        if name == "frac":
            above = self.argument()
            return product([above, power(self.argument(), Fraction(-1))])
        if name == "sqrt":
            degree = self.until("]") if self.take("[") else Fraction(2)
            return power(self.argument(), power(degree, Fraction(-1)))
        if name == "log" and self.take("_"):
            base = self.argument()
            return product([("ln", self.power()), power(("ln", base), Fraction(-1))])
        if name in ("binom", "dbinom", "tbinom"):
            n, k = self.argument(), self.argument()
            if all(isinstance(one, Fraction) and one.denominator == 1 and 0 <= one <= 200 for one in (n, k)):
                return Fraction(math.comb(int(n), int(k)))
        elif name in _FUNCTIONS:
            exponent = self.argument() if self.take("^") else Fraction(1)
            return power((name, self.power()), exponent)
        elif name in _CONSTANTS or name in _GREEK:
            return ("name", name + self.index())
        raise NotRead(f"\\{name} is not read")


_GREEK = frozenset(
    "alpha beta gamma delta epsilon theta lambda mu nu rho sigma tau phi varphi chi psi omega ell".split()
)


def _negative(term):
    return product([Fraction(-1), term])


def _gathered(kind: str, terms, unit: int):
    """(the numbers among the terms together, the others, sorted), those of nested sums or products among them."""
    flat = [part for term in terms for part in (term[1] if isinstance(term, tuple) and term[0] == kind else [term])]
    number = Fraction(unit)
    for part in flat:
        if isinstance(part, Fraction):
            number = number + part if kind == "sum" else number * part
    return number, sorted((part for part in flat if not isinstance(part, Fraction)), key=repr)


def add(terms):
    """The sum of terms."""
    number, rest = _gathered("sum", terms, 0)
    rest = rest if number == 0 and rest else [*rest, number]
    return rest[0] if len(rest) == 1 else ("sum", tuple(rest))


def product(factors):
    """The product of factors; 0 where one of them is."""
    number, rest = _gathered("product", factors, 1)
    if number == 0:
        return Fraction(0)
    rest = rest if number == 1 and rest else [*rest, number]
    return rest[0] if len(rest) == 1 else ("product", tuple(rest))


def power(base, exponent):
    """A power: of numbers as a number where the exponent is whole and small, of others as so many factors."""
    if exponent == 1:
        return base
    is_whole = isinstance(exponent, Fraction) and exponent.denominator == 1
    if isinstance(base, Fraction) and is_whole and abs(exponent) <= LARGEST_POWER and base.numerator < 10**6:
        return base ** int(exponent)
    if is_whole and 2 <= exponent <= 12:
        return product([base] * int(exponent))
    return ("power", base, exponent)


def names_of(term) -> set[str]:
    """The names in a term that stand for any value."""
    if isinstance(term, Fraction):
        return set()
    if term[0] == "name":
        return set() if term[1] in _CONSTANTS else {term[1]}
    parts = term[1] if term[0] in ("sum", "product") else term[1:]
    return set().union(*map(names_of, parts))


def _at(term, point: dict[str, float]):
    """The value of a term where its names have these values."""
    if isinstance(term, Fraction):
        return complex(term)
    kind = term[0]
    if kind == "name":
        return complex(_CONSTANTS[term[1]] if term[1] in _CONSTANTS else point[term[1]])
    if kind == "sum":
        return sum(_at(part, point) for part in term[1])
    if kind == "product":
        return math.prod((_at(part, point) for part in term[1]), start=complex(1))
    if kind == "power":
        return _at(term[1], point) ** _at(term[2], point)
    return complex(_FUNCTIONS[kind](_at(term[1], point)))


def _values(terms) -> list[tuple]:
    """The values of all terms at every point where all have one."""
    names = sorted(set().union(*map(names_of, terms)))
    found = []
    for shift in range(len(POINTS)):
        point = {name: POINTS[(at * 5 + shift) % len(POINTS)] + at / 7 for at, name in enumerate(names)}
        try:
            found.append(tuple(_at(term, point) for term in terms))
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
    return found


def _close(a: complex, b: complex) -> bool:
    return a == b or abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def same_value(a: Value, b: Value, needs_form: bool = False) -> bool:
    """Whether `a` is what `b` is: rational numbers exactly; others at every point, in the same form where it is needed.

    Where `b` was written as a number, `a` must be one too.
    """
    if isinstance(a.term, Fraction) and isinstance(b.term, Fraction):
        return a.term == b.term and (a.is_literal or not b.is_literal)
    if a.term == b.term:
        return True
    if b.is_literal or needs_form:
        return False
    pairs = _values([a.term, b.term])
    return len(pairs) > 2 and all(_close(*pair) for pair in pairs)


def is_multiple(left, right) -> bool:
    """Whether of two equations, each the two sides, one is the other times a number."""
    differences = [add([sides[0], _negative(sides[1])]) for sides in (left, right)]
    pairs = [pair for pair in _values(differences) if abs(pair[1]) > 1e-6]
    return len(pairs) > 2 and abs(pairs[0][0]) > 1e-6 and all(
        _close(a * pairs[0][1], b * pairs[0][0]) for a, b in pairs
    )  # fmt: skip
