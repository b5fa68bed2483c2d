"""The cascade's sentence: what is promised, what test says, what it costs, and never a silent number."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.decision.test_report import parsed, report

from tunebook import plots
from tunebook.decision.cascade import build_cascade, cascade_of, cascade_price
from tunebook.decision.page import render
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.score import score
from tunebook.files import write_jsonl

PRICES = {"price_source": "a list", "price_date": "2026-11-25", "price_machine_hour": 1.0, "price_hosted_input": 10.0}
PRICES |= {"price_hosted_output": 20.0, "price_staff_hour": 50.0, "staff_hours": 6.0, "retrain_months": 10.0}
ECONOMICS = {"prices": PRICES, "missing": [], "machine_seconds": 0.0, "model": "sft"}


def answers(n: int, wrong: int) -> list[dict]:
    """The least sure `wrong` of `n` answers are wrong."""
    return [{"task_id": f"t/{at}", "logp": -at / n, "right": at < n - wrong} for at in range(n)]


def test_the_sentence_names_the_risk_the_share_that_stays_and_what_test_says():
    found = cascade_of(answers(200, 50), answers(400, 100), 0.03)
    line, test = found["line"], found["test"]
    assert "With 95% confidence at most 3% of the answers that stay local are wrong" in line
    assert f"{test['kept']}/400 = " in line and "0/" in line and 0.3 < test["kept"] / 400 <= 0.8
    assert "more than was promised" not in line
    assert plots.cascade(found["curve"], found["threshold"], 0.03).axes[1].lines


def test_where_test_contradicts_dev_the_sentence_says_so():
    line = cascade_of(answers(200, 50), answers(400, 300), 0.03)["line"]
    assert "more than was promised, so dev does not stand for test" in line


def test_without_a_threshold_the_sentence_says_what_would_give_one():
    few = cascade_of(answers(60, 3), answers(60, 3), 0.03)
    assert few["line"].startswith("No threshold keeps it") and "dev problems would be needed" in few["line"]
    never = [row | {"right": at % 3 > 0} for at, row in enumerate(answers(300, 0))]
    assert "more dev problems would not help" in cascade_of(never, never, 0.03)["line"]


def test_the_price_by_hand():
    """A call costs 0.0001 here and 0.002 there. Half stay: 1,000 calls cost 0.1 + 1.0, and 30 a month are paid by
    30 / 0.0009 / 30.44 = 1,095 a day.
    """
    calls = [{"task_id": str(at), "input_tokens": 100, "output_tokens": 50, "seconds": 0.36} for at in range(20)]
    found = cascade_price(calls, {str(at): at < 10 for at in range(20)}, ECONOMICS, 0)
    assert found["per_1000"] == pytest.approx(1.1) and found["hosted"] == pytest.approx(2.0)
    assert found["interval"][0] < 1.1 < found["interval"][1]
    assert found["pays"]["calls_a_day"] == pytest.approx(30 / 0.0009 / (365.25 / 12)) and "1,095 calls" in found["line"]
    none = cascade_price(calls, {str(at): False for at in range(20)}, ECONOMICS, 0)
    assert "no number of calls pays" in none["line"]
    assert cascade_price(calls, {}, ECONOMICS | {"prices": {}}, 0) == {"line": "Its price: no price given."}


def stage(folder: Path, parts: dict[str, int], has_logp: bool) -> SimpleNamespace:
    """A stage of 04 in `folder` with 120 problems for each of `parts` (place of the answers to wrong ones among them)."""
    for place, wrong in parts.items():
        rows = answers(120, wrong)
        test = "def check(answer):\n    assert answer == 'yes'\n"
        problem = {"prompt": "p", "entry_point": "", "canonical_solution": "yes", "test": test, "kind": "answer"}
        told = [{"task_id": row["task_id"], "sample": 0, "completion": "yes" if row["right"] else "no"} for row in rows]
        write_jsonl(folder / f"{place}.jsonl", told)
        if has_logp:
            kept = [{"task_id": row["task_id"], "sample": 0, "logp": row["logp"]} for row in rows]
            write_jsonl(folder / f"{place}.logp.jsonl", kept)
        name = "scores/task" if place.startswith("completions") else "dev/score"
        score(from_problems("task", [problem | {"task_id": row["task_id"]} for row in rows]), told, folder / name)
    files = [{"path": path.relative_to(folder).as_posix()} for path in folder.rglob("*") if path.is_file()]
    manifest = {"files": files, "checks": [], "costs": {}}
    return SimpleNamespace(
        name="04_evaluate_pass_at_1@sft", manifest=manifest, file=lambda name: folder / name, status="pass"
    )


@pytest.mark.parametrize(
    ("parts", "has_logp", "words"),
    [
        ({"dev/completions": 20, "completions/task": 20}, True, "at most 10% of the answers that stay local are wrong"),
        ({"dev/completions": 20, "completions/task": 20}, False, "recorded without log-probabilities"),
        ({"completions/task": 20}, True, "did not score sft on dev"),
    ],
)
def test_a_run_that_has_what_is_needed_gets_a_threshold_and_another_says_why_not(tmp_path, parts, has_logp, words):
    found = {"04_evaluate_pass_at_1@sft": stage(tmp_path, parts, has_logp)}
    context = SimpleNamespace(needs=lambda: found)
    judged = {"shipped": "sft", "economics": {}}
    cascade = build_cascade(context, judged, 0.1, 0)
    assert words in cascade["line"] and build_cascade(context, judged, 0.0, 0) == {}
    page = render(report() | {"cascade": cascade}, tmp_path, [])
    parsed(page)
    assert words in page and "Which answers may stay local" not in render(report() | {"cascade": {}}, tmp_path, [])
