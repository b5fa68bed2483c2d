"""Model and adapter folders from others: what is not whole is refused before it is judged, and what is valid still
loads.
"""

import json
import shutil

import pytest

from tiny_models import base_folder, tiny_llama
from tunebook.errors import InputProblem, MachineProblem
from tunebook.inspection import folder_checks
from tunebook.inspection.adapter_checks import pattern_problem
from tunebook.models.device import Placement
from tunebook.models.inspect import inspect
from tunebook.models.loading import load_model, load_tokenizer, one_sentence
from tunebook.models.source import ModelSource, resolve_base, resolve_model

CPU = Placement("cpu", "float32", "float32", "", "test")
K_PROJ = "model.layers.0.self_attn.k_proj.weight"
PREFIX = "base_model.model."
NAMED = [{"name": "default", "template": "{{ messages[0].content }}"}, {"name": "tool_use", "template": "x"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small untied base, and an adapter on its q_proj and v_proj."""
    root = tmp_path_factory.mktemp("folders")
    tiny_llama(vocab_size=64, tie_word_embeddings=False).save_pretrained(root / "base")
    train(root / "adapter")
    return root


def train(folder, **changes):
    """A random adapter on such a base, as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **changes}
    model = get_peft_model(tiny_llama(vocab_size=64, tie_word_embeddings=False), LoraConfig(**settings))
    for name, weights in model.named_parameters():
        if "modules_to_save" in name:
            weights.data += 1
    model.peft_config["default"].base_model_name_or_path = "../base"
    model.save_pretrained(folder)


def load(folder, adapter=None):
    return load_model(ModelSource(str(folder), "", folder, ""), CPU, adapter)


def copied(folder, to):
    shutil.copytree(folder, to)
    return to


def rewrite(folder, change):
    """The weights of `folder` after `change`, a function from tensors to tensors."""
    from safetensors.torch import load_file, save_file

    path = next(folder.glob("*.safetensors"))
    changed = {name: value.contiguous().clone() for name, value in change(load_file(path)).items()}
    save_file(changed, path, metadata={"format": "pt"})


def set_values(path, **values):
    """A JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def objections(folder) -> str:
    """The errors of `inspect`, a line each."""
    return "\n".join(
        f"{row['check']}: {row['message']}"
        for row in folder_checks.inspect_folder(str(folder), scan=False)["findings"]
        if row["severity"] == "error" and row["check"] != "tokenizer"
    )


def without(name):
    return lambda weights: {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: {"x": weights[K_PROJ]}, "config.json asks for lm_head.weight and 20 more"),
        (lambda weights: {f"base_model.{key}": value for key, value in weights.items()}, "asks for .* and 20 more"),
        (without(K_PROJ), "asks for model.layers.0.self_attn.k_proj.weight, which its files do not have"),
        (without("lm_head.weight"), "asks for lm_head.weight, which its files do not have"),
        (
            lambda weights: weights | {K_PROJ: weights[K_PROJ].T},
            r"k_proj.weight is \[64, 32\], config.json asks for \[32",
        ),
    ],
)
def test_a_missing_weight_is_not_made_up(models, tmp_path, change, words):
    """transformers fills it at random and the model is scored all the same."""
    rewrite(copied(models / "base", tmp_path / "base"), change)
    with pytest.raises(InputProblem, match=words):
        load(tmp_path / "base")


def test_inspect_names_a_missing_embedding_and_head(models, tmp_path):
    assert objections(models / "base") == ""
    rewrite(copied(models / "base", tmp_path / "none"), lambda weights: {"x": weights[K_PROJ]})
    assert "no embedding of tokens" in objections(tmp_path / "none")
    rewrite(copied(models / "base", tmp_path / "headless"), without("lm_head.weight"))
    assert "there is no lm_head.weight" in objections(tmp_path / "headless")


def test_an_index_that_names_the_wrong_file_is_refused(tmp_path):
    tiny_llama(vocab_size=64).save_pretrained(tmp_path, max_shard_size="60KB")
    assert objections(tmp_path) == ""
    assert load(tmp_path).config.vocab_size == 64
    path = tmp_path / "model.safetensors.index.json"
    places = json.loads(path.read_text())["weight_map"]
    set_values(path, weight_map=dict.fromkeys(places, sorted(places.values())[0]))
    assert "index: model.safetensors.index.json looks for the tensor" in objections(tmp_path)
    with pytest.raises(InputProblem, match="which its files do not have"):
        load(tmp_path)


def test_weights_that_no_index_names_are_not_counted_and_not_hashed(tmp_path):
    """Mistral's folders hold all weights a second time, in a file that transformers does not read."""
    from safetensors.torch import load_file, save_file

    tiny_llama(vocab_size=64).save_pretrained(tmp_path, max_shard_size="60KB")
    before = inspect(str(tmp_path))
    whole = {f"own.{name}": value for file in tmp_path.glob("*.safetensors") for name, value in load_file(file).items()}
    save_file(whole, tmp_path / "consolidated.safetensors")
    after = inspect(str(tmp_path))
    assert [after[key] for key in ("parameters", "tensors", "sha256", "findings")] == [
        before[key] for key in ("parameters", "tensors", "sha256", "findings")
    ]
    assert resolve_model(str(tmp_path)).sha256 == before["sha256"]
    (tmp_path / "consolidated.safetensors").write_bytes(b"torn")
    assert "consolidated.safetensors: it has 4 bytes" in objections(tmp_path)


def test_an_index_that_points_out_of_the_folder_is_refused_before_loading(tmp_path):
    """The weights that are hashed and those that are scored would be two."""
    tiny_llama(vocab_size=64).save_pretrained(tmp_path, max_shard_size="60KB")
    path = tmp_path / "model.safetensors.index.json"
    places = json.loads(path.read_text())["weight_map"]
    set_values(path, weight_map={name: f"../{tmp_path.name}/{file}" for name, file in places.items()})
    with pytest.raises(InputProblem, match="index.json points out of the folder"):
        resolve_model(str(tmp_path))


def bare(weights):
    return {name.removeprefix(PREFIX): value for name, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "values", "words", "at_inspect"),
    [
        (bare, {}, "which its file does not have", "does not begin with 'base_model.model.'"),
        (dict, {"target_modules": ["q_proj"]}, "its file has .*v_proj.*does not ask for", "target_modules do not name"),
        (dict, {"target_modules": ["q_proj", "v_proj", "k_proj"]}, "asks for .*k_proj.*lora_A.weight", ""),
        (dict, {"use_dora": True}, "asks for .*lora_magnitude_vector", "it holds no magnitudes"),
    ],
)
def test_no_part_of_an_adapter_is_dropped(models, tmp_path, change, values, words, at_inspect):
    """PEFT passes over what it does not find, with a warning at most."""
    adapter = copied(models / "adapter", tmp_path / "adapter")
    rewrite(adapter, change)
    set_values(adapter / "adapter_config.json", **values)
    assert at_inspect in objections(adapter) and bool(at_inspect) == bool(objections(adapter))
    with pytest.raises(InputProblem, match=words):
        load(models / "base", adapter)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": r".*\.(q|k)_proj"},
        {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.1\..*v_proj": 16}},
        {"bias": "lora_only", "layers_to_transform": [0]},
        {"trainable_token_indices": {"embed_tokens": [1, 2]}},
    ],
)
def test_every_form_of_a_lora_still_loads(models, tmp_path, changes):
    import torch

    train(tmp_path, **changes)
    assert objections(tmp_path) == ""
    pairs = zip(load(models / "base", tmp_path).parameters(), load(models / "base").parameters(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)


CONFIGS = {
    "num_attention_heads": 0, "vocab_size": "64", "num_hidden_layers": "2", "num_key_value_heads": 3,
    "rms_norm_eps": None,
    "dtype": "float7", "rope_parameters": [1, 2], "quantization_config": {"quant_method": "gptq", "bits": 4},
    "hidden_act": [1], "eos_token_id": "x", "tie_word_embeddings": "false", "intermediate_size": 0,
}  # fmt: skip


@pytest.mark.parametrize("key", CONFIGS)
def test_an_odd_value_in_the_config_is_one_sentence(models, tmp_path, key):
    folder = copied(models / "base", tmp_path / "base")
    set_values(folder / "config.json", **{key: CONFIGS[key]})
    assert key in objections(folder)
    with pytest.raises(
        InputProblem,
        match="(no causal language model|no usable config.json) .*tunebook inspect|has packed weights .'gptq'",
    ) as raised:
        load_tokenizer(folder, "chatml") if key == "dtype" else load(folder)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """The files of the quickstart's tokenizer."""
    root = tmp_path_factory.mktemp("spoken")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base_folder() / name).exists():
            shutil.copy(base_folder() / name, root / name)
    return root


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("tokenizer.json", {"model": {"type": "Evil"}}, "no readable tokenizer"),
        ("tokenizer.json", {"added_tokens": 5}, "no readable tokenizer"),
        ("tokenizer_config.json", {"eos_token": 5}, "no readable tokenizer .*eos_token"),
        ("tokenizer_config.json", {"tokenizer_class": 5}, "no readable tokenizer"),
        ("tokenizer_config.json", {"model_max_length": "x"}, "model_max_length is no number"),
        ("config.json", {"vocab_size": "x"}, "no usable config.json .*vocab_size"),
    ],
)
def test_an_odd_tokenizer_file_is_one_sentence(spoken, tmp_path, name, values, words):
    set_values(copied(spoken, tmp_path / "spoken") / name, **values)
    with pytest.raises(InputProblem, match=words) as raised:
        load_tokenizer(tmp_path / "spoken", "chatml")
    assert "\n" not in str(raised.value)


