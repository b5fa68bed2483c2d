"""The notebooks are read by people: each rule here keeps one promise about how they look and what they may do."""

import ast
import json
import re
from pathlib import Path

import pytest

from tunebook.decision.spec import MEASURED_BY, THRESHOLDS
from tunebook.pipeline.notebooks import check_papermill_agrees, declared
from tunebook.pipeline.params import RUNNER_KEYS, load_base, load_study

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDIES = sorted((ROOT / "notebooks" / "studies").glob("*.ipynb"))
TAUGHT = {"trl", "peft", "transformers"}  # the libraries that a notebook teaches; their names are no burden of ours
ORDER = ["title", "parameters", "bootstrap", "imports", "context", "load-inputs", "method", "expect", "show", "checks"]
ORDER += ["record", "status", "next"]
notebooks = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
every_notebook = pytest.mark.parametrize("path", PATHS + STUDIES, ids=lambda path: path.stem)


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]


def shown_code(path: Path) -> list[str]:
    """The code cells without the one of the parameters, and without the bootstrap, which is one and the same in all
    of them.
    """
    tagged = [
        cell
        for cell in cells(path)
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
    ]
    return ["".join(cell["source"]) for cell in tagged if cell["id"] != "bootstrap"]


def imported(path: Path) -> set[str]:
    """Names that a notebook imports, without those of the libraries that it teaches."""
    names = set()
    for node in ast.walk(ast.parse("\n".join(shown_code(path)))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] not in TAUGHT}


def test_there_is_a_notebook_for_every_question():
    assert [path.stem[:2] for path in PATHS] == [f"{number:02d}" for number in range(14)]


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


@every_notebook
def test_a_notebook_stays_short_and_defines_nothing(path):
    """Work that needs a function belongs to the library, where it can be tested; a cell holds one idea."""
    texts = code(path)
    assert len(cells(path)) <= 30
    assert max(len(text.splitlines()) for text in texts if "# folder under outputs/" not in text) <= 20
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While), node.lineno
        assert not re.search(r"^\s*[!%]|if False|getpass|notebook_login|(figure|table)\(.* else None$", text, re.M)


@every_notebook
def test_prose_carries_the_method(path):
    """A notebook of code alone is a script; a reader who does not know the method cannot judge the result."""
    prose = [
        line for cell in cells(path) if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()
    ]
    lines = [line for text in shown_code(path) for line in text.splitlines() if line.strip()]
    assert len([line for line in prose if line.strip()]) >= len(lines) / 2


@every_notebook
def test_a_notebook_imports_a_handful_of_rooms(path):
    """A reader learns a few rooms, not a hundred names; what lies inside a room may move without a notebook
    noticing.
    """
    assert len(imported(path)) <= 8
    assert [name for name in imported(path) if name.startswith("tunebook.") and name.count(".") > 1] == []


def test_all_notebooks_together_import_few_names():
    assert 10 <= len(set().union(*(imported(path) for path in PATHS + STUDIES))) <= 40


@every_notebook
def test_every_parameter_stands_in_a_cell_where_it_acts(path):
    """A parameter that only the library reads cannot be found by who wants to change it. The specification's own are
    shown as a table.
    """
    names = {node.id for text in shown_code(path) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    spec = {*THRESHOLDS, *MEASURED_BY} if "spec_table" in "".join(code(path)) else set()
    hidden = [
        name
        for name in declared(path)
        if name not in names | spec | {"run"} and not (spec and name.startswith("spec_"))
    ]
    assert len(declared(path)) >= 2 and hidden == []


def test_the_library_reads_no_parameter_by_key():
    """A parameter that acts somewhere below is a parameter that nobody sees. Only the specification is read whole."""
    files = sorted((ROOT / "lib").rglob("*.py"))
    assert len(files) > 50
    assert [
        path.name for path in files if "context.params[" in path.read_text() or "context.params.get" in path.read_text()
    ] == []


def test_the_bootstrap_cell_is_the_same_everywhere():
    found = {"".join(cell["source"]) for path in PATHS for cell in cells(path) if cell["id"] == "bootstrap"}
    assert len(found) == 1


def check_base(base: dict, notebooks: dict[str, dict]) -> list[str]:
    """Sentences about base.yaml and the notebooks' parameters cells (notebook name -> declared()): unequal defaults,
    unknown and dead keys. Empty when all agree.
    """
    problems = []
    used = set(RUNNER_KEYS)
    for notebook, named in notebooks.items():
        used |= set(named)
        for key, default in named.items():
            if key not in base:
                problems.append(f"{notebook}.ipynb declares {key!r}, which base.yaml lacks")
            elif type(base[key]) is not type(default) or base[key] != default:
                problems.append(f"{notebook}.ipynb: {key} = {default!r}, base.yaml has {base[key]!r}")
    problems += [f"base.yaml: {key!r} is dead: no notebook declares it" for key in base if key not in used]
    return problems


def test_dead_unknown_and_unequal_keys_are_found():
    base = {"rows": 6, "dead": 1, "stages": []}
    said = check_base(base, {"01_data": {"rows": 5}, "07_more": {"stranger": 1}})
    assert [key for text in said for key in ("rows", "stranger", "dead") if key in text] == ["rows", "stranger", "dead"]
    assert check_base({"rows": 6}, {"01_data": {"rows": 6}}) == []


def test_base_parameters_equal_the_notebooks_defaults():
    """A default that differs by route gives a person in JupyterLab other numbers than the batch."""
    assert check_base(load_base(ROOT), {path.stem: declared(path) for path in PATHS}) == []


def test_every_study_file_loads():
    studies = sorted((ROOT / "params").glob("*.yaml"))
    assert len(studies) >= 4
    for study in studies:
        if study.stem != "base":
            stages = load_study(study, [], ROOT).stages
            trains = any(stage.startswith("02") for stage in stages)
            assert stages[-1].startswith("06") or not trains, "what is trained ends in a verdict"
