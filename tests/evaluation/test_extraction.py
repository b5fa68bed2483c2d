"""One extractor reads every way in which a model writes a right answer, and lets no wrong one become right."""

import ast
import html
import json

import pytest

from tunebook.evaluation.extraction import extract_answer, extract_code

PROMPT = '''from typing import List


def has_double(numbers: List[int], limit: int) -> bool:
    """ Is any number at least twice the limit?
    >>> has_double([1, 2], 1)
    True
    """
'''
PROBLEM = {"task_id": "T/0", "prompt": PROMPT, "entry_point": "has_double", "kind": "code"}
FULL = (
    "def has_double(numbers: List[int], limit: int) -> bool:\n    for number in numbers:\n        if number >= 2 *"
    " limit:\n            return True\n    return False\n"
)
BODY = FULL.split("\n", 1)[1]
FLAT = "".join(line[4:] for line in BODY.splitlines(keepends=True))
THREE = "`" * 3

RIGHT = {
    "body_indented": BODY,
    "body_not_indented": FLAT,
    "body_first_indent_lost": BODY.lstrip(),
    "body_one_line": "return any(n >= 2 * limit for n in numbers)",
    "full_function": FULL,
    "fence_python": f"{THREE}python\n{FULL}{THREE}",
    "fence_py": f"{THREE}py\n{FULL}{THREE}\n",
    "fence_bare": f"{THREE}\n{FULL}{THREE}",
    "fence_body": f"{THREE}python\n{BODY}{THREE}",
    "fence_flat_body": f"Sure!\n{THREE}python\n{FLAT}{THREE}\nDone.",
    "fence_unterminated": f"Here you are:\n{THREE}python\n{FULL}",
    "fence_indented": "1. Answer:\n" + "".join(f"   {line}\n" for line in f"{THREE}python\n{FULL}{THREE}".splitlines()),
    "two_fences_example_first": (
        f"Usage:\n{THREE}python\nhas_double([1, 2], 1)\n{THREE}\nCode:\n{THREE}python\n{FULL}{THREE}"
    ),
    "two_fences_helper_first": (
        f"{THREE}python\ndef twice(x):\n    return 2 * x\n{THREE}\nand\n{THREE}python\n"
        + FULL.replace("2 * limit", "twice(limit)")
        + THREE
    ),
    "two_fences_prompt_echoed_first": f"{THREE}python\n{PROMPT}{THREE}\nAnswer:\n{THREE}python\n{FULL}{THREE}",
    "prose_around": f"Here is the function:\n\n{FULL}\nNote: it stops early.\nThis works because the loop returns.",
    "prose_after_body": f"{BODY}\nThis works because the loop returns.\nDone",
    "prose_after_flat_body": f"{FLAT}\nThis works because the loop returns.",
    "prompt_echoed": PROMPT + BODY,
    "prompt_echoed_in_prose": f"Complete code:\n\n{PROMPT}{BODY}\nThat is all.",
    "function_repeated": FULL + "\n\n" + FULL.replace("return True", "return None"),
    "function_repeated_after_body": BODY + "\n\n" + FULL.replace("return True", "return None"),
    "function_repeated_and_truncated": FULL + "\n\n" + FULL[:90],
    "think_before": f"<think>\nMaybe {THREE}python\nreturn None\n{THREE}?\n</think>\n{THREE}python\n{FULL}{THREE}",
    "think_opened_by_the_template": f"so a loop\n</think>\n\n{FULL}",
    "tabs": BODY.replace("    ", "\t"),
    "tabs_full": FULL.replace("    ", "\t"),
    "helper_after_use": FULL.replace("2 * limit", "twice(limit)") + "\n\ndef twice(x):\n    return 2 * x\n",
    "helper_after_body": BODY.replace("2 * limit", "twice(limit)") + "\n\ndef twice(x):\n    return 2 * x\n",
    "trailing_prints": FULL + "\nprint(has_double([1], 2))\nprint(has_double(None, 1))\n",
    "trailing_prints_after_body": BODY + "\nprint(has_double(None, 1))\n",
    "main_guard": FULL + '\nif __name__ == "__main__":\n    input()\n',
    "truncated_after_the_function": BODY + "\n\ndef test_it():\n    assert has_dou",
    "truncated_full_after_the_function": FULL + "\nprint(has_double([1, 2",
    "truncated_in_a_dead_line": BODY + '    print("unreach',
    "crlf": f"{THREE}python\n{FULL}{THREE}".replace("\n", "\r\n"),
    "crlf_body": BODY.replace("\n", "\r\n"),
    "control_token_after": BODY.rstrip() + "<|im_end|>\n<|im_start|>user\nnext",
    "control_token_after_function": FULL + "<|endoftext|>def other(): pass",
    "control_token_in_a_string": FULL.replace("    for", '    mark = "<|im_end|>"\n    for', 1),
    "turn_marker_before": "<|im_start|>assistant\n" + FULL,
    "fence_inside_docstring": (
        f'{THREE}python\ndef has_double(numbers, limit):\n    """Example:\n    {THREE}\n    has_double([1], 2)\n   '
        f' {THREE}\n    """\n' + BODY + THREE
    ),
    "fence_inside_docstring_unfenced": (
        f'def has_double(numbers, limit):\n    """Example:\n{THREE}\nhas_double([1], 2)\n{THREE}\n    """\n' + BODY
    ),
    "class_solution": (
        "class Solution:\n    def has_double(self, numbers, limit):\n"
        + "".join("    " + line for line in BODY.splitlines(keepends=True))
    ),
    "class_solution_camel_case": (
        "from typing import List\n\nclass Solution:\n    def hasDouble(self, numbers: List[int], limit):\n"
        + "".join("    " + line for line in BODY.splitlines(keepends=True))
    ),
    "interpreter_session": (
        "".join((">>> " if line[:1].strip() else "... ") + line for line in FULL.splitlines(keepends=True))
        + "... \n>>> has_double([1], 1)\nFalse\n"
    ),
    "interpreter_lines_after": FULL + "\n>>> has_double([1], 1)\nFalse\n",
    "interpreter_lines_after_body": BODY + "\n>>> has_double([1], 1)\nFalse\n",
    "non_breaking_spaces": BODY.replace("    ", "\u00a0\u00a0\u00a0 "),
    "non_breaking_spaces_full": FULL.replace(" ", "\u00a0"),
    "ansi_escapes": f"\x1b[32m{FULL}\x1b[0m",
    "byte_order_mark": "\ufeff" + FULL,
    "lambda": "has_double = lambda numbers, limit: any(n >= 2 * limit for n in numbers)",
    "future_import": "from __future__ import annotations\n" + FULL,
    "decorated": (
        "import functools\n\n@functools.lru_cache\ndef twice(x):\n    return 2 * x\n\n"
        + FULL.replace("2 * limit", "twice(limit)")
    ),
    "marks_of_mbpp": f"[BEGIN]\n{FULL}[DONE]\n\nYou are an expert.\n[BEGIN]\ndef has_double(numbers, limit):\n    pass\n[DONE]",
    "marks_of_mbpp_after_a_body": f"{BODY}[DONE]\n\nYou are an expert.\n",
    "tag_after_a_thought": f"<think>hm</think>\n<solution>{FULL}</solution>",
    "fence_that_closes_on_the_last_line": f"{THREE}python\n{FULL.rstrip()}{THREE}",
    "backticks_around_one_line": "`def has_double(numbers, limit): return any(n >= 2 * limit for n in numbers)`",
    "two_functions_one_line_apart": "def twice(x): return 2 * x\n" + FULL.replace("2 * limit", "twice(limit)"),
    "json": json.dumps({"code": FULL}),
    "json_fenced_with_a_reason": f"{THREE}json\n{json.dumps({'reasoning': 'I compare', 'code': FULL}, indent=1)}\n{THREE}",
    "json_of_a_body": json.dumps({"completion": BODY}),
    "json_with_real_line_breaks": '{"code": "' + FULL + '"}',
    "json_of_a_tool_call": json.dumps({"name": "python", "arguments": json.dumps({"code": FULL})}),
    "json_of_a_fence": json.dumps({"answer": f"{THREE}python\n{FULL}{THREE}"}),
    "a_python_dict": repr({"code": FULL}),
    "a_json_string": json.dumps(FULL),
    "line_breaks_as_signs": FULL.strip().replace("\n", "\\n"),
    "html": html.escape(FULL),
    "html_of_a_body": html.escape(BODY),
    "html_that_parses": "def has_double(numbers, limit):\n    return not all(n &lt; 2 * limit for n in numbers)\n",
    "html_with_tags": f'<pre><code class="language-python">{html.escape(FULL)}</code></pre>',
    "html_fenced": f"{THREE}python\n{html.escape(FULL)}{THREE}",
}


