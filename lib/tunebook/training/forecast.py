"""What a training will need, said before it begins: memory from the form of the model, time and cost from a few steps.

Memory: the model is built without data (torch's fake tensors) and run forward once at the batch's length, and every
tensor that autograd keeps for the backward pass is counted. Time: a few batches of the real rows run forward, backward
and through an optimizer of rate 0, so that no weight changes. Does not change the trainer.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import psutil
import torch

from tunebook.machine import forget_peak, free_heap, peak_bytes
from tunebook.models.lean_layers import is_lean
from tunebook.training.advice import batch_of, untouched
from tunebook.training.out_of_memory import ROWS, is_laddered
from tunebook.training.ranks import is_spread

PILOT_STEPS = 6  # batches that are timed; the first one only warms up
DRIFT = 0.15  # share by which a machine's speed wanders within an hour; two cores that others use wander more
# share of the activations that glibc's heap holds on top, since freed pieces of a few MB are not given back. It differs
# from run to run: the same three steps took 1,602, 1,719 and 2,098 MiB (the first case of bench/bench_memory.py)
HEAP_SHARE = 0.55
# matrices (tokens, vocabulary) that the loss and its backward pass hold at once: TRL's own in float32, and those of the
# compact head in the precision of the logits
LOGIT_COPIES, COMPACT_COPIES = 5, 2


@dataclass(frozen=True)
class Load:
    """A step as the memory sees it: `rows` of `length` tokens in a pass (rows that lie side by side count as one),
    `trained` of all of them with a loss, whether activations are recomputed, and the dtype of mixed precision ("" for
    none).
    """

    rows: int
    length: int
    trained: int
    is_recomputed: bool = False
    autocast: str = ""


def load_of(trainer) -> Load:
    """The heaviest step of `trainer`, an SFT one: its longest rows, and the batch with most trained tokens."""
    rows, size, args = trainer.train_dataset, trainer.args.per_device_train_batch_size, trainer.args
    lengths = [len(ids) for ids in rows["input_ids"]]
    trained = [sum(label != -100 for label in labels) for labels in rows["labels"]]
    batches = range(0, len(lengths), size)
    most = max(sum(trained[at : at + size]) for at in batches)
    form = (args.gradient_checkpointing, "bfloat16" if args.bf16 else "float16" if args.fp16 else "")
    if args.padding_free and not is_lean(trainer.model):  # lean layers lay the rows apart
        return Load(1, max(sum(lengths[at : at + size]) for at in batches), most, *form)
    heaviest = max(batches, key=lambda at: max(lengths[at : at + size]))
    return Load(min(size, len(lengths)), max(lengths[heaviest : heaviest + size]), most, *form)


def forecast_memory(model, load: Load, is_compact: bool = True) -> dict[str, int] | None:
    """Bytes of each part of a training step of `model` (a PeftModel, or one whose weights are all trained): `weights`,
    `gradients`, `optimizer` (Adam: two float32 numbers a weight), `activations`, `heap`, `logits`, and `peak`, their
    sum where most is held at once. None for a model that cannot be built without data, or is spread over GPUs.

    The process itself and what the libraries hold come on top.
    """
    if is_spread(model):
        return None
    try:
        activations = _activations(model, load)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError):
        return None
    vocabulary = model.get_output_embeddings().weight.shape[0]
    scored = load.trained if is_compact else load.rows * load.length
    precision = getattr(torch, load.autocast or "float32")
    of_a_logit = COMPACT_COPIES * precision.itemsize if is_compact else LOGIT_COPIES * 4
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    found = {
        "weights": sum(weights.numel() * weights.element_size() for weights in model.parameters()),
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "activations": activations,
        "heap": int(HEAP_SHARE * activations) if model.device.type == "cpu" else 0,
        "logits": of_a_logit * scored * vocabulary,
    }
    # gradients grow while activations go: both are never whole at once
    held = found["heap"] + max(activations + found["logits"], found["gradients"] + activations // 2)
    return found | {"peak": found["weights"] + found["optimizer"] + held}


def _activations(model, load: Load) -> int:
    """Bytes that autograd keeps of one pass through the layers, counted with tensors that have a form and no data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers, device, fake = inner.base_model, model.device, FakeTensorMode(allow_non_fake_inputs=True)
    tensors = (*layers.named_parameters(), *layers.named_buffers())
    empty = {name: fake.from_tensor(tensor) for name, tensor in tensors}
    weights, kept = {id_of(tensor) for tensor in empty.values()}, {}

    def pack(tensor):
        if id_of(tensor) not in weights:
            kept[id_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    mixed = torch.autocast(device.type, getattr(torch, load.autocast or "bfloat16"), enabled=bool(load.autocast))
    rows = max(2, load.rows)  # of one row a pass reads whether it is several side by side, and here is nothing to read
    with fake, mixed, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        asked = {"input_ids": torch.zeros((rows, load.length), dtype=torch.long, device=device)}
        hidden = torch.func.functional_call(layers, empty, (), asked | {"use_cache": False}).last_hidden_state
    held = sum(kept.values())
    if load.is_recomputed:
        n = inner.config.get_text_config().num_hidden_layers
        held = held // n + n * hidden.numel() * hidden.element_size()
    return held * load.rows // rows


def id_of(tensor) -> int:
    """What tells the memory of a tensor from that of another."""
    return tensor.untyped_storage()._cdata


class Peak:
    """The most memory that this process, or its GPU, held since this was made: `bytes()`, and `before`, what it held
    then.
    """

    def __init__(self, device: str = "cpu"):
        self.device, self.before = device, 0
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        self.before = psutil.Process().memory_info().rss
        forget_peak()

    def bytes(self) -> int:
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else peak_bytes()


def pilot(trainer, watch=None, parts: dict | None = None) -> dict:
    """`seconds`, `low` and `high` (95%) of the whole training, and `memory`: the most bytes that a step held, and what
    the heap will hold on top after batches of many lengths (by `parts` of `forecast_memory`).

    The batches lie at even distances in the rows, between the heaviest one twice, without and with moments; time goes
    with tokens, so the interval is that of seconds a token, and a machine's drift. What `watch` measures at its points
    is added. Weights, gradients and random numbers are afterwards as they were.
    """
    from scipy.stats import t as student

    size, rows = trainer.args.per_device_train_batch_size, trainer.train_dataset
    lengths = [len(ids) for ids in rows["input_ids"]]
    starts = list(range(0, max(1, len(lengths) - size + 1), size))
    heaviest = max(starts, key=lambda at: sum(lengths[at : at + size]))
    n = min(PILOT_STEPS, len(starts))
    places = [heaviest, *(starts[len(starts) * part // n] for part in range(n)), heaviest]
    peak, speeds = Peak(trainer.model.device.type), []
    trained = [weights for weights in trainer.model.parameters() if weights.requires_grad]
    with untouched(trainer):
        optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
        for at in places:
            seconds = _timed_step(trainer, optimizer, [rows[i] for i in range(at, min(at + size, len(rows)))])
            speeds.append(seconds / sum(lengths[at : at + size]))
    memory = peak.bytes() + (parts or {}).get("heap", 0)
    free_heap()  # of what the steps left between the weights
    speeds, tokens = speeds[1:-1], sum(lengths) * trainer.args.num_train_epochs / trainer.args.world_size
    mean = statistics.fmean(speeds)
    error = statistics.stdev(speeds) / math.sqrt(len(speeds)) if len(speeds) > 1 else mean
    quantile = float(student.ppf(0.975, max(1, len(speeds) - 1)))
    spread = math.hypot(quantile * error, DRIFT * mean)
    looking = _looking(trainer, watch, mean) if watch and watch.how.points else 0.0
    return {
        "seconds": tokens * mean + looking,
        "low": tokens * max(0.0, mean - spread) + looking / 2,
        "high": tokens * (mean + spread) + 2 * looking,
        "memory": memory,
    }


def _looking(trainer, watch, seconds_a_token: float) -> float:
    """Seconds that the points of `watch` take; held-out rows only run forward, a third of a step."""
    held = sum(map(len, trainer.eval_dataset["input_ids"])) if trainer.eval_dataset else 0
    return (watch.how.points + 1) * (watch.seconds_a_point + held * seconds_a_token / 3)


def _timed_step(trainer, optimizer, rows: list[dict]) -> float:
    """Seconds of one step on `rows` of an `optimizer` with the rate 0; a ladder on the trainer goes down here
    already.
    """
    model, started = trainer.model, time.perf_counter()
    batch = batch_of(trainer, rows)
    items = trainer._get_num_items_in_batch([batch], trainer.args.device)
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(model, batch | {ROWS: rows} if is_laddered(trainer) else batch, num_items_in_batch=items)
    trained = optimizer.param_groups[0]["params"]
    norm = torch.nn.utils.clip_grad_norm_(trained, trainer.args.max_grad_norm)
    if torch.isfinite(norm):  # 0 times infinity would be no number
        optimizer.step()
    model.zero_grad(set_to_none=True)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def beside(expected: dict, seconds: float, memory: int) -> list[dict]:
    """Forecast beside actual: a row each for time (minutes) and memory (GiB)."""
    rows = [
        {"what": "time (minutes)", "actual": seconds / 60}
        | {key: expected[name] / 60 for key, name in (("forecast", "seconds"), ("low", "low"), ("high", "high"))},
        {"what": "memory (GiB)", "actual": memory / 2**30, "forecast": expected["memory"] / 2**30},
    ]
    rows[0]["within"] = expected["low"] <= seconds <= expected["high"]
    return rows


def forecast_rows(found: dict, parts: dict | None, price_hour: float) -> list[dict]:
    """A row each for time, cost (where an hour has a price) and memory: `what`, `forecast`, `low`, `high`, `unit`."""
    rows = [{"what": "time", "forecast": found["seconds"] / 60, "low": found["low"] / 60, "high": found["high"] / 60}]
    rows[0]["unit"] = "minutes"
    if price_hour:
        cost = {key: found[name] / 3600 * price_hour for key, name in (("forecast", "seconds"), ("low", "low"))}
        rows.append({"what": "cost", **cost, "high": found["high"] / 3600 * price_hour, "unit": "price_machine_hour's"})
    rows.append({"what": "memory, from steps tried", "forecast": found["memory"] / 2**30, "unit": "GiB"})
    for name, size in (parts or {}).items():
        rows.append({"what": f"memory by form: {name}", "forecast": size / 2**30, "unit": "GiB"})
    return rows
