"""Loads a resolved model and its tokenizer, with an adapter merged into it where one is given.

Does not download (see `source`) and does not choose the device (see `device`).
"""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.models.device import Placement
from tunebook.models.gguf_tokenizer import GgufTokenizer
from tunebook.models.source import ModelSource
from tunebook.models.template_sandbox import render_probes
from tunebook.models.templates import use_template


def load_tokenizer(folder: Path, chat_template: str):
    """The tokenizer of `folder` (or of a GGUF file) with the chat template called `chat_template` ("model" or "chatml").

    A model's own template is rendered once in the sandbox first. Raises InputProblem when it fails, or there is no tokenizer.
    """
    if folder.is_file():
        return GgufTokenizer(folder, chat_template)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        raise InputProblem(
            f"model: {folder} has no readable tokenizer; save it there with tokenizer.save_pretrained"
        ) from problem
    use_template(tokenizer, chat_template)
    if chat_template == "model":
        render_probes(tokenizer.chat_template, tokenizer.bos_token or "", tokenizer.eos_token or "")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(source: ModelSource, placement: Placement, adapter: Path | None = None, attention: str = "sdpa"):
    """The model on its device; `adapter` is merged, so what is scored is what is exported.

    Where the source is an adapter itself, that one is merged first. The merge is done in float32 and then cast, since a bfloat16
    sum would lose the adapter's small steps. Raises InputProblem when the folder holds no causal language model, an adapter does
    not fit it, or a weight is not a finite number.
    """
    import torch
    from transformers import AutoModelForCausalLM

    adapters = [one for one in (source.adapter, adapter) if one]
    dtype = torch.float32 if adapters else placement.torch_dtype()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as problem:
        raise InputProblem(
            f"model: {source.name} is no causal language model that can be read ({problem})"
        ) from problem
    for one in adapters:
        model = merge_adapter(model, one)
    model = model.to(placement.torch_dtype())
    broken = next((name for name, weights in model.named_parameters() if not torch.isfinite(weights).all()), None)
    if broken:
        raise InputProblem(
            f"model: {adapters[-1] if adapters else source.name} has weights that are NaN or infinite ({broken})"
        )
    return model.to(placement.device).eval()


def open_engine(source: ModelSource, placement: Placement, chat_template: str, slots: int, adapter: Path | None = None):
    """What answers prompts with this model, whatever form it has: transformers for weights, llama.cpp for a GGUF file."""
    from tunebook.models.engine import TransformersEngine

    if source.is_gguf:
        from tunebook.models.gguf_engine import GgufModel

        return GgufModel(source.folder, slots, chat_template)
    tokenizer = load_tokenizer(source.folder, chat_template)
    return TransformersEngine(load_model(source, placement, adapter), tokenizer, slots)


def merge_adapter(model, adapter: Path):
    """`model` with the LoRA of folder `adapter` added into its weights."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError, OSError) as problem:
        what = str(problem).splitlines()[0]
        if "NaNs detected" in what:
            raise InputProblem(f"adapter: {adapter} has weights that are NaN or infinite") from problem
        raise InputProblem(f"adapter: {adapter} does not fit the base model ({what})") from problem


def free_memory() -> None:
    """Returns unused memory to the machine after a model was dropped."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
