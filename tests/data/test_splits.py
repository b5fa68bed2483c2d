"""Splits: equivalent rows stay together, every machine agrees, and no row is in two splits."""

import json
import sys
import types

import pytest

import tunebook
from tunebook.data.mapping import reading_of
from tunebook.data.splits import assign, group_of, held_rows, leave_rows_out, normalise, row_groups, split_of
from tunebook.data.study_data import Sizes, load_study_data, without_thoughts
from tunebook.data.validate import judge_study
from tunebook.errors import InputProblem
from tunebook.evaluation.extraction import extract
from tunebook.files import write_jsonl
from tunebook.training.sampling import checker_of


def row(prompt, completion="0 5 * * *", **extra):
    return {"prompt": prompt, "completion": completion, **extra}


def turns(prompt, completion):
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


def make_task():
    """A stand-in for a shipped task: minute and hour, three wordings of each group."""

    def make_rows(n, seed):
        rows = []
        for number in range(n):
            value = (number * 7919 + seed) % 1440
            hour, minute = divmod(value, 60)
            words = ("every day at", "daily at", "each day at")[number // 1440 % 3]
            text = f"{words} {hour}:{minute:02d}"
            group = f"{minute} {hour} * * *"
            rows.append({**turns(text, group), "group": group, "slice": "daily", "id": f"{number}", "phrase": text})
        return rows

    def make_problems(rows):
        return [{"task_id": r["id"], "prompt": r["phrase"], "kind": "answer", "canonical_solution": ""} for r in rows]

    return types.SimpleNamespace(make_rows=make_rows, make_problems=make_problems)


@pytest.fixture
def shipped_task(monkeypatch):
    """tunebook.tasks with one small task."""
    module = types.SimpleNamespace(load=lambda name: make_task())
    monkeypatch.setitem(sys.modules, "tunebook.tasks", module)
    monkeypatch.setattr(tunebook, "tasks", module, raising=False)


def test_assign_is_the_same_on_every_machine():
    """Python's own hash() changes from process to process; a recorded split must not."""
    first = "".join(assign(f"{n} 5 * * *", 0)[:2] for n in range(12))
    assert first == "tetetetrtrtrtrtrtrtetrtr"
    counts = {"train": 0, "dev": 0, "test": 0}
    for n in range(5000):
        counts[assign(str(n), 3)] += 1
    assert 0.78 < counts["train"] / 5000 < 0.82 and 0.04 < counts["dev"] / 5000 < 0.06


def test_another_seed_gives_other_splits():
    assert [assign(str(n), 1) for n in range(100)] != [assign(str(n), 2) for n in range(100)]


def test_rewordings_of_one_prompt_stay_together():
    prompts = ("Every day at 9:30.", "every  day at 9:30", "EVERY DAY AT 9:30!", "“every day at 9:30”")
    assert len({normalise(prompt) for prompt in prompts}) == 1


@pytest.mark.parametrize(
    "pair",
    [("at 9:30", "at 9.30"), ("*/5", "5"), ("-5", "5"), (".5", "5"), ("9:30", "930"), ("f(x)", "f[x]"), ("*", "")],
)
def test_normalising_keeps_different_prompts_apart(pair):
    assert normalise(pair[0]) != normalise(pair[1])


def test_group_and_hint_decide_before_the_prompt():
    first, second = turns("every day at noon", "0 12 * * *"), turns("daily at 12:00", "0 12 * * *")
    assert group_of(first) != group_of(second)
    first["group"] = second["group"] = "0 12 * * *"
    assert split_of(first, 5) == split_of(second, 5)
    assert split_of({**first, "split_hint": "test"}, 5) == "test"
    with pytest.raises(ValueError, match="split_hint"):
        split_of({**first, "split_hint": "validation"}, 5)


def test_task_splits_are_disjoint_by_group_and_full(shipped_task):
    data = load_study_data("cron", "", "", Sizes(600, 20, 100))
    assert (len(data.train), len(data.dev_problems), len(data.test_problems)) == (600, 20, 100)
    groups = [{row["group"] for row in part} for part in (data.train, data.dev, data.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert len(groups[2]) == 100, "distinct groups come first in test"
    assert [problem["task_id"] for problem in data.test_problems] == [row["id"] for row in data.test]
    assert data.findings == [] and data.name == "cron"


def test_the_same_study_twice_gives_the_same_rows(shipped_task):
    first, second = (load_study_data("cron", "", "", Sizes(300, 10, 50, seed=4)) for _ in range(2))
    assert first == second
    assert load_study_data("cron", "", "", Sizes(300, 10, 50, seed=5)).train != first.train


def test_benchmark_limit_keeps_rows_and_problems_together(shipped_task):
    data = load_study_data("cron", "", "", Sizes(100, 5, 50, 20))
    assert len(data.test_problems) == 20
    assert [problem["task_id"] for problem in data.test_problems] == [row["id"] for row in data.test]


def test_own_rows_become_exact_match_problems(tmp_path):
    path = tmp_path / "own.jsonl"
    write_jsonl(path, [row(f"schedule number {n}", f"{n} * * * *") for n in range(200)])
    data = load_study_data("", str(path), "", Sizes(0, 5, 20))
    problem = data.test_problems[0]
    namespace = {}
    exec(problem["test"], namespace)  # noqa: S102 - the text is our own
    namespace["check"](f"  {problem['canonical_solution']}\n")
    with pytest.raises(AssertionError):
        namespace["check"]("something else")
    kept = len(data.train) + len(data.dev) + len(data.test)
    assert kept + len(data.rejects) == 200, "no row disappears"
    assert {reject["check"] for reject in data.rejects} <= {"not_used"}


@pytest.mark.parametrize(
    "answer",
    [
        "SELECT a\nFROM t\nWHERE b",
        '{\n "a": 1\n}',
        '"quoted"',
        "'a' or 'b'",
        "Use `ls -l` to list",
        "Answer: 7",
        '[{"n": 1}]',
    ],
)
def test_a_model_that_gives_the_rows_own_answer_is_right(tmp_path, answer):
    """Whatever the extractor takes away from a model's text it takes away from the expected answer too."""
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": f"number {n}?", "completion": answer} for n in range(60)])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    problem = data.benchmark().problems[0]
    names = {}
    exec(problem["test"], names)
    for text in (answer, f"{answer}<|im_end|>", f"```\n{answer}\n```"):
        names["check"](extract(text, problem))
    with pytest.raises(AssertionError):
        names["check"](extract("something else", problem))
    assert checker_of("")({"completion": turns("", answer)["completion"]}, answer)


def test_slices_and_groups_of_any_type_are_text(tmp_path):
    rows = [
        {"prompt": f"number {n}?", "completion": str(n), "slice": [None, 0, ["a"]][n % 3], "group": [n]}
        for n in range(60)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    assert {problem["slice"] for problem in data.test_problems} == {"", "0", "['a']"}
    assert len({row["group"] for row in data.train}) == len(data.train)
    assert "slice_missing" not in {item.check for item in judge_study(data).findings}


def test_rows_that_are_removed_are_in_the_rejects(tmp_path):
    path = tmp_path / "troubled.jsonl"
    rows = [row(f"schedule number {n}", f"{n} * * * *") for n in range(50)]
    write_jsonl(path, [*rows, rows[3], row("", "x")])
    data = load_study_data("", str(path), "")
    assert {(r["row"], r["check"]) for r in data.rejects} == {(50, "exact_duplicates"), (51, "empty_field")}
    assert {item.check for item in data.findings} == {"exact_duplicates", "empty_field"}


def test_group_that_hides_a_leak(tmp_path):
    """Two rows with one prompt but different groups may land in train and test: train loses its copy."""
    path = tmp_path / "leaked_rows.jsonl"
    rows = [row(f"the schedule {n}", f"{n} * * * *", group=str(n)) for n in range(100)]
    hints = [row("leaked prompt", "1", split_hint="train"), row("Leaked prompt!", "1 ", split_hint="test")]
    write_jsonl(path, rows + hints)
    data = load_study_data("", str(path), "")
    assert [r["row"] for r in data.rejects if r["check"] == "split_leakage"] == [100]
    assert "leaked prompt" not in [r["prompt"][0]["content"] for r in data.train]


def test_beside_a_benchmark_file_every_row_without_a_split_trains(tmp_path):
    """A share for dev would be lost: problems to choose by are made from the benchmark alone."""
    rows = [row(f"schedule number {n}", f"{n} * * * *") for n in range(60)]
    rows[7]["split_hint"] = "test"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    problem = {"task_id": "a", "prompt": "Say yes to the question of the day.", "canonical_solution": "yes"}
    problem |= {"entry_point": "answer", "kind": "answer", "test": "def check(answer):\n    assert answer == 'yes'\n"}
    write_jsonl(tmp_path / "bench.jsonl", [problem])
    data = load_study_data("", str(tmp_path / "rows.jsonl"), str(tmp_path / "bench.jsonl"))
    assert len(data.train) == 59 and not data.dev
    assert [(reject["row"], reject["check"]) for reject in data.rejects] == [(7, "not_used")]


@pytest.mark.parametrize(
    "said",
    [
        {"content": "<think>\nThe sum is linear.\n</think>\n\nUse `sum`.\n"},
        {"content": "Use `sum`.\n", "reasoning_content": "The sum is linear."},
    ],
)
def test_thoughts_are_not_trained_where_thinking_is_off(tmp_path, said):
    """The template puts an empty thought into the prompt: every row of a reasoning data set failed its mask."""
    turns = [{"role": "user", "content": "Add {}."}, {"role": "assistant", **said}]
    rows = [[{**turn, "content": turn["content"].replace("{}", str(at))} for turn in turns] for at in range(40)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    study = load_study_data("", str(path), "")
    assert without_thoughts(study, "on") is study
    found = without_thoughts(study, "off")
    answers = {json.dumps(row["completion"][-1]) for row in [*found.train, *found.dev, *found.test]}
    assert answers == {json.dumps({"role": "assistant", "content": "Use `sum`.\n"})} and len(found.train) == len(
        study.train
    )
    [note] = [finding for finding in found.findings if finding.check == "thoughts_left_out"]
    assert note.severity == "info" and note.count == len([*found.train, *found.dev, *found.test])


def test_the_thought_of_an_earlier_answer_stays_unless_that_answer_is_trained(tmp_path):
    thought = "<think>\nHm.\n</think>\n\n"
    row = [{"role": "assistant", "content": f"{thought}first", "weight": 1}, {"role": "user", "content": "And {}?"}]
    row += [{"role": "assistant", "content": f"{thought}read", "weight": 0}]
    row = [{"role": "user", "content": "Add {}."}, *row]
    row += [{"role": "user", "content": "So?"}, {"role": "assistant", "content": "last {}"}]
    path = tmp_path / "rows.jsonl"
    texts = (json.dumps({"messages": row}).replace("{}", str(at)) + "\n" for at in range(40))
    path.write_text("".join(texts))
    found = without_thoughts(load_study_data("", str(path), ""), "off")
    earlier = {turn["content"] for row in found.train for turn in row["prompt"] if turn["role"] == "assistant"}
    assert earlier == {"first", f"{thought}read"}


def from_sources(tmp_path):
    """A study of a table as people keep it: a column that says where a row comes from, empty in some rows."""
    lines = [f"schedule number {n},{n % 60} {n % 24} * * *,{('forum', 'manual', '')[n % 3]}" for n in range(120)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["question,answer,Source", *lines]) + "\n")
    return load_study_data("", str(path), "", reading=reading_of(["prompt=question", "completion=answer"]))


def test_rows_are_grouped_by_where_they_come_from(tmp_path):
    study = from_sources(tmp_path)
    column, groups = row_groups(study.train, "", 8)
    assert column == "Source" and groups.keys() == {"forum", "manual", "(none)"}
    assert sum(map(len, groups.values())) == len(study.train), "no row is missing"
    held, names = held_rows(study.dev, column, 3, 0)
    assert len(held) == 3 and set(names) <= groups.keys()


def test_a_shipped_task_is_grouped_by_its_slices():
    column, groups = row_groups(load_study_data("schedule_to_cron", "", "", Sizes(300, 10, 10)).train, "", 8)
    assert column == "slice" and {"daily", "weekly", "interval"} <= groups.keys()


@pytest.mark.parametrize(
    "rows, column, said",
    [
        ([turns(str(n), "1") for n in range(20)], "", "the rows do not say where they come from"),
        ([{"source": str(n)} for n in range(40)], "source", "source has 40 values"),
        ([{"source": "a"}] * 30 + [{"source": "b"}] * 3, "", "do not say where they come from"),
        ([{"source": "a"}, {"source": "b"}], "sourse", "did you mean 'source'"),
    ],
)
def test_rows_that_tell_no_groups_are_one_sentence(rows, column, said):
    with pytest.raises(InputProblem, match=said):
        row_groups(rows, column, 8)


def test_left_out_rows_are_rejects_with_their_reason_and_dev_and_test_stay(tmp_path):
    study = from_sources(tmp_path)
    left = leave_rows_out(study, ["Source=forum", "Source=(none)"])
    assert {row["Source"] for row in left.train} == {"manual"}
    assert (left.dev, left.test, left.test_problems) == (study.dev, study.test, study.test_problems)
    gone = left.rejects[len(study.rejects) :]
    assert len(gone) == len(study.train) - len(left.train) and gone[0]["reason"] == "left_out_rows: Source=forum"
    assert leave_rows_out(study, []) == study
    with pytest.raises(InputProblem, match="'Source=forums' names no training row.*Source=forum, Source=manual"):
        leave_rows_out(study, ["Source=forums"])
