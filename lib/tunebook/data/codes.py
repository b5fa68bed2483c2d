"""Answers that are programs: do they parse, and are they in the language that the file or the prompt wants?

Parses Python only; runs nothing. Whether a program is a benchmark's solution is decided in `copies`.
"""

import ast
import collections
import re
import textwrap
import warnings

from tunebook.data.examples import Examples

FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^ {0,3}```[ \t]*$|\Z)", re.S | re.M)
PYTHON_START = re.compile(r"^(?:@\w|(?:async )?def \w+\s*\(|class \w+|import \w|from [\w.]+ import )", re.M)
# Signs of a language in code that is not marked; each must be one that Python does not have.
SIGNS = {
    "c": r"#include\s*<\w+\.h>|(?:int|void) main\s*\(",
    "c++": r"#include\s*<\w+>|using namespace|std::",
    "java": r"public (?:static |final |abstract )*(?:class|void|int|String)\b|import java\.|System\.out\.",
    "javascript": r"function \w*\s*\(.*\)\s*\{|(?:const|let|var) \w+\s*=|console\.log|=>\s*\{",
    "go": r"package \w+$|func (?:\([^)]*\) )?\w+\(.*\{$|fmt\.Print",
    "rust": r"fn \w+\s*(?:<[^>]*>)?\(|let mut |println!",
    "ruby": r"def \w+[^:\n]*$\n(?:.*\n)*?end$|puts ",
    "php": r"<\?php",
}
LANGUAGE_SIGNS = {name: re.compile(rf"^\s*(?:{signs})", re.M) for name, signs in SIGNS.items()}
NAMES = {"py": "python", "python3": "python", "js": "javascript", "jsx": "javascript", "ts": "typescript", "cpp": "c++",
         "cs": "c#", "csharp": "c#", "golang": "go", "rs": "rust", "rb": "ruby", "kt": "kotlin"}  # fmt: skip
LANGUAGES = {"python", "sql", "kotlin", "swift", "scala", "perl", "typescript", "c#", "r", "lua", "haskell", *SIGNS}
AMBIGUOUS = {"go", "r", "c", "swift", "rust", "ruby", "scala"}  # words too, so only "in Go" names the language
SQL = re.compile(r"^\s*(?:SELECT|INSERT INTO|UPDATE \w+ SET|CREATE TABLE|DELETE FROM|WITH \w+ AS)\b", re.M)
RELATED = {"javascript": {"typescript"}, "typescript": {"javascript"}, "c": {"c++"}, "c++": {"c"}}
MAX_CHARACTERS = 200_000
MIN_ROWS, USUAL_SHARE = 5, 0.8  # programs in one language make it the file's
TRANSLATES = re.compile(r"translat|convert|port (?:this|the|it)\b|rewrite .{0,40} (?:in|to)\b|equivalent", re.I)


def python_of(answer: str) -> tuple[list[str], bool]:
    """The Python programs in an answer, and whether they are marked as such (a fence named python)."""
    fences = FENCE.findall(answer) if "```" in answer else []
    blocks = [textwrap.dedent(code) for tag, code in fences if NAMES.get(tag.lower(), tag.lower()) == "python"]
    if blocks:
        return blocks, True
    bare = [textwrap.dedent(code) for tag, code in fences if not tag and PYTHON_START.search(code)]
    if bare:
        return bare, False
    return ([answer], False) if PYTHON_START.match(answer.lstrip()) else ([], False)


def parse(code: str) -> tuple[ast.AST | None, str]:
    """The syntax tree, or None and what is wrong. Never raises and never runs the code."""
    if len(code) > MAX_CHARACTERS:
        return None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code), ""
    except SyntaxError as problem:
        return None, f"{problem.msg} (line {problem.lineno} of the code)"
    except (ValueError, RecursionError, MemoryError) as problem:
        return None, f"the parser gives up: {type(problem).__name__}"


def find_code_troubles(examples: Examples) -> None:
    """Note Python that does not parse, and programs in another language than the file's or the one the prompt names."""
    troubles, languages = [], collections.Counter()
    for number, prompt, answer in examples.texts():
        if ">>>" in answer and "```" not in answer:
            continue
        language, sign, problem, is_marked = _look(answer)
        if language:
            languages[language] += not problem
            troubles.append((number, language, sign, problem, is_marked, _asked(prompt)))
    usual, n_usual = languages.most_common(1)[0] if languages else ("", 0)
    if n_usual < max(MIN_ROWS, USUAL_SHARE * sum(languages.values())):
        usual = ""
    for number, language, sign, problem, is_marked, asked in troubles:
        is_other = language not in asked and not asked & RELATED.get(language, set())
        if is_other and language != usual and (asked or usual not in {"", *RELATED.get(language, set())}):
            examples.add("wrong_language", number, sign)
        elif problem and (is_marked or usual == "python" or "python" in asked):
            examples.add("code_syntax", number, problem)


def _look(answer: str) -> tuple[str, str, str, bool]:
    """(language or "", the sign of it, what is wrong with it as Python, whether it is marked as Python)."""
    blocks, is_marked = python_of(answer)
    problems = [problem for code in blocks if (problem := parse(code)[1]) and ">>>" not in code]
    if not is_marked or problems:
        other, sign = _other_language(answer)
        if other:
            return other, sign, "", False
    return (
        ("python", "the code is Python", problems[0] if problems else "", is_marked) if blocks else ("", "", "", False)
    )


def _other_language(answer: str) -> tuple[str, str]:
    """(language, the sign that the program is in it), or ("", "")."""
    fences = FENCE.findall(answer) if "```" in answer else []
    for tag, _ in fences:
        name = NAMES.get(tag.lower(), tag.lower())
        if name in LANGUAGES and name != "python":
            return name, f"the code is marked {tag}"
    code = "\n".join(code for _, code in fences) if fences else answer
    if SQL.match(code):
        return "sql", "the code is SQL"
    for name, pattern in LANGUAGE_SIGNS.items():
        match = pattern.search(code)
        if match and parse(textwrap.dedent(code))[0] is None:
            return name, f"the code has {match.group().strip()[:40]!r}, so it is {name}"
    return "", ""


def _asked(prompt: str) -> set[str]:
    """The languages that the prompt names; all of them where it asks for a translation."""
    if TRANSLATES.search(prompt):
        return LANGUAGES
    words = {NAMES.get(word, word) for word in re.findall(r"[a-z+#]+", prompt.lower())} & (LANGUAGES - AMBIGUOUS)
    return words | {name for name in AMBIGUOUS if re.search(rf"\b(?:in|using|with|a) {name}\b(?![+#'-])", prompt, re.I)}
