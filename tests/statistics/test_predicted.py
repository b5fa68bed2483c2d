"""A rate from a judge and few labels: numbers by hand, a judge's bias taken off, and intervals that hold at 50 labels."""

import importlib.util
from pathlib import Path

import numpy
import pytest

from tunebook.errors import InputProblem
from tunebook.statistics.predicted import DIFFERENCE, agreement, labels_needed, predicted_mean

PATH = Path(__file__).parents[2] / "bench" / "bench_labels.py"
_spec = importlib.util.spec_from_file_location("bench_labels", PATH)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)

LABELS = [1, 1, 1, 0, 0, 0, 1, 0, 1, 1] * 3
WORDS = [0.9, 0.8, 0.7, 0.4, 0.2, 0.1, 0.6, 0.7, 0.9, 0.5] * 3
OTHERS = [0.7, 0.3] * 35


def test_the_estimate_is_the_formulas():
    """Slope and mean by numpy's own regression; PPI++ with the other problems apart gives the same number."""
    row = predicted_mean(LABELS + [None] * 70, WORDS + OTHERS)
    slope, start = numpy.polyfit(WORDS, LABELS, 1)
    assert row["weight"] == pytest.approx(slope) and (row["n"], row["n_all"]) == (30, 100)
    assert row["estimate"] == pytest.approx(start + slope * numpy.mean(WORDS + OTHERS))
    y, f, rest = (numpy.array(values, dtype=float) for values in (LABELS, WORDS, OTHERS))
    lam = numpy.cov(y, f)[0, 1] / ((1 + len(y) / len(rest)) * f.var(ddof=1))
    assert row["estimate"] == pytest.approx(lam * rest.mean() + (y - lam * f).mean())
    low, high = row["interval"]
    assert low < row["estimate"] < high


def test_a_judge_that_praises_all_alike_or_says_the_contrary_changes_nothing():
    told = LABELS + [None] * 70
    alone = predicted_mean(told, [0.0] * 100)
    assert alone["weight"] == 0 and alone["estimate"] == pytest.approx(0.6)
    assert predicted_mean(told, [0.97] * 100) == alone
    contrary = predicted_mean(told, [1 - word for word in WORDS + OTHERS])
    assert (contrary["weight"], contrary["estimate"]) == (0, alone["estimate"])
    lenient = predicted_mean(told, [0.5 + word / 2 for word in WORDS + OTHERS])
    assert lenient["estimate"] == pytest.approx(predicted_mean(told, WORDS + OTHERS)["estimate"]), "bias and scale go"


def test_what_the_judge_rarely_says_is_not_reckoned_from_a_hair_among_the_labels():
    """Of 50 labelled problems the judge calls all but one right alike; elsewhere it calls some wrong. The slope through
    that one would throw the rate to 0.
    """
    words = [1.0] * 49 + [0.999] + [1.0] * 330 + [0.1] * 20
    row = predicted_mean([1] * 49 + [0] + [None] * 350, words)
    assert row["estimate"] == pytest.approx(0.98, abs=0.01) and row["interval"][0] > 0.8


def test_a_good_judge_narrows_the_interval_and_no_rate_leaves_its_range():
    good = predicted_mean(LABELS + [None] * 170, LABELS + [1, 0] * 85)
    alone = predicted_mean(LABELS + [None] * 170, [0] * 200)
    assert numpy.ptp(good["interval"]) < 0.6 * numpy.ptp(alone["interval"])
    for value in (0, 1):  # no mistake was seen, which is no proof that there is none
        low, high = predicted_mean([value] * 50 + [None] * 350, [value] * 400)["interval"]
        assert 0 <= low <= value <= high <= 1 and high - low > 0.05


@pytest.mark.parametrize(("judge", "rate", "n"), [("lenient", 0.9, 50), ("rare", 0.5, 100), ("good", 0.98, 50)])
def test_the_interval_holds_where_a_believed_judge_and_the_textbook_do_not(judge, rate, n, monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 300)
    row = bench._rate(numpy.random.default_rng(3), judge, rate, n)
    assert row["predicted"] >= 0.93
    assert min(row["judge"], row["normal"]) < 0.92


def test_a_judge_that_favours_one_model_biases_the_difference_and_is_corrected(monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 200)
    row = bench._difference(numpy.random.default_rng(3), "partial", 0.3, 0.3, 100)
    assert row["predicted"] >= 0.92 and row["judge"] < 0.1 and row["width"] < 1


def test_doubtful_problems_counted_as_random_ones_would_bias_the_rate(monkeypatch):
    monkeypatch.setattr(bench, "REPEATS", 200)
    row = bench._doubtful(numpy.random.default_rng(3), "good")
    assert row["pooled"]["coverage"] < 0.9 < row["random"]["coverage"]


def test_more_labels_settle_what_they_can_and_no_more():
    change = [1, 0, 0, 0, 0, 0, 0, 0, -1, 1] * 5 + [None] * 950
    row = predicted_mean(change, [0.0] * 1000, DIFFERENCE)
    assert row["interval"][0] < 0 < row["interval"][1]
    needed = labels_needed(row)
    assert 50 < needed < 1000
    error = (row["of_labels"] * (1 / needed - 1 / 1000) + row["of_problems"] / 1000) ** 0.5
    assert row["estimate"] == pytest.approx((1.96 + 0.8416) * error, rel=0.01)
    assert labels_needed(predicted_mean(change[:60], [0.0] * 60, DIFFERENCE)) is None, "there are 60 problems only"
    assert labels_needed(row, -0.5) == 50, "it is settled"


@pytest.mark.parametrize(
    ("outcomes", "words", "said"),
    [
        ([1] * 9 + [None], [0.5] * 10, "9 of 10 problems are labelled"),
        ([1] * 10, [0.5] * 9, "9 predictions of 10"),
        ([2] * 10, [0.5] * 10, "between 0 and 1"),
        ([1] * 10, [0.5] * 9 + [float("nan")], "finite"),
    ],
)
def test_what_gives_no_estimate_is_one_sentence(outcomes, words, said):
    with pytest.raises(InputProblem, match=said):
        predicted_mean(outcomes, words)


def test_agreement_by_hand():
    """20 both right, 15 both wrong, 5 and 10 apart: 0.7 agree, 0.5 by chance, so kappa is 0.4."""
    first = [True] * 25 + [False] * 25
    second = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    row = agreement(first, second)
    assert (row["n"], row["agree"], row["kappa"]) == (50, 0.7, pytest.approx(0.4))
    assert row["kappa_interval"][0] < 0.4 < row["kappa_interval"][1] and row["agree_interval"][0] > 0.5
    same = agreement([True] * 30, [True] * 30)
    assert same["kappa"] is None and same["agree"] == 1 and same["agree_interval"][0] < 0.98
    with pytest.raises(InputProblem, match="the same answers"):
        agreement([True], [])
