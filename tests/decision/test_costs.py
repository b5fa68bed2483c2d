"""Money: no price is assumed, and break-even is what a person with a pencil gets."""

import pytest

from tunebook.decision.economics import (
    Prices,
    break_even,
    fixed_a_month,
    per_correct_answer,
    read_prices,
    share_seconds,
    sweep,
)
from tunebook.errors import InputProblem

CALLS = [{"input_tokens": 100, "output_tokens": 50, "seconds": 0.36} for _ in range(20)]
GIVEN = {"price_source": "a list", "price_date": "2026-11-25", "price_machine_hour": 1.0, "price_hosted_input": 10.0}
GIVEN |= {"price_hosted_output": 20.0, "price_staff_hour": 50.0, "staff_hours": 6.0, "retrain_months": 10.0}


def test_break_even_by_hand():
    """Fixed 300 once in 10 months = 30 a month. A call: 0.0001 own, 0.002 hosted. 30 / 0.0019 / 30.44 days = 518.8 a
    day.
    """
    found = break_even(CALLS, Prices(**GIVEN), machine_seconds=0, pass_rate=1.0)
    assert found["own"]["calls_a_day"] == pytest.approx(30 / 0.0019 / (365.25 / 12))
    assert found["own"]["interval"] == pytest.approx([found["own"]["calls_a_day"]] * 2)  # equal inputs: no spread
    assert found["missing"] == []


def test_the_cascade_pays_later_and_never_when_too_little_is_right():
    prices = Prices(**GIVEN)
    half = break_even(CALLS, prices, 0, pass_rate=0.5)
    assert half["cascade"]["calls_a_day"] == pytest.approx(30 / (0.5 * 0.002 - 0.0001) / (365.25 / 12))
    assert break_even(CALLS, prices, 0, pass_rate=0.04)["cascade"] == {"calls_a_day": None, "interval": [None, None]}


def test_the_interval_comes_from_the_inputs():
    mixed = [{**call, "output_tokens": 10 if at % 2 else 400} for at, call in enumerate(CALLS)]
    low, high = break_even(mixed, Prices(**GIVEN), 0, 1.0)["own"]["interval"]
    assert low < break_even(mixed, Prices(**GIVEN), 0, 1.0)["own"]["calls_a_day"] < high


def test_a_hosted_models_own_token_counts_decide_what_it_costs():
    """A model that thinks for 950 tokens more costs 0.021 a call; half as many calls as own ones are drawn apart."""
    thought = [{"input_tokens": 100, "output_tokens": 1000} for _ in range(10)]
    found = break_even(CALLS, Prices(**GIVEN), 0, 1.0, hosted_calls=thought)
    assert found["own"]["calls_a_day"] == pytest.approx(30 / (0.021 - 0.0001) / (365.25 / 12))
    assert found["own"]["interval"] == pytest.approx([found["own"]["calls_a_day"]] * 2)


def test_machine_time_and_data_are_fixed_costs():
    assert fixed_a_month(Prices(**(GIVEN | {"data_cost": 100.0})), 36_000) == pytest.approx((300 + 100 + 10) / 10)


@pytest.mark.parametrize(
    ("months", "ends"),
    [
        ({}, (10, "retrain_months")),
        ({"frontier_lag_months": 4.0}, (4, "frontier_lag_months")),
        ({"frontier_lag_months": 4.0, "stable_months": 3.0}, (3, "stable_months")),
        ({"frontier_lag_months": 40.0}, (10, "retrain_months")),
        ({"retrain_months": 0.0}, (12, "no month was said")),
    ],
)
def test_a_training_is_paid_back_before_its_advantage_expires(months, ends):
    """300 in 4 months are 75 a month, so 75 / 0.0019 / 30.44 days = 1,297 calls a day instead of 519."""
    prices = Prices(**(GIVEN | months))
    assert prices.horizon() == ends and fixed_a_month(prices, 0) == pytest.approx(300 / ends[0])
    found = break_even(CALLS, prices, 0, 1.0)
    assert found["own"]["calls_a_day"] == pytest.approx(300 / ends[0] / 0.0019 / (365.25 / 12))
    assert ends[1] in found["horizon"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"price_source": ""}, "price_source"),
        ({"price_date": ""}, "price_date"),
        ({"price_date": "last week"}, "price_date"),
        ({"price_date": "2026-13-01"}, "price_date"),
        ({"price_date": "20261125"}, "price_date"),
        ({"price_date": "2999-01-01"}, "price_date"),
        ({"price_machine_hour": -1.0}, "price_machine_hour"),
        ({"staff_hours": float("nan")}, "staff_hours"),
        ({"utilisation": 0.0}, "utilisation"),
        ({"utilisation": 1.5}, "utilisation"),
    ],
)
def test_a_price_without_source_date_or_sense_is_refused(change, named):
    with pytest.raises(InputProblem, match=named):
        read_prices(**(GIVEN | change))


def test_without_prices_the_figure_sweeps_them():
    prices = Prices()
    rows = sweep(CALLS, prices, 100.0, 0.5)
    assert len({row["price"] for row in rows}) > 10 and len({row["machine_hour"] for row in rows}) > 1
    assert "price_hosted_input" in prices.missing() and prices.given() == []
    assert len({row["machine_hour"] for row in sweep(CALLS, Prices(**GIVEN), 100.0, 0.5)}) == 1


def test_cost_of_a_right_answer():
    found = per_correct_answer(CALLS, Prices(**GIVEN), 0.5)
    assert found["seconds"] == pytest.approx(0.72) and found["money"] == pytest.approx(0.0002)
    assert per_correct_answer(CALLS, Prices(), 0.0) == {
        "seconds": None,
        "money": None,
        "seconds_per_call": pytest.approx(0.36),
        "pass_rate": 0.0,
    }


def test_seconds_of_a_batch_are_shared_by_tokens():
    calls = [{"input_tokens": 10, "output_tokens": 0}, {"input_tokens": 10, "output_tokens": 20}]
    share_seconds(calls, 4.0)
    assert [call["seconds"] for call in calls] == [1.0, 3.0]
