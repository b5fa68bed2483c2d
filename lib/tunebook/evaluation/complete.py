"""Asks an engine for the completions of a benchmark, under a protocol, into a file that grows as they come.

The one way in which the kit makes completions: for scores, for the prompting ladder and for choices on dev. Does not score.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tunebook import models
from tunebook.errors import InputProblem
from tunebook.evaluation import prompts
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.completions import CompletionLog
from tunebook.evaluation.protocol import Protocol
from tunebook.models.engine import Decoding
from tunebook.pipeline.files import hash_json, sha256_file, write_jsonl

THINKING = ("none", "off", "on")


def complete(
    engine,
    benchmark: Benchmark,
    protocol: Protocol,
    path: Path,
    examples: Sequence[dict] | dict[str, list[dict]] = (),
    on_progress: Callable[[int, int, str], None] | None = None,
    resume: Path | None = None,
) -> dict:
    """Writes completions.jsonl at `path`, in the benchmark's order.

    `examples` are the same for every problem, or a dict of task_id to its own.
    Returns `rows` (the completions), `protocol` (with the engine's chat template and the stops filled in), and the cost of this call:
    `seconds`, `tokens`, and `resumed`, the completions that an earlier, killed call with the same weights, prompts and protocol
    had left in the folder `resume`. Those are taken over and not made again. The file is then the same as after an unbroken run, but
    for near-ties: in bfloat16 two tokens can be so close that the rows beside them decide, and after a kill those are others.
    """
    protocol = _filled_in(protocol, engine, benchmark, examples)
    started, counted = time.perf_counter(), 0
    wanted = [(problem, sample) for problem in benchmark.problems for sample in range(protocol.n_samples)]
    encoded = [_encoded(engine, problem, protocol, examples) for problem, _ in wanted]
    decoding = Decoding(protocol.max_new_tokens, protocol.temperature, protocol.top_p, protocol.seed)
    key = fingerprint(engine, protocol, encoded) if resume else ""
    with CompletionLog(resume / f"{key[:32]}.jsonl" if resume else _empty(path), key) as log:
        found = len(log.rows)

        def show(_=0) -> None:
            if on_progress:
                on_progress(len(log.rows), len(wanted), benchmark.name)

        left = [at for at, (problem, sample) in enumerate(wanted) if (problem["task_id"], sample) not in log.done_keys]
        for done in engine.generate(encoded, decoding, show, only=left, stops=protocol.stops):
            problem, sample = wanted[done.index]
            text, is_cut = _cut(engine.decode(done.ids), protocol.stops)
            reason = "stop" if is_cut else done.finish_reason
            log.append(problem["task_id"], sample, text, finish_reason=reason, n_tokens=len(done.ids))
            counted += len(done.ids)
            show()
        rows = sorted(log.rows, key=_order(benchmark))
    write_jsonl(path, rows)
    seconds = time.perf_counter() - started
    return {"rows": rows, "protocol": protocol, "seconds": seconds, "tokens": counted, "resumed": found}


def fingerprint(engine, protocol: Protocol, encoded: list[list[int]]) -> str:
    """A hash of all that a text depends on: weights and precision, protocol, prompts as token ids, and the code that generates."""
    folder = Path(models.__file__).parent
    code = [sha256_file(path) for path in (Path(__file__), *sorted(folder.glob("*.py")))]
    return hash_json([engine.identity(), protocol.hash, encoded, code, [version("torch"), version("transformers")]])


def _filled_in(protocol: Protocol, engine, benchmark: Benchmark, examples: Sequence[dict]) -> Protocol:
    _check(protocol)
    is_raw = protocol.prompt_style == "raw"
    kinds = dict.fromkeys(problem["kind"] for problem in benchmark.problems)
    usual = dict.fromkeys(stop for kind in kinds for stop in prompts.default_stops(kind, protocol.prompt_style))
    return replace(
        protocol,
        benchmark=benchmark.name,
        benchmark_sha256=benchmark.sha256,
        chat_template_sha256="" if is_raw else hashlib.sha256(engine.chat_template.encode()).hexdigest(),
        examples_sha256=hash_json(examples if isinstance(examples, dict) else list(examples)) if examples else "",
        stops=protocol.stops or tuple(usual),
    )


def _check(protocol: Protocol) -> None:
    """InputProblem for a protocol that cannot be carried out, or would not measure what it says."""
    rules = {
        "thinking": (protocol.thinking in THINKING, f"use {', '.join(THINKING)}"),
        "max_new_tokens": (protocol.max_new_tokens >= 1, "an answer needs at least one token"),
        "temperature": (protocol.temperature >= 0, "0 is greedy, above 0 samples"),
        "top_p": (0 < protocol.top_p <= 1, "it is the mass of the nucleus, above 0 and at most 1"),
        "n_samples": (protocol.n_samples >= 1, "ask for at least one completion a problem"),
    }
    for name, (is_kept, remedy) in rules.items():
        if not is_kept:
            raise InputProblem(f"{name}: {getattr(protocol, name)!r} cannot be used: {remedy}")
    if protocol.n_samples > 1 and protocol.temperature == 0:
        raise InputProblem(
            f"n_samples: {protocol.n_samples} greedy completions would be the same text; raise temperature, or set n_samples to 1"
        )
    if protocol.prompt_style == "raw" and protocol.thinking != "none":
        raise InputProblem("thinking: a raw continuation has no chat template and so no thinking mode; use none")


def _encoded(engine, problem: dict, protocol: Protocol, examples: Sequence[dict]) -> list[int]:
    shown = examples[problem["task_id"]] if isinstance(examples, dict) else examples
    asked = prompts.messages(problem, protocol.prompt_style, protocol.instruction, shown)
    ids = engine.encode(asked, protocol.thinking)
    if not ids:
        raise InputProblem(
            f"problem {problem['task_id']!r}: an empty prompt cannot be continued; use prompt_style: chat"
        )
    return ids


def _empty(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Text up to the first of the stop strings, and whether there was one."""
    places = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _order(benchmark: Benchmark):
    place = {problem["task_id"]: at for at, problem in enumerate(benchmark.problems)}
    return lambda row: (place[row["task_id"]], row["sample"])
