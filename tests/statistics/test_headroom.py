"""Predictions of a score before training, on curves whose law is known and on the recorded trainings."""

import json
import math
from dataclasses import replace

import pytest

from tunebook.errors import InputProblem
from tunebook.statistics.headroom import MODEL, OPEN, WORDS, Run, expected_score, predict, read_runs, word_of

SIZES = (32, 64, 128, 160)


def probe(first: float, exponent: float, mini: int = 0, base: int = 0, drawn: int = 0) -> dict:
    """Nats an answer that fall from `first` at 16 rows by a power law; answers of ten tokens, 40 problems."""
    curve = [{"rows": 0, "nats_answer": 40.0, "nats_token": 4.0}]
    curve += [
        {"rows": n, "nats_answer": (x := first * (n / 16) ** -exponent), "nats_token": x / 10} for n in (16, 32, 64)
    ]
    told = {"base": base, "base_k": drawn, "mini": mini}
    return {name: {"k": k, "n": 40, "samples": 4} for name, k in told.items()} | {"curve": curve}


def truth(first: float, exponent: float, n_rows: float) -> float:
    return math.exp(-first * (n_rows / 16) ** -exponent)


def runs_of(task: str, first: float, exponent: float, shift: float = 0.0) -> list[Run]:
    """Trainings whose score is the likelihood itself, `shift` aside."""
    told = probe(first, exponent, round(40 * truth(first, exponent, 64)))
    scores = [min(max(truth(first, exponent, n) + shift, 0.0), 1.0) for n in SIZES]
    return [Run(task, n, told, round(100 * score), 100) for n, score in zip(SIZES, scores, strict=True)]


LAWS = {"easy": (2.0, 0.6), "fair": (4.0, 0.5), "slow": (6.0, 0.3), "hard": (9.0, 0.2), "facts": (14.0, 0.05)}
RUNS = [run for task, law in LAWS.items() for run in runs_of(task, *law)]


@pytest.mark.parametrize("law", [(3.0, 0.5), (5.0, 0.4), (12.0, 0.03)])
def test_where_the_score_is_the_likelihood_the_prediction_finds_it(law):
    """A prediction that misses its own law by more than its interval is a number from nowhere."""
    told = predict(probe(*law, round(40 * truth(*law, 64))), 128, RUNS)
    assert told["low"] <= 100 * truth(*law, 128) <= told["high"]
    assert abs(told["score"] - 100 * truth(*law, 128)) < 8 and told["high"] - told["low"] < 40


def test_more_rows_and_a_better_mini_adapter_never_lower_the_prediction():
    told = [predict(probe(4.0, 0.4, 10), n, RUNS)["score"] for n in SIZES]
    assert told == sorted(told) and told[-1] > told[0] + 5
    told = [predict(probe(4.0, 0.4, k), 100, RUNS)["score"] for k in (0, 10, 30)]
    assert told == sorted(told)


def test_tasks_that_come_out_otherwise_than_predicted_make_the_interval_wide():
    """The interval's width comes from errors on tasks left out, not from a formula."""
    odd = [*RUNS, *runs_of("odd", 4.0, 0.5, shift=0.5), *runs_of("worse", 3.0, 0.5, shift=-0.5)]
    widths = [told["high"] - told["low"] for told in (predict(probe(4.0, 0.4, 10), 100, runs) for runs in (RUNS, odd))]
    assert widths[1] > widths[0] + 20


@pytest.mark.parametrize(
    "told, drawn, word, sure",
    [
        ((60, 40, 80), 0, WORDS[0], True),
        ((60, 12, 80), 0, WORDS[0], False),
        ((12, 10, 14), 30, WORDS[1], True),
        ((12, 10, 40), 30, WORDS[1], False),
        ((12, 10, 14), 7, WORDS[2], True),
    ],
)
def test_the_word_follows_from_the_prediction_and_from_what_base_draws(told, drawn, word, sure):
    """Base solves 10%, five points are wanted; 7 of 40 drawn are too few to be sure of 15%."""
    found = word_of(dict(zip(("score", "low", "high"), told, strict=True)), probe(4, 0.4, base=4, drawn=drawn), 5.0)
    assert (found["word"], found["sure"]) == (word, sure)


def test_a_flat_curve_is_out_of_reach_and_a_steep_one_is_teachable():
    flat = expected_score(probe(13.0, 0.0), 128, 5.0, RUNS, MODEL)
    steep = expected_score(probe(3.0, 0.6, 20), 128, 5.0, RUNS, MODEL)
    assert (flat["word"], flat["sure"], flat["beyond"]) == (WORDS[2], True, [])
    assert (steep["word"], steep["sure"]) == (WORDS[0], True)
    assert expected_score(probe(13.0, 0.0), 1e4, 5.0, RUNS, MODEL)["word"] == OPEN, "few rows say little of many"
    assert flat["line"].startswith("out of reach: base solves 0% of dev, after 128 rows")


def test_what_was_never_tried_is_said_and_rows_are_carried_on_no_further():
    """A prediction for a million rows from trainings of 160 would be a guess with an interval."""
    found = expected_score(probe(4.0, 0.4, 10), 1e6, 5.0, RUNS, "my/model v1")
    assert found["score"] == expected_score(probe(4.0, 0.4, 10), 160, 5.0, RUNS, MODEL)["score"]
    assert found["sure"] is False and expected_score(probe(3.0, 0.6, 20), 1e6, 5.0, RUNS, MODEL)["sure"] is False
    assert ["1e+06 are planned" in found["beyond"][0], "my/model v1" in found["beyond"][1]] == [True, True]
    long = probe(4.0, 0.4, 10)
    long["curve"][0]["nats_token"] = 0.4
    assert "these 100" in expected_score(long, 100, 5.0, RUNS, MODEL)["beyond"][0]


def test_bad_inputs_are_one_sentence(tmp_path):
    with pytest.raises(InputProblem, match="3 tasks or more, there are 2"):
        predict(RUNS[0].probe, 100, [replace(run, task="one" if run.n_rows < 100 else "two") for run in RUNS])
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({"part": "run", "task": "lost", "n_rows": 32, "k": 1, "n": 2}) + "\n")
    with pytest.raises(InputProblem, match="trainings of lost have no probe"):
        read_runs(path)


def test_recorded_facts_are_out_of_reach_to_a_model_that_has_not_seen_their_task():
    """The shipped trainings: what no row can tell must not be promised, whatever other tasks were learned."""
    runs = read_runs()
    facts, others = ([run for run in runs if (run.task == "facts") is same] for same in (True, False))
    assert facts and len({run.task for run in others}) >= 5
    for run in facts:
        told = expected_score(run.probe, run.n_rows, 5.0, others, MODEL)
        assert told["word"] == WORDS[2] and told["low"] <= 100 * run.k / run.n <= told["high"] < 20
