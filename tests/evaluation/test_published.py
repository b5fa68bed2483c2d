"""Files as their authors publish them, replies as models write them: nothing right is scored wrong, every fault has
its true name.
"""

import gzip
import json

import pytest

from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems, load_benchmark
from tunebook.evaluation.completions import read_completions
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.reply import Reading, is_open_thought
from tunebook.evaluation.score import score, unfinished_share

FENCE = "`" * 3
MBPP = {
    "task_id": 77,
    "text": 'Write a function to add the "even" numbers of a list.',
    "code": (
        "def helper(n):\r\n  return n % 2 == 0\r\ndef even_sum(nums):\r\n  return sum(n for n in nums if helper(n))"
    ),
    "test_list": ["assert even_sum([1, 2, 4]) == 6", "assert even_sum([]) == 0"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
SANITIZED = {key: MBPP[key] for key in ("task_id", "code", "test_list")} | {"prompt": MBPP["text"], "test_imports": []}
PLUS = SANITIZED | {
    "test": (
        "inputs = [[[1, 2]], [[4, 4]]]\nresults = [2, 8]\nfor inp, exp in zip(inputs, results):\n"
        "    assert even_sum(*inp) == exp\n"
    )
}
RELEASE = {
    "task_id": "HumanEval/900",
    "prompt": 'def halve(x: float) -> float:\n    """Half of x."""\n',
    "entry_point": "halve",
    "canonical_solution": "    return x / 2\n",
    "contract": "",
    "base_input": [[3.0]],
    "plus_input": [[0.1], [-7.5]],
    "atol": 0,
}
BIGCODE = {
    "task_id": "BigCodeBench/0",
    "complete_prompt": 'def task_func(n):\n    """n twice."""\n',
    "instruct_prompt": "Write task_func.",
    "canonical_solution": "    return [n, n]\n",
    "test": (
        "import unittest\nclass TestCases(unittest.TestCase):\n    def test_it(self):\n"
        "        self.assertEqual(task_func(2), [2, 2])\n"
    ),
    "entry_point": "task_func",
}
PACK = {
    "task_id": "Python/0",
    "prompt": 'def plus(a, b):\n    """Sum."""\n',
    "entry_point": "plus",
    "canonical_solution": "    return a + b\n",
    "test": "def check(plus):\n    assert plus(1, 2) == 3\n\ncheck(plus)\n",
}
GSM = {"question": "6 bags of 12 rolls, how many?", "answer": "6 * 12 = <<6*12=1072>>1,072 rolls.\n#### 1,072"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged(tmp_path, problem, texts):
    benchmark = load_benchmark(write(tmp_path / "b.jsonl", [problem]))
    rows = [{"task_id": benchmark.task_ids()[0], "completion": text} for text in texts]
    score(benchmark, rows, tmp_path / "s", workers=2, allow_unisolated=True)
    found = [json.loads(line) for line in (tmp_path / "s" / "scores.jsonl").read_text().splitlines()]
    return [row["verdict"] for row in found]


EVEN = "def even_sum(nums):\n    return sum(n for n in nums if n % 2 == 0)\n"


@pytest.mark.parametrize(
    ("problem", "right", "wrong"),
    [
        (MBPP, EVEN, EVEN.replace("== 0", "== 1")),
        (SANITIZED, f"{FENCE}python\n{EVEN}{FENCE}", "def even_sum(nums):\n    return 6\n"),
        (PLUS, EVEN, EVEN.replace("return sum(n", "return max(n")),
        (RELEASE, "    return 0.5 * x\n", "    return x // 2\n"),
        (BIGCODE, "    return 2 * [n]\n", "    return [n]\n"),
        (PACK, "    return b + a\n", "    return a\n"),
        (GSM, "That is 6 times 12 rolls.\nThe answer is $1072.", "#### 1073"),
    ],
    ids=["mbpp", "mbpp sanitized", "mbpp plus", "evalplus release", "bigcodebench", "humanevalpack", "gsm8k"],
)
def test_a_published_benchmark_is_read_and_judged(tmp_path, problem, right, wrong):
    assert judged(tmp_path, problem, [right, wrong]) == ["pass", "wrong"]


@pytest.mark.parametrize("kind", ["SkipTest", "case._ShouldStop"])
def test_a_program_cannot_have_its_test_skipped(tmp_path, kind):
    """unittest calls a test that was skipped, or told to stop, a success."""
    source = f"import unittest, unittest.case\n\ndef task_func(n):\n    raise unittest.{kind}('not today')\n"
    assert judged(tmp_path, BIGCODE, [source])[0] in ("exception", "wrong")


def test_an_error_of_the_judge_is_not_taken_for_the_one_that_a_test_expects(tmp_path):
    test = "def check(plus):\n    try:\n        plus(1, 2)\n    except ValueError:\n        return\n    assert False\n"
    solved = {**PACK, "test": test, "canonical_solution": "    raise ValueError\n"}
    killed = "import os\n\ndef plus(a, b):\n    os.kill(os.getpid(), 40)\n"
    assert judged(tmp_path, solved, ["def plus(a, b):\n    raise ValueError\n", killed])[1] in ("early_exit", "denied")


def test_a_benchmark_may_be_one_packed_list(tmp_path):
    path = tmp_path / "b.json.gz"
    path.write_bytes(gzip.compress(json.dumps([MBPP, {**MBPP, "task_id": 78}], indent=1).encode()))
    assert load_benchmark(path).task_ids() == ["77", "78"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "Add.", "input_output": "{}", "solutions": "[]"}, "input_output .* read from standard input"),
        ({"id": 1, "question": "Add."}, "missing task_id, .*the row has id, question; name them with --map"),
    ],
)
def test_an_unknown_shape_names_what_stands_there(tmp_path, row, words):
    with pytest.raises(InputProblem, match=words):
        load_benchmark(write(tmp_path / "b.jsonl", [row]))


