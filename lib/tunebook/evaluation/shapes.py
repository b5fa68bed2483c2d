"""Benchmarks and completions as their authors publish them, turned into the kit's own rows.

Benchmarks: HumanEval's schema (its + versions and HumanEvalPack too), MBPP (both releases and MBPP+), EvalPlus' release
files, BigCodeBench, GSM8K, MATH, and questions with answers, where only the answer's own words are right.
Completions: EvalPlus' samples, lm-evaluation-harness' samples, bigcode-evaluation-harness' generations. Anything
else is named field by field (`--map FIELD=PATH`). Judges nothing: a problem that cannot be judged is found by `score`.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation.reading import math_answers
from tunebook.evaluation.reply import extract_answer
from tunebook.files import numbered_rows, parse_json, read_text

REQUIRED = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
OPTIONAL = ("kind", "slice", "reading")
COMPLETION_FIELDS = ("completion", "sample", "finish_reason", "n_tokens")
BENCHMARK_FIELDS = ("prompt", "entry_point", "canonical_solution", "test", *OPTIONAL)
# Fields of benchmarks whose programs read standard input: APPS, CodeContests, LiveCodeBench
_STDIN = ("input_output", "public_tests", "public_test_cases", "private_test_cases", "inputs", "official_tests")
_SCRIPT = """SCRIPT = {script!r}


def check(candidate):
    exec(compile(SCRIPT, "<test>", "exec"), {{**globals(), {name!r}: candidate, "__name__": "test"}})
"""
_LIKE_REFERENCE = """import copy
import math

SOLUTION = {solution!r}
INPUTS = {inputs!r}
TOLERANCE = {tolerance!r}