def test_an_odd_generation_config_is_one_sentence(models, tmp_path):
    folder = copied(models / "base", tmp_path / "base")
    set_values(folder / "generation_config.json", max_new_tokens="lots", temperature="hot")
    with pytest.raises(InputProblem, match="no causal language model that can be read"):
        load(folder)


def test_what_a_library_says_is_one_short_printable_line_and_memory_is_the_machines():
    with pytest.raises(InputProblem, match=r"^model: x \(a\?\[2Jb x{190}\.\.\.\); repair it$"):
        with one_sentence("model: x", "repair it"):
            raise RuntimeError("\n a\x1b[2Jb " + "x" * 500 + "\nmore")
    with (
        pytest.raises(MachineProblem, match="^model: x needs more memory than there is"),
        one_sentence("model: x", "repair it"),
    ):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes")
    for kind in (MemoryError, KeyboardInterrupt):
        with pytest.raises(kind), one_sentence("model: x", "repair it"):
            raise kind


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"target_modules": "(.*)*(.*)*(.*)*zz!"}, "target_modules .* repeats a repeat"),
        ({"target_modules": "(([a-z._]+)+)+!"}, "repeats a repeat"),
        ({"target_modules": "((("}, "no regular expression"),
        ({"target_modules": 5}, "target_modules is 5"),
        ({"target_modules": [1, 2]}, "a list of names"),
        ({"rank_pattern": {"(([a-z._]+)+)+!": 4}}, "rank_pattern .* repeats a repeat"),
        ({"rank_pattern": {"q_proj": "x"}}, "gives 'q_proj' the value 'x'"),
        ({"rank_pattern": [1]}, "a map from names"),
        ({"layer_replication": [[0, 2]] * 1000}, "layer_replication"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": "x"}, "lora_alpha is 'x'"),
        ({"r": True}, "r is True"),
        ({"init_lora_weights": [1]}, "init_lora_weights"),
        ({"layers_to_transform": "x"}, "layers_to_transform"),
        ({"modules_to_save": 5}, "modules_to_save"),
        ({"trainable_token_indices": {"embed_tokens": ["x"]}}, "trainable_token_indices"),
    ],
)
def test_an_adapter_config_that_would_hang_or_break_peft_is_refused(models, tmp_path, values, words):
    adapter = copied(models / "adapter", tmp_path / "adapter")
    set_values(adapter / "adapter_config.json", **values)
    with pytest.raises(InputProblem, match=words):
        load(models / "base", adapter)
    assert objections(adapter)