def judged(text: str, problem: dict = PROBLEM):
    """The extracted function's answers, trusted text only."""
    space: dict = {"__name__": "candidate"}
    exec(compile(extract_code(text, problem), "<test>", "exec"), space)  # noqa: S102 - texts of this file
    return space["has_double"]([1, 2, 4], 2), space["has_double"]([1, 3], 2)


@pytest.mark.parametrize("trouble", RIGHT)
def test_a_right_answer_is_read_as_right_however_it_is_written(trouble):
    assert judged(RIGHT[trouble]) == (True, False)


MARKS = [
    'def mask(text):\n    return text.replace("<", "&lt;")\n',
    '    return text.replace("<", "&lt;")\n',
    f'{THREE}python\ndef mask(text):\n    return text.replace("<", "&lt;")\n{THREE}\nIt gives:\n{THREE}json\n{{"code": "&lt;"}}\n{THREE}',
    'def mask(text): return {"code": "def mask(): pass"} and "&lt;".join(text.split("<"))',
    'def mask(lt, a="<"):\n    b = "&lt;"\n    return b if 3 & 1 else lt\n',
]


@pytest.mark.parametrize("text", MARKS)
def test_marks_and_json_inside_a_program_are_its_own(text):
    space: dict = {}
    exec(extract_code(text, {"prompt": "def mask(text):\n", "entry_point": "mask"}), space)  # noqa: S102
    assert space["mask"]("<") == "&lt;"


