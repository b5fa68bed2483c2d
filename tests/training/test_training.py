"""The fast path trains the same as TRL's own: losses and gradients in float32 on a tiny model."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from tiny_models import tiny_llama, tokenizer
from tiny_training import ROWS, dpo, kto, sft
from tunebook.errors import InputProblem
from tunebook.models.device import Machine, Placement, choose_placement
from tunebook.models.loading import BaseModel
from tunebook.models.source import ModelSource, resolve_model
from tunebook.models.templates import render_prompt
from tunebook.training.checkpoints import KeepAdapters, choose_checkpoint
from tunebook.training.dataset import tokenised
from tunebook.training.rehearsal import interleave, own_texts
from tunebook.training.settings import (
    keep_trainable_in_float32,
    machine_settings,
    row_layout,
    save_adapter,
    student_settings,
)
from tunebook.training.short_forward import use_compact_head


def trained(trainer) -> tuple[list[float], torch.Tensor]:
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    weights = [value.detach().flatten() for value in trainer.model.parameters() if value.requires_grad]
    return losses, torch.cat(weights)


@pytest.mark.parametrize("build", [sft, dpo, kto])
def test_the_compact_head_trains_the_same_weights(tmp_path, build):
    """Scoring only the trained tokens must not change what is learned: losses, metrics and updated weights agree."""
    plain_losses, plain = trained(build(tmp_path, False))
    losses, weights = trained(build(tmp_path, True))
    assert len(losses) == 2 and losses != [0.0, 0.0]
    assert losses == pytest.approx(plain_losses, rel=1e-4)
    assert torch.allclose(weights, plain, rtol=1e-3, atol=1e-5)


def test_rows_side_by_side_train_the_same_weights_as_padded_rows(tmp_path):
    """A row that sees its neighbour in a flat batch, or counts its positions on from it, learns something else."""
    dataset = tokenised(ROWS, tokenizer(), 64)
    layout = row_layout(Placement("cpu", "float32", "float32", "", ""), dataset, 4, tiny_llama())
    assert layout["padding_free"]
    padded_losses, padded = trained(sft(tmp_path, False))
    losses, weights = trained(sft(tmp_path, True, **layout))
    assert losses == pytest.approx(padded_losses, rel=1e-4)
    assert torch.allclose(weights, padded, rtol=1e-3, atol=1e-5)


def test_only_short_batches_on_a_cpu_lie_flat():
    dataset = tokenised(ROWS, tokenizer(), 64)
    cpu, gpu = (Placement(device, "float32", "float32", "", "") for device in ("cpu", "cuda"))
    assert not row_layout(gpu, dataset, 4, tiny_llama())["padding_free"]
    assert not row_layout(cpu, dataset, 512, tiny_llama())["padding_free"]


def test_a_head_of_several_layers_is_refused_before_it_learns_something_else():
    """Ettin's logits pass a dense layer and a norm first: TRL's loss head leaves both out, as the compact one did."""
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    sizes = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    ids = {"num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "cls_token_id": 1}
    model = ModernBertDecoderForCausalLM(ModernBertDecoderConfig(**sizes, **ids, sep_token_id=2))
    with pytest.raises(InputProblem, match="logits of ModernBertDecoderForCausalLM.*use another model"):
        use_compact_head(SimpleNamespace(model=model))
    assert use_compact_head(SimpleNamespace(model=tiny_llama()))


def test_gradients_equal_those_of_the_plain_head(tmp_path):
    gradients = []
    for is_compact in (False, True):
        trainer = sft(tmp_path, is_compact)
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.compute_loss(trainer.model, batch).backward()
        found = [weights.grad.flatten() for weights in trainer.model.parameters() if weights.grad is not None]
        gradients.append(torch.cat(found))
    largest = gradients[0].abs().max()
    assert largest > 1e-4
    # each is 2e-6 to 3e-6 of it away from the gradients in float64
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-5 * largest


def test_accumulated_small_batches_equal_one_large(tmp_path):
    """A loss averaged batch by batch would weigh short answers more."""
    one, large = trained(sft(tmp_path, True, per_device_train_batch_size=8, max_steps=1))
    eight, small = trained(
        sft(tmp_path, True, per_device_train_batch_size=1, gradient_accumulation_steps=8, max_steps=1)
    )
    assert one == pytest.approx(eight, rel=1e-4)
    assert torch.allclose(large, small, rtol=1e-3, atol=1e-5)


def test_rows_keep_only_the_answer_as_labels():
    spoken = tokenizer()
    row = tokenised(ROWS[:1], spoken, 64)[0]
    assert spoken.decode([label for label in row["labels"] if label != -100]) == "0 12 * * *<|im_end|>"


def test_texts_of_bases_own_are_trained_but_for_what_is_given_and_depend_on_the_seed_alone(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    source, cpu = resolve_model(str(tmp_path)), Placement("cpu", "float32", "float32", "", "test")

    base, context = BaseModel(source, cpu, tokenizer(), 3), SimpleNamespace(progress=lambda *_: None)

    def write(seed):
        return own_texts(base, 6, [], 5, seed, context)

    texts = write(0)
    assert texts == write(0) != write(1) and 1 <= len(texts) <= 6
    for row in texts:
        assert row["labels"][0] == -100 and row["labels"][1:] == row["input_ids"][1:] and len(row["labels"]) <= 6
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in ("name a fruit", "is ice cold?")]
    asked = [render_prompt(base.tokenizer, row["prompt"]) for row in prompts]
    mixed = own_texts(base, 6, prompts, 5, 0, context)
    answers = [row for row in mixed if len(row["input_ids"]) > 6]
    assert sorted(row["input_ids"][: row["labels"].count(-100)] for row in answers) == sorted(asked)
    assert all(
        row["labels"][row["labels"].count(-100) :] == row["input_ids"][row["labels"].count(-100) :] for row in answers
    )
    assert len(mixed) - len(answers) <= 4 and mixed == own_texts(base, 6, prompts, 5, 0, context)


@pytest.mark.parametrize(
    ("n", "n_texts", "size", "n_batches"), [(10, 4, 2, 2), (7, 3, 2, 1), (5, 0, 2, 0), (350, 28, 2, 14)]
)
def test_texts_lie_in_batches_of_their_own_evenly_among_the_rows(n, n_texts, size, n_batches):
    """A step whose kind is wrong would put the loss of general text into the learning curve."""
    rows = Dataset.from_list([{"input_ids": [at], "labels": [at]} for at in range(n)])
    texts = [{"input_ids": [-1 - at], "labels": [-1 - at]} for at in range(n_texts)]
    whole, kinds = interleave(rows, texts, size, 0)
    ids = [row[0] for row in whole["input_ids"]]
    found = ["texts" if ids[at * size] < 0 else "rows" for at in range(len(kinds))]
    assert found == kinds and kinds.count("texts") == n_batches and len(kinds) == -(-len(ids) // size)
    assert sorted(at for at in ids if at >= 0) == list(range(n)), "every row once"
    gaps = [b - a for a, b in itertools.pairwise(at for at, kind in enumerate(kinds) if kind == "texts")]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_row_without_a_trained_token_is_named():
    """TRL drops such rows without a word."""
    with pytest.raises(InputProblem, match="row 0: its prompt alone fills max_length 8"):
        tokenised(ROWS, tokenizer(), 8)


def test_adapters_are_kept_at_even_distances_and_differ(tmp_path):
    trainer = sft(tmp_path, True)
    keep = KeepAdapters(2, tmp_path / "adapters", tmp_path / "resume", ModelSource("tiny", "1", tmp_path, "0" * 64))
    trainer.add_callback(keep)
    trainer.train()
    last = trainer.state.max_steps
    assert list(keep.folders) == [round(last / 2), last]
    weights = [load_file(folder / "adapter_model.safetensors") for folder in keep.folders.values()]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


POINTS = [(10, 40, 0.5), (20, 60, 4.0), (30, 60, 6.0), (40, 66, 9.0), (50, 70, 25.0)]


@pytest.mark.parametrize(
    ("allowed", "step", "said"), [(10.0, 40, "most on dev"), (5.0, 20, "most on dev"), (0.1, 50, "no checkpoint")]
)
def test_the_checkpoint_that_meets_the_specification_is_kept_and_not_the_last(allowed, step, said):
    rows = [{"step": s, "k": k, "n": 80, "rise": rise, "kl": rise / 50} for s, k, rise in POINTS]
    kept, reason = choose_checkpoint(rows, allowed)
    assert kept["step"] == step and said in reason
    assert [row["step"] for row in rows if not row["on_front"]] == [30], "another solves as much and forgets less"


def test_where_no_text_was_read_dev_alone_decides_and_the_earlier_wins():
    rows = [{"step": s, "k": k, "n": 80, "rise": None, "kl": None} for s, k in ((10, 40), (20, 60), (30, 60))]
    assert choose_checkpoint(rows, 10.0)[0]["step"] == 20


# What the choice says for a T4, carried out on the CPU.
T4 = replace(choose_placement(Machine(cuda_capability=(7, 5), cuda_name="T4")), device="cpu")


def in_float16(trainer, is_kept: bool = True):
    """The trainer with half-precision weights, float16 autocast and a loss scaler, which accelerate keeps for GPUs."""
    trainer.model.half()
    if is_kept:
        keep_trainable_in_float32(trainer.model)
    trainer.accelerator.native_amp, trainer.accelerator.scaler = True, torch.amp.GradScaler("cpu", init_scale=2.0**24)
    return trainer


def test_float16_with_a_loss_scaler_trains_as_float32_does(tmp_path):
    """A T4 computes in float16: a step whose gradients overflow is skipped, the others move the float32 adapters."""
    few = {"max_steps": 3, "per_device_train_batch_size": 1}
    trainer = in_float16(sft(tmp_path, True, **machine_settings(T4), **few))
    losses, weights = trained(trainer)
    plain, moved = trained(sft(tmp_path, True, **few))
    assert torch.isfinite(weights).all() and weights.dtype == torch.float32 and not torch.equal(weights, moved)
    assert losses[0] == pytest.approx(plain[0], rel=0.01)
    assert trainer.accelerator.scaler.get_scale() < 2.0**24, "a scale that overflows is halved, and its step skipped"


def test_half_precision_adapters_stop_at_the_scaler(tmp_path):
    few = {"max_steps": 1, "per_device_train_batch_size": 1}
    with pytest.raises(ValueError, match="unscale FP16 gradients"):
        in_float16(sft(tmp_path, True, **machine_settings(T4), **few), is_kept=False).train()


BF16 = choose_placement(Machine(frozenset({"avx512_bf16"})))  # what the choice says for a CPU that multiplies bfloat16


def test_bfloat16_on_a_cpu_trains_and_saves_float32_adapters(tmp_path):
    """Here it is emulated: slow, and the same numbers. The frozen weights are bfloat16, what is trained never is."""
    few = {"max_steps": 3, "per_device_train_batch_size": 1}
    assert student_settings(BF16, False)["dtype"] == torch.bfloat16 and machine_settings(BF16)["bf16"]
    trainer = sft(tmp_path, True, **few | machine_settings(BF16))
    for weights in trainer.model.parameters():
        weights.data = weights.data if weights.requires_grad else weights.data.bfloat16()
    assert keep_trainable_in_float32(trainer.model) == sum(w.numel() for w in lora_weights(trainer.model).values())
    losses, moved = trained(trainer)
    plain, wanted = trained(sft(tmp_path, True, **few))
    assert losses == pytest.approx(plain, rel=0.02) and moved.dtype == torch.float32
    assert torch.cosine_similarity(moved, wanted, dim=0) > 0.99
    save_adapter(trainer.model, tmp_path / "adapter", ModelSource("tiny", "1", tmp_path, "0" * 64))
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {weights.dtype for weights in saved.values()} == {torch.float32}
    assert all(torch.equal(saved[name.replace(".default", "")], w) for name, w in lora_weights(trainer.model).items())


def lora_weights(model) -> dict[str, torch.Tensor]:
    return {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
