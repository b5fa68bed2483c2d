"""The study notebooks run from top to bottom without a model, for the published numbers and for a reader's own."""

import json
from pathlib import Path

import pytest

from tunebook.statistics import published

PATH = Path(__file__).parent.parent / "notebooks" / "studies" / "was_the_thirty_cent_gain_real.ipynb"


def run(capsys, **values) -> tuple[str, dict]:
    """Everything that the notebook prints, with other values in its parameters cell, and its names at the end."""
    names: dict = {}
    for cell in json.loads(PATH.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
            names |= values if cell["id"] == "parameters" else {}
    return capsys.readouterr().out, names


def test_the_published_gain_is_inconclusive(capsys):
    text, names = run(capsys)
    assert "0.306 is not k/164 for any k" in text and "0.342 is not k/164 for any k" in text
    assert "50/164 = 30.5% [24.0%, 37.9%]" in text and "56/164 = 34.1% [27.3%, 41.7%]" in text
    assert names["needed"] == {"gained": 6, "lost": 0, "n": 164, "p_exact": 0.03125}
    assert "0.30 at the claimed machine's price" in text and "verdict is INCONCLUSIVE" in text
    assert 0.10 < names["planned"]["power"] < 0.20


@pytest.mark.parametrize(
    "values",
    [{"before": 0.5, "after": 0.5}, {"before": 0.4, "after": 0.2}, {"before": 0.0, "after": 1.0, "problems": 20}],
)
def test_the_readers_own_numbers_work(capsys, values):
    assert "the verdict is" in run(capsys, **values)[0]


def test_two_score_files_are_compared_problem_by_problem(capsys, tmp_path):
    for name, k in (("a", 10), ("b", 40)):
        rows = [{"task_id": str(at), "sample": 0, "passed": at < k} for at in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text, names = run(capsys, scores_before=str(tmp_path / "a.jsonl"), scores_after=str(tmp_path / "b.jsonl"))
    assert names["own"]["verdict"] == "GO" and names["own"]["gained"] == 30


def test_possible_splits_are_all_and_only_those_that_fit():
    rows = published.possible_splits(3, 5, 8)
    assert [(row["gained"], row["lost"]) for row in rows] == [(2, 0), (3, 1), (4, 2), (5, 3)]
    assert all(3 - row["lost"] + row["gained"] == 5 for row in rows)
