"""A few minutes with a model before it is trained: what it solves, how likely the right answers are, and what an
adapter of a few rows changes.

Everything is measured on dev; test is not opened. Does not predict (see `statistics.headroom`).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainerCallback

from tunebook.data.row_types import demonstrations
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.measure import answer_and_score
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.score_folder import read_scores
from tunebook.models.abilities import lora_targets
from tunebook.models.lean_layers import use_lean_layers
from tunebook.models.loading import BaseModel, free_memory
from tunebook.picking import pick
from tunebook.training.dataset import IGNORED, tokenised
from tunebook.training.settings import (
    keep_trainable_in_float32,
    machine_settings,
    row_layout,
    save_adapter,
    student_settings,
    warmup_steps,
)
from tunebook.training.short_forward import use_compact_head
from tunebook.training.watch import held_out

FEWEST_ROWS, FEWEST_PROBLEMS = 16, 20
PARTS = (4, 2, 1)  # the likelihood is measured after a quarter, a half and all of the rows


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The planned training, at a constant rate; 0 for rank or rate is the default."""

    max_length: int = 128  # tokens a row
    lora_rank: int = 16
    lora_alpha: int = 32
    learning_rate: float = 1e-3
    batch_size: int = 2
    seed: int = 0

    @property
    def rate(self) -> float:
        return self.learning_rate or Recipe.learning_rate


@dataclass(frozen=True, kw_only=True)
class Mini(Recipe):
    """How much is tried: training `rows`, which are seen once, the first quarter as a warm-up; dev `problems` (0: all)
    and answers of base to each (`samples`).
    """

    rows: int = 64
    problems: int = 40
    samples: int = 4
    method: str = "lora"  # or full: all weights


class AnswerNats(TrainerCallback):
    """Measures `answer_nats` of `held` before the first step and after `steps` of a training; `points` maps the step to
    it.
    """

    def __init__(self, held, steps: Sequence[int]):
        self.held, self.steps, self.points = held, {0, *steps}, {}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self._measure(state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self._measure(state, model)

    def _measure(self, state, model) -> None:
        if state.global_step in self.steps and self.held is not None:
            self.points[state.global_step] = answer_nats(model, self.held)


def answer_nats(model, dataset) -> list[tuple[float, int]]:
    """For each row of a tokenised `dataset` the negative log-likelihood of its answer in nats, the token that ends the
    turn included, and the number of these tokens.
    """
    was_training, found = model.training, []
    model.eval()
    with torch.no_grad():
        for row in dataset:
            found.append((float(row_nats(model, row)), sum(label != IGNORED for label in row["labels"][1:])))
    model.train(was_training)
    return found


def row_nats(model, row: dict) -> torch.Tensor:
    """The same of one row, with its gradient; a scalar."""
    ids, labels = (torch.tensor([row[key]], device=model.device) for key in ("input_ids", "labels"))
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=IGNORED, reduction="sum")


def likelihood_row(n_rows: int, nats: list[tuple[float, int]]) -> dict:
    """What `answer_nats` after `n_rows` says: nats a token, nats an answer, and `right`, the mean probability of the
    right answers (the score at temperature 1 where only this text is right).

    >>> likelihood_row(16, [(0.0, 2), (2.0, 2)])
    {'rows': 16, 'nats_token': 0.5, 'nats_answer': 1.0, 'right': 0.5677}
    """
    total, tokens = (sum(values) for values in zip(*nats, strict=True))
    right = sum(math.exp(-value) for value, _ in nats) / len(nats)
    return {
        "rows": n_rows,
        "nats_token": round(total / tokens, 4),
        "nats_answer": round(total / len(nats), 4),
        "right": round(right, 4),
    }


def lora_of(model, how: Recipe):
    """LoraConfig for `model`."""
    from peft import LoraConfig

    rank, targets = how.lora_rank or Recipe.lora_rank, lora_targets(model)
    return LoraConfig(r=rank, lora_alpha=how.lora_alpha, target_modules=targets, task_type="CAUSAL_LM")


