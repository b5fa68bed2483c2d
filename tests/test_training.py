"""The fast path trains the same as TRL's own: losses and gradients in float32 on a tiny model."""

import pytest
import torch

from tiny_models import tiny_llama, tokenizer
from tunebook.errors import InputProblem
from tunebook.models.device import Placement
from tunebook.training.compact_head import use_compact_head
from tunebook.training.rows import pair_dataset, preference_pairs, tokenised
from tunebook.training.settings import row_layout

SCHEDULES = [
    ("every day at noon", "0 12 * * *"),
    ("hourly", "0 * * * *"),
    ("every monday at 7:15 in the morning", "15 7 * * 1"),
]
SCHEDULES += [
    ("at 22:00 on weekdays please", "0 22 * * 1-5"),
    ("yearly", "0 0 1 1 *"),
    ("every 5 minutes", "*/5 * * * *"),
]
SCHEDULES += [("on the 15th at 3am", "0 3 15 * *"), ("weekends at 9", "0 9 * * 0,6")]


def turn(role: str, text: str) -> list[dict]:
    return [{"role": role, "content": text}]


ROWS = [{"prompt": turn("user", text), "completion": turn("assistant", answer)} for text, answer in SCHEDULES]
PAIRS = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": turn("assistant", "1 1 * * *")} for row in ROWS
]


def settings(tmp_path, **changes) -> dict:
    common = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no"}
    common |= {
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": 0,
        "learning_rate": 1e-2,
    }
    return common | {"max_steps": 2, "per_device_train_batch_size": 4, "lr_scheduler_type": "constant"} | changes


def lora():
    from peft import LoraConfig

    return LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights="gaussian"
    )


def sft(tmp_path, is_compact: bool, **changes):
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(0)
    spoken = tokenizer()
    trainer = SFTTrainer(
        model=tiny_llama(),
        args=SFTConfig(**settings(tmp_path, **({"max_length": 64} | changes))),
        train_dataset=tokenised(ROWS, spoken, 64),
        processing_class=spoken,
        peft_config=lora(),
    )
    if is_compact:
        assert use_compact_head(trainer)
    return trainer


def dpo(tmp_path, is_compact: bool):
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    trainer = DPOTrainer(
        model=tiny_llama(),
        args=DPOConfig(**settings(tmp_path, max_length=96)),
        train_dataset=pair_dataset(PAIRS),
        processing_class=tokenizer(),
        peft_config=lora(),
    )
    if is_compact:
        assert use_compact_head(trainer)
    return trainer


def trained(trainer) -> tuple[list[float], torch.Tensor]:
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    weights = [value.detach().flatten() for value in trainer.model.parameters() if value.requires_grad]
    return losses, torch.cat(weights)


@pytest.mark.parametrize("build", [sft, dpo])
def test_the_compact_head_trains_the_same_weights(tmp_path, build):
    """Scoring only the trained tokens must not change what is learned: losses, metrics and updated weights agree."""
    plain_losses, plain = trained(build(tmp_path, False))
    losses, weights = trained(build(tmp_path, True))
    assert len(losses) == 2 and losses != [0.0, 0.0]
    assert losses == pytest.approx(plain_losses, rel=1e-4)
    assert torch.allclose(weights, plain, rtol=1e-3, atol=1e-5)


def test_rows_side_by_side_train_the_same_weights_as_padded_rows(tmp_path):
    """A row that sees its neighbour in a flat batch, or counts its positions on from it, learns something else."""
    dataset = tokenised(ROWS, tokenizer(), 64)
    layout = row_layout(Placement("cpu", "float32", "float32", "", ""), dataset, 4)
    assert layout["padding_free"]
    padded_losses, padded = trained(sft(tmp_path, False))
    losses, weights = trained(sft(tmp_path, True, **layout))
    assert losses == pytest.approx(padded_losses, rel=1e-4)
    assert torch.allclose(weights, padded, rtol=1e-3, atol=1e-5)


def test_only_short_batches_on_a_cpu_lie_flat():
    dataset = tokenised(ROWS, tokenizer(), 64)
    cpu, gpu = (Placement(device, "float32", "float32", "", "") for device in ("cpu", "cuda"))
    assert not row_layout(gpu, dataset, 4)["padding_free"]
    assert not row_layout(cpu, dataset, 512)["padding_free"]


def test_gradients_equal_those_of_the_plain_head(tmp_path):
    gradients = []
    for is_compact in (False, True):
        trainer = sft(tmp_path, is_compact)
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.compute_loss(trainer.model, batch).backward()
        found = [weights.grad.flatten() for weights in trainer.model.parameters() if weights.grad is not None]
        gradients.append(torch.cat(found))
    assert gradients[0].abs().max() > 1e-4
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_accumulated_small_batches_equal_one_large(tmp_path):
    """A loss averaged batch by batch would weigh short answers more."""
    one, large = trained(sft(tmp_path, True, per_device_train_batch_size=8, max_steps=1))
    eight, small = trained(
        sft(tmp_path, True, per_device_train_batch_size=1, gradient_accumulation_steps=8, max_steps=1)
    )
    assert one == pytest.approx(eight, rel=1e-4)
    assert torch.allclose(large, small, rtol=1e-3, atol=1e-5)


def test_rows_keep_only_the_answer_as_labels():
    spoken = tokenizer()
    row = tokenised(ROWS[:1], spoken, 64)[0]
    assert spoken.decode([label for label in row["labels"] if label != -100]) == "0 12 * * *<|im_end|>"


def test_a_row_without_a_trained_token_is_named():
    """TRL drops such rows without a word."""
    with pytest.raises(InputProblem, match="row 0: its prompt alone fills max_length 8"):
        tokenised(ROWS, tokenizer(), 8)


def test_pairs_need_a_right_and_a_wrong_answer():
    samples = [["a", "b", "b"], ["a", "a", "a"], ["b", "b", "b"]]
    pairs = preference_pairs(ROWS[:3], samples, lambda row, text: text == "a")
    assert len(pairs) == 1
    assert (pairs[0]["chosen"][0]["content"], pairs[0]["rejected"][0]["content"]) == ("a", "b")
