"""What a server's memory of read tokens (the KV cache) will take, from the header of the file, before it is allocated.

Not predicted for models that keep another state than keys and values in every layer; nothing is refused then.
"""

from __future__ import annotations

from pathlib import Path

from tunebook.errors import MachineProblem
from tunebook.inspection.gguf_header import Header, read_gguf

CELL_BYTES = 2  # of a number: llama.cpp keeps keys and values as float16 unless it is told otherwise
CELLS_AT_ONCE = 256  # llama.cpp rounds a context up to a multiple of it
# signs of a state, or of layers, that the formula does not know: latent attention, layers that share, recurrent layers
OTHER = "kv_lora_rank shared_kv_layers length_swa indexer nextn ssm. shortconv. wkv time_ kda".split()
GIB = 2**30


def cells(slots: int, context: int) -> int:
    """Tokens that `slots` sequences of `context` tokens take, as llama.cpp rounds them.

    >>> cells(3, 100)
    512
    """
    return -(-slots * context // CELLS_AT_ONCE) * CELLS_AT_ONCE


def kv_bytes(header: Header, tokens: int) -> int | None:
    """Bytes of keys and values of `tokens`: over the layers, KV heads x (key + value size) x 2. None where a model
    keeps something else. Source: llama.cpp, src/llama-kv-cache.cpp and llama-hparams.cpp.
    """
    own = {key.partition(".")[2]: value for key, value in header.metadata.items()}
    layers, heads = own.get("block_count"), own.get("attention.head_count")
    if not layers or not heads or any(sign in key for key in own for sign in OTHER):
        return None
    kv_heads = own.get("attention.head_count_kv", heads)
    size = own["embedding_length"] // (max(heads) if isinstance(heads, list) else heads)
    both = own.get("attention.key_length", size) + own.get("attention.value_length", size)
    total = sum(kv_heads[:layers]) if isinstance(kv_heads, list) else layers * kv_heads
    return tokens * total * both * CELL_BYTES


def plan_memory(base: Path, slots: int, context: int) -> str:
    """One sentence with the bytes that `slots` sequences of `context` tokens will take of the memory that is free.

    MachineProblem, with what would fit, where they exceed it.
    """
    import psutil

    tokens, free = cells(slots, context), psutil.virtual_memory().available
    size = kv_bytes(read_gguf(str(base)), tokens)
    what = f"{slots} slots of {context} tokens"
    if size is None:
        return f"{what}: their memory is not known from this file's header"
    if size > free:
        fits = free // (size // tokens) // slots
        raise MachineProblem(
            f"--slots and --context: {what} take {size / GIB:.1f} GiB for keys and values, {free / GIB:.1f} GiB are"
            f" free: at most {fits} tokens fit at {slots} slots; lower one of them"
        )
    return f"{what} take {size / GIB:.2f} GiB for keys and values ({size // tokens} bytes a token)"
