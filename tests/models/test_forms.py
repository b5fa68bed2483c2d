"""What repositories hold beside plain weights: adapters of other forms, tokenizers whose class reads otherwise, templates
that close no turn. Each is used rightly, or is one sentence with a remedy.
"""

import json
import shutil
from types import SimpleNamespace

import pytest

import zoo
import zoo_forms  # noqa: F401  adds to the families
from tiny_models import CPU, adapted, show_mask, tiny_llama, tokenizer
from tunebook.errors import InputProblem
from tunebook.models.abilities import lora_targets
from tunebook.models.inspect import inspect
from tunebook.models.loading import load_model, load_tokenizer, tokenizer_findings
from tunebook.models.rendering import measure_row, rendered_question, same_question
from tunebook.models.source import resolve_model
from tunebook.models.templates import ANSWER, ASKED, PLAIN, encode_row, ends_of, render_prompt
from tunebook.training.dataset import use_own_tokens

ROW = {"prompt": [ASKED], "completion": [{"role": "assistant", "content": ANSWER}]}


def objections(folder, severity: str = "error", **options) -> str:
    findings = inspect(str(folder), scan=False, **options)["findings"]
    return " / ".join(f"{row['message']}; {row['fix']}" for row in findings if row["severity"] == severity)


@pytest.fixture
def adapter(tmp_path):
    """An adapter folder on a base beside it."""
    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    adapted(tmp_path / "adapter", "../base")
    return tmp_path / "adapter"


def name_base(adapter, name: str) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": name}))


def test_an_adapter_of_a_four_bit_base_names_the_base_to_load(adapter):
    """As Unsloth writes it after QLoRA."""
    name_base(adapter, "unsloth/Llama-3.2-1B-Instruct-bnb-4bit")
    wanted = "16-bit base unsloth/Llama-3.2-1B-Instruct: adapter_base: unsloth/Llama-3.2-1B-Instruct,"
    with pytest.raises(InputProblem, match=wanted):
        resolve_model(str(adapter))
    assert wanted in objections(adapter)


def test_a_base_on_the_hub_can_be_given_as_a_folder(adapter):
    name_base(adapter, "meta-llama/Llama-3.2-1B")
    assert "is not here, so the fit was not checked; name the base model with --base" in objections(adapter, "info")
    assert objections(adapter, base=str(adapter.parent / "base")) == ""
    found = resolve_model(str(adapter), adapter_base=str(adapter.parent / "base"))
    assert found.folder == (adapter.parent / "base").resolve() and found.adapter == adapter.resolve()


def test_an_adapter_with_resized_embeddings_says_what_to_resize(adapter):
    """PEFT stores the table of tokens when its length is not that of the base."""
    from peft import LoraConfig, get_peft_model

    model = tiny_llama()
    size = model.config.vocab_size
    model.resize_token_embeddings(size + 8)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = "../base"
    shutil.rmtree(adapter)
    model.save_pretrained(adapter, save_embedding_layers=True)
    wanted = f"with {size + 8} tokens, the base model's has {size}: resize the base model's embedding to {size + 8}"
    with pytest.raises(InputProblem, match=wanted):
        resolve_model(str(adapter))
    assert wanted in objections(adapter)


def test_a_folder_without_tokenizer_config_is_named(tmp_path):
    folder = zoo.build("llama3", tmp_path / "llama3")
    assert objections(folder) == ""
    (folder / "tokenizer_config.json").unlink()
    assert "it has no tokenizer_config.json, so its special tokens and its chat template are unknown" in objections(
        folder
    )


