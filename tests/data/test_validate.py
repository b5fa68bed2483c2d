"""`tunebook validate`: verdict, exit codes and the JSON that machines read; and the study's own removals."""

import argparse
import json
from pathlib import Path

import pytest

from tunebook.cli import main
from tunebook.data import commands
from tunebook.data.lengths import check_lengths
from tunebook.data.mapping import reading_of
from tunebook.data.sources import read_rows
from tunebook.data.study_data import Sizes, load_study_data
from tunebook.data.validate import judge_data, judge_study, write_rejects
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.files import read_jsonl, write_jsonl
from tunebook.pipeline.params import load_study

ROOT = Path(__file__).parents[2]
CLEAN = [{"prompt": f"every day at {n}:15", "completion": f"15 {n} * * *"} for n in range(24)]
PROBLEM = {
    "task_id": "own/1",
    "prompt": "every day at 3:15",
    "entry_point": "check",
    "canonical_solution": "15 3 * * *",
    "test": "def check(answer):\n    assert answer == '15 3 * * *'\n",
    "kind": "answer",
}


def validate(*words):
    """Exit code of `tunebook validate WORDS`."""
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers())
    args = parser.parse_args(["validate", *map(str, words)])
    return args.handler(args)


@pytest.fixture
def clean(tmp_path):
    write_jsonl(tmp_path / "clean.jsonl", CLEAN)
    return tmp_path / "clean.jsonl"


def test_clean_file_passes(clean, capsys):
    assert validate(clean) == 0
    assert capsys.readouterr().out.startswith("PASS: ")


def test_json_is_one_object_and_nothing_else(clean, capsys):
    assert validate(clean, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["n_rows"], found["findings"]) == ("pass", 24, [])
    assert [(row["column"], row["becomes"]) for row in found["account"]] == [("prompt", "used"), ("completion", "used")]
    assert found["compared"] == {"humaneval": [164, 164]}


