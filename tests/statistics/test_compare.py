"""No gain is claimed that chance explains, and no loss is called harmless that could not have been seen."""

import numpy
import pytest
import scipy.stats

from tunebook.errors import InputProblem
from tunebook.statistics.compare import compare_paired, decide, noninferiority
from tunebook.statistics.paired import clustered_interval, mcnemar, paired_interval, sign_flip

KEYS = {
    "verdict",
    "n",
    "k_a",
    "k_b",
    "gained",
    "lost",
    "difference",
    "interval",
    "p_exact",
    "p_mid",
    "detectable_effect",
}


def scores(gained: int, lost: int, both: int, n: int = 164) -> tuple[dict, dict]:
    """Two scores of n problems with the given discordant counts."""
    a = {f"T/{i}": [i < both + lost] for i in range(n)}
    b = {f"T/{i}": [i < both or both + lost <= i < both + lost + gained] for i in range(n)}
    return a, b


def test_fifty_to_fifty_six_of_164_is_inconclusive():
    result = compare_paired(*scores(12, 6, 44))
    assert KEYS <= result.keys()
    assert (result["verdict"], result["k_a"], result["k_b"], result["n"]) == ("INCONCLUSIVE", 50, 56, 164)
    assert result["interval"][0] < 0 < result["difference"] < result["interval"][1]
    assert (result["both"], result["neither"]) == (44, 102)
    assert 5 < result["detectable_effect"] < 20


@pytest.mark.parametrize(
    ("gained", "lost", "verdict"),
    [(6, 0, "GO"), (5, 0, "INCONCLUSIVE"), (7, 1, "INCONCLUSIVE"), (0, 6, "NO-GO"), (0, 0, "INCONCLUSIVE")],
)
def test_at_margin_zero_the_exact_test_decides(gained, lost, verdict):
    assert compare_paired(*scores(gained, lost, 40))["verdict"] == verdict


@pytest.mark.parametrize(("margin", "verdict"), [(-5.0, "GO"), (2.0, "INCONCLUSIVE"), (30.0, "NO-GO")])
def test_at_another_margin_the_interval_decides(margin, verdict):
    assert compare_paired(*scores(20, 15, 40), margin=margin)["verdict"] == verdict


def test_lists_of_gained_and_lost_problems_are_named():
    result = compare_paired(*scores(2, 1, 3, n=10))
    assert (result["gained_tasks"], result["lost_tasks"]) == (["T/4", "T/5"], ["T/3"])


def test_several_samples_are_one_cluster_a_problem():
    """Ten samples of the same six gained problems are no sixty gains."""
    a = {f"T/{i}": [False] * 10 for i in range(164)}
    b = {f"T/{i}": [i < 5] * 10 for i in range(164)}
    result = compare_paired(a, b)
    assert (result["verdict"], result["gained"], result["k_b"]) == ("INCONCLUSIVE", 5, 50)
    assert result["p_exact"] == pytest.approx(mcnemar(5, 0)[0])
    assert 2 < result["detectable_effect"] < 10


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"x": [True]}, {"y": [True]}, "lacks 1 problems"),
        ({"x": [True], "y": [True]}, {"x": [True]}, "'y'"),
        ({"x": [True]}, {"x": [True, False]}, "sample counts differ"),
        ({"x": []}, {"x": []}, "sample counts differ"),
        ({}, {}, "no problems"),
    ],
)
def test_scores_that_do_not_pair_are_refused(a, b, words):
    with pytest.raises(InputProblem, match=words):
        compare_paired(a, b)


def test_a_and_a_is_called_go_in_at_most_five_percent():
    """2,000 pairs of equal models at a correlation of about a half; the paired test must not find a winner."""
    random = numpy.random.default_rng(7)
    wins = sided = 0
    for _ in range(2000):
        easy = random.random(164) < 0.5
        rates = numpy.where(easy, 0.6, 0.05)
        a, b = random.random(164) < rates, random.random(164) < rates
        gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
        p_exact = mcnemar(gained, lost)[0]
        verdict = decide(gained - lost, [0, 0], p_exact)
        wins, sided = wins + (verdict == "GO"), sided + (verdict != "INCONCLUSIVE")
    assert 0 < wins <= 100 and sided <= 100


def test_a_and_a_with_several_samples_is_called_go_in_at_most_five_percent():
    random = numpy.random.default_rng(8)
    wins = 0
    for _ in range(1000):
        rates = random.beta(0.5, 1.0, size=(60, 1))
        d = (random.random((60, 4)) < rates).sum(1) - (random.random((60, 4)) < rates).sum(1)
        wins += decide(int(d.sum()), [0, 0], sign_flip(d.tolist())[0]) == "GO"
    assert 0 < wins <= 50


@pytest.mark.parametrize(
    ("gain", "loss", "n"), [(0.05, 0.05, 164), (0.12, 0.06, 164), (0.02, 0.0, 164), (0.3, 0.02, 60)]
)
def test_the_paired_interval_covers_the_truth(gain, loss, n):
    random = numpy.random.default_rng(3)
    draws = random.multinomial(n, [gain, loss, 1 - gain - loss], size=3000)
    kinds, counts = numpy.unique(draws[:, :2], axis=0, return_counts=True)
    inside = 0
    for (gained, lost), count in zip(kinds.tolist(), counts.tolist(), strict=True):
        low, high = paired_interval(gained, lost, n)
        inside += count * (low <= gain - loss <= high)
    assert inside / 3000 >= 0.935


def test_the_clustered_interval_covers_the_truth():
    random = numpy.random.default_rng(4)
    inside = 0
    for _ in range(1500):
        base = random.beta(0.5, 1.0, size=(80, 1))
        after = base + 0.1 * (1 - base)
        d = ((random.random((80, 5)) < after).mean(1) - (random.random((80, 5)) < base).mean(1)).tolist()
        low, high = clustered_interval(d)
        inside += low <= 0.1 * (1 - 1 / 3) <= high
    assert inside / 1500 >= 0.93


def test_the_bootstrap_is_a_second_opinion_close_to_the_first():
    differences = numpy.repeat([1, -1, 0], [30, 12, 122])
    drawn = scipy.stats.bootstrap((differences,), numpy.mean, method="percentile", rng=0).confidence_interval
    assert (drawn.low, drawn.high) == pytest.approx(paired_interval(30, 12, 164), abs=0.012)


def test_a_loss_within_the_margin_is_shown_only_with_enough_problems():
    assert noninferiority(*scores(2, 2, 80), margin=5)["verdict"] == "non-inferior"
    assert noninferiority(*scores(20, 22, 60), margin=5)["verdict"] == "inconclusive"
    assert noninferiority(*scores(0, 40, 60), margin=5)["verdict"] == "violation"
    assert noninferiority(*scores(1, 1, 80, n=164), margin=1)["verdict"] == "inconclusive"


@pytest.mark.parametrize(("both", "lost"), [(9, 0), (0, 9), (0, 0)])
def test_a_base_score_too_low_to_show_the_loss_never_passes(both, lost):
    """9 of 164 can fall to 0 and still be inside five points: nothing was measured."""
    assert noninferiority(*scores(0, lost, both), margin=5)["verdict"] == "cannot see a loss"


def test_a_total_loss_on_several_samples_is_seen():
    a = {f"T/{i}": [i % 2 == 0] * 4 for i in range(164)}
    b = {f"T/{i}": [False] * 4 for i in range(164)}
    assert noninferiority(a, b, margin=5)["verdict"] == "violation"
    assert noninferiority(a, a, margin=5)["verdict"] == "non-inferior"
