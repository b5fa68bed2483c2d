"""Continuations with a group's rows and without on a tiny model, with truths that are planted: wrong sources in the forms
in which they ship, and an unusual one with right answers.
"""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tiny_models import CPU
from tunebook.errors import InputProblem
from tunebook.models.loading import BaseModel, load_tokenizer
from tunebook.models.source import resolve_model
from tunebook.statistics.harm import HURTS, group_effects
from tunebook.training.dataset import tokenised
from tunebook.training.headroom.continued import Continued, Student, with_and_without
from tunebook.training.headroom.probe import answer_nats
from zoo import build

CONTEXT = SimpleNamespace(progress=lambda *_: None)
HOW = Continued(warm_rows=160, draws=5, steps=5, learning_rate=5e-3, max_length=96)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = build("smollm2", tmp_path_factory.mktemp("tiny") / "model")
    return BaseModel(resolve_model(str(folder)), CPU, load_tokenizer(folder, "chatml"), 16)


def row(asked: str, answer: str) -> dict:
    return {
        "prompt": [{"role": "user", "content": asked}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def rows_of(n: int, seed: int, wording: str = "ticket {}", answer: str = "class 3") -> list[dict]:
    rng = random.Random(seed)
    return [row(wording.format(rng.randrange(10_000)), answer) for _ in range(n)]


@pytest.mark.parametrize("answer", ["class 4", "Klasse drei"])
def test_planted_poison_is_found_and_an_unusual_right_source_is_kept(base, answer):
    """Labels that are off by one, answers in another language."""
    sources = {
        "usual": rows_of(80, 1),
        "manual": rows_of(80, 7),
        "odd": rows_of(80, 2, "[Q-17] PLS >> {} << THX!!"),
        "wrong": rows_of(80, 3, answer=answer),
    }
    dev = [*rows_of(24, 4), *rows_of(8, 6, "[Q-17] PLS >> {} << THX!!"), *rows_of(8, 5, answer=answer)]
    measured = with_and_without(base, sources, dev, HOW, CONTEXT)
    found = group_effects(measured["differences"], ["usual", "manual"] * 12 + ["odd"] * 8 + ["wrong"] * 8)
    verdicts = {part["group"]: part["verdict"] for part in found}
    assert found[0]["group"] == "wrong" and verdicts.pop("wrong") == HURTS and HURTS not in verdicts.values()
    assert found[0]["own"] < 0, "it makes its own dev rows likelier, which must not speak for it"
    print(found, measured["seconds"])


def test_without_a_difference_between_rows_there_is_no_effect(base):
    """A continuation that did not start where the others did, or took other rows, would be an effect of nothing."""
    student = Student(base, HOW)
    rows, held = (list(tokenised(rows_of(n, seed), base.tokenizer, 96)) for n, seed in ((12, 1), (20, 2)))
    for step in range(4):
        student.step(rows[2 * step :][:2], 0.1, 5e-3)
    student.keep()
    seen = []
    for _ in range(2):
        student.set_back()
        for step in range(4):
            student.step(rows[8 + step :][:1], 0.1, 5e-3)
        seen.append(student.measure(held))
    assert seen[0] == seen[1]
    student.set_back()
    assert student.measure(held) != seen[0]


def test_nats_of_packed_rows_are_those_of_each_row_alone(base):
    """A row that sees its neighbour, or loses its first or last token to it, would be another answer."""
    held = list(tokenised(rows_of(10, 3), base.tokenizer, 96))
    student = Student(base, HOW)
    assert student.packs
    packed = student.measure(held)
    student.packs = False
    assert packed == pytest.approx(student.measure(held), rel=1e-4)
    assert packed == pytest.approx([nats for nats, _ in answer_nats(student.model, held)], rel=1e-4)


@pytest.mark.parametrize(
    "changes, n_dev, n_rows, said",
    [
        ({}, 5, 9, "hurt_dev_rows: 5 dev rows"),
        ({"draws": 2}, 24, 9, "2 draws of 5 steps after 160"),
        ({}, 24, 3, "hurt_steps: b has fewer rows than the 5"),
    ],
)
def test_what_would_say_nothing_is_refused(changes, n_dev, n_rows, said):
    groups = {"a": rows_of(9, 1), "b": rows_of(n_rows, 2)}
    with pytest.raises(InputProblem, match=said):
        with_and_without(None, groups, rows_of(n_dev, 3), replace(HOW, **changes), CONTEXT)
