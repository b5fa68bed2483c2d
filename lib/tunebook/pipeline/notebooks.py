"""What a notebook source declares: its parameters and the hash of its cells. Does not run notebooks.

Parameters are read twice, by Python's own parser and by papermill, because papermill leaves out lines that it cannot
parse and then injects nothing there without an error. Where the two differ, the notebook is refused.
"""

import ast
import dis
import json
import os
import sys
import types
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import hash_json

TAG = "parameters"


def read_cells(path: Path) -> list[dict]:
    """The cells of a notebook as JSON objects. InputProblem where the file is no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [dict(cell, source="".join(cell["source"])) for cell in cells]
    except OSError as problem:
        raise InputProblem(f"{path} cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputProblem(f"{path} is not a Jupyter notebook: restore it, for example with git checkout") from None


def source_hash(path: Path) -> str:
    """SHA-256 of cell types and sources.

    Outputs and ids stay outside, and so does the text of the parameters cell: its values are in `params`, and a reader
    who edits them in JupyterLab has not changed the method.
    """
    return source_hash_of(read_cells(path))


def source_hash_of(cells: list[dict]) -> str:
    """The same for cells that are read already."""
    sources = [TAG if _is_tagged(cell) else "".join(cell["source"]) for cell in cells]
    return hash_json([[cell["cell_type"], source] for cell, source in zip(cells, sources, strict=True)])


def running(name: str, root: Path) -> Path:
    """The notebook that runs: the working copy where JupyterLab or Colab shows it, else the source of the checkout."""
    shown = Path(os.environ.get("TUNEBOOK_RUNNING_NOTEBOOK", ""))
    if shown.is_file():
        return shown
    copy = Path(os.environ.get("JPY_SESSION_NAME", ""))
    return copy if copy.name == f"{name}.ipynb" and copy.is_file() else root / "notebooks" / f"{name}.ipynb"


def declared(path: Path) -> dict:
    """Name -> default of every parameter, in order. InputProblem names the notebook, the cell and the line (1-based
    in the cell).
    """
    return {name: value for name, (value, _) in _read_parameters(path).items()}


def handed_over(sources: list[str], namespace: dict) -> list[str]:
    """The names of `namespace` that the cells read before they make them, without modules and what the first cell
    imports. A second run in the same kernel finds there what the first one made.
    """
    imported, read, made = set(), set(), {"context"}
    _follow(compile(sources[0], "cell", "exec"), set(), imported)
    for text in sources:
        _follow(compile(text, "cell", "exec"), read, made)
    names = read & namespace.keys() - imported
    return sorted(name for name in names if not isinstance(namespace[name], types.ModuleType))


def _follow(code: types.CodeType, read: set, made: set) -> None:
    """Adds the names that the code reads before they are `made`, and those that it makes."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in made:
            read.add(step.argval)
        elif step.opname == "STORE_NAME":
            made.add(step.argval)
        elif isinstance(step.argval, types.CodeType):
            _follow(step.argval, read, made)


def check_papermill_agrees(path: Path) -> None:
    """InputProblem where papermill sees other parameters than Python does: such a value would silently keep its
    default.
    """
    expected = _read_parameters(path)
    seen = _inspect(path)
    cell = _label(_tagged_cell(path))
    for name, (value, line) in expected.items():
        where = f"{path.name}, cell {cell}, line {line}"
        if name not in seen:
            raise InputProblem(
                f"{where}: papermill does not see {name!r}, so it could keep its default: write `name: type = value  #"
                " text` with one '=' on the line (texts and comments included) and no '|' in the type"
            )
        try:
            same = ast.literal_eval(seen[name]["default"]) == value
        except (ValueError, SyntaxError):
            same = False
        if not same:
            raise InputProblem(
                f"{where}: papermill reads {name!r} as {seen[name]['default']}, Python as {value!r}: use a plain"
                " literal"
            )
    extra = [name for name in seen if name not in expected]
    if extra:
        raise InputProblem(
            f"{path.name}, cell {cell}: papermill sees a parameter {extra[0]!r} that Python does not: one literal per"
            " line"
        )


def _inspect(path: Path) -> dict:
    with without_slow_imports():
        from papermill import inspect_notebook
    try:
        return inspect_notebook(str(path))
    except ValueError as problem:  # no kernelspec in the metadata
        raise InputProblem(
            f"{path.name}: papermill cannot read it ({problem}): keep the python3 kernel in its metadata"
        ) from None


class without_slow_imports:
    """Import nbformat and papermill without `rfc3987_syntax`: it builds a grammar for 4 s to check web addresses, of
    which a notebook's schema has none. jsonschema takes its absence as normal.
    """

    def __enter__(self):
        self._blocked = "rfc3987_syntax" not in sys.modules
        if self._blocked:
            sys.modules["rfc3987_syntax"] = None

    def __exit__(self, *_):
        if self._blocked:
            del sys.modules["rfc3987_syntax"]


def _is_tagged(cell: dict) -> bool:
    return TAG in cell.get("metadata", {}).get("tags", [])


def _label(cell: dict) -> str:
    return repr(cell.get("id", "parameters"))


def _tagged_cell(path: Path) -> dict:
    tagged = [cell for cell in read_cells(path) if _is_tagged(cell)]
    if not tagged:
        raise InputProblem(
            f"{path.name}: no cell has the tag 'parameters', so its defaults would win: tag the parameters cell"
        )
    if len(tagged) > 1:
        names = ", ".join(_label(cell) for cell in tagged)
        raise InputProblem(f"{path.name}: cells {names} all have the tag 'parameters': keep it on one")
    if tagged[0]["cell_type"] != "code":
        raise InputProblem(
            f"{path.name}, cell {_label(tagged[0])}: the tag 'parameters' is on a {tagged[0]['cell_type']} cell:"
            " move it"
        )
    return tagged[0]


def _read_parameters(path: Path) -> dict[str, tuple]:
    cell = _tagged_cell(path)
    where = f"{path.name}, cell {_label(cell)}"
    try:
        statements = ast.parse(cell["source"]).body
    except SyntaxError as problem:
        raise InputProblem(f"{where}, line {problem.lineno}: not Python ({problem.msg})") from None
    if "\n" not in cell["source"].strip() and any(isinstance(s, ast.AnnAssign) for s in statements):
        # Seen: `run: str = "by-hand"` alone in a cell is "File `':'` not found", since IPython reads it as %run.
        raise InputProblem(
            f"{where}: IPython may read a lone `name: type = value` as a magic command: add a comment line above it"
        )
    found: dict[str, tuple] = {}
    for statement in statements:
        name, value = _assignment(statement, where)
        if name in found:
            raise InputProblem(f"{where}, line {statement.lineno}: {name!r} is set twice: keep one")
        found[name] = (value, statement.lineno)
    return found


def _assignment(statement: ast.stmt, where: str) -> tuple:
    line = f"{where}, line {statement.lineno}"
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        raise InputProblem(
            f"{line}: not one `name = literal`: two '=' or other code do not belong into the parameters cell"
        )
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        raise InputProblem(f"{line}: the value is computed: write a literal, and compute in a later cell") from None
    scalars = value if isinstance(value, list) else [value]
    if not isinstance(target, ast.Name) or not all(isinstance(item, str | bool | int | float) for item in scalars):
        raise InputProblem(
            f"{line}: a parameter is text, a number, true or false, or a list of these ('' means absent)"
        )
    return target.id, value
