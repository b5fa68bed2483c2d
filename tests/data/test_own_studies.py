"""The studies of own rows that ship to be copied: their rows are read whole, nothing is cut or accused, and each has
problems that judge it.
"""

from pathlib import Path

import pytest

import tiny_models
from tunebook import data, training
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.evaluation.readiness import check_runner
from tunebook.models.templates import measure_row
from tunebook.pipeline.params import load_study

ROOT = Path(__file__).parents[2]
STUDIES = {"own_pairs": (50, 0), "own_labels": (50, 0), "tool_calls": (40, 0), "mbpp": (40, 12)}


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
