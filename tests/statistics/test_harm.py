"""Effects of groups of rows with intervals for all of them at once, on differences whose truth is known."""

import numpy
import pytest

from tunebook.errors import InputProblem
from tunebook.statistics.harm import HELPS, HURTS, OPEN, group_advice, group_effects, settle_lines


def table(effect: float, seed: int, draws: int = 8, held: int = 40, spread: float = 0.2) -> list[list[float]]:
    """Differences that vary by draw, by held-out row, and besides."""
    rng = numpy.random.default_rng(seed)
    parts = rng.normal(0, spread, (draws, 1)) + rng.normal(0, 3 * spread, held) + rng.normal(0, spread, (draws, held))
    return (effect + parts).tolist()


def test_what_hurts_helps_and_does_neither_is_told_apart_and_ranked():
    found = group_effects({"good": table(-1.0, 1), "none": table(0.0, 2), "bad": table(1.0, 3)}, [""] * 40)
    assert [(row["group"], row["verdict"]) for row in found] == [("bad", HURTS), ("none", OPEN), ("good", HELPS)]
    assert all(row["low"] < row["effect"] < row["high"] for row in found)


def test_the_more_groups_are_looked_at_the_wider_is_each_interval():
    """The worst of many always looks bad; without it every tenth clean source would be thrown out."""
    few = group_effects({"a": table(0.3, 1), "b": table(0.0, 2)}, [""] * 40)
    many = group_effects({"a": table(0.3, 1)} | {f"g{n}": table(0.0, n) for n in range(2, 20)}, [""] * 40)
    width = [next(row["high"] - row["low"] for row in rows if row["group"] == "a") for rows in (few, many)]
    assert width[1] > 1.2 * width[0]


def test_draws_that_agree_on_few_answers_and_answers_that_agree_in_few_draws_stay_open():
    """With one of the two left out of the interval, a mean of 0.5 nats would look certain."""
    by_row = [[6.0, -4.0] * 10 + [1.0] * 4] * 6
    by_draw = [[value] * 24 for value in (3.0, -0.5, 2.5, 0.5)]
    rows, draws = (group_effects({"a": each}, [""] * 24)[0] for each in (by_row, by_draw))
    assert [rows["verdict"], draws["verdict"]] == [OPEN, OPEN]
    assert rows["draws_needed"] is None and rows["held_needed"] > 24, "more draws of the same would not help"
    assert draws["held_needed"] is None and draws["draws_needed"] > 4


def test_a_wrong_source_is_judged_by_the_dev_rows_of_the_others():
    """It makes its own wrong dev rows likelier; counted with the others they would clear it."""
    groups = ["bad"] * 20 + ["checked"] * 20
    differences = [[-4 + noise for noise in row[:20]] + [0.8 + noise for noise in row[20:]] for row in table(0.0, 1)]
    (row,) = (r for r in group_effects({"bad": differences, "good": table(-0.5, 2)}, groups) if r["group"] == "bad")
    assert row["verdict"] == HURTS and row["own"] < -3 and row["held"] == 20
    (told,) = group_advice([row], {"bad": 60}, "source", 8)
    assert 'left_out_rows: ["source=bad"]' in told["advice"] and "its own dev rows become likelier" in told["advice"]


def test_wrong_dev_rows_do_not_speak_against_right_sources():
    """Right rows make wrong answers far less likely: judged by those, a source that helps would be thrown out."""
    groups = ["bad"] * 20 + ["good"] * 20 + ["odd"] * 20
    noise = {name: numpy.array(table(0.0, seed, held=60)) for seed, name in enumerate(("bad", "good", "odd"))}
    shift = {"bad": [-4] * 20 + [1.5] * 40, "good": [4] * 20 + [-0.8] * 40, "odd": [4] * 20 + [-0.1] * 40}
    found = group_effects({name: (noise[name] + shift[name]).tolist() for name in noise}, groups)
    assert {row["group"]: row["verdict"] for row in found} == {"bad": HURTS, "good": HELPS, "odd": OPEN}
    assert [row["held"] for row in found] == [40, 20, 20]


