"""Loads a resolved model and its tokenizer, with an adapter merged into it where one is given.

Does not download (see `source`) and does not choose the device (see `device`).
"""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.models.device import Placement
from tunebook.models.source import ModelSource
from tunebook.models.templates import use_template


def load_tokenizer(folder: Path, chat_template: str):
    """The tokenizer of `folder` with the chat template called `chat_template` ("model" or "chatml")."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as problem:
        raise InputProblem(
            f"model: {folder} has no readable tokenizer; save it there with tokenizer.save_pretrained"
        ) from problem
    use_template(tokenizer, chat_template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(source: ModelSource, placement: Placement, adapter: Path | None = None, attention: str = "sdpa"):
    """The model on its device; `adapter` is merged, so what is scored is what is exported.

    The merge is done in float32 and then cast, since a bfloat16 sum would lose the adapter's small steps. Raises InputProblem
    when the folder holds no causal language model, or the adapter does not fit it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if adapter else placement.torch_dtype()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.folder, dtype=dtype, attn_implementation=attention, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as problem:
        raise InputProblem(
            f"model: {source.name} is no causal language model that can be read ({problem})"
        ) from problem
    if adapter:
        model = merge_adapter(model, adapter).to(placement.torch_dtype())
    return model.to(placement.device).eval()


def merge_adapter(model, adapter: Path):
    """`model` with the LoRA of folder `adapter` added into its weights."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError, OSError) as problem:
        what = str(problem).splitlines()[0]
        raise InputProblem(f"adapter: {adapter} does not fit the base model ({what})") from problem


def free_memory() -> None:
    """Returns unused memory to the machine after a model was dropped."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
