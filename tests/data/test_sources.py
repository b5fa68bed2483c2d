"""Sources and formats: every file format gives the same rows, and what is wrong inside a file is found at its place."""

import gzip
import json

import pytest

from planted_data import write_rows
from tunebook.data.examples import read_examples
from tunebook.data.mapping import likely_mapping, read_column_mapping, reading_of
from tunebook.data.messages import RowProblem
from tunebook.data.row_types import convert
from tunebook.data.sources import read_rows
from tunebook.errors import InputProblem, MachineProblem

CLEAN = [{"prompt": f"every day at {n}:15", "completion": f"15 {n} * * *"} for n in range(24)]


def write(path, rows=CLEAN):
    return write_rows(path, rows)


def found(rows):
    return {item.check: item for item in rows.findings}


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_every_format_gives_the_same_rows_and_no_findings(tmp_path, ending, packing):
    rows = read_rows(write(tmp_path / f"clean.{ending}{packing}"))
    assert list(rows) == CLEAN and rows[3] == CLEAN[3]
    assert rows.findings == [] and rows.format == ending and rows.n_records == 24
    assert rows.line(0) == {"jsonl": 1, "csv": 2}.get(ending)


def test_json_lines_under_the_name_json(tmp_path):
    path = tmp_path / "lines.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in CLEAN))
    rows = read_rows(str(path))
    assert list(rows) == CLEAN and rows.findings == []


