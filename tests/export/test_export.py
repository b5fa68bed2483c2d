"""The exported file is the trained model, and a broken export fails the gate for its own reason."""

import os
import random
import shutil
from collections import namedtuple

import numpy
import pytest

from broken_exports import rewrite
from tiny_models import CPU, tiny_llama, tokenizer
from tunebook.cli import main
from tunebook.errors import InputProblem, MachineProblem
from tunebook.export import serving
from tunebook.export.choice import smallest_that_holds, why
from tunebook.export.convert import (
    convert_adapter,
    convert_to_gguf,
    export_files,
    file_type,
    gguf_names,
    measure_importance,
    quantise,
    tensor_types,
)
from tunebook.export.merge import merge_to_folder
from tunebook.export.parity import (
    agreement,
    compare_strings,
    divergence,
    export_checks,
    gguf_log_probabilities,
    held_out,
    log_probabilities,
)
from tunebook.export.serving import compare_memory, compare_served, measure_speed
from tunebook.export.ship import OLLAMA_CHATML, modelfile, try_smoke, write_ship
from tunebook.models.corpus import strings
from tunebook.models.engine import Decoding, TransformersEngine, choose_token
from tunebook.models.gguf_engine import GgufModel
from tunebook.models.loading import difference, load_model, probe
from tunebook.models.source import resolve_model
from tunebook.models.templates import CHATML
from tunebook.statistics.compare import noninferiority

Problems = namedtuple("Problems", "problems")
TEXTS = ("every day at noon", "Mon-Fri 22:00", "été à 5h", "every  5 minutes", "on the 1st")
PROBLEMS = Problems([{"prompt": text, "canonical_solution": "0 12 * * *"} for text in TEXTS])
CONVERSATIONS = [[{"role": "user", "content": text}] for text in TEXTS]
Export = namedtuple("Export", "source adapter trained base file base_file adapter_file rows expects base_expects")


@pytest.fixture(scope="module")
def export(tmp_path_factory, converted):
    """A tiny base, an adapter on it, the merged model as GGUF, and what the transformers models expect."""
    source, adapter = resolve_model(str(converted / "base")), converted / "adapter"
    files = export_files(source, adapter, tokenizer(), tmp_path_factory.mktemp("export"), ["f16"])
    base_file, adapter_file = converted / "base.gguf", converted / "adapter.gguf"
    trained, base = load_model(source, CPU, adapter), load_model(source, CPU)
    rows = held_out(tokenizer(), PROBLEMS, 5)
    expects = [log_probabilities(model, rows) for model in (trained, base)]
    return Export(source, adapter, trained, base, files["f16"], base_file, adapter_file, rows, *expects)


def failing(export, file) -> set[str]:
    engine = GgufModel(file, slots=4)
    checks = export_checks(tokenizer(), engine, CONVERSATIONS, 0, export.rows, export.expects, export.base_expects)
    engine.close()
    return {check["name"] for check in checks if not check["ok"]}


def test_a_good_export_passes_every_check(export):
    assert failing(export, export.file) == set()


def test_another_template_is_noticed(export, tmp_path):
    """The most frequent reason why an exported model behaves differently."""
    broken = rewrite(export.file, tmp_path / "a.gguf", {"tokenizer.chat_template": CHATML.replace("assis", "Assis")})
    assert failing(export, broken) == {"same_rendered_text", "same_prompt_ids"}


def test_another_end_token_is_noticed(export, tmp_path):
    broken = rewrite(export.file, tmp_path / "a.gguf", {"tokenizer.ggml.eos_token_id": 5})
    assert failing(export, broken) == {"same_ends"}


def test_a_begin_token_that_training_had_not_is_noticed(export, tmp_path):
    broken = rewrite(
        export.file, tmp_path / "a.gguf", {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 3}
    )
    assert "same_prompt_ids" in failing(export, broken)


def test_another_tokenizer_is_noticed(export, tmp_path):
    """llama.cpp splits by the name of the scheme, so one word in the metadata changes every prompt with digits."""
    broken = rewrite(export.file, tmp_path / "a.gguf", {"tokenizer.ggml.pre": "falcon"})
    assert "same_token_ids" in failing(export, broken)


