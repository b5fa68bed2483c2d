"""Generation with a full batch gives the texts that transformers' own `generate` gives."""

import random
import warnings

import pytest
import torch

from tiny_models import tiny_llama
from tunebook.errors import InputProblem
from tunebook.models import decoder
from tunebook.models.decoder import STEP, fits
from tunebook.models.engine import Decoding
from tunebook.models.generate import NUCLEUS_TOKENS, choose_tokens, generate, lock_step


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
    expected = completed(lock_step(tiny_llama(), prompts, {2}, Decoding(12), 32))
    stops = {2, *(ids[at] for at, (ids, _) in enumerate(expected.values()) if at % 3 == 0 and len(ids) > at)}
    expected = completed(lock_step(tiny_llama(), prompts, stops, Decoding(12), 5))
    assert {reason for _, reason in expected.values()} == {"stop", "length"}
    assert completed(generate(model, prompts, stops, Decoding(12), slots)) == expected


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_log_probability_is_that_of_the_whole_answer_its_stop_token_included(model, prompts, temperature):
    """At temperature 1 whatever the tokens were drawn at, and the same alone as in a batch."""
    greedy = next(generate(model, prompts[:1], {2}, Decoding(12)))
    stops = set(range(0, 49152, 10)) if temperature else {2, greedy.ids[4]}
    done = list(generate(model, prompts, stops, Decoding(12, temperature, seed=1), 4))
    assert {"stop", "length"} == {one.finish_reason for one in done}
    for one in done:
        ids = prompts[one.index] + one.ids + ([one.end] if one.end is not None else [])
        start = len(prompts[one.index]) - 1
        with torch.inference_mode():
            logits = tiny_llama()(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        nats = sum(float(logits[at, ids[at + 1]]) for at in range(start, len(ids) - 1))
        assert one.logp == pytest.approx(nats, abs=2e-3)


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


def test_a_draw_takes_each_token_as_often_as_it_is_likely():
    """With the whole mass, with a nucleus wider than what is sorted first, and never a token without a chance."""
    shares = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2])
    streams = [random.Random(at) for at in range(2000)]
    drawn = choose_tokens(shares.log().repeat(2000, 1), Decoding(temperature=1.0), streams)
    assert set(drawn) == {1, 3, 4}
    assert abs(drawn.count(1) - 1000) < 100 and abs(drawn.count(3) - 600) < 100
    flat = torch.zeros(400, 4 * NUCLEUS_TOKENS)
    drawn = choose_tokens(flat, Decoding(temperature=1.0, top_p=0.75), streams[:400])
    assert len(set(drawn)) > 300 and len({token // NUCLEUS_TOKENS for token in drawn}) >= 3


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
    assert found == completed(lock_step(windowed, short, {2}, Decoding(6), 32))


def small(family: str):
    """A random model of another family, with what its attention adds: biases (Qwen2), norms of queries and keys
    (Qwen3).
    """
    import transformers

    same = tiny_llama().config
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    sizes = {name: getattr(same, name) for name in (*names, "vocab_size", "head_dim")}
    if family != "Llama":
        sizes["sliding_window"] = None
    config = getattr(transformers, f"{family}Config")(**sizes, eos_token_id=2, pad_token_id=2)
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for name, weights in model.named_parameters():
        if "layernorm" not in name:
            weights.data.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Mistral"])
def test_other_families_get_their_own_texts(prompts, family):
    """A bias or a norm that the lean pass forgets gives fluent, wrong texts."""
    model = small(family)
    assert fits(model.config)
    expected = completed(lock_step(model, prompts, {2}, Decoding(12), 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert completed(generate(model, prompts, {2}, Decoding(12), 4)) == expected


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
def test_a_model_too_large_for_a_second_layout_gets_the_same_texts(prompts, family, monkeypatch):
    """Above that size, and on a GPU, a second copy of the weights may not fit: the modules' own are used."""
    monkeypatch.setattr(decoder, "PACKED_BYTES", 0)
    model = small(family)
    expected = completed(lock_step(model, prompts, {2}, Decoding(12), 32))
    assert completed(generate(model, prompts, {2}, Decoding(12), 4)) == expected


def test_a_model_that_only_looks_like_a_llama_takes_transformers_path(prompts):
    """The lean pass proves itself on the model at hand: here the layers do something that no config tells."""
    model = tiny_llama()
    mlp = model.model.layers[0].mlp
    plain = mlp.forward
    mlp.forward = lambda states: 2 * plain(states)
    with pytest.warns(UserWarning, match="differs"):
        found = completed(generate(model, prompts, {2}, Decoding(6)))
    assert found == completed(lock_step(model, prompts, {2}, Decoding(6), 32))


@pytest.mark.parametrize("decoding", [Decoding(12), Decoding(12, temperature=1.0, top_p=0.9, seed=3)])
def test_rows_completed_later_get_the_texts_of_one_unbroken_run(model, prompts, decoding):
    """A resumed evaluation must not differ from one that was not killed, sampled or greedy."""
    whole = completed(generate(model, prompts, {2}, decoding, 4))
    parts = [
        completed(generate(model, prompts, {2}, decoding, 4, only=places)) for places in ([7, 0, 3], [1, 2, 4, 5, 6, 8])
    ]
    assert parts[0] | parts[1] == whole
    assert completed(generate(model, prompts, {2}, decoding, only=[])) == {}


@pytest.mark.parametrize("decoding", [Decoding(6), Decoding(6, temperature=1.0, seed=3)])
def test_transformers_path_completes_the_rest_of_a_killed_run_alike(model, prompts, decoding):
    """Its batches share one stream, so they stay those of the whole run."""
    whole = completed(lock_step(model, prompts, {2}, decoding, 3))
    parts = [completed(lock_step(model, prompts, {2}, decoding, 3, only)) for only in ([7, 0, 3], [1, 2, 4, 5, 6, 8])]
    assert parts[0] | parts[1] == whole


def test_rows_outgrow_the_room_of_their_group(model):
    """Room grows by blocks of tokens: a row that crosses the edge keeps what it wrote before."""
    prompts = [[1, 60], [1, 70, 80]]
    found = completed(generate(model, prompts, {2}, Decoding(150), 2))
    assert found == completed(lock_step(tiny_llama(), prompts, {2}, Decoding(150), 2))
    assert max(len(ids) for ids, _ in found.values()) > 2 * STEP


def test_bfloat16_and_prompts_of_one_token(model):
    """One token leaves nothing to read before the first step."""
    half = tiny_llama().to(torch.bfloat16)
    found = completed(generate(half, [[5], [5], [9, 4]], {2}, Decoding(4), 2))
    assert found[0] == found[1] and set(found) == {0, 1, 2}


def test_nothing_to_complete_gives_nothing(model):
    assert list(generate(model, [], {2}, Decoding())) == []
