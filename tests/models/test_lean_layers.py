"""The layers' own forward and backward pass against transformers' and PEFT's, family by family."""

from __future__ import annotations

import contextlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_models import tiny_llama
from tunebook.models.lean_layers import use_lean_layers
from tunebook.training.short_forward import LogProbs

LENGTHS = (5, 9, 3)
FAMILIES = {
    "llama": {},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama3": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
}  # fmt: skip


def model_of(family: str, attention: str = "eager", dtype: torch.dtype = torch.float32, **lora):
    """A random model with a random adapter, the same at each call."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "head_dim": 16, "vocab_size": 100}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
    config = AutoConfig.for_model(family.split()[0].replace("llama3", "llama"), **sizes, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False} | lora
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).train()
    for weights in model.parameters():
        weights.data = weights.data.float() if weights.requires_grad else weights.data.to(dtype)
    return model


def batches() -> dict[str, dict]:
    ids = torch.randint(1, 100, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    rows = torch.randint(1, 100, (3, 9), generator=torch.Generator().manual_seed(2))
    right = torch.arange(9)[None] < torch.tensor(LENGTHS)[:, None]
    return {
        "side by side": {"input_ids": ids, "position_ids": places},
        "one row": {"input_ids": rows[:1]},
        "rows of one length": {"input_ids": rows},
        "padded on the right": {"input_ids": rows, "attention_mask": right.long()},
        "padded on the left": {"input_ids": rows, "attention_mask": right.flip(1).long()},
        "one row padded on the left": {"input_ids": rows[:1], "attention_mask": right[:1].flip(1).long()},
    }


def outcome(model, batch: dict) -> list[torch.Tensor]:
    """Logits where a token stands, and the gradients of all adapters."""
    logits = model(**batch, use_cache=False).logits
    logits = logits[batch["attention_mask"].bool()] if "attention_mask" in batch else logits.flatten(0, 1)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    if not logits.requires_grad:
        return [logits]
    return [logits, *torch.autograd.grad(logits.float().logsumexp(-1).square().sum(), trained, allow_unused=True)]


def assert_same(model, theirs: list, batch: dict, tolerance: float = 2e-5) -> None:
    for found, expected in zip(outcome(model, batch), theirs, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_libraries(family, attention):
    theirs, ours = model_of(family, attention), model_of(family, attention)
    assert use_lean_layers(ours) == 2
    for batch in batches().values():
        assert_same(ours, outcome(theirs, batch), batch)
    assert len(outcome(ours, batch)) == 1 + 2 * 7 * 2  # logits, then A and B of seven products in two layers


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["k_proj", "down_proj"], "layers_to_transform": [1]},
        {"use_rslora": True, "rank_pattern": {"up_proj": 2}, "alpha_pattern": {"o_proj": 1}},
    ],
)
def test_any_choice_of_plain_adapters_is_the_libraries_own(lora):
    theirs, ours = model_of("llama", **lora), model_of("llama", **lora)
    assert use_lean_layers(ours) == 2
    for batch in batches().values():
        assert_same(ours, outcome(theirs, batch), batch)


@pytest.mark.parametrize("state", ["off", "other", "both", "merged", "checkpointed", "autocast"])
def test_what_a_trainer_does_with_adapters_stays_as_it_was(state):
    """Switched off, changed, several at once, merged into the weights, recomputed, in mixed precision."""
    found, batch = [], batches()["side by side"]
    for is_lean in (False, True):
        model = model_of("llama")
        model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False))
        assert not is_lean or use_lean_layers(model) == 2
        plain = outcome(model, batch)[0]
        if state == "other":
            model.set_adapter("second")
        elif state == "both":
            model.base_model.set_adapter(["default", "second"])
        elif state == "merged":
            model.merge_adapter()
        elif state == "checkpointed":
            model.gradient_checkpointing_enable({"use_reentrant": False})
        about = {"off": model.disable_adapter, "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}
        with about.get(state, contextlib.nullcontext)():
            found.append(outcome(model, batch))
        changes = (found[-1][0] - plain).abs().max() > 1e-3
        assert changes == (state in ("off", "other", "both", "autocast"))
    for ours, theirs in zip(*found[::-1], strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_half_precision_is_as_near_to_float32_as_the_libraries_are():
    batch = batches()["side by side"]
    exact = outcome(model_of("llama"), batch)
    theirs, ours = (model_of("llama", dtype=torch.bfloat16) for _ in range(2))
    assert use_lean_layers(ours) == 2
    with torch.autocast("cpu", torch.bfloat16):
        apart = [
            [float((part - whole).norm() / whole.norm()) for part, whole in zip(outcome(model, batch), exact, strict=True)]
            for model in (theirs, ours)
        ]  # fmt: skip
    assert max(apart[1]) < 0.1 and sum(apart[1]) < 1.2 * sum(apart[0])


@pytest.mark.parametrize(
    "lora", [{"use_dora": True}, {"lora_dropout": 0.1}, {"lora_bias": True}, {"modules_to_save": ["input_layernorm"]}]
)
def test_other_adapters_keep_the_libraries_path(lora):
    assert use_lean_layers(model_of("llama", **lora)) == 0


def test_other_models_keep_the_libraries_path():
    from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 100}
    models = [Gemma2ForCausalLM(Gemma2Config(**sizes))]
    models.append(AutoModelForCausalLM.from_config(MistralConfig(**sizes, sliding_window=4)))
    models.append(tiny_llama(attention_dropout=0.1))
    for model in models:
        assert use_lean_layers(get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))) == 0
    assert use_lean_layers(tiny_llama()) == 0  # all weights are trained


def test_rows_side_by_side_are_taken_apart_only_where_the_mask_does_so():
    """Positions that begin again inside one row are no rows: the mask says who sees whom."""
    batch = batches()["side by side"] | {"attention_mask": torch.ones(1, sum(LENGTHS), dtype=torch.long)}
    theirs, ours = model_of("llama"), model_of("llama")
    use_lean_layers(ours)
    assert_same(ours, outcome(theirs, batch), batch)


@pytest.mark.parametrize("n", [0, 1, 40])
def test_log_probabilities_and_their_gradient_are_torchs_own(n):
    torch.manual_seed(0)
    logits, targets = (torch.randn(n, 50) * 5).requires_grad_(), torch.randint(50, (n,))
    weights = torch.randn(n)
    expected = torch.log_softmax(logits / 0.7, -1)
    theirs = torch.autograd.grad((expected.gather(1, targets[:, None])[:, 0] * weights).sum(), logits)[0]
    logps, entropy, hits, means = LogProbs.apply(logits, targets, 0.7)
    ours = torch.autograd.grad((logps * weights).sum(), logits)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(logps, expected.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-5)
    assert torch.equal(hits, logits.argmax(-1) == targets)
    assert torch.allclose(means, (logits / 0.7).mean(-1), atol=1e-5)