def test_a_transposed_tensor_is_noticed(export, tmp_path):
    broken = rewrite(export.file, tmp_path / "a.gguf", tensors={"blk.0.attn_q.weight": numpy.transpose})
    assert failing(export, broken) == {"same_distributions"}


def test_a_dropped_adapter_is_noticed(export):
    assert failing(export, export.base_file) == {"adapter_is_in_the_file", "same_distributions"}


def test_the_merged_folder_holds_what_was_scored(export, tmp_path):
    from transformers import AutoModelForCausalLM

    merge_to_folder(export.source, export.adapter, tokenizer(), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="float32").state_dict()
    assert len(merged) > 15
    for name, value in export.trained.state_dict().items():
        assert (merged[name] - (value.half().float() if value.dim() > 1 else value)).abs().max() < 1e-3, name


def test_dora_is_merged_and_never_taken_for_plain_lora(export, tmp_path):
    """Its magnitudes are merged, an adapter file cannot hold them, and one that lost them is refused."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False)
    get_peft_model(tiny_llama(), lora).save_pretrained(tmp_path / "dora")
    assert load_model(export.source, CPU, tmp_path / "dora")
    with pytest.raises(InputProblem, match="uses use_dora, which no adapter file can hold"):
        convert_adapter(export.source.folder, tmp_path / "dora", tmp_path / "dora.gguf")
    shutil.copytree(export.adapter, tmp_path / "adapter")
    config = (tmp_path / "adapter" / "adapter_config.json").read_text()
    (tmp_path / "adapter" / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(InputProblem, match="lora_magnitude_vector.weight, which its file does not have"):
        merge_to_folder(export.source, tmp_path / "adapter", tokenizer(), tmp_path / "merged")


@pytest.mark.parametrize(
    ("changes", "alpha"),
    [
        ({}, 16.0),
        ({"use_rslora": True}, 16.0 * 3),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers.1.*v_proj": 4}}, None),
    ],
)
def test_an_adapter_file_has_the_scale_of_its_method_in_each_layer(changes, alpha, converted, tmp_path):
    """llama.cpp computes alpha / rank; a rank-stabilised adapter wants alpha over the root, a pattern one of its own."""
    import torch
    from gguf import GGUFReader
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    lora = LoraConfig(r=9, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, **changes)
    adapted = get_peft_model(tiny_llama(), lora).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    file = convert_adapter(converted / "base", tmp_path / "adapter", tmp_path / "adapter.gguf")
    written = GGUFReader(file).fields["adapter.lora.alpha"].contents()
    assert alpha is None or written == pytest.approx(alpha)
    engine, rows = GgufModel(converted / "base.gguf", 1, adapters={"a": file}), held_out(tokenizer(), PROBLEMS, 2)
    engine.use_adapter("a")
    found = divergence(log_probabilities(adapted, rows), gguf_log_probabilities(engine, rows))
    engine.close()
    assert (
        found["kl_mean"] < 1e-3
        and divergence(log_probabilities(adapted, rows), log_probabilities(tiny_llama(), rows))["kl_mean"] > 1
    )


def test_adapters_that_no_file_can_hold_are_named_and_the_others_served(export, tmp_path, monkeypatch):
    """Of a run of method dora a base file alone was left, and served as if it were the run."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, target_modules="all-linear", use_dora=True, init_lora_weights=False)
    get_peft_model(tiny_llama(), lora).save_pretrained(tmp_path / "dora")
    monkeypatch.setattr(serving, "compare_memory", lambda *files: {"files": len(files[1])})
    asked = (tokenizer(), tmp_path / "served", {"sft": export.file}, CONVERSATIONS[:1], 4)
    rows, memory = serving.serve_adapters(export.source, {"sft": export.adapter, "dpo": tmp_path / "dora"}, *asked)
    assert [(row["adapter"], row["n"], row["unexplained"]) for row in rows] == [("sft", 1, 0), ("dpo", 0, 0)]
    assert "uses use_dora, which no adapter file can hold; serve the merged file" in rows[1]["why"]
    assert memory == {"files": 1} and len(list((tmp_path / "served").iterdir())) == 2
    shutil.rmtree(tmp_path / "served")
    rows, memory = serving.serve_adapters(export.source, {"sft": tmp_path / "dora"}, *asked)
    assert [row["n"] for row in rows] == [0] and memory == {} and not (tmp_path / "served").exists()


