"""Two sources are told apart when they differ and not when they do not; a paired rise keeps its promise."""

import random

import numpy
import pytest

from tunebook.errors import InputProblem
from tunebook.statistics.compare import rise
from tunebook.statistics.domains import separate

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def texts(n: int, seed: int, extra: str = "") -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=6)) + (f" {extra}" if extra and rng.random() < 0.8 else "") for _ in range(n)]


def test_texts_of_one_source_cannot_be_told_apart():
    found = separate(texts(150, 0), texts(120, 1))
    assert found["interval"][0] < 0.5 < found["interval"][1] and found["words"] == []


def test_a_word_that_came_in_is_named():
    found = separate(texts(150, 0), texts(120, 1, "zebra"))
    assert found["interval"][0] > 0.8 and found["words"][0]["word"] == "zebra" and found["words"][0]["share_a"] == 0


def test_texts_without_spaces_are_told_apart_by_their_characters():
    """Each was one word that no other text had: the AUC was 0.5 with an interval of no width, and all held."""
    rng = random.Random(0)
    weather, money = (
        ["".join(rng.choices(signs, k=8)) + str(at) for at in range(60)]
        for signs in ("今天北京的天气怎么样", "请转账五百元给王先生")
    )
    found = separate(weather, money)
    assert found["interval"][0] > 0.9
    assert separate(weather[:30], weather[30:])["interval"][0] < 0.65


def test_equal_texts_stay_in_one_fold_so_that_copies_do_not_look_like_drift():
    same = [f"text number {at} {WORDS[at % 12]}" for at in range(40)]
    assert separate(same * 3, same * 3)["auc"] <= 0.5


def test_the_same_seed_gives_the_same_answer():
    a, b = texts(60, 0), texts(60, 1, "zebra")
    assert separate(a, b, 3) == separate(a, b, 3)


def test_too_few_different_texts_are_refused():
    with pytest.raises(InputProblem, match="1 different texts"):
        separate(texts(50, 0), ["the same"] * 50)


def test_a_rise_is_judged_by_its_bound():
    rng = numpy.random.default_rng(0)
    before = rng.uniform(0.8, 1.4, 40)
    words = {
        mean: rise(list(zip(before, before * (1 + mean + rng.normal(0, 0.03, 40)))), 10)["verdict"]
        for mean in (0.0, 0.1, 0.3)
    }
    assert words == {0.0: "non-inferior", 0.1: "inconclusive", 0.3: "violation"}


def test_a_rise_at_the_margin_passes_in_at_most_one_of_twenty_studies():
    rng = numpy.random.default_rng(1)
    passed = sum(
        rise([(1.0, 1.1 + e) for e in rng.normal(0, 0.05, 40)], 10)["verdict"] == "non-inferior" for _ in range(1000)
    )
    assert passed <= 70


def test_few_pairs_cannot_show_anything_and_nonsense_is_refused():
    assert rise([(1.0, 1.0)] * 4, 10)["verdict"] == "cannot see a loss"
    assert rise([(1.0, 1.0)] * 5, 10)["verdict"] == "non-inferior"
    for pairs, margin in (([(0.0, 1.0)] * 6, 10), ([(1.0, float("nan"))] * 6, 10), ([(1.0, 1.0)] * 6, 0)):
        with pytest.raises(InputProblem):
            rise(pairs, margin)
