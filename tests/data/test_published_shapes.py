"""Rows under the columns of data sets as they are published: the mapping that is printed works when it is pasted, and
nothing that changes the meaning is lost on the way.
"""

import json
import re
import shlex

import pytest

from planted_data import pairs, prose, write_rows
from tunebook.data.commands import findings_text
from tunebook.data.mapping import reading_of
from tunebook.data.rows import rows_from_records
from tunebook.data.sources import read_rows
from tunebook.data.validate import judge_data
from tunebook.errors import InputProblem

ROWS, PAIRS = prose(24), pairs(24)
FLAGS = r"(?:--map (?:'[^']*'|[^\s;,)]+) ?)+"
TOOLS = [{"name": "ring", "description": "Ring.", "parameters": {"minutes": {"type": "int"}}}]


def call(n):
    return {"name": "ring", "arguments": {"minutes": n}}


def user(text):
    return {"role": "user", "content": text}


def said(text, **keys):
    return {"role": "assistant", "content": text, **keys}


def judge(records, mapping=None, **options):
    return judge_data(rows_from_records(records, "kinds", "memory"), reading_of(mapping, **options))


def loud(judgement):
    return [item.check for item in judgement.findings if item.severity != "info"]


def pasted(judgement):
    """The mapping that the findings print, as a shell would take it apart."""
    text = " ".join(findings_text("rows", judgement).split())
    words = shlex.split(re.search(rf"(?:likely mapping is [^(]*\(|\): )({FLAGS})", text).group(1))
    return words[1::2]


def talk(human, bot, ask, answer, gap="\n\n"):
    return f"{gap}{human}: Hi.{gap}{bot}: Hello.{gap}{human}: {ask}{gap}{bot}: {answer}"


def alpaca(n, r):
    note = "" if n % 2 else f"Note {n} is short."
    middle = f"### Input:\n{note}\n\n" if note else ""
    text = f"Below is an instruction.\n\n### Instruction:\n{r['prompt']}\n\n{middle}### Response:\n{r['completion']}"
    return {"instruction": r["prompt"], "input": note, "output": r["completion"], "text": text}


# Name of a data set, a function of (number, row), and what the first canonical row must hold besides the answer.
PUBLISHED = {
    "Alpaca with its rendered text": (alpaca, "Note 0 is short."),
    "Alpaca, pairs": (lambda n, r: {"instruction": r["prompt"], "input": f"Note {n}.", **sides(n)}, "Note 0."),
    "FLAN": (lambda n, r: {"inputs": r["prompt"], "targets": r["completion"], "task": "cot"}, ""),
    "ARC": (lambda n, r: {"question": r["prompt"], "answerKey": "AB"[n % 2],
            "choices": {"text": ["otter", f"kettle {n}"], "label": ["A", "B"]}}, "A. otter\nB. kettle 0"),
    "MMLU": (lambda n, r: {"question": r["prompt"], "subject": "law", "choices": ["no", f"yes {n}"], "answer": n % 2},
             "0. no\n1. yes 0"),
    "RACE": (lambda n, r: {"article": r["completion"], "question": r["prompt"], "options": ["otter", f"kettle {n}"],
             "answer": "AB"[n % 2]}, "A. otter\nB. kettle 0"),
    "SQL with its schema": (lambda n, r: {"question": r["prompt"], "context": f"CREATE TABLE t{n} (age INTEGER)",
                            "answer": f"SELECT age FROM t{n}"}, "CREATE TABLE t0"),
    "Capybara": (lambda n, r: {"source": "x", "conversation": [{"input": "Hi.", "output": "Hello."},
                 {"input": r["prompt"], "output": r["completion"]}]}, "Hello."),
    "LIMA": (lambda n, r: {"conversations": [r["prompt"], r["completion"]], "source": "x"}, ""),
    "SlimOrca": (lambda n, r: {"conversations": [{"from": "system", "value": "Be kind.", "weight": None},
                 {"from": "human", "value": r["prompt"], "weight": 0.0},
                 {"from": "gpt", "value": r["completion"], "weight": 1.0}]}, "Be kind."),
    "Glaive": (lambda n, r: {"system": "SYSTEM: You can ring.", "chat":
               talk("USER", "ASSISTANT", r["prompt"], r["completion"] + " <|endoftext|>", "\n\n\n").strip()}, "Hello."),
    "xLAM": (lambda n, r: {"id": n, "query": r["prompt"], "answers": json.dumps([call(n)]), "tools": json.dumps(TOOLS)},
             ""),
    "Gemini": (lambda n, r: {"systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
               "contents": [{"role": "user", "parts": [{"text": r["prompt"]}]},
                            {"role": "model", "parts": [{"text": r["completion"]}]}]}, "Be brief."),
    "OPUS": (lambda n, r: {"translation": {"en": r["prompt"], "de": f"Der Otter Nummer {n} geht."}}, ""),
    "Magpie": (lambda n, r: {"uuid": str(n), "gen_input_config": {"temperature": 1.0}, "input_quality": "very good one",
               "conversations": [{"from": "human", "value": r["prompt"]}, {"from": "gpt", "value": r["completion"]}],
               "instruction": r["prompt"], "response": r["completion"]}, ""),
    "pairs of response and rejected_response": (
        lambda n, r: {"prompt": r["prompt"], "response": PAIRS[n]["chosen"], "rejected_response": PAIRS[n]["rejected"]},
        ""),
    "Stack Exchange": (lambda n, r: {"question": r["prompt"], "response_j": PAIRS[n]["chosen"],
                       "response_k": PAIRS[n]["rejected"]}, ""),
    "a column with a blank in its name": (
        lambda n, r: {"prompt": r["prompt"], "completion": r["completion"], "patient history": [["Hi", "Yes?"]]}, "Hi"),
    "two columns of context": (lambda n, r: {"prompt": r["prompt"], "completion": r["completion"],
                               "passage": f"The bridge {n}.", "options": ["otter", "kettle"]}, "A. otter"),
    "KTO as words": (lambda n, r: {**r, "label": ["false", "true"][n % 2]}, ""),
    "KTO of LLaMA-Factory": (lambda n, r: {"messages": [user(r["prompt"]), said(r["completion"])],
                             "kto_tag": n % 2 == 0}, ""),
}  # fmt: skip


