"""Can this benchmark tell right from wrong? Canonical solutions pass, empty answers fail, and small mutations are
noticed.

A benchmark that cannot fail measures nothing. Does not score a model.
"""

import ast
import copy
import re
from collections import Counter
from dataclasses import replace
from random import Random

from tunebook.errors import MachineProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.readiness import Judging, canonical_source, make_program

MUTANTS = 6
# A mutant that loops for ever is killed as surely after one second as after three.
MUTANT_CPU_SECONDS = 1.0


def audit(benchmark: Benchmark, mutants_each: int = MUTANTS, judging: Judging = Judging()) -> dict:
    """Findings about the problems themselves, as plain values for a table or a gate.

    Keys: `problems`, `canonical_failed` and `empty_passed` (task ids; both should be empty), `no_canonical`, `mutants`,
    `killed`, `killed_ratio` (None when nothing could be mutated), `by_kind` (kind -> [killed, made]) and `weak`:
    problems with a surviving mutant, most survivors first. MachineProblem when the runner fails.
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
            found = of_answer(problem["canonical_solution"], following, most)
        else:
            found = of_program(problem["prompt"], problem["canonical_solution"], most)
        programs += [make_program(problem, number, source) for number, (_, source) in enumerate(found)]
        kinds += [kind for kind, _ in found]
    return programs, kinds


def _run(programs: list, judging: Judging, cpu_seconds: float | None) -> list:
    outcomes = (replace(judging, cpu_seconds=cpu_seconds) if cpu_seconds else judging).run(programs)
    broken = next((outcome for outcome in outcomes if outcome.verdict == "invalid"), None)
    if broken:
        raise MachineProblem(f"the benchmark audit could not judge {broken.task_id} ({broken.detail}): run it again")
    return outcomes


KINDS = ("return", "operator", "constant")
_SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Add,
}  # fmt: skip


def of_program(prompt: str, solution: str, most: int) -> list[tuple[str, str]]:
    """Up to `most` (kind, source) mutants of prompt + solution, changed only in the solution; the same on every call.

    The kinds come in turn, each spread over the solution. Helpers that the prompt gives stay as they are.
    """
    source, first_line = prompt + solution, prompt.count("\n") + 1
    tree = ast.parse(source)
    words = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    places = [
        (i, node)
        for i, node in enumerate(ast.walk(tree))
        if id(node) not in words and getattr(node, "lineno", 0) >= first_line
    ]
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    seen = {ast.unparse(tree)}
    for i, node in places:
        for kind, change in _changes(node):
            mutant = copy.deepcopy(tree)
            change(next(n for j, n in enumerate(ast.walk(mutant)) if j == i))
            text = ast.unparse(ast.fix_missing_locations(mutant)) + "\n"
            if text not in seen:
                seen.add(text)
                by_kind[kind].append(text)
    return _in_turn(by_kind, most)


def of_answer(answer: str, others: list[str], most: int) -> list[tuple[str, str]]:
    """Up to `most` (kind, answer) mutants of an answer text: a number or word changed or dropped, and other
    problems' answers.
    """
    by_kind: dict[str, list[str]] = {
        "constant": [],
        "dropped": [],
        "other": [o for o in others if o.split() != answer.split()],
    }
    for found in re.finditer(r"\d+", answer):
        by_kind["constant"].append(f"{answer[: found.start()]}{int(found.group()) + 1}{answer[found.end() :]}")
    words = answer.split()
    for i in range(len(words)):
        by_kind["dropped"].append(" ".join(words[:i] + words[i + 1 :]))
    return _in_turn(by_kind, most)


def _in_turn(by_kind: dict[str, list[str]], most: int) -> list[tuple[str, str]]:
    chosen, wanted = [], max(1, -(-most // max(1, sum(map(bool, by_kind.values())))))
    for kind, texts in by_kind.items():
        step = max(1.0, len(texts) / wanted)
        chosen.append([(kind, texts[int(i * step)]) for i in range(min(wanted, len(texts)))])
    turns = [items[i] for i in range(wanted) for items in chosen if i < len(items)]
    return turns[:most]


def _changes(node: ast.AST):
    """(kind, in-place change) for one node; none for most nodes."""
    if isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return", lambda n: setattr(n, "value", ast.Constant(None))
        if not isinstance(node.value, (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set)):
            yield "return", lambda n: setattr(n, "value", ast.UnaryOp(ast.Not(), n.value))
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        yield "operator", lambda n: n.ops.__setitem__(0, _SWAPS[type(n.ops[0])]())
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPS:
        yield "operator", lambda n: setattr(n, "op", _SWAPS[type(n.op)]())
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", lambda n: setattr(n, "value", not n.value)
        elif isinstance(node.value, (int, float)):
            yield "constant", lambda n: setattr(n, "value", n.value + 1)
        elif isinstance(node.value, str):
            yield "constant", lambda n: setattr(n, "value", n.value + "x")
