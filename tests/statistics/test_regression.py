"""A score is extrapolated with an interval that holds, and what explains nothing is not said to explain."""

import math

import numpy
import pytest
from scipy.special import expit

from tunebook.errors import InputProblem
from tunebook.statistics.regression import explained, fit_growth, tried_on_the_next

SIZES = (50, 100, 200, 400)


def trainings(rng, slope: float, spread: float, problems: int = 200) -> list[tuple[int, int, int]]:
    chances = [expit(slope * math.log(rows / 200) + rng.normal(0, spread)) for rows in SIZES for _ in range(3)]
    return [(SIZES[at // 3], int(rng.binomial(problems, chance)), problems) for at, chance in enumerate(chances)]


@pytest.mark.parametrize(("slope", "spread"), [(1.5, 0.0), (1.5, 0.5), (0.0, 0.3)])
def test_the_interval_of_the_next_size_holds_what_is_then_measured(slope, spread):
    rng, inside = numpy.random.default_rng(1), []
    for _ in range(150):
        low, _, high = fit_growth(trainings(rng, slope, spread)).predict(800, 200)
        score = rng.binomial(200, expit(slope * math.log(4) + rng.normal(0, spread))) / 200
        inside.append(low <= score <= high)
    assert 0.84 <= numpy.mean(inside) <= 0.99


def test_each_size_is_predicted_from_smaller_ones_alone():
    found = trainings(numpy.random.default_rng(0), 1.5, 0.1)
    rows = tried_on_the_next(found)
    assert [row["rows"] for row in rows] == [200, 400] and all(len(row["scores"]) == 3 for row in rows)
    other = tried_on_the_next([one if one[0] < 400 else (400, 0, 200) for one in found])
    assert other[0] == rows[0] and other[1]["predicted"] == rows[1]["predicted"]
    assert rows[1]["inside"] == 3 and other[1]["inside"] == 0
    with pytest.raises(InputProblem, match="four trainings of two sizes"):
        fit_growth([(50, 3, 10)] * 5)


def points(rng, noise: float, follows: float = 1.0) -> list[tuple[str, float, float]]:
    distances = [(f"run{at // 4}", rng.uniform(0, 3)) for at in range(24)]
    return [(name, x, follows * (2 * x + x**2) + rng.normal(0, noise)) for name, x in distances]


def test_a_law_is_found_and_noise_is_not_taken_for_one():
    law = explained(points(numpy.random.default_rng(0), 0.3))
    assert law["a"] == pytest.approx(2, abs=0.5) and law["b"] == pytest.approx(1, abs=0.3)
    assert law["r2_interval"][0] > 0.95 and law["r2_left_out"] > 0.95 and law["error_left_out"] < 0.5
    none = explained(points(numpy.random.default_rng(0), 3.0, 0.0))
    assert none["r2"] < 0.3 and none["r2_left_out"] < 0.1 and none["r2_interval"][0] < 0
    with pytest.raises(InputProblem, match="too few to leave one out"):
        explained([("a", 1.0, 1.0), ("b", 2.0, 2.0)])