def test_all_linear_is_refused_where_peft_does_and_other_names_are_taken(tmp_path):
    """Fused kernels of a model with a state read out_proj past the adapter."""
    from peft import LoraConfig, get_peft_model

    source = resolve_model(str(zoo.build("falcon_h1", tmp_path / "falcon")))
    model = load_model(source, CPU)
    targets = lora_targets(model)
    assert "in_proj" in targets and "q_proj" in targets and "out_proj" not in targets
    made = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    made.peft_config["default"].base_model_name_or_path = str(source.folder)
    made.save_pretrained(tmp_path / "adapter")
    assert load_model(resolve_model(str(tmp_path / "adapter")), CPU)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "all-linear"}))
    with pytest.raises(InputProblem, match="does not fit the base model .*(out_proj|mamba|Mamba)"):
        load_model(resolve_model(str(tmp_path / "adapter")), CPU)


def test_lora_on_experts_is_no_false_alarm_and_is_merged(tmp_path):
    """transformers holds the experts of a layer as one weight, which PEFT changes by `target_parameters`."""
    import torch
    from peft import LoraConfig, get_peft_model

    source = resolve_model(str(zoo.build("qwen3_moe", tmp_path / "moe")))
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    lora = LoraConfig(r=2, target_modules=["q_proj"], target_parameters=names, init_lora_weights=False)
    made = get_peft_model(load_model(source, CPU), lora)
    made.peft_config["default"].base_model_name_or_path = str(source.folder)
    made.save_pretrained(tmp_path / "adapter")
    assert objections(tmp_path / "adapter") == ""
    merged = load_model(resolve_model(str(tmp_path / "adapter")), CPU).state_dict()
    base = load_model(source, CPU).state_dict()
    changed = {name.split(".")[-1] for name, value in merged.items() if not torch.equal(value, base[name])}
    assert "gate_up_proj" in changed and "down_proj" in changed


