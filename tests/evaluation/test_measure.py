"""Measuring a model: protocols reach the prompts, a killed evaluation goes on without losing or doubling, examples
are safe to show.
"""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tiny_models import tiny_llama, tokenizer
from tunebook.errors import InputProblem
from tunebook.evaluation import prompts
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.completions import complete, logp_file
from tunebook.evaluation.measure import answer_and_score, failure_examples, protocol_table
from tunebook.evaluation.protocol import Asking, Protocol
from tunebook.files import read_jsonl
from tunebook.models.engine import Generated, TransformersEngine
from tunebook.pipeline.context import _frame
from tunebook.pipeline.manifest import UNHASHED, matches

HERE = Path(__file__).parent
PATHS = os.pathsep.join(map(str, (HERE, HERE.parent)))
TEST = "def check(answer):\n    assert answer == 'right'\n"
LOOP_TEST = "def check(candidate):\n    assert candidate(1) == 2\n"


def answers(n: int = 6):
    rows = [
        {"task_id": f"t/{i}", "prompt": f"question number {i}", "entry_point": "", "canonical_solution": "right"}
        for i in range(n)
    ]
    return from_problems(
        "task", [{**row, "test": TEST, "kind": "answer", "slice": "ab"[i % 2]} for i, row in enumerate(rows)]
    )


def code():
    row = {"task_id": "c/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x + 1\n"}
    return from_problems("code", [{**row, "test": LOOP_TEST}])


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_llama(), tokenizer(), slots=3)


def context(folder: Path, **params):
    usual = {"seed": 0, "allow_unisolated": False, "prompt_style": "chat", "instruction": "", "thinking": "none"}
    usual |= {"max_new_tokens": 6, "retained_max_new_tokens": 7, "temperature": 0.0, "top_p": 1.0, "n_samples": 1}
    return types.SimpleNamespace(
        folder=folder, params=usual | params, progress=lambda *a: None, answers_folder=folder / ".resume"
    )


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(os.pathsep)
from test_measure import answers, protocol
from tiny_models import tiny_llama, tokenizer
from tunebook.evaluation.completions import complete
from tunebook.models.engine import TransformersEngine
def kill_when_some_are_done(done, total, name):
    if done >= 3:
        os.kill(os.getpid(), 9)
