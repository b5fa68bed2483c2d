"""Can this benchmark tell right from wrong? Canonical solutions pass, empty answers fail, and small mutations are noticed.

A benchmark that cannot fail measures nothing. Does not score a model.
"""

from collections import Counter
from dataclasses import replace
from random import Random

from tunebook.errors import MachineProblem
from tunebook.evaluation import mutants
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.score import Judging, canonical_source, make_program

MUTANTS = 6
# A mutant that loops for ever is killed as surely after one second as after three.
MUTANT_CPU_SECONDS = 1.0


def audit(benchmark: Benchmark, mutants_each: int = MUTANTS, judging: Judging = Judging()) -> dict:
    """Findings about the problems themselves, as plain values for a table or a gate.

    Keys: `problems`, `canonical_failed` and `empty_passed` (task ids; both should be empty), `no_canonical`, `mutants`, `killed`,
    `killed_ratio` (None when nothing could be mutated), `by_kind` (kind -> [killed, made]) and `weak`: problems with a surviving
    mutant, most survivors first. MachineProblem when the runner fails.
    """
    plain = []
    for problem in benchmark.problems:
        if problem["canonical_solution"].strip():
            plain.append(make_program(problem, 0, canonical_source(problem)))
        plain.append(make_program(problem, 1, problem["prompt"] if problem["kind"] == "code" else ""))
    outcomes = _run(plain, judging, None)
    canonical_failed = [o.task_id for o in outcomes if o.sample == 0 and not o.passed]
    failed = set(canonical_failed)
    made = [problem for problem in benchmark.problems if problem["task_id"] not in failed]
    changed, kinds = _mutated(made, mutants_each)
    results = _run(changed, judging, MUTANT_CPU_SECONDS)
    tally = {kind: [0, 0] for kind in dict.fromkeys(kinds)}
    for kind, outcome in zip(kinds, results, strict=True):
        tally[kind][0] += not outcome.passed
        tally[kind][1] += 1
    totals = Counter(o.task_id for o in results)
    survivors = Counter(o.task_id for o in results if o.passed)
    killed = len(results) - sum(survivors.values())
    return {
        "benchmark": benchmark.name,
        "problems": len(benchmark),
        "canonical_failed": canonical_failed,
        "no_canonical": [p["task_id"] for p in benchmark.problems if not p["canonical_solution"].strip()],
        "empty_passed": [o.task_id for o in outcomes if o.sample == 1 and o.passed],
        "mutants": len(results),
        "killed": killed,
        "killed_ratio": killed / len(results) if results else None,
        "by_kind": tally,
        "weak": [{"task_id": t, "survived": s, "mutants": totals[t]} for t, s in survivors.most_common()],
    }


def audit_sample(
    benchmark: Benchmark, n: int, seed: int, mutants_each: int = MUTANTS, judging: Judging = Judging()
) -> dict:
    """`audit` of `n` problems drawn with `seed` (0 = all): enough to see what kind of benchmark it is, in seconds."""
    drawn = sorted(Random(seed).sample(range(len(benchmark)), min(n, len(benchmark)))) if n else range(len(benchmark))
    problems = tuple(benchmark.problems[at] for at in drawn)
    return audit(replace(benchmark, problems=problems), mutants_each, judging)


def _mutated(problems: list[dict], most: int) -> tuple[list, list[str]]:
    programs, kinds = [], []
    for i, problem in enumerate(problems):
        if not problem["canonical_solution"].strip():
            continue
        if problem["kind"] == "answer":
            following = [problems[(i + step) % len(problems)]["canonical_solution"] for step in (1, 2)]
            found = mutants.of_answer(problem["canonical_solution"], following, most)
        else:
            found = mutants.of_program(problem["prompt"], problem["canonical_solution"], most)
        programs += [make_program(problem, number, source) for number, (_, source) in enumerate(found)]
        kinds += [kind for kind, _ in found]
    return programs, kinds


def _run(programs: list, judging: Judging, cpu_seconds: float | None) -> list:
    from tunebook.execution.runner import Limits, run_programs

    limits = Limits() if cpu_seconds is None else replace(Limits(), cpu_seconds=cpu_seconds)
    outcomes = run_programs(programs, workers=judging.workers, allow_unisolated=judging.allow_unisolated, limits=limits)
    broken = next((outcome for outcome in outcomes if outcome.verdict == "invalid"), None)
    if broken:
        raise MachineProblem(f"the benchmark audit could not judge {broken.task_id} ({broken.detail}): run it again")
    return outcomes