def test_a_tokenizer_is_read_as_its_file_says(tmp_path):
    """transformers' class drops one of the spaces with which a text begins."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    folder = zoo.build("tinyllama_chat", tmp_path / "tinyllama")
    text = "  two spaces"
    told = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    loaded = load_tokenizer(folder, "model")
    assert loaded(text, add_special_tokens=False)["input_ids"] == told
    assert AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"] != told
    (finding,) = tokenizer_findings(loaded)
    assert finding.check == "tokenizer_class" and "LlamaTokenizer" in finding.message and "' " in finding.message
    assert tokenizer_findings(load_tokenizer(zoo.build("qwen3", tmp_path / "qwen3"), "model")) == []


def test_a_base_model_that_was_trained_on_texts_after_bos_is_asked_so(tmp_path):
    """Once, in words as in training rows; a Qwen has no BOS."""
    spoken = load_tokenizer(zoo.build("llama_base", tmp_path / "llama"), "plain")
    ids, mask = encode_row(spoken, ROW["prompt"], ROW["completion"])
    assert ids[0] == spoken.bos_token_id and ids.count(ids[0]) == 1 and not mask[0]
    assert rendered_question(spoken)["rows_alike"]
    assert load_tokenizer(zoo.build("qwen2.5_base", tmp_path / "qwen"), "plain").chat_template == PLAIN


def test_a_template_that_closes_no_turn_is_refused_with_a_way_out_that_works(tmp_path):
    """GLM-4 ends an answer with the opening of the next turn, which its template does not write."""
    folder = zoo.build("glm4", tmp_path / "glm4")
    left_open = load_tokenizer(folder, "model")
    trouble = measure_row(left_open)(ROW)[2]
    assert trouble.startswith("end_token: this model's ends are") and "<|user|>" in trouble
    closed = load_tokenizer(folder, "model", "<|user|>")
    ids, mask = encode_row(closed, ROW["prompt"], ROW["completion"])
    end = closed.convert_tokens_to_ids("<|user|>")
    assert (ids[-1], mask[-1], ids.count(end)) == (end, 1, 2) and measure_row(closed)(ROW)[2] == ""
    turns = [ASKED, {**ROW["completion"][0], "weight": 1}, ASKED]
    ids, mask = encode_row(closed, turns, ROW["completion"])
    assert sum(mask) == 2 * sum(encode_row(closed, ROW["prompt"], ROW["completion"])[1])


def test_a_turn_that_is_closed_otherwise_at_the_end_is_trained_whole(tmp_path):
    """Olmo 3 closes its last turn with the end of a text and every earlier one with <|im_end|>."""
    spoken = load_tokenizer(zoo.build("olmo3", tmp_path / "olmo3"), "model")
    assert spoken.decode([spoken.turn_end]) == "<|endoftext|>"
    assert spoken.convert_tokens_to_ids("<|im_end|>") in ends_of(spoken)
    ids, mask = encode_row(spoken, [ASKED, {**ROW["completion"][0], "weight": 1}, ASKED], ROW["completion"])
    trained = spoken.decode([token for token, is_trained in zip(ids, mask, strict=True) if is_trained])
    assert trained == f"{ANSWER}<|im_end|>{ANSWER}<|endoftext|>"


def test_stages_that_ask_or_stop_otherwise_are_told_apart(tmp_path):
    folder = zoo.build("qwen3", tmp_path / "qwen3")
    first = rendered_question(load_tokenizer(folder, "model", thinking="off"), "off")
    assert same_question(load_tokenizer(folder, "model", thinking="off"), "off", first)["ok"]
    thinking = same_question(load_tokenizer(folder, "model"), "none", first)
    assert not thinking["ok"] and "<think>" in thinking["measured"]
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [5]}))
    other = same_question(load_tokenizer(folder, "model", thinking="off"), "off", first)
    assert not other["ok"] and "ends" in other["measured"] and "prompt" not in other["measured"]


def test_a_thought_that_the_prompt_opens_is_closed_by_what_is_trained(tmp_path):
    """R1 distilled leaves the thought out of a written turn, so a row that is written whole begins otherwise than the
    model is asked. A thought in the row is trained; an earlier turn cannot be.
    """
    opened = load_tokenizer(zoo.build("r1_distill", tmp_path / "r1"), "model")
    closed, ends = f"</think>\n\n{ANSWER}", "<｜end▁of▁sentence｜>"
    for said, trained in (
        (ANSWER, closed),
        (f"<think>\nNoon.\n</think>\n\n{ANSWER}", f"Noon.\n{closed}"),
        (f"</think>\n\n{ANSWER}", closed),  # as the model itself says it
    ):
        row = {"prompt": [ASKED], "completion": [{"role": "assistant", "content": said}]}
        asked = f"<｜begin▁of▁sentence｜><｜User｜>{ASKED['content']}<｜Assistant｜><think>\n"
        assert show_mask(opened, *encode_row(opened, **row)) == f"{asked}⟦{trained}{ends}⟧"
        assert measure_row(opened)(row)[2] == "" and rendered_question(opened)["rows_alike"]
    with pytest.raises(InputProblem, match="not a prefix .*use chat_template: plain, or train_on: last"):
        encode_row(opened, [ASKED, {**ROW["completion"][0], "weight": 1}, ASKED], ROW["completion"])
    tokens = zoo.build("qwen3_thinking", tmp_path / "qwen3") / "tokenizer.json"
    data = json.loads(tokens.read_text())
    data["model"]["vocab"]["ĊĊ"] = 510  # two newlines are one token, as in every large vocabulary
    data["model"]["merges"].append(["Ċ", "Ċ"])
    tokens.write_text(json.dumps(data))
    written = load_tokenizer(tmp_path / "qwen3", "model")
    assert show_mask(written, *encode_row(written, **ROW)).endswith(f"<think>\n⟦{closed}<|im_end|>⟧")
    plain = load_tokenizer(tmp_path / "r1", "plain")
    assert show_mask(plain, *encode_row(plain, **ROW)).endswith(f"Assistant:\n⟦{ANSWER}{ends}⟧")


def test_an_answer_is_trained_after_the_tokens_that_the_model_is_asked_with(tmp_path):
    """ERNIE's prompt ends in a space, which a word of the answer would take into its own token."""
    spoken = load_tokenizer(zoo.build("ernie4.5", tmp_path / "ernie"), "model")
    for answer in ("no", ANSWER):
        row = {"prompt": [ASKED], "completion": [{"role": "assistant", "content": answer}]}
        ids, mask = encode_row(spoken, **row)
        assert ids[: mask.index(1)] == render_prompt(spoken, [ASKED]) and measure_row(spoken)(row)[2] == ""
        assert show_mask(spoken, ids, mask).endswith(f"Assistant: ⟦{answer}<|end_of_sentence|>⟧")


