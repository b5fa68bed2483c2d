"""Do verdicts change? Five rounds on an idle machine and five beside eight busy processes.

The canonical solutions and the recorded base completions under the limits of every score, and the hostile programs of
tests/execution/test_programs.py under that file's short limits. A program whose `passed` changes is a fault; one that
runs into several limits at once may name another of them (`words`).
"""

import multiprocessing
import sys
from collections import defaultdict
from pathlib import Path

ROUNDS, BUSY = 5, 8
ROOT = Path(__file__).parent.parent
RECORD = ROOT / "outputs" / "ref-quickstart" / "04_evaluate_pass_at_1@base" / "completions" / "humaneval.jsonl"


def measure(rounds: int = ROUNDS) -> dict:
    from tunebook.execution.isolation import choose_tier
    from tunebook.execution.runner import Limits, run_in_tier

    tier = choose_tier()
    sets = {"benchmark": (_benchmark(), Limits()), "hostile": _hostile()}
    seen = {name: defaultdict(list) for name in sets}
    for busy in (0, BUSY):
        spinners = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(busy)]
        for spinner in spinners:
            spinner.start()
        try:
            for _ in range(rounds):
                for name, (programs, limits) in sets.items():
                    for outcome in run_in_tier(programs, tier, limits):
                        seen[name][outcome.task_id, outcome.sample].append(outcome)
        finally:
            for spinner in spinners:
                spinner.kill()
                spinner.join()
    result = {name: _summary(outcomes) for name, outcomes in seen.items()}
    return {"tier": tier, "rounds_idle": rounds, "rounds_busy": rounds, "busy_processes": BUSY, **result}


def _summary(outcomes: dict) -> dict:
    changed = [key for key, found in outcomes.items() if len({outcome.passed for outcome in found}) > 1]
    words = {key: sorted({outcome.verdict for outcome in found}) for key, found in outcomes.items()}
    return {
        "programs": len(outcomes),
        "changed": [f"{task_id} sample {sample}" for task_id, sample in changed],
        "words": {task_id: found for (task_id, _), found in words.items() if len(found) > 1},
    }


def _benchmark() -> list:
    from tunebook.evaluation.benchmark import load_benchmark
    from tunebook.evaluation.completions import read_completions
    from tunebook.evaluation.extraction import extract
    from tunebook.evaluation.readiness import canonical_source, make_program

    problems = load_benchmark("humaneval")
    by_id = {problem["task_id"]: problem for problem in problems.problems}
    programs = [make_program(problem, 0, canonical_source(problem)) for problem in problems.problems]
    if RECORD.is_file():
        found = [
            (row["task_id"], extract(row["completion"], by_id[row["task_id"]]))
            for row in read_completions(RECORD, problems)
        ]
        programs += [make_program(by_id[task_id], 1, source) for task_id, source in found if source]
    return programs


def _hostile() -> tuple:
    sys.path.insert(0, str(ROOT / "tests" / "execution"))
    import test_programs as listed
    from tunebook.execution.runner import Program

    sources = dict(listed.PASS)
    for table in (listed.FAIL, listed.FORGED, listed.ABUSE, listed.LEAVES, listed.SECOND_WAVE):
        sources |= {name: source for name, (source, _) in table.items()}
    programs = [
        Program(name, 0, source, "double", listed.TEST, listed.PROMPT, reference=listed.RIGHT)
        for name, source in sources.items()
    ]
    return programs, listed.LIMITS


def _spin() -> None:
    while True:
        pass
