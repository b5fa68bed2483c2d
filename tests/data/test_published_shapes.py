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
    "SHP": (lambda n, r: {"post_id": str(n), "history": r["prompt"], "score_A": 5, "score_B": n % 2 * 9, "labels": 1 - n % 2,
            "human_ref_A": PAIRS[n]["chosen"], "human_ref_B": PAIRS[n]["rejected"], "score_ratio": 2.0}, ""),
    "UltraFeedback": (lambda n, r: {"instruction": r["prompt"], "models": ["a", "b"], "completions": [
                      {"model": "a", "response": PAIRS[n]["rejected"], "overall_score": 3.0, "critique": "Poor."},
                      {"model": "b", "response": PAIRS[n]["chosen"], "overall_score": 8.5, "critique": "Good."}]}, ""),
    "WebGPT": (lambda n, r: {"question": {"full_text": r["prompt"], "id": str(n)}, "answer_0": PAIRS[n]["chosen"],
               "answer_1": PAIRS[n]["rejected"], "score_0": 0.5, "score_1": -0.5}, ""),
    "SQuAD 2.0": (lambda n, r: {"id": str(n), "title": "x", "context": f"The bridge {n}.", "question": r["prompt"],
                  "answers": {"text": [r["completion"]] * (n != 9), "answer_start": [3] * (n != 9)}}, "The bridge 0."),
    "dialogues as plain texts": (lambda n, r: {"dialog": ["Hi.", "Hello.", r["prompt"], r["completion"]]}, "Hello."),
    "turns of speakers": (lambda n, r: {"turns": [{"speaker": "user", "text": r["prompt"]},
                          {"speaker": "assistant", "text": r["completion"]}]}, ""),
    "exchanges": (lambda n, r: {"conversation": [{"human": "Hi.", "assistant": "Hello."},
                  {"human": r["prompt"], "assistant": r["completion"]}]}, "Hello."),
    "messages as JSON text": (lambda n, r: {"chat": json.dumps([user("Hi."), said("Hello."), user(r["prompt"]),
                              said(r["completion"])])}, "Hello."),
    "Anthropic's blocks": (lambda n, r: {"system": "Be brief.", "messages": [user(r["prompt"]),
                           said([{"type": "tool_use", "id": "t", "name": "ring", "input": {"minutes": n}}]),
                           user([{"type": "tool_result", "tool_use_id": "t", "content": "rings"}]),
                           said([{"type": "text", "text": r["completion"]}])],
                           "tools": [{"name": "ring", "input_schema": TOOLS[0]["parameters"]}]}, "rings"),
    "a header with blanks": (lambda n, r: {" Prompt": r["prompt"], "Completion ": r["completion"]}, ""),
    "Nectar": (lambda n, r: {"prompt": f"\n\nHuman: {r['prompt']}\n\nAssistant: ", "turns": 1, "num_responses": 2,
               "source": ["sharegpt"], "good_natured": True, "answers": [
                   {"answer": PAIRS[n]["rejected"], "model": "b", "rank": 2.0},
                   {"answer": PAIRS[n]["chosen"], "model": "a", "rank": 1.0}]}, ""),
    "HelpSteer2 preferences": (lambda n, r: {"split": "train", "prompt": r["prompt"], "preference_strength": [-2, 3][n % 2],
                               **answers(n, "response_1", "response_2")}, ""),
    "HelpSteer3": (lambda n, r: {"domain": "general", "language": "english", "context": [user("Hi."), said("Hello."),
                   user(r["prompt"])], "overall_preference": [-1, 2][n % 2], **answers(n, "response1", "response2")}, "Hello."),
    "PKU-SafeRLHF": (lambda n, r: {"prompt": r["prompt"], "is_response_0_safe": n % 2 == 0, "is_response_1_safe": n % 2 == 1,
                     "better_response_id": n % 2, "safer_response_id": n % 2, **answers(n, "response_0", "response_1")}, ""),
    "Chatbot Arena": (lambda n, r: {"question_id": str(n), "model_a": "x", "model_b": "y", "winner": f"model_{'ab'[n % 2]}",
                      "judge": f"arena_user_{n}", "turn": 1, "anony": True, "language": "English", **{
                          side: [user(r["prompt"]), said(text)]
                          for side, text in answers(n, "conversation_a", "conversation_b").items()}}, ""),
    "pairs of two models and a winner each": (lambda n, r: {"prompt": r["prompt"], "winner_model_a": 1 - n % 2,
                 "winner_model_b": n % 2, "winner_tie": 0, **answers(n, "response_a", "response_b")}, ""),
    "arena-55k": (lambda n, r: {"id": n, "model_a": "x", "model_b": "y", "prompt": json.dumps(["Hi.", r["prompt"]][n % 2 :]), **{
                  side: json.dumps(["Hello.", text][n % 2 :]) for side, text in answers(n, "response_a", "response_b").items()},
                  "winner_model_a": 1 - n % 2, "winner_model_b": n % 2, "winner_tie": 0}, "Hello."),
    "two answers and a letter": (lambda n, r: {"question": r["prompt"], "preference": "AB"[n % 2],
                                 **answers(n, "Answer A", "Answer B")}, ""),
    "KTO as words": (lambda n, r: {**r, "label": ["false", "true"][n % 2]}, ""),
    "KTO of LLaMA-Factory": (lambda n, r: {"messages": [user(r["prompt"]), said(r["completion"])],
                             "kto_tag": n % 2 == 0}, ""),
}  # fmt: skip


