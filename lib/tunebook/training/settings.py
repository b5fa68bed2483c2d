"""What of a trainer's settings follows from the machine, and the record of a training: loss table and progress.

The settings that a person chooses stand in the notebook. Does not build a trainer.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from transformers import TrainerCallback

from tunebook.errors import InputProblem
from tunebook.models.abilities import has_router, packs_exactly
from tunebook.models.device import Placement
from tunebook.models.loading import copy_tokenizer
from tunebook.models.source import ModelSource
from tunebook.training.health import require_finite

EXPERTS = ("num_local_experts", "n_routed_experts", "moe_num_experts")  # how configs name their count
# what sends Trackio's figures elsewhere from the environment alone; Source: trackio 0.43, utils.py and run.py
ELSEWHERE = ("SPACE_ID", "SERVER_URL", "BUCKET_ID", "DATASET_ID", "WEBHOOK_URL")
FLAT_TOKENS = 1024  # a batch of so many tokens takes about 60 MB of attention weights a layer with 9 heads


def machine_settings(placement: Placement, model=None) -> dict:
    """Arguments for SFTConfig and DPOConfig which the machine, or the form of `model`, decides.

    On a CPU activations of small models fit, so recomputing them (gradient checkpointing) only costs time. A model
    without experts has no loss for a router, whatever its config says.
    """
    config = model.config.get_text_config() if model else None
    no_router = (
        {"router_aux_loss_coef": 0.0} if hasattr(config, "output_router_logits") and not has_router(config) else {}
    )
    if config and has_router(config) and not hasattr(config, "num_experts"):  # TRL reads no other name
        config.num_experts = next((getattr(config, name) for name in EXPERTS if hasattr(config, name)), None)
    on_cpu = placement.device == "cpu"
    return {
        "use_cpu": on_cpu,
        "bf16": placement.autocast == "bfloat16",
        "fp16": placement.autocast == "float16",
        "logging_nan_inf_filter": False,  # else a loss that is no number is logged as 0
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": placement.device == "cuda",
        **no_router,
    }


def attention_for(placement: Placement) -> str:
    """`eager` on a CPU, where scaled-dot-product attention has a slow backward pass for short rows."""
    return "eager" if placement.device == "cpu" else "sdpa"


def row_layout(placement: Placement, dataset, batch_size: int, model) -> dict:
    """Arguments for SFTConfig that say how the rows of a batch lie side by side; `dataset` is already cut to its
    length.

    On a CPU short rows follow one another without padding, each seeing only itself (`position_ids` tell where a row
    starts), where `model` is shown to keep them apart; a third of a padded batch of schedules is padding. Long batches
    are padded, as on a GPU: plain attention over a whole flat batch takes memory with the square of its tokens.
    """
    tokens = batch_size * max(map(len, dataset["input_ids"]))
    is_flat = placement.device == "cpu" and tokens <= FLAT_TOKENS and packs_exactly(model)
    return {"max_length": None, "padding_free": is_flat}


def student_settings(placement: Placement, is_full: bool, four_bit: bool = False) -> dict:
    """Arguments for `from_pretrained` of the model that is to learn: precision, attention, and a base of 4 bits.

    Weights that are trained themselves are float32; `four_bit` packs frozen ones (NF4, Dettmers et al. 2023). Raises
    InputProblem where they are trained, or where the machine cannot compute with them.
    """
    import torch

    dtype = torch.float32 if is_full else placement.torch_dtype()
    settings = {"dtype": dtype, "attn_implementation": attention_for(placement)}
    if not four_bit:
        return settings
    if is_full:
        raise InputProblem("four_bit: weights of 4 bits cannot be trained; use method: lora, or four_bit: false")
    if placement.device != "cuda" or find_spec("bitsandbytes") is None:
        lacks = "no CUDA GPU" if placement.device != "cuda" else "no bitsandbytes (pip install bitsandbytes)"
        raise InputProblem(f"four_bit: this machine has {lacks}, which a base of 4 bits needs; use four_bit: false")
    from transformers import BitsAndBytesConfig

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return settings | {"quantization_config": packed, "device_map": {"": 0}}


def reporting(report_to: str, folder: Path) -> dict:
    """Arguments for a trainer that also tells TensorBoard or Trackio, in `folder` on this disk; nothing is published,
    also where the environment names a Space or a server for Trackio.

    Raises InputProblem where the package is not there.
    """
    if report_to == "none":
        return {"report_to": "none"}
    packages = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}[report_to]
    if not any(find_spec(package) for package in packages):
        raise InputProblem(
            f"report_to: {report_to} needs a package: pip install {packages[-1].lower()}, or report_to: none"
        )
    os.environ["TENSORBOARD_LOGGING_DIR" if report_to == "tensorboard" else "TRACKIO_DIR"] = str(folder / "reports")
    for name in ELSEWHERE:
        os.environ.pop(f"TRACKIO_{name}", None)
    local = {"trackio_space_id": None, "trackio_static_space_id": False} if report_to == "trackio" else {}
    return {"report_to": report_to, "push_to_hub": False, **local}


def warmup_steps(share: float, n_rows: int, batch_size: int, epochs: float = 1.0) -> int:
    """Steps in which the rate rises, rounded as transformers does; none where they would be less than one, for at the
    first of them the rate is 0.

    >>> warmup_steps(0.05, 4064, 8), warmup_steps(0.05, 30, 8), warmup_steps(0.25, 1, 8)
    (26, 0, 0)
    """
    steps = share * math.ceil(n_rows / batch_size) * epochs
    return math.ceil(steps) if steps >= 1 else 0


def even_steps(max_steps: int, n: int) -> set[int]:
    """The steps at which `n` even parts of a training end.

    >>> sorted(even_steps(10, 3))
    [3, 7, 10]
    """
    return {round(max_steps * part / n) for part in range(1, n + 1)}


def keep_trainable_in_float32(model) -> int:
    """Casts the trainable weights to float32 and returns how many there are.

    With half-precision adapters the loss scaler of a T4 fails, and small steps are rounded away.
    """
    count = 0
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()
            count += weights.numel()
    return count


def save_adapter(model, folder: Path, source: ModelSource, tokenizer=None, state: dict | None = None) -> None:
    """Saves what was trained: the adapter alone, naming its base model as the study does and not by this machine's
    path; or, of a model without one, all weights in float32, with the config as published and `tokenizer`: a model by
    itself. `state` are the weights of a model that is spread over processes.
    """
    held = {"state_dict": state} if state is not None else {}
    if hasattr(model, "peft_config"):
        config = model.peft_config["default"]
        config.base_model_name_or_path = f"{source.name} {source.revision}".strip()
        if isinstance(config.target_modules, set):  # written in an order that differs from process to process
            config.target_modules = sorted(config.target_modules)
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False, **held)
        (folder / "README.md").unlink(missing_ok=True)  # a card without content, with paths of this machine
        return
    if state is not None:  # gathered, a tied weight is there twice
        held = {"state_dict": {name: part for name, part in state.items() if name not in model.all_tied_weights_keys}}
    model.save_pretrained(folder, **held)
    for name in ("config.json", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, folder / name)
    if tokenizer is not None:
        copy_tokenizer(source.tokenizer_folder, tokenizer, folder)


class Report(TrainerCallback):
    """Tells a stage how far the training is, and keeps one row a logged step; `kinds` says what each step of a pass
    reads.

    `kind` and `seconds` go into the trainer's own log, so that rows and time survive a kill with the checkpoint.
    `seconds`: since the training began, without what a kill lost.
    """

    def __init__(self, context, kinds: Sequence[str] = ("rows",)):
        self.context, self.kinds, self.rows, self.seconds = context, kinds, [], 0.0
        self._started = time.perf_counter()

    def on_train_begin(self, args, state, control, **kwargs):
        self.rows = [row for row in state.log_history if "loss" in row]
        self._started = time.perf_counter() - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def on_step_end(self, args, state, control, **kwargs):
        loss = f", loss {self.rows[-1]['loss']:.3g}" if self.rows else ""
        self.context.progress(state.global_step, state.max_steps, f"steps{loss}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            require_finite(logs["loss"], f"the loss of step {state.global_step}")
            row = state.log_history[-1]
            row |= {
                "kind": self.kinds[(state.global_step - 1) % len(self.kinds)],
                "seconds": time.perf_counter() - self._started,
            }
            self.rows.append(row)

    def on_train_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self._started
