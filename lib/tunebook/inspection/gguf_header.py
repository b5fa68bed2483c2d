"""Reads the header of a GGUF file as strictly as llama.cpp does, and stricter: every count is compared with the file's
size first.

Meant for a child process (see `limited`). Knows the format (versions 2 and 3, little-endian), not what a model needs:
that is `gguf_checks`. Source: docs/gguf.md in ggml; ggml/src/gguf.cpp in llama.cpp.
"""

import os
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

MAGIC = b"GGUF"
# type number -> struct format; 7 is bool, 8 string, 9 array
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, BOOL, UINT32 = 8, 9, 7, 4
LONGEST_ARRAY = 2**24  # elements; a large vocabulary has 300,000
LONGEST_STRING = 16 * 2**20
LONGEST_KEY = 65535
LONGEST_NAME = 63
MOST_DIMS = 4
LARGEST = 2**63 - 1
DEFAULT_ALIGNMENT = 32  # bytes; llama.cpp aborts on less


class Malformed(Exception):
    """The file breaks the format: `check` is a short name, the message one sentence with the place in the file."""

    def __init__(self, check: str, message: str):
        super().__init__(message)
        self.check = check


@dataclass(frozen=True)
class Tensor:
    """One tensor: `dims` innermost first, `start` is its first byte in the file."""

    name: str
    dims: tuple[int, ...]
    kind: int
    start: int
    bytes: int


@dataclass
class Header:
    """`metadata` maps keys to values (arrays to lists), `kinds` keys to their type, `arrays` array keys to their
    element type.
    """

    version: int
    metadata: dict
    alignment: int = DEFAULT_ALIGNMENT
    tensors: list[Tensor] = field(default_factory=list)
    arrays: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    data_start: int = 0
    file_bytes: int = 0


class _Reader:
    def __init__(self, stream, size: int):
        self.stream, self.size, self.at = stream, size, 0

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            raise Malformed(
                "truncated", f"it ends in {what}: {count} bytes needed at byte {self.at}, {self.size - self.at} left"
            )
        data = self.stream.read(count)
        if len(data) != count:
            raise Malformed("truncated", f"it ends in {what} at byte {self.at}")
        self.at += count
        return data

    def number(self, code: str, what: str):
        return struct.unpack("<" + code, self.take(struct.calcsize(code), what))[0]

    def string(self, what: str, longest: int = LONGEST_STRING) -> str:
        start, length = self.at, self.number("Q", what)
        if length > longest:
            raise Malformed("length", f"{what} at byte {start} claims {length} bytes; at most {longest} are read")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("utf8", f"{what} at byte {start} is not UTF-8") from None


def read_gguf(path: str) -> Header:
    """The header of the file, every tensor's place checked. Raises Malformed for the first thing that is wrong."""
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        reader = _Reader(stream, size)
        version = _version(reader)
        n_tensors, n_pairs = reader.number("Q", "the tensor count"), reader.number("Q", "the metadata count")
        # the smallest tensor entry has 33 bytes (a name of one), the smallest pair 14
        for count, least, what in ((n_tensors, 33, "tensors"), (n_pairs, 14, "metadata pairs")):
            if count > size // least:
                raise Malformed("count", f"it claims {count} {what}, more than fit into its {size} bytes")
        header = Header(version, {}, file_bytes=size)
        for _ in range(n_pairs):
            _read_pair(reader, header)
        header.alignment = _alignment(header)
        entries = [_read_entry(reader, number) for number in range(n_tensors)]
        header.data_start = _padded(reader.at, header.alignment)
        _place_tensors(header, entries)
    return header


