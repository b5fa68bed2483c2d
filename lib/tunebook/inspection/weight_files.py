"""Reads the header of a safetensors file strictly: length, JSON, types, shapes and places are compared with the file's
size. Says which files of a folder hold the weights that are loaded.

Meant for a child process (see `limited`). Also looks through weights for NaN and infinity. Source: the
format section of the safetensors README, and its `SafeTensors::read_metadata`.
"""

import math
import os
import re
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import LooseJson, strict_json
from tunebook.findings import Objections
from tunebook.inspection.gguf_header import Malformed

LONGEST_HEADER = 100_000_000
LONGEST_JSON = 64 * 2**20
BOM = b"\xef\xbb\xbf"
MOST_DIMS = 32
LARGEST = 2**63 - 1
# dtype -> bits of an element
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
BITS |= {"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32}
BITS |= {"I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


def read_safetensors(path: str) -> dict:
    """`metadata` (text to text) and `tensors`: name -> (dtype, shape, first byte in the file, bytes), in file order.

    Raises Malformed for the first thing that is wrong.
    """
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size < 8:
            what = "it is empty" if not size else f"it has {size} bytes"
            raise Malformed(
                "truncated", f"{what}, a safetensors file begins with 8 bytes that give its header's length"
            )
        length = int.from_bytes(stream.read(8), "little")
        if length > min(LONGEST_HEADER, size - 8):
            raise Malformed(
                "length", f"it claims a header of {length} bytes, the file has {size - 8} after that number"
            )
        text = stream.read(length)
    if not text.startswith(b"{"):
        raise Malformed("magic", f"its header begins with {text[:4]!r}, expected '{{': it is no safetensors file")
    header = _parse(text)
    metadata = header.pop("__metadata__", {})
    is_text = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if not is_text:
        raise Malformed("metadata", "__metadata__ is no map from text to text")
    return {"metadata": metadata, "tensors": _places(header, 8 + length, size)}


def parse_strict(text: bytes, what: str):
    """JSON in which no key is there twice. Raises Malformed; `what` begins the sentence."""

    try:
        return strict_json(text.decode("utf-8"), has_infinity=True)  # Mamba's config.json has it
    except LooseJson:
        raise Malformed("duplicate_key", f"{what} has a key twice") from None
    except UnicodeDecodeError:
        raise Malformed("utf8", f"{what} is not UTF-8") from None
    except RecursionError:
        raise Malformed("json", f"{what} is nested too deeply") from None
    except ValueError as problem:
        raise Malformed("json", f"{what} is not JSON ({str(problem)[:80]})") from None


def read_small_json(path: Path) -> dict:
    """One JSON object of at most 64 MiB. Raises Malformed."""
    if path.stat().st_size > LONGEST_JSON:
        raise Malformed("length", f"{path.name} has {path.stat().st_size} bytes; at most {LONGEST_JSON} are read")
    value = parse_strict(path.read_bytes().removeprefix(BOM), path.name)
    if not isinstance(value, dict):
        raise Malformed("json", f"{path.name} is no JSON object")
    return value


def loaded_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder that are loaded, in name order: those that the index of its parts names, for
    other ones hold the same weights again (Mistral's consolidated.safetensors). All where no index can be read.
    """
    files, index = sorted(folder.glob("*.safetensors")), folder / "model.safetensors.index.json"
    others = ("model.safetensors", "adapter_config.json")  # what is loaded in its stead
    if any((folder / name).exists() for name in others) or not index.is_file():
        return files
    try:
        places = read_small_json(index).get("weight_map")
    except (Malformed, OSError):
        return files
    named = [file for file in places.values() if isinstance(file, str)] if isinstance(places, dict) else []
    return [path for path in files if path.name in named] or files


def _parse(text: bytes) -> dict:
    header = parse_strict(text, "its header")
    if not isinstance(header, dict):
        raise Malformed("json", "its header is no JSON object")
    return header


def _places(header: dict, start: int, size: int) -> dict[str, tuple]:
    entries = [(name, *_entry(name, entry)) for name, entry in header.items()]
    expected, found = 0, {}
    for name, kind, shape, begin, end in sorted(entries, key=lambda entry: entry[3:]):
        what = f"tensor {name[:60]!r}"
        if begin != expected:
            how = "overlaps another tensor" if begin < expected else "leaves a gap before it"
            raise Malformed("offset", f"{what} begins at {begin}, expected {expected}: it {how}")
        if start + end > size:
            raise Malformed("truncated", f"{what} ends at byte {start + end}, the file has {size}")
        found[name] = (kind, shape, start + begin, end - begin)
        expected = end
    if start + expected != size:
        raise Malformed("trailing_bytes", f"{size - start - expected} bytes follow the last tensor")
    return found


def _entry(name: str, entry) -> tuple[str, list[int], int, int]:
    what = f"tensor {name[:60]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Malformed("entry", f"{what} needs dtype, shape and data_offsets, and nothing else")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in BITS:
        raise Malformed("tensor_type", f"{what} has the unknown type {str(kind)[:40]!r}")
    if isinstance(shape, list) and len(shape) > MOST_DIMS:
        raise Malformed("dims", f"{what} has {len(shape)} dimensions, at most {MOST_DIMS} are read")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Malformed(
            "entry", f"{what}: shape and data_offsets must be whole numbers from 0, the end not before the begin"
        )
    count = 1
    for dim in shape:
        count *= dim
        if dim == 0 or count > LARGEST:
            raise Malformed("dims", f"{what} has a dimension of 0 or more than 2^63 elements")
    if count * BITS[kind] % 8 or count * BITS[kind] // 8 != offsets[1] - offsets[0]:
        raise Malformed(
            "dims",
            f"{what}: {shape} in {kind} needs {count * BITS[kind] / 8:.0f} bytes, its offsets give"
            f" {offsets[1] - offsets[0]}",
        )
    return kind, shape, offsets[0], offsets[1]


def _are_counts(values) -> bool:
    if not isinstance(values, list) or len(values) > MOST_DIMS:
        return False
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST for value in values)


BUFFER = re.compile(r"(attn|attention)\.(masked_)?bias$|rotary_emb\.inv_freq$|position_ids$|\.(in|out)put_m(in|ax)$")
PIECE = 16 * 2**20
FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<f4"}
# 8-bit floats: the bits to look at, and the least value of these that is no finite number
BYTES = {"F8_E4M3": (0x7F, 0x7F), "F8_E5M2": (0x7F, 0x7C), "F8_E8M0": (0xFF, 0xFF)}
BYTES |= {"F8_E4M3FNUZ": (0xFF, 0x80), "F8_E5M2FNUZ": (0xFF, 0x80)}


def scan_gguf(path: str, header) -> list[dict]:
    """Findings `not_finite` for the tensors of a GGUF file."""
    from tunebook.inspection.gguf_header import TYPES

    places = []
    for tensor in header.tensors:
        kind = TYPES[tensor.kind]
        places.append((tensor.name, tensor.start, tensor.bytes, kind.name, kind.size, kind.scales))
    return _scan(path, places)


def scan_safetensors(path: str, tensors: dict[str, tuple]) -> list[dict]:
    """Findings `not_finite` for tensors of a safetensors file, as `read_safetensors` gives them.

    Buffers beside the weights are not looked at: a mask is minus infinity, and a bound that clips nothing is infinite
    (Gemma 4's audio tower).
    """
    weights = {name: entry for name, entry in tensors.items() if not BUFFER.search(name)}
    return _scan(path, [(name, start, size, kind, 1, ()) for name, (kind, _, start, size) in weights.items()])


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
    found = Objections("do not use the file; the training that made it diverged, or the file is damaged")
    for check, severity, names, what in (
        ("not_finite", "error", bad, "hold NaN or infinity"),
        ("all_zero", "warn", zero, "are all zero"),
    ):
        if names:
            message = f"the weights of {len(names)} tensors {what}, the first is {names[0][:60]!r}"
            found.add(severity, message, check=check, count=len(names))
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