def test_warning_exits_0_and_error_exits_1(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [*CLEAN, CLEAN[2]])
    assert validate(path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "warn"
    write_jsonl(path, [*CLEAN, {"prompt": "x"}])
    assert validate(path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "fail" and found["n_rows"] == 25
    assert {"check", "severity", "count", "rows", "lines", "message", "fix"} == set(found["findings"][0])
    assert (found["findings"][0]["rows"], found["findings"][0]["lines"]) == ([24], [25])


def test_benchmark_rows_in_the_data_are_an_error(clean, tmp_path, capsys):
    write_jsonl(tmp_path / "bench.jsonl", [PROBLEM])
    assert validate(clean, "--against", tmp_path / "bench.jsonl", "--json") == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "contamination" and finding["rows"] == [3]


def test_any_file_of_rows_can_be_held_against(clean, tmp_path, capsys):
    """An evaluation split is often plain rows, not a benchmark with tests."""
    write_jsonl(tmp_path / "eval.jsonl", [{"prompt": "every day at 5:15!", "completion": "x"}])
    assert validate(clean, "--against", tmp_path / "eval.jsonl", "--json") == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "contamination" and finding["rows"] == [5]


def test_humaneval_is_looked_for_without_being_asked(tmp_path, capsys):
    from tunebook.evaluation.benchmark import load_benchmark

    problem = load_benchmark("humaneval").problems[4]
    rows = [*CLEAN, {"prompt": problem["prompt"], "completion": problem["canonical_solution"]}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert validate(tmp_path / "rows.jsonl") == 1
    assert "HumanEval/4" in capsys.readouterr().out


def test_format_names_the_row_type_or_the_file_format(clean, tmp_path, capsys):
    assert validate(clean, "--format", "prompt_completion") == 0
    assert validate(clean, "--format", "messages") == 1
    plain = tmp_path / "rows.data"
    plain.write_bytes(clean.read_bytes())
    assert validate(plain, "--format", "jsonl") == 0
    capsys.readouterr()


def test_mapping_on_the_command_line(tmp_path, capsys):
    write_jsonl(tmp_path / "rows.jsonl", [{"q": row["prompt"], "a": row["completion"]} for row in CLEAN])
    assert validate(tmp_path / "rows.jsonl") == 1
    assert validate(tmp_path / "rows.jsonl", "--map", "prompt=q", "--map", "completion=a") == 0
    capsys.readouterr()


@pytest.mark.parametrize("words", [["missing.jsonl"], ["rows.xlsx"], ["clean.jsonl", "--against", "missing.jsonl"]])
def test_bad_arguments_are_bad_input(clean, words, monkeypatch):
    monkeypatch.chdir(clean.parent)
    with pytest.raises(InputProblem):
        validate(*words)


def test_bad_flag_exits_2(clean, capsys):
    with pytest.raises(SystemExit) as ended:
        validate(clean, "--format", "xml")
    assert ended.value.code == 2
    capsys.readouterr()


def test_rows_that_hold_a_test_problem_leave_the_study(clean, tmp_path):
    write_jsonl(tmp_path / "bench.jsonl", [PROBLEM])
    data = load_study_data("", str(clean), str(tmp_path / "bench.jsonl"))
    assert data.test_problems == [PROBLEM] and data.dev_problems == [] and data.test == []
    assert len(data.train) + len(data.dev) == 23
    assert [(item["row"], item["check"]) for item in data.rejects] == [(3, "contamination")]
    assert [(item.check, item.severity) for item in data.findings] == [("contamination", "warn")]


def test_study_is_judged_with_the_numbers_of_the_users_file(tmp_path):
    """Splitting moves rows; a finding must still name the row in the file."""
    key = "ghp_" + "a1B2c3D4e5F6" * 3
    rows = [
        {"prompt": f"every day at {n // 60}:{n % 60}", "completion": f"{n % 60} {n // 60} * * *"} for n in range(200)
    ]
    hidden = {"prompt": f"every day with the key {key}", "completion": "1 1 * * *", "split_hint": "train"}
    write_jsonl(tmp_path / "rows.jsonl", [*rows, rows[7], hidden])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    judgement = judge_study(data)
    assert {item.check: item.rows for item in judgement.findings} == {"exact_duplicates": [200], "secrets": [201]}
    assert judgement.verdict == "fail" and judgement.n_rows == 202


def test_rows_with_shared_passages_in_two_splits_are_named(tmp_path):
    passage = " ".join(f"word{n} of the passage" for n in range(10))
    rows = [{"prompt": f"every day at {n}:15", "completion": f"15 {n} * * *"} for n in range(24)]
    rows += [{"prompt": f"{passage} Who?", "completion": "a", "split_hint": "train"}]
    rows += [{"prompt": f"{passage} What?", "completion": "b", "split_hint": "test"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    assert {item.check: item.rows for item in data.findings} == {"split_leakage_near": [24]}


def test_slices_without_training_rows_are_named(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "slice": "daily"} for row in CLEAN])
    write_jsonl(tmp_path / "bench.jsonl", [{**PROBLEM, "prompt": "each May", "slice": "yearly"}])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), str(tmp_path / "bench.jsonl"))
    [finding] = judge_study(data).findings
    assert finding.check == "slice_missing" and "yearly" in finding.message


def test_lengths_keep_whole_rows_and_count_the_rest():
    def measure(row):
        n_prompt, n_answer = (len(row[side][0]["content"].split()) for side in ("prompt", "completion"))
        return n_prompt, n_prompt + n_answer, "", n_answer

    def row(n_prompt, n_completion):
        sides = (("user", n_prompt), ("assistant", n_completion))
        prompt, completion = ([{"role": role, "content": "word " * n}] for role, n in sides)
        return {"prompt": prompt, "completion": completion}

    rows = [row(3, 4)] * 20 + [row(3, 8), row(12, 1)]
    kept, findings, rejects, lengths = check_lengths(rows, measure, 10)
    assert kept == rows[:20] and lengths[20:] == [(8, 11), (1, 13)]
    assert {item.check: item.rows for item in findings} == {"cut_completion": [20], "fully_masked": [21]}
    assert [item["row"] for item in rejects] == [20, 21]
    assert "12 prompt tokens, 13 in all, max_length is 10" in rejects[1]["reason"]


def test_too_many_cut_rows_fail_the_gate():
    rows = [{"prompt": [], "completion": []}] * 10
    _, few, _, _ = check_lengths(rows, _counts([20] + [5] * 9), 10)
    _, many, _, _ = check_lengths(rows, _counts([20] * 5 + [5] * 5), 10)
    assert few[0].severity == "warn" and many[0].severity == "error"


def _counts(totals):
    totals = iter(totals)
    return lambda row: (1, next(totals), "", 1)


def test_rejects_are_written_without_secrets(tmp_path):
    key = "ghp_" + "a1B2c3D4e5F6" * 3
    rejects = [
        {"row": 3, "line": 4, "check": "empty_field", "reason": "prompt is empty", "record": {"completion": key}}
    ]
    write_rejects(tmp_path / "rejects.jsonl", rejects)
    [written] = read_jsonl(tmp_path / "rejects.jsonl")
    assert written["row"] == 3 and key not in json.dumps(written)


def test_plain_columns_need_a_mapping_in_a_study_too(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"question": row["prompt"], "answer": row["completion"]} for row in CLEAN])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    judgement = judge_study(data)
    assert data.train == [] and judgement.verdict == "fail"
    assert {item.check for item in judgement.findings} == {"columns", "no_rows"}
    reading = reading_of(["prompt=question", "completion=answer"])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "", reading=reading)
    assert judge_study(data).verdict == "pass"


