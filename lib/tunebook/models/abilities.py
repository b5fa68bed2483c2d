"""What a model can take, found out by trying: rows side by side without padding, and which of its layers take an
adapter.

Does not train. Meant for a model that is loaded for training.
"""

from __future__ import annotations

import re

from tunebook.models.loading import PROBED_IDS, SAME_LOGITS, difference

ROWS = (5, 9, 3)  # tokens of the rows that are tried side by side


def packs_exactly(model) -> bool:
    """Whether rows that follow one another in one sequence, told apart by `position_ids`, give the logits that each
    gives alone.

    False too where the model raises: layers with a state (convolutions, linear attention) need kernels of their own for
    it. In bfloat16 a difference of rounding counts as none.
    """
    import torch

    size = min(model.get_input_embeddings().weight.shape[0], PROBED_IDS)
    ids = torch.randint(size, (1, sum(ROWS)), generator=torch.Generator().manual_seed(1)).to(model.device)
    places = torch.cat([torch.arange(length) for length in ROWS])[None].to(model.device)
    was_training, largest = model.training, SAME_LOGITS if model.dtype == torch.float32 else 0.05
    model.train()  # some models keep rows apart only where they are not training, and the other way round
    try:
        with torch.no_grad():
            packed = model(input_ids=ids, position_ids=places, use_cache=False).logits
            alone = [model(input_ids=part, use_cache=False).logits for part in ids.split(ROWS, dim=1)]
        return difference(torch.cat(alone, dim=1).float(), packed.float()) < largest
    except (ValueError, TypeError, RuntimeError, NotImplementedError, ImportError):
        return False
    finally:
        model.train(was_training)


def lora_targets(model) -> str | list[str]:
    """Which modules LoRA changes, for `LoraConfig`: "all-linear", or by name where PEFT refuses some of them.

    In models with a state (Mamba) the fused kernels read some weights past the adapter, so PEFT takes no `out_proj` and
    no `conv1d`.
    """
    import torch
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

    class Lora:
        peft_type = "LORA"

    head, names = model.get_output_embeddings(), set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            names.add(name.rpartition(".")[2])
    refused = set()
    for name in names:
        try:
            _check_lora_target_modules_mamba(Lora, model, name)
        except ValueError:
            refused.add(name)
    return sorted(names - refused) if refused else "all-linear"


def has_router(config) -> bool:
    """Whether tokens choose their experts, so that a loss for the router belongs to the model's own."""
    counts = re.compile(r"(\w+_)?n(um)?_(\w+_)?experts|output_router_logits")
    return any(value for key, value in config.to_dict().items() if counts.fullmatch(key))