@pytest.mark.parametrize("is_paired", [True, False])
def test_preferences_end_where_the_model_ends_them(tmp_path, is_paired):
    """Phi-3 writes a newline and a second end after a turn, GLM-4 no end at all, and R1 distilled opens a thought: TRL
    takes its tokens from the template.
    """
    from datasets import Dataset

    said = [{"role": "assistant", "content": "no"}]
    key, rows = ("chosen", {"rejected": said}) if is_paired else ("completion", {"label": True})
    rows = [{"prompt": [ASKED], key: one, **rows} for one in (ROW["completion"], said, said)]
    for name, tail in (("phi3", "<|end|>"), ("glm4", "<|user|>"), ("r1_distill", "<｜end▁of▁sentence｜>")):
        spoken = load_tokenizer(zoo.build(name, tmp_path / name), "model", zoo.FAMILIES[name].end_of_turn)
        arguments = SimpleNamespace(max_length=99, per_device_train_batch_size=2)
        before = Dataset.from_list([{"chosen_ids": []} if is_paired else {"KL_completion_ids": []}])
        trainer = SimpleNamespace(args=arguments, processing_class=spoken, train_dataset=before)
        use_own_tokens(trainer, rows)
        first, second, third = trainer.train_dataset
        ids, mask = encode_row(spoken, [ASKED], ROW["completion"])
        assert first["prompt_ids"] + first[f"{key}_ids"] == ids and len(first[f"{key}_ids"]) == sum(mask)
        assert spoken.decode(second[f"{key}_ids"]).endswith(f"no{tail}")
        if is_paired:
            assert first["rejected_ids"] == second["chosen_ids"]
        else:
            neighbours = [row["KL_completion_ids"] for row in (first, second, third)]
            assert neighbours == [second["completion_ids"], first["completion_ids"], third["completion_ids"]]
            assert first["label"] is True


HELD = {"content": "<think>\nHm.\n</think>\n\nYes.", "key": "Yes."}
LOST = "the thought of the last turn", "the thoughts of earlier turns"
# what of a thought in the content, and in a key of its own, is not trained: of the last turn, of an earlier one
THOUGHTS = {
    "qwen3": {"content": ("", LOST[1]), "key": LOST},
    "r1_distill": {"content": ("", "prompt_prefix"), "key": ("", "prompt_prefix")},
    "r1_distill_first": {"content": LOST, "key": LOST},
    "smollm2": {"content": ("", ""), "key": LOST},
}


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("name", THOUGHTS)
def test_a_thought_is_trained_or_the_row_is_refused(name, held, tmp_path):
    """Templates drop thoughts of earlier turns: such rows were trained on the answers alone, and nothing said so."""
    made = load_tokenizer(zoo.build(name, tmp_path / name), "model")
    said = {"role": "assistant", "content": HELD[held]} | ({"reasoning_content": "Hm."} if held == "key" else {})
    plain = {"role": "assistant", "content": "No."}
    last = {"prompt": [ASKED, plain, ASKED], "completion": [said]}
    earlier = {"prompt": [ASKED, {**said, "weight": 1}, ASKED], "completion": [plain]}
    for row, lost in zip((last, earlier), THOUGHTS[name][held], strict=True):
        trouble = measure_row(made)(row)[2]
        assert lost in trouble and bool(lost) == bool(trouble)
        if not lost:
            ids, mask = encode_row(made, **row)
            assert "Hm." in made.decode([token for token, is_trained in zip(ids, mask, strict=True) if is_trained])
    untrained = {"prompt": [ASKED, said, ASKED], "completion": [plain]}
    assert measure_row(made)(untrained)[2] == ""
