"""Looks through weights for NaN and infinity, in pieces, so that a large file takes little memory. Meant for a child process.

Quantised blocks are judged by their 16-bit scales. Does not judge values that are only unusual.
"""

from __future__ import annotations

import math

from tunebook.errors import InputProblem

PIECE = 16 * 2**20
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<f4"}
# 8-bit floats: the bits to look at, and the least value of these that is no finite number
BYTES = {"F8_E4M3": (0x7F, 0x7F), "F8_E5M2": (0x7F, 0x7C), "F8_E8M0": (0xFF, 0xFF)}
BYTES |= {"F8_E4M3FNUZ": (0xFF, 0x80), "F8_E5M2FNUZ": (0xFF, 0x80)}
FIX = "do not use the file; the training that made it diverged, or the file is damaged"


def scan_gguf(path: str, header) -> list[dict]:
    """Findings `not_finite` for the tensors of a GGUF file."""
    from tunebook.models.gguf_types import TYPES

    places = []
    for tensor in header.tensors:
        kind = TYPES[tensor.kind]
        places.append((tensor.name, tensor.start, tensor.bytes, kind.name, kind.size, kind.scales))
    return _scan(path, places)


def scan_safetensors(path: str, entries: list[tuple[str, str, int, int]]) -> list[dict]:
    """Findings `not_finite` for tensors of a safetensors file, given as (name, dtype, first byte, bytes)."""
    return _scan(path, [(name, start, size, kind, 1, ()) for name, kind, start, size in entries])


def _scan(path: str, places: list) -> list[dict]:
    bad, zero = [], []
    with open(path, "rb") as stream:
        for name, start, size, kind, block, scales in places:
            if kind not in FLOATS and kind not in BYTES and kind != "BF16" and not scales:
                continue
            stream.seek(start)
            is_finite, is_zero = _look(stream, size, kind, block, scales)
            if not is_finite:
                bad.append(name)
            elif is_zero and name.endswith("weight"):
                zero.append(name)
    found = []
    for check, severity, names, what in (
        ("not_finite", "error", bad, "hold NaN or infinity"),
        ("all_zero", "warn", zero, "are all zero"),
    ):
        if names:
            message = f"the weights of {len(names)} tensors {what}, the first is {names[0][:60]!r}"
            row = {
                "check": check,
                "severity": severity,
                "count": len(names),
                "rows": [],
                "message": message,
                "fix": FIX,
            }
            found.append(row)
    return found


def _look(stream, size: int, kind: str, block: int, scales: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether all numbers are finite, and whether all are 0."""
    import numpy

    is_zero = True
    step = PIECE // math.lcm(block, 8) * math.lcm(block, 8)
    left = size
    while left > 0:
        data = stream.read(min(step, left))
        if len(data) < min(step, left):
            raise InputProblem("the file became shorter while it was read; look at it again when it is complete")
        left -= len(data)
        if kind == "BF16":
            bits = numpy.frombuffer(data, "<u2")
            is_finite = not numpy.any((bits & 0x7F80) == 0x7F80)
        elif kind in BYTES:
            bits, least = BYTES[kind]
            values = numpy.frombuffer(data, numpy.uint8) & bits
            is_finite = not numpy.any(values == least if bits == 0xFF else values >= least)
        elif kind in FLOATS:
            is_finite = bool(numpy.isfinite(numpy.frombuffer(data, FLOATS[kind])).all())
        else:
            rows = numpy.frombuffer(data, numpy.uint8).reshape(-1, block)
            halves = [numpy.ascontiguousarray(rows[:, at : at + 2]).view("<u2") for at in scales]
            is_finite = not any(numpy.any((half & 0x7C00) == 0x7C00) for half in halves)
        if not is_finite:
            return False, False
        is_zero = is_zero and data.count(0) == len(data)
    return True, is_zero
