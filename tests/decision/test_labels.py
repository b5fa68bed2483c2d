"""Free text with few labels: what a person gets to see, what counts, and what is refused."""

import csv
import json
from types import SimpleNamespace

import pytest

from tiny_models import tiny_llama, tokenizer
from tunebook.decision import labels as room
from tunebook.errors import InputProblem
from tunebook.evaluation.likelihood import judge_answers
from tunebook.models.engine import TransformersEngine

CRITERION = "It names the right colour."


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_llama(), tokenizer(), slots=3)


def answers(n: int = 40) -> room.Answers:
    """Base is right on the even problems, sft on all but each fifth; the judge knows it, and doubts the last ten."""
    rows = []
    for at in range(n):
        texts = {"base": f"=blue {at}" if at % 2 == 0 else "red", "sft": "red" if at % 5 == 0 else f"=blue {at}"}
        ids = {model: room.hash_json([at, text]) for model, text in texts.items()}
        sure = 0.1 if at >= n - 10 else 0.9
        says = {
            model: {"right": 0.5 + (sure / 2 if text != "red" else -sure / 2), "apart": 0.0, "mass": 0.9}
            for model, text in texts.items()
        }
        row = {"task_id": f"t/{at}", "prompt": f"colour {at}?\nin a word", "reference": "blue"}
        rows.append(row | {"texts": texts, "ids": ids, "says": says})
    return room.Answers(("base", "sft"), CRITERION, rows)


def ids(rows) -> set[str]:
    return {row["id"] for row in rows}


def truth(found: room.Answers) -> dict[str, bool]:
    return {row["ids"][model]: text != "red" for row in found.rows for model, text in row["texts"].items()}