def train_adapter(base: BaseModel, dataset, how: Mini, folder: Path, callbacks=(), **changes) -> Path:
    """Trains LoRA, or all weights, on the tokenised `dataset`, each row once, by the recipe of `how`, and saves it in
    `folder`. `changes` go into SFTConfig.
    """
    from transformers import AutoModelForCausalLM, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    is_full = how.method == "full"
    student = AutoModelForCausalLM.from_pretrained(base.source.folder, **student_settings(base.placement, is_full))
    arguments = {
        "output_dir": str(folder / "trainer"),
        "learning_rate": how.rate,
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": how.batch_size,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": warmup_steps(0.25, len(dataset), how.batch_size),
        "train_sampling_strategy": "sequential",
        "adam_beta2": 0.98,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": how.seed,
        "report_to": "none",
        **machine_settings(base.placement, student),
        **row_layout(base.placement, dataset, how.batch_size, student),
    }
    told = {"train_dataset": dataset, "processing_class": base.tokenizer, "callbacks": list(callbacks)}
    told["peft_config"] = None if is_full else lora_of(student, how)
    trainer = SFTTrainer(model=student, args=SFTConfig(**arguments | changes), **told)
    keep_trainable_in_float32(trainer.model)
    use_compact_head(trainer), use_lean_layers(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    save_adapter(trainer.model, folder, base.source, base.tokenizer)
    del trainer, student
    free_memory()
    return folder


def probe(
    base: BaseModel, rows: list[dict], dev: tuple[list[dict], list[dict]], how: Mini, asking: Asking, context
) -> dict:
    """What base, and an adapter of a few of the training `rows`, do on `dev`, its canonical rows and its problems: the
    features that `statistics.headroom` predicts from.

    `base` and `mini`: problems solved greedily, `k` of `n`; `base_k`: those that at least one of `samples` answers at
    temperature 1 solves; `curve`: a `likelihood_row` before training, and after a quarter, a half and all of the rows.
    InputProblem where there are too few rows or problems.
    """
    few = pick(demonstrations(rows), how.rows, how.seed, lambda row: str(row["prompt"]))
    held, problems = held_out(dev[0], base.tokenizer, how.max_length)[1], dev[1][: how.problems or None]
    _require_enough(few, held, problems, how)
    asked, fields = from_problems("dev", problems, source="dev_problems.jsonl"), asking.choice_fields()
    folder, drawn = context.folder / "headroom", fields | {"temperature": 1.0, "n_samples": how.samples}
    with base.engine() as engine:
        before = answer_and_score(engine, asked, folder / "base", context, **fields)["metrics"]
        answer_and_score(engine, asked, folder / "samples", context, **drawn)
    steps = {-(-(len(few) // part) // how.batch_size): len(few) // part for part in PARTS}
    watch = AnswerNats(held, steps)
    with tempfile.TemporaryDirectory() as place:
        dataset = tokenised(few, base.tokenizer, how.max_length)
        adapter = train_adapter(base, dataset, how, Path(place), [watch])
        with base.engine(adapter) as engine:
            after = answer_and_score(engine, asked, folder / "mini", context, **fields)["metrics"]
    by_sample = read_scores(folder / "samples" / "score").passed.values()
    return {
        "base": {key: before[key] for key in ("k", "n")},
        "base_k": {"k": sum(map(any, by_sample)), "n": len(problems), "samples": how.samples},
        "mini": {key: after[key] for key in ("k", "n")},
        "curve": [likelihood_row(steps.get(step, 0), nats) for step, nats in sorted(watch.points.items())],
    }


def _require_enough(rows: list[dict], held, problems: list[dict], how: Mini) -> None:
    """InputProblem where a probe would say nothing."""
    if len(rows) < FEWEST_ROWS:
        raise InputProblem(
            f"headroom_rows: a mini-adapter of {len(rows)} rows says nothing: give {FEWEST_ROWS} or more, and as many"
            " training rows"
        )
    if how.samples < 1:
        raise InputProblem(f"headroom_samples: base draws {how.samples} answers to each problem: give 1 or more")
    if held is None or len(problems) < FEWEST_PROBLEMS:
        raise InputProblem(
            f"headroom_problems: {len(problems)} dev problems and {0 if held is None else len(held)} dev rows are too"
            f" few to predict from: give {FEWEST_PROBLEMS} problems or more (n_dev, headroom_problems)"
        )
