"""Makes a GGUF file from another with one thing wrong, as a careless export would; every change keeps its length."""

import struct

import numpy

from tiny_files import text
from tunebook.inspection.gguf_header import read_gguf

FORMATS = {4: "<I", 5: "<i", 7: "<B"}


def rewrite(source, target, metadata: dict | None = None, tensors: dict | None = None):
    """A copy of `source` with other metadata values, and float16 matrices passed through functions of their numbers."""
    data = bytearray(source.read_bytes())
    for key, value in (metadata or {}).items():
        place = data.index(text(key)) + len(text(key))
        kind = struct.unpack_from("<I", data, place)[0]
        old = struct.unpack_from("<Q", data, place + 4)[0] if kind == 8 else 0
        new = text(value.ljust(old)) if kind == 8 else struct.pack(FORMATS[kind], value)
        assert kind != 8 or len(new) == 8 + old, f"{key} must keep its length"
        data[place + 4 : place + 4 + len(new)] = new
    for tensor in read_gguf(str(source)).tensors:
        if tensor.name in (tensors or {}):
            numbers = numpy.frombuffer(data, "<f2", tensor.bytes // 2, tensor.start).reshape(tensor.dims[::-1])
            changed = numpy.ascontiguousarray(tensors[tensor.name](numbers)).tobytes()
            data[tensor.start : tensor.start + tensor.bytes] = changed
    target.write_bytes(data)
    return target
