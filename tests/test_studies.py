"""The study notebooks run from top to bottom without a model, for the published numbers and for a reader's own."""

import json
from pathlib import Path

import pytest

from tunebook.errors import InputProblem
from tunebook.pipeline import manifest as manifests
from tunebook.statistics import published

STUDIES = Path(__file__).parent.parent / "notebooks" / "studies"


def execute(name: str, capsys, **values) -> tuple[str, dict]:
    """Everything that a notebook prints, with other values in its parameters cell, and its names at the end."""
    names: dict = {}
    for cell in json.loads((STUDIES / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
            names |= values if cell["id"] == "parameters" else {}
    return capsys.readouterr().out, names


def run(capsys, **values) -> tuple[str, dict]:
    return execute("was_the_thirty_cent_gain_real", capsys, **values)


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


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """outputs/ with a finished sweep of five trainings, each with four points, and a run that recovered beside it."""
    monkeypatch.setenv("TUNEBOOK_ROOT", str(tmp_path))
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "base.yaml").write_text("")
    outputs, points, settings = tmp_path / "outputs", [], []
    for at, size in enumerate((50, 100, 200, 400, 800)):
        run = f"growing.{at}"
        points.append(
            {"run": run, "seed": 0, "values": {"n_rows": size, "learning_rate": 1e-3, "rehearsal_share": 0.0}}
        )
        settings.append({"values": f"n_rows {size}", "runs": [run], "k": [10 * (at + 1)], "n": 100})
        distances = [{"step": step, "kl": 0.1 * step * (at + 1), "rise": 0.2 * step * (at + 1)} for step in range(1, 5)]
        leave(outputs / run / "02_train_sft", {"checkpoints": [*distances, {"step": 9, "kl": None, "rise": None}]})
    leave(outputs / "recovered" / "09_recover", {"front": [{"point": "base", "kl": 0.0, "rise": 0.0}]})
    (outputs / "recovered" / "run.json").write_text("{}")
    about = {"study": "quickstart", "commit": "0" * 40, "points": points, "summary": {"rows": settings}}
    (outputs / "growing").mkdir()
    (outputs / "growing" / "sweep.json").write_text(json.dumps(about))
    return outputs


def leave(folder: Path, metrics: dict) -> None:
    folder.mkdir(parents=True)
    keys = dict.fromkeys(manifests.KEYS, {}) | {"files": [], "metrics": metrics, "notebook": {"sha256": ""}}
    manifests.write(folder, keys | {"kind": folder.name})


def test_the_study_of_rows_predicts_each_size_from_smaller_ones_and_leaves_its_record(swept, capsys):
    text, names = execute("how_much_data", capsys, sweep="growing")
    assert "50 rows: 10/100" in text and "1600 rows:" in text and names["problems"] == 100
    assert [row["rows"] for row in names["tried"]] == [800] and text.count("inside") == 1
    assert execute("how_much_data", capsys)[0] == text, "the record alone says the same"
    with pytest.raises(InputProblem, match="no finished sweep"):
        execute("how_much_data", capsys, sweep="recovered")


def test_the_study_of_the_distance_judges_by_trainings_that_it_has_not_seen(swept, capsys):
    text, names = execute("razor", capsys, sweep="growing", beside=["recovered"])
    assert "21 points of 6 trainings" in text and names["law"]["a"] == pytest.approx(2.0)
    assert "the distance explains what was forgotten here" in text and "recovered: +0.0" in text
    (swept / "studies" / "razor.json").unlink()
    with pytest.raises(InputProblem, match="run `tunebook sweep razor"):
        execute("razor", capsys)
