"""The notebooks are read by people: each rule here keeps one promise about how they look and what they may do."""

import ast
import json
import re
from pathlib import Path

import pytest

from tunebook.pipeline.notebooks import check_papermill_agrees, declared
from tunebook.pipeline.params import check_base, load_base, load_study

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ORDER = ["title", "parameters", "bootstrap", "imports", "context", "load-inputs", "method", "expect", "show", "checks"]
ORDER += ["record", "status", "next"]
notebooks = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]


def test_there_is_a_notebook_for_every_question():
    assert [path.stem[:2] for path in PATHS] == ["00", "01", "02", "03", "04", "05", "06", "07"]


@notebooks
def test_cells_come_in_the_usual_order(path):
    """Without it a reader has to search for the decision rule, which must stand before any result."""
    found = [cell["id"] for cell in cells(path)]
    assert len(set(found)) == len(found)
    assert [name for name in found if name in ORDER] == ORDER
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in found)


@notebooks
def test_exactly_one_cell_is_tagged_parameters(path):
    """A lost or doubled tag makes papermill run the defaults without an error."""
    tagged = [cell["id"] for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == ["parameters"]
    check_papermill_agrees(path)


@notebooks
def test_sources_are_stripped(path):
    """Outputs in sources make every run a change in git, and leak machines and paths."""
    for cell in cells(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@notebooks
def test_a_notebook_stays_short_and_defines_nothing(path):
    """Work that needs a function belongs to the library, where it can be tested."""
    texts = code(path)
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    assert len(cells(path)) <= 20 and len(lines) <= 120
    assert max(len(text.splitlines()) for text in texts if not text.startswith("run: str")) <= 20
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While), node.lineno
        assert not re.search(r"^\s*[!%]|if False|getpass|notebook_login", text, re.M)


def test_the_bootstrap_cell_is_the_same_everywhere():
    found = {"".join(cell["source"]) for path in PATHS for cell in cells(path) if cell["id"] == "bootstrap"}
    assert len(found) == 1


def test_base_parameters_equal_the_notebooks_defaults():
    """A default that differs by route gives a person in JupyterLab other numbers than the batch."""
    assert check_base(load_base(ROOT), {path.stem: declared(path) for path in PATHS}) == []


def test_every_study_file_loads():
    studies = sorted((ROOT / "params").glob("*.yaml"))
    assert len(studies) >= 4
    for study in studies:
        if study.stem != "base":
            assert load_study(study, [], ROOT).stages[-1].startswith("06")