def test_a_benchmark_of_another_form_is_mapped(tmp_path):
    row = {
        "id": "a",
        "q": {"text": "def f(x):\n"},
        "name": "f",
        "sol": "    return x\n",
        "check": "def check(f): assert f(1) == 1",
    }
    mapping = {"task_id": "id", "prompt": "q.text", "entry_point": "name", "canonical_solution": "sol", "test": "check"}
    assert load_benchmark(write(tmp_path / "b.jsonl", [row]), mapping).problems[0]["prompt"] == "def f(x):\n"
    with pytest.raises(InputProblem, match="--map prompt=q.words leads nowhere: the row has id, q, name"):
        load_benchmark(write(tmp_path / "b.jsonl", [row]), {**mapping, "prompt": "q.words"})


def two():
    return from_problems("two", [{**PACK, "task_id": "Mbpp/1"}, {**PACK, "task_id": "Mbpp/2"}])


HARNESS = [
    {"doc_id": at, "doc": {}, "filter": name, "resps": [["x", "y"]], "filtered_resps": ["x"]}
    for name in ("strict", "flexible")
    for at in (0, 1)
]


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ([{"task_id": "Mbpp/1", "solution": "x"}, {"task_id": "Mbpp/2", "solution": "x"}], 1),
        ([{"task_id": 1, "completion": "x"}, {"task_id": 2, "completion": "x"}], 1),
        (HARNESS, 2),
        ([["x", "y", "z"], ["x", "y", "z"]], 3),
    ],
    ids=["evalplus", "plain ids", "lm-eval, a row for each filter", "bigcode generations"],
)
def test_completions_of_other_tools_are_read(tmp_path, text, samples):
    (tmp_path / "c.json").write_text(json.dumps(text))
    rows = read_completions(tmp_path / "c.json", two())
    assert [row["task_id"] for row in rows] == ["Mbpp/1"] * samples + ["Mbpp/2"] * samples
    assert rows[0]["completion"] == "x"


def test_completions_of_another_form_are_mapped_or_their_fields_named(tmp_path):
    rows = [{"task_id": task, "choices": [{"message": {"content": "x"}}]} for task in two().task_ids()]
    path = write(tmp_path / "c.jsonl", rows)
    with pytest.raises(
        InputProblem, match="row 1: no completion: .*this one has task_id, choices; .*--map completion="
    ):
        read_completions(path, two())
    found = read_completions(path, two(), {"completion": "choices[0].message.content"})
    assert [row["completion"] for row in found] == ["x", "x"]


def test_a_mapped_id_of_the_harness_wins_over_the_place(tmp_path):
    """Answers went to other problems, without a word, where the harness had another order."""
    rows = [{"doc_id": at, "doc": {"name": f"Mbpp/{2 - at}"}, "resps": [[f"of {2 - at}"]]} for at in (0, 1)]
    found = read_completions(write(tmp_path / "c.jsonl", rows), two(), {"task_id": "doc.name"})
    assert [(row["task_id"], row["completion"]) for row in found] == [("Mbpp/1", "of 1"), ("Mbpp/2", "of 2")]
    for odd in ("x", None):
        with pytest.raises(InputProblem, match="resps is a list of texts, found"):
            read_completions(write(tmp_path / "c.jsonl", [{"doc_id": 0, "doc": {}, "resps": odd}]), two())
    with pytest.raises(InputProblem, match="task_id must be text, found list"):
        read_completions(write(tmp_path / "c.jsonl", [{"task_id": ["x"], "completion": "x"}]), two())


