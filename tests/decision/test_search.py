"""The search for a prompt: it finds the one that works on dev, keeps to its share, and never sees a test problem."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from tests.tiny_models import tiny_llama, tokenizer

from tunebook.decision import search
from tunebook.decision.economics import Prices
from tunebook.decision.effort import prompting_effort
from tunebook.decision.ladder import Ladder, climb
from tunebook.decision.search import WORDINGS, Budget, fitting, forecast_training, grid_of, halve, search_prompts
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.protocol import Asking
from tunebook.models.engine import Generated, TransformersEngine

PATH = Path(__file__).parents[2] / "bench" / "bench_search.py"
_spec = importlib.util.spec_from_file_location("bench_search", PATH)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


def problems(part: str, n: int) -> list[dict]:
    return [
        {"task_id": f"{part}/{at}", "prompt": f"say {part} {at}", "entry_point": "check", "kind": "answer",
         "canonical_solution": str(at), "test": f"def check(answer):\n    assert answer == '{at}'\n"}
        for at in range(n)
    ]  # fmt: skip


ROWS = [
    {"prompt": [{"role": "user", "content": f"say {at} {at}"}], "completion": [{"role": "assistant", "content": "x"}]}
    for at in range(9)
]


class Engine:
    """Answers right when `works` says so of the conversation; keeps every question that it was asked."""

    chat_template, slots, tokenizer = "t", 4, staticmethod(lambda text: {"input_ids": text.split()})

    def __init__(self, works, limit: int = 10**6):
        self.works, self.limit, self.asked = works, limit, []

    def asked_text(self, thinking="none"):
        return "a question", "an end"

    def encode(self, messages, thinking="none"):
        self.asked.append(messages[-1]["content"])
        return [int(messages[-1]["content"].split()[-1]), int(self.works(messages))]

    def decode(self, ids):
        return str(ids[0]) if ids[1] else "no"

    def generate(self, prompts, decoding, on_tokens=None, only=None, stops=()):
        yield from (Generated(at, prompts[at], "stop") for at in (range(len(prompts)) if only is None else only))


def judged_by_equality(benchmark, rows, judging):
    answers = {problem["task_id"]: problem["canonical_solution"] for problem in benchmark.problems}
    return [{"passed": row["completion"] == answers[row["task_id"]]} for row in rows]


def searched(engine, tmp_path, share: float, n_dev: int = 12, epochs: float = 1000.0):
    context = SimpleNamespace(folder=tmp_path, progress=None, answers_folder=None)
    asking = Asking(instruction="Say it.", max_new_tokens=8, allow_unisolated=True)
    return (
        search_prompts(engine, problems("dev", n_dev), ROWS, asking, Budget(share, epochs), context),
        asking,
        context,
    )


@pytest.mark.parametrize(
    "works",
    [
        lambda messages: WORDINGS[1] in messages[-1]["content"] and len(messages) == 5,
        lambda messages: "Examples:" in messages[-1]["content"],
    ],
    ids=["a wording with two examples", "examples as text"],
)
def test_the_prompt_that_works_on_dev_is_found_and_scored_once_on_test(tmp_path, works, monkeypatch):
    """Dev is judged by equality here, since 83 prompts are tried; test by the judge."""
    monkeypatch.setattr(search, "judge_completions", judged_by_equality)
    engine = Engine(works)
    found, asking, context = searched(engine, tmp_path, 1.0)
    assert found.rows[0]["k"] == found.rows[0]["n"] > 0 and len(found.rows) == found.grid
    assert engine.asked and not any("say test" in text for text in engine.asked)
    test = from_problems("task", problems("test", 10))
    engine.asked.clear()
    rungs, calls = climb(Ladder([]).with_searched(found), engine, test, ROWS, asking, context)
    assert [(row["rung"], row["k"], row["n"]) for row in rungs] == [("searched", 10, 10)]
    assert not any("say dev" in text for text in engine.asked) and len(calls["searched"]) == 10
    assert (
        f"{found.grid} of {found.grid} prompts were tried" in found.line()
        and "not known for this model" in found.line()
    )


def test_without_seconds_or_dev_problems_no_prompt_is_searched_and_it_says_why(tmp_path):
    for share, n_dev, why in ((0.0, 12, "search_share is 0"), (1.0, 0, "no dev problems")):
        found = searched(Engine(lambda _: True), tmp_path, share, n_dev)[0]
        assert found.prompt is None and why in found.line()
        assert Ladder(["few_shot"]).with_searched(found).wanted(False, 9) == ["few_shot"]


def test_a_tiny_budget_tries_the_first_prompt_alone(tmp_path):
    found = searched(Engine(lambda _: True), tmp_path, 1e-9)[0]
    assert len(found.rows) == 1 and found.prompt == grid_of("Say it.", (1, 2, 4, 8), 0)[0]


def test_a_search_takes_no_more_tokens_than_its_share_of_the_training(tmp_path):
    """A row has 3 tokens here, so 9 rows and 10 epochs are 810 passed tokens; an answer takes 8 and what is its own."""
    engine = Engine(lambda _: True)
    found = searched(engine, tmp_path, 1.0, epochs=10.0)[0]
    answers = sum(row["n"] for row in found.rows)
    assert 1 < len(found.rows) < found.grid and 810 / 11 <= 2 * answers and answers <= 810 / 8
    assert "a longer search may find" in found.line() and "100% of a training's computing" in found.line()


def test_a_search_keeps_to_its_answers_and_asks_the_better_half_more_problems():
    rates = numpy.linspace(0.0, 1.0, 40)
    for answers, least, most in ((100, 2, 8), (1000, 30, 40)):
        spent = []

        def ask(number, positions, spent=spent):
            spent.extend(positions)
            return [(at * 0.618) % 1 < rates[::-1][number] for at in positions]

        best, tried = halve([1.0] * 40, 64, ask, answers)
        assert least <= len(tried) <= most and len(spent) <= answers and tried[0]["number"] == best == 0
        assert tried[0]["n"] > min(row["n"] for row in tried)


def test_at_equal_scores_the_cheaper_prompt_is_chosen():
    costs = [30.0, 20.0, 10.0, 20.0]
    assert halve(costs, 16, lambda number, part: [True] * len(part), 5000.0)[0] == 2
    assert halve(costs, 16, lambda number, part: [number == 0] * len(part), 5000.0)[0] == 0


def test_an_answer_without_text_is_never_an_example(tmp_path):
    """A row that only calls a tool has no text that an example could show."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    rows = [ROWS[0], {"prompt": [{"role": "user", "content": "call 1"}], "completion": [call]}]
    engine = Engine(lambda messages: "call" not in str(messages))
    context = SimpleNamespace(folder=tmp_path, progress=None, answers_folder=None)
    asking = Asking(max_new_tokens=8, allow_unisolated=True)
    found = search_prompts(engine, problems("dev", 3), rows, asking, Budget(1.0), context)
    assert found.rows[0]["k"] == 3 and "1 " in found.prompt.words()
    part = from_problems("task", problems("test", 3))
    assert "call" not in str([prompt.asked(rows, part, 0) for prompt in grid_of("", (1,), 0)])