def _version(reader: _Reader) -> int:
    magic = reader.take(min(4, reader.size), "the magic number") if reader.size else b""
    if magic != MAGIC:
        found = "it is empty" if not magic else f"it begins with {magic!r}"
        raise Malformed("magic", f"{found}, a GGUF file begins with b'GGUF'")
    version = reader.number("I", "the version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if swapped in (1, 2, 3):
            raise Malformed("big_endian", "it is a big-endian file, only little-endian ones are read")
        raise Malformed("version", f"it has GGUF version {version}, versions 2 and 3 are read")
    return version


def _read_pair(reader: _Reader, header: Header) -> None:
    start = reader.at
    key = reader.string("a metadata key", LONGEST_KEY)
    if not key:
        raise Malformed("key", f"the metadata key at byte {start} is empty")
    if key in header.metadata:
        raise Malformed("duplicate_key", f"the metadata key {short_value(key)} is there twice")
    kind, what = reader.number("I", "a value type"), f"the value of {short_value(key)}"
    header.kinds[key] = kind
    if kind != ARRAY:
        header.metadata[key] = _value(reader, kind, what)
        return
    element, count = reader.number("I", what), reader.number("Q", what)
    if element == ARRAY:
        raise Malformed("nested_array", f"{what} is an array of arrays, which no loader reads")
    least = 8 if element == STRING else struct.calcsize(SCALARS[element]) if element in SCALARS else 0
    if not least:
        raise Malformed("value_type", f"{what} has elements of the unknown type {element}")
    if count > (reader.size - reader.at) // least:
        raise Malformed("length", f"{what} claims {count} elements, more than the file has bytes for")
    if count > LONGEST_ARRAY:
        raise Malformed("length", f"{what} claims {count} elements, at most {LONGEST_ARRAY} are read")
    header.arrays[key] = element
    if element == STRING:
        header.metadata[key] = [reader.string(f"an element of {short_value(key)}") for _ in range(count)]
    else:
        data = reader.take(count * least, what)
        header.metadata[key] = list(struct.unpack(f"<{count}{SCALARS[element]}", data))


def _value(reader: _Reader, kind: int, what: str):
    if kind == STRING:
        return reader.string(what)
    if kind not in SCALARS:
        raise Malformed("value_type", f"{what} has the unknown type {kind}")
    value = reader.number(SCALARS[kind], what)
    if kind == BOOL:
        if value > 1:
            raise Malformed("bool", f"{what} is a bool of {value}, which is neither 0 nor 1")
        return bool(value)
    return value


def _alignment(header: Header) -> int:
    value = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    is_number = header.kinds.get("general.alignment", UINT32) == UINT32
    if not is_number or value < DEFAULT_ALIGNMENT or value & (value - 1):
        raise Malformed(
            "alignment", f"general.alignment is {short_value(value)}, it must be a uint32 and a power of two from 32 on"
        )
    return value


def _read_entry(reader: _Reader, number: int) -> tuple[str, tuple[int, ...], int, int]:
    name = reader.string(f"the name of tensor {number}")
    what = f"tensor {short_value(name)}"
    if not name or len(name.encode()) > LONGEST_NAME:
        raise Malformed("tensor_name", f"the name of tensor {number} has {len(name.encode())} bytes, 1 to 63 are read")
    n_dims = reader.number("I", what)
    if not 1 <= n_dims <= MOST_DIMS:
        raise Malformed("n_dims", f"{what} has {n_dims} dimensions, 1 to {MOST_DIMS} are read")
    dims = struct.unpack(f"<{n_dims}Q", reader.take(8 * n_dims, what))
    return name, dims, reader.number("I", what), reader.number("Q", what)


def _place_tensors(header: Header, entries: list) -> None:
    """Each tensor must begin where the one before it ended, as llama.cpp demands, and lie in the file."""
    seen, expected = set(), 0
    for name, dims, kind, offset in entries:
        what = f"tensor {short_value(name)}"
        if name in seen:
            raise Malformed("duplicate_tensor", f"{what} is there twice")
        seen.add(name)
        size = _bytes_of(what, dims, kind)
        if offset % header.alignment:
            raise Malformed("offset", f"{what} begins at {offset}, no multiple of the alignment {header.alignment}")
        if offset != expected:
            how = "overlaps the tensor before it" if offset < expected else "leaves a gap before it"
            raise Malformed("offset", f"{what} begins at {offset}, expected {expected}: it {how}")
        if header.data_start + offset + size > header.file_bytes:
            raise Malformed(
                "truncated",
                f"{what} needs bytes up to {header.data_start + offset + size}, the file has {header.file_bytes}",
            )
        header.tensors.append(Tensor(name, dims, kind, header.data_start + offset, size))
        expected = _padded(offset + size, header.alignment)


def _bytes_of(what: str, dims: tuple[int, ...], kind: int) -> int:
    if kind not in TYPES:
        raise Malformed("tensor_type", f"{what} has the unknown type {kind}")
    count = 1
    for dim in dims:
        if dim == 0:
            raise Malformed("dims", f"{what} has a dimension of 0")
        count *= dim
        if count > LARGEST:
            raise Malformed("dims", f"{what} has more than 2^63 elements")
    if dims[0] % TYPES[kind].block:
        raise Malformed(
            "dims", f"{what} has rows of {dims[0]}, {TYPES[kind].name} needs a multiple of {TYPES[kind].block}"
        )
    return count // TYPES[kind].block * TYPES[kind].size


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def short_value(value) -> str:
    """A value from a file as a message shows it: its repr, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:56] + "..." + text[0]


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