TAG = {
    "task_id": "t/0",
    "prompt": 'def after(text):\n    """What follows </think>."""\n',
    "entry_point": "after",
    "canonical_solution": '    return text.split("</think>")[-1]\n',
    "test": 'def check(candidate):\n    assert candidate("a</think>b") == "b"\n',
    "kind": "code",
}
AFTER = 'def after(text):\n    return text.split("</think>")[-1]\n'
RIGHT = {
    "the mark in a string": AFTER,
    "the mark in a body": TAG["canonical_solution"],
    "the mark in a docstring": AFTER.replace(":\n", ':\n    """Cut\n    at </think>\n    """\n', 1),
    "a thought about the mark": f"<think>split on </think> I guess\nso</think>\n{AFTER}",
    "a draft in the thought": f"<think>{FENCE}python\n{AFTER.replace('[-1]', '[0]')}{FENCE} no</think>\n{AFTER}",
    "a thought that the template opened": (
        f"I split.\n{FENCE}python\n{AFTER.replace('[-1]', '[0]')}{FENCE}\nno\n</think>\n{AFTER}"
    ),
    "a stray mark at the end": AFTER + "</think>\n",
    "channels": (
        "<|channel|>analysis<|message|>def after(text): return"
        f" 1<|end|><|start|>assistant<|channel|>final<|message|>{AFTER}<|return|>"
    ),
    "channels without their tokens": f"analysisSplit it.assistantfinal{AFTER}",
    "another family's thought": f"[THINK]hm[/THINK]{FENCE}\n{AFTER}{FENCE}",
    "corrected in the last block": (
        f"{FENCE}\n{AFTER.replace('[-1]', '[0]')}{FENCE}\nWrong. Corrected:\n{FENCE}\n{AFTER}{FENCE}"
    ),
    "a usage block last": f"{FENCE}\n{AFTER}{FENCE}\nUse it:\n{FENCE}\nprint(after('x'))\n{FENCE}",
    "a chat mark in a string and one that ends the turn": (
        AFTER.replace(":\n", ":\n    end = '<|im_end|>'\n", 1) + "<|im_end|>\n<|im_start|>user\n"
    ),
    "a second turn that nobody asked for": (
        f"{AFTER}<|im_end|>\n<|im_start|>assistant\n{FENCE}\n{AFTER.replace('[-1]', '[0]')}{FENCE}"
    ),
}


@pytest.mark.parametrize("trouble", RIGHT)
def test_marks_are_cut_where_they_are_marks_and_kept_where_they_are_text(trouble):
    space: dict = {}
    exec(extract(RIGHT[trouble], TAG), space)  # noqa: S102 - texts of this file
    assert space["after"]("a</think>b") == "b"


def test_the_first_block_is_taken_where_the_protocol_says_so():
    text = RIGHT["corrected in the last block"]
    assert "[0]" in extract(text, TAG, Reading(block="first")) and "[-1]" in extract(text, TAG)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("first_line", "6 bags of 1,000"),
        ("last_line", "So 72 rolls (2 parts)."),
        ("last_number", "2"),
        ("whole", "6 bags of 1,000\nSo 72 rolls (2 parts)."),
    ],
)
def test_how_an_answer_is_read_is_named(reading, expected):
    text = "<think>5 or 6?</think>\n6 bags of 1,000\nSo 72 rolls (2 parts).\n<|im_end|>"
    assert extract(text, {"kind": "answer"}, Reading(reading)) == expected


