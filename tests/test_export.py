"""The exported file speaks the tokens that were trained, and a broken one is noticed."""

import random

import numpy
import pytest

from tiny_models import tiny_llama, tokenizer
from tunebook.errors import InputProblem
from tunebook.export.convert import convert_to_gguf, quantise, save_merged, tensor_types
from tunebook.export.parity import compare_tokens, smallest_that_holds
from tunebook.models.engine import Decoding, TransformersEngine
from tunebook.models.gguf_engine import GgufModel, choose

CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("every day at noon", "Mon-Fri 22:00", "été à 5h")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    save_merged(tiny_llama(), tokenizer(), folder / "merged")
    return convert_to_gguf(folder / "merged", folder / "model-f16.gguf")


@pytest.fixture
def opened(exported):
    model = GgufModel(exported, slots=4)
    yield model
    model.close()


def test_both_engines_read_the_same_tokens(opened):
    found = compare_tokens(tokenizer(), opened, CONVERSATIONS)
    assert found["n"] > len(CONVERSATIONS)
    assert (found["same_text"], found["same_ids"], found["first_difference"]) == (found["n"], found["n"], "")


def test_another_template_is_noticed(opened):
    """The most frequent reason why an exported model behaves differently."""
    found = compare_tokens(tokenizer("model"), opened, CONVERSATIONS)
    assert found["same_text"] < found["n"] and "You are a helpful AI assistant" in found["first_difference"]


def test_many_sequences_give_the_texts_of_one(opened):
    prompts = [opened.encode(messages) for messages in CONVERSATIONS * 3]
    alone = [next(opened.generate([prompt], Decoding(8))).ids for prompt in prompts]
    together = {done.index: done.ids for done in opened.generate(prompts, Decoding(8))}
    assert [together[at] for at in range(len(prompts))] == alone


def test_greedy_texts_agree_with_transformers(opened):
    engine = TransformersEngine(tiny_llama(), tokenizer(), slots=4)
    prompts = [engine.encode(messages) for messages in CONVERSATIONS]
    ours = {done.index: done.ids for done in engine.generate(prompts, Decoding(6))}
    theirs = {done.index: done.ids for done in opened.generate(prompts, Decoding(6))}
    assert ours == theirs


def test_the_end_of_turn_of_training_stops_generation(opened):
    assert tokenizer().eos_token_id in opened.stops


def test_sampling_has_a_stream_of_its_own_for_every_row(opened):
    prompts = [opened.encode(messages) for messages in CONVERSATIONS]
    decoding = Decoding(6, temperature=1.0, seed=3)
    first, again = ({one.index: one.ids for one in opened.generate(prompts, decoding)} for _ in range(2))
    other = {one.index: one.ids for one in opened.generate(prompts, Decoding(6, temperature=1.0, seed=4))}
    assert first == again != other


def test_only_the_nucleus_is_drawn_from():
    logits = numpy.log(numpy.array([[0.1, 0.6, 0.3]], numpy.float32))
    drawn = {choose(logits, Decoding(1, temperature=1.0, top_p=0.8), [random.Random(seed)])[0] for seed in range(200)}
    assert drawn == {1, 2}
    assert choose(logits, Decoding(1, temperature=1.0, top_p=0.5), [random.Random(9)]) == [1]


def test_quantising_reports_what_is_in_the_file(exported, tmp_path):
    """A width of 64 takes no K-quants: the name q4_k_m alone would promise too much."""
    path = quantise(exported, tmp_path / "model-q4_k_m.gguf", "q4_k_m")
    types = tensor_types(path)
    assert sum(types.values()) == sum(tensor_types(exported).values())
    assert "Q4_K" not in types and types != tensor_types(exported)


def test_an_unknown_type_is_refused_and_leaves_nothing(exported, tmp_path):
    with pytest.raises(InputProblem, match="'q4_k_xxl' is no type"):
        quantise(exported, tmp_path / "model.gguf", "q4_k_xxl")
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_architecture_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "config.json").write_text(
        '{"architectures": ["MadeUpForCausalLM"], "model_type": "made_up"}'
    )
    with pytest.raises(InputProblem, match="the converter refused merged: .*MadeUpForCausalLM"):
        convert_to_gguf(tmp_path / "merged", tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_the_smallest_type_that_holds_ships():
    rows = [
        {"type": kind, "bytes": size, "k": k, "n": 100}
        for kind, size, k in [("f16", 9, 90), ("q8_0", 5, 89), ("q4_k_m", 3, 80)]
    ]
    assert smallest_that_holds(rows, 2.0)["type"] == "q8_0"
    assert smallest_that_holds(rows, 15.0)["type"] == "q4_k_m"
    assert smallest_that_holds(rows, 0.0)["type"] == "f16"
    assert "80.0 points on dev, needs 90.0" in rows[2]["why"]
