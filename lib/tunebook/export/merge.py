"""Adds a LoRA adapter into its base model's weights tensor by tensor, from file to file: no model is held in memory.

W' = W + scale · B A in float32, written as float16 (vectors as float32), which is what the converter would make of it. Does not
merge DoRA, biases or whole modules that were saved beside an adapter. Source: Hu et al. 2021, section 4.1.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy

from tunebook.errors import InputProblem
from tunebook.files import read_json, require_disk, write_json
from tunebook.inspection import weight_files
from tunebook.inspection.adapter_checks import PREFIX, A, B, pairs
from tunebook.models.source import ModelSource

FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
COPIED = ("config.json", "generation_config.json", "tokenizer.model")
REFUSED = ("use_dora", "modules_to_save", "alpha_pattern", "trainable_token_indices", "lora_bias", "target_parameters")


def merge_to_folder(source: ModelSource, adapter: Path | None, tokenizer, folder: Path) -> Path:
    """Weights of `source` with `adapter` in them, with config and tokenizer, as a folder that the converter takes.

    A folder `adapter` with whole weights (config.json) takes the place of the base's. Raises InputProblem for an adapter that
    cannot be merged like this, and for a sum that float16 cannot hold; MachineProblem when the disk is too small.
    """
    is_whole = adapter is not None and (adapter / "config.json").is_file()
    base = adapter if is_whole else source.folder
    deltas = {} if adapter is None or is_whole else read_deltas(adapter)
    files = sorted(base.glob("*.safetensors"))
    # the merged weights, their float16 GGUF, and one smaller file beside it
    require_disk(folder.parent, 3 * sum(file.stat().st_size for file in files))
    folder.mkdir(parents=True, exist_ok=True)
    used = set()
    for file in files:
        used |= _merge_file(file, folder / file.name, deltas)
    left = sorted(deltas.keys() - used)
    if left:
        raise InputProblem(f"adapter: it changes {left[0]}, which the base model does not have")
    for name in (*COPIED, *(path.name for path in base.glob("*.safetensors.index.json"))):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    tokenizer.save_pretrained(folder)
    if (folder / "tokenizer.model").is_file():
        _list_added_tokens(tokenizer, folder / "tokenizer_config.json")
    return folder


def _list_added_tokens(tokenizer, path: Path) -> None:
    """Beside a SentencePiece model the converter reads there which tokens are whole; transformers 5 no longer writes it."""
    added = {str(at): {"content": t.content, "special": t.special} for at, t in tokenizer.added_tokens_decoder.items()}
    write_json(path, read_json(path) | {"added_tokens_decoder": added})


def read_deltas(adapter: Path) -> dict[str, tuple[numpy.ndarray, numpy.ndarray, float, bool]]:
    """module path + ".weight" -> (A, B, scale, is_transposed) of a LoRA folder, float32."""
    config = read_json(adapter / "adapter_config.json")
    wrong = [name for name in REFUSED if config.get(name)] + (["bias"] if config.get("bias", "none") != "none" else [])
    if wrong or config.get("peft_type") != "LORA":
        what = wrong[0] if wrong else config.get("peft_type")
        raise InputProblem(
            f"adapter: {adapter} uses {what}, which is not exported; merge it with PEFT and give the folder"
        )
    weights = {}
    for file in sorted(adapter.glob("*.safetensors")):
        for name, entry in weight_files.read_safetensors(str(file))["tensors"].items():
            weights[name] = read_tensor(file, entry)
    found = {}
    for module, shapes in pairs({name: list(value.shape) for name, value in weights.items()}).items():
        if set(shapes) != {"A", "B"}:
            raise InputProblem(f"adapter: {module} has only one of lora_A and lora_B")
        rank = shapes["A"][0]
        scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
        sides = (weights[f"{PREFIX}{module}{A}"], weights[f"{PREFIX}{module}{B}"])
        found[f"{module}.weight"] = (*sides, scale, bool(config.get("fan_in_fan_out")))
    if len(weights) != 2 * len(found) or not found:
        raise InputProblem(f"adapter: {adapter} holds other tensors than lora_A and lora_B, which are not exported")
    return found


def read_tensor(file: Path, entry: tuple) -> numpy.ndarray:
    """One tensor of a safetensors file as float32."""
    kind, shape, start, size = entry
    with open(file, "rb", buffering=0) as stream:
        stream.seek(start)
        data = bytearray(size)
        stream.readinto(data)
    if kind == "BF16":
        return (numpy.frombuffer(data, "<u2").astype(numpy.uint32) << 16).view(numpy.float32).reshape(shape)
    if kind not in FLOATS:
        raise InputProblem(
            f"export: {file.name} has weights of type {kind}; give a model in float16, bfloat16 or float32"
        )
    return numpy.frombuffer(data, FLOATS[kind]).reshape(shape).astype(numpy.float32, copy=False)


def _merge_file(file: Path, target: Path, deltas: dict) -> set[str]:
    """Writes one file with its share of the deltas added; the names that were used."""
    tensors, header, end = weight_files.read_safetensors(str(file))["tensors"], {}, 0
    for name, (_, shape, _, _) in tensors.items():
        size = math.prod(shape) * (4 if len(shape) < 2 else 2)
        kind = "F32" if len(shape) < 2 else "F16"
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, entry in tensors.items():
            value = read_tensor(file, entry)
            if name in deltas:
                value = _add(value, *deltas[name], name)
            made = value if value.ndim < 2 else value.astype(numpy.float16)
            if not numpy.isfinite(made).all():
                raise InputProblem(f"export: {name} has numbers that are not finite in float16")
            stream.write(made.tobytes())
    return tensors.keys() & deltas.keys()


def _add(weights, a, b, scale: float, is_transposed: bool, name: str) -> numpy.ndarray:
    delta = (b @ a) * numpy.float32(scale)
    delta = delta.T if is_transposed else delta
    if delta.shape != weights.shape:
        raise InputProblem(f"adapter: its {name} is {list(delta.shape)}, the base model's {list(weights.shape)}")
    return weights + delta
