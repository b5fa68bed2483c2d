"""Answers that are programs: do they parse, are they in the language asked for, and are they a benchmark's solutions?

Programs are compared by the shape of their syntax tree with all names replaced, so spaces, comments, docstrings and
renamed variables do not hide a copy. Parses Python only; runs nothing.
"""

import ast
import re
import textwrap
import warnings

from tunebook.data.examples import Examples

FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^ {0,3}```[ \t]*$|\Z)", re.S | re.M)
PYTHON_START = re.compile(r"^(?:@\w|(?:async )?def \w+\s*\(|class \w+|import \w|from [\w.]+ import )", re.M)
OTHER_LANGUAGE = re.compile(
    r"^\s*(?:#include\s*<|public (?:static |class )|(?:int|void) main\s*\(|function \w+\s*\(|(?:const|let|var) \w+\s*="
    r"|package \w+;?$|func \w+\(|fn \w+\(|using namespace|import java\.|console\.log)",
    re.M,
)
PYTHON_TAGS = ("python", "py", "python3")
OTHER_TAGS = (
    "java",
    "javascript",
    "js",
    "typescript",
    "ts",
    "c",
    "cpp",
    "c++",
    "go",
    "rust",
    "ruby",
    "php",
    "csharp",
    "kotlin",
)
MAX_CHARACTERS = 200_000
IGNORED_FIELDS = ("ctx", "kind", "type_comment", "returns", "annotation", "name", "decorator_list", "type_params")
MIN_NODES = 12  # of a function body: shorter ones look alike by chance


def python_of(answer: str) -> tuple[list[str], bool]:
    """The Python programs in an answer, and whether they are marked as such (a fence named python)."""
    fences = FENCE.findall(answer) if "```" in answer else []
    blocks = [textwrap.dedent(code) for tag, code in fences if tag.lower() in PYTHON_TAGS]
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
    """Note Python that does not parse, and programs in another language where the file or the prompt wants Python."""
    n_good, troubles = 0, []
    for number, prompt, answer in examples.texts():
        if ">>>" in answer and "```" not in answer:
            continue
        blocks, is_marked = python_of(answer)
        problems = [problem for code in blocks if (problem := parse(code)[1]) and ">>>" not in code]
        other = not is_marked and _other_language(answer)
        n_good += bool(blocks) and not problems
        if problems or other:
            wants_python = bool(re.search(r"\bpython\b", prompt, re.I)) and not re.search(
                r"\bjava|\bc\+\+|translate", prompt, re.I
            )
            troubles.append((number, problems, other, is_marked, wants_python))
    n_bad = len(troubles)
    for number, problems, other, is_marked, wants_python in troubles:
        is_python_file = n_good >= 5 and n_good >= 4 * n_bad
        if other and (wants_python or is_python_file):
            examples.add("wrong_language", number, other)
        elif problems and (is_marked or is_python_file or wants_python):
            examples.add("code_syntax", number, problems[0])


def _other_language(answer: str) -> str:
    """The sign that the program is in another language than Python, or ""."""
    fences = FENCE.findall(answer) if "```" in answer else []
    for tag, _ in fences:
        if tag.lower() in OTHER_TAGS:
            return f"the code is marked {tag}"
    code = "\n".join(code for _, code in fences) if fences else answer
    match = OTHER_LANGUAGE.search(code)
    return f"the code has {match.group().strip()!r}" if match and parse(textwrap.dedent(code))[0] is None else ""


def find_code_contamination(examples: Examples, problems: list[dict], name: str, skip=()) -> list[int]:
    """Note rows that hold a function of the shape of a problem's solution; returns their numbers. `skip`: known ones."""
    shapes = {}
    for problem in problems:
        if (problem.get("kind") or "code") != "code":
            continue
        tree, _ = parse(problem["prompt"] + problem["canonical_solution"])
        for function in functions(tree) if tree else ():
            shape = shape_of(function)
            if shape.count("(") >= MIN_NODES:
                shapes.setdefault(size_of(function), {}).setdefault(shape, problem["task_id"])
    found = []
    for number, prompt, answer in examples.texts() if shapes else ():
        if number in skip or ("def " not in answer and "def " not in prompt):
            continue
        blocks = python_of(answer)[0] or [answer]
        blocks += [prompt + "\n" + answer, prompt + answer] if "def " in prompt else []
        trees = (parse(code)[0] for code in blocks)
        known = ((f, shapes[size_of(f)]) for tree in trees if tree for f in functions(tree) if size_of(f) in shapes)
        task = next((tasks[shape] for f, tasks in known if (shape := shape_of(f)) in tasks), None)
        if task is not None:
            examples.add("contamination_code", number, f"the solution of {task} of {name}")
            found.append(number)
    return found


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    """The functions of the module and of its classes; inner functions are part of the outer one's shape."""
    nodes = tree.body + [node for outer in tree.body if isinstance(outer, ast.ClassDef) for node in outer.body]
    return [node for node in nodes if isinstance(node, ast.FunctionDef)]


def _body(function: ast.FunctionDef) -> list:
    """The statements without the docstring."""
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.body[1:] if has_docstring else function.body


def size_of(function: ast.FunctionDef) -> tuple:
    """Number of arguments and kinds of statements: cheap, and equal for functions of one shape."""
    return len(function.args.args), tuple(type(node).__name__ for node in _body(function))


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
    return text(function.args.args) + text(_body(function))
