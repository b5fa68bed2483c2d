"""The library's rooms import only rooms above them, and the fast ones do not wait for torch."""

import ast
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).parent.parent / "lib" / "tunebook"
ROOMS = ["errors", "face", "files", "findings", "picking", "setup", "pipeline", "statistics", "execution", "inspection", "models", "tasks"]
ROOMS += ["evaluation", "data", "training", "export", "decision", "plots", "stage"]
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


def test_modules_stay_small():
    """A module that grows past six pages has two subjects."""
    sizes = {path: len(path.read_text().splitlines()) for path in LIBRARY.rglob("*.py")}
    assert len(sizes) > 50
    assert {str(path.relative_to(LIBRARY)): size for path, size in sizes.items() if size > 400} == {}


def test_data_statistics_and_manifests_do_not_wait_for_torch():
    """`tunebook power` and `tunebook validate` must answer in a second."""
    names = "tunebook.cli tunebook.data.validate tunebook.statistics.compare tunebook.pipeline.manifest tunebook.decision.verdict"
    check = f"import sys, {', '.join(names.split())}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], env={"PYTHONPATH": str(LIBRARY.parent)}).returncode == 0