def test_one_groups_dev_rows_alone_condemn_nobody():
    """Wrong dev rows of a source that is not shown to hurt would make every right one look harmful."""
    groups = [name for name in ("odd", "a", "b", "wrong") for _ in range(20)]
    noise = {
        name: numpy.array(table(0.0, seed, held=80, spread=0.1)) for seed, name in enumerate(("odd", "a", "wrong"))
    }
    shift = {"odd": [0] * 60 + [4] * 20, "a": [-1] * 60 + [4] * 20, "wrong": [0] * 60 + [-4] * 20}
    found = group_effects({name: (noise[name] + shift[name]).tolist() for name in noise}, groups)
    odd = next(row for row in found if row["group"] == "odd")
    assert odd["low"] > 0 and (odd["verdict"], odd["against"]) == (OPEN, "wrong")
    (told,) = group_advice([odd], {"odd": 60}, "source", 8)
    assert told["advice"] == "keep: only with the dev rows of wrong it hurts: look which of the two is right"


def test_of_two_sources_that_contradict_each_other_neither_is_condemned():
    """Each harms the other's dev rows; which of them is right, no number can say."""
    tables = {name: (numpy.array(table(0.0, n)) + shift) for n, (name, shift) in enumerate((
        ("a", [-2] * 20 + [2] * 20), ("b", [2.5] * 20 + [-2] * 20)))}  # fmt: skip
    found = group_effects({name: rows.tolist() for name, rows in tables.items()}, ["a"] * 20 + ["b"] * 20)
    assert [(row["verdict"], row["against"]) for row in found] == [(OPEN, "a"), (OPEN, "b")]


def test_no_group_is_missing_and_each_says_what_would_settle_it():
    found = group_effects({"open": table(0.2, 5, draws=4), "good": table(-2.0, 6, draws=4)}, [""] * 40)
    rows = group_advice(found, {"open": 50, "good": 50, "tiny": 3}, "source", 8)
    assert {row["group"]: row["verdict"] for row in rows} == {"open": OPEN, "good": HELPS, "tiny": OPEN}
    assert "a draw takes 8 rows" in rows[-1]["advice"] and rows[-1]["effect"] is None
    told = next(row for row in rows if row["group"] == "open")
    assert told["draws_needed"] or told["held_needed"] or "if it has an effect" in told["advice"]
    assert settle_lines([{"group": "a", "draws": 4, "draws_needed": 10}], 30.0) == [
        "a: hurt_draws: 10 would settle it, about 180 s more"
    ]
    assert settle_lines([{"draws_needed": None}], 30.0) == ["further draws would settle nothing more"]


def test_a_group_without_dev_rows_of_others_cannot_be_told():
    found = group_effects({"all": table(1.0, 1), "rare": table(0.0, 2)}, ["all"] * 36 + ["rare"] * 4)
    row = next(row for row in found if row["group"] == "all")
    assert (row["verdict"], row["effect"], row["held"]) == (OPEN, None, 4)
    told = group_advice([row], {"all": 50}, "source", 8)[0]["advice"]
    assert told == "keep: dev has 4 rows of other groups, 8 are needed to tell"


@pytest.mark.parametrize(
    "tables",
    [{}, {"a": table(0, 1, draws=2)}, {"a": table(0, 1), "b": table(0, 1, draws=7)}, {"a": table(0, 1, held=39)}],
)
def test_tables_that_do_not_belong_together_are_refused(tables):
    with pytest.raises(InputProblem, match="3 draws or more and the same 40 held-out rows"):
        group_effects(tables, [""] * 40)


def test_an_answer_without_probability_is_refused():
    with pytest.raises(InputProblem, match="the differences of a"):
        group_effects({"a": [[float("nan")] * 40] * 4}, [""] * 40)