def same(a, b):
    if isinstance(b, float) and isinstance(a, (int, float)):
        return a == b or math.isclose(a, b, rel_tol=1e-7, abs_tol=TOLERANCE or 1e-6) or a != a and b != b
    if isinstance(b, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def check(candidate):
    names = {{}}
    exec(compile(SOLUTION, "<reference>", "exec"), names)
    for values in INPUTS:
        expected = names[{name!r}](*copy.deepcopy(values))
        assert same(candidate(*copy.deepcopy(values)), expected), f"expected {{expected!r:.200}}"
"""
_UNITTEST = """
import unittest


def check(candidate):
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(TestCases).run(result)
    assert result.wasSuccessful(), (result.failures + result.errors)[0][1].strip().split("\\n")[-1]
"""
_EXACT = """EXPECTED = {expected!r}


def check(answer):
    assert " ".join(answer.split()) == EXPECTED, f"expected {{EXPECTED!r}}"
"""
LONG_WORDS = 10  # an answer of more words is free text, which no model writes word for word
_QUESTIONS = ("question", "prompt", "instruction", "problem", "query", "input")
_ANSWERS = ("answer", "completion", "output", "response", "target", "label")
_BESIDE = ("choices", "options", "context", "passage", "article", "input")  # what a question may need
_LAST_NUMBER = """import re

EXPECTED = {expected!r}


def check(answer):
    numbers = re.findall(r"-?\\d[\\d,]*(?:\\.\\d+)?", answer)
    assert numbers and float(numbers[-1].replace(",", "")) == EXPECTED, f"expected {{EXPECTED:g}}"
"""


def read_entries(path: Path) -> list[tuple[int, object]]:
    """(1-based line or place, value) of a JSON lines file or of one JSON list, gzip or not. InputProblem where it is
    neither.
    """
    text = read_text(path)
    if text.lstrip()[:1] != "[":
        return numbered_rows(path)
    try:
        values = parse_json(text, str(path))
    except InputProblem:
        return numbered_rows(path)
    return list(enumerate(values, start=1))


def read_mapping(pairs: list[str]) -> dict[str, str]:
    """{field: path} from "FIELD=PATH" texts, as `--map` and `mapping` take them. InputProblem for an unknown field.

    >>> read_mapping(["completion=choices[0].text"])
    {'completion': 'choices[0].text'}
    """
    known = ("task_id", *COMPLETION_FIELDS, *BENCHMARK_FIELDS)
    found = dict(pair.partition("=")[::2] for pair in pairs)
    for field, path in found.items():
        if field not in known or not path:
            raise InputProblem(f"--map {field}={path}: write FIELD=PATH, with one of {', '.join(known)}")
    return found


def at_path(row, path: str, unpack: Callable | None = None):
    """The value at a path such as `choices[0].message.content`, a list for `choices[].text`; KeyError where there is
    none. `unpack` reads a text on the way that holds JSON.

    >>> at_path({"resps": [["a"]]}, "resps[0][0]"), at_path({"all": [{"n": 1}, {"n": 2}]}, "all[].n")
    ('a', [1, 2])
    """
    if isinstance(row, dict) and path in row:
        return row[path]
    for found in re.finditer(r"([^.\[\]]+)|\[(\d*)\]", path):
        row = unpack(row) if unpack and isinstance(row, str) else row
        key, place = found.groups()
        if found.group() == "[]" and isinstance(row, list):
            return [at_path(item, path[found.end() :], unpack) for item in row]
        try:
            row = row[key] if key else row[int(place)]
        except (KeyError, IndexError, TypeError, ValueError):
            raise KeyError(path) from None
    return row


def _mapped(row: dict, mapping: dict[str, str], fields: tuple[str, ...], where: str) -> dict:
    """The row with the mapped fields beside its own; `task_id` is taken where its path leads to something."""
    found = dict(row)
    for field, path in mapping.items():
        if field not in (*fields, "task_id"):
            continue
        try:
            found[field] = at_path(row, path)
        except KeyError:
            if field != "task_id":
                raise InputProblem(f"{where}: --map {field}={path} leads nowhere: the row has {_keys(row)}") from None
    return found


def _keys(row: dict) -> str:
    return ", ".join(map(str, row)) or "no fields"


def problems_from(entries: list[tuple[int, object]], where: str, mapping: dict[str, str] | None = None) -> list[dict]:
    """Rows in the kit's schema, each with its `_line`; the shape is that of the first row. InputProblem names what
    is not known.
    """
    rows, convert = [], None
    for number, row in entries:
        place = f"{where}, line {number}"
        if not isinstance(row, dict):
            raise InputProblem(f"{place}: expected one JSON object, found {type(row).__name__}")
        row = _mapped(row, mapping or {}, BENCHMARK_FIELDS, place)
        convert = (
            convert or _math_of([row for _, row in entries], mapping or {}) or _shape_of(row, place, mapping or {})
        )
        try:
            row = convert(row, number)
        except (KeyError, TypeError, ValueError, SyntaxError, AttributeError) as error:
            raise InputProblem(f"{place}: not of the shape of the first row ({error!r}): correct the row") from None
        task_id = row["task_id"]
        row["task_id"] = str(task_id) if type(task_id) is int else task_id
        rows.append({**row, "_line": number})
    return rows


def _shape_of(row: dict, where: str, mapping: dict[str, str]) -> Callable[[dict, int], dict]:
    if all(key in row for key in REQUIRED) or "kind" in row:
        return lambda row, number: dict(row)
    if "test_list" in row and "code" in row and ("text" in row or "prompt" in row):
        return _mbpp
    if {"base_input", "prompt", "canonical_solution", "entry_point"} <= row.keys():
        return _evalplus
    if {"complete_prompt", "canonical_solution", "test", "entry_point"} <= row.keys():
        return _bigcodebench
    if isinstance(row.get("answer"), str) and "####" in row["answer"] and "question" in row:
        return _gsm8k
    stdin = [key for key in _STDIN if key in row]
    if stdin:
        raise InputProblem(
            f"{where}: {stdin[0]} holds what programs read from standard input, and such programs cannot be judged"
            " here: take a benchmark whose tests call a function"
        )
    if {"prompt", "canonical_solution"} <= mapping.keys() and not {"test", "entry_point"} & row.keys():
        if beside := [name for name in _BESIDE if row.get(name) and not mapping["prompt"].startswith(name)]:
            raise InputProblem(
                f"{where}: prompt={mapping['prompt']} leaves out {beside[0]}, which the question needs: write both into"
                " one field"
            )
        return lambda row, number: exact_problem(
            row.get("task_id", number - 1), row["prompt"], str(row["canonical_solution"])
        )
    missing = [key for key in REQUIRED if key not in row]
    question, answer = (next((name for name in names if name in row), "") for names in (_QUESTIONS, _ANSWERS))
    flags = f"--map prompt={question} --map canonical_solution={answer}" if question and answer else ""
    remedy = f"for questions with answers, where only the same words are right, give {flags}" if flags else (
        "name them with --map FIELD=PATH; a question and its answer are enough where only the same words are right: "
        "--map prompt=... --map canonical_solution=..."
    )  # fmt: skip
    raise InputProblem(
        f"{where}: missing {', '.join(missing)}: a problem needs {', '.join(REQUIRED)}; the row has {_keys(row)}; "
        f"{remedy}"
    )


def exact_problem(task_id: str | int, prompt: str, answer: str) -> dict:
    """A problem of kind `answer`: right are only the answer's own words, white space apart, both as the extractor
    reads them.
    """
    expected = " ".join(extract_answer(answer).split())
    solved = {"entry_point": "answer", "canonical_solution": answer, "test": _EXACT.format(expected=expected)}
    return {"task_id": task_id, "prompt": prompt, **solved, "kind": "answer"}


def free_text_line(problems: list[dict]) -> str:
    """What the benchmark is where more than one in ten of its answers is a free text that must be met word for word;
    "" otherwise.
    """
    answers = [problem.get("canonical_solution", "") for problem in problems]
    exact = [exact_problem("", "", answer)["test"] for answer in answers]
    n_words = [
        len(answer.split())
        for problem, answer, test in zip(problems, answers, exact, strict=True)
        if problem.get("test") == test
    ]
    n_long = sum(n > LONG_WORDS for n in n_words)
    if 10 * n_long <= len(problems):
        return ""
    return (
        f"{n_long} of {len(problems)} answers are long free texts ({sorted(n_words)[len(n_words) // 2]} words in the"
        " median), and only the very same words count as right: a score near 0 says nothing about the model; give a"
        " benchmark whose test judges the answer"
    )


def _mbpp(row: dict, number: int) -> dict:
    """MBPP: the task and its tests in a docstring, as the paper shows them; the solution is the whole program."""
    code, tests = row["code"].replace("\r\n", "\n"), "\n".join(row["test_list"])
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports") or [])
    name = _tested_name(code, tests)
    words = f"{row.get('text') or row['prompt']}\n{tests}".replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return {
        "task_id": row["task_id"],
        "prompt": f'"""\n{words}\n"""\n',
        "entry_point": name,
        "canonical_solution": code.strip("\n") + "\n",
        "test": _SCRIPT.format(script=row.get("test") or f"{setup}\n{tests}\n", name=name),
    }


def _tested_name(code: str, tests: str) -> str:
    """The last function of the solution that the tests call."""
    defined = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    called = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    return [name for name in defined if name in called][-1] if called & set(defined) else defined[-1]


def _evalplus(row: dict, number: int) -> dict:
    """EvalPlus' release files give inputs only: expected is what the solution gives for them."""
    inputs = [*row["base_input"], *(row.get("plus_input") or [])]
    solution, name = row["prompt"] + row["canonical_solution"], row["entry_point"]
    test = _LIKE_REFERENCE.format(solution=solution, inputs=inputs, tolerance=row.get("atol") or 0, name=name)
    return {**{key: row[key] for key in REQUIRED if key != "test"}, "test": test}


def _bigcodebench(row: dict, number: int) -> dict:
    """BigCodeBench: the tests are a `unittest.TestCase`."""
    kept = {key: row[key] for key in ("task_id", "entry_point", "canonical_solution")}
    return {**kept, "prompt": row["complete_prompt"], "test": row["test"] + "\n" + _UNITTEST}


def _math_of(rows: list, mapping: dict[str, str]) -> Callable[[dict, int], dict] | None:
    """How rows of mathematical problems are read (MATH, NuminaMath, AIME), None where they are others: some answers
    stand in `\\boxed{}`, or are short and in LaTeX, or are numbers to what is called a problem.
    """
    first = rows[0] if isinstance(rows[0], dict) else {}
    if {"test", "entry_point", "kind"} & (first.keys() | mapping.keys()):
        return None
    question = mapping.get("prompt") or next((name for name in _QUESTIONS if name in first), "")
    names = [mapping["canonical_solution"]] if "canonical_solution" in mapping else ["solution", *_ANSWERS]
    for name in names:
        try:
            texts = [str(at_path(row, name)) for row in rows]
        except KeyError:
            continue
        is_short = sorted(map(len, texts))[len(texts) // 2] <= 60
        is_math = any("\\boxed" in text for text in texts) or is_short and any(map(_LATEX.search, texts))
        is_math |= question == "problem" and all(map(_NUMERIC.fullmatch, texts))
        if question and is_math:
            return lambda row, number: _math(row, number, question, name)
        if question and "prompt" in mapping and all(map(_PLAIN_NUMBER.fullmatch, texts)):
            return lambda row, number: {
                "task_id": row.get("task_id", number - 1),
                **number_problem(str(at_path(row, question)), str(at_path(row, name))),
            }
    return None


_LATEX = re.compile(r"\\(?:[dt]?frac|sqrt|pi|text|left|circ|cdot|infty)(?![a-zA-Z])")
_PLAIN_NUMBER = re.compile(r"\s*-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?\s*")
_NUMERIC = re.compile(r"\s*-?\$?[\d,./ ]+%?\s*")


def _math(row: dict, number: int, question: str, answer: str) -> dict:
    """MATH: right is what is equal to what the last `\\boxed{}` of the solution holds (see `math_answers`)."""
    name = row.get("task_id", row.get("unique_id", row.get("id")))
    kinds = [row[key] for key in ("slice", "subject", "type") if isinstance(row.get(key), str)][:1]
    problem = math_answers.problem_of(str(at_path(row, question)), str(at_path(row, answer)))
    return problem | {"task_id": str(number - 1 if name is None else name), **({"slice": kinds[0]} if kinds else {})}


def _gsm8k(row: dict, number: int) -> dict:
    """GSM8K: the answer is the number after `####`; ids are the 0-based places in the file."""
    return {"task_id": str(row.get("task_id", number - 1)), **number_problem(row["question"], row["answer"])}


def number_problem(question: str, solution: str) -> dict:
    """A problem whose answer is a number: the last one of a reply, or of what it marks as its answer, must be it."""
    expected = float(re.sub(r"[,$%\s]", "", solution.rpartition("####")[2]))
    solved = {"entry_point": "answer", "canonical_solution": solution, "test": _LAST_NUMBER.format(expected=expected)}
    return {"prompt": question, **solved, "kind": "answer", "reading": "last_number"}


def completions_from(
    entries: list[tuple[int, object]], task_ids: list[str], where: str, mapping: dict[str, str] | None = None
) -> list[dict]:
    """Rows of `task_id, completion` and what else is known of them. InputProblem names the fields of a row that has
    no completion.
    """
    if entries and all(isinstance(value, list) for _, value in entries):
        return _generations([value for _, value in entries], task_ids, where)
    rows = []
    for number, row in entries:
        place = f"{where}, row {number}"
        if not isinstance(row, dict):
            raise InputProblem(f"{place}: expected one JSON object, found {type(row).__name__}")
        row = _mapped(row, mapping or {}, COMPLETION_FIELDS, place)
        if "completion" not in row and "resps" in row:
            rows += _harness_rows(row, task_ids, place)
            continue
        if "completion" not in row and "solution" in row:
            row["completion"] = row.pop("solution")
        if "completion" not in row:
            raise InputProblem(
                f"{place}: no completion: a row is task_id, completion; this one has {_keys(row)}; "
                "name the field of the text with --map completion=FIELD"
            )
        rows.append({**row, "task_id": str(row["task_id"])} if type(row.get("task_id")) is int else row)
    filters = [row.get("filter") for row in rows if "filter" in row]
    rows = [
        row for row in rows if row.get("filter") in (None, *filters[:1])
    ]  # the harness repeats each row for every filter
    return _with_ids_of(rows, task_ids)


def _harness_rows(row: dict, task_ids: list[str], where: str) -> list[dict]:
    """lm-evaluation-harness' row: raw responses in `resps`; the id is the one that a mapping names, the document's, or
    its place in the benchmark.
    """
    place, doc = row.get("doc_id"), row.get("doc")
    named = row.get("task_id", doc.get("task_id") if isinstance(doc, dict) else None)
    if named is None and not (type(place) is int and 0 <= place < len(task_ids)):
        raise InputProblem(
            f"{where}: doc_id {place!r} is no place in the benchmark, and doc has no task_id: name it with --map"
        )
    if not isinstance(row["resps"], list):
        found = f"found {type(row['resps']).__name__}"
        raise InputProblem(f"{where}: resps is a list of texts, {found}: name the text with --map completion=FIELD")
    texts = row["resps"][0] if row["resps"] and isinstance(row["resps"][0], list) else row["resps"]
    task_id = task_ids[place] if named is None else str(named)
    return [{"task_id": task_id, "completion": text, "filter": row.get("filter")} for text in texts]


def _generations(lists: list[list], task_ids: list[str], where: str) -> list[dict]:
    """bigcode-evaluation-harness' generations: one list of texts a problem, in the benchmark's order."""
    if len(lists) != len(task_ids):
        raise InputProblem(
            f"{where}: {len(lists)} lists of texts for {len(task_ids)} problems: without ids there must be one for each"
        )
    return [
        {"task_id": task, "completion": text} for task, texts in zip(task_ids, lists, strict=True) for text in texts
    ]


def _with_ids_of(rows: list[dict], task_ids: list[str]) -> list[dict]:
    """The benchmark's ids where only one side writes `Mbpp/2` for MBPP's problem 2."""
    known = set(task_ids)
    for change in (lambda task: f"Mbpp/{task}", lambda task: task.removeprefix("Mbpp/")):
        changed = [change(str(row.get("task_id"))) for row in rows]
        if known.isdisjoint(str(row.get("task_id")) for row in rows) and known.issuperset(changed):
            return [{**row, "task_id": task} for row, task in zip(rows, changed, strict=True)]
    return rows