def answers(n, first, second):
    """Two columns: in even rows the first answer is the better, in odd ones the second."""
    texts = [PAIRS[n]["chosen"], PAIRS[n]["rejected"]]
    return dict(zip((first, second), texts if n % 2 == 0 else texts[::-1], strict=True))


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


def test_blocks_of_tool_use_are_calls_and_their_results_turns():
    records = [PUBLISHED["Anthropic's blocks"][0](n, row) for n, row in enumerate(ROWS)]
    row = judge(records, ["system=system"]).examples.row(3)
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user", "assistant", "tool"]
    assert row["prompt"][2]["tool_calls"][0]["function"] == call(3) and row["prompt"][2]["weight"] == 1
    assert row["tools"][0]["function"] == {"name": "ring", "parameters": TOOLS[0]["parameters"]}


def test_of_scored_answers_the_best_is_chosen_and_equal_scores_are_no_pair():
    records = [PUBLISHED["SHP"][0](n, row) for n, row in enumerate(ROWS)]
    records[5]["score_A"] = 9
    judgement = judge(records, pasted(judge(records)))
    chosen = [judgement.examples.row(n)["chosen"][0]["content"] for n in (0, 1)]
    assert chosen == [PAIRS[0]["chosen"], PAIRS[1]["rejected"]]
    [finding] = [item for item in judgement.findings if item.check == "equal_scores"]
    assert finding.rows == [5] and len(judgement.examples) == len(ROWS) - 1


JUDGED = ("Nectar", "HelpSteer2 preferences", "HelpSteer3", "PKU-SafeRLHF", "Chatbot Arena",
          "pairs of two models and a winner each", "arena-55k", "two answers and a letter")  # fmt: skip


@pytest.mark.parametrize("name", JUDGED)
def test_the_better_answer_is_chosen_whatever_says_so(name):
    """A rank is lowest and a strength negative where the first is better: taken for scores, the worst would be trained."""
    records = [PUBLISHED[name][0](n, row) for n, row in enumerate(ROWS)]
    judgement = judge(records, pasted(judge(records)))
    rows = [judgement.examples.row(n) for n in range(len(ROWS))]
    for row, pair, asked in zip(rows, PAIRS, ROWS, strict=True):
        assert row["chosen"][-1]["content"] == pair["chosen"] and row["rejected"][-1]["content"] == pair["rejected"]
        assert row["prompt"][-1] == user(asked["prompt"])


@pytest.mark.parametrize(
    ("name", "tie"),
    [("Nectar", None), ("HelpSteer2 preferences", {"preference_strength": 0}), ("Chatbot Arena", {"winner": "tie"}),
     ("Chatbot Arena", {"winner": "tie (bothbad)"}), ("arena-55k", {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}), ("two answers and a letter", {"preference": "Neither"})],
)  # fmt: skip
def test_a_tie_is_no_pair(name, tie):
    records = [PUBLISHED[name][0](n, row) for n, row in enumerate(ROWS)]
    records[3] |= tie or {"answers": [item | {"rank": 1.0} for item in records[3]["answers"]]}
    found = {item.check: item.rows for item in judge(records, pasted(judge(records))).findings}
    assert found["equal_scores"] == [3]


