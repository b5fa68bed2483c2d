"""Rank, learning rate and batch from what is trained, each with its reason, and a pilot that tries three rates.

Sources: Schulman and Thinking Machines Lab 2025, "LoRA Without Regret": an adapter learns like full weights while its
numbers hold the data's information, suffers from large batches, and wants about ten times the rate of full fine-tuning,
which the rank hardly moves; their Tinker cookbook's formula for the rate. Does not build a trainer.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import torch

from tunebook.errors import MachineProblem
from tunebook.models.abilities import lora_targets
from tunebook.training.out_of_memory import is_out_of_memory
from tunebook.training.ranks import agreed

AUTO = (0, "auto")
BITS_A_WEIGHT, BITS_A_TOKEN = 2.0, 1.0  # that an adapter's number holds, and that a trained token brings
SMALLEST_RANK, LARGEST_RANK = 8, 256
LARGEST_BATCH = 32
FULL_SHARE = 0.1  # full fine-tuning's rate as a share of LoRA's
EXPONENTS = {"qwen": 0.0775}  # of the width in the rate's formula; other families: Llama's
LLAMA_EXPONENT = 0.781
DEPARTURE = 4.0  # times above or below the formula's rate at which it is called a departure
TRIED = (1 / 3, 1.0, 3.0)  # rates of the pilot, as shares of the formula's
PILOT_SHARE, FEWEST_STEPS, MOST_STEPS = 0.1, 10, 60  # steps of each of them
TIE = 0.02  # share by which a held-out loss must be lower to be preferred to the formula's


@dataclass(frozen=True)
class Settings:
    """What a person chose: `lora_rank` and `learning_rate` may be 0 or "auto"."""

    method: str
    lora_rank: int | str
    learning_rate: float | str
    batch_size: int


def advise(student, dataset, settings: Settings) -> tuple[Settings, list[dict]]:
    """The settings with every "auto" replaced, and a row a setting: `setting, used, advised, why, departs`.

    `dataset` has `labels` (-100 where nothing is trained); `student` is the model before it gets an adapter.
    """
    tokens = sum(label != -100 for labels in dataset["labels"] for label in labels)
    config, is_full = student.config.get_text_config(), settings.method == "full"
    rate, rank = rate_for(config.hidden_size, config.model_type, settings.method), 0
    rows = []
    if not is_full:
        per_rank = weights_a_rank(student)
        needed = BITS_A_TOKEN * tokens / (BITS_A_WEIGHT * per_rank)
        rank = rank_for(needed)
        used = rank if settings.lora_rank in AUTO else int(settings.lora_rank)
        why = f"{tokens} trained tokens of about 1 bit, {per_rank} weights a rank of 2: rank {needed:.2g} holds them"
        rows.append(_row("lora_rank", used, rank, why, used < min(needed, LARGEST_RANK)))
        settings = replace(settings, lora_rank=used)
    used = rate if settings.learning_rate in AUTO else float(settings.learning_rate)
    exponent = _exponent(config.model_type)
    why = f"5e-4 (2000 / width {config.hidden_size})^{exponent:g}" + (
        ", a tenth of it for all weights" if is_full else ""
    )
    rows.append(_row("learning_rate", used, rate, why, not rate / DEPARTURE <= used <= rate * DEPARTURE))
    batch = settings.batch_size
    why = f"below {LARGEST_BATCH}: adapters learn less from a row in larger batches"
    rows.append(_row("rows a step", batch, f"< {LARGEST_BATCH}", why, batch >= LARGEST_BATCH and not is_full))
    return replace(settings, learning_rate=used), rows


def _row(name: str, used, advised, why: str, departs: bool) -> dict:
    return {"setting": name, "used": used, "advised": advised, "why": why, "departs": departs}


def departures(rows: list[dict]) -> str:
    """The settings that depart from what is advised, in words; "none" where none does.

    >>> departures([_row("rows a step", 64, "< 32", "below 32", True)])
    'rows a step 64, advised < 32 (below 32)'
    """
    said = [f"{row['setting']} {row['used']:.3g}, advised {_short(row['advised'])} ({row['why']})"
            for row in rows if row["departs"]]  # fmt: skip
    return "; ".join(said) or "none"


def _short(value) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def rate_for(hidden_size: int, family: str, method: str) -> float:
    """The peak rate of AdamW for a model of this width: the cookbook's 5e-5 · 10 · (2000 / width)^P.

    >>> f"{rate_for(576, 'llama', 'lora'):.2g}, {rate_for(576, 'llama', 'full'):.2g}"
    '0.0013, 0.00013'
    """
    rate = 5e-5 * 10 * (2000 / hidden_size) ** _exponent(family)
    return rate * FULL_SHARE if method == "full" else rate


def _exponent(family: str) -> float:
    return next((p for name, p in EXPONENTS.items() if family.startswith(name)), LLAMA_EXPONENT)


def rank_for(needed: float) -> int:
    """The power of two that is at least `needed`, within 8 and 256.

    >>> rank_for(0.05), rank_for(9.0), rank_for(1e6)
    (8, 16, 256)
    """
    whole = 2 ** math.ceil(math.log2(max(needed, 1e-9)))
    return int(min(max(whole, SMALLEST_RANK), LARGEST_RANK))


def weights_a_rank(student) -> int:
    """Numbers that each rank adds: inputs and outputs of every layer that takes an adapter."""
    targets, head = lora_targets(student), student.get_output_embeddings()
    linear = [
        module
        for name, module in student.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and (targets == "all-linear" or name.rpartition(".")[2] in targets)
    ]
    return sum(module.in_features + module.out_features for module in linear)


def pilot_rates(trainer, asked: float | str, rate: float) -> list[dict]:
    """Where a rate of "auto" is `asked`: trains a few steps at a third of `rate`, at it, and at three times it, each
    from the same weights down to rate 0, and gives the trainer the best. A row each: `rate`, `steps`, `held_out_loss`,
    `kept`.

    The formula's rate is kept unless another is better by 2%, or where there are no held-out rows. Weights and random
    numbers are as before.
    """
    if asked not in AUTO or not trainer.eval_dataset:
        return []
    trained = [weights for weights in trainer.model.parameters() if weights.requires_grad]
    start = [weights.detach().clone() for weights in trained]
    whole = trainer.args.num_train_epochs * len(trainer.train_dataset)
    whole /= trainer.args.per_device_train_batch_size * trainer.args.world_size
    steps = int(min(max(PILOT_SHARE * whole, FEWEST_STEPS), MOST_STEPS))
    rows = []
    with untouched(trainer):
        for share in TRIED:
            torch.manual_seed(trainer.args.seed)
            try:
                loss = _train_briefly(trainer, trained, rate * share, steps)
            except (MemoryError, RuntimeError) as problem:
                if is_out_of_memory(problem):
                    short = "learning_rate: the pilot of three rates needs more memory than there is"
                    raise MachineProblem(f"{short}; set a rate, or lower batch_size or max_length") from None
                raise
            rows.append({"rate": rate * share, "steps": steps, "held_out_loss": loss})
            for weights, kept in zip(trained, start, strict=True):
                weights.data.copy_(kept)
    rows = agreed(rows)
    best = choose_rate(rows)
    for row in rows:
        row["kept"] = row is best
    trainer.args.learning_rate = best["rate"]
    return rows


def choose_rate(rows: list[dict]) -> dict:
    """The row with the lowest held-out loss, or the formula's (the middle one) where that is within 2% of it.

    >>> choose_rate([{"rate": r, "held_out_loss": loss} for r, loss in ((1, 2.0), (3, 1.01), (9, 1.0))])["rate"]
    3
    """
    finite = [row for row in rows if math.isfinite(row["held_out_loss"])] or rows
    best, middle = min(finite, key=lambda row: row["held_out_loss"]), rows[len(rows) // 2]
    return middle if middle["held_out_loss"] <= best["held_out_loss"] * (1 + TIE) else best


def _train_briefly(trainer, trained: list, rate: float, steps: int) -> float:
    """Held-out loss after `steps` steps of AdamW whose rate rises for a tenth of them and falls to 0."""
    args, model = trainer.args, trainer.model
    optimizer = torch.optim.AdamW(
        trained,
        lr=rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        weight_decay=args.weight_decay,
    )
    scaler = torch.amp.GradScaler(model.device.type, enabled=args.fp16)
    model.train()
    for step, batch in zip(range(steps), _batches(trainer, trainer.train_dataset), strict=False):
        optimizer.param_groups[0]["lr"] = rate * min((step + 1) / max(1, steps // 10), 1 - step / steps)
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(trained, args.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        model.zero_grad(set_to_none=True)
    losses, counts = [], []
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for batch in _batches(trainer, trainer.eval_dataset):
            counts.append(int((batch["labels"] != -100).sum()))
            losses.append(float(trainer.compute_loss(model, batch)))
    return sum(loss * count for loss, count in zip(losses, counts, strict=True)) / max(1, sum(counts))


def _batches(trainer, rows):
    """Batches of the rows in order."""
    size = trainer.args.per_device_train_batch_size * trainer.args.world_size
    for first in range(0, len(rows), size):
        yield batch_of(trainer, [rows[at] for at in range(first, min(first + size, len(rows)))])


def batch_of(trainer, rows: list[dict]) -> dict:
    """Rows of token ids as an SFT trainer takes them, on its device."""
    return trainer._prepare_inputs(
        trainer.data_collator([{k: row[k] for k in ("input_ids", "labels")} for row in rows])
    )


@contextlib.contextmanager
def untouched(trainer):
    """Leaves random numbers and what a trainer of TRL counts (tokens, metrics to be logged) as they were."""
    device, tokens = trainer.model.device, trainer._total_train_tokens
    metrics = {mode: {name: list(v) for name, v in found.items()} for mode, found in trainer._metrics.items()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    trainer._total_train_tokens = tokens
    for mode, found in metrics.items():
        trainer._metrics[mode].clear()
        trainer._metrics[mode].update(found)
