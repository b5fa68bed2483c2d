"""From completions to pass@1: extract, judge, count, and write scores.jsonl, protocol.json and metrics.json.

The one path of notebook 04 and of `tunebook score`. Does not generate. A folder never shows half a score: the old
result is removed when the runner has shown that it works, the new one is written at the end, metrics.json last.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.completions import check_completions
from tunebook.evaluation.extraction import VERSION as EXTRACTOR
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.protocol import UNKNOWN, Protocol, filled_in, from_dict
from tunebook.evaluation.readiness import Judging, check_runner, make_program
from tunebook.evaluation.reply import Reading, is_open_thought
from tunebook.evaluation.score_folder import METRICS, PROTOCOL, SCORES, UNFINISHED, content_sha256, require_replaceable
from tunebook.evaluation.syntax import other_functions
from tunebook.files import hash_json, write_json, write_jsonl
from tunebook.statistics.intervals import mean_interval, pass_at_k

USUAL_KS = (1, 5, 10, 100)
# One line of the failure table for each verdict word; the last three are told apart here, the others by the runner.
TAXONOMY = {
    "pass": "pass", "wrong": "wrong answer", "exception": "exception", "syntax": "syntax", "no_code": "no code",
    "cpu_limit": "time-out", "wall_limit": "time-out", "early_exit": "early exit", "invalid_output": "invalid output",
    "mem_limit": "over a limit", "output_limit": "over a limit", "proc_limit": "over a limit", "denied": "denied",
    "wrong_name": "other function name", "truncated": "truncated", "open_thought": "open thought",
}  # fmt: skip


def score(
    benchmark: Benchmark,
    completions: list[dict],
    out_dir: str | Path,
    protocol: Protocol | dict | None = None,
    workers: int | None = None,
    allow_unisolated: bool = False,
) -> dict:
    """Judge completions and write the score folder; returns what metrics.json holds.

    `protocol` None (completions from elsewhere), or a dict without a field, records it as "unknown"; how replies are
    read and the CPU limit are then the defaults. InputProblem for completions that do not fit, a benchmark that cannot
    be judged (see `readiness`), or an out_dir that holds the score of other completions or another thing's
    metrics.json; MachineProblem, and no number anywhere, when the runner fails.
    """
    rows = check_completions(completions, benchmark)
    record = protocol_record(protocol, benchmark, len(rows) // len(benchmark))
    out_dir, texts = Path(out_dir), hash_json([[row["task_id"], row["sample"], row["completion"]] for row in rows])
    require_replaceable(out_dir, texts)
    reading = Reading(record["answer_reading"], record["code_block"])
    judging = Judging(workers, allow_unisolated, reading, record["cpu_seconds"])
    runner = check_runner(benchmark, judging)
    for name in (METRICS, SCORES, PROTOCOL):
        (out_dir / name).unlink(missing_ok=True)
    judged = judge_completions(benchmark, rows, judging)
    tokens = [row.get("n_tokens") for row in rows]
    metrics = {
        **count(benchmark, judged),
        "runner": runner,
        "extractor": EXTRACTOR,
        **{key: record[key] for key in ("answer_reading", "code_block", "cpu_seconds")},
        "protocol_sha256": record["sha256"],
        "completions_sha256": texts,
        "n_tokens": sum(tokens) if all(type(value) is int for value in tokens) else None,
    }
    write_jsonl(out_dir / SCORES, judged)
    write_json(out_dir / PROTOCOL, record)
    write_json(out_dir / METRICS, metrics)
    return metrics


def judge_completions(benchmark: Benchmark, rows: list[dict], judging: Judging = Judging()) -> list[dict]:
    """Rows of scores.jsonl in the order of `rows`; an empty extraction is `no_code` without a run."""
    from tunebook.execution.programs import BROKEN_TEST, Outcome

    problems = {problem["task_id"]: problem for problem in benchmark.problems}
    sources = {_key(row): extract(_reply(row), problems[row["task_id"]], judging.reading) for row in rows}
    programs = [
        make_program(problems[task_id], sample, source) for (task_id, sample), source in sources.items() if source
    ]
    outcomes = {(outcome.task_id, outcome.sample): outcome for outcome in judging.run(programs)}
    judged = []
    for row in rows:
        outcome = outcomes.get(_key(row)) or Outcome(*_key(row), False, "no_code", "", 0.0)
        if outcome.verdict == "invalid":
            raise MachineProblem(
                f"{outcome.task_id} sample {outcome.sample} could not be judged ({outcome.detail}): this is a fault of"
                " the machine or the runner, no score is given; run it again"
            )
        if outcome.detail.startswith(BROKEN_TEST):
            raise InputProblem(
                f"{benchmark.source}: {outcome.task_id}: {outcome.detail}: correct the benchmark before scoring with it"
            )
        if not outcome.passed:
            outcome = _told_apart(outcome, row, sources[_key(row)], problems[row["task_id"]], judging.reading)
        judged.append({**asdict(outcome), "cpu_seconds": round(outcome.cpu_seconds, 3)})
    return judged


def _key(row: dict) -> tuple[str, int]:
    return row["task_id"], row["sample"]


def _reply(row: dict) -> str:
    """The completion after what the prompt opened for it: some templates begin the thought themselves."""
    return row.get("opened", "") + row["completion"]


def _told_apart(outcome, row: dict, source: str, problem: dict, reading: Reading):
    """The outcome of a failure with the verdict that says why: an answer that never came is not a wrong one."""
    before = f"; {outcome.verdict}{': ' if outcome.detail else ''}{outcome.detail}"
    if is_open_thought(_reply(row)):
        return replace(outcome, verdict="open_thought", detail="the reply ends inside a thought")
    if row.get("finish_reason") == "length" and _would_change(row, source, problem, reading):
        limit = f" of {row['n_tokens']} tokens" if "n_tokens" in row else ""
        return replace(outcome, verdict="truncated", detail=f"cut at the limit{limit}{before}")
    others = other_functions(source, problem["prompt"], problem["entry_point"])
    if problem["kind"] == "code" and outcome.verdict == "exception" and others and "NameError" in outcome.detail:
        return replace(
            outcome, verdict="wrong_name", detail=f"defines {', '.join(others)}, not {problem['entry_point']}"
        )
    return outcome


def _would_change(row: dict, source: str, problem: dict, reading: Reading) -> bool:
    """Whether more text could change what is read: always for a program, for an answer where its end is what was
    cut.
    """
    return problem["kind"] == "code" or extract(_reply(row) + "0", problem, reading) != source


def count(benchmark: Benchmark, judged: list[dict]) -> dict:
    """k of n, intervals, pass@k, slices, the failure table and the share of unfinished answers of judged rows.

    `k` and `n` count samples; with one sample a problem n is the number of problems and the interval is Wilson's, with
    several it is clustered by problem.
    """
    passed: dict[str, list[bool]] = {}
    for row in judged:
        passed.setdefault(row["task_id"], []).append(row["passed"])
    samples = len(judged) // len(passed)
    ended: dict[str, Counter] = {task_id: Counter() for task_id in passed}
    for row in judged:
        ended[row["task_id"]][TAXONOMY.get(row["verdict"], row["verdict"])] += 1
    verdicts = Counter(row["verdict"] for row in judged)
    return {
        "benchmark": benchmark.name,
        "benchmark_sha256": benchmark.sha256,
        "problems": len(passed),
        "n_samples": samples,
        **rates(passed),
        "pass_at_k": {str(k): estimate_pass_at_k(passed, k) for k in USUAL_KS if k <= samples},
        "slices": {name: _slice(tasks, passed, ended) for name, tasks in benchmark.slices().items()},
        "verdicts": dict(verdicts),
        "unfinished": {name: verdicts[name] for name in UNFINISHED},
        "taxonomy": count_endings(ended.values()),
        "content_sha256": content_sha256(judged),
    }


def _slice(tasks: list[str], passed: dict, ended: dict) -> dict:
    here = [task for task in tasks if task in passed]
    return {**rates({task: passed[task] for task in here}), "taxonomy": count_endings(ended[task] for task in here)}


def rates(passed: dict[str, list[bool]]) -> dict:
    """k, n, pass_at_1 and its 95% interval for problems with equally many samples."""
    k, n = sum(map(sum, passed.values())), sum(map(len, passed.values()))
    interval = mean_interval([sum(row) / len(row) for row in passed.values()], samples=n // len(passed))
    return {"k": k, "n": n, "pass_at_1": k / n, "interval": list(interval)}


def estimate_pass_at_k(passed: dict[str, list[bool]], k: int) -> float:
    """Unbiased pass@k, the mean over problems; InputProblem when k is above the samples a problem."""
    return sum(pass_at_k(len(row), sum(row), k) for row in passed.values()) / len(passed)


def unfinished_share(metrics: dict) -> float:
    """The share of answers that were cut at the limit, or ended inside a thought, and failed; 0 for a score of an
    older kit.
    """
    return sum(metrics.get("unfinished", {}).values()) / metrics.get("n", 1)


def count_endings(endings: Iterable[Counter]) -> dict[str, int]:
    """How many rows ended in each way, the most frequent first."""
    return dict(sum(endings, Counter()).most_common())


def protocol_record(protocol: Protocol | dict | None, benchmark: Benchmark, samples: int) -> dict:
    """What protocol.json holds. How the score was made is always known; what is not given of the rest is "unknown"."""
    if isinstance(protocol, Protocol):
        protocol = protocol.to_dict()
    given = {**dict.fromkeys(Protocol("").to_dict(), UNKNOWN), **(protocol or {})}
    known = {
        "benchmark": benchmark.name,
        "benchmark_sha256": benchmark.sha256,
        "extractor": EXTRACTOR,
        "n_samples": samples,
    }
    for key in ("benchmark_sha256", "extractor", "n_samples"):
        if given[key] not in (UNKNOWN, known[key]):
            raise InputProblem(
                f"protocol: {key} is {given[key]!r}, the completions and the benchmark have {known[key]!r}: correct it"
            )
    whole = filled_in(from_dict({**given, **known}), benchmark)
    return {**whole.to_dict(), "sha256": whole.hash}
