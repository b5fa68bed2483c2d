"""Before money is spent: what is asked for, what is frozen, and what stops a study."""

from types import SimpleNamespace

import pytest

from tunebook.data.notes import checks
from tunebook.decision import gates
from tunebook.decision.economics import Prices
from tunebook.decision.ladder import Ladder
from tunebook.decision.spec import (
    check_names,
    freeze_for_run,
    is_vague,
    missing_fields,
    override_reason,
    require_overrides,
    spec_from,
    was_frozen_first,
)
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.prompts import CODE_INSTRUCTION, examples_from, nearest_examples
from tunebook.files import read_json, write_json
from tunebook.statistics.compare import compare_paired

PARAMS = {
    "spec_input": "",
    "spec_users": "the desk",
    "spec_slices": [],
    "smallest_gain": 2.0,
    "largest_loss": 5.0,
    "target_score": 90.0,
}
WHOLE = {"input": "a", "output": "b", "users": "c", "metric": "d", "wrong_answer_cost": "e", "stability": "f"}
AUDIT = {"canonical_failed": [], "empty_passed": [], "killed_ratio": 0.9, "killed": 9, "mutants": 10, "problems": 5}


@pytest.mark.parametrize(
    "text", ["", " ", "TBD", "tbd.", "To be decided by the team", "n/a", "?", "Unknown!", "various", 0.0, []]
)
def test_a_vague_answer_counts_as_none(text):
    assert is_vague(text)


@pytest.mark.parametrize("text", ["none of it may leave the machine", "stable", "the later of two dates", 3.0])
def test_an_answer_counts(text):
    assert not is_vague(text)


def test_missing_fields_are_asked_for_by_the_name_of_their_parameter():
    row = gates.task_gate({**WHOLE, "users": "TBD"})
    assert row["verdict"] == "INCONCLUSIVE" and "spec_users: who uses it?" in row["evidence"]
    assert "calls_per_day: how many calls a day?" in gates.operation_gate({})["evidence"]


def test_the_studys_words_win_over_the_shipped_ones():
    spec = spec_from(PARAMS, SimpleNamespace(spec={"input": "shipped", "users": "others", "slices": ["one"]}))
    assert (spec["input"], spec["users"], spec["slices"]) == ("shipped", "the desk", ["one"])
    assert missing_fields(spec) == ["output", "metric", "wrong_answer_cost", "stability"]


def test_a_task_that_changes_faster_than_it_is_trained_is_no_go():
    assert gates.task_gate({**WHOLE, "stable_months": 2, "retrain_months": 6})["verdict"] == "NO-GO"
    assert gates.task_gate({**WHOLE, "stable_months": 12, "retrain_months": 6})["verdict"] == "GO"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "GO"),
        ({"killed_ratio": 0.5}, "INCONCLUSIVE"),
        ({"killed_ratio": None}, "INCONCLUSIVE"),
        ({"empty_passed": ["x"]}, "NO-GO"),
        ({"canonical_failed": ["x"]}, "NO-GO"),
    ],
)
def test_a_benchmark_that_cannot_tell_right_from_wrong_stops_the_study(change, verdict):
    assert gates.audit_gate(AUDIT | change)["verdict"] == verdict


def test_an_inconclusive_end_is_announced_before_training():
    """164 problems and 3.6 points: the published study."""
    row = gates.power_gate(164, 50 / 164, {"smallest_gain": 3.6})
    assert row["verdict"] == "INCONCLUSIVE" and "problems are needed" in row["evidence"]
    assert gates.power_gate(400, 0.0, {"smallest_gain": 0.0, "expected_gain": 10.0})["verdict"] == "GO"
    assert gates.power_gate(2, 0.5, {"smallest_gain": 1.0})["verdict"] == "INCONCLUSIVE"
    assert gates.power_gate(100, 0.95, {"smallest_gain": 10.0})["verdict"] == "INCONCLUSIVE"


def test_a_rung_that_meets_the_specification_stops_training():
    rung = {"rung": "few_shot", "k": 99, "n": 100, "meets_spec": True}
    assert gates.ladder_gate([rung], 90.0)["verdict"] == "NO-GO"
    assert gates.ladder_gate([{**rung, "meets_spec": False}], 90.0)["verdict"] == "GO"
    assert gates.ladder_gate([], 90.0)["verdict"] == "INCONCLUSIVE"
    found = {"k": 190, "n": 200, "pass_at_1": 0.95, "interval": (0.91, 0.97)}
    met = [gates.rung_row("hosted", found, 90.0, is_offline)["meets_spec"] for is_offline in (False, True)]
    assert met == [True, False], "a hosted model is nothing where the specification asks for no network"