NUMBERS = {
    "18": [
        "#### 18\n\nThis took 3 steps.", "#### 1. Sum\n5 + 13\n#### 2. Result\nIt is 18.", "\\boxed{18}. I tried 2 ways.",
        "$\\boxed{18 \\text{ km}^2}$", "It needs 18 m2.", "It is $18.00 a day.", "10-18", "\\boxed{x = 18}\\quad (2)",
    ],
    "1234": ["\\boxed{1{,}234}", "\\boxed{1,\\!234}", "#### $1,234", "1\u202f234 euros"],
    "-1200": ["It fell by -$1,200.", "\u22121200", "\\boxed{-\\$1,200}"],
    "0.75": ["\\boxed{\\dfrac{3}{4}}", "So 3/4 of it", "#### .75"],
    "2.5": ["It takes 2 1/2 hours.", "The answer is 5/2", "It takes 2\u00bd hours.", "2 \u00bd"],
    "0.5": ["\\boxed{\\frac12}", "It is \u00bd."],
    "1500": ["1.5e3", "It is 1.5 \\times 10^3.", "\\boxed{1.5 \\cdot 10^{3}}", "1.5E+3 units"],
    "2020": ["On 3/4/2020"],
}  # fmt: skip


@pytest.mark.parametrize(("expected", "text"), [(number, text) for number, texts in NUMBERS.items() for text in texts])
def test_a_number_is_read_as_it_is_meant(expected, text):
    """A half was read as 2, a loss of $1,200 as a gain, and the number of steps after the marked answer as the answer."""
    assert float(extract(text, {"kind": "answer"}, Reading("last_number"))) == float(expected)


@pytest.mark.parametrize("solution", ["72", "7 + 5 = 12 bags.\n#### 72"])
def test_the_layout_of_the_canonical_solution_changes_no_score(tmp_path, solution):
    """Of the same right answers 10 or 16 of 20 passed, by whether the canonical solution had a line break."""
    test = "import re\n\ndef check(answer):\n    assert re.findall(r'\\d+', answer)[-1] == '72'\n"
    problem = {
        "task_id": "g",
        "prompt": "?",
        "entry_point": "",
        "canonical_solution": solution,
        "test": test,
        "kind": "answer",
    }
    texts = [
        "7 + 5 = 12\n#### 72",
        "72",
        "12 bags.\n\n\\boxed{72}",
        f"{FENCE}\n12 * 6\n{FENCE}\nThe answer is 72.",
        "12 or 72?\nI say 12.",
    ]
    assert judged(tmp_path, problem, texts) == ["pass"] * 4 + ["wrong"]


def test_a_reading_that_loses_the_canonical_solution_gives_no_score(tmp_path):
    problem = {"task_id": "g", "prompt": "?", "entry_point": "", "canonical_solution": "one\ntwo", "kind": "answer"}
    benchmark = from_problems("poem", [{**problem, "test": "def check(answer):\n    assert answer == 'one\\ntwo'\n"}])
    protocol = Protocol(benchmark.sha256, answer_reading="first_line")
    with pytest.raises(InputProblem, match="right answer would be scored wrong.*bare: g.*answer_reading is first_line"):
        score(benchmark, [{"task_id": "g", "completion": "one\ntwo"}], tmp_path / "s", protocol)
    assert score(benchmark, [{"task_id": "g", "completion": "one\ntwo"}], tmp_path / "s")["k"] == 1


ADD = {**PACK, "kind": "code"}


