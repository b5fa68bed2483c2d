"""A training is watched: each sickness is named early with its remedy, healthy ones are left alone, and the figures
are right.
"""

import math
import random
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from tiny_models import CPU, tiny_llama, tokenizer
from tiny_training import ROWS, sft
from tunebook.errors import InputProblem
from tunebook.training.dataset import tokenised
from tunebook.training.health import diagnose, hides_answer
from tunebook.training.settings import Report, machine_settings
from tunebook.training.watch import Watch, Watching


def curve(seed: int, n: int, start: float, end: float, pace: float, scatter: float) -> list[dict]:
    """Losses of `n` steps that fall from `start` to `end`, each with log-normal noise of width `scatter`."""
    rng = random.Random(seed)
    smooth = [end + (start - end) * math.exp(-at / (pace * n)) for at in range(n)]
    return [{"step": at + 1, "loss": value * math.exp(rng.gauss(0, scatter))} for at, value in enumerate(smooth)]


def points_of(seed: int, rows: list[dict], start: float, end: float, rises=(0.0, 2.0, 4.0, 5.0)) -> list[dict]:
    """Held-out losses of a healthy training: of many rows, so they scatter less than those of a step."""
    n, rng = len(rows), random.Random(-seed)
    share = [0, 1 / 3, 2 / 3, 1]
    held = [(end + (start - end) * math.exp(-at / 0.2)) * math.exp(rng.gauss(0, 0.02)) for at in share]
    return [
        {"step": round(at * n), "held_out_loss": loss, "rise": rise}
        for at, loss, rise in zip(share, held, rises, strict=True)
    ]


def first_sickness(rows: list[dict], points: list[dict] = (), rise: float = 10.0):
    """What is said at the earliest moment, and at which step."""
    for k in [*range(1, min(len(rows), 400) + 1), *range(400, len(rows) + 1, 50)]:
        seen = [point for point in points if point["step"] <= k]
        if found := diagnose(rows[:k], seen, len(rows), rise):
            return k, found
    return None


@pytest.mark.parametrize("seed", range(40))
def test_healthy_trainings_are_not_accused(seed):
    """Steep and slow falls, two rows a step, a task that is nearly known, a warm-up, a last loss near 0."""
    rng = random.Random(seed)
    start, end = rng.choice([(3.3, 0.01), (0.9, 0.5), (2.0, 1.6), (0.2, 0.19), (14.0, 5.0)])
    rows = curve(
        seed, rng.choice([30, 150, 1750]), start, end, rng.choice([0.02, 0.1, 0.3]), rng.choice([0.1, 0.4, 0.7])
    )
    assert first_sickness(rows, points_of(seed, rows, start, end)) is None


def test_a_loss_that_climbs_back_is_named_before_half_of_the_steps_are_spent():
    rows = curve(0, 200, 3.0, 0.2, 0.05, 0.2)
    for row in rows[60:]:
        row["loss"] = min(8.0, row["loss"] + 0.1 * (row["step"] - 60))
    step, found = first_sickness(rows)
    assert found.name == "diverging" and "learning_rate" in found.remedy and step < 100


def test_a_loss_that_is_no_number_ends_the_training_at_that_step(tmp_path):
    """transformers logs it as 0.0 unless told otherwise, and so every rule held."""
    settings = machine_settings(CPU)
    trainer, _, _ = watched(tmp_path, **{key: settings[key] for key in ("logging_nan_inf_filter",)})
    whole = trainer.compute_loss
    trainer.compute_loss = lambda *args, **more: whole(*args, **more) * (math.nan if trainer.state.global_step else 1)
    with pytest.raises(InputProblem, match="the loss of step 2 is not finite.*lower learning_rate"):
        trainer.train()


def test_preferences_and_rewards_are_not_judged_by_rules_for_the_loss_of_tokens():
    """A slow DPO was called flat, a reward that began at 0 a hidden answer; and no forgetting was ever found."""
    slow, points = curve(0, 200, 0.693, 0.690, 1.0, 0.03), [{"step": 0, "rise": 0.0}, {"step": 100, "rise": 20.0}]
    silent = [{"step": at, "loss": 0.0} for at in range(1, 9)]
    assert diagnose(slow, [], 200, 10.0).name == "flat" and diagnose(slow, [], 200, 10.0, is_likelihood=False) is None
    assert diagnose(silent, [], 200, 10.0, is_likelihood=False) is None
    found = diagnose(slow, points, 200, 10.0, is_likelihood=False)
    assert found.name == "forgetting faster than learning" and "20% more bits" in found.reason
    assert diagnose(slow, points, 200, 30.0, is_likelihood=False) is None


@pytest.mark.parametrize("content", ["<think>\nNoon.\n</think>\n\n0 12 * * *", "<think>a</think>0 12 * * *"])
def test_a_thought_that_the_prompt_opens_is_no_hidden_answer(content):
    trained = tokenizer().encode("Noon.\n</think>\n\n0 12 * * *", add_special_tokens=False)
    rows = [{"completion": [{"role": "assistant", "content": content}]}]
    assert hides_answer(rows, {"labels": [trained]}, tokenizer()) is None
    assert hides_answer(rows, {"labels": [trained[:-3]]}, tokenizer()).name == "mask hides the answer"


def test_a_flat_loss_is_named_after_a_third():
    rows = curve(0, 300, 3.0, 2.99, 0.5, 0.05)
    step, found = first_sickness(
        rows, [{"step": at, "held_out_loss": 3.0 - at / 1e4, "rise": 0.0} for at in (0, 100, 200)]
    )
    assert found.name == "flat" and "raise learning_rate" in found.remedy and step <= 110
    known = curve(0, 300, 0.02, 0.02, 0.5, 0.3)
    assert first_sickness(known) is None, "the task is known: there is nowhere to fall"