def test_gates_stand_in_the_order_of_the_phases():
    rows = [gates.operation_gate({}), gates.audit_gate(AUDIT), gates.task_gate(WHOLE)]
    assert [row["phase"] for row in gates.in_order(rows)] == ["business need", "evaluation", "operation"]


def context(folder, name="00_should_we_fine_tune"):
    return SimpleNamespace(run_folder=folder, folder=folder / name)


def test_a_changed_specification_means_a_new_run(tmp_path):
    """Judging by a rule that was chosen after the scores were seen proves nothing."""
    first, second = {"smallest_gain": 0.0}, {"smallest_gain": 5.0}
    freeze_for_run(first, context(tmp_path))
    freeze_for_run(second, context(tmp_path))  # nothing has trained yet
    write_json(tmp_path / "02_train_sft" / "manifest.json", {})
    with pytest.raises(InputProblem, match="smallest_gain.*a changed specification means a new run"):
        freeze_for_run(first, context(tmp_path))
    digest = freeze_for_run(second, context(tmp_path))
    assert was_frozen_first(tmp_path, digest, ["2999-01-01T00:00:00+00:00"]) is True
    assert was_frozen_first(tmp_path, digest, ["1999-01-01T00:00:00+00:00"]) is False
    assert was_frozen_first(tmp_path, "other", []) is False and was_frozen_first(tmp_path / "no", digest, []) is None
    assert read_json(tmp_path / "frozen_spec.json")["sha256"] == digest


@pytest.mark.parametrize("text", ["x", "because", "TBD", "we want it"])
def test_an_override_needs_a_reason(text):
    with pytest.raises(InputProblem, match="override"):
        override_reason(text)


def test_a_written_reason_is_kept():
    assert override_reason("  the hosted model may not be used\n here ") == "the hosted model may not be used here"
    assert override_reason("") == ""


BENCH = from_problems("b", [{"task_id": str(at), "prompt": text, "entry_point": "check", "canonical_solution": "x",
"test": "def check(a): pass", "kind": "answer"} for at, text in enumerate(("every monday at nine",
"first of the month"))])  # fmt: skip


def row(prompt: str) -> dict:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": prompt[:3]}],
    }


def test_retrieved_examples_are_the_nearest_and_the_nearest_comes_last():
    found = nearest_examples(
        [row("hourly"), row("every monday at ten"), row("the first of a month"), row("each tuesday at nine")], BENCH, 2
    )
    assert found["0"][-1]["prompt"] == "every monday at ten" and found["1"][-1]["prompt"] == "the first of a month"
    assert all(len(examples) == 2 for examples in found.values())


def test_a_code_row_is_shown_without_the_words_that_are_put_around_it_again():
    assert examples_from([row(f"{CODE_INSTRUCTION}\n\n```python\ndef f():\n```")])[0]["prompt"] == "def f():"


@pytest.mark.parametrize(
    ("names", "params", "message"),
    [
        (["fewshot"], {}, "no rung"),
        (["hosted"], {}, "hosted_completions"),
        (["larger"], {}, "larger_model"),
        (["instruction"], {}, "no instruction"),
        (["retrieved"], {"few_shot": 0}, "few_shot"),
    ],
)
def test_a_rung_that_lacks_what_it_needs_is_named_before_a_model_is_loaded(names, params, message):
    with pytest.raises(InputProblem, match=message):
        Ladder(names, **params).wanted(False, 10)


def test_a_named_model_or_file_is_a_rung_of_its_own():
    ladder = Ladder(["few_shot"], larger_model="m", hosted_completions="c.jsonl")
    assert ladder.wanted(False, 10) == ["few_shot", "larger", "hosted"]


def test_money_is_compared_with_the_budget_and_the_calls_with_break_even():
    given = {"price_source": "s", "price_date": "2026-11-25", "price_staff_hour": 50.0, "staff_hours": 8.0}
    for budget, verdict in ((500.0, "GO"), (300.0, "NO-GO"), (0.0, "INCONCLUSIVE")):
        assert gates.budget_gate({"budget": budget}, Prices(**given))["verdict"] == verdict
    assert "staff_hours" in gates.budget_gate({"budget": 500.0}, Prices())["evidence"]
    found = {"break_even": {"own": {"calls_a_day": 100.0, "interval": [90.0, 110.0]}}, "source": "x"}
    for calls, verdict in ((200.0, "GO"), (100.0, "INCONCLUSIVE"), (50.0, "NO-GO"), (0.0, "INCONCLUSIVE")):
        assert gates.volume_gate({"calls_per_day": calls}, found)["verdict"] == verdict
    never = {"break_even": {"own": {"calls_a_day": None, "interval": [None, None]}}, "source": "x"}
    assert gates.volume_gate({"calls_per_day": 9.0}, never)["verdict"] == "NO-GO"
    assert gates.volume_gate({"calls_per_day": 9.0}, {})["verdict"] == "INCONCLUSIVE"
    partly = gates.volume_gate({"calls_per_day": 9.0}, {"break_even": None, "missing": ["price_machine_hour"]})
    assert partly["verdict"] == "INCONCLUSIVE" and "asked for: price_machine_hour" in partly["evidence"]


