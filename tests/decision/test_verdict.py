"""The verdict follows from the scores by the frozen rules, for every kind of study."""

import pytest

from tunebook.decision.comparisons import gain_comparisons, score_table
from tunebook.decision.gather import Evidence
from tunebook.decision.report import comparison_rows
from tunebook.decision.spec import build_spec, freeze, missing_fields, read_frozen
from tunebook.decision.verdict import decide
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.score import score
from tunebook.files import read_json, write_json

SPEC = {"smallest_gain": 0.0, "largest_loss": 5.0, "gated": [], "target_score": 90.0}
N = 60


def benchmark(name: str):
    problems = [
        {
            "task_id": f"{name}/{at}",
            "prompt": f"say {at}",
            "entry_point": "check",
            "canonical_solution": str(at),
            "test": f"def check(answer):\n    assert answer == '{at}'\n",
            "kind": "answer",
        }
        for at in range(N)
    ]
    return from_problems(name, problems)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A function that gives a real score folder in which the first `k` problems pass."""
    made = {}

    def make(name: str, k: int, **protocol):
        key = (name, k, *sorted(protocol.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{k}")
            found = benchmark(name)
            rows = [
                {"task_id": f"{name}/{at}", "completion": str(at) if at < k else "no", "finish_reason": "stop"}
                for at in range(N)
            ]
            score(found, rows, folder, Protocol(found.sha256, **protocol))
            made[key] = folder
        return made[key]

    return make


def study(folder_of, base: int, tuned: int, kept=(30, 30), **changes) -> Evidence:
    scores = {"base": {"task": folder_of("task", base), "other": folder_of("other", kept[0])}}
    scores["sft"] = {"task": folder_of("task", tuned), "other": folder_of("other", kept[1])}
    return Evidence(scores, "task", SPEC | changes)


@pytest.mark.parametrize(
    ("base", "tuned", "verdict"), [(2, 50, "GO"), (50, 2, "NO-GO"), (30, 33, "INCONCLUSIVE"), (30, 30, "INCONCLUSIVE")]
)
def test_the_gain_decides_where_nothing_is_gated(folder_of, base, tuned, verdict):
    outcome = decide(study(folder_of, base, tuned), "sft")
    assert outcome["verdict"] == verdict
    assert f"{base}/{N} → {tuned}/{N}" in outcome["reasons"][0] and "rule:" in outcome["reasons"][0]


def test_a_gain_below_the_smallest_worth_having_is_no_go(folder_of):
    assert decide(study(folder_of, 20, 30, smallest_gain=40.0), "sft")["verdict"] == "NO-GO"


def test_a_gated_loss_stops_a_real_gain(folder_of):
    assert decide(study(folder_of, 2, 50, kept=(50, 5), gated=["other"]), "sft")["verdict"] == "NO-GO"


def test_the_same_loss_is_only_reported_without_a_gate(folder_of):
    outcome = decide(study(folder_of, 2, 50, kept=(50, 5)), "sft")
    assert outcome["verdict"] == "GO"
    assert any("reported, no gate" in reason and "violation" in reason for reason in outcome["reasons"])


def test_a_gate_that_cannot_see_a_loss_never_passes(folder_of):
    """A base model that solves 2 of 60 problems cannot lose five points."""
    outcome = decide(study(folder_of, 2, 50, kept=(2, 0), gated=["other"]), "sft")
    assert outcome["verdict"] == "INCONCLUSIVE"
    assert any("cannot see a loss of 5 points" in reason for reason in outcome["reasons"])


def test_a_prompt_that_meets_the_specification_is_no_go(folder_of):
    evidence = study(folder_of, 2, 50)
    evidence.rungs = [{"rung": "few_shot", "k": 59, "n": 60, "meets_spec": True, "rule": "at least 90 points"}]
    outcome = decide(evidence, "sft")
    assert outcome["verdict"] == "NO-GO"
    assert "prompting is enough: few_shot solves 59/60" in outcome["reasons"][-1]


def test_a_failed_stage_leaves_the_study_undecided(folder_of):
    evidence = study(folder_of, 2, 50)
    evidence.failed = {"05_export_gguf": "broke off"}
    assert decide(evidence, "sft")["verdict"] == "INCONCLUSIVE"
    assert decide(evidence, "sft")["reasons"][0] == "the study is incomplete: 05_export_gguf broke off"
    assert decide(Evidence({}, "task", SPEC), "sft")["verdict"] == "INCONCLUSIVE"


def test_scores_under_different_protocols_are_not_compared(folder_of):
    evidence = study(folder_of, 2, 50)
    evidence.scores["sft"]["task"] = folder_of("task", 50, instruction="think")
    with pytest.raises(InputProblem, match="instruction"):
        decide(evidence, "sft")


def test_several_comparisons_are_corrected(folder_of):
    evidence = study(folder_of, 20, 30)
    evidence.scores["dpo"] = {"task": folder_of("task", 29)}
    rows = gain_comparisons(evidence)
    assert [row["model"] for row in rows] == ["sft", "dpo"]
    assert all(row["p_holm"] >= row["p_exact"] for row in rows) and rows[0]["p_holm"] > rows[0]["p_exact"]
    assert [row["k"] for row in score_table(evidence) if row["benchmark"] == "task"] == [20, 30, 29]


def test_the_specification_cannot_be_changed_after_it_was_frozen(tmp_path):
    path = tmp_path / "spec.json"
    digest = freeze(SPEC, path)
    assert read_frozen(path) == (SPEC, digest)
    stored = read_json(path)
    stored["spec"]["largest_loss"] = 50.0
    write_json(path, stored)
    with pytest.raises(IntegrityProblem, match="changed after it was frozen"):
        read_frozen(path)


def test_vague_fields_are_named():
    spec = build_spec(
        {"input": "text", "output": "TBD", "metric": "pass@1"}, {"users": "", "stability": "stable"}, SPEC
    )
    assert missing_fields(spec) == ["output", "users", "wrong_answer_cost"]


@pytest.mark.parametrize("change", [{"smallest_gain": -1.0}, {"largest_loss": 0.0}])
def test_a_threshold_that_means_nothing_is_refused(change):
    with pytest.raises(InputProblem, match=next(iter(change))):
        build_spec({}, {}, SPEC | change)


def test_with_several_trainings_the_verdict_is_about_the_recipe_too(folder_of):
    evidence = study(folder_of, 10, 40)
    assert decide(evidence, "sft")["trainings"] is None
    evidence.trainings = [study(folder_of, 10, k) for k in (41, 39)]
    outcome = decide(evidence, "sft")
    assert outcome["verdict"] == "GO" and outcome["trainings"]["each"] == pytest.approx([50.0, 51.67, 48.33], abs=0.01)
    assert outcome["trainings"]["again"]["GO"] > 0.99
    evidence.trainings = [study(folder_of, 10, k) for k in (12, 1)]  # two other seeds learned nothing
    outcome = decide(evidence, "sft")
    assert outcome["gains"][0]["verdict"] == "GO", "this file is better"
    assert (
        0.3 < outcome["trainings"]["again"]["GO"] < 0.9 and outcome["trainings"]["again"]["shares"]["trainings"] > 0.9
    )
    assert outcome["verdict"] == "INCONCLUSIVE" and "another training" in " ".join(outcome["reasons"])
    assert any("another training" in row["question"] for row in comparison_rows(outcome))


def test_a_further_training_that_forgets_what_is_gated_leaves_the_recipe_open(folder_of):
    evidence = study(folder_of, 10, 40, kept=(60, 60), gated=["other"])
    evidence.trainings = [study(folder_of, 10, 40, kept=(60, k), gated=["other"]) for k in (60, 60)]
    outcome = decide(evidence, "sft")
    assert outcome["verdict"] == "GO" and "2 of 2 further trainings keep everything" in " ".join(outcome["reasons"])
    evidence.trainings[1] = study(folder_of, 10, 40, kept=(60, 31), gated=["other"])
    outcome = decide(evidence, "sft")
    said = " ".join(outcome["reasons"])
    assert outcome["verdict"] == "INCONCLUSIVE" and "1 of 2 further trainings" in said
    assert "training 3: other (gate): base 60/60 → sft 31/60" in said
    del evidence.trainings[0].scores["sft"]["other"]
    unmeasured = decide(evidence, "sft")
    assert "0 of 2 further trainings" in " ".join(unmeasured["reasons"])
    assert "training 2: other is gated but was not measured" in " ".join(unmeasured["reasons"])
    rows = {row["question"]: row["verdict"] for row in comparison_rows(outcome)}
    assert rows["forgetting, training 2 (gate)"] == "non-inferior" != rows["forgetting, training 3 (gate)"]
