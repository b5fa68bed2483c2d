"""Further published forms, added to `zoo.FAMILIES`: each asks something of the kit that no other does.

Byte-level BPE under the name LlamaTokenizer (DeepSeek), SentencePiece where transformers' class reads otherwise than
tokenizer.json (TinyLlama), templates that close no turn (GLM-4), close the last one otherwise (Olmo 3), or open a thought
that no written turn has (R1 distilled), padded vocabularies and heads with a bias (Phi-2), ALiBi (Bloom), shared experts.
"""

import re

from zoo import CHATML, FALCON, FAMILIES, HEAD, IM, LLAMA, OPEN_THINKING, QWEN, QWEN3, TIED, UNTIED, Family

OLMO3 = (
    "{%- if messages[0]['role'] != 'system' -%}{{ '<|im_start|>system\\nYou may call functions. <functions></functions>"
    "<|im_end|>\\n' }}{%- endif -%}{%- for m in messages -%}{%- if m['role'] != 'assistant' -%}{{ '<|im_start|>' +"
    " m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{%- else -%}{{ '<|im_start|>assistant\\n' + m['content'] }}{%"
    " if not loop.last %}{{ '<|im_end|>\\n' }}{% else %}{{ eos_token }}{% endif %}{%- endif -%}{%- if loop.last and"
    " add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}{%- endfor -%}"
)
ZEPHYR = (
    "{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\n' + m['content'] + eos_token }}\n{% elif"
    " m['role'] == 'system' %}\n{{ '<|system|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'assistant' %}\n{{"
    " '<|assistant|>\n' + m['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{"
    " '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
R1_FIRST = (
    "{{ bos_token }}{%- for m in messages %}{%- if m['role'] == 'system' %}{{ m['content'] }}{%- elif m['role'] =="
    " 'user' %}{{ '<｜User｜>' + m['content'] }}{%- else %}{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] +"
    " '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)
R1 = R1_FIRST.replace("{{ '<｜Assistant｜>' }}{% endif %}", "{{ '<｜Assistant｜><think>\\n' }}{% endif %}")
CODER = (
    "{{ bos_token }}{%- for m in messages %}{%- if m['role'] == 'system' %}{{ m['content'] }}{%- elif m['role'] =="
    " 'user' %}{{ '### Instruction:\\n' + m['content'] + '\\n' }}{%- else %}{{ '### Response:\\n' + m['content'] +"
    " '\\n<|EOT|>\\n' }}{%- endif %}{%- endfor %}{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
)
EXAONE = (
    "{%- for m in messages %}{%- if m['role'] == 'assistant' %}{{- '[|assistant|]\n' }}{%- if loop.last %}{{-"
    " '<think>\n\n</think>\n\n' }}{%- endif %}{{- m['content'] + '[|endofturn|]\n' }}{%- else %}{{- '[|' + m['role'] +"
    " '|]\n' + m['content'] + '[|endofturn|]\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{-"
    " '[|assistant|]\n' }}{{- '<think>\n' if enable_thinking is defined and enable_thinking is true else"
    " '<think>\n\n</think>\n\n' }}{%- endif %}"
)
GLM4 = (
    "[gMASK]<sop>{%- for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{%- endfor %}{% if"
    " add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PHI4 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}{% if"
    " add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
COHERE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|>' + {'user': '<|USER_TOKEN|>', 'system':"
    " '<|SYSTEM_TOKEN|>', 'assistant': '<|CHATBOT_TOKEN|>'}[m['role']] }}{% if m['role'] == 'assistant' %}{{"
    " '<|START_RESPONSE|>' + m['content'] + '<|END_RESPONSE|>' }}{% else %}{{ m['content'] }}{% endif %}{{"
    " '<|END_OF_TURN_TOKEN|>' }}{% endfor %}{% if add_generation_prompt %}{{"
    " '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' }}{% endif %}"
)
# as OPEN_THINKING without a mode: every prompt ends inside a thought
QWEN3_OPEN = re.sub(
    r"{%- if enable_thinking .*<think>\\n' }}{%- else .*endif %}(?={%- endif %}$)", "{{- '<think>\\n' }}", OPEN_THINKING
)
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
R1_TOKENS = (*DEEPSEEK, "<｜User｜>*", "<｜Assistant｜>*", "<think>*", "</think>*")
EXAONE_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[UNK]", "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]")
EXAONE_TOKENS += ("<think>*", "</think>*")
GLM_TOKENS = ("[MASK]", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
END, CLOSED = "<|endoftext|>", "<|im_end|>"
SHARED = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 64,
}
HYBRID = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}


def bpe(style: str, tokens: tuple, bos: str, eos: str, kind: str, adds_bos: bool = False) -> tuple:
    """How zoo_tokenizers makes a byte-level BPE."""
    return "bpe", style, tokens, bos, eos, kind, adds_bos