def fill(path, rows, said: dict, delimiter: str = ",") -> None:
    """As a spreadsheet saves it."""
    with open(path, "w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(row | {"label": said.get(row["id"], "")} for row in rows)


def test_the_random_part_of_the_queue_knows_nothing_of_the_judge():
    found = answers()
    queue = room.label_queue(found, 20, 5, seed=1)
    kinds = [entry["kind"] for entry in queue]
    assert kinds.count("random") == 20 and kinds.count("doubtful") == 5 and kinds[:3] == ["random"] * 3
    assert len({entry["task_id"] for entry in queue}) == 25
    for row in found.rows:
        for word in row["says"].values():
            word["right"] = 1 - word["right"] ** 3
    again = room.label_queue(found, 30, 5, seed=1)
    first, longer = ([entry["task_id"] for entry in one if entry["kind"] == "random"] for one in (queue, again))
    assert longer[:20] == first, "a longer queue goes on where the shorter one ended"
    assert room.label_queue(found, 20, 5, seed=2) != queue
    assert len(room.label_queue(found, 0, 5, seed=1)) == 40, "0 is all, and leaves none to doubt"


def test_the_doubtful_ones_are_those_that_the_judge_doubts():
    found = answers(60)
    doubtful = [entry["task_id"] for entry in room.label_queue(found, 20, 3, 0) if entry["kind"] == "doubtful"]
    assert sum(int(task[2:]) >= 50 for task in doubtful) >= 2, (
        "ten of sixty are in doubt; being unlike others counts, too"
    )


def test_a_sheet_hides_the_model_and_is_never_overwritten(tmp_path):
    found = answers()
    rows = room.sheet_rows(found, room.label_queue(found, 20, 5, 0))
    assert set(rows[0]) == set(room.COLUMNS) and not any(
        word in json.dumps(rows) for word in ("base", "sft", "doubtful", "0.5")
    )
    assert all(row["answer"].startswith(("'=blue", "red")) for row in rows), "a spreadsheet would compute what = begins"
    context = SimpleNamespace(run_folder=tmp_path)
    path = room.write_sheet(context, rows)
    fill(path, rows, {rows[0]["id"]: "right"})
    assert room.write_sheet(context, rows) == path and room.read_labels(path, ids(rows)) == {rows[0]["id"]: True}
    assert room.write_sheet(context, rows[1:]) != path, "other answers have a sheet of their own"


def test_labels_are_read_as_people_and_spreadsheets_write_them(tmp_path):
    found = answers()
    rows = room.sheet_rows(found, room.label_queue(found, 20, 5, 0))
    said = {row["id"]: word for row, word in zip(rows, ["right", "WRONG ", "yes", "0", "1", "False"], strict=False)}
    expected = dict(zip(said, [True, False, True, False, True, False], strict=True))
    for delimiter in ",;\t":
        fill(tmp_path / "sheet.csv", rows, said, delimiter)
        assert room.read_labels(tmp_path / "sheet.csv", ids(rows)) == expected
    lines = [json.dumps({"id": name, "label": label}) for name, label in expected.items()]
    (tmp_path / "sheet.jsonl").write_text("\n".join([*lines, json.dumps({"id": rows[7]["id"], "label": None})]))
    assert room.read_labels(tmp_path / "sheet.jsonl", ids(rows)) == expected


def test_a_label_that_cannot_count_is_refused_with_file_and_line(tmp_path):
    found = answers()
    rows = room.sheet_rows(found, room.label_queue(found, 20, 5, 0))
    path = tmp_path / "sheet.csv"
    fill(path, rows, {rows[1]["id"]: "maybe"})  # each row takes two lines, since the prompt does
    with pytest.raises(InputProblem, match=r"sheet.csv, line 4: label is 'maybe': write right or wrong"):
        room.read_labels(path, ids(rows))
    fill(path, rows, {rows[1]["id"]: "right"})
    with pytest.raises(InputProblem, match="line 4: the label is of another answer"):
        room.read_labels(path, ids(rows[2:]))
    path.write_text("id,label\n" + f"{rows[0]['id']},right\n{rows[0]['id']},wrong\n")
    with pytest.raises(InputProblem, match="line 3: id .* has both labels"):
        room.read_labels(path, ids(rows))
    path.write_text("id,verdict\n1,right\n")
    with pytest.raises(InputProblem, match="line 1: no column label"):
        room.read_labels(path, ids(rows))
    path.write_text(f'id,label\n{rows[0]["id"]},right\n{rows[1]["id"]},"right\n{rows[2]["id"]},wrong\n')
    with pytest.raises(InputProblem, match="line 3: no csv"):
        room.read_labels(path, ids(rows))  # else all that follows the quote would be lost in silence
    with pytest.raises(InputProblem, match="missing.csv cannot be read"):
        room.read_all_labels(SimpleNamespace(), [str(tmp_path / "missing.csv")], found)
    path.write_text("id,label\n1,right,x\n")
    with pytest.raises(InputProblem, match="line 2: 3 fields"):
        room.read_labels(path, ids(rows))
    context = SimpleNamespace(external_file=lambda *_: None)
    fill(path, rows, {})
    with pytest.raises(InputProblem, match="two files are the same"):
        room.read_all_labels(context, [str(path), str(path)], found)


def test_labels_outlive_another_judge_and_another_queue(tmp_path):
    """What was labelled is still an answer of the run, whether or not the new queue asks for it."""
    found = answers()
    rows = room.sheet_rows(found, room.label_queue(found, 20, 5, 0))
    fill(tmp_path / "a.csv", rows, {row["id"]: "right" for row in rows})
    (labels,) = room.read_all_labels(SimpleNamespace(external_file=lambda *_: None), [str(tmp_path / "a.csv")], found)
    queue = room.label_queue(found, 10, 0, 0)
    assert len(labels) == len(rows) and len(room.counted(queue, [labels])[0]) == 10


def test_labels_behind_a_gap_do_not_count():
    found = answers()
    queue, said = room.label_queue(found, 20, 5, 0), truth(found)
    tasks = [entry["task_id"] for entry in queue if entry["kind"] == "random"]
    assert room.counted(queue, [said]) == (tasks, 0) and room.counted(queue, []) == ([], 0)
    hard = next(entry for entry in queue if entry["task_id"] == tasks[12])
    assert room.counted(queue, [{name: label for name, label in said.items() if name != hard["ids"][0]}]) == (
        tasks[:12],
        7,
    )
    doubtful = next(entry for entry in queue if entry["kind"] == "doubtful")
    assert room.counted(queue, [{name: label for name, label in said.items() if name not in doubtful["ids"]}])[1] == 0


def test_judge_and_labels_give_rates_a_change_and_the_judges_bias():
    found = answers(200)
    queue, said = room.label_queue(found, 60, 10, 0), truth(found)
    base, sft, change = room.label_estimates(found, room.counted(queue, [said])[0], [said])
    assert (base["what"], sft["what"], change["what"]) == ("base", "sft", "base → sft")
    assert base["estimate"] == pytest.approx(0.5, abs=0.02) and sft["estimate"] == pytest.approx(0.8, abs=0.02)
    assert change["interval"][0] > 0.15 and change["n"] == 60 and change["n_all"] == 200
    for row in (base, sft, change):
        assert row["interval"][0] <= row["estimate"] <= row["interval"][1]
        assert row["interval"][1] - row["interval"][0] < row["labels_interval"][1] - row["labels_interval"][0]
        assert row["bias_interval"][0] < row["bias"] < row["bias_interval"][1]
    result = room.label_result([base, sft, change], [said], 10.0, "")
    assert result["gained"] is True and "one person labelled" in result["agreement"]
    assert room.label_result([base, sft, change], [said], change["estimate"] * 100, "")["gained"] is None
    shown = room.estimate_table([base, sft, change])
    assert [row["labelled"] for row in shown] == ["60 of 200"] * 3


def test_too_few_labels_are_no_number_and_say_what_waits():
    found = answers()
    queue = room.label_queue(found, 20, 5, 0)
    few = {name: True for entry in queue[:9] for name in entry["ids"]}
    tasks, _ = room.counted(queue, [few])
    assert room.label_estimates(found, tasks, [few]) == [] == room.label_estimates(found, [], [])
    result = room.label_result([], [few], 0.0, "31 answers wait in run/labels/a.csv")
    assert result["result"] == "not labelled yet: 31 answers wait in run/labels/a.csv" and result["gained"] is None


def test_what_is_open_says_what_would_settle_it_and_two_people_how_far_they_agree():
    row = {"what": "base → sft", "estimate": 0.05, "interval": [-0.02, 0.12], "n": 50, "n_all": 400}
    row |= {"of_labels": 0.05, "of_problems": 0.2}
    first = {str(at): at % 2 == 0 for at in range(40)}
    result = room.label_result([row], [first, {**first, "0": False}], 0.0, "")
    assert "not told apart from 0: labelling all 400 would not settle it" in result["result"]
    assert "two people agree on 97.5" in result["agreement"] and result["people"]["kappa"] == pytest.approx(0.95)
    more = room.label_result([row | {"of_problems": 0.02}], [first], 0.0, "")["result"]
    assert "labelled problems (now 50) would settle it" in more
    lost = row | {"estimate": -0.2, "interval": [-0.3, -0.1]}
    assert room.label_result([lost], [first], 5.0, "")["gained"] is False
    small = row | {"estimate": 0.02, "interval": [0.01, 0.03]}
    assert room.label_result([small], [first], 5.0, "")["gained"] is None, "a gain that is too small is no loss"


def test_labels_are_taken_at_the_keyboard_and_kept_at_once(tmp_path):
    found = answers()
    rows = room.sheet_rows(found, room.label_queue(found, 20, 5, 0))
    path = room.write_sheet(SimpleNamespace(run_folder=tmp_path), rows)
    said = iter(["right", "w"])
    with pytest.raises(InputProblem, match="'w' is no label"):
        room.label_here(path, rows, lambda _: next(said))
    said = iter(["wrong", ""])
    room.label_here(path, rows, lambda _: next(said))
    assert room.read_labels(path, ids(rows)) == {rows[0]["id"]: True, rows[1]["id"]: False}

    def nobody(_):
        raise EOFError

    with pytest.raises(InputProblem, match="fill in"):
        room.label_here(path, rows, nobody)


def test_a_judges_word_is_its_yes_against_its_no_asked_both_ways(engine):
    import torch

    rows = [{"prompt": "Name a colour.", "reference": text, "answer": "blue"} for text in ("blue", "")]
    said = judge_answers(engine, [*rows, rows[0]], CRITERION)
    assert said[0] == said[2] != said[1]
    shares = []
    for question in ("Does the answer meet the criterion?", "Does the answer fail the criterion?"):
        text = "Request:\nName a colour.\n\nA right answer, for comparison:\nblue\n\nAnswer:\nblue\n\n"
        text += f"Criterion: {CRITERION}\n\n{question} Reply yes or no."
        ids = engine.encode([{"role": "user", "content": text}])
        with torch.inference_mode():
            chances = engine.model(input_ids=torch.tensor([ids])).logits[0, -1].float().softmax(-1)
        parts = []
        for word in ("yes", "no"):
            forms = [space + form for form in (word, word.title(), word.upper()) for space in ("", " ")]
            tokens = [engine.tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
            parts.append(float(sum(chances[one[0]] for one in tokens if len(one) == 1)))
        shares.append(parts)
    (yes, no), (fails, meets) = shares
    first, second = yes / (yes + no), meets / (meets + fails)
    assert said[0]["right"] == pytest.approx((first + second) / 2, abs=1e-4)
    assert said[0]["apart"] == pytest.approx(abs(first - second), abs=1e-4)
    assert said[0]["mass"] == pytest.approx(min(yes + no, fails + meets), abs=1e-5)


def test_an_answer_that_the_judge_cannot_read_whole_is_refused(engine):
    with pytest.raises(InputProblem, match="it reads 512"):
        judge_answers(engine, [{"prompt": "p", "reference": "", "answer": "word " * 600}], CRITERION)


def stage(name: str, folder, rows):
    (folder / "completions").mkdir(parents=True)
    path = folder / "completions" / "task.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = {"params": {"split": "test"}, "checks": [], "files": [{"path": "completions/task.jsonl"}]}
    return SimpleNamespace(name=name, manifest=manifest, file=lambda asked: folder / asked)


def run_of(tmp_path):
    problems = [
        {
            "task_id": f"q/{at}",
            "prompt": f"p{at}",
            "entry_point": "check",
            "kind": "answer",
            "test": "def check(a): pass",
        }
        | {"canonical_solution": "r"}
        for at in range(3)
    ]
    (tmp_path / "01").mkdir()
    (tmp_path / "01" / "test_problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    data = SimpleNamespace(
        name="01_validate_data",
        manifest={"files": [{"path": "test_problems.jsonl"}]},
        file=lambda asked: tmp_path / "01" / asked,
    )
    found = {"01_validate_data": data}
    for target in ("base", "sft"):
        name = f"04_evaluate_pass_at_1@{target}"
        rows = [{"task_id": f"q/{at}", "sample": 0, "completion": f"{target} {at}\n"} for at in range(3)]
        found[name] = stage(name, tmp_path / name, rows)
    return SimpleNamespace(needs=lambda: found, external_file=lambda *_: None)


def test_the_answers_are_those_of_the_run_or_of_files(tmp_path):
    context = run_of(tmp_path)
    found = room.answers_to_judge(context, [], CRITERION)
    assert found.models == ("base", "sft") and found.rows[2]["texts"] == {"base": "base 2", "sft": "sft 2"}
    assert len({name for row in found.rows for name in row["ids"].values()}) == 6
    other = room.answers_to_judge(context, ["base"], "It is short.")
    assert other.rows[0]["ids"]["base"] != found.rows[0]["ids"]["base"], "another criterion makes another label"
    elsewhere = tmp_path / "hosted.jsonl"
    elsewhere.write_text("".join(json.dumps({"task_id": f"q/{at}", "completion": "h"}) + "\n" for at in range(3)))
    kept = tmp_path / "04_evaluate_pass_at_1@sft" / "completions" / "task.jsonl"
    assert room.answers_to_judge(context, ["base", str(elsewhere), str(kept)], CRITERION).models == (
        "base",
        "hosted",
        "sft",
    )


def test_answers_that_are_not_there_are_one_sentence(tmp_path):
    context = run_of(tmp_path)
    for judged, criterion, said in (
        (["dpo"], CRITERION, "judged: "),
        (["base", "base"], CRITERION, "called alike"),
        ([], " ", "criterion is empty"),
    ):
        with pytest.raises(InputProblem, match=said):
            room.answers_to_judge(context, judged, criterion)
    context.needs()["04_evaluate_pass_at_1@sft"].manifest["params"]["split"] = "dev"
    with pytest.raises(InputProblem, match="set split: test"):
        room.answers_to_judge(context, [], CRITERION)
