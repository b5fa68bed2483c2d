"""The merged model as a folder that the converter takes: weights with the adapter in them, and the tokenizer as it was
published.

W' = W + scale · B A in float32, checked against the adapter on its base, then float16 (vectors float32), which is what
the converter would make of it. Names are those that transformers writes, so they fit every architecture that it maps.
The model is in memory meanwhile, 4 bytes a weight. Does not convert (see `convert`). Source: Hu et al. 2021, section
4.1.
"""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_json, require_disk, write_json
from tunebook.inspection.adapter_checks import PREFIX, A, B, pairs
from tunebook.models.device import Placement
from tunebook.models.loading import copy_tokenizer, free_memory, load_model, with_trained
from tunebook.models.source import ModelSource

REFUSED = (
    *("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "target_parameters"),
    "alora_invocation_tokens",
)
IN_FLOAT32 = Placement("cpu", "float32", "float32", "", "merged in float32")


def merge_to_folder(source: ModelSource, adapter: Path | None, tokenizer, folder: Path) -> Path:
    """Weights of `source` with `adapter` in them, with config and tokenizer, as `folder`.

    Whole weights take the place of the base's (see `with_trained`). Raises InputProblem for an
    adapter that cannot be merged, and for a sum that float16 cannot hold; MachineProblem when the disk is too small.
    """
    weights, adapter = with_trained(source, adapter)
    # the merged weights, their float16 GGUF, and one smaller file beside it
    require_disk(folder.parent, 3 * sum(file.stat().st_size for file in weights.folder.glob("*.safetensors")))
    model = load_model(weights, IN_FLOAT32, adapter)
    _halve(model)
    model.save_pretrained(folder)
    is_tied = model.config.get_text_config().tie_word_embeddings
    del model
    free_memory()
    for name in (
        "config.json",
        "generation_config.json",
    ):  # as published: the converter reads keys that transformers renames
        if (weights.folder / name).is_file():
            shutil.copyfile(weights.folder / name, folder / name)
    config = read_json(folder / "config.json")
    if not is_tied and any(
        part.get("tie_word_embeddings", True) for part in (config, config.get("text_config", config))
    ):
        config |= (
            {"text_config": {**config["text_config"], "tie_word_embeddings": False}} if "text_config" in config else {}
        )
        write_json(folder / "config.json", config | {"tie_word_embeddings": False})
    copy_tokenizer(source.tokenizer_folder, tokenizer, folder)
    return folder


def _halve(model) -> None:
    """Matrices to float16 in place, so that tied ones stay one weight."""
    import torch

    for name, weights in model.named_parameters():
        if weights.dim() > 1:
            weights.data = weights.data.half()
            if not torch.isfinite(weights).all():
                raise InputProblem(f"export: {name} has numbers that are not finite in float16")


def gguf_name(source: ModelSource, tokenizer) -> str:
    """The model's name inside the file: the last part of its place.

    llama.cpp knows by a name with "phi-3" that control tokens take the white space after them.
    """
    name = re.split(r"[/\\]", source.name.rstrip("/\\"))[-1] or source.folder.name
    takes_space = any(token.rstrip and token.special for token in tokenizer.added_tokens_decoder.values())
    is_phi3 = read_json(source.folder / "config.json").get("model_type") == "phi3"
    return f"Phi-3 {name}" if is_phi3 and takes_space and not re.search("phi-?3", name, re.I) else name


def read_deltas(adapter: Path) -> dict[str, tuple]:
    """module path + ".weight" -> (A, B, scale, is_transposed) of a LoRA folder, float32; for an adapter file beside
    its base. The scale is alpha / rank, of a rank-stabilised one alpha / root of the rank, of each module its own.
    """
    from peft.utils.other import get_pattern_key
    from safetensors.torch import load_file

    if (adapter / "config.json").is_file():
        raise InputProblem(f"adapter: {adapter} holds whole weights (method: full), no adapter; serve the merged file")
    config = read_json(adapter / "adapter_config.json")
    wrong = [name for name in REFUSED if config.get(name)] + (["bias"] if config.get("bias", "none") != "none" else [])
    if wrong or config.get("peft_type") != "LORA":
        what = wrong[0] if wrong else config.get("peft_type")
        raise InputProblem(f"adapter: {adapter} uses {what}, which no adapter file can hold; serve the merged file")
    weights = {}
    for file in sorted(adapter.glob("*.safetensors")):
        weights |= {name: value.float().numpy() for name, value in load_file(file).items()}
    found = {}
    for module, shapes in pairs({name: list(value.shape) for name, value in weights.items()}).items():
        if set(shapes) != {"A", "B"}:
            raise InputProblem(f"adapter: {module} has only one of lora_A and lora_B")
        rank = shapes["A"][0]
        alphas = config.get("alpha_pattern") or {}
        alpha = alphas.get(get_pattern_key(alphas, module), config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        sides = (weights[f"{PREFIX}{module}{A}"], weights[f"{PREFIX}{module}{B}"])
        found[f"{module}.weight"] = (*sides, scale, bool(config.get("fan_in_fan_out")))
    if len(weights) != 2 * len(found) or not found:
        raise InputProblem(f"adapter: {adapter} holds other tensors than lora_A and lora_B; serve the merged file")
    return found
