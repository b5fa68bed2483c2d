"""After shipping: moved inputs, a file that no longer gives its score, and rules that come from the frozen
specification.
"""

import json
from datetime import UTC, datetime

import pytest

from tunebook.cli import main
from tunebook.decision import drift
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.protocol import Protocol
from tunebook.evaluation.score import score
from tunebook.files import write_json, write_jsonl
from tunebook.models.engine import Generated
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline.context import Upstream

N = 40
PROBLEMS = [
    {"task_id": f"t/{at}", "prompt": f"say {at}", "entry_point": "check", "canonical_solution": str(at),
    "kind": "answer", "test": f"def check(answer):\n    assert answer == '{at}'\n"}
    for at in range(N)
]  # fmt: skip


class Engine:
    """Answers the first `k` problems right."""

    chat_template = "a template"

    def __init__(self, k: int):
        self.k = k

    def asked_text(self, thinking="none"):
        return "a question", "an end"

    def encode(self, messages, thinking="none"):
        return [int(messages[-1]["content"].split()[-1])]

    def decode(self, ids):
        return str(ids[0]) if ids[0] < self.k else "no"

    def generate(self, prompts, decoding, on_tokens=None, only=None, stops=()):
        yield from (Generated(at, prompts[at], "stop") for at in (range(len(prompts)) if only is None else only))


def stage(folder, name: str, started: str = "2026-01-01T00:00:00+00:00") -> Upstream:
    manifest = {"stage": name, "metrics": {}, "status": "pass", "files": manifests.list_files(folder / name)}
    return Upstream(folder / name, manifest | {"timing": {"started_at": started}})


@pytest.fixture
def found(tmp_path):
    """A run that solved 30 of 40 with its file and was trained on phrases about lamps."""
    import hashlib

    rows = [
        {
            "prompt": [{"role": "user", "content": f"lamp {at} on"}],
            "completion": [{"role": "assistant", "content": "x"}],
        }
        for at in range(60)
    ]
    write_jsonl(tmp_path / "01_validate_data" / "train.jsonl", rows)
    write_jsonl(tmp_path / "01_validate_data" / "test_problems.jsonl", PROBLEMS)
    write_json(tmp_path / "00_should_we_fine_tune" / "spec.json", {"spec": {"retrain_months": 6.0}, "sha256": ""})
    (tmp_path / "02_train_sft").mkdir()
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    answers = [{"task_id": p["task_id"], "completion": str(at) if at < 30 else "no"} for at, p in enumerate(PROBLEMS)]
    template = hashlib.sha256(Engine.chat_template.encode()).hexdigest()
    folder = tmp_path / "04_evaluate_pass_at_1@gguf" / "scores" / "task"
    score(
        bench,
        answers,
        folder,
        Protocol(bench.sha256, chat_template_sha256=template, benchmark="task"),
        allow_unisolated=True,
    )
    names = ("00_should_we_fine_tune", "01_validate_data", "02_train_sft", "04_evaluate_pass_at_1@gguf")
    return {name: stage(tmp_path, name) for name in names}


@pytest.mark.parametrize(("k", "worse"), [(30, False), (29, False), (15, True)])
def test_the_canary_is_paired_with_the_recorded_score(found, k, worse):
    result = drift.canary(found, lambda target, _: Engine(k), allow_unisolated=True)
    assert (result["target"], result["k_a"], result["k_b"], result["worse"]) == ("gguf", 30, k, worse)


def test_a_changed_record_is_no_yardstick(found):
    path = found["04_evaluate_pass_at_1@gguf"].path / "scores" / "task" / "scores.jsonl"
    path.write_text(path.read_text().replace("true", "false", 1))
    with pytest.raises(IntegrityProblem):
        drift.canary(found, lambda target, _: Engine(30), allow_unisolated=True)


def test_a_run_without_a_trained_model_has_nothing_to_watch(found):
    del found["04_evaluate_pass_at_1@gguf"]
    with pytest.raises(InputProblem, match="no trained model"):
        drift.canary(found, lambda *_: Engine(0))


def test_inputs_that_moved_are_told_apart(found):
    same = drift.input_drift(found, [f"lamp {at} on" for at in range(100, 140)], 0.65, 0)
    other = drift.input_drift(found, [f"please open door {at}" for at in range(40)], 0.65, 0)
    assert (same["moved"], other["moved"]) == (False, True) and "door" in {row["word"] for row in other["words"]}


def test_rules_say_what_to_do_and_what_was_not_looked_at(found):
    rows = drift.advise(found, None, {"worse": True}, datetime(2026, 12, 1, tzinfo=UTC))
    assert [row["holds"] for row in rows] == [False, None, False]
    assert [
        row["holds"]
        for row in drift.advise(found, {"moved": False, "limit": 0.65}, None, datetime(2026, 3, 1, tzinfo=UTC))
    ] == [None, True, True]


def test_inputs_are_read_in_every_usual_form(tmp_path):
    lines = [
        '"plain"',
        '{"prompt": "a"}',
        '{"text": "b"}',
        '{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "c"}]}',
        "",
    ]
    lines.append('{"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "e"}]}')
    path = tmp_path / "new.jsonl"
    path.write_text("\ufeff" + "\n".join(lines))
    assert drift.read_inputs(path) == ["plain", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    "line", ["not json", "{}", '{"prompt": ""}', "3", '{"prompt": 3}', "[" * 50_000, '{"messages": [1]}']
)
def test_a_line_without_an_input_is_named(tmp_path, line):
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps("fine") + "\n" + line)
    with pytest.raises(InputProblem, match="line 2"):
        drift.read_inputs(path)
    with pytest.raises(InputProblem, match="cannot be read|has no inputs"):
        drift.read_inputs(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_that_no_generator_takes_is_bad_input(tmp_path, capsys, seed):
    path = tmp_path / "new.jsonl"
    path.write_text('"hello"\n')
    assert main(["drift", "--run", "any", "--inputs", str(path), "--no-canary", f"--seed={seed}"]) == 2
    assert f"--seed {seed} is no seed: give a whole number from 0" in capsys.readouterr().err