def test_json_without_code_is_no_right_answer():
    for text in ('{"code": 1}', '{"name": "has_double"}', json.dumps({"code": "Use a loop."})):
        with pytest.raises(Exception):  # noqa: B017, PT011 - a body of words, or none at all
            assert judged(text) == (True, False)


def test_a_non_breaking_space_inside_a_string_is_kept():
    source = extract_code('    mark = "a\u00a0b"\n' + BODY, PROBLEM)
    assert '"a\u00a0b"' in source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\n",
        "<think>I should loop over",
        "I am sorry, I cannot do that.",
        f"{THREE}python\n{THREE}",
        "<|im_end|>",
        "Sure",
    ],
)
def test_words_without_code_are_no_code(text):
    assert extract_code(text, PROBLEM) == ""


@pytest.mark.parametrize(
    "text",
    [
        '    return "abc',
        '    x = 1\n    return "abc\n',
        FULL + "    return (\n    1\n",
        "def has_double(numbers, limit)\n    return True",
        "    return " + "(" * 3000,
    ],
)
def test_a_syntax_error_in_the_function_is_not_repaired(text):
    source = extract_code(text, PROBLEM)
    assert source
    with pytest.raises(SyntaxError):
        compile(source, "<test>", "exec")


@pytest.mark.parametrize(
    "text", ["    pass", '    """Only words."""', "    ...", "def has_double(numbers, limit):\n    pass"]
)
def test_a_stub_is_a_program_that_answers_nothing(text):
    assert judged(text) == (None, None)


def test_a_wrong_name_stays_wrong():
    with pytest.raises(KeyError):
        judged(FULL.replace("has_double", "other"))


@pytest.mark.parametrize(
    "end",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "print(1 / 0)",
        "1 / 0",
        "assert has_double([], 1)",
    ],
)
def test_statements_that_act_are_never_cut(end):
    assert end.split("\n")[-1] in extract_code(FULL + "\n" + end + "\n", PROBLEM)


def test_helpers_of_the_prompt_are_part_of_the_program():
    prompt = "import math\n\ndef half(x):\n    return x / 2\n\n" + PROMPT
    source = extract_code(FULL.replace("number >= 2 * limit", "half(number) >= limit"), {**PROBLEM, "prompt": prompt})
    names = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    assert names == {"half", "has_double"}


def test_a_prompt_in_prose_is_not_put_before_the_program():
    problem = {**PROBLEM, "prompt": "Write has_double(numbers, limit), please."}
    assert judged("from typing import List\n" + FULL, problem) == (True, False)


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "-" * 100_000 + "1", "[" * 5000 + "]" * 5000, "x\x00y", "\ud800", "lambda: " * 9000]
)
def test_text_that_breaks_parsers_is_only_text(text):
    extract_code("    return " + text, PROBLEM)


ANSWERS = {
    "30 9 * * 1-5": "30 9 * * 1-5",
    "\n\n 30 9 * * 1-5 \nevery weekday": "30 9 * * 1-5",
    "`30 9 * * 1-5`": "30 9 * * 1-5",
    "The expression is `30 9 * * 1-5`.": "30 9 * * 1-5",
    f"Here:\n{THREE}cron\n30 9 * * 1-5\n{THREE}": "30 9 * * 1-5",
    f"{THREE}\n30 9 * * 1-5": "30 9 * * 1-5",
    f"{THREE}30 9 * * 1-5{THREE}": "30 9 * * 1-5",
    "<think>\n9 is nine\n</think>\n\n30 9 * * 1-5": "30 9 * * 1-5",
    "30 9 * * 1-5<|im_end|>\n0 0 * * *": "30 9 * * 1-5",
    "30\u00a09 * * 1-5\r\n": "30 9 * * 1-5",
    "\x1b[1m30 9 * * 1-5\x1b[0m": "30 9 * * 1-5",
    '"30 9 * * 1-5"': "30 9 * * 1-5",
    "Answer: 30 9 * * 1-5": "30 9 * * 1-5",
    "": "",
    "<think>nine": "",
    "* * * * *": "* * * * *",
}


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_the_first_line_that_says_something(text):
    assert extract_answer(text, "first_line") == ANSWERS[text]
