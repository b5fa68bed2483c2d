"""Tiny random models of many families in the form in which their repositories ship them: end tokens and
generation_config.json, the shape of the chat template, names of weights and buffers, byte-level BPE and SentencePiece,
tied and untied.

`build(name, folder)` writes one in a fraction of a second. Templates are written for this file with the turns and
control tokens of the originals. Vocabularies are small: `zoo_converter` says how the GGUF converter is led round its
table of hashes.
"""

import json
import re
from dataclasses import dataclass, field

from zoo_tokenizers import byte_level, sentencepiece

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 512}
HEAD = {"head_dim": 16}

CHATML = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\n' + DEFAULT + '<|im_end|>\\n' }}{%- endif %}{%-"
    " for m in messages %}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{%- endfor"
    " %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
THINKING = (
    "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m['role'] == 'user' %}{%- set ns.last ="
    " loop.index0 %}{%- endif %}{%- endfor %}{%- for m in messages %}{%- if m['role'] == 'assistant' %}{%- set text ="
    " m['content'] %}{%- set thought = '' %}{%- if '</think>' in text %}{%- set thought ="
    " text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}{%- set text ="
    " text.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{{- '<|im_start|>assistant\\n' }}{%- if loop.index0 >"
    " ns.last %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}{{- text + '<|im_end|>\\n' }}{%- else"
    " %}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if"
    " add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is"
    " false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
# opens the thought itself, as Qwen3.5 does: the prompt ends inside it, or with an empty one
OPEN_THINKING = THINKING.replace(
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
    "{%- if enable_thinking is defined and enable_thinking is true %}{{- '<think>\\n' }}{%- else %}{{-"
    " '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
)
LLAMA3 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string ="
    " strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}{%- if"
    " messages[0]['role'] == 'system' %}{%- set told = messages[0]['content'] | trim %}{%- set messages = messages[1:]"
    " %}{%- else %}{%- set told = '' %}{%- endif %}{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' +"
    " date_string + '\\n\\n' + told + '<|eot_id|>' }}{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] +"
    " '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{-"
    " '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
SMOLLM3 = (
    "{%- set today = strftime_now('%d %B %Y') %}{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + today +"
    " '\\n' }}{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- endif %}{{- '<|im_end|>\\n'"
    " }}{%- for m in messages %}{%- if m['role'] == 'user' %}{{- '<|im_start|>user\\n' + m['content'] + '<|im_end|>\\n'"
    " }}{%- elif m['role'] == 'assistant' %}{{- '<|im_start|>assistant\\n' + m['content'].lstrip('\\n') +"
    " '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if"
    " enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n' }}{%- endif %}{%-"
    " endif %}"
)
OLMO2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\\n' + m['content'] + '\\n' }}{%"
    " elif m['role'] == 'user' %}{{ '<|user|>\\n' + m['content'] + '\\n' }}{% elif m['role'] == 'assistant' %}{% if not"
    " loop.last %}{{ '<|assistant|>\\n' + m['content'] + eos_token + '\\n' }}{% else %}{{ '<|assistant|>\\n' +"
    " m['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{"
    " '<|assistant|>\\n' }}{% endif %}{% endfor %}"
)
GRANITE = (
    "{%- if messages[0]['role'] == 'system' %}{%- set told = messages[0]['content'] %}{%- set messages = messages[1:]"
    " %}{%- else %}{%- set told = \"Today's Date: \" + strftime_now('%B %d, %Y') + '.\\nYou are Granite.' %}{%- endif"
    " %}{{- '<|start_of_role|>system<|end_of_role|>' + told + '<|end_of_text|>\\n' }}{%- for m in messages %}{{-"
    " '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\\n' }}{%- if loop.last and"
    " add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}{%- endfor %}"
)
GEMMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif"
    " %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation"
    " roles must alternate user/assistant/user/assistant/...') }}{% endif %}{{ '<start_of_turn>' + ('model' if"
    " m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if"
    " add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set first = messages[0]['content'] + '\\n\\n' %}{%-"
    " set turns = messages[1:] %}{%- else %}{%- set first = '' %}{%- set turns = messages %}{%- endif %}{%- for m in"
    " turns %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must"
    " alternate user/assistant/user/assistant/...') }}{%- endif %}{{ '<start_of_turn>' + ('model' if m['role'] =="
    " 'assistant' else m['role']) + '\\n' + (first if loop.first else '') }}{%- if m['content'] is string %}{{"
    " m['content'] | trim }}{%- elif m['content'] is iterable %}{%- for part in m['content'] %}{{ '<start_of_image>' if"
    " part['type'] == 'image' else part['text'] | trim }}{%- endfor %}{%- endif %}{{ '<end_of_turn>\\n' }}{%- endfor"
    " %}{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{"
    " raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if"
    " m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{%"
    " endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}{{ '<|' + m['role'] + '|>\\n' +"
    " m['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{%"
    " else %}{{ eos_token }}{% endif %}"
)
LFM2 = "{{- bos_token -}}" + CHATML.partition("{%- endif %}")[2]
FALCON = CHATML.partition("{%- endif %}")[2]
ERNIE = (
    "{%- if not cls_token is defined %}{%- set cls_token = '<|begin_of_sentence|>' %}{%- endif %}{%- if not sep_token"
    " is defined %}{%- set sep_token = '<|end_of_sentence|>' %}{%- endif %}{{- cls_token }}{%- for m in messages %}{%-"
    " if m['role'] == 'user' %}{{- 'User: ' + m['content'] + '\\n' }}{%- elif m['role'] == 'assistant' %}{{-"
    " 'Assistant: ' + m['content'] + sep_token }}{%- elif m['role'] == 'system' %}{{- m['content'] + '\\n' }}{%- endif"
    " %}{%- endfor %}{%- if add_generation_prompt %}{{- 'Assistant: ' }}{%- endif %}"
)


