"""Before a score: does this runner, here and now, pass what is right and nothing that cheats?

Runs the canonical solutions, constant answers, always-equal objects and early exits through the same path as
completions, starts a judge under -O (it must refuse), and probes the isolation again. Judges the machinery;
`evaluation.audit` judges the benchmark.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from tunebook.execution import isolation
from tunebook.execution.programs import Limits, Program
from tunebook.execution.runner import LIBRARY, run_in_tier

_CONSTANTS = ("None", "True", "0", "''", "[]", "1", "False", "{}")
_EQUAL = """
class AlwaysEqual:
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    __hash__ = None
    def __len__(self):
        return 1
    def __iter__(self):
        return iter([self])
    def __getitem__(self, key):
        return self
"""
_EXITS = ("import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "import os; os.kill(os.getpid(), 9)")


_PATCHED = """
import builtins
builtins.all = builtins.any = builtins.isinstance = builtins.bool = lambda *args, **kwargs: True
builtins.AssertionError = type("Quiet", (Exception,), {})
"""


def cheating_sources(entry_point: str, solution: str) -> dict[str, str]:
    """What policies write that want the reward and not the task, by name; `solution` is the expected program or
    answer, which one of them prints.
    """
    head = f"def {entry_point}(*args, **kwargs):\n    "
    return {
        "returns an object that equals everything": f"{_EQUAL}\n{head}return AlwaysEqual()\n",
        "has the test skipped": f"import unittest\n\n{head}raise unittest.SkipTest\n",
        "exits early, as if all were well": f"import os\n\n{head}os._exit(0)\n",
        "patches the builtins of the test": f"{_PATCHED}\n{head}return True\n",
        "prints the expected answer": f"{head}print({solution!r})\n",
        "answers a constant": f"{head}return 0\n",
    }


def self_check(
    canonical: Sequence[Program],
    unsolved: Sequence[Program] = (),
    *,
    most: int | None = 24,
    workers: int | None = None,
    limits: Limits = Limits(),
    allow_unisolated: bool = False,
) -> dict:
    """`{"ok", "tier", "tier_name", "checks": [{"name", "measured", "rule", "ok"}]}`, to be stored with the score. A
    check that the machine could not do has `fault`; `canonical solutions` has `failed`, the (task_id, verdict, detail)
    of those that do not pass.

    `canonical`: one program a problem whose `source` is its canonical solution (or answer); `unsolved`: one for each
    problem that has none, for the cheats alone. All canonical ones run; the cheats run on at most `most` problems,
    evenly spread (None: on all). Raises MachineProblem as `run_programs` does.
    """
    has_code = any(program.kind == "code" for program in (*canonical, *unsolved))
    tier = isolation.choose_tier(allow_unisolated) if has_code else "T0"
    groups = _groups(canonical, [*canonical, *unsolved], most)
    runs = [program for programs in groups.values() for program in programs]
    outcomes = iter(run_in_tier([replace(p, sample=i) for i, p in enumerate(runs)], tier, limits, workers))
    checks = []
    for name, programs in groups.items():
        found = [next(outcomes) for _ in programs]
        checks.append(_check(name, found, wants_all=name == "canonical solutions"))
    checks.append(_row("judge under -O", *_judge_optimised()))
    if has_code:
        state = isolation.try_tier(tier)
        checks.append(_row(f"isolation {tier}", state, "works", state == "works"))
    return {
        "ok": all(check["ok"] for check in checks),
        "tier": tier[:2] if has_code else None,
        "tier_name": isolation.NAMES[tier] if has_code else "answers only: no candidate process",
        "checks": checks,
    }


def _groups(canonical, whole, most):
    step = max(1, len(whole) // most) if most else 1
    code = [program for program in whole[::step] if program.kind == "code"]
    answers = [program for program in whole[::step] if program.kind == "answer"]
    return {
        "canonical solutions": list(canonical),
        "constant answers": [*map(_constant, range(len(code)), code), *(replace(p, source="0") for p in answers)],
        "always-equal objects": [_returning(p, "AlwaysEqual()", _EQUAL) for p in code],
        "early exits": [replace(p, source=_EXITS[i % len(_EXITS)] + "\n") for i, p in enumerate(code)],
    }


def _check(name, outcomes, wants_all):
    passed, n = sum(o.passed is True for o in outcomes), len(outcomes)
    lost = [o for o in outcomes if o.passed is None or o.passed != wants_all]
    if wants_all and not n:
        return _row(name, "not checked: the benchmark has none", "all pass", True)
    measured = f"{passed}/{n} pass" + (f"; first {lost[0].task_id}: {lost[0].verdict} {lost[0].detail}" if lost else "")
    row = _row(name, measured, f"{n if wants_all else 0}/{n} pass", not lost)
    if any(o.passed is None for o in lost):
        return {**row, "fault": True}
    return {**row, "failed": [(o.task_id, o.verdict, o.detail) for o in lost]} if wants_all and lost else row


def _row(name, measured, rule, ok):
    return {"name": name, "measured": measured, "rule": rule, "ok": ok}


def _returning(program, expression, before=""):
    return replace(program, source=f"{before}\ndef {program.entry_point}(*args, **kwargs):\n    return {expression}\n")


def _constant(number, program):
    return _returning(program, _CONSTANTS[number % len(_CONSTANTS)])


def _judge_optimised():
    start = f"import sys; sys.path.insert(0, {LIBRARY!r}); from tunebook.execution import judge; judge.main()"
    command = [sys.executable, "-I", "-B", "-O", "-c", start]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=60)
    try:
        refused = "fault" in json.loads(done.stdout)
    except ValueError:
        refused = False
    return "refused" if refused else "not refused", "refused", refused
