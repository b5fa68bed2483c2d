"""The models that people bring, in the form in which their repositories ship them, through every step of the kit."""

import json

import pytest

import zoo
import zoo_matrix


@pytest.fixture(scope="module")
def split():
    with zoo_matrix.converter() as choose:
        yield choose


@pytest.mark.parametrize("name", zoo_matrix.QUICK)
def test_a_family_goes_from_rows_to_a_file_that_answers_alike(name, tmp_path, split):
    assert zoo_matrix.run(name, tmp_path, split, is_quick=True) == zoo_matrix.EXPECTED[name]


FORMS = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.*v_proj": 4}},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "trainable_tokens": {"trainable_token_indices": {"embed_tokens": [40, 41, 42]}},
    "lm_head": {"target_modules": ["q_proj", "lm_head"]},
    "embed_tokens": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_adapter_is_in_the_file(form, tmp_path, split):
    """The file of a tied model answers as the adapter on its base does, which nothing has merged."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    from tiny_models import CPU
    from tunebook.export.convert import export_files
    from tunebook.export.parity import HeldOutRows, divergence, gguf_log_probabilities, log_probabilities
    from tunebook.models.gguf_engine import GgufModel
    from tunebook.models.loading import load_model, load_tokenizer
    from tunebook.models.source import resolve_model

    folder = zoo.build("smollm2", tmp_path / "base")
    source, rows = resolve_model(str(folder)), HeldOutRows([list(range(35, 75))], [0])
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    made = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    LoraConfig(**settings | FORMS[form]))  # fmt: skip
    torch.manual_seed(0)
    for weights in made.parameters():
        if weights.requires_grad:
            weights.data += 0.3 * torch.randn_like(weights)
    made.save_pretrained(tmp_path / "adapter")
    untouched = log_probabilities(load_model(source, CPU), rows)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = log_probabilities(PeftModel.from_pretrained(plain, tmp_path / "adapter").eval(), rows)
    split(zoo.FAMILIES["smollm2"].pre)
    file = export_files(source, tmp_path / "adapter", load_tokenizer(folder, "model"), tmp_path, ["f16"])["f16"]
    engine = GgufModel(file, 1)
    found = list(gguf_log_probabilities(engine, rows))
    engine.close()
    assert divergence(expected, found)["kl_mean"] < 1e-3 < 1e-2 < divergence(untouched, found)["kl_mean"]


def test_the_readme_shows_a_run_of_the_matrix_that_went_as_expected():
    shown = zoo_matrix.README.read_text(encoding="utf-8").split(zoo_matrix.MARKS[0])[1].split(zoo_matrix.MARKS[1])[0]
    record = json.loads(zoo_matrix.RECORD.read_text(encoding="utf-8"))
    assert shown.strip() == zoo_matrix.table(record)
    assert record["families"] == {
        name: zoo_matrix.EXPECTED[name] for name in zoo.FAMILIES if name in record["families"]
    }
    works = sum(steps.get("score") == zoo_matrix.WORKS for steps in record["families"].values())
    assert works >= 14 or record["families"].keys() < zoo.FAMILIES.keys()  # a part of the run is said to be one