@dataclass(frozen=True)
class Family:
    """One family: its class in transformers, what its config adds to SIZES, its tokenizer, and what the trained turn
    ends with.
    """

    model: str  # name of the class without "ForCausalLM"
    config: dict
    tokenizer: tuple  # how zoo_tokenizers makes it
    template: str
    end: str  # text of the token that closes the assistant's turn
    ends: tuple = ()  # what generation_config.json names, by text
    pre: str = ""  # llama.cpp's name of the BPE splitting
    head: str = "ForCausalLM"
    rename: tuple = ()  # (pattern, replacement) of weight names, in the published file
    buffers: str = ""  # which buffers that file holds beside the weights
    facts: dict = field(default_factory=dict)  # further lines of tokenizer_config.json
    config_facts: dict = field(default_factory=dict)  # and of config.json
    end_of_turn: str = ""  # what a study has to name
    notes: tuple = ()  # findings of severity info
    faults: tuple = ()  # and of severity error
    form: tuple = ()  # shards: two files in bfloat16; jinja, named: where the template lies; pieces: no tokenizer.json
    beside: dict = field(default_factory=dict)  # of a model of more than texts, beside text_config; a text is its id


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN = (*IM, "<|vision_start|>", "<tool_call>*", "</tool_call>*")
QWEN3 = (*QWEN, "<think>*", "</think>*")  # * marks an added token that is no special one
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "vision_use_head": False,
}
MOE = {"num_experts": 4, "norm_topk_prob": True, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LINEAR = {
    "mtp_num_hidden_layers": 1,
    "full_attention_interval": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
GEMMA_SIZES = HEAD | {"query_pre_attn_scalar": 16, "sliding_window": 64}
WITH_PARAMETERS = (
    "Qwen3_5",
    "Gemma4",
    "Mistral3",
    "Ministral3",
)  # published with rope_parameters, since transformers 5
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}

FAMILIES = {
    "llama3": Family("Llama", TIED | HEAD | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0,
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}},
                     ("bpe", "llama3", LLAMA, "<|begin_of_text|>", "<|eot_id|>", "PreTrainedTokenizerFast", True),
                     LLAMA3, "<|eot_id|>", ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), "llama-bpe"),
    "qwen2.5_instruct": Family("Qwen2", TIED, ("bpe", "qwen2", QWEN, "", "<|im_end|>", "Qwen2Tokenizer", False),
    CHATML.replace("DEFAULT", "'You are Qwen.'"), "<|im_end|>", ("<|im_end|>", "<|endoftext|>"), "qwen2"),
    "qwen2.5_base": Family("Qwen2", TIED, ("bpe", "qwen2", QWEN, "", "<|endoftext|>", "Qwen2Tokenizer", False),
    CHATML.replace("DEFAULT", "'You are Qwen.'"), "<|im_end|>", ("<|endoftext|>",), "qwen2"),
    "qwen3": Family("Qwen3", TIED | HEAD, ("bpe", "qwen2", QWEN3, "", "<|im_end|>", "Qwen2Tokenizer", False), THINKING,
    "<|im_end|>", ("<|im_end|>", "<|endoftext|>"), "qwen2"),
    "qwen3_moe": Family("Qwen3Moe", UNTIED | HEAD | MOE, ("bpe", "qwen2", QWEN3, "", "<|im_end|>", "Qwen2Tokenizer",
    False), THINKING, "<|im_end|>", ("<|im_end|>", "<|endoftext|>"), "qwen2"),
    "smollm2": Family("Llama", TIED | HEAD, ("bpe", "smollm", IM, "<|im_start|>", "<|im_end|>", "GPT2Tokenizer",
    False), CHATML.replace("DEFAULT", "'You are SmolLM.'"), "<|im_end|>", ("<|im_end|>",), "smollm"),
    "smollm3": Family("SmolLM3", TIED, ("bpe", "llama3", (*LLAMA, "<|im_start|>", "<|im_end|>", "<think>*",
    "</think>*"), "", "<|im_end|>", "PreTrainedTokenizerFast", False), SMOLLM3, "<|im_end|>", ("<|im_end|>",),
    "smaug-bpe"),
    "olmo2": Family("Olmo2", UNTIED, ("bpe", "llama3", ("<|endoftext|>", "<|pad|>"), "<|endoftext|>", "<|endoftext|>",
    "GPT2Tokenizer", False), OLMO2, "<|endoftext|>", ("<|endoftext|>",), "dbrx"),
    "granite": Family("Granite", TIED | {"embedding_multiplier": 12.0, "residual_multiplier": 0.22,
    "attention_multiplier": 0.0625, "logits_scaling": 8.0},
                      ("bpe", "starcoder", ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
                      "<|end_of_text|>", "<|end_of_text|>", "GPT2Tokenizer", False), GRANITE, "<|end_of_text|>",
                      ("<|end_of_text|>",), "refact"),
    "gemma2": Family("Gemma2", TIED | GEMMA_SIZES, ("sp", "gemma", GEMMA, "GemmaTokenizer"), GEMMA2, "<end_of_turn>",
    ("<eos>", "<end_of_turn>")),
    # + lies just past the embedding
    "gemma3_text": Family("Gemma3", TIED | GEMMA_SIZES, ("sp", "gemma", (*GEMMA, "<image_soft_token>+"),
    "GemmaTokenizer"), GEMMA3, "<end_of_turn>", ("<eos>", "<end_of_turn>")),
    "gemma3_vision": Family("Gemma3", TIED | GEMMA_SIZES, ("sp", "gemma", (*GEMMA, "<image_soft_token>"),
    "GemmaTokenizer"), GEMMA3, "<end_of_turn>", ("<eos>", "<end_of_turn>"), head="ForConditionalGeneration",
    beside={"vision_config": VISION, "mm_tokens_per_image": 4, "image_token_index": "<image_soft_token>"}),
    "mistral_v0.2": Family("Mistral", UNTIED | HEAD | {"sliding_window": None}, ("sp", "llama", (), "LlamaTokenizer"),
    MISTRAL, "</s>", ("</s>",), form=("shards",)),
    "phi3": Family("Phi3", UNTIED | {"sliding_window": 64}, ("sp", "llama", ("</s>^", "<|endoftext|>", "<|assistant|>^",
    "<|system|>^", "<|end|>^", "<|user|>^"), "LlamaTokenizer"), PHI3, "<|end|>", ("<|endoftext|>", "<|assistant|>",
    "<|end|>"),
                   # ^ strips what follows
                   facts={"add_bos_token": False, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
                   # of before transformers had the model
                   config_facts={"auto_map": {"AutoConfig": "configuration_phi3.Phi3Config",
                   "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}}, notes=("remote_code",)),
    "gpt2": Family("GPT2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "n_ctx": 512}, ("bpe", "gpt2",
    ("<|endoftext|>",), "", "", "", False), "", "<|endoftext|>", ("<|endoftext|>",), "gpt-2", head="LMHeadModel",
                   rename=((r"^transformer\.", ""),), buffers="h.{}.attn.bias"),
    "pythia": Family("GPTNeoX", UNTIED, ("bpe", "neox", ("<|endoftext|>", "<|padding|>"), "<|endoftext|>",
    "<|endoftext|>", "GPTNeoXTokenizer", False), "", "<|endoftext|>", ("<|endoftext|>",), "olmo",
                     buffers="gpt_neox.layers.{}.attention.bias gpt_neox.layers.{}.attention.masked_bias gpt_neox.layers.{}.attention.rotary_emb.inv_freq"),
    "lfm2": Family("Lfm2", TIED | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ("bpe", "llama3", ("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|startoftext|>",
    "<|im_end|>", "PreTrainedTokenizerFast", True), LFM2, "<|im_end|>", ("<|im_end|>",), "lfm2", form=("jinja",)),
    "qwen3.5": Family("Qwen3_5", TIED | {"head_dim": 32} | LINEAR | {"rope_parameters": {"rope_type": "default",
    "rope_theta": 10000000.0, "partial_rotary_factor": 0.25, "mrope_interleaved": True, "mrope_section": [2, 1, 1]},
    "layer_types": ["linear_attention", "full_attention"]}, ("bpe", "qwen35", QWEN3, "", "<|im_end|>",
    "Qwen2Tokenizer", False), OPEN_THINKING, "<|im_end|>", ("<|im_end|>", "<|endoftext|>"), "qwen35",
    head="ForConditionalGeneration", beside=TIED | {"vision_config": {"depth": 1, "hidden_size": 32, "num_heads": 2,
    "intermediate_size": 64, "out_hidden_size": 64, "num_position_embeddings": 16}}),
    "falcon_h1": Family("FalconH1", UNTIED | HEAD | {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16,
    "mamba_d_state": 16, "mamba_chunk_size": 16}, ("bpe", "falconh1", ("<|end_of_text|>", "<|im_start|>",
    "<|im_end|>"), "", "<|end_of_text|>", "PreTrainedTokenizerFast", False), FALCON, "<|im_end|>", ("<|end_of_text|>",
    "<|im_end|>"), "falcon-h1"),
    "ernie4.5": Family("Ernie4_5", TIED | HEAD, ("sp", "llama", ("<|begin_of_sentence|>", "<|end_of_sentence|>"),
    "LlamaTokenizer"), ERNIE, "<|end_of_sentence|>", ("</s>",), facts={"cls_token": "<|begin_of_sentence|>",
    "sep_token": "<|end_of_sentence|>"}),
    "granite4_hybrid": Family("GraniteMoeHybrid", TIED | {"layer_types": ["mamba", "attention"], "mamba_n_heads": 8,
    "mamba_d_head": 16, "mamba_d_state": 16, "mamba_expand": 2, "mamba_chunk_size": 16, "num_local_experts": 0,
    "num_experts_per_tok": 0, "shared_intermediate_size": 128, "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22, "attention_multiplier": 0.0625, "logits_scaling": 8.0},
                      ("bpe", "starcoder", ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
                      "<|end_of_text|>", "<|end_of_text|>", "GPT2Tokenizer", False), GRANITE, "<|end_of_text|>",
                      ("<|end_of_text|>",), "refact"),
}  # fmt: skip


def build(name: str, folder, **changes):
    """Writes the family called `name` into `folder` and returns it; `changes` go into its config."""
    import torch

    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    ids = _tokenizer(family, folder)
    config, model = _model(family, ids, changes)
    torch.manual_seed(0)
    for weights in model.parameters():  # wide enough that greedy choices are no near-ties
        if weights.dim() > 1:
            weights.data.normal_(0, 0.3 if "Gemma" not in family.model else 0.2)
        elif weights.numel() and not weights.abs().max():
            weights.data.normal_(0, 0.05)
    model.save_pretrained(folder)
    _publish(family, config, model, folder, [ids[token] for token in family.ends])
    return folder


def _model(family: Family, ids: dict, changes: dict):
    import transformers

    just_past = [ids[token.rstrip("+")] for token in family.tokenizer[2] if token.endswith("+")]
    size = min(just_past, default=len(ids))
    sizes = {} if family.model == "GPT2" else SIZES
    settings = {
        **sizes,
        **family.config,
        "vocab_size": max(
            -(-size // 8) * 8 if family.tokenizer[0] == "bpe" else size, family.config.get("vocab_size", 0)
        ),
        **changes,
    }
    named = {
        "bos_token_id": (
            ids.get(family.tokenizer[3]) if family.tokenizer[0] == "bpe" else ids.get("<bos>", ids.get("<s>"))
        )
    }
    named |= {"eos_token_id": ids[family.ends[-1]], "pad_token_id": ids.get(family.config.get("pad_token_id"))}
    text = {**settings, **named}
    if family.beside:
        beside = {key: ids[value] if isinstance(value, str) else value for key, value in family.beside.items()}
        config = getattr(transformers, f"{family.model}Config")(text_config=text, **beside)
    else:
        kind = getattr(transformers, f"{family.model}TextConfig", None) or getattr(
            transformers, f"{family.model}Config"
        )
        config = kind(**text)
    kind = getattr(transformers, family.model + family.head, None)  # InternLM3 is Llama's class with its own config
    model = kind(config) if kind else transformers.AutoModelForCausalLM.from_config(config)
    return config, model.float().eval()


def _publish(family: Family, config, model, folder, ends: list[int]) -> None:
    """Names, buffers and generation_config.json as the repository has them."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for pattern, replacement in family.rename:
        weights = {re.sub(pattern, replacement, key): value for key, value in weights.items()}
    for at in range(2):
        for key in family.buffers.format(*[at] * 3).split() if family.buffers else ():
            if key.endswith("masked_bias"):
                weights[key] = torch.tensor(-1e9)
            elif key.endswith("inv_freq"):
                weights[key] = torch.ones(2)
            else:
                weights[key] = torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64)
    if family.model == "GPTNeoX":  # published in float16, where masked_bias is minus infinity
        weights = {key: value.half() for key, value in weights.items()}
    files = {"model.safetensors": list(weights)}
    if "shards" in family.form:
        names, half = sorted(weights), len(weights) // 2
        files = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
        index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "model.safetensors").unlink()
        weights = {key: value.bfloat16() for key, value in weights.items()}
    for file, part in files.items():
        save_file({key: weights[key].contiguous() for key in part}, folder / file, metadata={"format": "pt"})
    _publish_config(folder, family)
    stated = {"_from_model_config": True, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    (folder / "generation_config.json").write_text(json.dumps(stated))


def _publish_config(folder, family: Family) -> None:
    """config.json with rope_theta and rope_scaling, as everything before transformers 5 was published."""
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config") or {}):
        rope = part.pop("rope_parameters", None) if family.model not in WITH_PARAMETERS else None
        if rope and "full_attention" in rope:
            part |= {
                "rope_theta": rope["full_attention"]["rope_theta"],
                "rope_local_base_freq": rope["sliding_attention"]["rope_theta"],
            }
        elif rope:
            part["rotary_emb_base" if family.model == "GPTNeoX" else "rope_theta"] = rope.pop("rope_theta")
            part |= (
                {"rotary_pct": rope.pop("partial_rotary_factor", 1.0)} if family.model in ("GPTNeoX", "Cohere2") else {}
            )
            part["rope_scaling"] = rope if rope["rope_type"] != "default" else None
        if "layer_types" in family.config and "layer_types" in part:
            part["layer_types"] = family.config["layer_types"]
        if "dtype" in part:
            part["torch_dtype"] = "bfloat16" if "shards" in family.form else part["dtype"]
            del part["dtype"]
    if text := family.config_facts.get("text_config"):
        config["text_config"] = {k: v for k, v in (config["text_config"] | text).items() if v != "absent"}
    facts = {key: value for key, value in family.config_facts.items() if key != "text_config"}
    (folder / "config.json").write_text(json.dumps(config | facts, indent=2))


def _tokenizer(family: Family, folder) -> dict[str, int]:
    kind, *rest = family.tokenizer
    made = byte_level(*rest[:2]) if kind == "bpe" else sentencepiece(*rest[:2], folder)
    data, ids, special = made
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
    settings = {"model_max_length": 512, "clean_up_tokenization_spaces": False}
    if family.model != "GPT2":
        settings["added_tokens_decoder"] = {
            str(entry["id"]): {k: v for k, v in entry.items() if k != "id"} for entry in data["added_tokens"]
        }
    if kind == "bpe":
        _, bos, eos, name, adds_bos = rest[1:2] + rest[2:]
        settings |= {
            key: value for key, value in (("bos_token", bos), ("eos_token", eos), ("tokenizer_class", name)) if value
        }
        if adds_bos and bos:
            data["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": bos,
            "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                                      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B",
                                      "type_id": 1}}],
                                      "special_tokens": {bos: {"id": bos, "ids": [ids[bos]],
                                      "tokens": [bos]}}}  # fmt: skip
            (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
    else:
        gemma = rest[0] == "gemma"
        names = ("<bos>", "<eos>", "<pad>") if gemma else ("<s>", "</s>", "")
        settings |= {
            "bos_token": names[0],
            "eos_token": names[1],
            "unk_token": "<unk>",
            "tokenizer_class": rest[2],
            "add_bos_token": True,
            "add_eos_token": False,
        }
        settings |= {"pad_token": names[2]} if gemma else {"legacy": False}
    settings |= family.facts
    if "jinja" in family.form:
        (folder / "chat_template.jinja").write_text(family.template)
    elif "named" in family.form:
        others = {"tool_use": "{{ tools }}", "default": family.template, "rag": "{{ documents }}"}
        settings["chat_template"] = [{"name": name, "template": text} for name, text in others.items()]
    elif family.template:
        settings["chat_template"] = family.template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False))
    if "pieces" in family.form:
        (folder / "tokenizer.json").unlink()
    return ids
