"""One path from raw completions to a number: what is judged, counted, written, refused, and shown."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.evaluation import commands
from tunebook.evaluation.audit import audit, of_answer, of_program
from tunebook.evaluation.benchmark import from_problems, load_benchmark
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.score import Judging, score
from tunebook.evaluation.score_folder import read_scores
from tunebook.files import hash_json

CONSENT = Judging(workers=2, allow_unisolated=True)
ADD = {
    "task_id": "add",
    "prompt": 'def add(a, b):\n    """Sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n",
    "slice": "sums",
}
SIGN = {
    "task_id": "sign",
    "prompt": 'def sign(x):\n    """-1, 0 or 1."""\n',
    "entry_point": "sign",
    "canonical_solution": "    if x == 0:\n        return 0\n    return 1 if x > 0 else -1\n",
    "test": "def check(candidate):\n    assert candidate(5) == 1\n",
    "slice": "signs",
}
NOON = {
    "task_id": "noon",
    "prompt": "daily at noon",
    "entry_point": "",
    "canonical_solution": "0 12 * * *",
    "test": "def check(answer):\n    assert answer.split() == '0 12 * * *'.split()\n",
    "kind": "answer",
    "slice": "days",
}
FENCE = "`" * 3


def small() -> object:
    return from_problems("small", [ADD, SIGN, NOON])


def texts(add: str, sign: str, noon: str, **extra) -> list[dict]:
    given = {"add": add, "sign": sign, "noon": noon}
    return [{"task_id": task_id, "completion": text, **extra} for task_id, text in given.items()]


RIGHT = texts(
    f"Sure:\n{FENCE}python\ndef add(a, b):\n    return a + b\n{FENCE}", SIGN["canonical_solution"], "`0 12 * * *`"
)


def run_score(rows, out, **options):
    return score(small(), rows, out, workers=2, allow_unisolated=True, **options)


def test_a_score_counts_what_passed_and_says_why_the_rest_did_not(tmp_path):
    rows = RIGHT + texts("    return a - b", "I cannot do that.", "0 12 * *", finish_reason="length")
    rows += texts("    return (a +", "    return 1/0", "", finish_reason="stop")
    metrics = run_score(rows, tmp_path / "s")
    assert (metrics["k"], metrics["n"], metrics["problems"], metrics["n_samples"]) == (3, 9, 3, 3)
    assert metrics["pass_at_1"] == pytest.approx(1 / 3)
    assert metrics["interval"][0] < 1 / 3 < metrics["interval"][1]
    assert metrics["taxonomy"] == {"pass": 3, "truncated": 3, "syntax": 1, "exception": 1, "no code": 1}
    assert metrics["verdicts"]["no_code"] == 1 and metrics["unfinished"] == {"truncated": 3, "open_thought": 0}
    assert {name: part["k"] for name, part in metrics["slices"].items()} == {"sums": 1, "signs": 1, "days": 1}
    judged = [json.loads(line) for line in (tmp_path / "s" / "scores.jsonl").read_text().splitlines()]
    assert list(judged[0]) == ["task_id", "sample", "passed", "verdict", "detail", "cpu_seconds"]
    assert json.loads((tmp_path / "s" / "metrics.json").read_text()) == metrics


def test_the_same_completions_have_the_same_content_hash(tmp_path):
    first, second = run_score(RIGHT, tmp_path / "a"), run_score(RIGHT[::-1], tmp_path / "b")
    assert first["content_sha256"] == second["content_sha256"] and first["k"] == 3
    assert first["completions_sha256"] == second["completions_sha256"]


