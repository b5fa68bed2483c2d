"""An adapter led back to base: the numbers of the loop are those of its formula, the rule names a point or says none,
and what does not fit is refused in one sentence.
"""

import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import TrainingArguments

from tiny_models import tiny_llama, tokenizer
from tiny_training import ROWS, lora, settings, sft
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import load_benchmark
from tunebook.evaluation.forgetting import TOPICS
from tunebook.models.device import Placement
from tunebook.models.engine import Decoding
from tunebook.models.generate import generate
from tunebook.models.lean_layers import use_lean_layers
from tunebook.models.loading import BaseModel, load_model, merge_adapter
from tunebook.models.source import resolve_model
from tunebook.training.checkpoints import Yardstick
from tunebook.training.dataset import tokenised
from tunebook.training.front import Retentions, choose_point, keep_point, measure_front
from tunebook.training.general import general_prompts
from tunebook.training.recover import RecoveryTrainer, adapter_to_recover, base_answers, recovery_dataset, scaled
from tunebook.training.resume import Checkpoints
from tunebook.training.settings import save_adapter

PROMPTS = [
    {"prompt": [{"role": "user", "content": f"Tell me about {word}"}]}
    for word in "sea moon rain snow bread glue".split()
]
CPU = Placement("cpu", "float32", "float32", "", "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny base and an adapter that has learned eight schedules, and forgotten much else."""
    folder = tmp_path_factory.mktemp("recover")
    tiny_llama().save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    source = resolve_model(str(folder / "base"))
    trainer = sft(folder / "trainer", True, max_steps=25)
    trainer.train()
    save_adapter(trainer.model, folder / "adapter", source)
    return SimpleNamespace(folder=folder, source=source, adapter=folder / "adapter", said=trainer.state.log_history)


def trainer_of(world, folder, steps: int, answers=(), **changes) -> RecoveryTrainer:
    spoken = tokenizer()
    dataset = recovery_dataset(spoken, PROMPTS, tokenised(ROWS, spoken, 64), list(answers), steps, (3, 4))
    how = settings(folder, **{"learning_rate": 5e-3, "lr_scheduler_type": "cosine", "num_train_epochs": 1} | changes)
    how |= {"per_device_train_batch_size": 1, "remove_unused_columns": False, "max_steps": -1}
    arguments = TrainingArguments(**how, train_sampling_strategy="sequential")
    student = PeftModel.from_pretrained(tiny_llama(), world.adapter, is_trainable=True)
    return RecoveryTrainer(student, arguments, dataset, spoken, 8)


def test_a_stage_that_was_killed_finds_the_answers_of_base_again_and_those_of_others_not(world, tmp_path):
    base = BaseModel(world.source, CPU, tokenizer(), 3)
    context = SimpleNamespace(resume_folder=tmp_path, progress=lambda *_: None)
    first, seconds = base_answers(base, PROMPTS[:2], 4, 0, context)
    assert base_answers(base, PROMPTS[:2], 4, 0, context) == (first, seconds) and all(map(len, first))
    assert base_answers(base, PROMPTS[:2], 4, 1, context)[0] != first


@pytest.mark.parametrize("way", ["distil", "replay"])
def test_the_adapter_comes_nearer_to_base_and_keeps_the_task(world, tmp_path, way):
    base = BaseModel(world.source, CPU, tokenizer(), 3)
    context = SimpleNamespace(resume_folder=tmp_path / "resume", progress=lambda *_: None)
    answers = base_answers(base, PROMPTS, 8, 0, context)[0] if way == "replay" else ()
    trainer = trainer_of(world, tmp_path, 12, answers)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    first, last = (sum(row["general_loss"] for row in part) / 4 for part in (rows[:4], rows[-4:]))
    assert len(rows) == 12 and last < 0.8 * first
    assert sum(row["task_loss"] for row in rows[-4:]) / 4 < 0.5 * world.said[0]["loss"]


@pytest.mark.parametrize("layers", ["lean", "libraries"])
def test_the_divergence_is_that_of_the_two_models_own_logits(world, tmp_path, layers):
    """Over the whole vocabulary, at each token of the answer and at the one after it, whatever the padding."""
    trainer = trainer_of(world, tmp_path, 1)
    assert layers == "libraries" or use_lean_layers(trainer.model)
    student, prompts, answers = trainer.model.eval(), [[1, 5, 9], [1, 7]], [[30, 40], [50, 60, 70, 80]]
    with torch.no_grad():
        found = float(trainer._divergence(student, prompts, answers))
        total = 0.0
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = torch.tensor([prompt + answer])
            ours = student(input_ids=ids).logits[0, len(prompt) - 1 :].float().log_softmax(-1)
            theirs = tiny_llama()(input_ids=ids).logits[0, len(prompt) - 1 :].float().log_softmax(-1)
            total += float((ours.exp() * (ours - theirs)).sum())
    assert found == pytest.approx(total / 8, rel=1e-3) and found > 0.1


def test_an_adapter_that_is_on_samples_as_the_merged_model_does(world):
    """The lean pass reads a layer's weight with its LoRA: without it the slow `generate` would be used, with a warning."""
    warnings.simplefilter("error", UserWarning)
    student = PeftModel.from_pretrained(tiny_llama(), world.adapter).get_base_model()
    merged = merge_adapter(tiny_llama(), world.adapter)
    asked = [[1, 5, 9, 13], [1, 7, 2000]]
    said = [sorted((done.index, done.ids) for done in generate(model, asked, {2}, Decoding(12)))
            for model in (student, merged, tiny_llama())]  # fmt: skip
    assert said[0] == said[1] != said[2]


def test_scale_0_is_base_and_1_the_adapter(world, tmp_path):
    ids = torch.tensor([[1, 5, 9, 13]])
    with torch.inference_mode():
        said = {
            scale: load_model(world.source, CPU, scaled(world.adapter, scale, tmp_path / str(scale)))(ids).logits
            for scale in (0.0, 0.5, 1.0)
        }
        base, given = (load_model(world.source, CPU, one)(ids).logits for one in (None, world.adapter))
    assert torch.equal(said[0.0], base) and torch.equal(said[1.0], given)
    assert not torch.allclose(said[0.5], base) and not torch.allclose(said[0.5], given)
    assert sorted(path.name for path in (tmp_path / "0.5").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"modules_to_save": ["norm"]}, {"bias": "lora_only"}])
