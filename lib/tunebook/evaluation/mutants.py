"""Small wrong versions of a right answer, to see whether a problem's tests notice. Makes text only; runs nothing.

A mutant can happen to be equivalent to the original, so a survivor is a question to the benchmark's author, not a proof.
"""

import ast
import copy
import re

KINDS = ("return", "operator", "constant")
_SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Add,
}  # fmt: skip


def of_program(prompt: str, solution: str, most: int) -> list[tuple[str, str]]:
    """Up to `most` (kind, source) mutants of prompt + solution, changed only in the solution; the same on every call.

    The kinds come in turn, each spread over the solution. Helpers that the prompt gives stay as they are.
    """
    source, first_line = prompt + solution, prompt.count("\n") + 1
    tree = ast.parse(source)
    words = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    places = [
        (i, node)
        for i, node in enumerate(ast.walk(tree))
        if id(node) not in words and getattr(node, "lineno", 0) >= first_line
    ]
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    seen = {ast.unparse(tree)}
    for i, node in places:
        for kind, change in _changes(node):
            mutant = copy.deepcopy(tree)
            change(next(n for j, n in enumerate(ast.walk(mutant)) if j == i))
            text = ast.unparse(ast.fix_missing_locations(mutant)) + "\n"
            if text not in seen:
                seen.add(text)
                by_kind[kind].append(text)
    return _in_turn(by_kind, most)


def of_answer(answer: str, others: list[str], most: int) -> list[tuple[str, str]]:
    """Up to `most` (kind, answer) mutants of an answer text: a number or word changed or dropped, and other problems' answers."""
    by_kind: dict[str, list[str]] = {
        "constant": [],
        "dropped": [],
        "other": [o for o in others if o.split() != answer.split()],
    }
    for found in re.finditer(r"\d+", answer):
        by_kind["constant"].append(f"{answer[: found.start()]}{int(found.group()) + 1}{answer[found.end() :]}")
    words = answer.split()
    for i in range(len(words)):
        by_kind["dropped"].append(" ".join(words[:i] + words[i + 1 :]))
    return _in_turn(by_kind, most)


def _in_turn(by_kind: dict[str, list[str]], most: int) -> list[tuple[str, str]]:
    chosen, wanted = [], max(1, -(-most // max(1, sum(map(bool, by_kind.values())))))
    for kind, texts in by_kind.items():
        step = max(1.0, len(texts) / wanted)
        chosen.append([(kind, texts[int(i * step)]) for i in range(min(wanted, len(texts)))])
    turns = [items[i] for i in range(wanted) for items in chosen if i < len(items)]
    return turns[:most]


def _changes(node: ast.AST):
    """(kind, in-place change) for one node; none for most nodes."""
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return", lambda n: setattr(n, "value", ast.Constant(None))
        if not isinstance(node.value, (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set)):
            yield "return", lambda n: setattr(n, "value", ast.UnaryOp(ast.Not(), n.value))
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        yield "operator", lambda n: n.ops.__setitem__(0, _SWAPS[type(n.ops[0])]())
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPS:
        yield "operator", lambda n: setattr(n, "op", _SWAPS[type(n.op)]())
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", lambda n: setattr(n, "value", not n.value)
        elif isinstance(node.value, (int, float)):
            yield "constant", lambda n: setattr(n, "value", n.value + 1)
        elif isinstance(node.value, str):
            yield "constant", lambda n: setattr(n, "value", n.value + "x")