def test_a_loss_of_exactly_zero_is_a_mask_that_hides_the_answer():
    found = first_sickness([{"step": at, "loss": 0.0} for at in range(1, 9)])
    assert found[0] == 3 and found[1].name == "mask hides the answer"


def test_overfitting_needs_two_worse_points_and_a_falling_training_loss():
    rows = curve(0, 400, 3.0, 0.01, 0.1, 0.2)
    held = [3.0, 0.5, 0.6, 0.8, 1.0]
    points = [{"step": at * 100, "held_out_loss": loss, "rise": None} for at, loss in enumerate(held)]
    step, found = first_sickness(rows, points)
    assert found.name == "overfitting" and step == 300 and not found.is_fatal
    assert "step 100 was the best" in found.remedy
    assert first_sickness(rows[:200], points) is None, "one worse point may be chance"


def test_forgetting_is_named_only_beyond_the_limit_and_faster_than_learning():
    rows = curve(0, 300, 3.0, 0.01, 0.1, 0.2)
    points = [
        {"step": at * 100, "held_out_loss": loss, "rise": rise}
        for at, (loss, rise) in enumerate([(3, 0), (0.3, 8), (0.2, 16), (0.19, 25)])
    ]
    step, found = first_sickness(rows, points)
    assert found.name == "forgetting faster than learning" and step == 200 and "rehearsal_share" in found.remedy
    assert first_sickness(rows, points, rise=30.0) is None
    points[2]["held_out_loss"] = 0.01  # 8 points forgotten for 9.7% learned
    assert first_sickness(rows[:250], points) is None


def watched(tmp_path, rows=ROWS, how=Watching(points=2, documents=2, answer_tokens=6), **changes):
    """A tiny training with held-out rows; `labels` of changes replaces those of the held-out rows."""
    labels = changes.pop("labels", None)
    held = tokenised(rows, tokenizer(), 64)
    held = Dataset.from_list([{**row, "labels": labels(row["labels"])} for row in held]) if labels else held
    trainer = sft(tmp_path, True, max_steps=4, eval_dataset=held, **changes)
    report = Report(SimpleNamespace(progress=lambda *told: None))
    trainer.add_callback(report)
    return trainer, Watch(trainer, rows, tokenizer(), how), report


def test_the_points_say_what_the_model_of_the_moment_does(tmp_path):
    trainer, watch, report = watched(tmp_path)
    trainer.train()
    first, *_, last = watch.table()
    assert [row["step"] for row in watch.table()] == [0, 2, 4] and watch.verdict() == "healthy"
    assert abs(first["kl"]) < 1e-3 and first["rise"] == pytest.approx(0, abs=1e-3), "before the first step it is base"
    assert last["held_out_loss"] < first["held_out_loss"] and last["kl"] > 0.01 and last["rise"] != 0
    assert last["train_loss"] == report.rows[-1]["loss"] and last["grad_norm"] > 0
    assert len(watch.spoken()) == 3 and watch.spoken()[0]["wanted"] == "0 12 * * *"
    assert all(cost["memory_gib"] > 0 for cost in watch.costs()) and watch.costs()[0]["tokens_per_second"] > 0


def test_watching_changes_no_weight(tmp_path):
    weights = []
    for points in (0, 2):
        trainer, _, _ = watched(tmp_path, how=Watching(points, 2, 6))
        trainer.train()
        weights.append(
            torch.cat([value.detach().flatten() for value in trainer.model.parameters() if value.requires_grad])
        )
    assert torch.equal(*weights)


def test_bits_and_distance_are_those_of_the_measurement_in_04(tmp_path):
    """Two ways to the same figure would drift apart."""
    from tunebook.evaluation.forgetting import general_texts, text_bits
    from tunebook.models.engine import TransformersEngine

    _, watch, _ = watched(tmp_path)
    engine = TransformersEngine(tiny_llama(), tokenizer())
    texts = general_texts(2).values()
    wanted = sum(text_bits(engine, text) for text in texts) / sum(len(text.encode()) for text in texts)
    assert watch._base_bits == pytest.approx(wanted, rel=1e-5)


def test_a_mask_that_hides_the_answer_stops_the_training_at_once(tmp_path):
    trainer, watch, _ = watched(tmp_path, labels=lambda labels: [-100] * (len(labels) - 1) + labels[-1:])
    trainer.train()
    assert trainer.state.global_step <= 1 and watch.sickness.name == "mask hides the answer"
    assert "'<|im_end|>' is trained, its answer is '0 12 * * *'" in watch.verdict()


def test_the_points_survive_a_kill(tmp_path):
    from test_resume import Stop, killed
    from tunebook.training.resume import Checkpoints

    def build(*callbacks):
        trainer, watch, report = watched(tmp_path)
        checkpoints = Checkpoints(trainer, tmp_path / "resume", {}, 0.0)
        for callback in callbacks:
            trainer.add_callback(callback)
        return trainer, watch, report, checkpoints

    trainer, before, report, _ = build(Stop(3, killed))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer, watch, after, checkpoints = build()
    trainer.train(resume_from_checkpoint=checkpoints.last())
    assert watch.points[:2] == before.points and [point["step"] for point in watch.points] == [0, 2, 4]
    assert [row["step"] for row in after.rows] == [1, 2, 3, 4] and after.rows[2]["seconds"] == report.rows[2]["seconds"]
    assert after.rows[3]["seconds"] > after.rows[2]["seconds"]
