"""The study notebooks run from top to bottom without a model, for the published numbers and for a reader's own."""

import json
import random
import shutil
from pathlib import Path

import pytest
from IPython.core.formatters import DisplayFormatter

from tunebook import plots
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
    leave(
        outputs / "recovered" / "09_recover",
        {"front": [{"point": "base", "kl": 0.0, "rise": 0.0}, {"point": "given", "kl": 0.5, "rise": 1.0}]},
    )
    (outputs / "recovered" / "run.json").write_text("{}")
    about = {
        "study": "quickstart",
        "judged": "04_evaluate_pass_at_1@sft",
        "commit": "0" * 40,
        "points": points,
        "summary": {"rows": settings},
    }
    (outputs / "growing").mkdir()
    (outputs / "growing" / "sweep.json").write_text(json.dumps(about))
    return outputs


def leave(folder: Path, metrics: dict, **others) -> None:
    folder.mkdir(parents=True)
    keys = dict.fromkeys(manifests.KEYS, {}) | {"files": [], "metrics": metrics, "notebook": {"sha256": ""}} | others
    manifests.write(folder, keys | {"kind": folder.name})


def record(outputs: Path, sweep: str, study: str) -> None:
    """What a maintainer does with a sweep that is to be recorded."""
    (outputs / "studies").mkdir()
    shutil.copy(outputs / sweep / f"{study}.json", outputs / "studies")


def test_the_study_of_rows_predicts_each_size_from_smaller_ones_and_leaves_its_record(swept, capsys):
    text, names = execute("how_much_data", capsys, sweep="growing")
    assert "50 rows: 10/100" in text and "1600 rows:" in text and names["problems"] == 100
    assert [row["rows"] for row in names["tried"]] == [800] and text.count("inside") == 1
    assert not (swept / "studies").exists(), "what git has is left alone"
    record(swept, "growing", "how_much_data")
    assert execute("how_much_data", capsys)[0] == text, "the record alone says the same"
    with pytest.raises(InputProblem, match="no finished sweep"):
        execute("how_much_data", capsys, sweep="recovered")


def test_the_study_of_the_distance_judges_by_trainings_that_it_has_not_seen(swept, capsys):
    text, names = execute("razor", capsys, sweep="growing", beside=["recovered"])
    assert "21 points of 6 trainings" in text and names["law"]["a"] == pytest.approx(2.0)
    assert "the distance explains what was forgotten here" in text and "recovered: +0.0" in text
    with pytest.raises(InputProblem, match="run `tunebook sweep razor"):
        execute("razor", capsys)


def leave_training(outputs: Path, run: str, solved: list[bool], rise: float, full: bool) -> None:
    """A scored training as 02 and 04 leave it: 100 problems, two pieces of general text, what it took."""
    for target, bits in (("base", 100.0), ("sft", 100.0 + rise)):
        folder = outputs / run / f"04_evaluate_pass_at_1@{target}"
        (folder / "scores" / "task").mkdir(parents=True)
        documents = [{"name": name, "bytes": 100, "bits": bits} for name in ("if", "for")]
        (folder / "forgetting.json").write_text(json.dumps({"documents": documents, "kl": None}))
        rows = [{"task_id": f"{at:03}", "sample": 0, "passed": ok} for at, ok in enumerate(solved)]
        (folder / "scores" / "task" / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    costs = {"train_seconds": 90.0 if full else 60.0}
    costs["forecast_beside_actual"] = [{"what": "time"}, {"what": "memory", "actual": 2.8 if full else 1.4}]
    leave(outputs / run / "02_train_sft", {}, costs=costs)


@pytest.fixture
def both_ways(swept):
    """outputs/ with a finished sweep of full and of two ranks, three trainings each: rank 16 solves as much as full at
    ten times its rate and forgets less, rank 1 solves less; one training at the highest rate has no score.
    """
    rng, points, settings = random.Random(0), [], []
    rates = {"full": (3e-5, 1e-4, 3e-4), "lora": (3e-4, 1e-3, 3e-3)}
    for method, rank, percent, rise in (("full", None, 80, 9.0), ("lora", 16, 80, 3.0), ("lora", 1, 50, 3.0)):
        for factor, rate in zip((0.3, 1, 3), rates[method], strict=True):
            values = {"method": method, "learning_rate": rate} | ({"lora_rank": rank} if rank else {})
            row = {"values": str(values), "runs": [], "k": [], "n": 100}
            for seed in range(3):
                run = f"ways.{len(points)}"
                points.append({"run": run, "seed": seed, "values": values})
                row["runs"].append(run)
                solved = [at < percent - (0 if factor == 1 else 30) + rng.randint(-1, 1) for at in range(100)]
                if (method, factor, seed) == ("full", 3, 2):
                    continue
                row["k"].append(sum(solved))
                leave_training(swept, run, solved, rise * factor + rng.uniform(-0.2, 0.2), method == "full")
            settings.append(row)
    about = {"study": "quickstart", "judged": "04_evaluate_pass_at_1@sft", "commit": "0" * 40, "points": points}
    (swept / "ways").mkdir()
    (swept / "ways" / "sweep.json").write_text(json.dumps(about | {"summary": {"rows": settings}}))
    return swept


def test_the_study_of_adapters_compares_each_method_at_its_own_best_rate(both_ways, capsys):
    text, names = execute("lora_or_full", capsys, sweep="ways")
    assert "has no score: {('full', 0.0003)}" in text
    shown = {(row["method"], row["what"]): row["shown"] for row in names["compared"]}
    assert shown == {
        ("lora 16", "learned"): "",
        ("lora 16", "forgot"): "less",
        ("lora 1", "learned"): "less",
        ("lora 1", "forgot"): "less",
    }
    forgot = next(row for row in names["compared"] if row["what"] == "forgot")
    assert forgot["difference"] == pytest.approx(-6.0, abs=0.5), "percent of bits, against base"
    assert "lora 16: is enough, within 5 points of full" in text and "lora 1: learned less" in text
    assert "90 seconds, 2.80 GiB" in text and "60 seconds, 1.40 GiB" in text
    shown, _ = DisplayFormatter().format(plots.methods(names["trainings"], names["best"]))
    assert shown["image/png"].startswith(b"\x89PNG"), "a cell that ends with a figure shows it"
    record(both_ways, "ways", "lora_or_full")
    assert execute("lora_or_full", capsys)[0] == text, "the record alone says the same"
