"""Tiny trainers of each kind on eight schedules: the real code in a second."""

import random

import torch

from tiny_models import tiny_llama, tokenizer
from tunebook.models.lean_layers import use_lean_layers
from tunebook.training.dataset import preference_dataset, tokenised
from tunebook.training.short_forward import use_compact_head

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


def lora(method: str = "lora"):
    from peft import LoraConfig

    if method == "full":
        return None
    kind = {"use_rslora": method == "rslora", "use_dora": method == "dora"}
    return LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights="gaussian", **kind
    )


def full(tmp_path, is_compact: bool, **changes):
    """All weights are trained."""
    return sft(tmp_path, is_compact, method="full", **{"learning_rate": 1e-3, **changes})


def dora(tmp_path, is_compact: bool, **changes):
    return sft(tmp_path, is_compact, method="dora", **changes)


def sft(tmp_path, is_compact: bool, eval_dataset=None, method: str = "lora", **changes):
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(0)
    spoken = tokenizer()
    trainer = SFTTrainer(
        model=tiny_llama(),
        args=SFTConfig(**settings(tmp_path, **({"max_length": 64} | changes))),
        train_dataset=tokenised(ROWS, spoken, 64),
        eval_dataset=eval_dataset,
        processing_class=spoken,
        peft_config=lora(method),
    )
    if is_compact:
        assert use_compact_head(trainer)
        assert bool(use_lean_layers(trainer.model)) == (method in ("lora", "rslora"))
    return trainer


def dpo(tmp_path, is_compact: bool, pairs=PAIRS, template: str = "chatml", **changes):
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    trainer = DPOTrainer(
        model=tiny_llama(),
        args=DPOConfig(**settings(tmp_path, **({"max_length": 96} | changes))),
        train_dataset=preference_dataset(pairs),
        processing_class=tokenizer(template),
        peft_config=lora(),
    )
    if is_compact:
        assert use_compact_head(trainer) and use_lean_layers(trainer.model)
    return trainer


LABELS = [
    {"prompt": pair["prompt"], "completion": pair[key], "label": key == "chosen"}
    for pair in PAIRS
    for key in ("chosen", "rejected")
]


def kto(tmp_path, is_compact: bool, labels=LABELS, template: str = "chatml", **changes):
    from trl import KTOConfig, KTOTrainer

    torch.manual_seed(0)
    trainer = KTOTrainer(
        model=tiny_llama(),
        args=KTOConfig(**settings(tmp_path, **({"max_length": 96} | changes))),
        train_dataset=preference_dataset(random.Random(0).sample(labels, len(labels))),
        processing_class=tokenizer(template),
        peft_config=lora(),
    )
    if is_compact:
        assert use_compact_head(trainer) and use_lean_layers(trainer.model)
    return trainer