def arena(prompt, first, second):
    """Rows of arena-55k, of which the fourth has these turns."""
    records = [PUBLISHED["arena-55k"][0](n, row) for n, row in enumerate(ROWS)]
    records[3] |= {"prompt": prompt, "response_a": first, "response_b": second}
    return judge(records, pasted(judge(records)))


@pytest.mark.parametrize("form", [json.dumps, list], ids=["JSON text", "lists"])
def test_answers_that_part_early_are_whole_conversations(form):
    row = arena(*map(form, (["Otter?", "And then?"], ["Yes.", "It dives."], ["No.", "It sings."]))).examples.row(3)
    assert row["prompt"] == [user("Otter?")]
    assert row["chosen"] == [said("No."), user("And then?"), said("It sings.")]
    assert row["rejected"] == [said("Yes."), user("And then?"), said("It dives.")]


@pytest.mark.parametrize("won", [int, bool, float])
def test_winners_in_a_csv_file_are_numbers(tmp_path, won):
    """As Kaggle ships arena-55k; every score was a text."""
    records = [PUBLISHED["arena-55k"][0](n, row) for n, row in enumerate(ROWS)]
    records = [
        {key: won(value) if key.startswith("winner") else value for key, value in row.items()} for row in records
    ]
    rows = read_rows(write_rows(tmp_path / "arena.csv", records))
    judgement = judge_data(rows, reading_of(pasted(judge_data(rows))))
    assert [judgement.examples.row(n)["chosen"] for n in (0, 1)] == [[said(PAIRS[n]["chosen"])] for n in (0, 1)]


@pytest.mark.parametrize(
    ("turns", "check", "words"),
    [(('["Hi?", "So?"]', '["Yes.", null]', '["No.", "No."]'), "empty_field", "turn 2 of response_a is null"),
     (('["Hi?", null]', '["Yes.", "So."]', '["No.", "No."]'), "empty_field", "turn 2 of the prompt is null"),
     (('["Hi?"]', '["Yes."]', '[""]'), "empty_field", 'turn 1 of response_b is ""'),
     (('["Hi?", "So?"]', '["Yes."]', '["No.", "No."]'), "alternation", "the prompt has 2 turns, response_a has 1"),
     (('["Hi?"]', '["Yes."]', '["No.'), "alternation", "the prompt has 1 turns, response_b has 0"),
     (('["Hi?"]', '["Yes."]', '["\\ud83d"]'), "encoding", "response_b holds half of a surrogate pair")],
)  # fmt: skip
def test_turns_that_cannot_be_put_together_are_named(turns, check, words):
    """Trained as they stand they were brackets, quotes and nulls."""
    [finding] = [item for item in arena(*turns).findings if item.rows == [3]]
    assert finding.check == check and words in finding.message


@pytest.mark.parametrize("value", ["C", "model", 2, True, "", "x y", {"a": 1}])
def test_what_names_neither_answer_is_never_guessed(value):
    records = [PUBLISHED["PKU-SafeRLHF"][0](n, row) for n, row in enumerate(ROWS)]
    records[4]["better_response_id"] = value
    mapping = ["prompt=prompt", "candidates=response_0+response_1", "better=better_response_id"]
    [finding] = [item for item in judge(records, mapping, drop="safer_response_id").findings if item.rows == [4]]
    assert finding.check in ("mixed_types", "missing_field")


@pytest.mark.parametrize(
    ("columns", "words"),
    [(lambda n: answers(n, "response_a", "response_b"), "response_a and response_b look like two answers.*--map better="),
     (lambda n: {"responses": [f"Yes {n}.", "No."], "ranking": [1, 0]}, "responses holds several answers.*scores=-ranking")],
)  # fmt: skip
def test_several_answers_without_a_known_judgement_say_what_to_give(columns, words):
    [finding] = judge([{"prompt": row["prompt"], **columns(n)} for n, row in enumerate(ROWS)]).findings
    assert finding.check == "columns" and re.search(words, finding.message)


def test_ranks_are_not_taken_for_scores():
    with pytest.raises(InputProblem, match=r"of ranks the lowest is; write scores=-answers\[\]\.rank"):
        reading_of(["prompt=prompt", "candidates=answers[].answer", "scores=answers[].rank"])