FAMILIES |= {
    "cohere2": Family(
        "Cohere2",
        TIED | HEAD | {"sliding_window": 64, "logit_scale": 0.25},
        (
            "bpe",
            "cohere",
            (
                "<PAD>",
                "<UNK>",
                "<CLS>",
                "<SEP>",
                "<MASK_TOKEN>",
                "<BOS_TOKEN>",
                "<EOS_TOKEN>",
                "<|START_OF_TURN_TOKEN|>",
                "<|END_OF_TURN_TOKEN|>",
                "<|USER_TOKEN|>",
                "<|CHATBOT_TOKEN|>",
                "<|SYSTEM_TOKEN|>",
                "<|START_RESPONSE|>",
                "<|END_RESPONSE|>",
            ),
            "<BOS_TOKEN>",
            "<|END_OF_TURN_TOKEN|>",
            "CohereTokenizer",
            True,
        ),
        COHERE,
        "<|END_OF_TURN_TOKEN|>",
        ("<|END_OF_TURN_TOKEN|>",),
        "command-r",
        form=("named",),
    ),
    "tinyllama_chat": Family(
        "Llama", UNTIED, ("sp", "llama", (), "LlamaTokenizer"), ZEPHYR, "</s>", ("</s>",), notes=("tokenizer_class",)
    ),
    "deepseek_coder": Family(
        "Llama",
        UNTIED,
        bpe("qwen2", (*DEEPSEEK, "<|EOT|>"), DEEPSEEK[0], "<|EOT|>", "LlamaTokenizerFast", True),
        CODER,
        "<|EOT|>",
        ("<|EOT|>",),
        "qwen2",
    ),
    "glm4": Family(
        "Glm4",
        UNTIED | HEAD | {"partial_rotary_factor": 0.5},
        bpe("llama3", (END, *GLM_TOKENS), "", END, "PreTrainedTokenizerFast"),
        GLM4,
        "<|user|>",
        (END, "<|user|>", "<|observation|>"),
        "chatglm-bpe",
        end_of_turn="<|user|>",
    ),
    "olmo3": Family(
        "Olmo3",
        UNTIED | HYBRID,
        bpe("llama3", (END, "<|pad|>", *IM[1:]), END, END, "GPT2Tokenizer"),
        OLMO3,
        END,
        (CLOSED, END),
        "dbrx",
    ),
    "r1_distill": Family(
        "Qwen2",
        UNTIED,
        bpe("qwen2", R1_TOKENS, *DEEPSEEK, "LlamaTokenizerFast", True),
        R1,
        DEEPSEEK[1],
        DEEPSEEK[1:],
        "deepseek-r1-qwen",
    ),
    "r1_distill_first": Family(
        "Qwen2",
        UNTIED,
        bpe("qwen2", R1_TOKENS, *DEEPSEEK, "LlamaTokenizerFast", True),
        R1_FIRST,
        DEEPSEEK[1],
        DEEPSEEK[1:],
        "deepseek-r1-qwen",
    ),
    "qwen3_thinking": Family(
        "Qwen3",
        TIED | HEAD,
        bpe("qwen2", QWEN3, "", CLOSED, "Qwen2Tokenizer"),
        QWEN3_OPEN,
        CLOSED,
        (CLOSED, END),
        "qwen2",
    ),
    "stablelm2": Family(
        "StableLm",
        UNTIED | {"use_qkv_bias": True, "partial_rotary_factor": 0.25},
        bpe("qwen2", IM, END, CLOSED, "GPT2Tokenizer"),
        FALCON,
        CLOSED,
        (CLOSED,),
        "stablelm2",
    ),
    "bloom": Family(
        "Bloom",
        {"hidden_size": 64, "n_layer": 2, "n_head": 4, "seq_length": 512},
        bpe("bloom", ("<unk>", "<s>", "</s>", "<pad>"), "<s>", "</s>", "BloomTokenizer"),
        "",
        "</s>",
        ("</s>",),
        "bloom",
        rename=((r"^transformer\.", ""),),
    ),
    "opt": Family(
        "OPT",
        {"hidden_size": 64, "ffn_dim": 128, "word_embed_proj_dim": 64},
        bpe("gpt2", ("<pad>", "</s>"), "</s>", "</s>", "GPT2Tokenizer", True),
        "",
        "</s>",
        ("</s>",),
        "gpt-2",
    ),
    "phi2": Family(
        "Phi",
        UNTIED | {"partial_rotary_factor": 0.4, "num_key_value_heads": 4, "intermediate_size": 256, "vocab_size": 576},
        bpe("gpt2", (END,), END, END, "CodeGenTokenizer"),
        "",
        END,
        (END,),
        "phi-2",
    ),
    "phi4_mini": Family(
        "Phi3",
        TIED | {"sliding_window": 512, "partial_rotary_factor": 0.75},
        bpe("llama3", (END, "<|assistant|>", "<|end|>", "<|user|>", "<|system|>"), END, END, "GPT2Tokenizer"),
        PHI4,
        "<|end|>",
        ("<|end|>", END),
        "llama-bpe",
    ),
    "qwen2_moe": Family(
        "Qwen2Moe",
        UNTIED | SHARED,
        bpe("qwen2", QWEN, "", CLOSED, "Qwen2Tokenizer"),
        CHATML.replace("DEFAULT", "'You are Qwen.'"),
        CLOSED,
        (CLOSED, END),
        "qwen2",
    ),
    "smollm_base": Family(
        "Llama", TIED | HEAD, bpe("smollm", IM, END, END, "GPT2Tokenizer"), "", END, (END,), "smollm"
    ),
    "llama_base": Family(
        "Llama",
        TIED | HEAD,
        bpe("llama3", LLAMA, "<|begin_of_text|>", "<|end_of_text|>", "PreTrainedTokenizerFast", True),
        "",
        "<|end_of_text|>",
        ("<|end_of_text|>",),
        "llama-bpe",
    ),
    "exaone4": Family(
        "Exaone4",
        TIED | HEAD | {"sliding_window": None, "layer_types": ["full_attention"] * 2},
        bpe("gpt2", EXAONE_TOKENS, "[BOS]", "[|endofturn|]", "GPT2Tokenizer"),
        EXAONE,
        "[|endofturn|]",
        ("[|endofturn|]",),
        "exaone4",
    ),
    "granite_moe": Family(
        "GraniteMoe",
        FAMILIES["granite"].config | {"num_local_experts": 4, "num_experts_per_tok": 2},
        *[getattr(FAMILIES["granite"], name) for name in ("tokenizer", "template", "end", "ends", "pre")],
    ),
}
