"""Benchmarks, completions and scores that do not fit together are refused in one sentence; a killed log resumes
whole.
"""

import gzip
import json

import pytest

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation import completions, protocol
from tunebook.evaluation.benchmark import from_problems, load_benchmark
from tunebook.evaluation.completions import CompletionLog
from tunebook.evaluation.prompts import messages
from tunebook.evaluation.score_folder import content_sha256, read_scores
from tunebook.files import hash_json


def problem(number: int, **changes) -> dict:
    base = {
        "task_id": f"T/{number}",
        "prompt": "p",
        "entry_point": "f",
        "canonical_solution": "c",
        "test": "def check(a): pass",
    }
    return {**base, "kind": "answer", **changes}


def two() -> object:
    return from_problems("two", [problem(0, slice="easy"), problem(1, slice="hard")])


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_humaneval_is_the_unmodified_164():
    benchmark = load_benchmark("humaneval")
    assert len(benchmark) == 164 and benchmark.problems[0]["kind"] == "code"
    assert load_benchmark("human_eval").sha256 == benchmark.sha256


def test_a_benchmark_has_one_hash_however_it_is_packed(tmp_path):
    plain = write(tmp_path / "mine.jsonl", [problem(0), problem(1)])
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "mine.jsonl").read_bytes()))
    assert (
        load_benchmark(plain).sha256 == load_benchmark(packed).sha256
        and load_benchmark(plain).name == load_benchmark(packed).name == "mine"
    )
    assert (
        load_benchmark(plain).first(1).sha256 != load_benchmark(plain).sha256 == load_benchmark(plain).first(0).sha256
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"task_id": "a"}], "line 1: missing prompt"),
        ([problem(0), problem(0)], "line 2: task_id 'T/0' was already used in line 1"),
        ([problem(0), problem(1, kind="essay")], "line 2: unknown kind 'essay'"),
        ([problem(0, test=" ")], "test is empty"),
        ([problem(0, prompt=5)], "prompt must be text"),
        ([problem(0, kind="code", entry_point="")], "entry_point is empty"),
        ([], "no problems"),
        ([["a list"]], "line 1: expected one JSON object"),
    ],
)
def test_a_broken_benchmark_names_the_line(tmp_path, rows, words):
    with pytest.raises(InputProblem, match=words):
        load_benchmark(write(tmp_path / "broken.jsonl", rows))


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"{not json}\n", b"\x1f\x8bbroken"])
def test_a_file_that_is_no_benchmark_is_bad_input(tmp_path, data):
    (tmp_path / "noise.jsonl").write_bytes(data)
    with pytest.raises(InputProblem, match="noise.jsonl"):
        load_benchmark(tmp_path / "noise.jsonl")
    with pytest.raises(InputProblem, match="no such benchmark"):
        load_benchmark(tmp_path / "absent.jsonl")


ROWS = [{"task_id": "T/0", "completion": "a"}, {"task_id": "T/1", "completion": "b"}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no completions"),
        (ROWS[:1], "1 of 2 problems have no completion, first 'T/1'"),
        (
            [{**ROWS[0], "sample": 0}, {**ROWS[0], "sample": 0}, {**ROWS[1], "sample": 0}],
            "row 2: 'T/0' sample 0 was already given in row 1",
        ),
        ([*ROWS, ROWS[0]], "unequal sample counts"),
        ([{**ROWS[0], "sample": 0}, ROWS[1]], "in every row or in none"),
        ([{**ROWS[0], "sample": "0"}, ROWS[1]], "sample must be a whole number"),
        ([{"task_id": "HumanEval/0", "completion": ""}], "completions of another benchmark"),
        ([*ROWS, {"task_id": "X", "completion": ""}], "1 task_ids are not in two"),
        ([{"task_id": "T/0"}, ROWS[1]], "row 1: completion must be text"),
        ([{"task_id": "T/0", "completion": None}, ROWS[1]], "row 1: completion must be text"),
    ],
)
def test_completions_that_do_not_fit_are_refused(rows, words):
    with pytest.raises(InputProblem, match=words):
        completions.check_completions(rows, two())


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.jsonl"])
def test_packed_completions_are_read_by_their_content(tmp_path, name):
    plain = completions.read_completions(write(tmp_path / "plain.jsonl", ROWS), two())
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain.jsonl").read_bytes()))
    assert completions.read_completions(tmp_path / name, two()) == plain


