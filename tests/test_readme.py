"""Every number in the README comes from a recorded file, and every name in it exists."""

import re
import subprocess
from pathlib import Path

from tunebook import tasks
from tunebook.cli import build_parser
from tunebook.decision.readme import BEGIN, END, list_checks, list_runs, results, serving
from tunebook.pipeline.params import load_base

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FOLDERS = ("notebooks", "lib", "params", "outputs", "tests", "bench", "lib/tunebook/data", "lib/tunebook/execution")
READMES = {name: (ROOT / name / "README.md").read_text() for name in FOLDERS} | {".": README}
OUTPUTS = ROOT / "outputs"


def test_the_results_are_those_of_the_recorded_run():
    made = {".": results(OUTPUTS), "outputs": list_runs(OUTPUTS), "lib/tunebook/data": list_checks()}
    made["notebooks"] = serving(OUTPUTS / "bench")
    for name, text in made.items():
        assert READMES[name].partition(BEGIN)[2].partition(END)[0].strip() == text.strip(), name


def test_the_readme_is_read_in_five_minutes():
    """What grows in the first page pushes the two commands off the screen; the rest has a folder of its own."""
    assert len(README.splitlines()) <= 150


def test_the_map_is_what_git_has():
    """A map with a missing folder is worse than none."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {str(parent) for path in listed for parent in Path(path).parents} - {"."}
    rooms = {name.removeprefix("lib/tunebook/") for name in folders}
    mirrored = {name for name in folders if name.startswith("tests/") and name.removeprefix("tests/") in rooms}
    assert len(mirrored) >= 10
    folders = {name for name in folders - mirrored if not name.startswith("outputs/")}
    tree = README.partition("<!-- tree: begin -->")[2].partition("<!-- tree: end -->")[0]
    above, drawn = [], set()
    for line in tree.splitlines():
        if found := re.match(r"( *)(\S+)/  +\S", line):
            depth = len(found[1]) // 2
            above[depth:] = [found[2]]
            drawn.add("/".join(above))
    assert drawn == folders


def test_recorded_notebooks_stay_small_and_weights_stay_out():
    """A clone must not bring hundreds of megabytes along."""
    notebooks = list(OUTPUTS.glob("ref-*/*/executed.ipynb"))
    assert len(notebooks) >= 10
    assert {path.parent.name: size for path in notebooks if (size := path.stat().st_size) > 300_000} == {}


def test_every_command_and_key_in_the_readme_exists():
    commands = build_parser()._subparsers._group_actions[0].choices
    named = set(re.findall(r"^tunebook (\w+)|`tunebook (\w+)|\| (\w+) RUN", README, re.M))
    named = {name for group in named for name in group if name}
    assert len(named) >= 7 and named <= set(commands)
    keys = re.findall(r"^(\w+): ", README.partition("```yaml")[2].partition("```")[0], re.M)
    assert len(keys) >= 5 and set(keys) - {"extends"} <= set(load_base(ROOT))


def test_the_conventions_are_those_of_the_task():
    assert all(f"- {text}" in READMES["notebooks"] for text in tasks.load("schedule_to_cron").conventions)


def test_every_situation_in_the_list_of_inputs_has_its_test():
    """A list of what is covered is worth something only while its tests are there."""
    rows = re.findall(r"^\| .+ \| (`data/.+|`evaluation/.+) \|$", READMES["tests"], re.M)
    named = [item.split("::") for row in rows for item in re.findall(r"`([^`]+)`", row)]
    assert len(rows) == 31
    assert [test for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()] == []


def test_every_linked_file_exists():
    links = [(name, link) for name, text in READMES.items() for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    assert len(links) >= 10
    assert [(name, link) for name, link in links if not (ROOT / name / link).exists()] == []
