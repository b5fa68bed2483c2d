"""From completions to pass@1: extract, judge, count, and write scores.jsonl, protocol.json and metrics.json.

The one path of notebook 04 and of `tunebook score`. Does not generate. A folder never shows half a score: the old result is
removed when the runner has shown that it works, the new one is written at the end, metrics.json last.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation import completions as completions_room
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.extraction import VERSION as EXTRACTOR
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.protocol import UNKNOWN, Protocol, from_dict
from tunebook.evaluation.score_folder import METRICS, PROTOCOL, SCORES, content_sha256, require_replaceable
from tunebook.files import hash_json, write_json, write_jsonl
from tunebook.statistics.intervals import mean_interval, pass_at_k

USUAL_KS = (1, 5, 10, 100)


@dataclass(frozen=True)
class Judging:
    """How the runner is used: worker count (None: one a core) and consent to tier T0."""

    workers: int | None = None
    allow_unisolated: bool = False


def score(
    benchmark: Benchmark,
    completions: list[dict],
    out_dir: str | Path,
    protocol: Protocol | dict | None = None,
    workers: int | None = None,
    allow_unisolated: bool = False,
) -> dict:
    """Judge completions and write the score folder; returns what metrics.json holds.

    `protocol` None (completions from elsewhere) records its fields as "unknown". InputProblem for completions that do not fit, a
    benchmark whose canonical solution fails, or an out_dir that holds the score of other completions or another thing's metrics.json; MachineProblem, and no
    number anywhere, when the runner fails.
    """
    rows = completions_room.check_completions(completions, benchmark)
    record = protocol_record(protocol, benchmark, len(rows) // len(benchmark))
    out_dir, texts = Path(out_dir), hash_json([[row["task_id"], row["sample"], row["completion"]] for row in rows])
    require_replaceable(out_dir, texts)
    judging = Judging(workers, allow_unisolated)
    runner = check_runner(benchmark, judging)
    for name in (METRICS, SCORES, PROTOCOL):
        (out_dir / name).unlink(missing_ok=True)
    judged = judge_completions(benchmark, rows, judging)
    metrics = count(benchmark, judged, [row.get("finish_reason") for row in rows])
    metrics |= {
        "runner": runner,
        "extractor": EXTRACTOR,
        "protocol_sha256": record["sha256"],
        "completions_sha256": texts,
        "n_tokens": sum(row["n_tokens"] for row in rows)
        if all(_is_count(row.get("n_tokens")) for row in rows)
        else None,
    }
    write_jsonl(out_dir / SCORES, judged)
    write_json(out_dir / PROTOCOL, record)
    write_json(out_dir / METRICS, metrics)
    return metrics


def judge_completions(benchmark: Benchmark, rows: list[dict], judging: Judging = Judging()) -> list[dict]:
    """Rows of scores.jsonl in the order of `rows`; an empty extraction is `no_code` without a run."""
    from tunebook.execution.programs import BROKEN_TEST
    from tunebook.execution.runner import run_programs

    problems = {problem["task_id"]: problem for problem in benchmark.problems}
    programs, found = [], {}
    for row in rows:
        problem = problems[row["task_id"]]
        source = extract(row["completion"], problem)
        if source:
            programs.append(make_program(problem, row["sample"], source))
        else:
            found[row["task_id"], row["sample"]] = _score_row(row["task_id"], row["sample"], False, "no_code", "", 0.0)
    for outcome in run_programs(programs, workers=judging.workers, allow_unisolated=judging.allow_unisolated):
        if outcome.verdict == "invalid":
            raise MachineProblem(
                f"{outcome.task_id} sample {outcome.sample} could not be judged ({outcome.detail}): this is a fault of the machine or "
                "the runner, no score is given; run it again"
            )
        if outcome.detail.startswith(BROKEN_TEST):
            raise InputProblem(
                f"{benchmark.source}: {outcome.task_id}: {outcome.detail}: correct the benchmark before scoring with it"
            )
        found[outcome.task_id, outcome.sample] = _score_row(**asdict(outcome))
    return [found[row["task_id"], row["sample"]] for row in rows]


def check_runner(benchmark: Benchmark, judging: Judging = Judging()) -> dict:
    """The runner's self-check on this benchmark, before its score: `{"ok", "tier", "tier_name", "checks"}`.

    InputProblem when a canonical solution fails or a test passes everything; MachineProblem when the runner lets a cheat through or cannot judge. A constant
    answer that passes is the benchmark's weakness: it is recorded (`ok` False) and shown, and the score goes on.
    """
    from tunebook.execution.selfcheck import self_check

    solved, others = [], []
    for problem in benchmark.problems:
        (solved if problem["canonical_solution"].strip() else others).append(problem)
    programs = [make_program(problem, 0, canonical_source(problem)) for problem in solved]
    unsolved = [make_program(problem, 0, "") for problem in others]
    result = self_check(programs, unsolved, workers=judging.workers, allow_unisolated=judging.allow_unisolated)
    for check in result["checks"]:
        if check["ok"]:
            continue
        if check["name"] == "constant answers":  # comes before the cheats, which pass such a test too
            _require_tests(benchmark, judging)
            continue
        if check["name"] == "canonical solutions" and not check.get("fault"):
            raise InputProblem(
                f"{benchmark.source}: a canonical solution fails its own test ({check['measured']}): "
                "correct the benchmark before scoring with it"
            )
        raise MachineProblem(
            f"the runner's self-check failed ({check['name']}: {check['measured']}, expected {check['rule']}): no score is given"
        )
    return {**result, "without_canonical": len(benchmark) - len(solved)}


def _require_tests(benchmark: Benchmark, judging: Judging) -> None:
    """InputProblem for a test that passes a wrong text as well as an empty answer: it checks nothing."""
    from tunebook.execution.runner import run_programs

    left = list(benchmark.problems)
    for value in (None, "no answer to any problem"):
        programs = []
        for problem in left:
            code = f"def {problem['entry_point']}(*args, **kwargs):\n    return {value!r}\n"
            programs.append(make_program(problem, 0, code if problem["kind"] == "code" else value or ""))
        outcomes = run_programs(programs, workers=judging.workers, allow_unisolated=judging.allow_unisolated)
        left = [problem for problem, outcome in zip(left, outcomes, strict=True) if outcome.passed]
        if not left:
            return
    others = f" (and those of {len(left) - 1} others)" if len(left) > 1 else ""
    raise InputProblem(f"{benchmark.source}: the test of {left[0]['task_id']}{others} passes everything: correct it")


def canonical_source(problem: dict) -> str:
    """The canonical solution as a program (kind code), or as it is extracted when a model answers with it (kind answer)."""
    solution = problem["canonical_solution"]
    return extract(solution, problem) if problem["kind"] == "answer" else problem["prompt"] + solution


def count(benchmark: Benchmark, judged: list[dict], finish_reasons: Sequence[str | None]) -> dict:
    """k of n, intervals, pass@k, slices and the failure table of judged rows.

    `k` and `n` count samples; with one sample a problem n is the number of problems and the interval is Wilson's, with several
    it is clustered by problem.
    """
    passed: dict[str, list[bool]] = {}
    for row in judged:
        passed.setdefault(row["task_id"], []).append(row["passed"])
    samples = len(judged) // len(passed)
    ended: dict[str, Counter] = {task_id: Counter() for task_id in passed}
    for row, reason in zip(judged, finish_reasons, strict=True):
        ended[row["task_id"]][ending(row, reason)] += 1
    return {
        "benchmark": benchmark.name,
        "benchmark_sha256": benchmark.sha256,
        "problems": len(passed),
        "n_samples": samples,
        **rates(passed),
        "pass_at_k": {str(k): estimate_pass_at_k(passed, k) for k in USUAL_KS if k <= samples},
        "slices": {name: _slice(tasks, passed, ended) for name, tasks in benchmark.slices().items()},
        "verdicts": dict(Counter(row["verdict"] for row in judged)),
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


def protocol_record(protocol: Protocol | dict | None, benchmark: Benchmark, samples: int) -> dict:
    """What protocol.json holds. The benchmark, the extractor and the sample count are always known; the rest may be "unknown"."""
    known = {
        "benchmark": benchmark.name,
        "benchmark_sha256": benchmark.sha256,
        "extractor": EXTRACTOR,
        "n_samples": samples,
    }
    if protocol is None:
        record = {**dict.fromkeys(Protocol("").to_dict(), UNKNOWN), **known}
        return {**record, "sha256": hash_json(record)}
    given = protocol.to_dict() if isinstance(protocol, Protocol) else dict(protocol)
    for key in ("benchmark_sha256", "extractor", "n_samples"):
        if given.get(key, known[key]) != known[key]:
            raise InputProblem(
                f"protocol: {key} is {given[key]!r}, the completions and the benchmark have {known[key]!r}: correct it"
            )
    whole = from_dict({**given, **known})
    return {**whole.to_dict(), "sha256": whole.hash}


def make_program(problem: dict, sample: int, source: str):
    """The runner's Program for one source text of a problem."""
    from tunebook.execution.runner import Program

    is_code = problem["kind"] == "code"
    return Program(
        task_id=problem["task_id"],
        sample=sample,
        source=source,
        entry_point=problem["entry_point"],
        test=problem["test"],
        prompt=problem["prompt"] if is_code else "",
        kind=problem["kind"],
        reference=canonical_source(problem) if is_code else "",
    )


def _score_row(task_id, sample, passed, verdict, detail, cpu_seconds) -> dict:
    return {
        "task_id": task_id,
        "sample": sample,
        "passed": passed,
        "verdict": verdict,
        "detail": detail,
        "cpu_seconds": round(cpu_seconds, 3),
    }


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# One line of the failure table for each verdict word; a failed completion that the token limit cut counts as truncated.
TAXONOMY = {
    "pass": "pass", "wrong": "wrong answer", "exception": "exception", "syntax": "syntax", "no_code": "no code",
    "cpu_limit": "time-out", "wall_limit": "time-out", "early_exit": "early exit", "invalid_output": "invalid output",
    "mem_limit": "over a limit", "output_limit": "over a limit", "proc_limit": "over a limit", "denied": "denied",
}  # fmt: skip


def ending(row: dict, finish_reason: str | None) -> str:
    """The line of the failure table that a judged row belongs to."""
    is_cut = not row["passed"] and finish_reason == "length"
    return "truncated" if is_cut else TAXONOMY.get(row["verdict"], row["verdict"])


def count_endings(endings: Iterable[Counter]) -> dict[str, int]:
    """How many rows ended in each way, the most frequent first."""
    return dict(sum(endings, Counter()).most_common())
