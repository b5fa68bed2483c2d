"""The tensor types of GGUF: elements and bytes of a block, and where its 16-bit scales stand. A table, no code.

Source: ggml/include/ggml.h (enum ggml_type) and the block structures of ggml/src/ggml-common.h in llama.cpp.
"""

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
