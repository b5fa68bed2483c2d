"""What config.json says of a model: the values by type, the weights that it calls for, and the code that it would
fetch.

Meant for a child process, `foreign_code` also for the moment before a model is loaded. Loads nothing.
"""

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.findings import Objections

COUNTS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
)  # fmt: skip
DIVIDED = (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads"))
CHOICES = re.compile(r"_?(attn|experts)_implementation")
CODE_FIX = "use a model whose architecture transformers knows by itself"


def foreign_code(config: dict, depth: int = 0) -> str:
    """The setting in `config` that names a kernel on the Hub, which transformers would fetch and run, or ""."""
    for key, value in config.items():
        parts = list(value.values()) if isinstance(value, dict) else [value]
        if CHOICES.match(key) and any(isinstance(part, str) and "/" in part for part in parts):
            return key
        if isinstance(value, dict) and depth < 20 and (inner := foreign_code(value, depth + 1)):
            return inner
    return ""


def unknown_model(config: dict) -> str:
    """The architecture in `config` where its code comes with the repository (auto_map) and transformers does not have
    it, or "". Many published files name code of before transformers had the model, which is then not asked for.
    """
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else str(config.get("model_type"))
    lists, causal = _model_lists()
    is_known = f'"{name}"' in lists or f'("{config.get("model_type")}", ' in causal
    return name if config.get("auto_map") and not is_known else ""


@cache
def _model_lists() -> tuple[str, str]:
    """The text in which transformers lists its models, and the part of it that lists causal language models."""
    auto = Path(find_spec("transformers").origin).parent / "models" / "auto" / "modeling_auto.py"
    lists = auto.read_text(encoding="utf-8")
    return lists, lists.split("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = ")[1].split("\n)\n")[0]


def not_causal(config: dict) -> str:
    """The model_type in `config` that transformers has, but not as a causal language model; "" for any other."""
    kind, (lists, causal) = config.get("model_type"), _model_lists()
    return kind if f'("{kind}", ' in lists and f'("{kind}", ' not in causal else ""


def packing_of(config: dict) -> str:
    """How `quantization_config` says that the weights are packed, "" where it says nothing."""
    method = config.get("quantization_config")
    return "" if method is None else ascii(method.get("quant_method") if isinstance(method, dict) else method)[:40]


def refuse_base(folder: Path, model: str = "") -> None:
    """Raises InputProblem where config.json names code to be run or fetched, or weights that are packed; one that
    cannot be read is left to who loads it. `model` is its name in the sentence.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(config, dict) and (name := unknown_model(config)):
        raise InputProblem(
            f"model: {model or folder} is {name}, which transformers does not have: its code comes with the repository"
            f" (auto_map in config.json) and is never run; {CODE_FIX}"
        )
    if isinstance(config, dict) and (kind := not_causal(config)):
        text = config.get("text_config")
        inner = text.get("model_type") if isinstance(text, dict) else ""
        fix = (
            f"its text model ({inner}) saved by itself"
            if inner and not not_causal(text)
            else "a model that writes text"
        )
        raise InputProblem(
            f"model: {model or folder} is of type {kind}, which transformers loads, but not as a causal language model:"
            f" nothing here can train it; give {fix}"
        )
    if isinstance(config, dict) and (method := packing_of(config)):
        raise InputProblem(
            f"model: {model or folder} has packed weights ({method} in quantization_config), which are not read and"
            " cannot be added to; load the 16-bit base"
        )
    if isinstance(config, dict) and (key := foreign_code(config)):
        raise InputProblem(
            f"model: {model or folder} names a kernel on the Hub ({key} in config.json), which is never run; {CODE_FIX}"
        )


def code_findings(place: Path, jsons: dict) -> Objections:
    """The code that a folder brings or would fetch."""
    scripts = sorted(str(path.relative_to(place)) for path in place.rglob("*.py"))
    named = [
        f"auto_map in {name}"
        for name, value in jsons.items()
        if value.get("auto_map") or value.get("trust_remote_code")
    ]
    kernels = [f"{key} in {name}" for name, value in jsons.items() if (key := foreign_code(value))]
    found = Objections(CODE_FIX, "remote_code")
    config = jsons.get("config.json", {})
    if (scripts or named) and config.get("architectures") and not unknown_model(config | {"auto_map": True}):
        found.add("info", "it brings code of its own, which is not run: transformers has this model itself", "nothing")
    elif scripts or named:
        message = f"it brings code of its own ({', '.join(scripts[:3] + named)}), which is never run"
        found.error(message, count=len(scripts) or 1)
    if kernels:
        found.error(f"it names a kernel on the Hub ({', '.join(kernels)}), which is never run", count=len(kernels))
    return found


def config_findings(place: Path, config: dict, text_config: dict, tensors: dict) -> Objections:
    """Objections to config.json by itself and against the tensors, name -> (dtype, shape, ...)."""
    found = Objections("fetch the folder again", "config")
    if not (place / "config.json").exists():
        gguf = next((path.name for path in sorted(place.glob("*.gguf"))), "")
        fix = f"give the .gguf file in it ({gguf})" if gguf else "give a folder saved with save_pretrained"
        return found.error("config.json is missing", fix=fix)
    if not isinstance(config.get("model_type"), str) or not isinstance(config.get("architectures"), list):
        found.error("config.json names no model_type or no architectures", check="architecture")
    if method := packing_of(config):
        message = f"its weights are packed ({method} in quantization_config), which is not read"
        fix = "give the weights before that, in safetensors, or a GGUF file"
        found.error(message, fix=fix, check="quantization")
    _add_values(text_config, found)
    _add_sizes(config, text_config, {name: entry[1] for name, entry in tensors.items()}, found)
    return found


def _add_values(config: dict, found: Objections) -> None:
    for key in COUNTS:
        value = config.get(key)
        if value is not None and not isinstance(value, list) and not _is_count(value):
            found.error(f"config.json: {key} is {ascii(value)[:40]}, expected a whole number above 0")
    for key, (fits, expected) in TYPES.items():
        if key in config and not fits(config[key]):
            found.error(f"config.json: {key} is {ascii(config[key])[:40]}, expected {expected}")
    for whole, part in DIVIDED:
        values = config.get(whole), config.get(part)
        has_own_width = part == "num_attention_heads" and any("head_dim" in key or "channels" in key for key in config)
        if all(map(_is_count, values)) and not has_own_width and values[0] % values[1]:
            found.error(f"config.json: {whole} {values[0]} cannot be divided by {part} {values[1]}")


def _is_map(value) -> bool:
    return value is None or isinstance(value, dict)


def _are_tokens(value) -> bool:
    return value is None or all(
        isinstance(one, int) and not isinstance(one, bool) for one in (value if isinstance(value, list) else [value])
    )


def _is_dtype(value) -> bool:
    return not isinstance(value, str) or bool(
        re.fullmatch(r"auto|(torch\.)?(bfloat16|half|double|u?int\d+|float(16|32|64|[48]_\w+)?)", value)
    )


TYPES = {
    "rms_norm_eps": (lambda value: isinstance(value, (int, float)) and not isinstance(value, bool), "a number"),
    "tie_word_embeddings": (lambda value: value is None or isinstance(value, bool), "true or false"),
    "hidden_act": (lambda value: value is None or isinstance(value, str), "a name"),
    "rope_parameters": (_is_map, "a map"),
    "rope_scaling": (_is_map, "a map"),
    "eos_token_id": (_are_tokens, "token ids"),
    "dtype": (_is_dtype, "a type of numbers"),
    "torch_dtype": (_is_dtype, "a type of numbers"),
}


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _add_sizes(config: dict, text_config: dict, shapes: dict[str, list[int]], found: Objections) -> None:
    """Where config.json and the tensors disagree, and a table of tokens that is missing."""
    if shapes and not any(re.search(r"emb|wte|(^|\.)w\.weight$", name, re.I) for name in shapes):
        message = "its weights have no embedding of tokens, so they are not the weights of a language model"
        found.error(message, check="weights")
    named = next((name for name in shapes if name.endswith(("embed_tokens.weight", "wte.weight"))), "")
    table = shapes.get(named)
    for key, at in (("vocab_size", 0), ("hidden_size", 1)):
        stated = text_config.get(key)
        if table and len(table) == 2 and isinstance(stated, int) and stated != table[at]:
            found.error(f"config.json says {key} {stated}, the embedding is {table}", check="size")
    is_untied = all(one.get("tie_word_embeddings") is False for one in (config, text_config))
    if named.endswith("embed_tokens.weight") and is_untied and not any("head" in name for name in shapes):
        message = "config.json says that the output has weights of its own (tie_word_embeddings), there is no"
        found.error(f"{message} lm_head.weight", check="weights")
    layers = {int(hit.group(1)) for name in shapes if (hit := re.search(r"(?:layers|h|blocks)\.(\d{1,6})\.", name))}
    stated = text_config.get("num_hidden_layers")
    if layers and isinstance(stated, int) and len(layers) != stated:
        found.error(f"config.json says {stated} layers, the weights have {len(layers)}", check="size")
