"""Rows as people bring them: each kind of file is read whole, or one finding says what would be lost and how to keep
it.

The inputs are small and own; the kinds come from public reports about training kits.
"""

import json

import pytest

from planted_data import chats, pairs, prose
from tunebook.cli import main
from tunebook.data.commands import load_against
from tunebook.data.mapping import reading_of
from tunebook.data.messages import RowProblem, as_messages
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.study_data import load_study_data
from tunebook.data.validate import judge_data
from tunebook.errors import InputProblem
from tunebook.files import write_jsonl

ROWS, PAIRS = prose(30), pairs(30)
TOOLS = [{"type": "function", "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}}}]


def user(text):
    return {"role": "user", "content": text}


def said(text, **keys):
    return {"role": "assistant", "content": text, **keys}


def talks(**keys):
    """Conversations of one turn; a key is a further column, the same in every row or a function of its number."""
    return [
        {"messages": [user(row["prompt"]), said(row["completion"])], **_columns(keys, n)} for n, row in enumerate(ROWS)
    ]


def rows(**keys):
    return [{**row, **_columns(keys, n)} for n, row in enumerate(ROWS)]


def _columns(keys, n):
    return {name: value(n) if callable(value) else value for name, value in keys.items()}


def judge(records, mapping=None, benchmarks=None, **options):
    return judge_data(rows_from_records(records, "kinds", "memory"), reading_of(mapping, **options), benchmarks)


def alpaca(**keys):
    return [
        {"instruction": r["prompt"], "input": "", "output": r["completion"], **_columns(keys, n)}
        for n, r in enumerate(ROWS)
    ]


def share(turns, **keys):
    return [{"conversations": [{"from": who, "value": text} for who, text in turns(row)], **keys} for row in ROWS]


LOST = {
    "a system column": (rows(system="Speak like a pirate."), "--map system=system"),
    "a system column in camel case": (talks(systemPrompt="Be kind."), "--map system=systemPrompt"),
    "a context column": (rows(passage=lambda n: f"The shop in street {n} is open."), "--map context=passage"),
    "a history": (rows(chat_history=lambda n: [["Hello", f"Good day {n}."]]), "--map history=chat_history"),
    "KTO's label": (rows(label=lambda n: n % 2 == 0), "--map label=label"),
    "KTO's label beside messages": (talks(label=lambda n: n % 2), "--map label=label"),
    "weights of rows": (rows(weight=lambda n: n % 2), "--map weight=weight"),
    "a rejected answer beside messages": (talks(rejected_response="No."),
    "--map messages=messages --map rejected=rejected_response"),
    "pictures": (talks(images=["a.png"]), "--drop images"),
    "classes beside a text": ([{"text": r["completion"], "label": n % 3} for n, r in enumerate(ROWS)],
                              "--map prompt=text --map completion=label"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_what_changes_the_meaning_is_an_error_with_its_remedy(name):
    records, remedy = LOST[name]
    [finding] = [item for item in judge(records).findings if item.severity == "error"]
    assert finding.check == "left_out" and remedy in finding.message


@pytest.mark.parametrize("name", [name for name in LOST if "pictures" not in name])
def test_what_is_mapped_is_no_longer_lost(name):
    records, remedy = LOST[name]
    mapping = [word for word in remedy.split() if "=" in word]
    assert [item.check for item in judge(records, mapping).findings if item.severity == "error"] == []


@pytest.mark.parametrize("name", LOST)
def test_what_is_dropped_by_name_is_no_longer_lost(name):
    records, _ = LOST[name]
    column = list(records[0])[-1]
    judgement = judge(records, drop=[column])
    assert [item.check for item in judgement.findings if item.severity == "error"] == []
    assert {row["column"]: row["becomes"] for row in judgement.examples.account.table()}[column] == "dropped"


SHAPES = {
    "Alpaca": (alpaca(), {"prompt": "instruction+input", "completion": "output"}),
    "Alpaca with system and history": (alpaca(system="Be kind.", history=lambda n: [["Hi", "Yes?"]]),
                                       {"prompt": "instruction+input", "completion": "output", "system": "system",
                                       "history": "history"}),
    "Dolly": ([{"instruction": r["prompt"], "context": f"Text {n}.", "response": r["completion"], "category": "qa"}
               for n, r in enumerate(ROWS)], {"prompt": "instruction", "completion": "response", "context": "context"}),
    "OpenOrca": ([{"id": n, "system_prompt": "Help.", "question": r["prompt"], "response": r["completion"]} for n,
    r in enumerate(ROWS)],
                 {"prompt": "question", "completion": "response", "system": "system_prompt"}),
    "ShareGPT": (share(lambda r: [("human", r["prompt"]), ("gpt", r["completion"])], system="Be kind."),
                 {"messages": "conversations", "system": "system"}),
    "SQuAD": ([{"context": f"Text {n}.", "question": r["prompt"], "answers": {"text": [r["completion"]]}} for n,
    r in enumerate(ROWS)],
              {"prompt": "question", "completion": "answers.text[0]", "context": "context"}),
    "OpenAI's preference rows": ([{"input": {"messages": [user(r["prompt"])], "tools": TOOLS},
    "preferred_output": [said(r["chosen"])],
                                   "non_preferred_output": [said(r["rejected"])]} for r in PAIRS],
                                 {"prompt": "input.messages", "chosen": "preferred_output",
                                 "rejected": "non_preferred_output",
                                  "tools": "input.tools"}),
    "OpenOrca's pairs": ([{"system": "Help.", "question": r["prompt"], "chosen": r["chosen"],
    "rejected": r["rejected"]} for r in PAIRS],
                         {"prompt": "question", "chosen": "chosen", "rejected": "rejected", "system": "system"}),
    "MBPP": ([{"task_id": n, "text": r["prompt"], "code": f"def f{n}(x):\n    return x + {n}\n",
    "test_list": [f"assert f{n}(1) == {n + 1}"]}
              for n, r in enumerate(ROWS)], {"prompt": "text", "completion": "code"}),
    "GSM8K": ([{"question": r["prompt"], "answer": r["completion"] + f"\n#### {n}"} for n, r in enumerate(ROWS)], {"prompt": "question",
    "completion": "answer"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_known_shape_is_named_and_its_mapping_keeps_everything(name):
    records, mapping = SHAPES[name]
    [finding] = [item for item in judge(records).findings if item.severity == "error"]
    assert finding.check == "columns" and name.split(" with")[0] in finding.message
    assert dict(judge(records).examples.reading.mapping) == mapping
    mapped = judge(records, mapping)
    assert [item.check for item in mapped.findings if item.severity != "info"] in ([], ["template_fields"])
    assert len(mapped.examples) == 30


READ_AS_THEY_ARE = {
    "UltraFeedback": [
        {"prompt": r["prompt"], "prompt_id": str(n), "chosen": [user(r["prompt"]), said(r["chosen"])],
        "score_chosen": 8.0,
         "rejected": [user(r["prompt"]), said(r["rejected"])], "messages": [user(r["prompt"]), said(r["chosen"])],
         "score_rejected": 3.5}
        for n, r in enumerate(PAIRS)
    ],
    "no robots": [{"prompt": r["prompt"], "prompt_id": str(n), **talk, "category": "x"} for n, (r,
    talk) in enumerate(zip(ROWS, talks()))],
    "pairs that part at the first answer": [
        {side: [user(r["prompt"]), said(r[side]), user("And why?"),
        said(f"So said the {side} one {n}.")] for side in ("chosen", "rejected")}
        for n, r in enumerate(PAIRS)
    ],
    "lines that hold line separators": rows(note="\u2028 \u2029"),
    "weights that are all 1": talks(weight=1),
    "blank columns": rows(system="", history=lambda n: [], context=None),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_AS_THEY_ARE)
def test_clean_files_of_known_kinds_raise_nothing(name):
    judgement = judge(READ_AS_THEY_ARE[name])
    assert [(item.check, item.message) for item in judgement.findings if item.severity != "info"] == []
    assert len(judgement.examples) == 30


def test_pairs_that_part_at_the_first_answer_keep_the_common_beginning():
    row = judge(READ_AS_THEY_ARE["pairs that part at the first answer"]).examples.row(0)
    assert row["prompt"] == [user(PAIRS[0]["prompt"])] and len(row["chosen"]) == len(row["rejected"]) == 3


def test_turns_of_weight_0_are_read_and_not_trained():
    talk = [
        user("Is it open?"),
        said("It is shut.", weight=0),
        user("Sure?"),
        said("It is open."),
        user("All?"),
        said("No.", weight=0),
    ]
    examples = judge([{"messages": talk}] * 3).examples
    assert [m.get("weight") for m in examples.row(0)["prompt"]] == [None, None, None]
    assert examples.row(0)["completion"] == [said("It is open.")]
    assert examples.account.counts() | {"characters": 0, "trained_characters": 0} == {
        "turns": 9, "trained_turns": 3, "characters": 0, "trained_characters": 0
    }  # fmt: skip


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_rows_are_repeats_and_pairs_equal_only_in_all_that_is_trained(key):
    """Traces of one answer, and one question with other tools, were removed as exact duplicates."""
    other = [{"type": "function", "function": {"name": "hum", "parameters": {}}}]
    talk = [user("Ring the bell of the old pier twice."), said("It rings twice, as you asked.", **{key: "Twice."})]
    longer = [talk[0], {**talk[1], key: "The pier has one bell."}]
    records = [{"messages": turns, "tools": tools} for turns in (talk, longer) for tools in (TOOLS, other)]
    found = {item.check: item.rows for item in judge([*records, records[1]]).findings}
    assert found["exact_duplicates"] == [4]
    pair = {"prompt": talk[:1], "chosen": talk[1:], "rejected": longer[1:]}
    found = {item.check: item.rows for item in judge([*PAIRS, pair, {**pair, "rejected": talk[1:]}]).findings}
    assert found["pair_equal"] == [len(PAIRS) + 1]


@pytest.mark.parametrize("train_on, n_trained", [("all", 80), ("last", 40)])
def test_the_account_counts_the_trained_turns(train_on, n_trained):
    account = judge(chats(), train_on=train_on).examples.account
    assert f"{n_trained} of 80 assistant turns (train_on: {train_on})" in account.trained()


def test_tool_calls_of_every_form_become_one_form():
    call = {"name": "ring", "arguments": {"minutes": 3}}
    packed = {"id": "c0", "type": "function", "function": {"name": "ring", "arguments": '{"minutes": 3}'}}
    forms = [
        {"messages": [user("Ring."), said(None, tool_calls=[packed])], "tools": TOOLS},
        {"messages": [user("Ring."), said(None, function_call=packed["function"])],
        "functions": [TOOLS[0]["function"]]},
        {"messages": [{"from": "human", "value": "Ring."}, {"from": "function_call", "value": json.dumps(call)}],
         "tools": json.dumps(TOOLS)},
    ]  # fmt: skip
    for form in forms:
        row = judge([form]).examples.row(0)
        assert [made["function"] for made in row["completion"][0]["tool_calls"]] == [call] and row["tools"] == TOOLS


@pytest.mark.parametrize("calls", [None, "", " ", "null", "[]", [], False, float("nan")])
@pytest.mark.parametrize("key", ["tool_calls", "function_call"])
def test_blank_tool_calls_are_none(key, calls):
    """A cell of a csv file that holds no call is an empty text."""
    assert as_messages([user("Ring."), said("It rings.", **{key: calls})], "", "messages")[1] == said("It rings.")


@pytest.mark.parametrize("calls", [True, 7, 0.5, "7", "true", "ring()"])
@pytest.mark.parametrize("key", ["tool_calls", "function_call"])
def test_tool_calls_that_are_no_calls_are_one_sentence(key, calls):
    with pytest.raises(RowProblem, match="tool_calls in messages is a|a tool call in messages is no JSON"):
        as_messages([user("Ring."), said("It rings.", **{key: calls})], "", "messages")


def test_kto_rows_are_read_by_name_and_only_good_answers_are_demonstrations(tmp_path):
    from tunebook.data.row_types import demonstrations

    write_jsonl(tmp_path / "kto.jsonl", rows(label=lambda n: n % 3 > 0))
    data = load_study_data("", str(tmp_path / "kto.jsonl"), "", reading=reading_of(["label=label"]))
    assert {row["label"] for row in data.train} == {True, False}
    assert all(row["label"] for row in demonstrations(data.train) + data.dev + data.test)
    assert judge(rows(label=lambda n: n % 3 > 0), kind="kto").examples.kind == "kto"


def test_numbers_become_text_and_marks_of_blank_cells_are_left_out():
    row = judge(
        [{"q": "Two and two?", "note": "nan", "a": 4}] * 3, ["prompt=q+note", "completion=a", "system=note"]
    ).examples.row(0)
    assert (row["prompt"], row["completion"]) == ([user("Two and two?")], [said("4")])


def test_a_system_text_can_go_into_the_first_user_turn():
    talk = {"messages": [{"role": "system", "content": "Be brief."}, user("Is it open?"), said("Yes.")]}
    assert judge([talk] * 3, ["system=first_user"]).examples.row(0)["prompt"] == [user("Be brief.\n\nIs it open?")]
    column = {"prompt": "Is it open?", "completion": "Yes.", "persona": "Be brief."}
    assert judge([column] * 3, ["system=persona+first_user"]).examples.row(0)["prompt"] == [
        user("Be brief.\n\nIs it open?")
    ]


def test_a_name_that_is_dropped_and_not_there_is_bad_input():
    with pytest.raises(InputProblem, match="drop names 'lable'; there are prompt"):
        judge(rows(label=1), drop=["lable"])


def test_types_and_ids_of_a_column_that_is_dropped_are_no_errors():
    """The finding said to drop the column, and stayed."""
    made = rows(meta=lambda n: {"n": n} if n % 5 else "none", id=lambda n: min(n, len(ROWS) - 2))
    assert {item.check for item in judge(made).findings} >= {"mixed_types", "doubled_ids"}
    assert judge(made, drop=["meta", "id"]).findings == []


LINES = [json.dumps(row) for row in ROWS]
WHOLE = {
    "spread": ("\n".join(json.dumps(row, indent=2) for row in ROWS), "spread over several lines; 30 rows", 30),
    "commas": (",\n".join(LINES), "a comma follows each object; 30 rows", 30),
    "side by side": ("".join(LINES), "objects share a line", 30),
    "open list": ("[" + ",\n".join(LINES) + ",\n]", "before the closing bracket", 30),
    "bare lists": ("\n".join(json.dumps(list(row.values())) for row in ROWS), "bare list", 0),
    "Python": ("\n".join(map(str, ROWS)), "as Python prints it", 0),
    "packed twice": ("\n".join(map(json.dumps, LINES)), "written twice", 0),
    "lists of splits": (json.dumps({"train": ROWS[:20], "test": ROWS[20:]}), "2 lists of rows (train, test)", 0),
    "commas inside": ("\n".join(line[:-1] + ",}" for line in LINES), "comma before a closing bracket", 0),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_wrong_as_a_whole_is_named_once(tmp_path, name):
    text, words, n_rows = WHOLE[name]
    path = tmp_path / ("rows.json" if name in ("open list", "lists of splits") else "rows.jsonl")
    path.write_text(text)
    read = read_rows(str(path))
    [finding] = read.findings
    assert finding.check == "file_format" and words in finding.message and len(read) == n_rows


def test_one_broken_line_at_the_start_is_no_verdict_on_the_file(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{oops}\n" + "\n".join(LINES))
    read = read_rows(str(tmp_path / "rows.jsonl"))
    assert [(item.check, item.lines) for item in read.findings] == [("bad_json", [1])] and len(read) == 30


SUM = "Write a function to add the numbers of two lists place by place and leave out what has no partner."
CODE = "def add_lists(a, b):\n    sums = []\n    for x, y in zip(a, b):\n        sums.append(x + y)\n    return sums"
MBPP = [{"task_id": 7, "text": SUM, "code": CODE, "test_list": ["assert add_lists([1], [2]) == [3]"]}]
LEAKS = {
    "the prompt": {"prompt": SUM, "completion": "def f(x):\n    return x"},
    "the prompt in a longer one": {"prompt": f"Please solve this task. {SUM} Thank you.",
    "completion": "I cannot see how."},
    "the solution under other names": {"prompt": "Do it.",
    "completion": f"```python\n{CODE.replace('sums', 'out').replace('add_lists', 'go')}\n```"},
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
def test_a_task_in_a_docstring_is_compared_by_its_words(name):
    problem = {"task_id": "7", "prompt": f'"""\n{SUM}\nassert add_lists([1], [2]) == [3]\n"""\n',
    "canonical_solution": CODE + "\n",
               "entry_point": "add_lists", "kind": "code", "test": ""}  # fmt: skip
    found = {f.check: f.rows for f in judge([*ROWS, LEAKS[name]], benchmarks={"own": [problem]}).findings}
    assert [rows for check, rows in found.items() if check.startswith("contamination")] == [[30]]


@pytest.mark.parametrize("name", LEAKS)
def test_mbpp_as_published_is_compared_by_prompt_and_solution(tmp_path, name):
    write_jsonl(tmp_path / "mbpp.jsonl", MBPP)
    problems = load_against(str(tmp_path / "mbpp.jsonl"))
    judgement = judge([*ROWS, LEAKS[name]], benchmarks={"mbpp": problems})
    found = {item.check: item.rows for item in judgement.findings if item.check.startswith("contamination")}
    assert list(found.values()) == [[30]] and judgement.compared == {"mbpp": (1, 1)}


def test_a_schedule_inside_a_longer_one_is_no_leak_and_a_sum_with_its_number_is():
    asked = "every day at nine in the morning and again at six in the evening"
    problem = {
        "task_id": "1",
        "prompt": asked,
        "canonical_solution": "0 9,18 * * *",
        "kind": "answer",
        "test": "",
        "entry_point": "answer",
    }
    longer = {"prompt": f"{asked} from Monday to Friday", "completion": "0 9,18 * * 1-5"}
    assert "contamination" not in {f.check for f in judge([*ROWS, longer], benchmarks={"own": [problem]}).findings}
    text = "A baker packs six rolls in a bag and sells nine bags. How many rolls were sold?"
    problem = {**problem, "prompt": text, "canonical_solution": "6 * 9 = 54\n#### 54"}
    leak = {"prompt": f"Question: {text}\nAnswer:", "completion": "54"}
    found = {f.check: f.rows for f in judge([*ROWS, leak], benchmarks={"own": [problem]}).findings}
    assert found["contamination"] == [30]


def test_texts_are_compared_with_texts_and_never_by_their_empty_prompts(tmp_path):
    write_jsonl(tmp_path / "held_out.jsonl", [{"text": row["completion"]} for row in prose(20, seed=9)])
    problems = load_against(str(tmp_path / "held_out.jsonl"))
    texts = [{"text": row["completion"]} for row in ROWS]
    texts[4] = {"text": f"Long ago. {prose(20, seed=9)[7]['completion']} The end."}
    found = {
        item.check: item.rows
        for item in judge(texts, benchmarks={"held": problems}).findings
        if item.severity == "error"
    }
    assert found == {"contamination": [4]}


def test_a_benchmark_without_anything_to_compare_is_refused():
    empty = [{"task_id": "a", "prompt": " ", "canonical_solution": "", "kind": "code", "test": "", "entry_point": "f"}]
    with pytest.raises(InputProblem, match="none of its 1 problems"):
        judge(ROWS, benchmarks={"own": empty})


def test_a_file_of_several_languages_on_purpose_is_not_accused():
    german, french = "Der Otter trägt seine Laterne langsam zum Markt, und das Boot wartet nicht", (
        "La loutre porte lentement sa lanterne vers le marché, et le bateau ne part pas"
    )  # fmt: skip
    records = prose(80)
    for n in range(5):
        records[10 + n]["completion"], records[40 + n]["completion"] = (
            f"{german}, sagt Haus {n}.",
            f"{french}, dit la maison {n}.",
        )
    assert "language_mix" not in {item.check for item in judge(records).findings}
    one = prose(80)
    one[10] = {"prompt": "Translate this into German: the otter carries its lantern.", "completion": german + "."}
    assert "language_mix" not in {item.check for item in judge(one).findings}


def test_the_command_says_what_becomes_of_every_column(tmp_path, capsys):
    write_jsonl(tmp_path / "rows.jsonl", rows(id=lambda n: n, label=lambda n: n % 2 == 0))
    assert main(["validate", str(tmp_path / "rows.jsonl"), "--drop", "label"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "id          harmless" in lines and "label       dropped: by name" in lines
    assert any(line.startswith("trained: 30 of 30 assistant turns") for line in lines)
    assert "compared with 164 of 164 problems of humaneval" in lines
