"""Does an answer hold a benchmark's solution as code? Programs are compared by shape, so names and spaces do not hide a copy.

The shape is the syntax tree with all names replaced in order, without comments, docstrings and annotations. Runs nothing.
"""

import ast
import textwrap

from tunebook.data.codes import FENCE, parse, python_of
from tunebook.data.examples import Examples

IGNORED_FIELDS = ("ctx", "kind", "type_comment", "returns", "annotation", "name", "decorator_list", "type_params")
MIN_NODES = 12  # of a function body: shorter ones look alike by chance
SELF = ("self", "cls")


def find_copies(examples: Examples, problems: list[dict], name: str, skip=()) -> list[int]:
    """Note rows that hold a function of the shape of a problem's solution; returns their numbers. `skip`: known ones."""
    shapes = _shapes_of(problems)
    found = []
    for number, prompt, answer in examples.texts() if shapes else ():
        is_bare = "def " not in answer and "def " not in prompt
        if number in skip or (is_bare and "return " not in answer):
            continue
        programs = _bodies(answer) if is_bare else _programs(prompt, answer)
        trees = (parse(code)[0] for code in programs)
        known = ((f, shapes[size_of(f)]) for tree in trees if tree for f in functions(tree) if size_of(f) in shapes)
        task = next((tasks[shape] for f, tasks in known if (shape := shape_of(f)) in tasks), None)
        if task is not None:
            examples.add_match("contamination_code", number, task, name, "the solution of")
            found.append(number)
    return found


def _shapes_of(problems: list[dict]) -> dict[tuple, dict[str, str]]:
    """Shapes of the long enough solutions: size → shape → task; each also without its arguments, as a body that stands alone."""
    shapes = {}
    for problem in problems:
        if (problem.get("kind") or "code") != "code":
            continue
        tree, _ = parse(problem["prompt"] + problem["canonical_solution"])
        for function in functions(tree) if tree else ():
            for _ in range(2):
                shape = shape_of(function)
                if shape.count("(") >= MIN_NODES:
                    shapes.setdefault(size_of(function), {}).setdefault(shape, problem["task_id"])
                function.args.args = []
    return shapes


def _bodies(answer: str) -> list[str]:
    """The programs of an answer without a function, each as the body of one, also where its first line lost its indent."""
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