def test_an_old_score_never_stays_beside_new_completions(tmp_path, monkeypatch):
    run_score(RIGHT, tmp_path)
    monkeypatch.setattr("tunebook.evaluation.score.check_runner", lambda *_: {})
    monkeypatch.setattr("tunebook.evaluation.score.judge_completions", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_score(RIGHT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_score_of_other_completions_is_not_overwritten(tmp_path):
    """The user may have named the wrong folder, or the wrong file: neither score is then the one that was meant."""
    first = run_score(RIGHT, tmp_path)
    other = [{**row, "completion": row["completion"] + "\n"} for row in RIGHT]
    with pytest.raises(InputProblem, match="holds the score of other completions"):
        run_score(other, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["k"] == first["k"]


def test_a_test_that_does_not_load_is_bad_input(tmp_path):
    """Its message has the words "invalid syntax", which once read as a fault of the machine."""
    broken = from_problems("broken", [{**SIGN, "test": "def check(:"}])
    with pytest.raises(InputProblem, match="sign: the test is no Python"):
        score(broken, [RIGHT[1]], tmp_path, workers=1, allow_unisolated=True)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "metrics.json").write_text('{"loss": 1}')
    with pytest.raises(InputProblem, match="belongs to something else"):
        run_score(RIGHT, tmp_path)
    assert (tmp_path / "metrics.json").read_text() == '{"loss": 1}'


@pytest.mark.parametrize("name", ["scores.jsonl", "protocol.json"])
def test_a_file_of_the_users_is_never_replaced_by_a_score(tmp_path, name):
    """`--completions X/scores.jsonl --out X` would otherwise lose the completions."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputProblem, match="no finished score"):
        run_score(RIGHT, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_good_score_survives_a_benchmark_that_is_broken(tmp_path):
    run_score(RIGHT, tmp_path)
    broken = from_problems("small", [{**ADD, "canonical_solution": "    return 0\n"}, SIGN, NOON])
    with pytest.raises(InputProblem, match="canonical"):
        score(broken, RIGHT, tmp_path, allow_unisolated=True)
    assert json.loads((tmp_path / "metrics.json").read_text())["k"] == 3


def test_code_without_canonical_solutions_is_run_and_said_to_be_unchecked(tmp_path):
    bare = from_problems("bare", [{**ADD, "canonical_solution": ""}])
    found = score(bare, RIGHT[:1], tmp_path, allow_unisolated=True)
    assert found["k"] == 1 and found["runner"]["tier"] in ("T0", "T1", "T2")
    checks = {row["name"]: row["measured"] for row in found["runner"]["checks"]}
    assert "none" in checks["canonical solutions"] and checks["early exits"] == "0/1 pass"
    torn = from_problems("torn", [{**ADD, "canonical_solution": "", "test": "def check(:"}])
    with pytest.raises(InputProblem, match="add: the test is no Python"):
        score(torn, RIGHT[:1], tmp_path / "torn", allow_unisolated=True)


def test_a_fault_of_the_runner_gives_no_number(tmp_path, monkeypatch):
    from tunebook.execution import runner

    def broken(programs, **_):
        return [runner.Outcome(p.task_id, p.sample, None, "invalid", "the judge died", 0.0) for p in programs]

    monkeypatch.setattr(runner, "run_programs", broken)
    with pytest.raises(MachineProblem, match="no score is given"):
        run_score(RIGHT, tmp_path / "s")
    assert not (tmp_path / "s" / "metrics.json").exists()


def test_a_benchmark_whose_canonical_solution_fails_is_bad_input(tmp_path):
    wrong = from_problems("wrong", [{**ADD, "canonical_solution": "    return a\n"}])
    with pytest.raises(
        InputProblem, match=r"the benchmark is wrong in 1 of 1 problems: add: .* fails its own test .wrong: candidate"
    ):
        score(wrong, RIGHT[:1], tmp_path, workers=1, allow_unisolated=True)


def test_a_self_check_that_fails_gives_no_number(tmp_path, monkeypatch):
    from tunebook.execution import selfcheck

    for name, measured, fault in (
        ("early exits", "1/3 pass", {}),
        ("canonical solutions", "0/3 pass; first add: invalid no judge", {"fault": True}),
    ):
        row = {"name": name, "measured": measured, "rule": "0/3 pass", "ok": False, **fault}
        monkeypatch.setattr(selfcheck, "self_check", lambda *_, row=row, **__: {"ok": False, "checks": [row]})
        with pytest.raises(MachineProblem, match="no score is given"):
            run_score(RIGHT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_problem_that_a_constant_solves_is_shown_with_the_score(tmp_path):
    from tunebook.evaluation.measure import score_text

    metrics = score(from_problems("weak", [SIGN]), [RIGHT[1]], tmp_path, workers=1, allow_unisolated=True)
    shown = {check["name"]: check["ok"] for check in metrics["runner"]["checks"]}
    assert shown["canonical solutions"] and shown["early exits"] and metrics["k"] == 1
    always = {
        **SIGN,
        "test": "def check(candidate):\n    assert candidate(1) is None\n",
        "canonical_solution": "    pass\n",
    }
    metrics = score(from_problems("none", [always]), [RIGHT[1]], tmp_path, workers=1, allow_unisolated=True)
    assert not metrics["runner"]["ok"] and "WARNING" in score_text(metrics)


BLIND = {**ADD, "task_id": "t/1", "test": "def check(candidate):\n    pass\n"}


@pytest.mark.parametrize("problem", [BLIND, {**NOON, "task_id": "t/1", "test": "def check(answer):\n    pass\n"}])
def test_a_test_that_checks_nothing_is_bad_input_and_no_fault_of_the_runner(tmp_path, problem):
    blind = from_problems("blind", [SIGN, problem], "blind.jsonl")
    rows = [RIGHT[1], {"task_id": "t/1", "completion": "x"}]
    with pytest.raises(InputProblem, match="blind.jsonl: .*the test passes everything in t/1: correct it"):
        score(blind, rows, tmp_path / "s", workers=1, allow_unisolated=True)
    assert not (tmp_path / "s").exists()


def test_a_benchmark_of_such_tests_names_all_of_them(tmp_path):
    blind = from_problems("blind", [BLIND, {**BLIND, "task_id": "t/2"}, SIGN])
    rows = [RIGHT[1], *({"task_id": name, "completion": "x"} for name in ("t/1", "t/2"))]
    with pytest.raises(InputProblem, match="passes everything in t/1, t/2: correct it"):
        score(blind, rows, tmp_path, workers=1, allow_unisolated=True)


def change(file: Path, **changes) -> None:
    """Write other values into a JSON file; None takes the key away."""
    found = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


@pytest.mark.parametrize("protocol", [None, {"benchmark_sha256": small().sha256, "temperature": 0.5}])
def test_a_score_is_read_back_as_it_was_written(tmp_path, protocol):
    metrics = run_score(RIGHT + RIGHT, tmp_path, protocol=protocol)
    assert read_scores(tmp_path).metrics == metrics


@pytest.fixture(scope="module", params=[None, {"benchmark_sha256": small().sha256, "temperature": 0.5}])
def scored(request, tmp_path_factory):
    """A score without and with a protocol, to copy."""
    run_score(RIGHT, folder := tmp_path_factory.mktemp("scored") / "s", protocol=request.param)
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("protocol.json", {"temperature": 0.0}, "protocol.json was changed"),
        ("protocol.json", {"sha256": "0" * 64}, "protocol.json was changed"),
        ("protocol.json", {"sha256": None}, "protocol.json was changed"),
        ("metrics.json", {"protocol_sha256": "0" * 64}, "protocol_sha256 is '0000"),
        ("metrics.json", {"protocol_sha256": None}, "protocol_sha256 is None"),
        ("metrics.json", {"benchmark_sha256": "0" * 64}, "benchmark_sha256 is '0000"),
        ("metrics.json", {"k": 2}, "k is 2, scores.jsonl beside it gives 3"),
        ("metrics.json", {"n": 4}, "n is 4, scores.jsonl beside it gives 3"),
        ("metrics.json", {"pass_at_1": 0.5}, "pass_at_1 is 0.5"),
        ("metrics.json", {"n_samples": 2}, "n_samples is 2"),
        ("metrics.json", {"problems": 2}, "problems is 2"),
        ("metrics.json", {"content_sha256": None}, "has no content_sha256"),
    ],
)
def test_compare_believes_no_edited_score(tmp_path, scored, file, changes, words):
    """Each of these once gave a verdict: the hashes were written and never looked at."""
    shutil.copytree(scored, tmp_path / "s")
    change(tmp_path / "s" / file, **changes)
    for name in ("s", "s/scores.jsonl"):
        args = command("compare", tmp_path / "s", tmp_path / name)
        with pytest.raises(IntegrityProblem, match=words):
            args.handler(args)


def test_an_edited_protocol_with_a_new_hash_is_not_the_one_of_the_score(tmp_path):
    run_score(RIGHT, tmp_path, protocol=Protocol(small().sha256))
    other = Protocol(small().sha256, benchmark="small", temperature=0.8)
    (tmp_path / "protocol.json").write_text(json.dumps({**other.to_dict(), "sha256": other.hash}))
    with pytest.raises(IntegrityProblem, match="metrics.json: protocol_sha256 is"):
        read_scores(tmp_path)
    (tmp_path / "protocol.json").write_text("{}")
    with pytest.raises(IntegrityProblem, match="protocol.json was changed"):
        read_scores(tmp_path)
    (tmp_path / "protocol.json").unlink()
    with pytest.raises(IntegrityProblem, match="protocol.json is missing beside metrics.json"):
        read_scores(tmp_path)


def test_a_place_that_cannot_be_a_folder_is_bad_input(tmp_path, monkeypatch):
    """Each of these once wrote elsewhere, or blamed the free space of the disk."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out, words in (
        (tmp_path / "link", "link that leads nowhere"),
        (tmp_path / "link" / "s", "link that leads nowhere"),
        (tmp_path / "loop", "link that leads nowhere"),
        (tmp_path / ("x" * 300), "too long"),
        (tmp_path / "new" / ("é" * 150) / "s", "too long"),
        (tmp_path.joinpath(*["part" * 20] * 60), "too long"),
    ):
        with pytest.raises(InputProblem, match=words):
            run_score(RIGHT, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "loop"]
    monkeypatch.chdir(tmp_path)
    for out in ("", " "):
        args = command("score", "--benchmark", "b", "--completions", "c", "--out", out)
        with pytest.raises(InputProblem, match="--out is empty"):
            args.handler(args)


def test_the_protocol_is_recorded_and_must_fit_the_completions(tmp_path):
    benchmark = small()
    metrics = run_score(RIGHT, tmp_path / "s", protocol=Protocol(benchmark.sha256, temperature=0.5))
    record = json.loads((tmp_path / "s" / "protocol.json").read_text())
    assert record["temperature"] == 0.5 and record["sha256"] == metrics["protocol_sha256"]
    with pytest.raises(InputProblem, match="n_samples is 10"):
        run_score(RIGHT, tmp_path / "s", protocol=Protocol(benchmark.sha256, n_samples=10))
    with pytest.raises(InputProblem, match="benchmark_sha256"):
        run_score(RIGHT, tmp_path / "s", protocol={"benchmark_sha256": "other"})


def test_the_audit_lists_what_the_tests_do_not_notice():
    found = audit(small(), judging=CONSENT)
    assert found["canonical_failed"] == [] and found["empty_passed"] == []
    assert 0 < found["killed"] < found["mutants"] and found["weak"][0]["task_id"] == "sign"
    assert "noon" not in {row["task_id"] for row in found["weak"]}
    blind = from_problems("blind", [{**ADD, "test": "def check(candidate):\n    pass\n"}])
    found = audit(blind, judging=CONSENT)
    assert found["empty_passed"] == ["add"] and found["killed_ratio"] == 0.0


def test_mutants_change_the_solution_and_nothing_else():
    prompt = 'def helper(x):\n    return x + 1\n\ndef f(x):\n    """Return 1 + 1."""\n'
    made = of_program(prompt, "    return helper(x) * 2\n", 20)
    assert {kind for kind, _ in made} == {"return", "operator", "constant"}
    assert len({text for _, text in made}) == len(made)
    assert all("return x + 1" in text and "Return 1 + 1." in text for _, text in made)
    assert "0 12 * * *" not in [text for _, text in of_answer("0 12 * * *", ["0  12 * * *", "5 4 * * *"], 20)]


def command(*arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers(required=True))
    return parser.parse_args([str(argument) for argument in arguments])


def write_scores(folder, passed: list[bool], **protocol):
    folder.mkdir()
    rows = [
        {"task_id": f"T/{i}", "sample": 0, "passed": p, "verdict": "pass" if p else "wrong"}
        for i, p in enumerate(passed)
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if protocol:
        (folder / "protocol.json").write_text(json.dumps({**protocol, "sha256": hash_json(protocol)}))
    return folder


def test_score_command_prints_one_json_object(tmp_path, capsys):
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (ADD, SIGN, NOON)))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in RIGHT))
    args = [
        "score",
        "--benchmark",
        tmp_path / "b.jsonl",
        "--completions",
        tmp_path / "c.jsonl",
        "--out",
        tmp_path / "s",
    ]
    args = command(*args, "--allow-unisolated", "--json")
    assert args.handler(args) == 0
    assert json.loads(capsys.readouterr().out)["k"] == 3
    args.json = False
    assert args.handler(args) == 0
    assert "3/3 = 100.0%" in capsys.readouterr().out


