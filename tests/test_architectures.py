"""Every architecture that the kit names is trained, scored and exported with the same tokens and the same answers."""

import json

import pytest

from tiny_models import save_gemma_tokenizer, tokenizer
from tunebook.export.convert import convert_to_gguf
from tunebook.export.merge import merge_to_folder
from tunebook.export.parity import SAME_KL, HeldOutRows, divergence, gguf_log_probabilities, log_probabilities
from tunebook.models.engine import Decoding, TransformersEngine
from tunebook.models.gguf_engine import GgufModel
from tunebook.models.loading import load_tokenizer
from tunebook.models.source import resolve_model

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 49152}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
KINDS = {
    "Qwen2": {"head_dim": 16, "tie_word_embeddings": True},
    "Qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "SmolLM3": {"tie_word_embeddings": True},
    "Gemma3": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64, "vocab_size": 800},
}
GEMMA_IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 6}
TEXTS = ("every day at noon", "Mon-Fri 22:00", "été à 5h", "two  spaces\n\nand lines 🙂")


def tiny(kind: str):
    """A random model of an architecture, wide enough that greedy choices are no near-ties."""
    import torch
    import transformers

    torch.manual_seed(0)
    is_gemma = kind == "Gemma3"
    settings = SIZES | (GEMMA_IDS if is_gemma else IDS) | KINDS[kind]
    config = getattr(transformers, "Gemma3TextConfig" if is_gemma else f"{kind}Config")(**settings)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float()
    for weights in model.parameters():
        if weights.dim() > 1:
            weights.data.normal_(0, 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    (root / "source").mkdir()
    tiny("Gemma3").save_pretrained(root / "source")
    save_gemma_tokenizer(root / "source")
    source = resolve_model(str(root / "source"))
    merge_to_folder(source, None, load_tokenizer(source.folder, "model"), root / "Gemma3")
    for kind in KINDS.keys() - {"Gemma3"}:
        tiny(kind).save_pretrained(root / kind)
        tokenizer().save_pretrained(root / kind)
        # transformers gives a qwen2 folder Qwen's own splitting, whatever tokenizer.json says: name no type that has
        # one
        config = json.loads((root / kind / "config.json").read_text())
        (root / kind / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    for kind in KINDS:
        convert_to_gguf(root / kind, root / f"{kind}.gguf")
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_expect_the_same_tokens(kind, exported):
    spoken = load_tokenizer(exported / kind, "model") if kind == "Gemma3" else tokenizer()
    file, engine = GgufModel(exported / f"{kind}.gguf", slots=3), TransformersEngine(tiny(kind), spoken, slots=3)
    prompts = [engine.encode([{"role": "user", "content": text}]) for text in TEXTS]
    assert prompts == [file.encode([{"role": "user", "content": text}]) for text in TEXTS]
    rows = HeldOutRows(prompts, [0] * len(prompts))
    found = divergence(log_probabilities(engine.model, rows), gguf_log_probabilities(file, rows))
    assert found["kl_mean"] < SAME_KL and found["positions"] > 20
    ours, theirs = ({done.index: done.ids for done in one.generate(prompts, Decoding(1))} for one in (engine, file))
    file.close()
    assert ours == theirs