engine = TransformersEngine(tiny_llama(), tokenizer(), slots=3)
folder = Path(sys.argv[2])
complete(engine, answers(), protocol(float(sys.argv[3])), folder / "c.jsonl", (), kill_when_some_are_done, folder / "resume")
"""


def protocol(temperature: float):
    return Protocol(
        answers().sha256, max_new_tokens=6, temperature=temperature, n_samples=2 if temperature else 1, seed=5
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_evaluation_killed_in_the_middle_goes_on(engine, tmp_path, temperature):
    """kill -9 while texts are made, and a line torn in half: nothing lost, nothing doubled, the same file as
    unbroken.
    """
    unbroken = complete(engine, answers(), protocol(temperature), tmp_path / "whole.jsonl")
    done = subprocess.run([sys.executable, "-c", KILLED, PATHS, str(tmp_path), str(temperature)], cwd=HERE)
    assert done.returncode == -9 and not (tmp_path / "c.jsonl").exists()
    (log,) = (tmp_path / "resume").glob("*[0-9a-f].jsonl")
    kept = read_jsonl(log)
    assert 3 <= len(kept) < len(unbroken["rows"])
    with open(log, "ab") as stream:
        stream.write(b'{"task_id": "t/5", "sample": 0, "compl')
    found = complete(engine, answers(), protocol(temperature), tmp_path / "c.jsonl", resume=tmp_path / "resume")
    assert found["resumed"] == len(kept) and found["rows"] == unbroken["rows"]
    assert (tmp_path / "c.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    again = complete(engine, answers(), protocol(temperature), tmp_path / "c.jsonl", resume=tmp_path / "resume")
    assert again["tokens"] == 0 and again["rows"] == unbroken["rows"]


def test_completions_of_other_weights_or_protocols_are_not_taken_over(engine, tmp_path):
    first = complete(engine, answers(), protocol(0.0), tmp_path / "c.jsonl", resume=tmp_path / "resume")
    other = TransformersEngine(tiny_llama(seed=1), engine.tokenizer, slots=3)
    half = TransformersEngine(tiny_llama().bfloat16(), engine.tokenizer, slots=3)
    longer = Protocol(answers().sha256, max_new_tokens=7)
    for model, asked in ((other, protocol(0.0)), (half, protocol(0.0)), (engine, longer)):
        found = complete(model, answers(), asked, tmp_path / "c.jsonl", resume=tmp_path / "resume")
        assert found["resumed"] == 0 and found["tokens"] > 0
    assert first["rows"] != complete(other, answers(), protocol(0.0), tmp_path / "d.jsonl")["rows"]


def test_a_raw_continuation_ends_at_its_stop_strings(engine, tmp_path):
    """Without them a base model goes on with a second function, and the first one is judged with it."""
    written = "    return x + 1\n\ndef g():\n    pass\n"
    ids = iter(engine.tokenizer(written)["input_ids"] + [5] * 50)
    typist = types.SimpleNamespace(encode=engine.encode, decode=engine.decode, identity=lambda: "", chat_template="")
    typist.asked_text = lambda thinking: ("a question", "an end")
    typist.generate = lambda encoded, decoding, on_tokens, only, stops: iter([Generated(0, list(ids), "length")])
    found = complete(typist, code(), Protocol(code().sha256, prompt_style="raw"), tmp_path / "c.jsonl")
    assert read_jsonl(logp_file(tmp_path / "c.jsonl"))[0]["logp"] is None, "an engine that does not say"
    assert found["rows"][0]["completion"] == "    return x + 1\n" and found["rows"][0]["finish_reason"] == "stop"
    assert found["protocol"].stops == prompts.RAW_CODE_STOPS and found["protocol"].chat_template_sha256 == ""


def test_generation_leaves_a_row_that_has_written_a_stop_string(engine):
    """The cut is made afterwards either way; leaving early is what makes raw continuations cheap."""
    from tunebook.models.engine import Decoding

    prompt = engine.encode("def f(x):\n")
    assert prompt == engine.tokenizer("def f(x):\n")["input_ids"]
    (whole,) = engine.generate([prompt], Decoding(12))
    piece = engine.decode(whole.ids[:4])
    (cut,) = engine.generate([prompt], Decoding(12), stops=(piece[-1],))
    assert cut.finish_reason == "stop" and piece[-1] in engine.decode(cut.ids) and len(cut.ids) <= 4


def test_every_choice_of_the_protocol_is_in_its_hash(engine, tmp_path):
    asked = [{}, {"prompt_style": "raw"}, {"instruction": "Answer."}, {"stops": ("\n",)}, {"max_new_tokens": 5}]
    asked += [
        {"temperature": 1.0},
        {"temperature": 1.0, "top_p": 0.5},
        {"seed": 1},
        {"temperature": 1.0, "n_samples": 2},
    ]
    shown = [{"prompt": "a", "completion": "b"}]
    hashes = [
        complete(engine, answers(1), Protocol("", **{"max_new_tokens": 3, **one}), tmp_path / "c")["protocol"].hash
        for one in asked
    ]
    few = Protocol("", prompt_style="few_shot", max_new_tokens=3)
    hashes.append(complete(engine, answers(1), few, tmp_path / "c", shown)["protocol"].hash)
    assert len(set(hashes)) == len(asked) + 1


def test_thinking_is_told_to_templates_that_know_it(engine):
    knows = tokenizer()
    knows.chat_template += "{% if enable_thinking %}THINK{% elif enable_thinking is defined %}QUICK{% endif %}"
    thinker = TransformersEngine(engine.model, knows)
    turns = [{"role": "user", "content": "hello"}]
    texts = {mode: thinker.decode(thinker.encode(turns, mode))[-5:] for mode in ("on", "off", "none")}
    assert texts["on"] == "THINK" and texts["off"] == "QUICK" and texts["none"] not in ("THINK", "QUICK")
    with pytest.raises(InputProblem, match="no thinking mode"):
        engine.encode(turns, "on")


IMPOSSIBLE = [
    {"thinking": "maybe"}, {"thinking": "on", "prompt_style": "raw"}, {"prompt_style": "x"},
    {"prompt_style": "few_shot"},
    {"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": 1.0, "top_p": 0.0}, {"n_samples": 0},
    {"n_samples": 2},
]  # fmt: skip


@pytest.mark.parametrize("fields", IMPOSSIBLE, ids=str)
def test_protocols_that_cannot_be_are_refused(engine, tmp_path, fields):
    with pytest.raises(InputProblem):
        complete(engine, answers(1), Protocol("", **fields), tmp_path / "c")


def test_a_retained_benchmark_is_not_asked_with_the_tasks_words():
    """Schedules as examples before a programming problem would measure the protocol."""
    asking = Asking(prompt_style="few_shot", instruction="To cron:", max_new_tokens=6, retained_max_new_tokens=7)
    assert asking.fields("task")["prompt_style"] == "few_shot" and asking.fields("task")["max_new_tokens"] == 6
    retained = asking.fields("humaneval")
    assert (retained["prompt_style"], retained["instruction"], retained["max_new_tokens"]) == ("chat", "", 7)


def test_what_a_model_answered_in_one_stage_no_later_stage_asks_again(engine, tmp_path, monkeypatch):
    """An adapter that a later stage left as it was must not cost its benchmarks twice."""
    run = context(tmp_path)
    first = answer_and_score(engine, answers(), tmp_path / "sft", run, max_new_tokens=4)
    same = TransformersEngine(tiny_llama(), tokenizer(), slots=2)
    monkeypatch.setattr(same, "generate", lambda prompts, *a, only, **k: iter([1 / 0] if only else []))
    again = answer_and_score(same, answers(), tmp_path / "dpo", run, max_new_tokens=4)
    assert again["rows"] == first["rows"] and again["cost"]["resumed"] == 6
    other = TransformersEngine(tiny_llama(seed=1), tokenizer(), slots=2)
    asked = answer_and_score(other, answers(), tmp_path / "other", run, max_new_tokens=4)
    assert asked["cost"]["resumed"] == 0 and asked["cost"]["tokens"] > 0, "other weights are asked"


def test_measure_leaves_completions_and_score(engine, tmp_path):
    done = answer_and_score(engine, answers(), tmp_path, context(tmp_path), max_new_tokens=4)
    assert done["metrics"]["n"] == 6 and done["cost"]["tokens"] > 0 and done["cost"]["resumed"] == 0
    assert json.loads((tmp_path / "score" / "protocol.json").read_text())["max_new_tokens"] == 4
    kept = read_jsonl(logp_file(tmp_path / "completions.jsonl"))
    assert [(row["task_id"], row["sample"]) for row in kept] == [(r["task_id"], r["sample"]) for r in done["rows"]]
    assert all(row["logp"] < 0 for row in kept)
    assert "logp" not in done["rows"][0] and matches("completions.logp.jsonl", UNHASHED), (
        "last digits differ by machine"
    )
    part = done["metrics"]["slices"]["a"]
    assert sum(part["taxonomy"].values()) == part["n"] == 3


def test_the_table_of_protocols_shows_what_varies(engine, tmp_path):
    here, asking = context(tmp_path), Asking(max_new_tokens=6)
    shown = [{"prompt": "a", "completion": "b"}]
    variants = ["prompt_style=raw", "prompt_style = few_shot", "max_new_tokens=3"]
    rows = protocol_table(engine, {"task": answers()}, asking, variants, shown, 4, here)
    assert [row["prompt_style"] for row in rows] == ["chat", "raw", "few_shot", "chat"]
    assert [row["max_new_tokens"] for row in rows] == ["6", "6", "6", "3"]
    assert all("/4 = " in row["pass@1"] for row in rows) and "seed" not in rows[0]
    assert protocol_table(engine, {"task": answers()}, asking, [], shown, 4, here) == []
    for variant in ("colour=red", "", "raw", "max_new_tokens=many", "prompt_style=raw; x"):
        with pytest.raises(InputProblem, match="sensitivity"):
            protocol_table(engine, {"task": answers()}, asking, [variant], shown, 4, here)


def test_shown_examples_carry_no_control_characters_and_no_markup():
    """A completion is written by a model: it must not clear a terminal, run a script or be typeset in a notebook."""
    nasty = "<script>alert(1)</script>\x1b[2J\u202e\x00 $x$ | [a](javascript:b)\n```\nrm"
    judged = [{"task_id": "t<b>/0\x1b", "sample": 0, "passed": False, "verdict": "wrong", "detail": "\x07<i>"}]
    rows = failure_examples(judged, [{"task_id": "t<b>/0\x1b", "sample": 0, "completion": nasty}])
    text = "".join(value for row in rows for value in row.values())
    assert all(c.isprintable() or c == "\n" for c in text)
    shown = _frame(rows)._repr_html_()
    assert "<script>" not in shown and "<i>" not in shown and "&lt;script&gt;" in shown and "tex2jax_ignore" in shown
