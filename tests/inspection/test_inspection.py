"""Files from others: every malformed one is refused with one sentence, and the process that asked is unharmed."""

import gzip
import json
import math
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from tiny_files import TEMPLATE, WIDTH, WORDS, gguf, loadable, metadata, safetensors, text, value, whole
from tunebook.cli import main
from tunebook.errors import InputProblem
from tunebook.execution.confine import landlock_version
from tunebook.inspection import folder_checks, gguf_checks, gguf_header, limited, template_sandbox, weight_files

HUGE = 2**63
ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
EMBEDDING = ("token_embd.weight", (WIDTH, len(WORDS)), 0, 0)
NAN = struct.pack("<f", float("nan")) * (WIDTH * len(WORDS))


def two(dims=(WIDTH,), kind=0, offset=128, name="output_norm.weight"):
    return [EMBEDDING, (name, dims, kind, offset)]


def eight_bits(kind: str, data: bytes) -> bytes:
    return safetensors({"a": {"dtype": kind, "shape": [4], "data_offsets": [0, len(data)]}}, data)


def swapped() -> bytes:
    return b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64)


MALFORMED = {
    "empty": (b"", "magic"),
    "one byte": (b"G", "magic"),
    "magic alone": (b"GGUF", "truncated"),
    "other magic": (gguf(magic=b"GGML"), "magic"),
    "gzip": (gzip.compress(gguf()), "magic"),
    "version 1": (gguf(version=1), "version"),
    "version 99": (gguf(version=99), "version"),
    "big-endian": (swapped(), "big_endian"),
    "2^63 tensors": (gguf(counts=(HUGE, 12)), "count"),
    "2^64-1 pairs": (gguf(counts=(1, 2**64 - 1)), "count"),
    "more tensors than there are": (gguf(counts=(4, 12)), "truncated|utf8|length|n_dims|tensor_name"),
    "key of 2^60 bytes": (gguf([(b"", struct.pack("<Q", 2**60))], counts=(0, 1)), "key|length"),
    "empty key": (gguf({"": ("u32", 1)}), "key"),
    "string of 2^63 bytes": (gguf({"a": struct.pack("<IQ", 8, HUGE)}), "length"),
    "string past the end": (gguf({"a": struct.pack("<IQ", 8, 10**6)}), "truncated"),
    "array of 2^61 numbers": (gguf({"a": struct.pack("<IIQ", 9, 4, 2**61)}), "length"),
    "array of 2^61 texts": (gguf({"a": struct.pack("<IIQ", 9, 8, 2**61)}), "length"),
    "array of arrays": (gguf({"a": struct.pack("<IIQ", 9, 9, 1)}), "nested_array"),
    "array of unknown type": (gguf({"a": struct.pack("<IIQ", 9, 77, 1)}), "value_type"),
    "unknown value type": (gguf({"a": struct.pack("<I", 13) + bytes(8)}), "value_type"),
    "bool of 2": (gguf({"a": ("bool", 2)}), "bool"),
    "key not UTF-8": (gguf([(b"\xff\xfe", ("u32", 1))]), "utf8"),
    "value not UTF-8": (gguf({"a": ("str", b"\xff")}), "utf8"),
    "token not UTF-8": (gguf(metadata(tokenizer__ggml__tokens=("arr", ("str", [b"\xff", "b", "c", "d"])))), "utf8"),
    "key twice": (gguf([*metadata().items(), ("llama.block_count", ("u32", 2))]), "duplicate_key"),
    "alignment 0": (gguf({"general.alignment": ("u32", 0)}), "alignment"),
    "alignment 24": (gguf({"general.alignment": ("u32", 24)}), "alignment"),
    "alignment as text": (gguf({"general.alignment": ("str", "32")}), "alignment"),
    "alignment 8, on which llama.cpp aborts": (gguf({"general.alignment": ("u32", 8)}), "alignment"),
    "alignment of 64 bits": (gguf({"general.alignment": ("u64", 32)}), "alignment"),
    "alignment as bool": (gguf({"general.alignment": ("bool", 1)}), "alignment"),
    "tensor twice": (gguf(tensors=[EMBEDDING, (*EMBEDDING[:3], 128)], data=bytes(256)), "duplicate_tensor"),
    "tensor without name": (gguf(tensors=[("", (WIDTH,), 0, 0)]), "tensor_name"),
    "tensor name of 70": (gguf(tensors=[("a" * 70, (WIDTH,), 0, 0)]), "tensor_name"),
    "no dimensions": (gguf(tensors=[("a", (), 0, 0)]), "n_dims"),
    "five dimensions": (gguf(tensors=[("a", (1, 1, 1, 1, 1), 0, 0)]), "n_dims"),
    "dimension 0": (gguf(tensors=[("a", (0, 4), 0, 0)]), "dims"),
    "dimensions overflow": (gguf(tensors=[("a", (2**32, 2**32), 0, 0)]), "dims"),
    "dimensions wrap to 1": (gguf(tensors=[("a", (2**63 + 1, 2), 0, 0)]), "dims"),
    "half a block": (gguf(tensors=[("a", (WIDTH, 4), 8, 0)]), "dims"),
    "unknown tensor type": (gguf(tensors=[("a", (WIDTH,), 99, 0)]), "tensor_type"),
    "removed tensor type": (gguf(tensors=[("a", (WIDTH,), 4, 0)]), "tensor_type"),
    "offset not aligned": (gguf(tensors=two(offset=130), data=bytes(256)), "offset"),
    "tensors overlap": (gguf(tensors=two(offset=96), data=bytes(256)), "offset"),
    "gap between tensors": (gguf(tensors=two(offset=160), data=bytes(256)), "offset"),
    "offset past the file": (gguf(tensors=[("a", (WIDTH,), 0, 2**62)]), "offset"),
    "data missing": (gguf(data=b""), "truncated"),
    "one byte missing": (gguf()[:-1], "truncated"),
}
DOUBTFUL = {
    "no architecture": (metadata(general__architecture=None), {}, "architecture"),
    "architecture as number": (metadata(general__architecture=("u32", 1)), {}, "architecture"),
    "no tokenizer": (metadata(tokenizer__ggml__tokens=None), {}, "tokenizer"),
    "tokens as text": (metadata(tokenizer__ggml__tokens=("str", "a")), {}, "tokenizer"),
    "a token twice": (
        metadata(tokenizer__ggml__tokens=("arr", ("str", ["<s>", "</s>", "a", "a"]))),
        {},
        "doubled_tokens",
    ),
    "a zero byte in a token": (
        metadata(tokenizer__ggml__tokens=("arr", ("str", ["<s>", "</s>", "a", "a\0"]))),
        {},
        "tokenizer",
    ),
    "tokenizer none": (metadata(tokenizer__ggml__model=("str", "none")), {}, "tokenizer"),
    "tokenizer as number": (metadata(tokenizer__ggml__model=("u32", 1)), {}, "key_type"),
    "types as texts": (metadata(tokenizer__ggml__token_type=("arr", ("str", ["1"] * 4))), {}, "tokenizer"),
    "add_bos_token as text": (metadata(tokenizer__ggml__add_bos_token=("str", "true")), {}, "key_type"),
    "no blocks": (metadata(llama__block_count=("u32", 0)), {}, "hyperparameter"),
    "513 blocks": (metadata(llama__block_count=("u32", 513)), {}, "hyperparameter"),
    "two blocks, one there": (metadata(llama__block_count=("u32", 2)), {}, "tensors"),
    "a tensor of the block missing": (metadata(), {"tensors": whole()[:-1], "data": bytes(4096)}, "tensors"),
    "epsilon NaN": (metadata(llama__attention__layer_norm_rms_epsilon=("f32", float("nan"))), {}, "hyperparameter"),
    "epsilon below 0": (metadata(llama__attention__layer_norm_rms_epsilon=("f32", -1.0)), {}, "hyperparameter"),
    "no epsilon": (metadata(llama__attention__layer_norm_rms_epsilon=None), {}, "hyperparameter"),
    "part 9 of 3": (metadata(split__no=("u16", 9), split__count=("u16", 3)), {}, "split"),
    "parts without a number": (metadata(split__count=("u16", 3)), {}, "split"),
    "parts as text": (metadata(split__no=("str", "0"), split__count=("u16", 3)), {}, "key_type"),
    "scores too short": (metadata(tokenizer__ggml__scores=("arr", ("f32", [0.0]))), {}, "tokenizer"),
    "types too long": (metadata(tokenizer__ggml__token_type=("arr", ("i32", [1] * 9))), {}, "tokenizer"),
    "scores NaN": (metadata(tokenizer__ggml__scores=("arr", ("f32", [float("nan")] * 4))), {}, "tokenizer"),
    "no merges": (metadata(tokenizer__ggml__model=("str", "gpt2")), {}, "tokenizer"),
    "end token out of range": (metadata(tokenizer__ggml__eos_token_id=("u32", 4)), {}, "special_token"),
    "begin token negative": (metadata(tokenizer__ggml__bos_token_id=("i32", -1)), {}, "special_token"),
    "begin token as text": (metadata(tokenizer__ggml__bos_token_id=("str", "<s>")), {}, "special_token"),
    "no block count": (metadata(llama__block_count=None), {}, "hyperparameter"),
    "width as text": (metadata(llama__embedding_length=("str", "8")), {}, "hyperparameter"),
    "another width": (metadata(llama__embedding_length=("u32", 16)), {}, "hyperparameter"),
    "no tensors": (metadata(), {"tensors": [], "data": b""}, "tensors"),
    "no embedding": (metadata(), {"tensors": [("a", (WIDTH,), 0, 0)]}, "tensors"),
    "embedding too short": (metadata(), {"tensors": [("token_embd.weight", (WIDTH, 3), 0, 0)]}, "vocabulary_size"),
    "NaN": (metadata(), {"data": NAN}, "not_finite"),
    "infinity in float16": (metadata(), {"tensors": [(*EMBEDDING[:2], 1, 0)], "data": b"\x00\x7c" * 32}, "not_finite"),
    "NaN in bfloat16": (metadata(), {"tensors": [(*EMBEDDING[:2], 30, 0)], "data": b"\xc0\x7f" * 32}, "not_finite"),
    "NaN in a scale": (
        metadata(llama__embedding_length=("u32", 32)),
        {"tensors": [("token_embd.weight", (32, 4), 8, 0)], "data": (b"\x00\x7e" + bytes(32)) * 4},
        "not_finite",
    ),
}
SAFETENSORS = {
    "empty": (b"", "truncated"),
    "seven bytes": (bytes(7), "truncated"),
    "length 2^63": (safetensors(length=HUGE), "length"),
    "length past the end": (safetensors(length=10**6), "length"),
    "no JSON": (safetensors(raw=b"{no json"), "json"),
    "a list": (safetensors(raw=b"[]"), "magic"),
    "nested": (safetensors(raw=b'{"a":' + b"[" * 100_000), "json"),
    "not UTF-8": (safetensors(raw=b'{"\xff": 1}'), "utf8"),
    "tensor twice": (safetensors(raw=b'{"a": 1, "a": 1}'), "duplicate_key"),
    "number of 5000 digits": (safetensors(raw=b'{"a":' + b"9" * 5000 + b"}"), "json"),
    "metadata with numbers": (safetensors({"__metadata__": {"a": 1}}), "metadata"),
    "unknown type": (safetensors({"a": {"dtype": "F7", "shape": [4], "data_offsets": [0, 16]}}), "tensor_type"),
    "type as number": (safetensors({"a": {"dtype": 1, "shape": [4], "data_offsets": [0, 16]}}), "tensor_type"),
    "no offsets": (safetensors({"a": {"dtype": "F32", "shape": [4]}}), "entry"),
    "negative dimension": (safetensors({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}), "entry"),
    "dimension as bool": (safetensors({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}), "entry"),
    "dimension as float": (safetensors({"a": {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]}}), "entry"),
    "dimension 0": (safetensors({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}), "dims"),
    "overflow": (safetensors({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}), "dims"),
    "wrong size": (safetensors({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}), "dims"),
    "end before begin": (safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}), "entry"),
    "gap": (safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}), "offset"),
    "past the end": (safetensors({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}), "truncated"),
    "bytes after the end": (safetensors(data=bytes(17)), "trailing_bytes"),
    "overlap": (
        safetensors(
            {n: {"dtype": "F32", "shape": [3], "data_offsets": [at, at + 12]} for n, at in (("a", 0), ("b", 4))}
        ),
        "offset",
    ),
    "NaN": (safetensors(data=NAN[:16]), "not_finite"),
    "NaN of 8 bits": (eight_bits("F8_E4M3", b"\x01\x7e\xff\x02"), "not_finite"),
    "infinity of 8 bits": (eight_bits("F8_E5M2", b"\x01\x7c\x02\x03"), "not_finite"),
    "complex NaN": (eight_bits("C64", bytes(24) + NAN[:8]), "not_finite"),
    "100 dimensions": (
        safetensors({"a": {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}}, bytes(4)),
        "dims",
    ),
}


