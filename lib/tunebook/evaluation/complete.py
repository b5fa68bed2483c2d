"""Asks an engine for the completions of a benchmark, under a protocol, into a file that grows as they come.

The one way in which the kit makes completions: for scores, for the prompting ladder and for choices on dev. Does not score.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation import prompts
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.completions import CompletionLog
from tunebook.evaluation.protocol import Protocol
from tunebook.models.engine import Decoding
from tunebook.pipeline.files import hash_json, write_jsonl


def complete(
    engine,
    benchmark: Benchmark,
    protocol: Protocol,
    path: Path,
    examples: Sequence[dict] | dict[str, list[dict]] = (),
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """Writes completions.jsonl at `path` and returns `rows` (the completions), `protocol` (with the engine's chat template
    filled in), `seconds` and `tokens`. `examples` are the same for every problem, or a dict of task_id to its own.

    The file grows while the engine works, and ends in the benchmark's order.
    """
    if protocol.prompt_style == "raw":
        raise InputProblem("prompt_style: raw is not built yet; use chat or few_shot")
    template = hashlib.sha256(engine.chat_template.encode()).hexdigest()
    is_own = isinstance(examples, dict)
    shown = hash_json(examples if is_own else list(examples)) if examples else ""
    protocol = replace(
        protocol,
        benchmark=benchmark.name,
        benchmark_sha256=benchmark.sha256,
        chat_template_sha256=template,
        examples_sha256=shown,
    )
    started, counted = time.perf_counter(), 0
    wanted = [(problem, sample) for problem in benchmark.problems for sample in range(protocol.n_samples)]
    encoded = [
        engine.encode(prompts.messages(problem, protocol.prompt_style, protocol.instruction, found))
        for problem, _ in wanted
        for found in [examples[problem["task_id"]] if is_own else examples]
    ]
    decoding = Decoding(protocol.max_new_tokens, protocol.temperature, protocol.top_p, protocol.seed)
    path.unlink(missing_ok=True)
    with CompletionLog(path) as log:

        def on_tokens(count: int) -> None:
            nonlocal counted
            counted += count
            if on_progress:
                on_progress(len(log.rows), len(wanted), benchmark.name)

        for done in engine.generate(encoded, decoding, on_tokens):
            problem, sample = wanted[done.index]
            text = engine.decode(done.ids)
            log.append(problem["task_id"], sample, text, finish_reason=done.finish_reason, n_tokens=len(done.ids))
        rows = sorted(log.rows, key=_order(benchmark))
    write_jsonl(path, rows)
    return {"rows": rows, "protocol": protocol, "seconds": time.perf_counter() - started, "tokens": counted}


def _order(benchmark: Benchmark):
    place = {problem["task_id"]: at for at, problem in enumerate(benchmark.problems)}
    return lambda row: (place[row["task_id"]], row["sample"])