def sides(n):
    return {side: PAIRS[n][side] for side in ("chosen", "rejected")}


def test_every_shape_of_the_list_is_tried():
    assert len(PUBLISHED) >= 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_printed_mapping_works_and_keeps_everything(name):
    make, kept = PUBLISHED[name]
    records = [make(n, row) for n, row in enumerate(ROWS)]
    judgement = judge(records, pasted(judge(records)))
    assert [check for check in loud(judgement) if check != "template_fields"] == []
    assert len(judgement.examples) == len(ROWS)
    assert kept in "\n".join(turn["content"] for turn in judgement.examples.row(0)["prompt"])


def test_the_calls_of_a_function_calling_set_are_calls():
    records = [PUBLISHED["xLAM"][0](n, row) for n, row in enumerate(ROWS)]
    row = judge(records, ["prompt=query", "completion=answers", "tools=tools"]).examples.row(0)
    assert row["completion"][0]["tool_calls"][0]["function"] == call(0) and row["tools"][0]["function"] == TOOLS[0]


def test_arguments_of_other_tools_that_arrow_adds_are_not_trained(tmp_path):
    calls = [{"name": "ring", "arguments": {"minutes": 3}}, {"name": "look", "arguments": {"place": "Rome"}}]
    rows = [{"messages": [user(r["prompt"]), said("", tool_calls=[{"type": "function", "function": calls[n % 2]}])]}
            for n, r in enumerate(ROWS)]  # fmt: skip
    judgement = judge_data(read_rows(write_rows(tmp_path / "calls.parquet", rows)))
    assert [judgement.examples.row(n)["completion"][0]["tool_calls"][0]["function"] for n in (0, 1)] == calls


def test_dialogues_in_one_text_become_turns_and_part_at_the_first_answer():
    records = [
        {side: talk("Human", "Assistant", row["prompt"], row[side]) + f"\n\nHuman: Why?\n\nAssistant: So {n}."
         for side in ("chosen", "rejected")} for n, row in enumerate(PAIRS)
    ]  # fmt: skip
    judgement = judge(records)
    row = judgement.examples.row(0)
    assert loud(judgement) == [] and [turn["content"] for turn in row["prompt"]][:2] == ["Hi.", "Hello."]
    assert [turn["role"] for turn in row["chosen"]] == ["assistant", "user", "assistant"]


SILENT = {
    "a tree of single messages": ([{"text": r["prompt"], "role": ["prompter", "assistant"][n % 2]}
                                   for n, r in enumerate(ROWS)], "left_out", "role"),
    "what steers the template": ([{"messages": [user(r["prompt"]), said(r["completion"])],
                                   "chat_template_kwargs": {"custom_instructions": "Speak like a pirate."}}
                                  for r in ROWS], "left_out", "chat_template_kwargs"),
    "choices beside a question": ([{**r, "choices": ["otter", "kettle"]} for r in ROWS], "left_out", "choices"),
    "a thought in a column": ([{**r, "Complex_CoT": p["chosen"]} for r, p in zip(ROWS, PAIRS)], "unread", "CoT"),
    "texts inside an object": ([{**r, "notes": {"a": p["chosen"]}} for r, p in zip(ROWS, PAIRS)], "unread", "notes"),
    "two answers in one column": ([{"instruction": p["prompt"], "input": "", "output": [p["chosen"], p["rejected"]]}
                                   for p in PAIRS], "columns", "completion[0] or completion[1]"),
    "turns that are a number": ([{"prompt": r["prompt"], "turns": 1} for r in ROWS], "columns", "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
def test_what_no_field_takes_is_said(name):
    records, check, words = SILENT[name]
    [finding] = [item for item in judge(records).findings if item.severity != "info"]
    assert finding.check == check and words in finding.message and finding.count == len(ROWS)


def test_a_field_that_is_mapped_twice_is_bad_input():
    with pytest.raises(InputProblem, match=r"context is given twice.*context=a\+b"):
        reading_of(["context=a", "context=b"])


def test_line_separators_inside_strings_end_no_row(tmp_path):
    lines = [json.dumps({**row, "prompt": row["prompt"] + " \u2028 \u2029 more"}, ensure_ascii=False) for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    judgement = judge_data(read_rows(str(tmp_path / "rows.jsonl")))
    assert len(judgement.examples) == len(ROWS) and loud(judgement) == ["byte_order_mark"]


def test_tab_separated_files_are_read(tmp_path):
    lines = ["prompt\tcompletion", *(f"{row['prompt']}\t{row['completion']}" for row in ROWS)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    assert judge_data(read_rows(str(tmp_path / "rows.tsv"))).verdict == "pass"