def test_compare_command_ends_with_zero_only_on_go(tmp_path, capsys):
    low = write_scores(tmp_path / "low", [i < 40 for i in range(164)], temperature=0)
    high = write_scores(tmp_path / "high", [i < 60 for i in range(164)], temperature=0)
    for a, b, verdict, code in ((low, high, "GO", 0), (high, low, "NO-GO", 1), (low, low, "INCONCLUSIVE", 1)):
        args = command("compare", a, b, "--json")
        assert args.handler(args) == code
        captured = capsys.readouterr()
        assert json.loads(captured.out)["verdict"] == verdict and not captured.err
    args = command("compare", low, high)
    args.handler(args)
    assert "gained 20, lost 0" in capsys.readouterr().out


def test_compare_refuses_two_protocols_and_warns_about_none(tmp_path, capsys):
    cold = write_scores(tmp_path / "cold", [True], temperature=0.0, seed=1)
    warm = write_scores(tmp_path / "warm", [True], temperature=0.8, seed=2)
    bare = write_scores(tmp_path / "bare", [True])
    args = command("compare", cold, warm)
    with pytest.raises(InputProblem, match=r"seed: 1 \| 2; temperature: 0.0 \| 0.8"):
        args.handler(args)
    args = command("compare", cold, bare / "scores.jsonl", "--json")
    assert args.handler(args) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["protocol"] == "unknown" and "score B has no protocol.json" in captured.err