def test_verdicts_tell_apart_why_there_was_no_answer(tmp_path):
    benchmark = from_problems("add", [ADD])
    texts = [
        ("def add_up(a, b):\n    return a + b\n", "stop", "wrong_name"),
        ("I would rather not.", "stop", "no_code"),
        ("    return (a +", "length", "truncated"),
        ("<think>First I", "length", "open_thought"),
        ("<|channel|>analysis<|message|>First I", "length", "open_thought"),
        ("    return a / 0", "stop", "exception"),
        ("    return b + a", "length", "pass"),
    ]
    rows = [
        {"task_id": "Python/0", "completion": text, "finish_reason": reason, "n_tokens": 9} for text, reason, _ in texts
    ]
    rows.append(
        {"task_id": "Python/0", "completion": "so first", "opened": "<think>", "finish_reason": "length", "n_tokens": 9}
    )
    metrics = score(benchmark, rows, tmp_path / "s", workers=2, allow_unisolated=True)
    found = [json.loads(line) for line in (tmp_path / "s" / "scores.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in found] == [verdict for *_, verdict in texts] + ["open_thought"]
    assert found[0]["detail"] == "defines add_up, not plus" and "9 tokens; syntax" in found[2]["detail"]
    assert metrics["unfinished"] == {"truncated": 1, "open_thought": 3} and unfinished_share(metrics) == 0.5


def test_a_cut_after_the_line_that_is_read_is_no_cut(tmp_path):
    test = "def check(answer):\n    assert answer == 'noon'\n"
    noon = {
        "task_id": "n",
        "prompt": "?",
        "entry_point": "",
        "canonical_solution": "noon",
        "test": test,
        "kind": "answer",
    }
    benchmark = from_problems("noon", [{**noon, "reading": "first_line"}])
    rows = [{"task_id": "n", "completion": text, "finish_reason": "length"} for text in ("midnight\nbecause", "midni")]
    metrics = score(benchmark, rows, tmp_path / "s")
    assert metrics["verdicts"] == {"wrong": 1, "truncated": 1} and metrics["answer_reading"] == "first_line"


def test_what_is_wrong_and_what_cannot_be_judged_are_two_sentences_and_all_are_listed(tmp_path):
    def problem(task_id, solution, test, name="f"):
        prompt = f'def {name}(x):\n    """Do it."""\n'
        return {"task_id": task_id, "prompt": prompt, "entry_point": name, "canonical_solution": solution, "test": test}

    check = "def check(candidate):\n    "
    problems = [
        problem("fine", "    return x\n", check + "assert candidate(1) == 1\n"),
        problem("place", "    x.sort()\n", check + "y = [2, 1]\n    candidate(y)\n    assert y == [1, 2]\n"),
        problem("call", "    return x(1)\n", check + "assert candidate(lambda v: v + 1) == 2\n"),
        problem("input", "    return input() + x\n", check + "assert candidate('b') == 'ab'\n"),
        problem("object", "    return object\n", check + "assert candidate(1) is object\n"),
        problem("slow", "    while x:\n        pass\n", check + "assert candidate(1) == 1\n"),
        problem("off", "    return x + 1\n", check + "assert candidate(1) == 1\n"),
        problem("bare", "    return x\n", "assert f(1) == 1\n"),
    ]
    benchmark = from_problems("mixed", problems)
    rows = [{"task_id": entry["task_id"], "completion": "    return x\n"} for entry in problems]
    protocol = {"cpu_seconds": 0.5}
    with pytest.raises(InputProblem) as caught:
        score(benchmark, rows, tmp_path / "s", protocol, workers=2, allow_unisolated=True)
    wrong, beyond, remedy = str(caught.value).split(". ")
    assert "the benchmark is wrong in 2 of 8 problems" in wrong and "off: " in wrong and "no function check" in wrong
    assert "cannot judge 5 of 8" in beyond and "place: the program changes its argument in place" in beyond
    assert "call: " in beyond and "input: the program reads standard input" in beyond and "object: " in beyond
    assert "slow: the canonical solution takes more than 0.5 s of CPU time: raise --cpu-seconds" in beyond
    assert "--leave-out bare,off," in remedy
    names = remedy.rpartition("--leave-out ")[2].partition(" ")[0].split(",")
    metrics = score(benchmark.without(names), rows[:1], tmp_path / "s", protocol, workers=2, allow_unisolated=True)
    assert metrics["k"] == metrics["n"] == 1 and metrics["benchmark"] == "mixed without 7"
    assert json.loads((tmp_path / "s" / "protocol.json").read_text())["cpu_seconds"] == 0.5


NUMPY = (
    "import numpy as np\n\n\ndef assertion(out, exp, atol):\n"
    "    if not out == exp and atol != 0:\n        np.testing.assert_allclose(out, exp, rtol=1e-07, atol=atol)\n"
    "    else:\n        assert out == exp\n\n\ndef check(candidate):\n"
    "    for x, exp in ((3.0, 1.5), (0.2, 0.1)):\n        assertion(candidate(x), exp, 1e-6)\n"
)


def test_a_test_of_humaneval_plus_compares_with_its_tolerance(tmp_path):
    halves = ["    return x * 0.5 + 1e-9\n", "    return x // 2\n"]
    problem = {key: RELEASE[key] for key in ("task_id", "prompt", "entry_point", "canonical_solution")}
    assert judged(tmp_path, {**problem, "test": NUMPY}, halves) == ["pass", "wrong"]


def test_a_prompt_in_prose_before_code_is_named_with_its_remedy(tmp_path):
    problem = {**PACK, "prompt": "Write plus(a, b).\n", "canonical_solution": "def plus(a, b):\n    return a + b\n"}
    with pytest.raises(InputProblem, match="a prompt in prose belongs into a docstring"):
        judged(tmp_path, problem, ["def plus(a, b):\n    return a + b\n"])


def test_a_thought_is_open_only_where_it_begins_the_reply():
    assert is_open_thought("<think>so") and is_open_thought("analysisWe must") and not is_open_thought("so")
    assert not is_open_thought("analysis of variance") and not is_open_thought("<think>a</think>")
