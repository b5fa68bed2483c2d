"""Small tokenizers in the form in which repositories ship them: tokenizer.json of byte-level BPE and of SentencePiece
models.

Trained once on Python's own documentation. Does not write tokenizer_config.json (see `zoo`).
"""

import functools
import json

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "llama3": CL100K,
    "qwen2": CL100K.replace("{1,3}", ""),
    "seed": CL100K.replace("{1,3}", "").replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+"),
    "nanochat": CL100K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)").replace("{1,3}", "{1,2}"),
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen35": CL100K.replace("{1,3}", "").replace(r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+"),
}  # fmt: skip


def texts() -> list[str]:
    """Lines of Python's language reference."""
    from pydoc_data.topics import topics

    return [line for name in sorted(topics)[:12] for line in topics[name].splitlines() if line.strip()]


@functools.cache
def _merges() -> tuple[dict, list]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts(), trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(made.to_str())["model"]
    return model["vocab"], model["merges"]


def byte_level(style: str, specials: tuple) -> tuple[dict, dict, list]:
    """(tokenizer.json, token -> id, special tokens) of a byte-level BPE that splits as the family called `style`
    does.
    """
    vocab, merges = _merges()
    ids = dict(vocab)
    added = _added(specials, ids)
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": style not in SPLITS}
    before = (
        [{"type": "Split", "pattern": {"Regex": SPLITS[style]}, "behavior": "Isolated", "invert": False}]
        if style in SPLITS
        else []
    )
    if style in ("smollm", "starcoder", "cohere"):
        before = [{"type": "Digits", "individual_digits": True}]
    if style == "falconh1":
        before = [
            {
                "type": "Split",
                "pattern": {"Regex": CL100K.replace("{1,3}", "")},
                "behavior": "Isolated",
                "invert": False,
            }
        ]
        plain["use_regex"] = False
    data = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"} if style in ("qwen2", "qwen35", "neox", "cohere") else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*before, plain]} if before else plain,
        "post_processor": {**plain, "trim_offsets": False}, "decoder": {**plain, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": style == "llama3", "vocab": vocab,
                  "merges": merges},
    }  # fmt: skip
    return data, ids, [entry["content"] for entry in added]


def _added(specials: tuple, ids: dict, first: int | None = None) -> list[dict]:
    """Entries of `added_tokens`: `*` after a token marks one that is not special, `^` one that strips what follows."""
    rows = []
    for text in specials:
        name = text.rstrip("*^+")
        at = ids.setdefault(name, len(ids))
        rows.append(
            {
                "id": at,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": text.endswith("^"),
                "normalized": False,
                "special": not text.endswith("*"),
            }
        )
    return rows


@functools.cache
def _piece_model(style: str, specials: tuple) -> bytes:
    import io

    from sentencepiece import SentencePieceTrainer

    names = {
        "pad_id": 0,
        "eos_id": 1,
        "bos_id": 2,
        "unk_id": 3,
        "pad_piece": "<pad>",
        "eos_piece": "<eos>",
        "bos_piece": "<bos>",
        "unk_piece": "<unk>",
    }
    if style == "llama":
        names = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    stream = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts()), model_writer=stream, vocab_size=700, model_type="bpe", byte_fallback=True,
        user_defined_symbols=list(specials),
        add_dummy_prefix=style == "llama", remove_extra_whitespaces=False, normalization_rule_name="identity",
        split_digits=True,
        minloglevel=2, **names,
    )  # fmt: skip
    return stream.getvalue()


def sentencepiece(style: str, specials: tuple, folder) -> tuple[dict, dict, list]:
    """The same for a SentencePiece BPE, Gemma's or Llama's form; writes tokenizer.model into `folder`."""
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    inside = tuple(name for name in specials if not name.endswith("+")) if style == "gemma" else ()
    (folder / "tokenizer.model").write_bytes(_piece_model(style, inside))
    made = SentencePieceExtractor(str(folder / "tokenizer.model")).extract(None)
    vocab, merges = made["vocab"], made["merges"]
    vocab = vocab if isinstance(vocab, dict) else {piece: at for at, (piece, _) in enumerate(vocab)}
    ids = dict(vocab)
    controls = ("<pad>", "<eos>", "<bos>", "<unk>") if style == "gemma" else ("<unk>", "<s>", "</s>")
    added = _added((*(name for name in controls if f"{name}^" not in specials), *specials), ids)
    bos = controls[2] if style == "gemma" else "<s>"
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    steps = [back, {"type": "ByteFallback"}, {"type": "Fuse"}]
    steps += [] if style == "gemma" else [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    data = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": replace if style == "gemma" else {"type": "Sequence", "normalizers": [{"type": "Prepend",
        "prepend": "▁"}, replace]},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
        "invert": False} if style == "gemma" else None,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": bos, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {bos: {"id": bos, "ids": [ids[bos]], "tokens": [bos]}}},
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                  "merges": [list(pair) for pair in merges]},
    }  # fmt: skip
    return data, ids, [entry["content"] for entry in added]
