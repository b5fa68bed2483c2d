"""The studies of own rows that ship to be copied: their rows are read whole, nothing is cut or accused, and each has
problems that judge it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import own_study
import tiny_models
from tunebook import data, training
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.evaluation.readiness import check_runner
from tunebook.models.rendering import measure_row
from tunebook.pipeline.params import load_study

ROOT = Path(__file__).parents[2]
STUDIES = {"own_pairs": (50, 0), "own_labels": (50, 0), "tool_calls": (40, 0), "mbpp": (40, 12)}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """All four studies, from their rows to their verdicts."""
    if not hasattr(os, "fork"):
        pytest.skip("the notebooks run in forks of one process")
    folder = tmp_path_factory.mktemp("outputs")
    path = os.pathsep.join([*(str(ROOT / name) for name in ("lib", "tests")), os.environ["PYTHONPATH"]])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, own_study.__file__, str(folder), *STUDIES]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout
    return folder


def metrics(folder, stage):
    return json.loads(next(folder.glob(f"{stage}/metrics.json")).read_text())


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_own_rows_comes_to_its_verdict(outputs, name):
    """The model is random and the problems are four, so nothing is shown, and the page says so."""
    states = json.loads((outputs / name / "run.json").read_text())["states"]
    assert [entry["state"] for entry in states.values() if entry["state"] not in ("pass", "warn")] == []
    assert len(states) == (8 if name in own_study.WITH_PREFERENCES else 6) + (name == own_study.LABELLED)
    report = json.loads((outputs / name / "report.json").read_text())
    assert report["verdict"] == "INCONCLUSIVE" and "INCONCLUSIVE" in (outputs / name / "report.html").read_text()
    assert metrics(outputs / name, "04*@sft")["scores"]["task"]["n"] == 4


def test_answers_that_nobody_labelled_are_no_failure_and_no_number(outputs):
    folder = outputs / own_study.LABELLED
    found, report = metrics(folder, "11_label"), json.loads((folder / "report.json").read_text())
    (sheet,) = (folder / "labels").glob("*.csv")
    assert found["estimates"] == [] and found["gained"] is None and found["models"] == ["base", "sft"]
    assert found["result"].startswith("not labelled yet: ") and found["result"].endswith(
        f"answers wait in {own_study.LABELLED}/labels/{sheet.name}"
    )
    (gate,) = (row for row in report["gates"] if row["source"] == "11_label/manifest.json")
    assert gate["verdict"] == "INCONCLUSIVE" and gate["evidence"].startswith("not labelled yet")
    assert "not labelled yet" in (folder / "report.html").read_text()


def test_the_rows_are_trained_as_the_study_says(outputs):
    pairs, labels = (metrics(outputs / name, "03*") for name in ("own_pairs", "own_labels"))
    assert (pairs["preference"], labels["preference"]) == ("dpo", "kto")
    assert pairs["own"] == pairs["pairs"] and 8 <= pairs["own"] <= 12 and pairs["steps"] == 2
    trained = [json.loads(line) for line in (outputs / "own_labels" / "01_validate_data" / "train.jsonl").open()]
    assert 8 <= labels["own"] <= len(trained) == 12 and {row["label"] for row in trained} == {True, False}
    assert metrics(outputs / "tool_calls", "01*")["counts"]["train"] == 12


def load(name):
    params = load_study(ROOT / "params" / f"{name}.yaml", root=ROOT).params
    sizes = data.Sizes(*(params[key] for key in ("n_rows", "n_dev", "n_test", "benchmark_limit", "seed")))
    reading = data.reading_of(params["mapping"], drop=params["drop"], train_on=params["train_on"])
    rows, benchmark = (str(ROOT / "params" / params[key]) if params[key] else "" for key in ("rows", "benchmark"))
    return params, data.load_study_data("", rows, benchmark, sizes, reading)


@pytest.mark.parametrize("name", STUDIES)
def test_the_rows_of_a_study_to_copy_are_read_whole(name):
    params, study = load(name)
    n_rows, n_problems = STUDIES[name]
    measure = measure_row(tiny_models.tokenizer(params["chat_template"]))
    kept, cut, removed, lengths = data.check_lengths(study.train, measure, params["max_length"])
    judgement = data.judge_study(study)
    assert [item.check for item in [*cut, *judgement.findings] if item.severity != "info"] == []
    assert len(kept) >= n_rows and not removed and len(study.test_problems) >= (n_problems or 5)
    assert all(trained > 0 for trained, _ in lengths)


def test_what_each_study_trains_is_what_it_says():
    pairs, labels = (training.own_preferences(load(name)[1].train) for name in ("own_pairs", "own_labels"))
    assert len(pairs) >= 50 and {row["label"] for row in load("own_labels")[1].train} == {True, False}
    assert len(labels) > len(data.demonstrations(load("own_labels")[1].train)) >= 25
    calls = load("tool_calls")[1].train
    assert all(row["tools"] and sum(turn.get("weight") == 1 for turn in row["prompt"]) == 1 for row in calls)


def test_the_tasks_of_the_mbpp_study_can_be_judged():
    assert check_runner(load_benchmark(ROOT / "params" / "rows" / "mbpp_test.jsonl"))["ok"]
