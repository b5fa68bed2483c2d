"""Models: resolve, load, ask and tokenise a model, whatever form it has; its layers in less time. Everything torch is
imported late.
"""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "this_machine": "device",  # what this machine has
        "choose_placement": "device",  # device and precision, with the reason
        "seed_everything": "device",  # one seed for Python, numpy and torch
        "resolve_model": "source",  # a package, a folder or a Hub id as files on this disk
        "load_tokenizer": "loading",  # tokenizer with its chat template
        "tokenizer_findings": "loading",  # strings that its class reads otherwise than its file
        "load_model": "loading",  # weights, with an adapter merged
        "open_engine": "loading",  # what answers prompts: transformers or llama.cpp
        "BaseModel": "loading",  # the model that a study starts from
        "free_memory": "loading",  # give memory back
        "GgufModel": "gguf_engine",  # a GGUF file through llama.cpp
        "Decoding": "engine",  # how tokens are drawn
        "lora_targets": "abilities",  # which layers take an adapter
        "use_lean_layers": "lean_layers",  # a Llama-like layer with its LoRA in two steps of autograd
        "end_texts": "templates",  # what ends a turn, as text
        "mask_html": "rendering",  # rows with the trained part on colour
        "measure_row": "rendering",  # tokens of a row
        "rendered_question": "rendering",  # one question as the model is asked it, and what ends an answer
        "same_question": "rendering",  # whether two stages ask alike
    },
)