LINE = '{"task_id": "T/0", "completion": "a"}\n'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(LINE.encode(), mtime=0)[:-9], "not whole gzip"),
        (b"\x1f\x8bbroken", "not whole gzip"),
        (gzip.compress(b"\xff\xfe", mtime=0), "not UTF-8 text .byte 0"),
        (b"\xff\xfe", "not UTF-8 text .byte 0"),
        (LINE.encode() + b"\n{", "line 3, column 2: not JSON"),
        (LINE.encode() + b"[1]", "line 2: expected one JSON object a line, found list"),
    ],
    ids=["torn gzip", "no gzip", "packed noise", "noise", "torn row", "a list"],
)
def test_a_completions_file_that_cannot_be_read_is_bad_input(tmp_path, data, words):
    (tmp_path / "c.jsonl").write_bytes(data)
    with pytest.raises(InputProblem, match=f"c.jsonl.*{words}"):
        completions.read_completions(tmp_path / "c.jsonl", two())


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ('{"task_id": "T/1", "completion": "right", "completion": "wrong"}', "completion"),
        ('{"task_id": "T/0", "completion": "b", "task_id": "T/1"}', "task_id"),
    ],
)
def test_a_key_that_occurs_twice_is_refused_not_chosen(tmp_path, row, key):
    """JSON readers silently take the last of the two."""
    (tmp_path / "c.jsonl").write_text(LINE + "\n" + row + "\n")
    with pytest.raises(InputProblem, match=f"c.jsonl, line 3: not JSON .the key '{key}' occurs twice"):
        completions.read_completions(tmp_path / "c.jsonl", two())


def test_samples_are_numbered_by_order_of_appearance():
    rows = completions.check_completions([*ROWS[::-1], *ROWS], two())
    assert [(row["task_id"], row["sample"]) for row in rows] == [("T/0", 0), ("T/0", 1), ("T/1", 0), ("T/1", 1)]


def test_a_killed_log_resumes_without_losing_or_doubling(tmp_path):
    path = tmp_path / "c.jsonl"
    with CompletionLog(path, "model") as log:
        log.append("T/0", 0, "ein Tag\n\ud800\u2028", finish_reason="stop")
        log.append("T/1", 0, "b")
    with open(path, "ab") as stream:
        stream.write(b'{"task_id": "T/2", "sample": 0, "comple')
    with CompletionLog(path, "model") as log:
        assert log.done_keys == {("T/0", 0), ("T/1", 0)}
        with pytest.raises(ValueError, match="already written"):
            log.append("T/1", 0, "again")
        log.append("T/2", 0, "c")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["ein Tag\n\ud800\u2028", "b", "c"]


@pytest.mark.parametrize(
    "tail", [b"\x00" * 50, b'{"task_id": "T/1"}\n{"task_id": "T/1", "sample": 0, "completion": "x"}\n', b'{"a": 1}']
)
def test_everything_after_a_damaged_row_is_made_again(tmp_path, tail):
    path = tmp_path / "c.jsonl"
    with CompletionLog(path) as log:
        log.append("T/0", 0, "a")
    with open(path, "ab") as stream:
        stream.write(tail)
    with CompletionLog(path) as log:
        assert log.done_keys == {("T/0", 0)}


def test_another_models_completions_are_not_resumed(tmp_path):
    path = tmp_path / "c.jsonl"
    with CompletionLog(path, "base") as log:
        log.append("T/0", 0, "a")
    with CompletionLog(path, "tuned") as log:
        assert not log.done_keys
    assert path.read_bytes() == b""


def test_a_completion_is_on_the_disk_before_the_log_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(completions, "FSYNC_SECONDS", 0.0)
    log = CompletionLog(tmp_path / "c.jsonl")
    log.append("T/0", 0, "a")
    assert (tmp_path / "c.jsonl").read_bytes().endswith(b"\n")
    log.close()


def test_protocols_that_differ_are_refused_and_every_field_is_named():
    a = protocol.Protocol("hash", temperature=0.0, stops=("\ndef",))
    b = protocol.Protocol("hash", temperature=0.8, n_samples=10, stops=("\ndef",), benchmark="another name")
    assert [line.split(":")[0] for line in protocol.differences(a, b)] == ["n_samples", "temperature"]
    assert protocol.from_dict(a.to_dict()) == a and a.hash != b.hash
    assert a.hash == protocol.Protocol("hash", stops=("\ndef",), benchmark="only a name").hash
    with pytest.raises(InputProblem, match=r"n_samples: 1 \| 10; temperature: 0.0 \| 0.8"):
        protocol.require_equal(a, b)
    with pytest.raises(InputProblem, match="unknown field 'temprature'"):
        protocol.from_dict({"benchmark_sha256": "x", "temprature": 1})


