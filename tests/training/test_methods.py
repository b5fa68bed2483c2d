"""Every method trains, is saved, and comes back as the model that was trained; what a person sets is judged aloud."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from tiny_models import tiny_llama, tokenizer
from tiny_training import PAIRS, ROWS, full, settings, sft
from tunebook.data.row_types import demonstrations
from tunebook.errors import InputProblem
from tunebook.evaluation.protocol import Asking
from tunebook.export.merge import merge_to_folder, read_deltas
from tunebook.files import read_json
from tunebook.models.device import Placement
from tunebook.models.inspect import inspect
from tunebook.models.loading import BaseModel, difference, load_model, probe
from tunebook.models.source import resolve_model
from tunebook.training import advice
from tunebook.training.dataset import preference_dataset, tokenised
from tunebook.training.preferences import choose_method
from tunebook.training.sampling import answers_before_and_after
from tunebook.training.settings import reporting, save_adapter, student_settings
from tunebook.training.watch import Watch, Watching

CPU = Placement("cpu", "float32", "float32", "", "test")
GPU = Placement("cuda", "float16", "float32", "float16", "test")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The tiny model as a published folder: config, weights, tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tiny_llama().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return resolve_model(str(folder))


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "full"])
def test_what_was_trained_is_what_is_scored_and_exported(tmp_path, source, method):
    trainer = sft(tmp_path, True, method=method)
    trainer.train()
    save_adapter(trainer.model, tmp_path / "adapter", source, tokenizer())
    wanted = probe(trainer.model)
    assert (wanted - probe(load_model(source, CPU))).abs().max() > 1e-2, "it learned"
    assert torch.allclose(probe(load_model(source, CPU, tmp_path / "adapter")), wanted, rtol=1e-3, atol=1e-3)
    merged = merge_to_folder(source, tmp_path / "adapter", tokenizer(), tmp_path / "merged")
    exported = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    whole = trainer.model.merge_and_unload() if hasattr(trainer.model, "merge_and_unload") else trainer.model
    for weight in whole.parameters():
        weight.data = weight.data.half().float() if weight.dim() > 1 else weight.data  # norms stay as they are
    assert difference(probe(exported), probe(whole)) < 1e-4, "the same weights, rounded as the file's are"


def test_models_that_are_loaded_side_by_side_keep_their_tied_weights(source):
    """05 merges base and adapters in threads; transformers, which patches torch meanwhile, lost the head of most."""
    with ThreadPoolExecutor(4) as pool:
        loaded = [pool.submit(load_model, source, CPU) for _ in range(12)]
    heads = [one.result().get_output_embeddings().weight for one in loaded]
    assert len(heads) == 12 and all(torch.equal(head, heads[0]) for head in heads)


def test_whole_weights_are_a_model_by_themselves(tmp_path, source):
    """`tunebook inspect` opens the folder, and nobody takes it for an adapter."""
    trainer = full(tmp_path, True)
    trainer.train()
    save_adapter(trainer.model, tmp_path / "adapter", source, tokenizer())
    assert read_json(tmp_path / "adapter" / "config.json") == read_json(source.folder / "config.json")
    found = inspect(str(tmp_path / "adapter"))
    assert [finding for finding in found["findings"] if finding["severity"] == "error"] == []
    assert torch.equal(probe(load_model(resolve_model(str(tmp_path / "adapter")), CPU)), probe(trainer.model))
    with pytest.raises(InputProblem, match="whole weights.*serve the merged file"):
        read_deltas(tmp_path / "adapter")


def test_preferences_go_on_with_all_weights_and_are_watched_against_base(tmp_path, source):
    trainer = full(tmp_path, True)
    trainer.train()
    save_adapter(trainer.model, tmp_path / "adapter", source, tokenizer())
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter", **student_settings(CPU, True))
    method = choose_method("dpo", is_full=True)
    assert method.learning_rate == pytest.approx(choose_method("dpo").learning_rate / 10)
    options = settings(tmp_path, max_length=96, **method.settings(PAIRS))
    preferring = DPOTrainer(
        model=policy,
        args=DPOConfig(**options),
        train_dataset=preference_dataset(PAIRS),
        processing_class=tokenizer(),
    )
    base = BaseModel(source, CPU, tokenizer(), 4)
    watch = Watch(preferring, list(demonstrations(ROWS)), tokenizer(), Watching(1, 1, 4), base)
    preferring.train()
    assert preferring.state.log_history[0]["kl"] > 1e-3, "before the first step it is as far from base as 02 left it"
    assert watch.verdict() == "healthy"
    assert [row["loss"] for row in preferring.state.log_history if "loss" in row][0] == pytest.approx(0.6931, abs=1e-3)


def test_answers_of_base_come_from_base_where_all_weights_were_trained(tmp_path, source):
    trainer = full(tmp_path, True, max_steps=4)
    trainer.train()
    asked = [{"prompt": "hourly", "kind": "answer"}]
    base = BaseModel(source, CPU, tokenizer(), 4)
    told = answers_before_and_after(trainer.model, base, asked, Asking(max_new_tokens=6))[0]
    with base.engine() as engine:
        plain = answers_before_and_after(engine.model, base, asked, Asking(max_new_tokens=6))[0]
    assert told["base"] == plain["trained"] != told["trained"]


@pytest.mark.parametrize(
    ("placement", "is_full", "why"),
    [(GPU, True, "cannot be trained"), (CPU, False, "no CUDA GPU"), (GPU, False, "no bitsandbytes")],
)
def test_four_bits_where_they_cannot_be_are_one_sentence(placement, is_full, why):
    with pytest.raises(InputProblem, match=f"four_bit: .*{why}.*four_bit: false"):
        student_settings(placement, is_full, True)


def test_a_reporter_that_is_not_installed_is_named_and_none_publishes(tmp_path, monkeypatch):
    assert reporting("none", tmp_path) == {"report_to": "none"}
    monkeypatch.setattr("tunebook.training.settings.find_spec", lambda name: None)
    with pytest.raises(InputProblem, match="report_to: trackio needs a package: pip install trackio"):
        reporting("trackio", tmp_path)
    monkeypatch.setattr("tunebook.training.settings.find_spec", lambda name: name)
    monkeypatch.setenv("TRACKIO_DIR", "elsewhere")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/public")  # Trackio would take it where the trainer names no Space
    told = reporting("trackio", tmp_path)
    assert told["trackio_space_id"] is None and told["trackio_static_space_id"] is False and not told["push_to_hub"]
    assert "TRACKIO_SPACE_ID" not in os.environ and os.environ["TRACKIO_DIR"] == str(tmp_path / "reports")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "none"),
        ({"lora_rank": 0, "learning_rate": 0.0}, "none"),
        ({"lora_rank": "auto", "learning_rate": "auto"}, "none"),
        ({"learning_rate": 2e-5}, "learning_rate 2e-05, advised 0.00"),
        ({"method": "full", "learning_rate": 1e-2}, "a tenth of it for all weights"),
        ({"batch_size": 32}, "rows a step 32, advised < 32"),
        ({"lora_rank": 1, "tokens": 50_000}, "lora_rank 1, advised"),
    ],
)
def test_settings_far_from_what_is_known_are_warned_about(changes, said):
    told = {"method": "lora", "lora_rank": 16, "learning_rate": 5e-3, "batch_size": 2} | changes
    dataset = {"labels": [[-100, *range(told.pop("tokens", 80))]]}
    chosen, rows = advice.advise(tiny_llama(), dataset, advice.Settings(**told))
    assert said in advice.departures(rows) and all(row["why"] for row in rows)
    assert chosen.learning_rate > 0 and (chosen.method == "full" or chosen.lora_rank > 0)


def test_three_rates_are_tried_on_held_out_rows_and_leave_no_trace(tmp_path):
    trainer = sft(tmp_path, True, eval_dataset=tokenised(ROWS, tokenizer(), 64))
    before, draws = [w.detach().clone() for w in trainer.model.parameters()], torch.get_rng_state()
    assert advice.pilot_rates(trainer, 1e-3, 1e-3) == [], "only where the rate is auto"
    rows = advice.pilot_rates(trainer, "auto", 1e-3)
    assert [row["rate"] for row in rows] == pytest.approx([1e-3 / 3, 1e-3, 3e-3])
    assert rows[2]["held_out_loss"] < rows[0]["held_out_loss"], "this tiny model wants more than the least"
    kept = [row for row in rows if row["kept"]]
    assert len(kept) == 1 and trainer.args.learning_rate == kept[0]["rate"]
    assert all(map(torch.equal, before, trainer.model.parameters())) and torch.equal(draws, torch.get_rng_state())
    assert trainer._total_train_tokens == 0