def test_prompts_that_do_not_fit_into_the_context_are_no_candidates(tmp_path):
    asking = Asking(max_new_tokens=8)
    assert fitting(Engine(None), problems("dev", 3), ROWS, asking) == (1, 2, 4, 8)
    assert fitting(Engine(None, limit=150), problems("dev", 3), ROWS, asking) == (1,)
    assert fitting(Engine(None), problems("dev", 3), ROWS[:3], asking) == (1, 2)
    assert all(prompt.k == 0 for prompt in grid_of("", fitting(Engine(None), problems("dev", 3), [], asking), 0))


def test_a_training_of_more_epochs_is_forecast_to_take_longer():
    engine = TransformersEngine(tiny_llama(), tokenizer(), 2)
    (short, few), (long, many) = (forecast_training(engine, ROWS, epochs, "none") for epochs in (1.0, 1000.0))
    assert 0 < short < long and many == pytest.approx(1000 * few)
    assert forecast_training(Engine(bool), ROWS, 1.0, "none")[0] is None


@pytest.mark.parametrize("given", bench.SCENARIOS, ids=lambda row: row[0])
def test_the_choice_on_dev_raises_neither_the_score_nor_the_errors_of_the_gate(given):
    """Prompts of known rates: the test score is the true rate, what dev says of the chosen prompt is too much."""
    row = bench.scenario(numpy.random.default_rng(0), *given, 120)
    assert row["holds"] and row["dev_above_truth"] > 1.0, row


def test_the_effort_of_a_rung_has_the_seconds_of_its_search_and_the_money_of_its_calls():
    score = {"pass_at_1": 50.0, "low": 40.0, "high": 60.0, "n": 100}
    rungs = [score | {"rung": name} for name in ("few_shot", "searched", "hosted")]
    costs = [{"rung": name, "seconds": "0.36", "money_per_1000_calls": "0.7"} for name in ("few_shot", "searched")]
    costs.append({"rung": "hosted", "seconds": "0.0", "money_per_1000_calls": "2.5"})
    prices = Prices("s", "2026-11-25", price_machine_hour=2.0)
    few, best, hosted = prompting_effort(rungs, costs, {"seconds": 1800.0}, prices)
    assert (few["once_seconds"], best["once_seconds"], best["once_money"]) == (0.0, 1800.0, 1.0)
    assert best["call_money"] == pytest.approx(1000 * 0.36 / 3600 * 2) and hosted["call_money"] == 2.5
    assert hosted["call_seconds"] is None and prompting_effort(rungs, costs, {}, Prices())[0]["call_money"] is None
