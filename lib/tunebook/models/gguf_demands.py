"""Keys, numbers and tensors without which llama.cpp refuses a GGUF file, or aborts: each function gives a sentence an objection.

Source: src/llama-model.cpp, src/llama-vocab.cpp and src/llama-arch.cpp of llama.cpp.
"""

import math

from tunebook.models.gguf_header import short

# metadata key -> the one value type (a number of GGUF) that llama.cpp takes, with its name
KEY_TYPES = {"split.no": (2, "uint16"), "split.count": (2, "uint16"), "tokenizer.ggml.model": (8, "text")}
KEY_TYPES |= {f"tokenizer.ggml.{key}": (7, "bool") for key in ("add_bos_token", "add_eos_token", "add_space_prefix")}
KEY_TYPES["tokenizer.ggml.pre"] = (8, "text")
MOST_BLOCKS = 512

# architectures whose every block holds these tensors, and that have the rms epsilon; other ones may leave blocks out
PLAIN = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "smollm3", "mistral3")
BLOCK_TENSORS = (
    ("attn_norm",), ("attn_q", "attn_qkv"), ("attn_output",), ("ffn_norm",), ("ffn_down", "ffn_down_exps", "ffn_down.0"),
)  # fmt: skip
RMS_EPSILON = "attention.layer_norm_rms_epsilon"
EPSILONS = (RMS_EPSILON, "attention.layer_norm_epsilon")
NEEDED = ("block_count", "context_length", "embedding_length", "attention.head_count")
LONGEST_ARCHITECTURE = 100  # characters


def odd_types(header) -> list[str]:
    """Known keys of a wrong type."""
    return [
        f"{key} is {short(header.metadata[key])}, which is not of the type that llama.cpp reads there ({name})"
        for key, (kind, name) in KEY_TYPES.items()
        if header.kinds.get(key, kind) != kind
    ]


def odd_numbers(header, arch: str) -> list[str]:
    """Sizes that are missing or out of range."""
    data, found = header.metadata, []
    for key in NEEDED:
        value = data.get(f"{arch}.{key}")
        values = value if isinstance(value, list) else [value]
        if not values or any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in values):
            found.append(f"{arch}.{key} is {'missing' if value is None else short(value)}, expected a whole number")
        elif key == "block_count" and not 1 <= values[0] <= MOST_BLOCKS:
            found.append(f"{arch}.{key} is {values[0]}, expected 1 to {MOST_BLOCKS}")
    for key in EPSILONS:
        value = data.get(f"{arch}.{key}", None if key == RMS_EPSILON and arch in PLAIN else 0.0)
        if not isinstance(value, float) or not math.isfinite(value) or value < 0:
            found.append(f"{arch}.{key} is {'missing' if value is None else short(value)}, expected a number from 0 on")
    return found


def missing_tensors(header, arch: str) -> list[str]:
    """Names of tensors that are not there, for architectures in which every block has the same."""
    names, count = {tensor.name for tensor in header.tensors}, header.metadata.get(f"{arch}.block_count")
    if arch not in PLAIN or not isinstance(count, int) or not 1 <= count <= MOST_BLOCKS:
        return []
    return [
        f"blk.{block}.{either[0]}.weight"
        for block in range(count)
        for either in BLOCK_TENSORS
        if not any(f"blk.{block}.{name}.weight" in names for name in either)
    ]
