"""What a training will need is said before, and a step without memory goes on with less."""

import pytest
import torch

from tiny_models import tiny_llama
from tiny_training import dpo, full, kto, sft
from tunebook.errors import MachineProblem
from tunebook.training.forecast import Load, Peak, beside, forecast_memory, forecast_rows, load_of, pilot
from tunebook.training.out_of_memory import MemoryLadder, is_out_of_memory


def trained(trainer) -> torch.Tensor:
    trainer.train()
    return torch.cat([value.detach().flatten() for value in trainer.model.parameters() if value.requires_grad])


@pytest.mark.parametrize("build", [sft, full])
def test_a_pilot_changes_nothing_of_the_training_that_follows(tmp_path, build):
    """Weights, random numbers, gradients and counters: the training after it is bit-equal to one without."""
    plain, tried = build(tmp_path, True), build(tmp_path, True)
    MemoryLadder(tried)
    found = pilot(tried)
    assert 0 <= found["low"] < found["seconds"] < found["high"] and found["memory"] > 0
    assert torch.equal(trained(plain), trained(tried))
    counts = [[row["num_tokens"] for row in one.state.log_history if "num_tokens" in row] for one in (plain, tried)]
    assert counts[0] == counts[1]


def test_activations_grow_with_rows_and_with_the_square_of_the_length():
    model = tiny_llama()
    size = {load: forecast_memory(model, load)["activations"] for load in (
        Load(1, 64, 8), Load(4, 64, 8), Load(1, 128, 8), Load(1, 64, 8, is_recomputed=True))}  # fmt: skip
    one, four, long, recomputed = size.values()
    assert four == pytest.approx(4 * one, rel=0.05) and long > 2.05 * one and recomputed < one


def test_the_parts_of_a_step_follow_from_what_is_trained(tmp_path):
    adapter, whole = (build(tmp_path, True) for build in (sft, full))
    found = [forecast_memory(one.model, load_of(one)) for one in (adapter, whole)]
    n = sum(weights.numel() for weights in whole.model.parameters())
    assert found[1]["optimizer"] == 8 * n == 2 * found[1]["gradients"] and found[1]["weights"] == 4 * n
    assert found[0]["optimizer"] < found[1]["optimizer"] / 10 and found[0]["peak"] < found[1]["peak"]
    assert found[0]["logits"] == found[1]["logits"] > 0
    rows = forecast_rows({"seconds": 7200, "low": 3600, "high": 10800, "memory": 2**30}, found[0], 0.5)
    assert rows[1] | {"what": "cost"} == rows[1] and [rows[1][key] for key in ("low", "forecast", "high")] == [
        0.5,
        1,
        1.5,
    ]
    assert "cost" not in [
        row["what"] for row in forecast_rows({**dict.fromkeys(("seconds", "low", "high"), 1), "memory": 1}, None, 0.0)
    ]


def test_actual_stands_beside_the_forecast():
    time, memory = beside({"seconds": 60, "low": 50, "high": 90, "memory": 2**30}, 100, 2**31)
    assert (time["within"], time["actual"], memory["actual"]) == (False, pytest.approx(5 / 3), 2.0)


def test_the_peak_is_that_of_what_came_after():
    torch.zeros(2**25).fill_(1.0)  # 128 MiB, given back
    peak = Peak()
    held = torch.ones(2**24)  # 64 MiB
    assert 60 * 2**20 < peak.bytes() - peak.before < 120 * 2**20
    del held


