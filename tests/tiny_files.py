"""Small GGUF and safetensors files written by hand, so that a test can break any byte of them."""

import json
import struct

CODES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8, "arr": 9, "u64": 10}
FORMATS = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "bool": "B", "u64": "Q"}
WIDTH, WORDS = 8, ("<s>", "</s>", "a", "b")
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def value(kind: str, content) -> bytes:
    """A metadata value with its type; an array is ("arr", (element type, contents))."""
    return struct.pack("<I", CODES[kind]) + _content(kind, content)


def _content(kind, content):
    if kind == "str":
        return text(content)
    if kind == "arr":
        element, contents = content
        return struct.pack("<IQ", CODES[element], len(contents)) + b"".join(_content(element, one) for one in contents)
    return struct.pack("<" + FORMATS[kind], content)


def metadata(**changes) -> dict:
    """What a llama.cpp file needs; a change with value None removes the key (dots are written as __)."""
    pairs = {
        "general.architecture": ("str", "llama"),
        "llama.block_count": ("u32", 1),
        "llama.context_length": ("u32", 64),
        "llama.embedding_length": ("u32", WIDTH),
        "llama.attention.head_count": ("u32", 2),
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.tokens": ("arr", ("str", list(WORDS))),
        "tokenizer.ggml.scores": ("arr", ("f32", [0.0] * len(WORDS))),
        "tokenizer.ggml.token_type": ("arr", ("i32", [1] * len(WORDS))),
        "tokenizer.ggml.bos_token_id": ("u32", 0),
        "tokenizer.ggml.eos_token_id": ("u32", 1),
        "tokenizer.chat_template": ("str", TEMPLATE),
    }
    pairs |= {name.replace("__", "."): new for name, new in changes.items()}
    return {name: pair for name, pair in pairs.items() if pair is not None}


def gguf(pairs=None, tensors=None, version=3, counts=None, data=None, magic=b"GGUF", alignment=32, extra=b"") -> bytes:
    """A GGUF file. `tensors` are (name, dims, type, offset); `extra` goes between metadata and tensors."""
    pairs = metadata() if pairs is None else pairs
    tensors = [("token_embd.weight", (WIDTH, len(WORDS)), 0, 0)] if tensors is None else tensors
    n_tensors, n_pairs = counts or (len(tensors), len(pairs))
    items = pairs.items() if isinstance(pairs, dict) else pairs
    head = magic + struct.pack("<IQQ", version, n_tensors, n_pairs)
    head += b"".join(text(key) + (raw if isinstance(raw, bytes) else value(*raw)) for key, raw in items) + extra
    for name, dims, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)
    body = struct.pack(f"<{WIDTH * len(WORDS)}f", *range(1, WIDTH * len(WORDS) + 1)) if data is None else data
    return head + bytes(-len(head) % alignment) + body


def safetensors(header=None, data=bytes(range(1, 17)), length=None, raw=None) -> bytes:
    """A safetensors file with one tensor of four numbers, or with the given header."""
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    text_ = raw if raw is not None else json.dumps({"a.weight": entry} if header is None else header).encode()
    return struct.pack("<Q", len(text_) if length is None else length) + text_ + data