@pytest.mark.parametrize("values", [{"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [10**9]}])
def test_what_peft_cannot_do_with_this_base_is_one_sentence(models, tmp_path, values):
    adapter = copied(models / "adapter", tmp_path / "adapter")
    set_values(adapter / "adapter_config.json", **values)
    with pytest.raises(InputProblem, match="does not fit the base model"):
        load(models / "base", adapter)


@pytest.mark.parametrize(
    ("pattern", "is_harmless"),
    [
        ("all-linear", True),
        (r".*\.layers\.(0|1|2)\.(self_attn|mlp)\.(q|k|v|up)_proj", True),
        (r"^(?!.*visual).*(?:[gkqvo]_proj|up|down).*", True),
        (
            r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|k_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.mlp)",
            True,
        ),
        ("a?" * 50, False),
        ("(a|ab)*", False),
        ("(a|a)" * 20, False),
        ("(?:x{1,20}){1,20}y", False),
        ("x" * 1001, False),
    ],
)
def test_patterns_that_are_used_pass_and_those_that_hang_do_not(pattern, is_harmless):
    assert (pattern_problem(pattern) == "") == is_harmless


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": {"": "evil/kernel"}},
        {"_attn_implementation_internal": "evil/kernel"},
        {"experts_implementation": "evil/kernel"},
        {"text_config": {"_attn_implementation": "evil/kernel"}},
    ],
)
def test_a_kernel_on_the_hub_is_never_fetched(models, tmp_path, values):
    folder = copied(models / "base", tmp_path / "base")
    set_values(folder / "config.json", **values)
    assert "remote_code: it names a kernel on the Hub" in objections(folder)
    with pytest.raises(InputProblem, match="kernel on the Hub .* never run"):
        load(folder)