def test_an_adapter_that_no_scale_brings_back_is_refused(tmp_path, changes):
    model = get_peft_model(tiny_llama(attention_bias=True), LoraConfig(r=2, target_modules=["q_proj"], **changes))
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputProblem, match="which no scale makes smaller"):
        scaled(tmp_path / "adapter", 0.5, tmp_path / "scaled")
    assert not (tmp_path / "scaled").exists()


def test_a_foreign_adapter_that_does_not_fit_is_refused_in_one_sentence(world, tmp_path):
    context = SimpleNamespace(external=lambda *_: None)
    get_peft_model(tiny_llama(hidden_size=32), lora()).save_pretrained(tmp_path / "narrow")
    (tmp_path / "empty").mkdir()
    base = (str(world.folder / "base"), "")
    for place, said in (("narrow", "does not fit its base model"), ("empty", "nor the folder of a PEFT adapter")):
        with pytest.raises(InputProblem, match=said) as refused:
            adapter_to_recover(str(tmp_path / place), ["sft"], context, base)
        assert "\n" not in str(refused.value)
    assert adapter_to_recover(str(world.adapter), [], context, base) == world.adapter.resolve()


def test_a_killed_recovery_comes_to_the_weights_of_an_unbroken_one(world, tmp_path):
    def run(folder, stops_at=0):
        trainer = trainer_of(world, folder, 3)
        saved = Checkpoints(trainer, folder / "resume", {}, 0.0)
        sampled, trainer.calls = trainer._sampled, 0

        def sample(*given):
            if stops_at and trainer.state.global_step == stops_at:
                raise KeyboardInterrupt
            return sampled(*given)

        trainer._sampled = sample
        trainer.train(resume_from_checkpoint=saved.last())
        return saved.resumed_from, [part.detach().clone() for part in trainer.model.parameters() if part.requires_grad]

    _, whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 2)
    step, resumed = run(tmp_path / "killed")
    assert step == 2 and all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_general_prompts_hold_no_problem_and_no_text_that_is_measured():
    from pydoc_data.topics import topics

    problems = list(load_benchmark("humaneval").problems)
    rows, _ = general_prompts(300, 0, {"humaneval": problems})
    texts = [row["prompt"][0]["content"] for row in rows]
    assert len(set(texts)) == 300 and {row["source"] for row in rows} == {"function", "reference", "everyday"}
    measured = " ".join(" ".join(topics[name].split()) for name in TOPICS if name in topics)
    for text in (row["prompt"][0]["content"].partition("\n\n")[2] for row in rows if row["source"] == "reference"):
        assert len(text) > 40 and text not in measured
    for problem in problems:
        runs = word_runs(problem["prompt"])
        assert all(len(runs & word_runs(text)) < 5 for text in texts)
    assert texts == [row["prompt"][0]["content"] for row in general_prompts(300, 0, {"humaneval": problems})[0]]


def word_runs(text: str) -> set:
    words = text.lower().split()
    return {tuple(words[at : at + 8]) for at in range(len(words) - 7)}


def test_a_general_prompt_that_a_benchmark_asks_is_left_out():
    rows, _ = general_prompts(60, 0, {})
    asked = next(row["prompt"][0]["content"] for row in rows if row["source"] == "reference")
    planted = {"task_id": "planted/0", "prompt": asked, "kind": "answer", "canonical_solution": "yes"}
    clean, left_out = general_prompts(60, 0, {"mine": [planted]})
    assert asked not in [row["prompt"][0]["content"] for row in clean]
    assert [(match["problem"], match["prompt"]) for match in left_out] == [("planted/0", asked)]


