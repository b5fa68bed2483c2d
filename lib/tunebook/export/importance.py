"""The importance matrix: how strongly each input of a weight is used on training rows, so that quantising rounds there the least.

llama.cpp takes the mean square of every input column. Measured with the transformers model; columns are not permuted by the
conversion, rows are. Does not quantise.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy

from tunebook.models.device import choose_placement, this_machine
from tunebook.models.loading import load_model
from tunebook.models.templates import encode_row
from tunebook.pipeline.files import read_jsonl


def measure_importance(source, adapter: Path, tokenizer, data, count: int) -> dict[str, numpy.ndarray]:
    """GGUF tensor name -> mean square of each input, over the first `count` training rows; empty for `count` 0."""
    if not count:
        return {}
    import torch

    model, sums, hooks = load_model(source, choose_placement(this_machine()), adapter), {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            hooks.append(module.register_forward_pre_hook(_collector(sums, name)))
    with torch.inference_mode():
        for row in read_jsonl(data.file("train.jsonl"))[:count]:
            ids, _ = encode_row(tokenizer, row["prompt"], row["completion"])
            model(input_ids=torch.tensor([ids], device=model.device))
    for hook in hooks:
        hook.remove()
    names = gguf_names(model.config, list(sums))
    return {names[name]: (total / seen).astype(numpy.float32) for name, (total, seen) in sums.items() if name in names}


def _collector(sums: dict, name: str):
    def collect(module, inputs):
        values = inputs[0].detach().float().reshape(-1, inputs[0].shape[-1])
        total, seen = sums.get(name, (0.0, 0))
        sums[name] = (total + values.square().sum(dim=0).double().cpu().numpy(), seen + len(values))

    return collect


def gguf_names(config, modules: list[str]) -> dict[str, str]:
    """Module name -> tensor name in the GGUF file, for those that llama.cpp's table of names has.

    The names of plain decoder layers are the same in every architecture that this kit trains.
    """
    import gguf

    kinds = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    kind = kinds.get(config.model_type.replace("_text", "")) or gguf.MODEL_ARCH.LLAMA
    table = gguf.get_tensor_name_map(kind, config.get_text_config().num_hidden_layers)
    found = {}
    for name in modules:
        known = table.get_name(re.sub(r"^model\.language_model\.", "model.", name))
        if known:
            found[name] = f"{known}.weight"
    return found