def test_a_slice_or_a_gate_that_nothing_measures_is_refused_before_training():
    problems = [{"slice": "weekly"}, {"slice": ""}, {}]
    check_names({"gated": ["bits_per_byte", "humaneval"]}, ["weekly"], problems, ["humaneval"])
    with pytest.raises(InputProblem, match="no test problem is in slice 'wekly'; there are weekly"):
        check_names({}, ["wekly"], problems, [])
    with pytest.raises(InputProblem, match="'humaneval' is not measured; there are bits_per_byte"):
        check_names({"gated": ["humaneval"]}, [], problems, [])


def test_another_ladder_is_another_specification():
    first, second = (spec_from(PARAMS | {"ladder": ladder, "few_shot": 4}) for ladder in (["few_shot"], []))
    assert first != second and first["measured_by"] == {"ladder": ["few_shot"], "few_shot": 4}


def benchmark(*answers):
    row = {"prompt": "?", "entry_point": "answer", "kind": "answer", "test": "def check(answer):\n    assert answer\n"}
    return from_problems(
        "task", [{**row, "task_id": str(n), "canonical_solution": text} for n, text in enumerate(answers)]
    )


def test_what_it_is_measured_with_is_frozen_by_its_content(tmp_path):
    """A file that loses its failing problems after the score keeps its name."""
    hosted = tmp_path / "hosted.jsonl"
    hosted.write_text("one")
    params = PARAMS | {"retained": [], "hosted_completions": str(hosted)}
    first = spec_from(params, None, benchmark("a", "b"))
    assert spec_from(params, None, benchmark("a", "b")) == first != spec_from(params, None, benchmark("a"))
    hosted.write_text("two")
    assert spec_from(params, None, benchmark("a", "b")) != first


def test_stages_that_measure_otherwise_than_was_frozen_are_refused(tmp_path):
    overrides = {"04@sft": {"temperature": 0.7, "slots": 8}, "02": {"epochs": 2.0}}
    spec = spec_from(PARAMS | {"retained": []}, None, benchmark("a"), overrides)
    assert spec["measured_by"]["overrides"] == {"04@sft": {"temperature": 0.7}}
    run = SimpleNamespace(run_folder=tmp_path, overrides=lambda: {"04@sft": {"temperature": 0.7, "slots": 16}})
    require_overrides(spec, run)
    run.overrides = lambda: {"04@sft": {"temperature": 0.0}}
    with pytest.raises(InputProblem, match="04@sft: a changed specification means a new run"):
        require_overrides(spec, run)


def test_a_run_that_has_trained_does_not_freeze_again_without_its_record(tmp_path):
    run = SimpleNamespace(run_folder=tmp_path, folder=tmp_path / "00")
    digest = freeze_for_run({"a": 1}, run)
    (tmp_path / "02_train_sft").mkdir()
    (tmp_path / "02_train_sft" / "manifest.json").write_text("{}")
    assert freeze_for_run({"a": 1}, run) == digest
    kept = read_json(tmp_path / "frozen_spec.json")
    write_json(tmp_path / "frozen_spec.json", kept | {"spec": {"a": 2}})
    assert was_frozen_first(tmp_path, digest, []) is False
    with pytest.raises(InputProblem, match="a new run"):
        freeze_for_run({"a": 1}, run)
    (tmp_path / "frozen_spec.json").unlink()
    with pytest.raises(InputProblem, match="a new run"):
        freeze_for_run({"a": 1}, run)


