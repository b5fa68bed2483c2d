"""Before a score: does the runner work, can every problem be judged here, and does the extractor lose a right answer?

A problem that fails its own solution is the benchmark's fault or this kit's limit, and the two are told apart: the
solution is tried once more in the process of its own test, where a change of an argument, a callable and the standard
input arrive.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.reading.math_answers import why_not_compared
from tunebook.evaluation.reply import Reading, extract_answer
from tunebook.evaluation.syntax import definition, parse_python

CPU_SECONDS = 3.0
SHOWN = 20  # ids that a sentence names
CHECK = "right answers are read"
_THOUGHT = "<think>\nLet me see.\n</think>\n\n"


@dataclass(frozen=True)
class Judging:
    """How the runner is used: worker count (None: one a core), consent to tier T0, how replies are read, CPU seconds
    a program.
    """

    workers: int | None = None
    allow_unisolated: bool = False
    reading: Reading = field(default_factory=Reading)
    cpu_seconds: float = CPU_SECONDS

    def options(self) -> dict:
        """What `run_programs` and `self_check` take."""
        from tunebook.execution.programs import Limits

        limits = replace(Limits(), cpu_seconds=self.cpu_seconds)
        return {"workers": self.workers, "allow_unisolated": self.allow_unisolated, "limits": limits}

    def run(self, programs: list) -> list:
        """Outcomes of the programs, in their order."""
        from tunebook.execution.runner import run_programs

        return run_programs(programs, **self.options())


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


def canonical_source(problem: dict) -> str:
    """The canonical solution as a program (kind code), or as the whole answer that a model would give (kind answer)."""
    solution = problem["canonical_solution"]
    return extract_answer(solution) if problem["kind"] == "answer" else problem["prompt"] + solution


def check_runner(benchmark: Benchmark, judging: Judging = Judging()) -> dict:
    """The self-check on this benchmark, before its score: `{"ok", "tier", "tier_name", "checks"}`.

    InputProblem, which lists all problems at fault, when a canonical solution fails or is lost by the extractor, or a
    test passes everything; MachineProblem when the runner lets a cheat through or cannot judge. A constant answer that
    passes is the benchmark's weakness: it is recorded (`ok` False) and shown, and the score goes on.
    """
    from tunebook.execution.selfcheck import self_check

    solved, others = [], []
    for problem in benchmark.problems:
        (solved if problem["canonical_solution"].strip() else others).append(problem)
    programs = [make_program(problem, 0, canonical_source(problem)) for problem in solved]
    unsolved = [make_program(problem, 0, "") for problem in others]
    result = self_check(programs, unsolved, **judging.options())
    failed = [entry for check in result["checks"] if not check.get("fault") for entry in check.pop("failed", [])]
    require_judgeable(benchmark, failed, judging)
    for check in result["checks"]:
        if check["ok"]:
            continue
        if check["name"] == "constant answers":  # comes before the cheats, which pass such a test too
            _require_tests(benchmark, judging)
            continue
        raise MachineProblem(
            f"the runner's self-check failed ({check['name']}: {check['measured']}, expected {check['rule']}): no score"
            " is given"
        )
    checks = [*result["checks"], require_readable(benchmark, solved, judging)]
    return {**result, "checks": checks, "without_canonical": len(benchmark) - len(solved)}


def require_judgeable(benchmark: Benchmark, failed: list, judging: Judging) -> None:
    """InputProblem with two sentences, for what is wrong in the benchmark and for what this kit cannot judge;
    `failed` holds (task_id, verdict, detail) of canonical solutions that fail.
    """
    wrong: dict[str, list[str]] = {}
    beyond: dict[str, list[str]] = {}
    by_id = {problem["task_id"]: problem for problem in benchmark.problems}
    torn = {task: fault for task, problem in by_id.items() if (fault := _fault_of_text(problem))}
    for task, fault in torn.items():
        wrong.setdefault(fault, []).append(task)
    rest = []
    for task, verdict, detail in failed:
        if task in torn:
            continue
        if limit := _limit_of(by_id[task], verdict, judging):
            beyond.setdefault(limit, []).append(task)
        else:
            rest.append((task, verdict, detail))
    direct = judging.run([_in_the_judge(by_id[task]) for task, _, _ in rest]) if rest else []
    for (task, verdict, detail), outcome in zip(rest, direct, strict=True):
        reason = _needs_one_process(by_id[task], verdict, detail, outcome)
        said = reason or f"the canonical solution fails its own test ({verdict}{': ' if detail else ''}{detail})"
        (beyond if reason else wrong).setdefault(said, []).append(task)
    sentences = []
    if wrong:
        sentences.append(f"the benchmark is wrong in {_listed(wrong, benchmark)}")
    if beyond:
        sentences.append(f"this kit cannot judge {_listed(beyond, benchmark)}")
    if sentences:
        names = ",".join(task for groups in (wrong, beyond) for tasks in groups.values() for task in tasks)
        raise InputProblem(
            f"{benchmark.source}: {'. Besides, '.join(sentences)}. Correct them, or leave them out by name: "
            f"--leave-out {names} (parameter leave_out)"
        )


def _listed(groups: dict[str, list[str]], benchmark: Benchmark) -> str:
    count = sum(map(len, groups.values()))
    listed = "; ".join(f"{', '.join(tasks)}: {reason}" for reason, tasks in groups.items())
    return f"{count} of {len(benchmark)} problems: {listed}"


def _fault_of_text(problem: dict) -> str:
    """What is wrong with a problem as it is written, "" for nothing that can be seen without running it."""
    test = parse_python(problem["test"])
    if test is None:
        return "the test is no Python that this version reads"
    if not any("check" in _bound_names(node) for node in test.body):
        return "the test defines no function check, which gets the answer: def check(candidate)"
    solution = problem["canonical_solution"]
    if problem["kind"] == "answer" or not solution.strip() or parse_python(problem["prompt"] + solution):
        return ""
    alone = parse_python(solution)
    if alone and definition(alone, problem["entry_point"]):
        return "prompt + canonical_solution must be one program, so a prompt in prose belongs into a docstring"
    return "prompt + canonical_solution is no Python that this version reads"


def _bound_names(node: ast.stmt) -> set[str]:
    names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)}
    kinds = (ast.FunctionDef, ast.ClassDef, ast.alias)
    return names | {(getattr(item, "asname", None) or item.name) for item in ast.walk(node) if isinstance(item, kinds)}


def _in_the_judge(problem: dict):
    program = make_program(problem, 0, canonical_source(problem))
    return replace(program, kind="reference") if problem["kind"] == "code" else program


def _limit_of(problem: dict, verdict: str, judging: Judging) -> str:
    """The limit of this kit that a solution meets whatever its test says, "" for none."""
    if problem["kind"] == "answer":
        return why_not_compared(problem["canonical_solution"]) if "math_answers" in problem["test"] else ""
    if _reads_input(canonical_source(problem)):
        return "the program reads standard input, which is closed for it"
    if verdict in ("cpu_limit", "wall_limit"):
        return (
            f"the canonical solution takes more than {judging.cpu_seconds:g} s of CPU time: raise --cpu-seconds"
            " (cpu_seconds)"
        )
    return ""


def _needs_one_process(problem: dict, verdict: str, detail: str, direct) -> str:
    """Why a right solution fails here, "" where it is not right: `direct` is its outcome in the process of the test."""
    if problem["kind"] == "answer" or not direct.passed:
        return ""
    if direct.detail:  # see `judge._judge_reference`
        return f"the program {direct.detail}; it gets a copy here, so the test never sees the change"
    if verdict == "invalid_output":
        return f"the program returns no plain value ({detail})"
    return f"the test needs the program in its own process ({verdict}{': ' if detail else ''}{detail})"


def _reads_input(source: str) -> bool:
    nodes = list(ast.walk(parse_python(source) or ast.Module([], [])))
    calls = any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "input" for n in nodes)
    return calls or any(isinstance(n, ast.Attribute) and n.attr == "stdin" for n in nodes)


def _require_tests(benchmark: Benchmark, judging: Judging) -> None:
    """InputProblem for a test that passes a wrong text as well as an empty answer: it checks nothing."""
    left = list(benchmark.problems)
    for value in (None, "no answer to any problem"):
        programs = []
        for problem in left:
            code = f"def {problem['entry_point']}(*args, **kwargs):\n    return {value!r}\n"
            programs.append(make_program(problem, 0, code if problem["kind"] == "code" else value or ""))
        left = [problem for problem, outcome in zip(left, judging.run(programs), strict=True) if outcome.passed]
        if not left:
            return
    names = ", ".join(problem["task_id"] for problem in left)
    raise InputProblem(f"{benchmark.source}: the benchmark is wrong: the test passes everything in {names}: correct it")


def require_readable(benchmark: Benchmark, solved: list[dict], judging: Judging) -> dict:
    """The row of a check: every canonical solution, written as models write, comes out of the extractor as a right
    answer.

    InputProblem names all that are lost, and in which form.
    """
    forms, programs = [], []
    for problem in solved:
        seen = [_statements(canonical_source(problem))]
        for form, text in written_forms(problem, judging.reading):
            source = extract(text, problem, judging.reading)
            if problem["kind"] == "answer" or _statements(source) not in seen:
                forms.append(form)
                programs.append(make_program(problem, len(forms), source))
                seen.append(_statements(source))
    lost: dict[str, list[str]] = {}
    for form, outcome in zip(forms, judging.run(programs) if programs else [], strict=True):
        if outcome.passed is False:
            lost.setdefault(form, []).append(outcome.task_id)
    if lost:
        listed = "; ".join(f"{form}: {_named(tasks, ', ')}" for form, tasks in lost.items())
        names = _named(list(dict.fromkeys(task for tasks in lost.values() for task in tasks)), ",")
        reading = judging.reading
        raise InputProblem(
            f"{benchmark.source}: a right answer would be scored wrong, since the extractor loses the canonical"
            f" solution when it comes {listed}. Read answers otherwise (answer_reading is {reading.answer}, code_block"
            f" is {reading.block}), or leave these problems out by name: --leave-out {names} (parameter leave_out)"
        )
    measured = f"{len(solved)} canonical solutions in 4 forms" if solved else "not checked: the benchmark has none"
    return {"name": CHECK, "measured": measured, "rule": "bare, fenced, after a thought and after chat", "ok": True}


def _named(tasks: list[str], between: str) -> str:
    """The ids, the first `SHOWN` where there are many: a benchmark that is read wrongly is wrong in all problems."""
    return between.join(tasks[:SHOWN]) + (f" and {len(tasks) - SHOWN} more" if len(tasks) > SHOWN else "")


def written_forms(problem: dict, reading: Reading) -> Iterable[tuple[str, str]]:
    """(form, text): the canonical solution as models write it. Chat stands where `reading` does not look."""
    solution = problem["canonical_solution"].strip("\n")
    if problem["kind"] == "code":
        whole = f"```python\n{canonical_source(problem).strip()}\n```"
        yield "bare", problem["canonical_solution"]
        yield "after chat", f"Here is the function:\n\n{whole}\n\nIt does what was asked."
    else:
        solution = canonical_source(problem)
        whole = f"```\n{solution}\n```"
        chat = {"first_line": f"{solution}\n\nThat is all.", "whole": f"Here it is:\n{whole}\nThat is all."}
        yield "bare", solution
        yield "after chat", chat.get(reading.answer, f"Let me see.\n\n{solution}")
    yield "fenced", whole
    yield "after a thought", _THOUGHT + (whole if problem["kind"] == "code" else solution)


def _statements(source: str) -> list[str]:
    """The statements of a program, each once, words left out: two programs with equal ones do the same."""
    tree = parse_python(source)
    body = tree.body if tree else []
    words = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return list(dict.fromkeys(ast.dump(node) for node in body if node not in words))