def test_json_with_the_rows_in_one_key(tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_text(json.dumps({"version": 1, "data": CLEAN}))
    assert list(read_rows(str(path))) == CLEAN


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "data/missing.csv.gz", "./folder/x.parquet", "rows.xlsx", "rows.txt"]
)
def test_missing_file_or_unknown_extension_is_bad_input(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.txt").write_text("hello")
    with pytest.raises(InputProblem, match=r"no such file|unknown extension"):
        read_rows(name)


def test_hub_without_network_says_what_to_do(monkeypatch):
    import datasets

    def no_network(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", no_network)
    with pytest.raises(MachineProblem, match="owner/name.*local jsonl"):
        read_rows("owner/name", revision="abc")


def test_hub_without_a_revision_is_a_finding(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: datasets.Dataset.from_list(CLEAN))
    assert set(found(read_rows("owner/name"))) == {"unpinned"}
    assert list(read_rows("owner/name", revision="abc")) == CLEAN
    assert read_rows("owner/name:config:test", revision="abc").findings == []


def test_bytes_on_the_hub_are_seen_as_such(monkeypatch):
    import datasets

    sounds = datasets.Dataset.from_list([{**row, "sound": b"RIFF"} for row in CLEAN])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: sounds)
    assert list(read_rows("owner/name", revision="abc")) == [{**row, "sound": {"binary": 4}} for row in CLEAN]


BROKEN = {
    "bad_json_in_line_3": (
        b'{"prompt": "a", "completion": "b"}\n\n{"prompt": "a" "completion": 1}\n{"prompt": "c"}\n',
        "bad_json",
        1,
        3,
    ),
    "torn_last_line": (b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "comp', "torn_file", 1, 2),
    "nan_value": (b'{"prompt": "a", "weight": 1}\n{"prompt": "a", "weight": NaN}\n', "not_a_number", 1, 2),
    "infinity_inside": (b'{"p": 1}\n{"p": {"deep": [-Infinity]}}\n', "not_a_number", 1, 2),
    "latin_1_byte": ('{"p": "a"}\n{"p": "caf\xe9"}\n'.encode("latin-1"), "encoding", 1, 2),
    "half_a_surrogate_pair": (b'{"p": "a"}\n{"p": "\\ud83d"}\n', "encoding", 1, 2),
    "row_is_a_list": (b'{"p": "a"}\n[1, 2]\n', "mixed_types", 1, 2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_line_is_found_at_its_row_and_line(tmp_path, name):
    content, check, row, line = BROKEN[name]
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(content)
    findings = found(read_rows(str(path)))
    assert set(findings) == {check}
    assert (findings[check].rows, findings[check].lines) == ([row], [line])


def test_bad_json_says_the_column(tmp_path):
    path = tmp_path / "bad_json.jsonl"
    path.write_bytes(BROKEN["bad_json_in_line_3"][0])
    assert "column 16" in found(read_rows(str(path)))["bad_json"].message


def test_whole_emoji_written_as_escapes_is_fine(tmp_path):
    path = tmp_path / "emoji.jsonl"
    path.write_text('{"prompt": "\\ud83d\\ude00", "completion": "smile 😀"}\n', encoding="utf-8")
    assert read_rows(str(path)).findings == []


def test_last_line_that_is_wrong_but_whole_is_bad_json_not_torn(tmp_path):
    path = tmp_path / "no_newline.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a" "completion": "b"}')
    assert set(found(read_rows(str(path)))) == {"bad_json"}


def test_latin_1_csv_names_the_record_and_the_line(tmp_path):
    path = tmp_path / "latin_1.csv"
    path.write_bytes("prompt,completion\na,b\nc,caf\xe9\n".encode("latin-1"))
    finding = found(read_rows(str(path)))["encoding"]
    assert (finding.rows, finding.lines) == ([1], [3])


def test_byte_order_mark_is_found_and_the_rows_are_read(tmp_path):
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"prompt": "a", "completion": "b"}\n')
    rows = read_rows(str(path))
    assert set(found(rows)) == {"byte_order_mark"} and list(rows) == [{"prompt": "a", "completion": "b"}]


def test_utf_16_file_is_found_and_the_rows_are_read(tmp_path):
    path = tmp_path / "utf16.jsonl"
    path.write_bytes('{"prompt": "a", "completion": "ü"}\n'.encode("utf-16"))
    rows = read_rows(str(path))
    assert set(found(rows)) == {"encoding"} and rows[0]["completion"] == "ü"


@pytest.mark.parametrize(
    "real, named",
    [("a.parquet", "b.jsonl"), ("a.csv", "b.jsonl"), ("a.json", "b.jsonl"), ("a.jsonl", "b.csv"), ("a.jsonl",
    "b.parquet"),
     ("a.jsonl.gz", "b.jsonl"), ("a.jsonl", "b.jsonl.gz"), ("a.parquet", "b.csv")],
)  # fmt: skip
def test_file_whose_name_lies_is_found_and_still_read(tmp_path, real, named):
    write(tmp_path / real)
    (tmp_path / real).rename(tmp_path / named)
    rows = read_rows(str(tmp_path / named))
    assert set(found(rows)) == {"file_format"} and list(rows) == CLEAN


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>404</html>", b"PK\x03\x04abc", b"%PDF-1.7", b"\x00\x01\x02\x03"]
)
def test_file_that_holds_no_rows_at_all(tmp_path, content):
    path = tmp_path / "download.jsonl"
    path.write_bytes(content)
    assert set(found(read_rows(str(path)))) == {"file_format"}


@pytest.mark.parametrize(
    "name, content", [("a.jsonl", b""), ("a.jsonl", b"\n\n"), ("a.json", b"[]"), ("a.csv", b"a,b\n")]
)
def test_file_without_rows(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert set(found(read_rows(str(tmp_path / name)))) == {"no_rows"}


def test_torn_gzip_keeps_what_can_be_read(tmp_path):
    rows = [{"prompt": f"{n * 7919 % 10007}", "completion": f"{n * n}"} for n in range(20000)]
    path = tmp_path / "torn.jsonl.gz"
    write(path, rows)
    path.write_bytes(path.read_bytes()[:-2000])
    result = read_rows(str(path))
    assert set(found(result)) == {"torn_file"} and 1000 < len(result) < 20000


@pytest.mark.parametrize("ending", ["parquet", "parquet.gz"])
@pytest.mark.parametrize(("kind", "last"), [("timestamp[us]", 2**60), ("timestamp[ms]", 2**62), ("date32", 2**30)])
def test_a_time_that_python_cannot_hold_is_one_sentence(tmp_path, kind, last, ending):
    """The last day of a database's calendar, as an open end is written, lies outside the years 1 to 9999."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place, times = tmp_path / f"a.{ending}", pa.array([1, last], kind)
    pq.write_table(pa.table({"prompt": ["a", "b"], "completion": ["c", "d"], "until": times}), tmp_path / "plain")
    packed = (tmp_path / "plain").read_bytes()
    place.write_bytes(gzip.compress(packed) if ending.endswith("gz") else packed)
    with pytest.raises(InputProblem, match="until holds a time that Python cannot .*; cast the column to text"):
        read_rows(str(place))


def test_torn_json_and_torn_parquet(tmp_path):
    write(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes((tmp_path / "a.json").read_bytes()[:-30])
    write(tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-30])
    for name in ("a.json", "b.parquet"):
        assert set(found(read_rows(str(tmp_path / name)))) == {"torn_file"}, name


def test_csv_with_a_space_after_each_comma(tmp_path):
    """The quotes stood in the values, and a comma in one broke its row; without such a header a space is the value's."""
    path = tmp_path / "spaced.csv"
    path.write_text('"prompt", "completion"\n"a, b", "c, d"\n"e", f\n')
    assert list(read_rows(path)) == [dict(prompt="a, b", completion="c, d"), dict(prompt="e", completion="f")]
    path.write_text("prompt,completion\nThe capital is, Paris\n")
    assert read_rows(path)[0] == {"prompt": "The capital is", "completion": " Paris"}


def test_csv_rows_with_missing_and_extra_fields(tmp_path):
    path = tmp_path / "ragged.csv"
    path.write_text('prompt,completion\na,"b\nc"\nd\ne,f,g\nh,i\n')
    rows = read_rows(str(path))
    finding = found(rows)["bad_csv"]
    assert (finding.rows, finding.lines) == ([1, 2], [4, 5])
    assert [row["prompt"] for row in rows] == ["a", "h"] and rows.line(1) == 6


def test_csv_quote_that_never_closes(tmp_path):
    path = tmp_path / "open_quote.csv"
    path.write_text('prompt,completion\na,b\nc,"d\ne,f\n')
    finding = found(read_rows(str(path)))["torn_file"]
    assert finding.lines == [3]


USER, ASSISTANT = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
SYSTEM = {"role": "system", "content": "Count."}


@pytest.mark.parametrize(
    "row, kind",
    [
        ({"prompt": "2+2?", "completion": "4"}, "prompt_completion"),
        ({"prompt": [USER], "completion": [ASSISTANT]}, "prompt_completion"),
        ({"prompt": json.dumps([USER]), "completion": "4"}, "prompt_completion"),
        ({"messages": [USER, ASSISTANT]}, "messages"),
        ({"messages": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}, "messages"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, "preference"),
        ({"chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "5"}]}, "preference"),
        (
            {"prompt": "2+2?", "chosen": [USER, ASSISTANT], "rejected": [USER, {**ASSISTANT, "content": "5"}]},
            "preference",
        ),
    ],
)
def test_every_row_type_becomes_prompt_and_completion(row, kind):
    converted = convert(row, kind)
    assert converted["prompt"] == [USER] and converted["completion"] == [ASSISTANT]
    if kind == "preference":
        assert converted["rejected"][0]["content"] == "5"


def test_messages_prompt_is_everything_before_the_last_assistant_turn():
    converted = convert({"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT], "id": 7}, "messages")
    trained = {**ASSISTANT, "weight": 1}
    assert converted == {"id": 7, "prompt": [SYSTEM, USER, trained, USER], "completion": [ASSISTANT]}
    last = convert({"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT]}, "messages", "last")
    assert last["prompt"] == [SYSTEM, USER, ASSISTANT, USER]


def test_implicit_pair_of_plain_texts_shares_its_turns():
    row = {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5"}
    converted = convert(row, "preference")
    assert converted["prompt"] == [{"role": "user", "content": "2+2?"}]
    assert (converted["chosen"][0]["content"], converted["rejected"][0]["content"]) == ("4", "5")


@pytest.mark.parametrize(
    "row, kind, check",
    [
        ({"prompt": "", "completion": "4"}, "prompt_completion", "empty_field"),
        ({"prompt": "a", "completion": " \n"}, "prompt_completion", "empty_field"),
        ({"prompt": "a", "completion": None}, "prompt_completion", "missing_field"),
        ({"prompt": "a", "completion": 4}, "prompt_completion", "mixed_types"),
        ({"messages": [USER]}, "messages", "no_assistant_turn"),
        ({"messages": []}, "messages", "empty_field"),
        ({"messages": [USER, USER, ASSISTANT]}, "messages", "alternation"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "messages", "alternation"),
        ({"messages": [USER, ASSISTANT, ASSISTANT]}, "messages", "alternation"),
        ({"messages": [{"role": "narrator", "content": "a"}, ASSISTANT]}, "messages", "roles"),
        ({"messages": [{"role": "user"}, ASSISTANT]}, "messages", "empty_field"),
        ({"messages": ["hello", ASSISTANT]}, "messages", "roles"),
        ({"prompt": "a", "chosen": "b", "rejected": ["c"]}, "preference", "pair_types"),
        ({"chosen": [USER, ASSISTANT], "rejected": [{**USER, "content": "?"}, ASSISTANT]}, "preference",
        "pair_prompts"),
        ({"text": "  "}, "text", "empty_field"),
    ],
)  # fmt: skip
def test_row_that_cannot_be_trained(row, kind, check):
    with pytest.raises(RowProblem) as problem:
        convert(row, kind)
    assert problem.value.check == check


def test_tool_calls_are_valid_turns():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]}
    converted = convert({"messages": [USER, call, {"role": "tool", "content": "4"}, ASSISTANT]}, "messages")
    assert len(converted["prompt"]) == 3


@pytest.mark.parametrize(
    "columns, mapping",
    [
        (["Question", "Answer"], {"prompt": "Question", "completion": "Answer"}),
        (["instruction", "input", "output"], {"prompt": "instruction+input", "completion": "output"}),
        (["conversations"], {"messages": "conversations"}),
        (["colour", "size"], {}),
    ],
)
def test_likely_mapping_is_proposed(columns, mapping):
    assert likely_mapping(columns)[0] == mapping


def test_mapping_is_never_guessed_silently(tmp_path):
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(5)]
    path = write(tmp_path / "plain.csv", rows)
    examples = read_examples(read_rows(path))
    [finding] = examples.notes.findings()
    assert finding.check == "columns" and finding.severity == "error"
    assert "prompt=question, completion=answer" in finding.message
    examples = read_examples(read_rows(path), reading_of(["prompt=question", "completion=answer"]))
    assert examples.notes.findings() == [] and examples.row(2)["completion"][0]["content"] == "a2"


def test_a_mapping_may_be_one_text_or_several():
    both = {"prompt": "question", "completion": "answer, short"}
    assert read_column_mapping("prompt=question, completion=answer, short") == both
    assert read_column_mapping(["prompt=question,completion=answer, short"]) == both
    assert read_column_mapping(["prompt=question", "completion=answer, short"]) == both


def test_mapping_with_an_unknown_field():
    with pytest.raises(InputProblem, match="answer=a"):
        read_column_mapping("answer=a")