def test_preference_rows_of_a_study_keep_both_answers(tmp_path):
    rows = [
        {"prompt": f"every day at {n}:15", "chosen": f"15 {n} * * *", "rejected": f"{n} 15 * * *"} for n in range(24)
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    data = load_study_data("", str(tmp_path / "pairs.jsonl"), "")
    assert data.train[0]["completion"] == data.train[0]["chosen"] != data.train[0]["rejected"]
    assert judge_study(data).examples.kind == "preference"


@pytest.mark.parametrize(
    "rows, message",
    [([{"text": "hello you"}], "benchmark"), ([{**CLEAN[0], "split_hint": "validation"}], "split_hint")],
)
def test_rows_that_no_study_can_use_are_bad_input(tmp_path, rows, message):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputProblem, match=message):
        load_study_data("", str(tmp_path / "rows.jsonl"), "")


def test_text_rows_are_trained_whole_and_warned_about(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"text": f"The otter number {n} crosses the bridge."} for n in range(40)])
    write_jsonl(tmp_path / "bench.jsonl", [PROBLEM])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), str(tmp_path / "bench.jsonl"))
    assert data.train[0]["prompt"] == [] and data.train[0]["completion"][0]["content"] == data.train[0]["text"]
    assert [(item.check, item.severity) for item in judge_study(data).findings] == [("documents", "info")]


def test_rows_that_leave_no_test_problem_say_how_to_look_at_them(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "at noon", "completion": ""}] * 3)
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    with pytest.raises(InputProblem, match="of 3 rows none is left for a test problem: run `tunebook validate"):
        data.benchmark()


@pytest.mark.parametrize("study", ["quickstart", "order_number", "python_functions"])
def test_the_shipped_studies_pass_their_own_gate(study):
    """An error here would end the recorded study before its training, however good the model."""
    values = load_study(ROOT / "params" / f"{study}.yaml", root=ROOT).params
    names = ("n_rows", "n_dev", "n_test", "benchmark_limit", "seed")
    sizes = Sizes(**{name: values[name] for name in names})
    data = load_study_data(values["task"], "", values["benchmark"], sizes)
    benchmarks = {name: load_benchmark(name).problems for name in values["retained"]} | {"test": data.test_problems}
    findings = judge_study(data, benchmarks).findings
    assert [(item.check, item.message) for item in findings if item.severity == "error"] == []
    assert len(data.train) > 0.9 * values["n_rows"]


def test_nothing_asked_for_is_bad_input():
    with pytest.raises(InputProblem, match="neither rows nor task"):
        load_study_data("", "", "", Sizes(10, 1, 1))


def test_flags_that_cannot_be_meant_are_one_sentence(tmp_path, capsys):
    write_jsonl(tmp_path / "rows.jsonl", [{"question": f"{n}?", "answer": f"{n}."} for n in range(30)])
    path = str(tmp_path / "rows.jsonl")
    for flags, words in (
        (["--map", "prompt=nix", "--map", "completion=answer"], "'nix'; there are question, answer"),
        (["--max-length", "-3"], "at least 1 token"),
        (["--max-length", "30"], "--model"),
    ):
        assert main(["validate", path, *flags]) == 2
        assert words in capsys.readouterr().err
    assert main(["validate", path]) == 1
    assert "--map prompt=question --map completion=answer" in " ".join(capsys.readouterr().out.split())


def test_a_pointer_of_git_lfs_says_so(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    assert main(["validate", str(tmp_path / "rows.jsonl")]) == 1
    assert "git lfs pull" in capsys.readouterr().out


def test_text_pairs_of_two_questions_are_named_as_that(tmp_path):
    pairs = [
        {"chosen": f"Human: is {n} odd?\n\nAssistant: yes {n}", "rejected": f"Human: is {n} odd?\n\nAssistant: no"}
        for n in range(30)
    ]
    pairs[4]["rejected"] = "Person: what else?\n\nAssistant: no"
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    found = {item.check: item.rows for item in judge_data(read_rows(str(tmp_path / "pairs.jsonl"))).findings}
    assert found["pair_prompts"] == [4] and "missing_field" not in found