def test_a_page_that_begins_with_an_answer_begins_at_its_first_question():
    records = [{"conversations": [{"from": "gpt", "value": "Go on."}, {"from": "human", "value": r["prompt"]},
                                  {"from": "gpt", "value": r["completion"]}]} for r in ROWS]  # fmt: skip
    judgement = judge(records, pasted(judge(records)))
    assert loud(judgement) == ["outer_turns"] and judgement.examples.row(0)["prompt"] == [user(ROWS[0]["prompt"])]
    assert judgement.examples.account.counts()["turns"] == 2 * judgement.examples.account.counts()["trained_turns"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_chats_as_json_text_are_read_from_tables(tmp_path, ending):
    chats = [[user(r["prompt"]), said(None, tool_calls=[{"type": "function", "function": call(n)}])]
             for n, r in enumerate(ROWS)]  # fmt: skip
    rows = [{"messages": json.dumps(chat), "tools": json.dumps(TOOLS)} for chat in chats]
    judgement = judge_data(read_rows(write_rows(tmp_path / f"chats.{ending}", rows)))
    assert judgement.examples.row(4)["completion"][0]["tool_calls"][0]["function"] == call(4)
    assert loud(judgement) == ["template_fields"]


@pytest.mark.parametrize("place", ["calls.parquet", "owner/calls"])
def test_arguments_of_other_tools_that_arrow_adds_are_not_trained(tmp_path, place, monkeypatch):
    import datasets

    calls = [{"name": "ring", "arguments": {"minutes": 3}}, {"name": "look", "arguments": {"place": "Rome"}}]
    rows = [{"messages": [user(r["prompt"]), said("", tool_calls=[{"type": "function", "function": calls[n % 2]}])]}
            for n, r in enumerate(ROWS)]  # fmt: skip
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: datasets.Dataset.from_list(rows))
    judgement = judge_data(read_rows(place if "/" in place else write_rows(tmp_path / place, rows)))
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


