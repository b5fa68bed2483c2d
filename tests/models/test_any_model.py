"""One parameter takes a folder, an adapter on its base, or a GGUF file, and what cannot be judged is one sentence."""

import json
import shutil

import pytest

from tiny_models import CPU, adapted, tiny_llama, tokenizer
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.completions import _filled_in
from tunebook.evaluation.protocol import Protocol
from tunebook.export.convert import convert_to_gguf
from tunebook.models.engine import Decoding, TransformersEngine
from tunebook.models.loading import load_model, load_tokenizer, open_engine
from tunebook.models.rendering import asked_text, measure_row
from tunebook.models.source import resolve_model
from tunebook.models.templates import CHATML

PROMPTS = [[{"role": "user", "content": text}] for text in ("every day at noon", "Mon-Fri 22:00", "été à 5h")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base folder, an adapter on it, and the base as GGUF."""
    root = tmp_path_factory.mktemp("models")
    tiny_llama().save_pretrained(root / "base")
    tokenizer().save_pretrained(root / "base")
    adapted(root / "adapter", "../base")
    convert_to_gguf(root / "base", root / "base.gguf")
    return root


def answers(name) -> list[list[int]]:
    engine = open_engine(resolve_model(str(name)), CPU, "chatml", slots=4)
    made = engine.generate([engine.encode(prompt) for prompt in PROMPTS], Decoding(6))
    return [done.ids for done in sorted(made, key=lambda done: done.index)]


def test_a_gguf_file_answers_as_its_weights_do(models):
    assert answers(models / "base.gguf") == answers(models / "base")


def test_an_adapter_is_judged_on_the_base_that_it_names(models):
    found = resolve_model(str(models / "adapter"))
    assert found.folder == models / "base" and found.adapter == models / "adapter"
    assert answers(models / "adapter") != answers(models / "base")
    assert found.sha256 != resolve_model(str(models / "base")).sha256


def test_the_tokenizer_in_a_gguf_counts_as_the_folders_does(models):
    """01 counts a row's tokens with it when the model to be judged is a GGUF file."""
    ours, theirs = load_tokenizer(models / "base", "chatml"), load_tokenizer(models / "base.gguf", "chatml")
    row = {"prompt": PROMPTS[0], "completion": [{"role": "assistant", "content": "0 12 * * *"}]}
    assert measure_row(ours)(row) == measure_row(theirs)(row)
    assert theirs.chat_template == CHATML and theirs.decode(theirs.tokenize("0 9 * * 1-5")) == "0 9 * * 1-5"
    theirs.close()


def test_every_end_is_in_the_protocol_whatever_form_the_model_has(models, tmp_path):
    """A further end in generation_config.json cuts answers short, and no text of the prompt shows it."""
    ours, theirs = load_tokenizer(models / "base", "chatml"), load_tokenizer(models / "base.gguf", "chatml")
    assert asked_text(ours) == asked_text(theirs) and asked_text(ours)[1] == "<|im_end|>"
    theirs.close()
    shutil.copytree(models / "base", tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    further = load_tokenizer(tmp_path / "base", "chatml")
    assert set(asked_text(further)) - set(asked_text(ours)) == {further.decode([5])}
    bench = from_problems("task", [{"task_id": "1", "prompt": "noon", "entry_point": "check", "kind": "answer",
    "canonical_solution": "0", "test": "def check(answer):\n    assert answer == '0'\n"}])  # fmt: skip
    hashes = {
        _filled_in(Protocol("", prompt_style=style), TransformersEngine(None, spoken), bench, []).hash
        for style in ("chat", "raw")
        for spoken in (ours, further)
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("name", "words"), [("base.gguf", "a GGUF file, which can be judged"), ("adapter", "tunebook merge")]
)
def test_training_needs_weights(models, name, words):
    with pytest.raises(InputProblem, match=words):
        resolve_model(str(models / name), needs_weights=True)


def test_an_adapter_that_does_not_fit_is_one_sentence(models, tmp_path):
    adapted(tmp_path / "wide", str(models / "base"), hidden_size=32)
    with pytest.raises(InputProblem, match=r"does not fit its base model .*is for \[32, 128\], the base model's is"):
        resolve_model(str(tmp_path / "wide"))
    adapted(tmp_path / "deep", str(models / "base"), num_hidden_layers=3)
    with pytest.raises(InputProblem, match="layers.2.*which the base model does not have"):
        resolve_model(str(tmp_path / "deep"))
    adapted(tmp_path / "lost", "no-such-base")
    with pytest.raises(InputProblem, match="'no-such-base', which cannot be had .*adapter_config.json"):
        resolve_model(str(tmp_path / "lost"))


def poison(folder, name: str):
    from safetensors.torch import load_file, save_file

    path = next(folder.glob("*.safetensors"))
    weights = load_file(path)
    next(value for key, value in weights.items() if name in key).view(-1)[3] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


def test_weights_that_are_not_finite_are_one_sentence(models, tmp_path):
    for name, part in (("base", "up_proj"), ("adapter", "lora_B")):
        shutil.copytree(models / name, tmp_path / name)
        poison(tmp_path / name, part)
        with pytest.raises(InputProblem, match=f"{name} has weights that are NaN or infinite"):
            load_model(resolve_model(str(tmp_path / name)), CPU)
        shutil.rmtree(tmp_path / name)
        shutil.copytree(models / "base", tmp_path / "base", dirs_exist_ok=True)


def test_a_folder_without_tokenizer_is_one_sentence(models, tmp_path):
    shutil.copytree(models / "base", tmp_path / "base", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    with pytest.raises(InputProblem, match="has no readable tokenizer"):
        open_engine(resolve_model(str(tmp_path / "base")), CPU, "chatml", slots=4)


def test_malformed_files_are_refused_before_they_are_loaded(models, tmp_path):
    data = (models / "base.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[:-1000])
    with pytest.raises(InputProblem, match="cut.gguf: tensor .* needs bytes up to .*tunebook inspect"):
        open_engine(resolve_model(str(tmp_path / "cut.gguf")), CPU, "model", slots=4)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "cut" / "model.safetensors").write_bytes((models / "base" / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(InputProblem, match="cut.*model.safetensors: tensor .* ends at byte"):
        resolve_model(str(tmp_path / "cut"))


def test_a_template_that_never_ends_is_one_sentence(models, tmp_path, monkeypatch):
    monkeypatch.setattr("tunebook.inspection.template_sandbox.SECONDS", 1.0)
    shutil.copytree(models / "base", tmp_path / "base")
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (tmp_path / "base" / "chat_template.jinja").write_text(endless)
    with pytest.raises(InputProblem, match="not rendered after"):
        load_tokenizer(tmp_path / "base", "model")