def plant(trainer, fits, problem=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")):
    """A machine on which a pass of the model runs out of memory unless `fits(rows, tokens, is_recomputed)`."""
    whole = trainer.compute_loss

    def compute_loss(model, inputs, **kwargs):
        rows, tokens = inputs["input_ids"].shape
        if not fits(rows, tokens, trainer.model.is_gradient_checkpointing):
            raise problem
        return whole(model, inputs, **kwargs)

    trainer.compute_loss = compute_loss


@pytest.mark.parametrize(("build", "most"), [(sft, 1), (full, 1), (dpo, 2)])
def test_fewer_rows_a_pass_train_the_same_weights(tmp_path, build, most):
    """DPO's pass holds two rows a pair. Nothing is lost, and tokens are not counted twice."""
    plain, short = build(tmp_path, True), build(tmp_path, True)
    ladder = MemoryLadder(short)
    plant(short, lambda rows, *_: rows <= most)
    assert torch.allclose(trained(short), trained(plain), rtol=1e-3, atol=1e-5)
    assert [rung["rung"] for rung in ladder.rungs] == ["accumulation"] * 2 and ladder.rows_a_pass == 1
    assert "4 rows a pass -> 2, 4 rows a step as before" in ladder.verdict() and not ladder.longest
    tables = [
        [(row["loss"], row["num_tokens"]) for row in one.state.log_history if "loss" in row] for one in (plain, short)
    ]
    assert [n for _, n in tables[0]] == [n for _, n in tables[1]]
    assert [loss for loss, _ in tables[0]] == pytest.approx([loss for loss, _ in tables[1]], rel=1e-3)


def test_a_pilot_recomputes_what_the_training_will(tmp_path):
    """transformers begins with it in `train` alone: a pilot before held more, and the ladder thought it was done."""
    trainer = sft(tmp_path, True, gradient_checkpointing=True)
    ladder, seen = MemoryLadder(trainer), []
    plant(trainer, lambda rows, tokens, is_recomputed: seen.append(is_recomputed) or is_recomputed)
    pilot(trainer)
    assert seen and all(seen) and not ladder.rungs


def test_then_activations_are_recomputed_and_last_the_rows_are_cut(tmp_path):
    trainer = sft(tmp_path, True)
    ladder = MemoryLadder(trainer)
    plant(trainer, lambda rows, tokens, is_recomputed: rows == 1 and is_recomputed)
    trainer.train()
    assert [rung["rung"] for rung in ladder.rungs] == ["accumulation", "accumulation", "checkpointing"]

    trainer = sft(tmp_path, True)
    ladder = MemoryLadder(trainer)
    longest = max(len(row) for row in trainer.train_dataset["input_ids"])
    plant(trainer, lambda rows, tokens, is_recomputed: tokens < longest)
    with pytest.raises(MachineProblem, match=r"step 1 needs more memory.*recomputed activations; use a smaller model"):
        trainer.train()  # the rows are too short to be cut at all


def test_a_cut_keeps_the_answers_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("tunebook.training.out_of_memory.SHORTEST", 4)
    trainer = sft(tmp_path, True)
    ladder, seen = MemoryLadder(trainer), []
    longest = max(len(row) for row in trainer.train_dataset["input_ids"])
    plant(trainer, lambda rows, tokens, is_recomputed: seen.append(tokens) or tokens <= 0.8 * longest)
    trainer.train()
    assert ladder.longest and [rung["rung"] for rung in ladder.rungs][-1] == "length"
    assert all(row["loss"] > 0 for row in trainer.state.log_history if "loss" in row), "answers are at the end"


def test_kto_keeps_two_rows_a_pass(tmp_path):
    """Its loss compares neighbours."""
    trainer = kto(tmp_path, True)
    ladder = MemoryLadder(trainer, 2)
    plant(trainer, lambda rows, *_: rows <= 2)
    trainer.train()
    assert ladder.rows_a_pass == 2 and len(ladder.rungs) == 1


@pytest.mark.parametrize(
    ("problem", "is_short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("HIP out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_only_a_lack_of_memory_goes_down_the_ladder(tmp_path, problem, is_short):
    assert is_out_of_memory(problem) is is_short
    if not is_short:
        trainer = sft(tmp_path, True)
        MemoryLadder(trainer)
        plant(trainer, lambda *_: False, problem)
        with pytest.raises(RuntimeError, match="shapes cannot"):
            trainer.train()
