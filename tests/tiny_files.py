"""Small GGUF and safetensors files written by hand, so that a test can break any byte of them."""

import json
import struct

CODES = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8, "arr": 9, "u64": 10}
FORMATS = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "bool": "B", "u64": "Q"}
WIDTH, WORDS = 8, ("<s>", "</s>", "a", "b")
BLOCK = {
    name: (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
}
BLOCK = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), **BLOCK}
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
        "llama.attention.layer_norm_rms_epsilon": ("f32", 1e-5),
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


def whole(words: int = len(WORDS)) -> list[tuple]:
    """The tensors of a model of one block: name, dims, type, offset."""
    shapes = {"token_embd": (WIDTH, words), "output_norm": (WIDTH,)}
    shapes |= {f"blk.0.{name}": dims for name, dims in BLOCK.items()}
    tensors, offset = [], 0
    for name, dims in shapes.items():
        tensors.append((f"{name}.weight", dims, 0, offset))
        offset += 4 * dims[0] * (dims[1] if len(dims) > 1 else 1)
    return tensors


def gguf(pairs=None, tensors=None, version=3, counts=None, data=None, magic=b"GGUF", alignment=32, extra=b"") -> bytes:
    """A GGUF file: a model of one block, or one of the given `tensors` (name, dims, type, offset), the embedding alone
    where only `data` is given. `extra` goes between metadata and tensors.
    """
    pairs = metadata() if pairs is None else pairs
    numbers = WIDTH * (len(WORDS) + 3 + 7 * WIDTH) if tensors is None else WIDTH * len(WORDS)
    if tensors is None:
        tensors = whole() if data is None else whole()[:1]
    n_tensors, n_pairs = counts or (len(tensors), len(pairs))
    items = pairs.items() if isinstance(pairs, dict) else pairs
    head = magic + struct.pack("<IQQ", version, n_tensors, n_pairs)
    head += b"".join(text(key) + (raw if isinstance(raw, bytes) else value(*raw)) for key, raw in items) + extra
    for name, dims, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)
    body = struct.pack(f"<{numbers}f", *range(1, numbers + 1)) if data is None else data
    return head + bytes(-len(head) % alignment) + body


def loadable(words=WORDS, **changes) -> bytes:
    """A GGUF file that llama.cpp opens and generates with: its vocabulary has every byte after the four `words`."""
    words = [*words, *(f"<0x{byte:02X}>" for byte in range(256))]
    pairs = {
        "llama__feed_forward_length": ("u32", WIDTH),
        "tokenizer__ggml__tokens": ("arr", ("str", words)),
        "tokenizer__ggml__scores": ("arr", ("f32", [0.0] * len(words))),
        "tokenizer__ggml__token_type": ("arr", ("i32", [3, 3, 1, 1, *[6] * 256])),
    }
    numbers = WIDTH * (len(words) + 3 + 7 * WIDTH)
    data = struct.pack(f"<{numbers}f", *(0.01 * (number % 7 + 1) for number in range(numbers)))
    return gguf(metadata(**(pairs | changes)), whole(len(words)), data=data)


def safetensors(header=None, data=bytes(range(1, 17)), length=None, raw=None) -> bytes:
    """A safetensors file with one tensor of four numbers, or with the given header."""
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    text_ = raw if raw is not None else json.dumps({"a.weight": entry} if header is None else header).encode()
    return struct.pack("<Q", len(text_) if length is None else length) + text_ + data