def test_a_named_attention_of_transformers_is_fine(models, tmp_path):
    folder = copied(models / "base", tmp_path / "base")
    set_values(folder / "config.json", _attn_implementation="sdpa")
    assert objections(folder) == "" and load(folder)


def test_a_model_without_fused_attention_loads_with_the_plain_one(tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    config = Gemma2Config(**sizes, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    assert objections(tmp_path) == ""
    assert load(tmp_path).config._attn_implementation == "eager"


def test_a_header_whose_length_begins_like_a_pickle_is_none(models, tmp_path):
    """0x280 is written 80 02, as pickle's protocol 2 begins."""
    folder = copied(models / "base", tmp_path / "base")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    longer = length // 2**16 * 2**16 + 2**16 + 0x280
    head = data[8 : 8 + length].ljust(longer)
    path.write_bytes(longer.to_bytes(8, "little") + head + data[8 + length :])
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert "pickle" not in {row["check"] for row in folder_checks.inspect_folder(str(folder))["findings"]} and load(
        folder
    )
    path.write_bytes(b"\x80\x04\x95" + bytes(20))
    assert "pickle: model.safetensors is a pickle" in objections(folder)


def test_the_default_of_named_templates_is_taken(spoken, tmp_path):
    folder = copied(spoken, tmp_path / "spoken")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    set_values(folder / "tokenizer_config.json", chat_template=NAMED)
    assert load_tokenizer(folder, "model").chat_template == folder_checks.inspect_folder(str(folder))["template"]
    set_values(folder / "tokenizer_config.json", chat_template=NAMED[1:])
    assert "none of its chat templates is called default" in objections(folder)
    with pytest.raises(InputProblem, match="the templates tool_use, but none called default"):
        load_tokenizer(folder, "model")


@pytest.mark.parametrize(
    ("content", "at_inspect", "words"),
    [
        (b"{# " + b"x" * 2**21 + b" #}{{ messages }}", "has 2097172 bytes", "has 2097172 characters, at most 100000"),
        (b"\xff\xfe{{ messages }}", "chat_template.jinja is not UTF-8", "no readable tokenizer .*utf-8"),
    ],
)
def test_a_template_that_is_too_long_or_no_text_is_refused(spoken, tmp_path, content, at_inspect, words):
    folder = copied(spoken, tmp_path / "spoken")
    (folder / "chat_template.jinja").write_bytes(content)
    assert at_inspect in objections(folder)
    with pytest.raises(InputProblem, match=words):
        load_tokenizer(folder, "model")


def test_weights_of_another_name_and_pointers_are_named(models, tmp_path):
    folder = copied(models / "base", tmp_path / "base")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert "it has no model.safetensors" in objections(folder)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "pointer of Git LFS" in objections(folder)
    with pytest.raises(InputProblem, match="pointer of Git LFS.*git lfs pull"):
        resolve_model(str(folder))


def test_a_byte_order_mark_is_named(models, tmp_path):
    folder = copied(models / "base", tmp_path / "base")
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    assert "config.json begins with a byte order mark" in objections(folder)


def test_a_folder_of_one_gguf_file_says_to_give_that(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputProblem, match="no config.json; give the .gguf file in it .*a.gguf"):
        resolve_model(str(tmp_path))


def test_a_base_model_that_is_there_and_unusable_is_not_called_missing(models, tmp_path):
    adapter = copied(models / "adapter", tmp_path / "adapter")
    (tmp_path / "notes.txt").write_text("hello")
    set_values(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "notes.txt"))
    with pytest.raises(InputProblem, match="notes.txt"):
        resolve_base(adapter, download=False)
    set_values(adapter / "adapter_config.json", base_model_name_or_path="owner/name")
    assert resolve_base(adapter, download=False) is None


def test_an_adapters_own_tokenizer_is_used(models, spoken, tmp_path):
    adapter = copied(models / "adapter", tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(spoken / name, adapter)
    settings = json.loads((adapter / "tokenizer_config.json").read_text())
    template = "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    (adapter / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    found = folder_checks.inspect_folder(str(adapter))
    assert "its own tokenizer and chat template are used" in found["findings"][0]["message"]
    tiny_llama().save_pretrained(tmp_path / "base")
    source = resolve_model(str(adapter), adapter_base=str(tmp_path / "base"))
    assert load_tokenizer(source, "model").chat_template == template == found["template"]