@pytest.mark.parametrize("layer", ["lm_head", "embed_tokens"])
def test_a_tied_weight_is_parted_before_an_adapter_is_added_to_one_side(layer, export, tmp_path):
    """Added to both sides it changed the logits by a tenth of their size, and nothing said so."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(2)
    lora = LoraConfig(r=4, target_modules=["q_proj", layer], init_lora_weights=False)
    get_peft_model(tiny_llama(), lora).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    adapted = PeftModel.from_pretrained(tiny_llama(), tmp_path / "adapter").eval()
    merged = load_model(export.source, CPU, tmp_path / "adapter")
    assert difference(probe(adapted), probe(merged)) < 1e-4
    assert merged.get_output_embeddings().weight is not merged.get_input_embeddings().weight
    folder = merge_to_folder(export.source, tmp_path / "adapter", tokenizer(), tmp_path / "merged")
    assert '"tie_word_embeddings": false' in (folder / "config.json").read_text()
    assert difference(probe(adapted), probe(load_model(resolve_model(str(folder)), CPU))) < 0.01


def test_greedy_texts_agree_with_transformers_alone_and_together(export):
    file, engine = GgufModel(export.file, slots=4), TransformersEngine(export.trained, tokenizer(), slots=4)
    prompts = [engine.encode(messages) for messages in CONVERSATIONS]
    ours = [done.ids for done in sorted(engine.generate(prompts, Decoding(6)), key=lambda done: done.index)]
    together = {done.index: done.ids for done in file.generate(prompts * 3, Decoding(6))}
    assert [together[at] for at in range(len(prompts) * 3)] == ours * 3
    assert [next(file.generate([prompt], Decoding(6))).ids for prompt in prompts] == ours
    file.close()


def test_a_prompt_longer_than_a_batch_is_read_in_pieces(export, monkeypatch):
    monkeypatch.setattr("tunebook.models.gguf_engine.BATCH_TOKENS", 7)
    pieces, whole = GgufModel(export.file, slots=3), []
    prompts = [pieces.encode(messages) for messages in CONVERSATIONS]
    found = {done.index: done.ids for done in pieces.generate(prompts, Decoding(4))}
    pieces.close()
    monkeypatch.undo()
    file = GgufModel(export.file, slots=3)
    whole = {done.index: done.ids for done in file.generate(prompts, Decoding(4))}
    with pytest.raises(InputProblem, match="exceeds the model's context of 512"):
        list(file.generate([prompts[0] * 40], Decoding(4)))
    file.close()
    assert found == whole


def test_sampling_has_a_stream_of_its_own_for_every_row(export):
    file = GgufModel(export.file, slots=4)
    prompts, decoding = [file.encode(messages) for messages in CONVERSATIONS], Decoding(6, temperature=1.0, seed=3)
    first, again = ({one.index: one.ids for one in file.generate(prompts, decoding)} for _ in range(2))
    other = {one.index: one.ids for one in file.generate(prompts, Decoding(6, temperature=1.0, seed=4))}
    file.close()
    assert first == again != other


def test_only_the_nucleus_is_drawn_from():
    logits = numpy.log(numpy.array([[0.1, 0.6, 0.3]], numpy.float32))
    drawn = {
        choose_token(logits, Decoding(1, temperature=1.0, top_p=0.8), [random.Random(seed)])[0] for seed in range(200)
    }
    assert drawn == {1, 2}
    assert choose_token(logits, Decoding(1, temperature=1.0, top_p=0.5), [random.Random(9)]) == [1]


def test_an_adapter_served_from_the_base_answers_as_the_merged_file(export):
    adapters, merged = {"a": export.adapter_file}, {"a": export.file}
    rows = compare_served(export.base_file, adapters, merged, CONVERSATIONS, 6)
    assert rows[0]["n"] == len(TEXTS) and rows[0]["unexplained"] == 0 and rows[0]["same_text"] >= 3
    plain = compare_served(export.base_file, adapters, {"a": export.base_file}, CONVERSATIONS, 6)
    assert plain[0]["unexplained"] > 0  # else the adapter did nothing
    memory = compare_memory(export.base_file, adapters, [export.file, export.base_file])
    assert 0 < memory["one_base"] < memory["merged_files"]


def test_an_adapter_of_another_base_is_one_sentence(export, tmp_path):
    with pytest.raises(InputProblem, match="is no adapter"):
        GgufModel(export.base_file, adapters={"a": export.file})
    with pytest.raises(InputProblem, match="is an adapter"):
        GgufModel(export.adapter_file)


def test_quantising_reports_what_is_in_the_file_and_takes_an_importance_matrix(export, tmp_path):
    """A width of 64 takes no K-quants: the name q4_k_m alone would promise too much."""
    plain = quantise(export.file, tmp_path / "plain.gguf", "q4_k_m")
    types = tensor_types(plain)
    assert sum(types.values()) == sum(tensor_types(export.file).values()) and "Q4_K" not in types
    names = gguf_names(export.base.config, ["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj", "x"])
    assert set(names.values()) == {"blk.0.ffn_up.weight", "blk.1.attn_q.weight"}
    weights = {name: numpy.linspace(0.01, 9, 64, dtype=numpy.float32) ** 4 for name in names.values()}
    weighed = quantise(export.file, tmp_path / "weighed.gguf", "q4_k_m", weights)
    assert tensor_types(weighed) == types and weighed.read_bytes() != plain.read_bytes()
    assert measure_importance(export.source, export.adapter, tokenizer(), None, 0) == {}


def test_merge_makes_a_model_of_an_adapter_that_answers_alike_and_can_be_trained(export, tmp_path, capsys):
    adapter, folder = tmp_path / "adapter", tmp_path / "made" / "model"
    shutil.copytree(export.adapter, adapter)
    command = ["merge", str(adapter), str(folder), "--base", str(export.source.folder)]
    assert main(command) == 0 and "float16" in capsys.readouterr().out
    source = resolve_model(str(folder), needs_weights=True)
    found = log_probabilities(load_model(source, CPU), export.rows)
    far = divergence(export.base_expects, found)["kl_mean"]
    assert divergence(export.expects, found)["kl_mean"] < far / 1000
    assert main(command) == 2 and "is there already" in capsys.readouterr().err
    assert main(["merge", str(folder), str(tmp_path / "b")]) == 2 and "is no adapter" in capsys.readouterr().err
    with pytest.raises(InputProblem, match="`tunebook merge .* makes a model of it"):
        resolve_model(str(adapter), needs_weights=True, adapter_base=str(export.source.folder))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "made"]


def test_a_refusal_leaves_nothing_behind(export, tmp_path, monkeypatch):
    with pytest.raises(InputProblem, match="'q4_k_xxl' is no type"):
        export_files(export.source, export.adapter, tokenizer(), tmp_path, ["q4_k_xxl"])
    monkeypatch.setattr("tunebook.export.merge.require_disk", full_disk)
    with pytest.raises(MachineProblem, match="disk full"):
        export_files(export.source, export.adapter, tokenizer(), tmp_path, ["f16"])
    assert list(tmp_path.iterdir()) == []


def full_disk(folder, needed):
    raise MachineProblem("disk full")


def test_an_unsupported_architecture_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "config.json").write_text(
        '{"architectures": ["MadeUpForCausalLM"], "model_type": "made_up"}'
    )
    with pytest.raises(InputProblem, match="the converter refused merged: .*MadeUpForCausalLM"):
        convert_to_gguf(tmp_path / "merged", tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (-9, "no message, exit status -9"),
        (1, "OSError: [Errno 28] No space left on device"),
        (1, "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB"),
    ],
)
def test_a_converter_that_lacks_disk_or_memory_is_no_fault_of_the_model(tmp_path, monkeypatch, status, said):
    """The rehearsal before a training takes an InputProblem for a model that cannot be exported."""
    monkeypatch.setattr("tunebook.export.convert.converter_folder", lambda: tmp_path)
    monkeypatch.setattr("tunebook.export.convert._ask", lambda words: {"status": status, "said": said})
    with pytest.raises(MachineProblem, match="could not finish merged .*free memory or disk"):
        convert_to_gguf(tmp_path / "merged", tmp_path / "model.gguf")


def paired(lost: int, gained: int = 0, n: int = 150, solved: int = 100, margin: float = 5.0) -> dict:
    a = {str(at): [at < solved] for at in range(n)}
    b = {str(at): [at < solved - lost or solved <= at < solved + gained] for at in range(n)}
    return noninferiority(a, b, margin)


def test_the_smallest_type_that_is_shown_to_hold_ships():
    results = {"f16": (9, paired(0)), "q8_0": (5, paired(1, 1)), "q5_k_m": (4, paired(6, 2)), "q4_k_m": (3, paired(40))}
    rows = [{"type": kind, "bytes": size, **found, "why": why(found)} for kind, (size, found) in results.items()]
    types = list(results)
    assert smallest_that_holds(rows, types)["type"] == "q8_0"
    assert "cannot be shown" in rows[2]["why"] and "loss shown" in rows[3]["why"] and "margin 5" in rows[3]["why"]
    assert smallest_that_holds(rows[2:] + rows[:1], types)["type"] == "f16"
    assert smallest_that_holds(rows, types[2:])["type"] == "f16", "none of those asked for holds, nor does one ship"
    blind = [{"type": kind, "bytes": size, **paired(0, solved=2)} for kind, size in (("f16", 9), ("q8_0", 5))]
    assert smallest_that_holds(blind, types)["type"] == "f16"


def test_distances_and_agreement_are_what_they_say():
    """KL of two coins by hand: 0.5 ln(0.5/0.25) + 0.5 ln(0.5/0.75)."""
    ours, theirs = (numpy.log(numpy.array([[p, 1 - p]])) for p in (0.5, 0.25))
    found = divergence([ours], [theirs])
    assert found["kl_mean"] == pytest.approx(0.5 * numpy.log(2) + 0.5 * numpy.log(2 / 3)) and found["positions"] == 1
    rows = [[{"completion": text} for text in texts] for texts in (("0 9 * * 1", "0 1"), ("0 9 * * 5", "0 1"))]
    shares = agreement(*rows, tokenizer())
    assert shares["same_text"] == 0.5 and shares["first_differing_token"] >= 4


def test_the_corpus_has_every_kind_of_string():
    made = strings(7)
    assert len(made) == 2000 and made == strings(7) != strings(8)
    for part in ("<|im_end|>", "\u200d", "\t", "שלום"[0], "日", "🚀", "\r\n", "def f(x)"):
        assert any(part in text for text in made), part


def test_the_folder_that_ships_answers_its_example(export, tmp_path):
    file = GgufModel(export.file)
    answer = file.decode(next(file.generate([file.encode(CONVERSATIONS[0])], Decoding(6))).ids)
    file.close()
    facts = {"chat_template": tokenizer().chat_template, "ends": ["<|im_end|>"]}
    ship = write_ship(
        tmp_path / "ship", export.file, facts, {"asked": CONVERSATIONS[0], "completion": answer}, 6, "mit"
    )
    assert sorted(path.name for path in ship.iterdir()) == ["Modelfile", "model-f16.gguf", "smoke.py"]
    assert os.stat(ship / "model-f16.gguf").st_ino == os.stat(export.file).st_ino
    done, said, offline = try_smoke(ship)
    assert done and said
    tried = "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=5)\n"
    if offline is not None:  # this machine can cut a process off: then not even itself can be reached
        assert offline
        script = (ship / "smoke.py").read_text()
        (ship / "smoke.py").write_text(tried + script)
        assert try_smoke(ship)[1:] == ("OSError: [Errno 101] Network is unreachable", False)
        (ship / "smoke.py").write_text(script)
    (ship / "smoke.py").write_text((ship / "smoke.py").read_text().replace("EXPECTED = ", "EXPECTED = 'x' + "))
    assert not try_smoke(ship)[0]
    write_ship(tmp_path / "raw", export.file, facts, {"asked": "every day at", "completion": "x"}, 6, "mit")
    done, said, _ = try_smoke(tmp_path / "raw")
    assert not done and said and "Traceback" not in said, "a text to go on with is no conversation"


def test_a_smoke_script_without_an_end_is_an_answer_that_did_not_come(tmp_path, monkeypatch):
    (tmp_path / "smoke.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr("tunebook.export.ship.SMOKE_SECONDS", 1)
    assert try_smoke(tmp_path)[:2] == (False, "no answer within 1 s")


def test_the_modelfile_writes_chatml_in_ollamas_language():
    """Rendered by hand, as Go's text/template would: range repeats, and {{- eats the white space before it."""
    text = modelfile("m.gguf", {"chat_template": CHATML, "ends": ["<|im_end|>"]}, 32, "apache-2.0")
    head, body, tail = OLLAMA_CHATML.replace("{{- range .Messages }}", "§").replace("{{ end }}", "§").split("§")
    turns = [("system", "Be brief."), ("user", "every day")]
    shown = head + "".join(body.replace("{{ .Role }}", r).replace("{{ .Content }}", c) for r, c in turns) + tail
    messages = [{"role": role, "content": content} for role, content in turns]
    assert shown == tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert OLLAMA_CHATML in text and 'PARAMETER stop "<|im_end|>"' in text and "apache-2.0" in text
    assert "TEMPLATE" not in modelfile("m.gguf", {"chat_template": "x", "ends": ["</s>"]}, 32, "").replace(
        "no TEMPLATE", ""
    )