def front(*points) -> list[dict]:
    """Rows of (point, dev problems, rise in percent, verdict of general text); base and the given adapter first."""
    points = [("base", 10, 0.0, "non-inferior"), ("given", 110, 30.0, "violation"), *points]
    return [
        {"point": name, "k": k, "gain": float(k - 10), "rise": rise, "verdicts": {"bits_per_byte": word, "mine": "inconclusive"}}
        for name, k, rise, word in points
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "limits", "point"),
    [
        ([("distil-40", 106, 2.0, "non-inferior"), ("replay-40", 110, 4.0, "non-inferior")], {}, "distil-40"),
        ([("distil-40", 104, 2.0, "non-inferior"), ("replay-40", 105, 4.0, "non-inferior")], {}, "replay-40"),
        ([("scale-0.5", 60, 1.0, "non-inferior"), ("distil-40", 110, 9.9, "inconclusive")], {}, ""),
        (
            [("distil-40", 110, 1.0, "non-inferior")],
            {"gated": ("bits_per_byte", "mine"), "benchmarks": {"mine": None}},
            "",
        ),
        ([("distil-40", 90, 1.0, "non-inferior")], {"kept_gain": 80.0}, "distil-40"),
        ([("distil-40", 90, 1.0, "violation")], {"kept_gain": 80.0, "gated": ("nothing",)}, "distil-40"),
    ],
)
def test_the_rule_names_the_point_that_meets_it_or_says_that_there_is_none(points, limits, point):
    choice = choose_point(front(*points), Retentions(**limits))
    assert choice["point"] == point and (point or "none of" in choice["why"])


def test_an_adapter_without_a_gain_and_a_gate_without_a_measure_are_said():
    rows = front(("scale-0", 10, 0.0, "non-inferior"))
    rows[1] |= {"k": 10, "gain": None}
    assert "gains nothing on dev" in choose_point(rows, Retentions())["why"]
    with pytest.raises(InputProblem, match="gated names 'bits_per_byte', which 09 did not measure"):
        choose_point([row | {"verdicts": {}} for row in front()], Retentions())
    with pytest.raises(InputProblem, match="gated names 'other', which 09 does not measure"):
        Retentions(gated=("other",))  # said before both trainings, not after them


def test_every_point_is_measured_against_base_and_none_leaves_the_given_adapter(world, tmp_path):
    """The whole way with a yardstick of known answers: gain, rise and verdict are theirs, the distance is measured."""

    class Known(Yardstick):
        def score(self, engine, folder, context):
            return {"k": {"base": 2, "given": 12, "scale-0": 2}[folder.parent.name], "n": 20}

        def general_text(self, engine, before, path):
            bits = 130.0 if path.parent.name == "given" else 100.0
            texts = [{"name": str(at), "bytes": 100, "bits": bits + at} for at in range(8)]
            return {"documents": texts, "kl": {"nats_per_token": 1.5} if before else None}

    base = BaseModel(world.source, CPU, tokenizer(), 3)
    points = {"given": world.adapter, "scale-0": scaled(world.adapter, 0.0, tmp_path / "scaled")}
    context, limits = SimpleNamespace(folder=tmp_path), Retentions()
    yardstick = Known([{"task_id": "0"}], SimpleNamespace(seed=0))
    first, given, nothing = measure_front(base, points, yardstick, limits, PROMPTS, context)
    assert (first["k"], given["k"], given["gain"], nothing["gain"]) == (2, 12, 100.0, 0.0)
    assert given["rise"] == pytest.approx(29.0, abs=0.1) and given["verdicts"] == {"bits_per_byte": "violation"}
    assert given["general_kl"] > 0.1 and nothing["general_kl"] == pytest.approx(0.0, abs=1e-4)
    choice = keep_point([first, given, nothing], points, limits, context)
    assert (choice["point"], choice["kept"]) == ("", "given")
    kept, was = (load_file(one / "adapter_model.safetensors") for one in (tmp_path / "adapter", world.adapter))
    assert kept.keys() == was.keys() and all(torch.equal(kept[name], was[name]) for name in was)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_a_study_without_dev_is_told_before_anything_is_measured(world, tmp_path):
    base = BaseModel(world.source, CPU, tokenizer(), 3)
    with pytest.raises(InputProblem, match="09_recover chooses on dev"):
        measure_front(base, {}, Yardstick([], SimpleNamespace(seed=0)), Retentions(), PROMPTS, None)
    unread = Yardstick([{"task_id": "a"}], SimpleNamespace(seed=0), general_documents=0)
    with pytest.raises(InputProblem, match="general_documents is 0, and bits_per_byte is gated"):
        Retentions().require(unread)
    Retentions(gated=("nothing",)).require(unread)


def test_a_study_of_many_rows_gets_the_general_prompts_that_there_are():
    """13,000 rows rehearse more answers than one Python has prompts: 02 must not stop for that."""
    rows, _ = general_prompts(5000, 0, {})
    assert 500 < len(rows) < 5000 and len({row["prompt"][0]["content"] for row in rows}) == len(rows)
