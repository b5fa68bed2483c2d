"""Every number in the README comes from a recorded file, and every name in it exists."""

import re
from pathlib import Path

from tunebook import tasks
from tunebook.cli import build_parser
from tunebook.decision.readme import BEGIN, END, list_runs, results
from tunebook.pipeline.params import load_base

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OUTPUTS = ROOT / "outputs"


def test_the_results_are_those_of_the_recorded_run():
    shown = README.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == results(OUTPUTS).strip()
    assert (OUTPUTS / "README.md").read_text() == list_runs(OUTPUTS)


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
    assert all(f"- {text}" in README for text in tasks.load("schedule_to_cron").conventions)


def test_every_linked_file_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
