"""Answers that are programs: do they parse, are they in the language that the file or the prompt wants, are they a
benchmark's solution, and do they pass the row's own test?

Parses Python only; a row's own test runs in the isolation of `execution`.
"""

import ast
import collections
import re
import textwrap
import warnings

from tunebook.data.examples import Examples
from tunebook.errors import MachineProblem
from tunebook.picking import pick

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


def parse_answer(code: str) -> tuple[ast.AST | None, str]:
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
    problems = [problem for code in blocks if (problem := parse_answer(code)[1]) and ">>>" not in code]
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
        if match and parse_answer(textwrap.dedent(code))[0] is None:
            return name, f"the code has {match.group().strip()[:40]!r}, so it is {name}"
    return "", ""


def _asked(prompt: str) -> set[str]:
    """The languages that the prompt names; all of them where it asks for a translation."""
    if TRANSLATES.search(prompt):
        return LANGUAGES
    words = {NAMES.get(word, word) for word in re.findall(r"[a-z+#]+", prompt.lower())} & (LANGUAGES - AMBIGUOUS)
    return words | {name for name in AMBIGUOUS if re.search(rf"\b(?:in|using|with|a) {name}\b(?![+#'-])", prompt, re.I)}


IGNORED_FIELDS = ("ctx", "kind", "type_comment", "returns", "annotation", "name", "decorator_list", "type_params")
MIN_NODES = 12  # of a function body: shorter ones look alike by chance
SELF = ("self", "cls")


def find_copies(examples: Examples, problems: list[dict], name: str, skip=()) -> list[int]:
    """Note rows that hold a function of the shape of a problem's solution; returns their numbers. `skip`: known
    ones.
    """
    shapes = _shapes_of(problems)
    found = []
    for number, prompt, answer in examples.texts() if shapes else ():
        is_bare = "def " not in answer and "def " not in prompt
        if number in skip or (is_bare and "return " not in answer):
            continue
        programs = _bodies(answer) if is_bare else _programs(prompt, answer)
        trees = (parse_answer(code)[0] for code in programs)
        known = ((f, shapes[size_of(f)]) for tree in trees if tree for f in functions(tree) if size_of(f) in shapes)
        task = next((tasks[shape] for f, tasks in known if (shape := shape_of(f)) in tasks), None)
        if task is not None:
            examples.add_match("contamination_code", number, task, name, "the solution of")
            found.append(number)
    return found


def _shapes_of(problems: list[dict]) -> dict[tuple, dict[str, str]]:
    """Shapes of the long enough solutions: size → shape → task; each also without its arguments, as a body that
    stands alone.
    """
    shapes = {}
    for problem in problems:
        if (problem.get("kind") or "code") != "code":
            continue
        tree, _ = parse_answer(problem["prompt"] + problem["canonical_solution"])
        tree = tree or parse_answer(problem["canonical_solution"])[0]  # MBPP: the prompt is prose
        for function in functions(tree) if tree else ():
            for _ in range(2):
                shape = shape_of(function)
                if shape.count("(") >= MIN_NODES:
                    shapes.setdefault(size_of(function), {}).setdefault(shape, problem["task_id"])
                function.args.args = []
    return shapes


def _bodies(answer: str) -> list[str]:
    """The programs of an answer without a function, each as the body of one, also where its first line lost its
    indent.
    """
    programs = [code.strip("\n") for _, code in FENCE.findall(answer)] or [answer.strip("\n")]
    programs += ["    " + code for code in programs if not code[:1].isspace()]
    return ["def body():\n" + textwrap.indent(textwrap.dedent(code), "    ") for code in programs]


def _programs(prompt: str, answer: str) -> list[str]:
    """The programs of a row: in the answer, in fences anywhere in the turns before, and the answer as continuation."""
    programs = python_of(answer)[0] or [answer]
    if "def " in prompt:
        programs += [prompt + "\n" + answer, prompt + answer]
        programs += [textwrap.dedent(code) for _, code in FENCE.findall(prompt)] if "```" in prompt else [prompt]
    return programs


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    """All functions, those inside classes and functions too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    """The arguments; a method's self is not one."""
    given = function.args.args
    return given[1:] if given and given[0].arg in SELF else given


def _body(function: ast.FunctionDef) -> list:
    """The statements without the docstring."""
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.body[1:] if has_docstring else function.body


def size_of(function: ast.FunctionDef) -> tuple:
    """Number of arguments and kinds of statements: cheap, and equal for functions of one shape."""
    return len(_arguments(function)), tuple(type(node).__name__ for node in _body(function))


