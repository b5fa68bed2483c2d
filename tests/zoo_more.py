"""Still further published forms, added to `zoo.FAMILIES`: turns that a user's turn opens (HunYuan), one control token for
the beginning of every turn (Seed-OSS), roles in words (BitNet), latent attention (MiniCPM3), experts behind dense layers
(dots1), architectures that transformers trains and llama.cpp does not have (Helium, Zamba2, nanochat), a vocabulary in
SentencePiece's file alone (InternLM3: this one has a first space, of the published one it is not known), layers that share
keys and values and have embeddings of their own (Gemma 4), and a text model of another type than the whole (Ministral 3).
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
NANO = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set told = messages[0]['content'] + '\n\n' %}{%- set turns"
    " = messages[1:] %}{%- else %}{%- set told = '' %}{%- set turns = messages %}{%- endif %}{%- for m in turns %}{%- if"
    " m['role'] == 'user' %}{{ '<|user_start|>' + (told if loop.first else '') + m['content'] + '<|user_end|>' }}{%- else"
    " %}{{ '<|assistant_start|>' + m['content'] + '<|assistant_end|>' }}{%- endif %}{%- endfor %}{%- if"
    " add_generation_prompt %}{{ '<|assistant_start|>' }}{%- endif %}"
)
GEMMA4 = (
    "{{- bos_token -}}{%- set thinks = enable_thinking is defined and enable_thinking %}{%- set turns = messages %}{%- if"
    " thinks or messages[0]['role'] == 'system' %}{{- '<|turn>system\n' + ('<|think|>\n' if thinks else '') -}}{%- if"
    " messages[0]['role'] == 'system' %}{{- messages[0]['content'] | trim -}}{%- set turns = messages[1:] %}{%- endif %}{{-"
    " '<turn|>\n' -}}{%- endif %}{%- for m in turns %}{%- if m['role'] == 'assistant' %}{{- '<|turn>model\n' +"
    " m['content'].split('<channel|>')[-1] | trim -}}{%- else %}{{- '<|turn>' + m['role'] + '\n' + m['content'] | trim -}}{%-"
    " endif %}{{- '<turn|>\n' -}}{%- endfor %}{%- if add_generation_prompt %}{{- '<|turn>model\n' -}}{%- endif %}"
)
MINISTRAL3 = (
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set told = messages[0]['content'] %}{%- set turns ="
    " messages[1:] %}{%- else %}{%- set told = 'You are Ministral.' %}{%- set turns = messages %}{%- endif %}{{-"
    " '[SYSTEM_PROMPT]' + told + '[/SYSTEM_PROMPT]' }}{%- for m in turns %}{%- if (m['role'] == 'user') != (loop.index0 % 2"
    " == 0) %}{{- raise_exception('user and assistant turns have to alternate') }}{%- endif %}{%- if m['role'] == 'user' %}{{-"
    " '[INST]' + m['content'] + '[/INST]' }}{%- else %}{{- m['content'] + eos_token }}{%- endif %}{%- endfor %}"
)
NANOS = (
    "<|bos|>",
    *(f"<|{role}_{side}|>" for role in ("user", "assistant", "python", "output") for side in ("start", "end")),
)
TURNS4 = ("<mask>", "<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>", "<|tool_response>", "<|image>", "<image|>", "<|image|>",
          "<|audio>", "<audio|>", "<|audio|>", "<|video|>")  # fmt: skip
TEKKEN = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "<pad>")
YARN = {"rope_type": "yarn", "type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 128}  # fmt: skip
ROPE4 = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
         "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0}}  # fmt: skip
SEES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
HEARS = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "subsampling_conv_channels": [8, 4]}
HEARS |= {"output_proj_dims": 32}
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
    "nanochat": Family(
        "NanoChat",
        UNTIED | {"num_key_value_heads": 4},
        bpe("nanochat", NANOS, NANOS[0], "<|assistant_end|>", "PreTrainedTokenizerFast", True),
        NANO,
        "<|assistant_end|>",
        ("<|assistant_end|>",),
        form=("jinja",),
    ),
    "internlm3": Family(
        "InternLM3",
        UNTIED | HEAD | {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 50000000.0, "factor": 6.0}},
        ("sp", "llama", IM[1:], "InternLM3Tokenizer"),
        "{{ bos_token }}" + FALCON,
        "<|im_end|>",
        ("</s>", "<|im_end|>"),
        facts={"auto_map": {"AutoTokenizer": ["tokenization_internlm3.InternLM3Tokenizer", None]}},
        config_facts={
            "architectures": ["InternLM3ForCausalLM"],
            "auto_map": {
                "AutoConfig": "configuration_internlm3.InternLM3Config",
                "AutoModelForCausalLM": "modeling_internlm3.InternLM3ForCausalLM",
            },
        },
        notes=("remote_code",),
        faults=("tokenizer",),
        form=("pieces",),
    ),
    "gemma4": Family(
        "Gemma4",
        TIED
        | HEAD
        | {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "global_head_dim": 32}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 64, "num_key_value_heads": 1}
        | {
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 700,
            "final_logit_softcapping": 30.0,
            "rope_parameters": ROPE4,
            "pad_token_id": "<pad>",
        },
        ("sp", "gemma", TURNS4, "GemmaTokenizer"),
        GEMMA4,
        "<turn|>",
        ("<eos>", "<|tool_response>", "<turn|>"),
        head="ForConditionalGeneration",
        beside=TIED
        | {"vision_config": SEES | {"num_key_value_heads": 2, "position_embedding_size": 64}, "audio_config": HEARS}
        | {"image_token_id": "<|image|>", "audio_token_id": "<|audio|>", "video_token_id": "<|video|>"}
        | {
            "boi_token_id": "<|image>",
            "eoi_token_id": "<image|>",
            "boa_token_id": "<|audio>",
            "eoa_token_index": "<audio|>",
        },
        config_facts={
            "text_config": {"global_head_dim": 32, "num_global_key_value_heads": None, "per_layer_config": "absent"}
        },
        facts={"sot_token": "<|turn>", "eot_token": "<turn|>", "soc_token": "<|channel>", "eoc_token": "<channel|>"}
        | {"think_token": "<|think|>", "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
        | {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>", "video_token": "<|video|>"}
        | {"str_token": "<|tool_response>"},
        form=("jinja",),
    ),
    "ministral3": Family(
        "Mistral3",
        TIED | HEAD | {"model_type": "ministral3", "rope_parameters": YARN},
        bpe("tekken", TEKKEN, "<s>", "</s>", "TokenizersBackend", True),
        MINISTRAL3,
        "</s>",
        ("</s>",),
        "tekken",
        head="ForConditionalGeneration",
        beside=TIED
        | {"vision_config": SEES | {"model_type": "pixtral", "image_size": 56, "patch_size": 14}}
        | {"spatial_merge_size": 2, "image_token_index": "[IMG]"},
        form=("jinja",),
    ),
    "ministral3_text": Family(
        "Ministral3",
        TIED | HEAD | {"rope_parameters": YARN},
        bpe("tekken", TEKKEN, "<s>", "</s>", "TokenizersBackend", True),
        MINISTRAL3,
        "</s>",
        ("</s>",),
        "tekken",
        form=("jinja",),
    ),
}
