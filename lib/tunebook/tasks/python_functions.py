"""Rows for writing Python functions: the standard library's own functions, asked for by signature and docstring as
HumanEval asks.

Read from the source files, no function is run. Has no problems of its own (a docstring is no test): give `benchmark:
humaneval`.
"""

import ast
import hashlib
import importlib.util
from pathlib import Path
from random import Random

from tunebook.errors import InputProblem

# Modules of plain functions; the language reference, which measures what is forgotten, is not among them.
MODULES = (
    "_collections_abc ast base64 bdb binhex bisect calendar cgi chunk cmd code codeop colorsys compileall configparser"
    " contextlib copy copyreg csv dataclasses datetime decimal difflib dis doctest email.charset email.encoders"
    " email.header email.utils enum filecmp fileinput fnmatch fractions ftplib functools genericpath getopt gettext"
    " glob graphlib gzip hashlib heapq hmac html http.client http.cookiejar http.cookies imghdr importlib.util inspect"
    " ipaddress json keyword linecache locale mailcap mimetypes modulefinder netrc nntplib ntpath numbers opcode"
    " operator optparse os pathlib pdb pickle pickletools pkgutil plistlib poplib posixpath pprint profile pstats"
    " py_compile pyclbr pydoc queue quopri random re reprlib rlcompleter sched secrets selectors shelve shlex shutil"
    " smtplib sndhdr socket socketserver ssl stat statistics string stringprep struct subprocess symtable sysconfig"
    " tabnanny tarfile tempfile textwrap threading timeit token tokenize trace traceback tracemalloc types typing"
    " unittest.util urllib.parse urllib.request urllib.robotparser uuid warnings wave weakref webbrowser"
    " xml.sax.saxutils xmlrpc.client zipapp zipfile"
).split()
FEWEST_LINES, MOST_CHARACTERS = 2, 900  # statements of a function; characters of request and answer together
REQUEST = (
    "Complete the following Python function. Answer with the whole function in one ```python code block and nothing"
    " else.\n\n```python\n{prompt}\n```"
)
INSTRUCTION = (
    "Write the Python function that the signature and the docstring describe. Answer with the whole function in one"
    " ```python code block, imports included, and nothing else."
)
SPEC = {
    "task": "python_functions",
    "input": "the signature and the docstring of a Python function",
    "output": "the whole function in one code block",
    "users": "people who let an editor complete a function",
    "metric": "pass@1: the share of problems whose function passes the benchmark's tests",
    "wrong_answer_cost": "a wrong function that looks right: time to find it, or a defect that ships",
    "stability": "the language changes slowly, but what people ask for is as wide as programming",
    "conventions": [],
}


def make_rows(n: int, seed: int) -> list[dict]:
    """`n` rows in an order drawn by `seed`: prompt, completion, group, id. InputProblem when this Python has fewer
    functions.
    """
    found = [row for name in MODULES for row in _rows_of(name)]
    distinct = list({row["group"]: row for row in found}.values())
    Random(f"python_functions:{seed}").shuffle(distinct)
    if not 1 <= n <= len(distinct):
        raise InputProblem(
            f"python_functions has {len(distinct)} functions in this Python, {n} rows were asked: ask for fewer"
        )
    return distinct[:n]


def make_problems(rows: list[dict]) -> list[dict]:
    """Raises InputProblem: no tests come with these functions."""
    raise InputProblem("python_functions has no tests of its own: set benchmark: humaneval and n_dev: 0")


def check_answer(answer: str, expected: str) -> None:
    """Raises InputProblem: only a benchmark's own tests can judge a function."""
    raise InputProblem("python_functions has no checker of its own: judge with a benchmark")


def _rows_of(module: str) -> list[dict]:
    """One row for every documented function at the top level of a module; [] for a module that this Python lacks."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    path = Path(spec.origin) if spec and spec.origin else None
    if path is None or path.suffix != ".py":
        return []
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")  # as the parser counts: a form feed ends no line
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    return [row for node in functions for row in [_row(module, node, lines)] if row]


def _row(module: str, node: ast.FunctionDef, lines: list[str]) -> dict | None:
    body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    if not ast.get_docstring(node) or len(node.body) < FEWEST_LINES:
        return None
    prompt = "\n".join(lines[node.lineno - 1 : node.body[0].end_lineno])
    request, answer = REQUEST.format(prompt=prompt), f"```python\n{body}\n```"
    if len(request) + len(answer) > MOST_CHARACTERS:
        return None
    return {
        "id": f"{module}.{node.name}",
        "prompt": [{"role": "user", "content": request}],
        "completion": [{"role": "assistant", "content": answer}],
        "group": hashlib.sha256(f"{node.name}\n{body}".encode()).hexdigest()[:16],
    }