WRITTEN = {
    "Llama 2": "<s>[INST] <<SYS>>\n{s}\n<</SYS>>\n\n{q} [/INST] {a} </s><s>[INST] {q2} [/INST] {a2} </s>",
    "Llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{s}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{q}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{a}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{q2}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{a2}<|eot_id|>",
    "ChatML": "<|im_start|>system\n{s}<|im_end|>\n<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n<|im_start|>user\n{q2}<|im_end|>\n<|im_start|>assistant\n{a2}<|im_end|>\n",
    "Gemma": "<bos><start_of_turn>user\n{q}<end_of_turn>\n<start_of_turn>model\n{a}<end_of_turn>\n<start_of_turn>user\n{q2}<end_of_turn>\n<start_of_turn>model\n{a2}<end_of_turn>\n",
    "Zephyr": "<|system|>\n{s}</s>\n<|user|>\n{q}</s>\n<|assistant|>\n{a}</s>\n<|user|>\n{q2}</s>\n<|assistant|>\n{a2}</s>\n",
    "Guanaco": "### Human: {q}### Assistant: {a}### Human: {q2}### Assistant: {a2}",
    "Alpaca": "{s}\n\n### Instruction:\n{q}\n\n### Response:\n{a}\n\n### Instruction:\n{q2}\n\n### Response:\n{a2}",
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_out_conversation_is_named_and_its_turns_are_read_when_asked(name):
    """Else the training would see one form and the evaluation ask in another."""
    says = [{"s": "Be brief.", "q": r["prompt"], "a": r["completion"], "q2": f"And {n}?", "a2": f"So {n}."}
            for n, r in enumerate(ROWS)]  # fmt: skip
    records = [{"text": WRITTEN[name].format(**said)} for said in says]
    assert "--map messages=text" in findings_text("rows", judge(records)).replace("\n       ", " ")
    judgement = judge(records, ["messages=text"])
    row = judgement.examples.row(3)
    turns = [(turn["role"], turn["content"]) for turn in row["prompt"] + row["completion"]]
    given = [("system", "Be brief.")] if "{s}" in WRITTEN[name] else []
    assert turns == [*given, *zip(["user", "assistant"] * 2, [says[3][key] for key in ("q", "a", "q2", "a2")])]
    assert loud(judgement) == [] and judgement.examples.account.n_trained == 2 * len(ROWS)


@pytest.mark.parametrize(
    "text", ["# Notes\n\n### Response: none was given.", "Write <|user|> before a question.", "### Input: 4 bits"]
)
def test_marks_inside_a_document_make_no_conversation(text):
    assert "--map" not in findings_text("rows", judge([{"text": f"{text} {n}"} for n in range(24)]))


def test_blocks_without_a_type_roles_in_capitals_and_answers_that_are_numbers_are_read():
    """Bedrock's rows, Cohere's, and labels as a csv reader leaves them."""
    blocks = [{"system": [{"text": "Be brief."}], "messages": [{"role": "user", "content": [{"text": r["prompt"]}]},
               {"role": "assistant", "content": [{"text": r["completion"]}]}]} for r in ROWS]  # fmt: skip
    row = judge(blocks, ["system=system"]).examples.row(0)
    assert [turn["content"] for turn in row["prompt"]] == ["Be brief.", ROWS[0]["prompt"]]
    typed = [{"messages": [{"role": role, "parts": [{"type": "text", "text": text}]} for role, text in
              (("user", r["prompt"]), ("assistant", r["completion"]))]} for r in ROWS]  # fmt: skip
    assert judge(typed).examples.row(0)["completion"][0]["content"] == ROWS[0]["completion"], "AI SDK's parts"
    capitals = [{"messages": [{"role": "User", "content": r["prompt"]}, {"role": "Chatbot", "content": r["completion"]}]}
                for r in ROWS]  # fmt: skip
    assert judge(capitals).examples.row(0)["completion"][0]["content"] == ROWS[0]["completion"]
    numbers = [{"prompt": r["prompt"], "completion": n} for n, r in enumerate(ROWS)]
    assert "--map completion=completion writes numbers as text" in " ".join(findings_text("", judge(numbers)).split())
    assert judge(numbers, ["completion=completion"]).examples.row(7)["completion"][0]["content"] == "7"


SILENT = {
    "a tree of single messages": ([{"text": r["prompt"], "role": ["prompter", "assistant"][n % 2], "message_id": str(n),
                                    "parent_id": str(n - 1)} for n, r in enumerate(ROWS)], "left_out", "OASST"),
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


@pytest.mark.parametrize(
    ("mapping", "words"),
    [(["prompt=p", "candidates=a+b", "better=x+y"], r"mapping better=x\+y: a plus joins texts, better is one column"),
     (["messages=a+b"], r"mapping messages=a\+b: .* messages is one column"),
     (["prompt=p", "completion=c", "label=a+b"], "label is one column"),
     (["prompt=p", "completion=c", "better=w"], "better choose among candidates; give --map 'candidates="),
     (["prompt=p", "candidates=a+b", "scores=s+t", "better=w"], "no row type reads prompt, candidates, scores, better"),
     (["messages=m", "completion=c"], "no row type reads messages, completion together"),
     (["prompt=p", "chosen=c", "rejected=r", "completion=d"], "no row type reads prompt, chosen, rejected, completion"),
     (["text=t", "system=s"], "no row type reads text, system together"),
     (["text=t", "prompt=p", "completion=c"], "no row type reads text, prompt, completion together")],
)  # fmt: skip
def test_no_mapped_column_is_lost(mapping, words):
    """Of two columns that named the better answer the second was not looked at."""
    with pytest.raises(InputProblem, match=words):
        reading_of(mapping)


@pytest.mark.parametrize(("mapping", "columns"), [("system=rule", {"text": "An otter sings."}),
    ("completion=rule", {"chosen": "Yes.", "rejected": "No.", "prompt": "?"})])  # fmt: skip
def test_a_column_that_the_row_type_of_the_file_does_not_read_is_not_mapped(mapping, columns):
    with pytest.raises(InputProblem, match="no row type reads .* together"):
        judge([{**columns, "rule": "Be brief."}] * 4, [mapping])


def test_a_plus_joins_texts_only():
    """Messages were joined as Python prints them, and trained."""
    records = [
        {"chat": [user("Hi.")] if n % 2 else "Hi.", "more": r["prompt"], "answer": r["completion"]}
        for n, r in enumerate(ROWS)
    ]
    judgement = judge(records, ["prompt=chat+more", "completion=answer"])
    [finding] = [item for item in judgement.findings if item.check == "mixed_types"]
    assert (
        finding.count == len(ROWS) // 2
        and "chat holds no plain text, and prompt joins texts: chat+more" in finding.message
    )
