"""Methods compared at their own best setting: simulated trainings whose truth is known."""

import numpy
import pytest

from tunebook.errors import InputProblem
from tunebook.statistics.tuned import against, own_best

SEEDS, PROBLEMS = 3, 100


def simulated(rng, method: str, rates: dict[float, float], rise: float = 10.0) -> list[dict]:
    """Three trainings at each setting; `rates` maps it to its true rate, here split over problems that suit it more or
    less, as they would again in another training.
    """
    rows = []
    for setting, rate in rates.items():
        suits = numpy.clip(rate + rng.choice([-0.3, 0.3], PROBLEMS), 0, 1)
        for seed in range(SEEDS):
            lucky = rng.normal(0, 0.03)
            passed = (rng.random(PROBLEMS) < suits + lucky).astype(int).tolist()
            row = {"method": method, "setting": setting, "seed": seed, "passed": passed}
            rows.append(row | {"rise": rise + rng.normal(0, 0.5)})
    return rows


def test_a_choice_among_equals_earns_nothing():
    rng, ours, naive = numpy.random.default_rng(0), [], []
    for _ in range(150):
        rows = simulated(rng, "m", dict.fromkeys(range(9), 0.5))
        ours.append(own_best(rows)["m"]["passed"].mean())
        scores = [numpy.mean([row["passed"] for row in rows if row["setting"] == at]) for at in range(9)]
        naive.append(max(scores))
    assert numpy.mean(naive) > 0.55, "the best of nine equal settings looks better than it is"
    assert numpy.mean(ours) == pytest.approx(0.5, abs=0.01)


def test_a_method_is_judged_at_its_own_best_setting_and_not_at_that_of_another():
    rng = numpy.random.default_rng(1)
    rows = simulated(rng, "full", {1e-4: 0.7, 1e-3: 0.3, 1e-2: 0.3}, rise=20.0)
    rows += simulated(rng, "lora", {1e-4: 0.3, 1e-3: 0.3, 1e-2: 0.7}, rise=10.0)
    best = own_best(rows)
    assert best["full"]["settings"] == {1e-4: 6, 1e-3: 0, 1e-2: 0} and best["full"]["at_edge"]
    learned, forgot = against(best, "full")
    assert learned["interval"][0] < 0 < learned["interval"][1] and learned["shown"] == ""
    assert forgot["shown"] == "less" and forgot["difference"] == pytest.approx(-10.0, abs=1.5)


def test_equal_methods_rarely_differ_unlike_ones_mostly_do_and_intervals_hold_the_truth():
    rng, false, true, inside = numpy.random.default_rng(2), 0, 0, 0
    for _ in range(100):
        rates = {"full": {1: 0.4, 2: 0.6, 3: 0.4}, "same": {1: 0.4, 2: 0.6, 3: 0.4}, "low": {1: 0.35, 2: 0.4, 3: 0.35}}
        rows = [row for name in rates for row in simulated(rng, name, rates[name], 14.0 if name == "low" else 10.0)]
        best = own_best(rows)
        same, same_forgot, low, low_forgot = against(best, "full")
        false += bool(same["shown"] or same_forgot["shown"])
        true += low["shown"] == "less" and low_forgot["shown"] == "more"
        chosen = {name: sum(rates[name][at] * n for at, n in best[name]["settings"].items()) / 6 for name in rates}
        inside += low["interval"][0] <= 100 * (chosen["low"] - chosen["full"]) <= low["interval"][1]
    assert false <= 8 and true >= 60 and inside >= 93


def test_two_methods_are_compared_by_the_paired_test_of_student():
    from scipy.stats import ttest_rel

    rng = numpy.random.default_rng(4)
    rows = simulated(rng, "full", {1: 0.5}, rise=9.0) + simulated(rng, "lora", {1: 0.5}, rise=8.0)
    best = own_best(rows)
    expected = ttest_rel(best["lora"]["rise"], best["full"]["rise"])
    _, forgot = against(best, "full")
    assert forgot["p_exact"] == pytest.approx(expected.pvalue)
    assert forgot["interval"] == pytest.approx(list(expected.confidence_interval(0.95)))


@pytest.mark.parametrize("lost", [0, 4])
def test_a_training_that_lacks_is_one_sentence(lost):
    rows = simulated(numpy.random.default_rng(3), "lora", {1: 0.5, 2: 0.5})
    with pytest.raises(InputProblem, match="lora: every setting needs one training"):
        own_best(rows[:lost] + rows[lost + 1 :])
    with pytest.raises(InputProblem, match="general_documents"):
        own_best([row | {"rise": None} for row in rows])
    with pytest.raises(InputProblem, match="full and another method are compared, found lora"):
        against(own_best(rows), "full")
    with pytest.raises(InputProblem, match="other seeds or problems"):
        own_best(rows + [row | {"method": "full", "passed": row["passed"][1:]} for row in rows])
