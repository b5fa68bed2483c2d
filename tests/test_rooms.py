"""The library's rooms import only rooms above them, and the fast ones do not wait for torch."""

import ast
import collections
import doctest
import functools
import graphlib
import importlib
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parent.parent / "lib" / "tunebook"
ROOMS = [
    "errors",
    "face",
    "files",
    "findings",
    "machine",
    "picking",
    "terminal",
    "setup",
    "pipeline",
    "statistics",
    "execution",
    "inspection",
    "models",
    "tasks",
]
ROOMS += ["evaluation", "data", "training", "export", "decision", "plots", "scale", "stage"]
FRONT = {"cli", "__main__", "doctor", "__init__"}


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"tunebook.{alias.name}" for alias in node.names] if node.module == "tunebook" else [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("tunebook.")}
    return found


def test_a_room_imports_only_rooms_above_it():
    """Without it every room soon needs every other, and nothing can be tested or replaced alone."""
    seen = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        if room in FRONT:
            continue
        seen.add(room)
        allowed = {"errors", "files", "pipeline", "stage"} if room == "stage" else set(ROOMS[: ROOMS.index(room) + 1])
        assert imported_rooms(path) <= allowed, path.relative_to(LIBRARY)
    assert seen == set(ROOMS)


FILES = sorted(LIBRARY.rglob("*.py"))
ALL = {str(path.relative_to(LIBRARY)): path.read_text() for path in FILES}


def module_of(path: Path) -> str:
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@functools.cache
def imports_of(path: Path, late: bool = True) -> set[str]:
    """The modules of the library that a file imports; without `late`, those of its top alone."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tunebook"):
            found |= {name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES}
            found |= {node.module} & MODULES.keys()
    return found - {"tunebook"}


def test_modules_and_folders_stay_small():
    """A module that grows past seven pages has two subjects; a folder of twenty files has two as well."""
    assert len(ALL) > 50
    assert {name: lines for name, text in ALL.items() if (lines := len(text.splitlines())) > 400} == {}
    folders = {folder for path in FILES for folder in path.parents if LIBRARY in (folder, *folder.parents)}
    assert {folder.name: n for folder in folders if (n := len(list(folder.glob("*.py"))) - 1) > 18} == {}


def test_functions_stay_on_one_page():
    """Forty lines without the docstring: what is longer cannot be read at once."""
    long = {}
    for name, text in ALL.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                first = node.body[1 if has_docstring and len(node.body) > 1 else 0].lineno
                if (lines := node.end_lineno - first + 1) > 40:
                    long[f"{name}:{node.name}"] = lines
    assert long == {}


def test_no_sliver_and_no_file_name_twice():
    """A file of thirty lines with one reader is a trip for nothing; one name in two rooms leads to the wrong one."""
    readers = {name: sum(name in imports_of(path) for path in FILES) for name in MODULES}
    entry = {"cli", "__main__", "adapter_script", "tunebook_pass_at_k"}  # started by name, or loaded by `evaluate`
    slivers = [
        name for name, path in MODULES.items()
        if path.name != "__init__.py" and len(path.read_text().splitlines()) < 40 and readers[name] == 1 and path.stem not in entry
    ]  # fmt: skip
    assert slivers == []
    names = collections.Counter(path.stem for path in FILES if path.stem not in ("__init__", "commands"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_circle_between_files():
    """Two files that need each other are one subject in two places."""
    needs = {name: imports_of(path, late=False) for name, path in MODULES.items() if path.name != "__init__.py"}
    needs = {name: {other for other in others if other in needs} for name, others in needs.items()}
    assert len(list(graphlib.TopologicalSorter(needs).static_order())) >= len(needs)


def test_a_face_names_what_is_there():
    """A name of a room's face that its module lost fails only when a notebook reaches it, an hour into a study."""
    n_names = 0
    for room in ("data", "models", "evaluation", "training", "export", "decision", "statistics"):
        source = (LIBRARY / room / "__init__.py").read_text()
        for name, module in re.findall(r'^ +"(\w+)": "([\w.]+)",  # \S', source, re.M):
            defined = ALL["/".join((room, *module.split("."))) + ".py"]
            assert re.search(rf"^(def|class) {name}\b|^{name}\b.* = ", defined, re.M), f"{room}.{name}"
            assert not (LIBRARY / room / f"{name}.py").exists(), f"{room}.{name} is a module too"
            n_names += 1
    assert n_names > 60


def test_the_code_stays_within_its_budget():
    """Counted by `tokenize`, without blank lines, comments and docstrings. pyproject.toml holds the number, and why
    it is what it is.
    """
    budget = tomllib.loads((LIBRARY.parent.parent / "pyproject.toml").read_text())["tool"]["tunebook"]["code_lines"]
    count = sum(map(code_lines, ALL.values()))
    assert budget - 400 < count <= budget, (
        f"{count} lines of code: set code_lines in pyproject.toml, up only with a reason"
    )


def code_lines(text: str) -> int:
    no_code = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in no_code:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_examples_run(name):
    """An example that no longer holds teaches the wrong thing."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


def test_data_statistics_and_manifests_do_not_wait_for_torch():
    """`tunebook power` and `tunebook validate` must answer in a second."""
    names = (
        "tunebook.cli tunebook.data.validate tunebook.statistics.compare tunebook.pipeline.manifest"
        " tunebook.decision.verdict"
    )
    check = f"import sys, {', '.join(names.split())}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], env={"PYTHONPATH": str(LIBRARY.parent)}).returncode == 0