@pytest.mark.parametrize("text", ["???", "x", "idk", "Not sure.", "no idea", "none yet", "0"])
def test_words_that_say_nothing_are_asked_for(text):
    assert missing_fields({"owner": text}, ("owner",)) == ["owner"]


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"), [(0, 0, "INCONCLUSIVE"), (3, 5, "INCONCLUSIVE"), (1, 12, "GO"), (12, 1, "NO-GO")]
)
def test_a_training_that_changed_nothing_has_not_helped(lost, gained, verdict):
    """A stage whose checks hold was GO for "preferences help further" when DPO changed no answer."""
    stage = SimpleNamespace(status="pass", name="03_train_dpo", manifest={"checks": []}, metrics={})
    before = {str(at): [at < 40] for at in range(100)}
    after = {str(at): [at < 40 - lost or 50 <= at < 50 + gained] for at in range(100)}
    row = gates.progress_gate("preferences help further", stage, "", compare_paired(before, after) | {"part": "dev"})
    assert row["verdict"] == verdict and "of the dev problems" in row["evidence"]
    assert gates.progress_gate("x", stage, "", None)["verdict"] == "INCONCLUSIVE"
    stage.metrics = {"promise": {"expected": 56, "least": 100, "is_enough": False}}
    assert "nothing was trained: a probe promised 56 pairs" in gates.progress_gate("x", stage, "", None)["evidence"]
    failed = SimpleNamespace(status="fail", name="03_train_dpo", manifest={"checks": []})
    assert gates.progress_gate("x", failed, "", None)["verdict"] == "NO-GO"


def finding(check: str, severity: str = "warn") -> dict:
    return {"check": check, "severity": severity, "message": "m"}


@pytest.mark.parametrize(
    ("findings", "represent", "clean"),
    [
        ([finding("near_duplicates"), finding("domain", "info")], "GO", "GO"),
        ([finding("domain_gap")], "INCONCLUSIVE", "GO"),
        ([finding("contamination_reworded")], "GO", "INCONCLUSIVE"),
    ],
)
def test_a_gate_of_the_data_is_about_its_own_question(findings, represent, clean):
    """Rows that have nothing in common with the benchmark were GO for "the rows represent the task", since 01 only
    warned.
    """
    stage = SimpleNamespace(status="warn", name="01_validate_data", manifest={"checks": []})
    words = [gates.data_gate("p", name, stage, "", findings)["verdict"] for name in gates.ABOUT]
    assert words == [represent, clean]
    stage.status = "fail"
    assert {gates.data_gate("p", name, stage, "", [])["verdict"] for name in gates.ABOUT} == {"NO-GO"}
    assert set().union(*gates.ABOUT.values()) <= set(checks()), "every name is a check of 01"


def test_a_warning_of_the_export_leaves_its_gate_open_and_a_warning_hides_no_shown_loss():
    check = {"name": "shipped_type", "measured": "f16", "ok": False, "severity": "warn"}
    stage = SimpleNamespace(status="warn", name="05_export_gguf", manifest={"checks": [check]})
    assert gates.stage_gate("p", "x", stage, "", "r")["verdict"] == "INCONCLUSIVE"
    before, after = ({str(at): [at < k] for at in range(100)} for k in (40, 28))
    row = gates.progress_gate("preferences help further", stage, "", compare_paired(before, after) | {"part": "dev"})
    assert row["verdict"] == "NO-GO"
    assert gates.progress_gate("preferences help further", None, "skipped", None)["verdict"] == "INCONCLUSIVE"


def test_an_own_study_says_what_must_not_get_worse():
    """With nothing gated, total forgetting was a GO; with no gain named, every benchmark could see it."""
    own = {"gated": [], "retained": [], "spec_metric": "pass@1", "smallest_gain": 0.0, "rows": "mine.jsonl"}
    spec = spec_from(own, None, benchmark("a"))
    row = gates.kept_gate(spec)
    assert row["verdict"] == "INCONCLUSIVE" and 'gated: ["nothing"]' in row["evidence"]
    assert gates.kept_gate(spec_from(own | {"rows": ""}, None, benchmark("a")))["verdict"] == "GO", "a shipped study"
    assert spec_from(own | {"rows": "", "benchmark": "mine.jsonl"})["own_study"], (
        "a benchmark makes it an own study too"
    )
    spec = spec_from(own | {"gated": ["nothing"]}, None, benchmark("a"))
    check_names(spec, [], [], [])
    assert gates.kept_gate(spec)["verdict"] == "GO" and "no loss" in gates.kept_gate(spec)["evidence"]
    assert gates.power_gate(400, 0.3, {"smallest_gain": 0.0, **spec})["verdict"] == "INCONCLUSIVE"
    assert gates.power_gate(400, 0.3, {"smallest_gain": 0.0})["verdict"] == "GO", "a shipped study keeps its words"
    with pytest.raises(InputProblem, match="write one of the two"):
        check_names({"gated": ["nothing", "bits_per_byte"]}, [], [], [])


SEALED = [{"step": 0}, {"gain": 12.0, "gain_interval": [3.0, 21.0], "gap": 1.0, "gap_interval": [-6.0, 8.0]}]


