"""Generation with a full batch gives the texts that transformers' own `generate` gives."""

import random

import pytest
import torch

from tiny_models import tiny_llama
from tunebook.errors import InputProblem
from tunebook.models.engine import Decoding
from tunebook.models.generate import _lock_step, choose_tokens, generate
from tunebook.models.slots import fits


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture(scope="module")
def prompts():
    draw = random.Random(7)
    shared = [1, 50, 60]
    return [shared + [draw.randrange(5, 49000) for _ in range(draw.randrange(1, 40))] for _ in range(9)]


def completed(results) -> dict[int, tuple]:
    found = {}
    for done in results:
        assert done.index not in found, "completed twice"
        found[done.index] = (done.ids, done.finish_reason)
    return found


@pytest.mark.parametrize("slots", [1, 4, 32])
def test_greedy_texts_equal_transformers(model, prompts, slots):
    """Rows that enter late, leave early or share a prefix must not change a neighbour's text."""
    expected = completed(_lock_step(tiny_llama(), prompts, {2}, Decoding(12), 32))
    stops = {2, *(ids[at] for at, (ids, _) in enumerate(expected.values()) if at % 3 == 0 and len(ids) > at)}
    expected = completed(_lock_step(tiny_llama(), prompts, stops, Decoding(12), 5))
    assert {reason for _, reason in expected.values()} == {"stop", "length"}
    assert completed(generate(model, prompts, stops, Decoding(12), slots)) == expected


def test_a_sampled_text_does_not_depend_on_its_neighbours(model, prompts):
    decoding = Decoding(12, temperature=1.0, top_p=0.9, seed=3)
    wide = completed(generate(model, prompts, {2}, decoding, 32))
    assert completed(generate(model, prompts, {2}, decoding, 3)) == wide
    assert completed(generate(model, prompts, {2}, Decoding(12, 1.0, 0.9, seed=4), 32)) != wide


def test_the_nucleus_keeps_the_smallest_set_that_reaches_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(400, 1)
    streams = [random.Random(at) for at in range(400)]
    drawn = choose_tokens(logits, Decoding(temperature=1.0, top_p=0.7), streams)
    assert set(drawn) == {0, 1}
    assert 200 < drawn.count(0) < 300  # 0.5 / 0.8 of 400 is 250


def test_a_prompt_longer_than_the_context_is_refused(model):
    with pytest.raises(InputProblem, match="context of 512"):
        list(generate(model, [[5] * 500], {2}, Decoding(20)))


def test_models_with_windows_take_transformers_path(prompts):
    """The slot cache shows every row its full past, which is wrong for a model that attends to a window."""
    from transformers import MistralConfig, MistralForCausalLM

    same = tiny_llama().config
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    config = MistralConfig(**{name: getattr(same, name) for name in names}, head_dim=16, sliding_window=8)
    torch.manual_seed(0)
    windowed = MistralForCausalLM(config).eval()
    short = [[token % 30000 for token in prompt] for prompt in prompts]
    assert not fits(windowed.config)
    found = completed(generate(windowed, short, {2}, Decoding(6)))
    assert windowed.config._attn_implementation != "tunebook_grouped"
    assert found == completed(_lock_step(windowed, short, {2}, Decoding(6), 32))


def test_nothing_to_complete_gives_nothing(model):
    assert list(generate(model, [], {2}, Decoding())) == []