def shape_of(function: ast.FunctionDef) -> str:
    """The arguments and the body as text, names replaced in order of appearance; no docstring and no annotations."""
    names = {}

    def rename(name: str) -> str:
        return names.setdefault(name, f"n{len(names)}")

    def text(node) -> str:
        if isinstance(node, list):
            return "[" + ",".join(map(text, node)) + "]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name):
            return f"Name({rename(node.id)})"
        if isinstance(node, ast.arg):
            return f"arg({rename(node.arg)})"
        fields = [text(value) for key, value in ast.iter_fields(node) if key not in IGNORED_FIELDS]
        if isinstance(node, ast.FunctionDef):
            fields.append(rename(node.name))
        return f"{type(node).__name__}({','.join(fields)})"

    rename(function.name)
    return text(_arguments(function)) + text(_body(function))


TEST_NAMES = ("test", "tests", "test_list", "test_code", "unit_test", "unit_tests")
SAMPLED_SHARE = 10  # of the rows that the language check looks at, one in ten is run: it takes a tenth of a second
_DRIVER = "\n\ndef tunebook_row_passes():\n    {call}\n    return True\n"
_TEST = "def check(candidate):\n    assert candidate() is True\n"


def find_failing_answers(examples: Examples, seed: int = 0, n_sampled: int = 0) -> tuple[int, int]:
    """Note rows whose answer fails the row's test (`TEST_NAMES`); returns (passed, run). Rows without a test are
    passed over.
    """
    from tunebook.execution.programs import Program
    from tunebook.execution.runner import run_programs

    n_sampled = n_sampled or max(1, examples.limits.sampled // SAMPLED_SHARE)
    numbers = _rows_with_tests(examples, seed, n_sampled)
    sources = {number: row_program(examples.row(number)) for number in numbers}
    for number in numbers:
        problem = parse_answer(test_of(examples.row(number)))[1]
        if problem:
            examples.add("answers_fail", number, f"the test itself does not parse: {problem}")
    programs = [
        Program(str(number), 0, source, "tunebook_row_passes", _TEST, reference="")
        for number, source in sources.items()
        if source
    ]
    if not programs:
        return 0, 0
    try:
        outcomes = run_programs(programs)
    except MachineProblem as problem:
        examples.notes.add("answers_not_run", detail=str(problem))
        return 0, 0
    run = [
        outcome for outcome in outcomes if outcome.passed is not None and "ModuleNotFoundError" not in outcome.detail
    ]
    for outcome in run:
        if not outcome.passed:
            examples.add(
                "answers_fail", int(outcome.task_id), f"{outcome.verdict}: {outcome.detail[:120]}".rstrip(": ")
            )
    n_passed = sum(outcome.passed for outcome in run)
    if run:
        sampled = f"a sample of {len(run)}" if len(numbers) == n_sampled else f"{len(run)}"
        examples.notes.add("answers_run", detail=f"{n_passed} of {sampled} answers pass ({n_passed / len(run):.1%})")
        examples.notes.set_count("answers_run", len(run))
    return n_passed, len(run)


def _rows_with_tests(examples: Examples, seed: int, n_sampled: int) -> list[int]:
    """At most `n_sampled` numbers of rows with a test, chosen by hash."""
    head = examples.rows.texts.slice(0, 1000).to_pylist()
    if not any(f'"{name}":' in text for text in head for name in TEST_NAMES):
        return []
    return pick([number for number, row in enumerate(examples) if test_of(row)], n_sampled, seed, str)


def test_of(row: dict) -> str:
    """The row's test as one program, "" where there is none; a column `test` that holds no assertion is something
    else.
    """
    for name in TEST_NAMES:
        value = row.get(name)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            value = "\n".join(value)
        if isinstance(value, str) and ("assert" in value or "def check" in value):
            return value
    return ""


def row_program(row: dict) -> str:
    """A program whose function `tunebook_row_passes` runs the row's test on its answer; "" when the form is unknown.

    Known: `def check(candidate)` with an `entry_point`, `def check(answer)` without one, and bare assert lines.
    """
    from tunebook.data.splits import answer_text, prompt_text

    answer, test, entry = answer_text(row), test_of(row), row.get("entry_point") or ""
    tree, _ = parse_answer(test)
    if tree is None:
        return ""
    has_check = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    if has_check and not entry:
        return f"{test}\n\nANSWER = {answer!r}\n" + _DRIVER.format(call="check(ANSWER)")
    code = _solution(prompt_text(row), answer, entry)
    if has_check:
        return f"{code}\n\n{test}\n" + _DRIVER.format(call=f"check({entry})")
    lines = ast.unparse(tree).replace("\n", "\n    ")
    return f"{code}\n" + _DRIVER.format(call=lines)


def _solution(prompt: str, answer: str, entry: str) -> str:
    """The answer as a whole program: its fenced code, itself, or the body that continues the prompt's function."""
    blocks, _ = python_of(answer)
    code = "\n\n".join(blocks) or answer
    defines = f"def {entry}" in code if entry else parse_answer(code)[0] is not None
    return code if defines else prompt + ("" if prompt.endswith("\n") else "\n") + answer