def test_a_problems_own_conversation_is_asked_whole():
    """Rows with a system turn or several turns are trained so; a score that asks otherwise measures another format."""
    talk = [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": "hi"}]
    talk += [{"role": "assistant", "content": "salut"}, {"role": "user", "content": "again"}]
    problem = {"prompt": "hi\nsalut\nagain", "kind": "answer", "messages": talk}
    assert messages(problem) == talk
    asked = messages(problem, "few_shot", "Say it.", [{"prompt": "one", "completion": "un"}])
    assert [turn["content"] for turn in asked] == [
        "Answer in French.", "Say it.\n\none", "un", "hi", "salut", "Say it.\n\nagain"
    ]  # fmt: skip
    row = {"task_id": "T", "prompt": "", "entry_point": "", "canonical_solution": "", "test": "x", "kind": "answer"}
    for wrong in ([{"role": "user"}], [talk[2]], "hi"):
        with pytest.raises(InputProblem, match="messages must be"):
            from_problems("x", [{**row, "messages": wrong}])


def test_every_prompt_style_asks_for_the_same_problem():
    code = {"prompt": "def f(x):\n", "kind": "code"}
    assert messages(code, "raw") == "def f(x):\n"
    assert "```python\ndef f(x):\n```" in messages(code, "chat")[0]["content"]
    shots = messages(code, "few_shot", examples=[{"prompt": "def g(): ", "completion": "done"}])
    assert [turn["role"] for turn in shots] == ["user", "assistant", "user"] and shots[-1] == messages(code)[0]
    assert messages({"prompt": "daily", "kind": "answer"}, instruction="As cron:")[0]["content"] == "As cron:\n\ndaily"
    for style, examples in (("essay", ()), ("few_shot", ()), ("chat", [{"prompt": "", "completion": ""}])):
        with pytest.raises(InputProblem):
            messages(code, style, examples=examples)


SCORE = {"task_id": "T/0", "sample": 0, "passed": True, "verdict": "pass", "detail": "", "cpu_seconds": 0.1}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no scores"),
        ([SCORE, SCORE], "row 2: 'T/0' sample 0 occurs twice"),
        ([{**SCORE, "passed": None}], "row 1: a score needs"),
        ([{**SCORE, "passed": 1}], "row 1: a score needs"),
        ([{"passed": True}], "row 1: a score needs"),
    ],
)
def test_files_that_are_no_scores_are_refused(tmp_path, rows, words):
    with pytest.raises(InputProblem, match=words):
        read_scores(write(tmp_path / "s.jsonl", rows))


def test_an_edited_score_is_not_what_was_counted(tmp_path):
    write(tmp_path / "scores.jsonl", [{**SCORE, "passed": False}])
    counts = {"k": 1, "n": 1, "pass_at_1": 1.0, "problems": 1, "n_samples": 1, "benchmark_sha256": "b"}
    asked = {"benchmark_sha256": "b", "temperature": 0.0}
    hashes = {"content_sha256": content_sha256([SCORE]), "protocol_sha256": hash_json(asked)}
    (tmp_path / "protocol.json").write_text(json.dumps({**asked, "sha256": hash_json(asked)}))
    (tmp_path / "metrics.json").write_text(json.dumps(counts | hashes))
    for path in (tmp_path, tmp_path / "scores.jsonl"):
        with pytest.raises(IntegrityProblem, match="score the completions again"):
            read_scores(path)
    write(tmp_path / "scores.jsonl", [{**SCORE, "cpu_seconds": 9.9, "detail": "slower machine"}])
    assert read_scores(tmp_path).passed == {"T/0": [True]}


def test_what_a_notebook_shows_of_failures_is_escaped():
    import pandas

    from tunebook.evaluation.measure import failure_examples, sensitivity

    judged = [{**SCORE, "passed": False, "verdict": "wrong", "detail": "<b>\x1b[2J"}, {**SCORE, "sample": 1}]
    rows = [{"task_id": "T/0", "sample": s, "completion": "<script>\n\x1b[31m" + "x" * 999} for s in (0, 1)]
    (shown,) = failure_examples(judged, rows)
    assert shown["completion"].startswith("<script>\n\\x1b") and len(shown["completion"]) < 300
    assert shown["detail"] == "<b>\\x1b[2J"
    page = pandas.DataFrame([shown])._repr_html_()  # as a notebook shows it
    assert "&lt;script&gt;" in page and "<script>" not in page and "<b>" not in page
    rate = {"k": 1, "n": 2, "pass_at_1": 0.5, "interval": [0.1, 0.9]}
    a, b = (protocol.Protocol("h", temperature=t).to_dict() for t in (0.0, 0.8))
    assert [row["temperature"] for row in sensitivity([(a, rate), (b, rate)])] == ["0.0", "0.8"]
    assert sensitivity([(a, rate), (b, rate)])[0].keys() == {"temperature", "pass@1"}