def test_reinforcement_is_judged_by_what_it_changed_and_says_what_cheating_earned():
    """The page of a study of 08 had no word about it: neither the change on test, nor the sealed set, nor a cheat."""
    cheats = [{"policy": "solves the problem", "reward": 1.0}, {"policy": "always equal", "reward": 0.0}]
    metrics = {"sealed": SEALED, "cheats": cheats, "steps": 12, "start": {"is_enough": True}}
    stage = SimpleNamespace(status="warn", name="08_train_grpo", manifest={"checks": []}, metrics=metrics)
    before, after = ({str(at): [at < k] for at in range(100)} for k in (40, 60))
    row = gates.reward_gate(stage, "", compare_paired(before, after) | {"part": "test"})
    assert row["verdict"] == "GO" and "40/100 → 60/100 of the test problems" in row["evidence"]
    assert "1 cheating policies earned nothing" in row["evidence"] and "+12.0 points [+3.0, +21.0]" in row["evidence"]
    cheats[1]["reward"] = 0.25
    assert "earned up to 0.25" in gates.reward_gate(stage, "", None)["evidence"]
    metrics |= {"steps": 0, "sealed": SEALED[:1], "start": {"is_enough": False, "why": "the start solves 91%"}}
    row = gates.reward_gate(stage, "", None)
    assert row["verdict"] == "INCONCLUSIVE" and "nothing was trained: the start solves 91%" in row["evidence"]
    assert gates.reward_gate(None, "skipped", None)["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(("point", "verdict"), [("distil-20", "GO"), ("", "INCONCLUSIVE")])
def test_a_recovery_is_told_with_what_both_models_scored(point, verdict):
    metrics = {"point": point, "kept": point or "given", "why": "w", "rule": "r", "recover_from": "sft"}
    stage = SimpleNamespace(status="warn", name="09_recover", manifest={"checks": []}, metrics=metrics)
    models = ("sft", "recover", "gguf")
    outcome = {
        "gains": [{"model": name, "k_a": 1, "k_b": 50, "n": 100, "samples": 1} for name in models],
        "retentions": [
            {"model": name, "benchmark": "everyday", "k_a": 70, "k_b": k, "n": 90, "samples": 1}
            for name, k in zip(models, (40, 69, 68), strict=True)
        ],
        "bits": [{"model": name, "benchmark": "bits_per_byte", "rise": 4.0, "n": 8} for name in models],
    }
    row = gates.recovery_gate(stage, "", outcome)
    assert row["verdict"] == verdict and f"{point or 'given'} goes on: w" in row["evidence"]
    assert "everyday: sft 40/90 (base 70); everyday: recover 69/90 (base 70)" in row["evidence"]
    assert "bits_per_byte: recover +4.0%" in row["evidence"] and "gguf" not in row["evidence"]


@pytest.mark.parametrize(("gained", "verdict"), [(True, "GO"), (False, "NO-GO"), (None, "INCONCLUSIVE")])
def test_labels_decide_their_gate_also_where_a_weak_judge_warned(gained, verdict):
    """The estimate holds however bad the judge is, so a warning about the judge takes nothing from it."""
    check = {"name": "judge_is_sure", "measured": "3%", "ok": False, "severity": "warn"}
    found = {"gained": gained, "result": "base → sft: 9.0 [1.0, 17.0] points", "agreement": "one person labelled"}
    stage = SimpleNamespace(status="warn", name="11_label", manifest={"checks": [check]}, metrics=found)
    row = gates.labels_gate(stage, "")
    assert row["verdict"] == verdict and row["evidence"] == "base → sft: 9.0 [1.0, 17.0] points; one person labelled"
    assert gates.labels_gate(None, "")["verdict"] == "INCONCLUSIVE"


def test_a_teachers_yield_and_its_price_stand_beside_its_gate():
    gave = {"kept": 30, "prompts": 100, "yield": 0.3, "yield_low": 0.22, "yield_high": 0.4, "right": 80, "answers": 400}
    gave |= {"seconds": 61.2, "money_per_kept_row": "no price given"}
    check = {"name": "yield", "measured": "30/100", "ok": False, "severity": "warn"}
    stage = SimpleNamespace(status="warn", name="10_distil", manifest={"checks": [check]}, metrics={"yield": gave})
    row = gates.teacher_gate(stage, "")
    assert row["verdict"] == "INCONCLUSIVE" and "30 of 100 prompts keep a row (30.0% [22.0%, 40.0%])" in row["evidence"]
    assert "80 of 400 answers are right" in row["evidence"]
    assert gates.teacher_gate(None, "")["verdict"] == "INCONCLUSIVE"
