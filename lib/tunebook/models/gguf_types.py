"""The tensor types of GGUF: elements and bytes of a block, and where its 16-bit scales stand; and the types of the keys and the
tensors and numbers without which llama.cpp refuses a file or aborts: each function gives a sentence an objection.

Source: ggml/include/ggml.h (enum ggml_type) and the block structures of ggml/src/ggml-common.h in llama.cpp;
src/llama-model.cpp, src/llama-vocab.cpp and src/llama-arch.cpp for keys and tensors.
"""

import math
from typing import NamedTuple


class TensorType(NamedTuple):
    """`scales` are byte offsets of float16 numbers in a block; a type without any is not searched for NaN."""

    name: str
    block: int
    size: int
    scales: tuple[int, ...] = ()


TYPES = {
    0: TensorType("F32", 1, 4), 1: TensorType("F16", 1, 2), 28: TensorType("F64", 1, 8), 30: TensorType("BF16", 1, 2),
    24: TensorType("I8", 1, 1), 25: TensorType("I16", 1, 2), 26: TensorType("I32", 1, 4), 27: TensorType("I64", 1, 8),
    2: TensorType("Q4_0", 32, 18, (0,)), 3: TensorType("Q4_1", 32, 20, (0, 2)), 6: TensorType("Q5_0", 32, 22, (0,)),
    7: TensorType("Q5_1", 32, 24, (0, 2)), 8: TensorType("Q8_0", 32, 34, (0,)), 9: TensorType("Q8_1", 32, 40),
    10: TensorType("Q2_K", 256, 84, (80, 82)), 11: TensorType("Q3_K", 256, 110, (108,)),
    12: TensorType("Q4_K", 256, 144, (0, 2)), 13: TensorType("Q5_K", 256, 176, (0, 2)),
    14: TensorType("Q6_K", 256, 210, (208,)), 15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66, (0,)), 17: TensorType("IQ2_XS", 256, 74, (0,)),
    18: TensorType("IQ3_XXS", 256, 98, (0,)), 19: TensorType("IQ1_S", 256, 50, (0,)),
    20: TensorType("IQ4_NL", 32, 18, (0,)), 21: TensorType("IQ3_S", 256, 110, (0,)),
    22: TensorType("IQ2_S", 256, 82, (0,)), 23: TensorType("IQ4_XS", 256, 136, (0,)), 29: TensorType("IQ1_M", 256, 56),
    34: TensorType("TQ1_0", 256, 54, (52,)), 35: TensorType("TQ2_0", 256, 66, (64,)), 39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36), 41: TensorType("Q1_0", 128, 18),
}  # fmt: skip

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
RMS_EPSILON, EPSILONS = (
    "attention.layer_norm_rms_epsilon",
    ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
)
NEEDED = ("block_count", "context_length", "embedding_length", "attention.head_count")
LONGEST_ARCHITECTURE = 100  # characters


def short(value) -> str:
    """A value from a file as a message shows it: its repr, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:56] + "..." + text[0]


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