def test_speed_is_measured_in_a_process_of_its_own(export):
    found = measure_speed(export.file, [list(range(5, 25))] * 3, 4)
    assert found["requests"] == 60 and all(value > 0 for value in found.values())
    assert (
        found["p50_ms"] <= found["p95_low_ms"] <= found["p95_ms"] <= found["p95_high_ms"]
        and file_type("q8_0") is not None
    )


def test_too_few_requests_bound_no_slowest_answer(monkeypatch):
    """Of 10 requests the slowest says nothing about the 95th of 100; 60 do."""
    monkeypatch.setattr(serving, "LONGEST", 0)
    few = serving.request_times(float, list(range(1, 11)))
    assert few["requests"] == 10 and few["p95_high_ms"] is None
    monkeypatch.setattr(serving, "LONGEST", 60)
    many = serving.request_times(float, list(range(1, 11)))
    assert many["requests"] == 60 and many["p95_high_ms"] == 10.0


class Words:
    """A tokenizer of characters; with `control`, llama.cpp's reading of it, which has taken </s> for a control token."""

    def __init__(self, control: str = "", shift: int = 0):
        self.control, self.shift = control, shift

    def tokenize(self, text):
        parts = text.split(self.control) if self.control else [text]
        ids = [[ord(letter) + self.shift for letter in part] for part in parts]
        return [token for at, part in enumerate(ids) for token in ([9] if at else []) + part]

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": self.tokenize(text)}

    def is_control(self, token):
        return token == 9

    def piece(self, token):
        return self.control

    def get_added_vocab(self):
        return {}


def test_a_word_that_only_llama_cpp_takes_for_a_control_token_is_reported_and_no_other_difference_is_forgiven():
    """Qwen's vocabulary has </s> as a word, and llama.cpp overrides its type: every export of a Qwen3 failed its gate."""
    found = compare_strings(Words(), Words("</s>"), 0, 400)
    assert found["same"] == 400 and found["promoted"] > 0 and found["first_difference"] == ""
    assert compare_strings(Words(), Words("</s>", shift=1), 0, 400)["same"] < 10
