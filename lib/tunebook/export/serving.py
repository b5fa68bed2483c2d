"""Several adapters served from one base file, switched from request to request, against one merged file for each.

Does not judge the task.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.export.convert import convert_adapter, export_files
from tunebook.inspection.limited import ChildLimits, call
from tunebook.machine import peak_bytes
from tunebook.machine import threads as usual_threads
from tunebook.models.engine import Decoding, log_softmax
from tunebook.models.gguf_engine import GgufModel

# nats between two tokens: below it, the order of the sums in float16 decides which one is greedy's
NEAR_TIE = 0.1


def compare_served(
    base: Path, adapters: dict[str, Path], merged: dict[str, Path], conversations: list, max_new_tokens: int
) -> list[dict]:
    """One row an adapter: `adapter, n, same_text, near_ties, unexplained`, of greedy answers served from `base` against
    merged.

    The adapters take turns at every request. A different answer counts as a near-tie where the merged model sees less
    than `NEAR_TIE` nats between the two first differing tokens.
    """
    served = GgufModel(base, 1, adapters=adapters)
    prompts, decoding = [served.encode(messages) for messages in conversations], Decoding(max_new_tokens)
    answers: dict[str, list] = {name: [] for name in adapters}
    for prompt in prompts:
        for name in adapters:
            served.use_adapter(name)
            answers[name] += [next(served.generate([prompt], decoding)).ids]
    served.close()
    rows = []
    for name, path in merged.items():
        alone = GgufModel(path, 1)
        kinds = [
            compare_answer(alone, prompt, ids, decoding) for prompt, ids in zip(prompts, answers[name], strict=True)
        ]
        alone.close()
        counts = {kind: kinds.count(kind) for kind in ("same_text", "near_ties", "unexplained")}
        rows.append({"adapter": name, "n": len(prompts), **counts})
    return rows


def compare_answer(alone: GgufModel, prompt: list[int], served: list[int], decoding: Decoding) -> str:
    """Whether a greedy answer from elsewhere is the file's own: `same_text`, `near_ties` or `unexplained`."""
    own = next(alone.generate([prompt], decoding)).ids
    if own == served:
        return "same_text"
    at = next((at for at, pair in enumerate(zip(own, served)) if pair[0] != pair[1]), min(len(own), len(served)))
    ids = [*prompt, *own[:at]]
    expected = log_softmax(alone.read_logits(ids, len(ids) - 1))[0]
    first = expected.max()
    other = expected[served[at]] if at < len(served) else max(expected[stop] for stop in alone.stops)
    return "near_ties" if first - other < NEAR_TIE else "unexplained"


def compare_memory(base: Path, adapters: dict[str, Path], merged: list[Path]) -> dict:
    """Peak bytes above an empty process: `one_base` with all adapters, and `merged_files` open side by side."""
    names = {name: str(path.resolve()) for name, path in adapters.items()}
    first = {"path": str(base.resolve()), "adapters": names, "others": []}
    second = {"path": str(merged[0].resolve()), "adapters": {}, "others": [str(path.resolve()) for path in merged[1:]]}
    function = f"tunebook.export.serving:{measure_memory.__name__}"
    return {
        "one_base": call(function, first, [base, *adapters.values()], ENOUGH)["bytes"],
        "merged_files": call(function, second, merged, ENOUGH)["bytes"],
    }


