"""How fast a GGUF file is here, and how much memory it takes: measured in a process of its own, one file after the other.

Numbers of a busy machine are wrong; nothing is judged by them. Does not score.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tunebook.models.limited import Limits, call

PREFILL_TOKENS = 256
DECODED_TOKENS = 24
FOUND = {
    "kind": "gguf",
    "template": "{{ messages }}",
}  # the file was looked at before, and no template is rendered here
ENOUGH = Limits(cpu_seconds=1200, wall_seconds=900, memory_bytes=2**44)


def measure_speed(path: Path, prompts: list[list[int]], max_new_tokens: int, threads: int) -> dict:
    """`load_seconds`, tokens/s of prefill and of decoding at 1 and 8 sequences, p50 and p95 of a request in ms, `peak_bytes`."""
    argument = {"path": str(path.resolve()), "prompts": prompts, "max_new_tokens": max_new_tokens, "threads": threads}
    return call("tunebook.export.speed:measure", argument, [path], ENOUGH)


def measure(path: str, prompts: list[list[int]], max_new_tokens: int, threads: int) -> dict:
    """The same, in this process, which should have done nothing else before."""
    from tunebook.models.engine import Decoding
    from tunebook.models.gguf_engine import GgufModel

    before = peak_bytes()
    started = time.perf_counter()
    engine = GgufModel(path, 8, threads=threads, found=FOUND)
    list(engine.generate(prompts[:1], Decoding(1)))
    found = {"load_seconds": time.perf_counter() - started}
    filler = [token for prompt in prompts for token in prompt]
    long = (filler * (PREFILL_TOKENS // len(filler) + 1))[:PREFILL_TOKENS]
    stops, engine.stops = engine.stops, set()
    for sequences in (1, 8):
        # distinct first tokens, so that no sequence shares its start with another
        batch = [[at + 10, *long[: PREFILL_TOKENS // sequences - 1]] for at in range(sequences)]
        one = _timed(engine, batch, 1)
        more = _timed(engine, batch, 1 + DECODED_TOKENS)
        found[f"prefill_{sequences}"] = sum(map(len, batch)) / one
        found[f"decode_{sequences}"] = sequences * DECODED_TOKENS / max(more - one, 1e-9)
    engine.stops = stops
    times = [1000 * _timed(engine, [prompt], max_new_tokens) for prompt in prompts]
    found |= {"p50_ms": statistics.median(times), "p95_ms": sorted(times)[max(0, -(-95 * len(times) // 100) - 1)]}
    found |= {"requests": len(times), "peak_bytes": peak_bytes(), "before_bytes": before}
    engine.close()
    return found


def _timed(engine, prompts: list[list[int]], new: int) -> float:
    from tunebook.models.engine import Decoding

    started = time.perf_counter()
    list(engine.generate(prompts, Decoding(new)))
    return time.perf_counter() - started


def measure_memory(path: str, adapters: dict[str, str], others: list[str]) -> dict:
    """Peak resident bytes above an empty process, with a file, adapters on it, and other files beside it, each asked once."""
    from tunebook.models.engine import Decoding
    from tunebook.models.gguf_engine import GgufModel

    before, engines = peak_bytes(), [GgufModel(path, 1, adapters=adapters, found=FOUND)]
    engines += [GgufModel(other, 1, found=FOUND) for other in others]
    for engine in engines:
        for name in engine.adapters or [""]:
            engine.use_adapter(name)
            list(engine.generate([list(range(5, 37))], Decoding(4)))
    return {"bytes": peak_bytes() - before}


def peak_bytes() -> int:
    """The high-water mark of this process's resident memory since its program began."""
    import resource

    try:  # a child's ru_maxrss begins with its parent's
        with open("/proc/self/status", encoding="ascii") as stream:
            return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