def test_power_command_gives_the_four_numbers(capsys):
    args = command("power", "--base", "0.306", "--gain", "0.036", "--json")
    assert args.handler(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_unpaired_per_side"] == 2649 and round(found["power"], 2) == 0.15


@pytest.mark.parametrize(
    "arguments", [["compare", "absent", "absent"], ["power", "--base", "30", "--gain", "3"], ["power", "--base", "x"]]
)
def test_bad_input_ends_with_two_and_one_sentence(arguments):
    library = str(Path(commands.__file__).parents[2])
    paths = os.pathsep.join([library, *filter(None, [os.environ.get("PYTHONPATH")])])
    line = [sys.executable, "-m", "tunebook", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert "error: " in done.stderr


def test_the_evaluate_metric_gives_the_same_result_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    import evaluate

    from tunebook import evaluation

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = f"{evaluation.__path__[0]}/metric/tunebook_pass_at_k.py"
    metric = evaluate.load(path, cache_dir=str(tmp_path / "cache"), experiment_id="test")
    (tmp_path / "g.jsonl").write_text(json.dumps({"question": "6 bags of 3?", "answer": "6 * 3 = 18\n#### 18"}) + "\n")
    problem = load_benchmark(tmp_path / "g.jsonl").task_ids()[0]
    reply = metric.compute(predictions=[["It is 6, so 18."]], references=[problem], benchmark=str(tmp_path / "g.jsonl"))
    assert reply["pass@1"] == 1.0, "read as the benchmark says: its last number"
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (ADD, SIGN, NOON)))
    rows = RIGHT[:2] + texts("", "", "0 0 * * *")[2:]
    found = metric.compute(
        predictions=[[row["completion"]] for row in rows],
        references=[row["task_id"] for row in rows],
        benchmark=str(tmp_path / "b.jsonl"),
        allow_unisolated=True,
    )
    own = score(load_benchmark(tmp_path / "b.jsonl"), rows, tmp_path / "s", allow_unisolated=True)
    assert (found["pass@1"], found["n_correct"], found["n"]) == (own["pass_at_1"], own["k"], own["n"]) == (2 / 3, 2, 3)