def export_served(
    source, adapters: dict[str, Path], tokenizer, folder: Path, scratch: Path, made: dict[str, Path]
) -> dict:
    """What serving needs: `base` (f16 GGUF) and `adapters` in `folder`, and in `scratch` the `merged` files that `made`
    lacks. An adapter that no file can hold (DoRA, whole weights) is in `refused`, with the reason; where all are, there
    is no folder, since a base alone would be served as if it were the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, refused = {}, {}
    for name, adapter in adapters.items():
        try:
            files[name] = convert_adapter(source.folder, adapter, folder / f"adapter-{name}.gguf")
        except InputProblem as problem:
            refused[name] = str(problem).replace(str(adapter), name)  # no path of this machine
    if not files:
        folder.rmdir()
        return {"adapters": {}, "refused": refused}

    def merge(name: str, adapter: Path | None) -> Path:
        (scratch / name).mkdir()
        return export_files(source, adapter, tokenizer, scratch / name, ["f16"])["f16"]

    base = merge("base", None).rename(folder / "base-f16.gguf")
    merged = {name: made.get(name) or merge(name, adapters[name]) for name in files}
    return {"base": base, "adapters": files, "merged": merged, "refused": refused}


def serve_adapters(
    source, adapters: dict[str, Path], tokenizer, folder: Path, made: dict[str, Path], conversations: list, new: int
):
    """Rows of `compare_served` and the bytes of `compare_memory`; base and adapters stay in `folder`, other files do
    not.

    `made` are merged f16 files that exist already; `new` tokens at most are answered. Nothing is served without a
    conversation. An adapter that no file can hold has `n` 0 and says `why`; the others are served.
    """
    if not conversations:
        return [], {}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".merged-") as scratch:
        found, memory = export_served(source, adapters, tokenizer, folder, Path(scratch), made), {}
        nothing = {"n": 0, "same_text": 0, "near_ties": 0, "unexplained": 0}
        rows = [{"adapter": name, **nothing, "why": why} for name, why in found["refused"].items()]
        if found["adapters"]:
            files = (found["base"], found["adapters"], found["merged"])
            rows = compare_served(*files, conversations, new) + rows
            memory = compare_memory(*files[:2], list(files[2].values()))
        return rows, memory


PREFILL_TOKENS = 256
REQUESTS, LONGEST = 60, 30  # requests for the p95; seconds after which no further round is asked
DECODED_TOKENS = 24
FOUND = {
    "kind": "gguf",
    "template": "{{ messages }}",
}  # the file was looked at before, and no template is rendered here
ENOUGH = ChildLimits(cpu_seconds=1200, wall_seconds=900, memory_bytes=2**44)


def measure_speed(path: Path, prompts: list[list[int]], max_new_tokens: int, is_judged: bool = True) -> dict:
    """`load_seconds`, tokens/s of prefill and of decoding at 1 and 8 sequences, p50 and p95 of a request in ms with the
    95% bounds of the p95, `peak_bytes`. A file that is not judged by its p95 is asked each prompt once."""
    argument = {"path": str(path.resolve()), "prompts": prompts, "max_new_tokens": max_new_tokens}
    argument |= {"threads": usual_threads(), "requests": REQUESTS if is_judged else 0}
    return call("tunebook.export.serving:measure_here", argument, [path], ENOUGH)


def measure_here(path: str, prompts: list[list[int]], max_new_tokens: int, threads: int, requests: int) -> dict:
    """The same, in this process, which should have done nothing else before."""
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
    found |= request_times(lambda prompt: 1000 * _timed(engine, [prompt], max_new_tokens), prompts, requests)
    found |= {"peak_bytes": peak_bytes(), "before_bytes": before}
    engine.close()
    return found


def request_times(ask, prompts: list, requests: int = REQUESTS) -> dict:
    """`p50_ms`, `p95_ms` with its one-sided 95% bounds `p95_low_ms` and `p95_high_ms`, `requests`: of requests one
    after another.

    `ask` gives a prompt's milliseconds. The prompts go round until there are `requests`, but after the first round not
    for longer than LONGEST seconds; with fewer than 59 requests nothing bounds the p95 from above (None). Source: the
    order statistics' binomial interval of a quantile (Conover 1999, 3.2).
    """
    from scipy.stats import binom

    times = [ask(prompt) for prompt in prompts]
    while len(times) < requests and sum(times) < 1000 * LONGEST:
        times.append(ask(prompts[len(times) % len(prompts)]))
    n, ordered = len(times), sorted(times)
    below = int(binom.ppf(0.05, n, 0.95))  # P(fewer than this are below the quantile) <= 5%
    above = int(binom.ppf(0.95, n, 0.95)) + 1
    return {
        "p50_ms": statistics.median(times),
        "p95_ms": ordered[max(0, -(-95 * n // 100) - 1)],
        "p95_low_ms": ordered[below - 1] if below else 0.0,
        "p95_high_ms": ordered[above - 1] if above <= n else None,
        "requests": n,
    }


def _timed(engine, prompts: list[list[int]], new: int) -> float:
    started = time.perf_counter()
    list(engine.generate(prompts, Decoding(new)))
    return time.perf_counter() - started


def measure_memory(path: str, adapters: dict[str, str], others: list[str]) -> dict:
    """Peak resident bytes above an empty process, with a file, adapters on it, and other files beside it, each asked
    once.
    """
    before, engines = peak_bytes(), [GgufModel(path, 1, adapters=adapters, found=FOUND)]
    engines += [GgufModel(other, 1, found=FOUND) for other in others]
    for engine in engines:
        for name in engine.adapters or [""]:
            engine.use_adapter(name)
            list(engine.generate([list(range(5, 37))], Decoding(4)))
    return {"bytes": peak_bytes() - before}
