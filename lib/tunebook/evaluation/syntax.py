"""What a piece of Python is: whether it parses, whether it defines the entry point, and what in it is no part of the
program.

Used by `extraction` and `score`; runs nothing and changes nothing inside the function.
"""

import ast
import textwrap
import warnings

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def parse_python(source: str) -> ast.Module | None:
    """Syntax tree, or None for anything that Python cannot read, however odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def dedent(text: str) -> str:
    """Text without a common indent; untouched, blank lines inside strings included, where its first line has none."""
    return textwrap.dedent(text) if text.lstrip("\n")[:1].isspace() else text


def compiles(source: str) -> bool:
    """Whether Python takes the source as a module; also refuses a `return` outside a function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "<completion>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def definition(tree: ast.Module, name: str) -> ast.stmt | None:
    """The first definition of the entry point that has a body: a function, an assignment, or a class with it as a
    method.
    """
    classes, waiting = [], list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, FUNCTIONS) and node.name == name and not _is_stub(node):
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node
        if isinstance(node, ast.ClassDef):
            classes.append(node)
        elif isinstance(node, (ast.If, ast.Try)):
            waiting[:0] = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return next((node for node in classes if _method(node, name)), None)


def _method(node: ast.ClassDef, name: str) -> str:
    """The class's method that is the entry point, also in camel case (`class Solution` of coding sites)."""
    plain = name.replace("_", "").lower()
    methods = [item.name for item in node.body if isinstance(item, FUNCTIONS) and not _is_stub(item)]
    return next((item for item in methods if item.replace("_", "").lower() == plain), "")


def _is_stub(node: ast.stmt) -> bool:
    """Only a docstring, `pass`, `...` or other expressions that do nothing: a prompt that was echoed, not an answer."""
    return all(
        isinstance(item, ast.Pass)
        or (isinstance(item, ast.Expr) and not isinstance(item.value, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await)))
        for item in node.body
    )


def is_module_of_functions(text: str) -> bool:
    """Whether the text holds nothing but imports, functions and classes: a program of its own, not the body of one."""
    tree = parse_python(text)
    kinds = (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)
    return (
        tree is not None
        and any(isinstance(n, FUNCTIONS) for n in tree.body)
        and all(isinstance(n, kinds) for n in tree.body)
    )


def only_helpers(text: str, name: str) -> bool:
    """Whether the text holds nothing but imports, functions and classes, none of them the entry point."""
    tree = parse_python(text)
    kinds = (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)
    if tree is None or not tree.body or not all(isinstance(node, kinds) for node in tree.body):
        return False
    return not any(getattr(node, "name", "") == name for node in tree.body) and definition(tree, name) is None


def other_functions(source: str, prompt: str, name: str) -> list[str]:
    """The functions at the top of a program, those of the prompt left out, where none is the entry point; else none."""
    tree, given = parse_python(source), parse_python(prompt)
    if tree is None or definition(tree, name):
        return []
    known = {node.name for node in (given.body if given else ()) if isinstance(node, FUNCTIONS)}
    return [node.name for node in tree.body if isinstance(node, FUNCTIONS) and node.name not in known | {name}]


def tidy(source: str, tree: ast.Module, name: str) -> str:
    """Cut what follows the function and is no part of the program: printed examples, repetitions, words; wrap a
    method.
    """
    found = definition(tree, name)
    lines, after = source.split("\n"), False
    spans = [(_first_line(node), node.end_lineno) for node in tree.body]
    for i, node in enumerate(tree.body):
        alone = (i == 0 or spans[i - 1][1] < spans[i][0]) and (i + 1 == len(spans) or spans[i + 1][0] > spans[i][1])
        if after and alone and _is_leftover(node, name):
            lines[spans[i][0] - 1 : spans[i][1]] = [""] * (spans[i][1] - spans[i][0] + 1)
        after = after or node is found
    if isinstance(found, ast.ClassDef):
        call = f"{found.name}().{_method(found, name)}"
        lines += ["", f"def {name}(*args, **kwargs):", f"    return {call}(*args, **kwargs)"]
    return "\n".join(lines).rstrip("\n") + "\n"


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])


def _is_leftover(node: ast.stmt, name: str) -> bool:
    if isinstance(node, FUNCTIONS):
        return node.name == name
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Call):
        names = {item.id for item in ast.walk(call) if isinstance(item, ast.Name)}
        return isinstance(call.func, ast.Name) and call.func.id in ("print", name) and name in names
    return isinstance(call, (ast.Name, ast.Constant))
