"""Questions with answers as a benchmark: right are the answer's own words, and a benchmark that asks for long free texts
so is named as what it is.
"""

import pytest

from tunebook.data.study_data import load_study_data
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.evaluation.extraction import extract
from tunebook.evaluation.score import score
from tunebook.evaluation.shapes import free_text_line
from tunebook.files import write_jsonl

QUESTIONS = [{"question": f"Capital of land {n}?", "answer": f"City {n}"} for n in range(4)]
MAPPING = {"prompt": "question", "canonical_solution": "answer"}


def test_a_question_and_its_answer_are_enough_and_the_sentence_says_how(tmp_path):
    path = tmp_path / "qa.jsonl"
    write_jsonl(path, QUESTIONS)
    with pytest.raises(InputProblem, match="--map prompt=question --map canonical_solution=answer"):
        load_benchmark(path)
    benchmark = load_benchmark(path, MAPPING)
    replies = ["City 0", "**City 1**", "Answer: City 2", "City 30"]
    rows = [{"task_id": task, "completion": text} for task, text in zip(benchmark.task_ids(), replies, strict=True)]
    assert score(benchmark, rows, tmp_path / "score", workers=1)["k"] == 3


@pytest.mark.parametrize("beside", ["choices", "context"])
def test_what_the_question_needs_is_not_left_out_in_silence(tmp_path, beside):
    write_jsonl(tmp_path / "qa.jsonl", [{**row, beside: "A. x B. y"} for row in QUESTIONS])
    with pytest.raises(InputProblem, match=f"prompt=question leaves out {beside}"):
        load_benchmark(tmp_path / "qa.jsonl", MAPPING)


@pytest.mark.parametrize(("n_words", "is_named"), [(3, False), (40, True)])
def test_long_free_texts_judged_word_for_word_are_named(tmp_path, n_words, is_named):
    rows = [{"prompt": f"Tell story {n}.", "completion": f"Number {n} " + "otter " * n_words} for n in range(60)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    data = load_study_data("", str(tmp_path / "rows.jsonl"), "")
    found = [item for item in data.findings if item.check == "free_text"]
    assert bool(found) == is_named == bool(free_text_line(data.test_problems))
    assert not is_named or ("42 words in the median" in found[0].message and found[0].severity == "warn")


def test_a_benchmark_with_a_test_of_its_own_is_no_exact_match(tmp_path):
    problem = {"task_id": "a", "prompt": "Tell.", "entry_point": "answer", "canonical_solution": "word " * 50,
               "test": "def check(answer):\n    assert len(answer.split()) == 50\n", "kind": "answer"}  # fmt: skip
    assert free_text_line([problem]) == ""


@pytest.mark.parametrize("text", ["**City**", "**Answer: City**", "Answer: **City**"])
def test_bold_marks_around_an_answer_are_no_part_of_it(text):
    assert extract(text, {"kind": "answer"}) in ("City", "**City**")