def errors(found: dict) -> set[str]:
    for row in found["findings"]:
        assert row.keys() == {"check", "severity", "count", "rows", "message", "fix"} and "\n" not in row["message"]
    return {row["check"] for row in found["findings"] if row["severity"] == "error"}


def write(path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_the_valid_files_have_no_objection(tmp_path):
    """Without it every test below would pass for a reader that refuses everything."""
    found = gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", gguf()))
    assert found["findings"] == [] and found["tokens"]["vocabulary"] == len(WORDS) and found["template"] == TEMPLATE
    assert gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", loadable()))["findings"] == []
    for content in (
        safetensors(),
        eight_bits("F8_E4M3", b"\x01\x7e\xfe\x02"),
        eight_bits("F8_E5M2", b"\x01\x7b\x02\x03"),
    ):
        assert folder_checks.inspect_file(write(tmp_path / "a.safetensors", content))["findings"] == []
    assert len(MALFORMED) + len(DOUBTFUL) + len(SAFETENSORS) > 85


def test_bounds_that_clip_nothing_are_no_damage(tmp_path):
    """Gemma 4's audio tower holds some of plus and minus infinity beside its weights."""
    for name, expected in (("model.audio_tower.layers.0.linear.input_min", set()), ("a.input_m", {"not_finite"})):
        content = safetensors(
            {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, struct.pack("<f", -math.inf)
        )
        assert errors(folder_checks.inspect_file(write(tmp_path / "a.safetensors", content))) == expected


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_gguf_is_refused(name, tmp_path):
    content, check = MALFORMED[name]
    found = errors(gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", content)))
    assert len(found) == 1 and found <= set(check.split("|"))


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_a_readable_gguf_lacks_is_an_error(name, tmp_path):
    pairs, parts, check = DOUBTFUL[name]
    assert check in errors(gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", gguf(pairs, **parts))))


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_malformed_safetensors_is_refused(name, tmp_path):
    content, check = SAFETENSORS[name]
    assert errors(folder_checks.inspect_file(write(tmp_path / "a.safetensors", content))) == {check}


def test_a_list_longer_than_any_vocabulary_is_not_read(tmp_path, monkeypatch):
    """2^34 empty texts in a hole took all of the time that a child has."""
    monkeypatch.setattr(gguf_header, "LONGEST_ARRAY", 3)
    assert errors(gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", gguf()))) == {"length"}


def test_every_truncation_is_refused(tmp_path):
    whole = gguf()
    for size in range(len(whole)):
        assert errors(gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", whole[:size]))), size


def command(capsys, *arguments: str) -> tuple[int, dict, str]:
    code = main(["inspect", *arguments, "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if shown.out else {}, shown.err


def test_the_command_prints_one_object_and_exits_by_the_findings(tmp_path, capsys):
    good, bad = write(tmp_path / "a.gguf", gguf()), write(tmp_path / "b.gguf", gguf(version=9))
    code, found, _ = command(capsys, good)
    assert code == 0 and found["findings"] == [] and found["architecture"] == "llama" and len(found["sha256"]) == 64
    code, found, _ = command(capsys, bad)
    assert code == 1 and errors(found) == {"version"}
    assert main(["inspect", bad]) == 1 and "GGUF version 9" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors", "model.gguf", "model.pt", "model.ckpt"])
@pytest.mark.parametrize("form", ["pickle", "archive"])
def test_pickles_are_refused_whatever_their_name(name, form, tmp_path, capsys):
    path = tmp_path / name
    if form == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1.0]}))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(1))
    code, found, _ = command(capsys, str(path))
    assert code == 1 and errors(found) == {"pickle"} and "was not read" in found["findings"][0]["message"]


def test_what_is_no_model_file_is_one_sentence(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "link.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    (tmp_path / "folder.gguf").mkdir()
    write(tmp_path / "notes.txt", b"hello")
    for name in ("pipe.gguf", "link.gguf", "loop.gguf", "folder.gguf", "notes.txt", "missing.safetensors"):
        code, found, problem = command(capsys, str(tmp_path / name))
        assert (code, found, problem.count("\n")) == (2, {}, 1), name
        assert problem.startswith("error: ") and name in problem


def hollow(path, start: bytes, size: int = 2**40) -> str:
    with open(path, "wb") as stream:
        stream.write(start)
        stream.truncate(size)
    return str(path)


@pytest.mark.parametrize("start", [b"", gguf(), b"GGUF" + struct.pack("<IQQ", 3, 2**32, 0)])
def test_a_hole_of_a_terabyte_is_refused_at_once(start, tmp_path, capsys):
    """It was hashed first, which takes hours."""
    for name in ("a.gguf", "a.safetensors"):
        code, found, problem = command(capsys, hollow(tmp_path / name, start))
        assert (code, found, problem.count("\n")) == (2, {}, 1) and "was never written" in problem
    good = write(tmp_path / "good.gguf", gguf())
    assert command(capsys, good, "--base", str(tmp_path / "a.gguf"))[0] == 2
    (tmp_path / "config.json").write_text("{}")
    assert main(["inspect", str(tmp_path)]) == 2 and "was never written" in capsys.readouterr().err


def test_a_large_file_is_hashed_and_scanned_only_after_its_header_was_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(limited, "LARGE_BYTES", 0)
    asked = []
    real = limited.call
    monkeypatch.setattr(
        limited, "call", lambda name, given, *rest: asked.append(given["scan"]) or real(name, given, *rest)
    )
    code, found, _ = command(capsys, write(tmp_path / "b.gguf", gguf(version=9)))
    assert (code, found["sha256"], asked) == (1, "", [False])
    code, found, _ = command(capsys, write(tmp_path / "a.gguf", gguf()))
    assert (code, len(found["sha256"]), asked) == (0, 64, [False, False, True])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    """Closed, removed or cut while it is read: the child's exit code told nothing."""
    path = tmp_path / "gone.gguf"
    with pytest.raises(InputProblem, match=r"gone.gguf cannot be read \(No such file"):
        limited.call("tunebook.inspection.gguf_checks:inspect_gguf", {"path": str(path)}, [path])
    write(path, bytes(8))
    with pytest.raises(InputProblem, match="became shorter"):
        weight_files.scan_safetensors(str(path), {"a": ("F32", [4], 0, 16)})


def test_long_values_are_cut(tmp_path, capsys):
    long = {"general__name": ("str", "n" * 10**6), "general__license": ("str", "x\n" * 10**5)}
    for changes in (long, {"general__architecture": ("str", "a" * 10**6)}, {"adapter__type": ("str", "b" * 10**6)}):
        path = write(tmp_path / "a.gguf", gguf(metadata(**changes)))
        for form in ([], ["--json"]):
            main(["inspect", path, *form])
            assert len(capsys.readouterr().out) < 8000
    path = write(tmp_path / "a.safetensors", safetensors({"__metadata__": {"a": "b" * 10**5}, "c": ENTRY}))
    assert main(["inspect", path, "--json"]) == 0 and len(capsys.readouterr().out) < 2000


def test_parts_that_are_not_there_are_named(tmp_path, capsys):
    pairs = metadata(split__no=("u16", 0), split__count=("u16", 2))
    first = write(tmp_path / "m-00001-of-00002.gguf", gguf(pairs))
    code, found, _ = command(capsys, first)
    assert code == 1 and "1 of its 2 parts are missing" in next(
        row["message"] for row in found["findings"] if row["severity"] == "error"
    )
    write(tmp_path / "m-00002-of-00002.gguf", gguf(pairs))
    assert command(capsys, first)[0] == 0


def test_a_first_part_without_tensors_is_no_fault(tmp_path):
    """`gguf-split --no-tensor-first-split` writes the metadata alone into it."""
    pairs = metadata(split__no=("u16", 0), split__count=("u16", 2))
    found = gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", gguf(pairs, tensors=[], data=b"")))
    assert errors(found) == set() and found["tokens"]["vocabulary"] == len(WORDS)


def test_every_objection_is_listed_once(tmp_path):
    pairs = metadata(general__architecture=None, general__type=("str", "adapter"))
    for content in (gguf(metadata(general__architecture=None)), gguf(pairs)):
        messages = [row["message"] for row in gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", content))["findings"]]
        assert len(set(messages)) == len(messages) and any("architecture" in message for message in messages)


def adapter_file(*tensors) -> bytes:
    """A LoRA adapter as llama.cpp's converter writes it, of tensors (name, dims)."""
    pairs = {"general.architecture": ("str", "llama"), "general.type": ("str", "adapter")}
    pairs |= {"adapter.type": ("str", "lora"), "adapter.lora.alpha": ("f32", 16.0)}
    places, end = [], 0
    for name, dims in tensors:
        places.append((name, dims, 0, end))
        end += -(-4 * math.prod(dims) // 32) * 32
    return gguf(pairs, tensors=places, data=struct.pack(f"<{end // 4}f", *[0.5] * (end // 4)))


Q = "blk.0.attn_q.weight.lora_"
EXPERTS = "blk.0.ffn_up_exps.weight.lora_"
TABLE = "token_embd.weight.lora_"


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([(Q + "a", (8, 4)), (Q + "b", (4, 8))], ""),
        ([(Q + "a", (8,)), (Q + "b", (1, 8))], ""),
        ([(Q + "a", (8, 4)), (Q + "b", (2, 8))], "attn_q.weight: the ranks of its two halves differ"),
        ([(EXPERTS + "a", (8, 4, 3)), (EXPERTS + "b", (4, 8, 3))], ""),
        ([(EXPERTS + "a", (8, 4, 3)), (EXPERTS + "b", (3, 8, 3))], "the ranks of its two halves differ"),
        ([(TABLE + "a", (4, 16)), (TABLE + "b", (4, 8))], ""),
        ([(TABLE + "a", (4, 16)), (TABLE + "b", (2, 8))], "the ranks of its two halves differ"),
        ([(Q + "a", (8, 4)), (Q + "b", (4, 8)), ("blk.0.attn_norm.weight", (8,))], ""),
        ([(Q + "a", (8, 4))], "lacks its other half"),
        ([(Q + "a", (8, 4)), (Q + "b", (4, 8)), ("blk.0.attn_q.bias", (8,))], "lacks its other half"),
    ],
)
def test_an_adapter_is_judged_as_llama_cpp_reads_it(tensors, fault, tmp_path):
    """Adapters of embeddings, of experts and with trained norms were called broken, and llama.cpp takes them."""
    found = gguf_checks.inspect_gguf(write(tmp_path / "a.gguf", adapter_file(*tensors)))
    assert found["kind"] == "gguf_adapter" and errors(found) == ({"adapter"} if fault else set())
    assert fault in "".join(row["message"] for row in found["findings"])


def test_a_pointer_of_git_lfs_is_named(tmp_path, capsys):
    path = write(tmp_path / "a.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    assert main(["inspect", path]) == 2 and "git lfs pull" in capsys.readouterr().err
    assert main(["inspect", "x" * 5000]) == 2 and len(capsys.readouterr().err) < 400


def test_what_is_no_regular_file_is_never_opened(tmp_path, capsys):
    """A pipe would hang the reader, a link to a device would fill its memory."""
    (tmp_path / "config.json").write_text("{}")
    for name in ("z.safetensors", "a.json"):
        os.mkfifo(tmp_path / name)
        assert main(["inspect", str(tmp_path)]) == 1 and "no regular file" in capsys.readouterr().out
        (tmp_path / name).unlink()
    (tmp_path / "b.json").symlink_to(tmp_path / "nowhere")
    assert main(["inspect", str(tmp_path)]) == 1 and "b.json is no regular file" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ['{"added_tokens": 5}', '{"model": {"vocab": 3}}', '{"model": 1, "added_tokens": [[]]}']
)
def test_a_tokenizer_with_values_of_another_type_is_named(tmp_path, content, capsys):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text(content)
    (tmp_path / "model.safetensors").write_bytes(safetensors())
    assert main(["inspect", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "tokenizer" in shown and "ended the child process" not in shown


def test_a_link_to_a_good_file_is_followed(tmp_path, capsys):
    """The Hub's cache is made of links."""
    write(tmp_path / "blob", gguf())
    (tmp_path / "a.gguf").symlink_to(tmp_path / "blob")
    assert command(capsys, str(tmp_path / "a.gguf"))[0] == 0


@pytest.fixture
def victims(monkeypatch):
    """A call of a function of limited_victims.py, as a parser would run."""
    tests = str(Path(__file__).parent)
    monkeypatch.setattr(limited, "START", f"import sys; sys.path.append({tests!r}); {limited.START}")
    few = limited.ChildLimits(cpu_seconds=1, wall_seconds=20, memory_bytes=2**28)
    return lambda name, files=(), **argument: limited.call(f"limited_victims:{name}", argument, [tests, *files], few)


def test_a_child_that_breaks_a_limit_leaves_one_sentence(victims):
    for name, words in (
        ("spin", "1 seconds of CPU"),
        ("fill", "256 MiB of memory"),
        ("die", "ended the child process"),
    ):
        with pytest.raises(limited.Refused, match=words):
            victims(name)


def test_the_child_reads_no_other_file(victims, tmp_path):
    """A parser that is taken over should find nothing to take."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    assert victims("reads", [secret], path=str(secret)) == {"read": True}
    if landlock_version():
        assert victims("reads", path=str(secret)) == {"read": False}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "not rendered after"),
        ("{{ 'a' * 10**10 }}", "ended the child process"),
        ("{{ ().__class__.__base__.__subclasses__() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ raise_exception('never') }}", "never"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{% for m in messages %}{{ 'ab' * 9000000 }}{% endfor %}", "longer than"),
        ("{# nothing #}", "makes no text"),
        ("{{ '\\ud800' }}", "surrogate"),
    ],
)
def test_a_hostile_template_is_an_objection(template, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tunebook.inspection.template_sandbox.SECONDS", 1.5)
    path = write(tmp_path / "a.gguf", gguf(metadata(tokenizer__chat_template=("str", template))))
    code, found, _ = command(capsys, path)
    assert code == 1 and errors(found) == {"chat_template"} and words in found["findings"][0]["message"]


def test_another_template_than_the_base_models_is_shown_as_a_diff(tmp_path, capsys):
    base = write(tmp_path / "base.gguf", gguf())
    path = write(tmp_path / "a.gguf", gguf(metadata(tokenizer__chat_template=("str", "{{ messages[0].content }}!"))))
    code, found, _ = command(capsys, path, "--base", base)
    assert code == 0 and "+{{ messages[0].content }}!" in found["template_diff"]
    assert [row["check"] for row in found["findings"]] == ["template_differs"]
    assert command(capsys, base, "--base", base)[1]["findings"] == []
    for content in (gguf()[:300], pickle.dumps(1)):
        code, found, problem = command(capsys, path, "--base", write(tmp_path / "base.gguf", content))
        assert (code, found, problem.count("\n")) == (2, {}, 1) and "base.gguf" in problem


def test_text_from_a_file_does_not_reach_the_terminal_raw(tmp_path, capsys):
    path = write(tmp_path / "a.gguf", gguf({**metadata(), "general.license": ("str", "mit\x1b[2J")}))
    assert main(["inspect", path]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_value_and_a_text_are_written_as_the_format_says():
    assert text("ab") == b"\x02" + bytes(7) + b"ab" and value("u32", 5) == b"\x04\0\0\0\x05\0\0\0"


def test_a_limited_child_finds_the_packages_that_stand_before_the_machines_own(tmp_path, monkeypatch):
    """On Colab the pins lie in a folder of their own: the child that opens a GGUF file did not see them."""
    (tmp_path / "only_there.py").write_text("def answer():\n    return {'seen': True}\n")
    with pytest.raises(limited.Refused):
        limited.call("only_there:answer", {})
    monkeypatch.setenv("TUNEBOOK_PACKAGES", str(tmp_path))
    assert limited.call("only_there:answer", {}) == {"seen": True}
    renderer = template_sandbox.Renderer("{{ messages[0].content }}")
    assert renderer.render([{"role": "user", "content": "x"}]) == "x"
    renderer.close()
