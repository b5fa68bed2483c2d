"""Raw model texts on disk: written as they come, resumed after a kill, and checked against the benchmark before
scoring.

Does not generate and does not judge. A row is `task_id, completion` and optionally `sample, finish_reason, n_tokens`.
The log-probability of each text stands in a file of its own (`logp_file`): its last digits differ between machines.
"""

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tunebook import models
from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation import likelihood, prompts
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.protocol import Protocol, filled_in
from tunebook.evaluation.reply import opened_thought
from tunebook.evaluation.shapes import completions_from, read_entries
from tunebook.files import hash_json, sha256_file, write_json, write_jsonl
from tunebook.models.engine import TAIL_TOKENS, Decoding

FSYNC_SECONDS = 3.0
Key = tuple[str, int]


class CompletionLog:
    """Appends completions to a file and knows which (task_id, sample) are done; use it in a `with` block.

    On opening, a torn tail (a line that a killed process did not finish) is cut off and every complete row is kept.
    `fingerprint` says what the completions are of (model and protocol): rows written under another one are dropped and
    the file starts over, so that an old run's texts never mix with new ones.
    """

    def __init__(self, path: str | Path, fingerprint: str = ""):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = [] if self._is_foreign(fingerprint) else self._repair()
        self.done_keys: set[Key] = {(row["task_id"], row["sample"]) for row in self.rows}
        self._stream = open(self.path, "ab" if self.rows else "wb")
        self._written = time.monotonic()
        self._sync()
        if fingerprint:
            write_json(self._key_path(), {"fingerprint": fingerprint})

    def __enter__(self) -> "CompletionLog":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def append(self, task_id: str, sample: int, completion: str, **extra) -> None:
        """Write one completion: safe from a kill at once, from a power cut within FSYNC_SECONDS or at the next
        `append` after that.
        """
        if (task_id, sample) in self.done_keys:
            raise ValueError(f"{self.path}: {task_id!r} sample {sample} is already written")
        row = {"task_id": task_id, "sample": sample, "completion": completion, **extra}
        try:
            self._stream.write(json.dumps(row, allow_nan=False).encode("ascii") + b"\n")
            self._stream.flush()
            if time.monotonic() - self._written > FSYNC_SECONDS:
                self._sync()
        except OSError as problem:
            raise MachineProblem(
                f"{self.path} cannot be written ({problem.strerror}): free space and run again"
            ) from None
        self.rows.append(row)
        self.done_keys.add((task_id, sample))

    def close(self) -> None:
        """Flush to the disk and close."""
        if not self._stream.closed:
            self._sync()
            self._stream.close()

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._written = time.monotonic()

    def _key_path(self) -> Path:
        return self.path.with_name(self.path.name + ".key.json")

    def _is_foreign(self, fingerprint: str) -> bool:
        if not fingerprint or not self.path.exists():
            return False
        try:
            return json.loads(self._key_path().read_text(encoding="utf-8")).get("fingerprint") != fingerprint
        except (OSError, ValueError, AttributeError):
            return True

    def _repair(self) -> list[dict]:
        """Complete rows of the file; everything from the first unreadable or doubled row on is cut away."""
        if not self.path.exists():
            return []
        rows, seen, good = [], set(), 0
        with open(self.path, "rb") as stream:
            for line in stream:
                row = _complete_row(line)
                if row is None or (row["task_id"], row["sample"]) in seen:
                    break
                seen.add((row["task_id"], row["sample"]))
                rows.append(row)
                good += len(line)
        os.truncate(self.path, good)
        return rows


