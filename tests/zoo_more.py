"""Still further published forms, added to `zoo.FAMILIES`: turns that a user's turn opens (HunYuan), one control token for
the beginning of every turn (Seed-OSS), roles in words (BitNet), latent attention (MiniCPM3), experts behind dense layers
(dots1), and architectures that transformers trains and llama.cpp does not have (Helium, Zamba2).
"""

from zoo import FALCON, FAMILIES, HEAD, IM, LLAMA, TIED, UNTIED, Family
from zoo_forms import END, bpe

HUNYUAN = (
    "{%- if messages[0]['role'] == 'system' %}{%- set turns = messages[1:] %}{%- set told = messages[0]['content'] +"
    " '<｜hy_place▁holder▁no▁3｜>' %}{%- else %}{%- set turns = messages %}{%- set told = '' %}{%- endif %}{{-"
    " '<｜hy_begin▁of▁sentence｜>' + told }}{%- for m in turns %}{%- if m['role'] == 'user' %}{{- '<｜hy_User｜>' +"
    " m['content'] + '<｜hy_Assistant｜>' }}{%- else %}{{- m['content'] + '<｜hy_place▁holder▁no▁2｜>' }}{%- endif"
    " %}{%- endfor %}{%- if add_generation_prompt %}{%- if turns[-1]['role'] != 'user' %}{{- '<｜hy_Assistant｜>' }}{%-"
    " endif %}{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n' }}{%- endif %}{%-"
    " endif %}"
)
SEED = (
    "{%- for m in messages %}{{ bos_token + m['role'] + '\n' + m['content'] + eos_token }}{%- endfor %}{%- if"
    " add_generation_prompt %}{{ bos_token + 'assistant\n' }}{%- endif %}"
)
APERTUS = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set turns = messages[1:] %}{{ '<|system_start|>' +"
    " messages[0]['content'] + '<|system_end|>' }}{%- else %}{%- set turns = messages %}{{ '<|system_start|>You are"
    " Apertus.<|system_end|>' }}{%- endif %}{%- for m in turns %}{{ '<|' + m['role'] + '_start|>' + m['content'] + '<|' +"
    " m['role'] + '_end|>' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|assistant_start|>' }}{%- endif %}"
)
BITNET = (
    "{% for m in messages %}{{ (bos_token if loop.first else '') + m['role'] | capitalize + ': ' + m['content'] | trim +"
    " '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
DOTS = (
    "{%- if messages[0]['role'] == 'system' %}{{ '<|system|>' + messages[0]['content'] + '<|endofsystem|>' }}{%- else"
    " %}{{ '<|system|>You are a helpful assistant.<|endofsystem|>' }}{%- endif %}{%- for m in messages %}{%- if m['role']"
    " == 'user' %}{{ '<|userprompt|>' + m['content'] + '<|endofuserprompt|>' }}{%- elif m['role'] == 'assistant' %}{{"
    " '<|response|>' + m['content'] + '<|endofresponse|>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{"
    " '<|response|>' }}{%- endif %}"
)
HY = tuple(f"<｜hy_{name}｜>" for name in ("begin▁of▁sentence", "end▁of▁sentence", "▁pad▁", "User", "Assistant"))
HY += ("<｜hy_place▁holder▁no▁2｜>", "<｜hy_place▁holder▁no▁3｜>", "<think>*", "</think>*")
SEEDS = ("<seed:bos>", "<seed:pad>", "<seed:eos>", "<seed:think>*", "</seed:think>*")
DOTTED = (END, *(f"<|{start}{name}|>" for name in ("system", "userprompt", "response") for start in ("", "endof")))
PARTS = ("system", "user", "assistant")
SWISS = ("<unk>", "<s>", "</s>", "<pad>", *(f"<|{name}_{side}|>" for name in PARTS for side in ("start", "end")))
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
ROUTED = {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1}

FAMILIES |= {
    "hunyuan": Family(
        "HunYuanDenseV1",
        TIED | HEAD,
        bpe("qwen2", HY, HY[0], HY[5], "PreTrainedTokenizerFast"),
        HUNYUAN,
        HY[5],
        (HY[5],),
        "hunyuan-dense",
    ),
    "seed_oss": Family(
        "SeedOss",
        UNTIED | HEAD,
        bpe("seed", SEEDS, SEEDS[0], SEEDS[2], "PreTrainedTokenizerFast"),
        SEED,
        SEEDS[2],
        (SEEDS[2],),
        "seed-coder",
    ),
    "apertus": Family(
        "Apertus",
        UNTIED,
        bpe("llama3", SWISS, "<s>", "<|assistant_end|>", "PreTrainedTokenizerFast", True),
        APERTUS,
        "<|assistant_end|>",
        ("</s>", "<|assistant_end|>"),
        "tekken",
    ),
    "arcee": Family(
        "Arcee",
        UNTIED | HEAD,
        bpe("llama3", (*LLAMA, *IM[1:]), "<|begin_of_text|>", "<|im_end|>", "PreTrainedTokenizerFast", True),
        "{{ bos_token }}" + FALCON,
        "<|im_end|>",
        ("<|end_of_text|>", "<|im_end|>"),
        "afmoe",
    ),
    "minicpm3": Family(
        "MiniCPM3",
        TIED | LATENT | {"num_key_value_heads": 4},
        ("sp", "llama", IM[1:], "LlamaTokenizer"),
        FALCON,
        "<|im_end|>",
        ("</s>", "<|im_end|>"),
        facts={"eos_token": "<|im_end|>"},
    ),
    "dots1": Family(
        "Dots1",
        UNTIED | HEAD | ROUTED | {"moe_intermediate_size": 32, "num_key_value_heads": 4},
        bpe("qwen2", DOTTED, "", "<|endofresponse|>", "Qwen2Tokenizer"),
        DOTS,
        "<|endofresponse|>",
        ("<|endofresponse|>",),
        "qwen2",
        config_facts={"scoring_func": "noaux_tc"},
    ),
    "bitnet": Family(
        "BitNet",
        TIED,
        bpe("llama3", LLAMA, "<|begin_of_text|>", "<|eot_id|>", "PreTrainedTokenizerFast", True),
        BITNET,
        "<|eot_id|>",
        ("<|end_of_text|>", "<|eot_id|>"),
        "llama-bpe",
        config_facts={
            "quantization_config": {
                "quant_method": "bitnet",
                "linear_class": "autobitlinear",
                "quantization_mode": "online",
            }
        },
    ),
    "helium": Family("Helium", UNTIED | HEAD, ("sp", "llama", (), "PreTrainedTokenizerFast"), "", "</s>", ("</s>",)),
    "zamba2": Family(
        "Zamba2",
        TIED
        | {"mamba_d_state": 16, "n_mamba_heads": 4, "num_key_value_heads": 4, "layers_block_type": ["mamba", "hybrid"]},
        ("sp", "llama", IM[1:], "LlamaTokenizer"),
        FALCON,
        "<|im_end|>",
        ("<|im_end|>",),
        facts={"eos_token": "<|im_end|>"},
    ),
}