def _complete_row(line: bytes) -> dict | None:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
        usable = (
            isinstance(row["task_id"], str) and isinstance(row["sample"], int) and isinstance(row["completion"], str)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return row if usable else None


def read_completions(
    path: str | Path, benchmark: Benchmark, mapping: dict[str, str] | None = None, left_out: Iterable[str] = ()
) -> list[dict]:
    """Completions of exactly this benchmark, each with its `sample`, from JSON lines or one JSON list, packed with gzip
    or not.

    The kit's own rows, or those of EvalPlus, lm-evaluation-harness and bigcode-evaluation-harness; `mapping` ({field:
    path}) names the fields of others; those of the problems `left_out` are dropped. InputProblem says which row does
    not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputProblem(f"{path}: no such completions file: give the path of a .jsonl or .jsonl.gz file")
    rows = completions_from(read_entries(path), benchmark.task_ids(), str(path), mapping)
    rows = [row for row in rows if row.get("task_id") not in left_out]
    return check_completions(rows, benchmark.without(left_out), str(path))


def check_completions(rows: list[dict], benchmark: Benchmark, where: str = "completions") -> list[dict]:
    """Rows in the benchmark's order, `sample` filled in from the order of appearance where no row has one.

    InputProblem for no rows, rows of another benchmark, missing problems, a doubled (task_id, sample) or unequal sample
    counts.
    """
    if not rows:
        raise InputProblem(f"{where}: no completions: generate at least one for each problem")
    _check_rows(rows, where)
    order = {task_id: i for i, task_id in enumerate(benchmark.task_ids())}
    strangers = sorted({row["task_id"] for row in rows} - order.keys())
    if len(strangers) == len({row["task_id"] for row in rows}):
        raise InputProblem(
            f"{where}: completions of another benchmark: no task_id is in {benchmark.name} (first {strangers[0]!r},"
            f" expected such as {benchmark.problems[0]['task_id']!r}): name the benchmark that they answer"
        )
    if strangers:
        raise InputProblem(
            f"{where}: {len(strangers)} task_ids are not in {benchmark.name}, first {strangers[0]!r}: remove them or"
            " name their benchmark"
        )
    numbered = _number(rows, where)
    counts = Counter(row["task_id"] for row in numbered)
    missing = [task_id for task_id in order if task_id not in counts]
    if missing:
        raise InputProblem(
            f"{where}: {len(missing)} of {len(order)} problems have no completion, first {missing[0]!r}: a score is"
            " over all problems, so write an empty completion where the model gave none"
        )
    if len(set(counts.values())) > 1:
        few, many = min(counts, key=counts.get), max(counts, key=counts.get)
        raise InputProblem(
            f"{where}: unequal sample counts, {counts[few]} for {few!r} and {counts[many]} for {many!r}: "
            "every problem needs the same number of samples"
        )
    return sorted(numbered, key=lambda row: (order[row["task_id"]], row["sample"]))


def _check_rows(rows: list[dict], where: str) -> None:
    for number, row in enumerate(rows, start=1):
        for key in ("task_id", "completion"):
            if not isinstance(row.get(key), str):
                found = type(row[key]).__name__ if key in row else "nothing"
                raise InputProblem(
                    f"{where}, row {number}: {key} must be text, found {found}: a row is task_id, completion; "
                    f"name the field with --map {key}=FIELD"
                )
        sample = row.get("sample", 0)
        if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
            raise InputProblem(f"{where}, row {number}: sample must be a whole number from 0, found {sample!r}")
    with_sample = sum("sample" in row for row in rows)
    if 0 < with_sample < len(rows):
        raise InputProblem(f"{where}: {with_sample} of {len(rows)} rows have a sample: give it in every row or in none")


def _number(rows: list[dict], where: str) -> list[dict]:
    seen: dict[Key, int] = {}
    counts: Counter = Counter()
    numbered = []
    for number, row in enumerate(rows, start=1):
        sample = row["sample"] if "sample" in row else counts[row["task_id"]]
        counts[row["task_id"]] += 1
        key = (row["task_id"], sample)
        if key in seen:
            raise InputProblem(
                f"{where}, row {number}: {key[0]!r} sample {sample} was already given in row {seen[key]}: "
                "remove one, or number the samples"
            )
        seen[key] = number
        numbered.append({**row, "sample": sample})
    return numbered


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
    """Writes completions.jsonl at `path`, in the benchmark's order, and beside it `logp_file(path)`.

    `examples` are the same for every problem, or a dict of task_id to its own. A problem with `choices` is answered by
    likelihood, without them. Returns `rows` (the completions),
    `protocol` (with the engine's chat template and the stops filled in), and the cost of this call: `seconds`,
    `tokens`, and `resumed`, the completions that an earlier call with the same weights, prompts and protocol, killed or
    not, had left in the folder `resume`. Those are taken over and not made again. The file is then the same as after an
    unbroken run, but for near-ties: in bfloat16 two tokens can be so close that the rows beside them decide, and after
    a kill those are others.
    """
    protocol = _filled_in(protocol, engine, benchmark, examples)
    started, counted = time.perf_counter(), 0
    pairs = [(problem, sample) for problem in benchmark.problems for sample in range(protocol.n_samples)]
    chosen, wanted = (
        [pair for pair in pairs if bool(pair[0].get("choices")) is is_chosen] for is_chosen in (True, False)
    )
    encoded = [_encoded(engine, problem, protocol, examples) for problem, _ in wanted]
    decoding = Decoding(protocol.max_new_tokens, protocol.temperature, protocol.top_p, protocol.seed)
    key = fingerprint(engine, protocol, encoded) if resume else ""
    with CompletionLog(resume / f"{key[:32]}.jsonl" if resume else _empty(path), key) as log:
        found = len(log.rows)

        def show(_=0) -> None:
            if on_progress:
                on_progress(len(log.rows), len(pairs), benchmark.name)

        _choose(engine, chosen, log, show)
        left = [at for at, (problem, sample) in enumerate(wanted) if (problem["task_id"], sample) not in log.done_keys]
        for done in engine.generate(encoded, decoding, show, only=left, stops=protocol.stops) if left else ():
            problem, sample = wanted[done.index]
            log.append(problem["task_id"], sample, **_row_of(engine, done, encoded[done.index], protocol.stops))
            counted += len(done.ids)
            show()
        rows = sorted(log.rows, key=_order(benchmark))
    write_jsonl(logp_file(path), [{key: row.get(key) for key in ("task_id", "sample", "logp")} for row in rows])
    rows = [{key: value for key, value in row.items() if key != "logp"} for row in rows]
    write_jsonl(path, rows)
    seconds = time.perf_counter() - started
    return {"rows": rows, "protocol": protocol, "seconds": seconds, "tokens": counted, "resumed": found}


def logp_file(path: Path) -> Path:
    """Where the log-probability of each completion of `path` stands: rows `task_id, sample, logp`, in nats, of all its
    tokens and the stop token at temperature 1; None where the engine does not say. Outside every hash.
    """
    return Path(path).with_suffix(".logp.jsonl")


def _choose(engine, chosen: list[tuple[dict, int]], log: CompletionLog, show: Callable) -> None:
    """Writes the likeliest choice of every problem that has choices, with each choice's nats a byte; writes no token
    of its own.
    """
    left = [(problem, sample) for problem, sample in chosen if (problem["task_id"], sample) not in log.done_keys]
    answers = likelihood.likeliest(engine, [problem for problem, _ in left]) if left else ()
    for (problem, sample), (choice, nats) in zip(left, answers, strict=True):
        log.append(problem["task_id"], sample, choice, finish_reason="stop", n_tokens=0, nats_per_byte=nats)
        show()


def _row_of(engine, done, prompt: list[int], stops: Sequence[str]) -> dict:
    """What the log keeps of one text; `opened` where the prompt itself begins the thought that the text goes on
    with.
    """
    text, is_cut = _cut(engine.decode(done.ids), stops)
    opened = opened_thought(engine.decode(prompt[-TAIL_TOKENS:]))
    reason = "stop" if is_cut else done.finish_reason
    row = {"completion": text, "finish_reason": reason, "n_tokens": len(done.ids)}
    if done.logp is not None and math.isfinite(done.logp):
        row["logp"] = round(done.logp, 4)
    return {**row, "opened": opened} if opened else row


def fingerprint(engine, protocol: Protocol, encoded: list[list[int]]) -> str:
    """A hash of all that a text depends on: weights and precision, protocol, prompts as token ids, and the code that
    generates.
    """
    folder = Path(models.__file__).parent
    code = [sha256_file(path) for path in (__file__, likelihood.__file__, *sorted(folder.glob("*.py")))]
    return hash_json([engine.identity(), protocol.hash, encoded, code, [version("torch"), version("transformers")]])


def _filled_in(protocol: Protocol, engine, benchmark: Benchmark, examples: Sequence[dict]) -> Protocol:
    check_protocol(protocol)
    is_raw, asked = protocol.prompt_style == "raw", engine.asked_text(protocol.thinking)
    kinds = dict.fromkeys(problem["kind"] for problem in benchmark.problems)
    usual = dict.fromkeys(stop for kind in kinds for stop in prompts.default_stops(kind, protocol.prompt_style))
    needed = benchmark.answer_tokens if protocol.thinking != "on" else 0  # a thought comes before the answer
    return replace(
        filled_in(protocol, benchmark),
        benchmark=benchmark.name,
        benchmark_sha256=benchmark.sha256,
        chat_template_sha256="" if is_raw else hashlib.sha256(engine.chat_template.encode()).hexdigest(),
        rendered_sha256=hash_json(asked[1:] if is_raw else asked),
        examples_sha256=hash_json(examples if isinstance(examples, dict) else list(examples)) if examples else "",
        stops=protocol.stops or tuple(usual),
        max_new_tokens=min(protocol.max_new_tokens, needed or protocol.max_new_tokens),
    )


def check_protocol(protocol: Protocol) -> None:
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
            f"n_samples: {protocol.n_samples} greedy completions would be the same text; raise temperature, or set"
            " n_samples to 1"
        )
    if protocol.prompt_style == "raw" and protocol.thinking != "none":
        raise InputProblem("thinking: a raw continuation has no chat template and so no thinking mode; use none")


def _encoded(engine, problem: dict, protocol: Protocol, examples: Sequence[dict]) -> list[int]:
    shown = examples[problem["task_id"]] if isinstance(examples, dict) else examples
    asked = prompts.messages(problem, protocol.prompt_style, protocol.instruction, shown)
    tools = {"tools": problem["tools"]} if problem.get("tools") else {}
    ids = engine.encode(asked, protocol.thinking, **tools)
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
