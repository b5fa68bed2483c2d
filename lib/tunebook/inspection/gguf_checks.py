"""What a readable GGUF header promises and does not keep: tokenizer, special tokens, sizes, weights. One finding each.

Meant for a child process: `inspect_gguf` is what `limited.call` starts. Does not render the chat template and
does not load the model.
"""

import math
from collections import Counter

from tunebook.findings import Objections
from tunebook.inspection.gguf_header import STRING, TYPES, Header, Malformed, read_gguf, short_value
from tunebook.inspection.weight_files import scan_gguf

TOKENS = "tokenizer.ggml.tokens"
SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator")
ADAPTER_SUFFIXES = (".lora_a", ".lora_b")
LONGEST_SHOWN, MOST_SHOWN = 200, 1000  # characters of a value, and keys


def inspect_gguf(path: str, scan: bool = True) -> dict:
    """What the file is and every objection to it: `kind` ("gguf" or "gguf_adapter"), `architecture`, `tensors`,
    `tokens`, `template`, `licence`, `metadata`, `findings`. With `scan` the weights are read for NaN and infinity.
    """
    try:
        header = read_gguf(path)
    except Malformed as problem:
        found = Objections("fetch or export the file again; no loader should open it")
        return {"kind": "gguf", "findings": found.error(str(problem), check=problem.check)}
    is_adapter = header.metadata.get("general.type") == "adapter"
    found = Objections("export it again with llama.cpp's converter")
    for check in (
        _architecture,
        *((_adapter,) if is_adapter else (_demands, _tokenizer, _special_tokens, _sizes)),
        _trailing,
    ):
        check(header, found)
    if scan:
        found += scan_gguf(path, header)
    return {**_describe(header), "kind": "gguf_adapter" if is_adapter else "gguf", "findings": found}


def _describe(header: Header) -> dict:
    data = header.metadata
    types = Counter(TYPES[tensor.kind].name for tensor in header.tensors)
    special = {name: _special_id(header, name) for name in SPECIAL if _special_id(header, name) is not None}
    shown = {
        key: value
        for key, value in data.items()
        if key not in header.arrays
        and key != "tokenizer.chat_template"
        and (not isinstance(value, str) or len(value) < LONGEST_SHOWN)
    }
    shown = {key[:LONGEST_SHOWN]: shown[key] for key in list(shown)[:MOST_SHOWN]}
    tokens = data.get(TOKENS, [])
    names = {
        name: str(tokens[at])[:LONGEST_SHOWN]
        for name, at in special.items()
        if isinstance(tokens, list) and 0 <= at < len(tokens)
    }
    return {
        "version": header.version,
        "architecture": _text(header, "general.architecture")[:LONGEST_SHOWN],
        "name": _text(header, "general.name")[:LONGEST_SHOWN],
        "licence": _text(header, "general.license")[:LONGEST_SHOWN],
        "parameters": sum(math.prod(tensor.dims) for tensor in header.tensors),
        "tensors": {"count": len(header.tensors), "types": dict(types.most_common())},
        "tokens": {
            "vocabulary": len(tokens) if isinstance(tokens, list) else 0,
            "tokenizer": _text(header, "tokenizer.ggml.model")[:LONGEST_SHOWN],
            "special": special,
            "pieces": names,
            "add_bos": data.get("tokenizer.ggml.add_bos_token"),
        },
        "template": _text(header, "tokenizer.chat_template"),
        "metadata": shown,
    }


def _text(header: Header, key: str) -> str:
    value = header.metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _special_id(header: Header, name: str):
    value = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _architecture(header: Header, found: Objections) -> None:
    arch = _text(header, "general.architecture")
    if not arch:
        found.error("general.architecture is missing or no text", check="architecture")
    elif len(arch) > LONGEST_ARCHITECTURE:
        message = f"general.architecture is {short_value(arch)} with {len(arch)} characters"
        found.error(f"{message}, which is no architecture's name", check="architecture")


def _demands(header: Header, found: Objections) -> None:
    """What llama.cpp needs of the file."""
    arch = _text(header, "general.architecture")
    for message in odd_types(header):
        found.error(message, check="key_type")
    if not 0 < len(arch) <= LONGEST_ARCHITECTURE:
        return
    for message in odd_numbers(header, arch):
        found.error(message, check="hyperparameter")
    is_part = header.metadata.get("split.count", 1) != 1
    missing = [] if is_part or not header.tensors else missing_tensors(header, arch)
    if missing:
        found.error(
            f"{len(missing)} tensors are missing, the first is {missing[0]}", check="tensors", count=len(missing)
        )


def _tokenizer(header: Header, found: Objections) -> None:
    data, own = header.metadata, Objections("convert it again from a folder that holds the tokenizer", "tokenizer")
    tokens = data.get(TOKENS)
    if header.arrays.get(TOKENS) != STRING or not tokens:
        found += own.error("it has no tokenizer (tokenizer.ggml.tokens is missing)")
        return
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        values = data.get(key)
        if values is None:
            continue
        if key not in header.arrays or len(values) != len(tokens):
            length = len(values) if key in header.arrays else "no array"
            own.error(f"{key} has {length} entries for {len(tokens)} tokens")
        elif any(isinstance(value, str) for value in values):
            own.error(f"{key} holds texts, expected numbers")
        elif any(value != value for value in values):
            own.error(f"{key} holds NaN")
    _doubled(tokens, own)
    if _text(header, "tokenizer.ggml.model") in ("", "none", "no_vocab"):
        name = "missing" if data.get("tokenizer.ggml.model") is None else short_value(data["tokenizer.ggml.model"])
        own.error(f"tokenizer.ggml.model is {name}: llama.cpp cannot split text")
    if _text(header, "tokenizer.ggml.model") == "gpt2" and header.arrays.get("tokenizer.ggml.merges") != STRING:
        own.error("a gpt2 tokenizer without tokenizer.ggml.merges")
    if not _text(header, "tokenizer.chat_template"):
        fix = "export it from a model with a chat template, else prompts are guessed"
        own.warn("it has no chat template", fix=fix, check="chat_template")
    found += own


def _doubled(tokens: list[str], found: Objections) -> None:
    """llama.cpp aborts on a token that is there twice; it ends a token at a zero byte, and gives empty ones a name."""
    cut = [token for token in tokens if "\0" in token]
    if cut:
        message = (
            f"{len(cut)} tokens hold a zero byte, at which llama.cpp ends them, the first is {short_value(cut[0])}"
        )
        found.error(message, count=len(cut))
    counts = Counter(tokens)
    doubled = [token for token, count in counts.items() if count > 1 and token]
    if doubled:
        message = f"{len(doubled)} tokens are in the vocabulary twice, the first is {short_value(doubled[0])}"
        found.error(f"{message}: llama.cpp aborts", check="doubled_tokens", count=len(doubled))
    if counts[""] > 1:
        found.warn(f"{counts['']} tokens of the vocabulary are empty", check="doubled_tokens", count=counts[""])


def _special_tokens(header: Header, found: Objections) -> None:
    tokens, own = header.metadata.get(TOKENS), Objections("set it to the id that the tokenizer has, and export again")
    own.check, count = "special_token", len(tokens) if isinstance(tokens, list) else 0
    for name in SPECIAL:
        key = f"tokenizer.ggml.{name}_token_id"
        value = header.metadata.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count):
            own.error(f"{key} is {short_value(value)}, the vocabulary has {count} tokens")
    if count and _special_id(header, "eos") is None and _special_id(header, "eot") is None:
        own.warn("no end token is named (eos, eot): generation may not stop")
    found += own


def _sizes(header: Header, found: Objections) -> None:
    data, arch = header.metadata, _text(header, "general.architecture")
    is_part = isinstance(data.get("split.count"), int) and data["split.count"] > 1
    if not header.tensors and not is_part:  # the first part of several may hold the metadata alone
        found.error("it holds no tensor", check="tensors")
        return
    if is_part:
        number = data["split.no"] if isinstance(data.get("split.no"), int) else 0
        message = f"part {number + 1} of {data['split.count']}: only this part was looked at"
        found.add("info", message, fix="look at the other parts too", check="split")
        if "split.no" not in data or number >= data["split.count"]:
            message = f"split.no is {short_value(data.get('split.no'))} of {data['split.count']} parts"
            found.error(f"{message}, which count from 0", fix="fetch the parts again", check="split")
    table = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if table is None:
        if not is_part:
            found.error("the tensor token_embd.weight is missing", check="tensors")
        return
    tokens, width = data.get(TOKENS), data.get(f"{arch}.embedding_length")
    if len(table.dims) != 2 or isinstance(tokens, list) and table.dims[1] != len(tokens):
        message = f"token_embd.weight is {list(table.dims)}, the vocabulary has {len(tokens or [])} tokens"
        found.error(message, check="vocabulary_size")
    if isinstance(width, int) and table.dims[0] != width:
        message = f"token_embd.weight has rows of {table.dims[0]}, {arch}.embedding_length is {width}"
        found.error(message, check="hyperparameter")


def _adapter(header: Header, found: Objections) -> None:
    own = Objections("convert the adapter again", "adapter")
    if _text(header, "adapter.type") != "lora":
        own.error(f"adapter.type is {short_value(header.metadata.get('adapter.type'))}, not lora")
    if not isinstance(header.metadata.get("adapter.lora.alpha"), float):
        own.error("adapter.lora.alpha is missing")
    sides: dict[str, dict] = {}
    for tensor in header.tensors:
        stem, dot, side = tensor.name.rpartition(".")
        if tensor.name.endswith("_norm.weight"):  # llama.cpp passes these over
            continue
        sides.setdefault(stem if dot + side in ADAPTER_SUFFIXES else tensor.name, {})[dot + side] = tensor
    alone = [stem for stem, pair in sides.items() if set(pair) != set(ADAPTER_SUFFIXES)]
    if alone or not sides:
        what = f"{alone[0]} lacks its other half" if alone else "it holds no tensor"
        own.error(what, count=max(1, len(alone)))
    for stem, pair in sides.items():
        # llama.cpp takes those of the embedding the other way round; experts have a third dimension
        rank = 0 if stem == "token_embd.weight" else 1
        if stem not in alone and (*pair[".lora_a"].dims, 1)[rank] != pair[".lora_b"].dims[0]:
            own.error(f"{stem}: the ranks of its two halves differ")
    found += own


def _trailing(header: Header, found: Objections) -> None:
    end = max((tensor.start + tensor.bytes for tensor in header.tensors), default=header.data_start)
    extra = header.file_bytes - -(-end // header.alignment) * header.alignment
    if extra > 0:
        fix = "ask where the file comes from: nothing belongs there"
        found.warn(f"{extra} bytes follow the last tensor", fix=fix, check="trailing_bytes", count=extra)


# metadata key -> the one value type (a number of GGUF) that llama.cpp takes, with its name
KEY_TYPES = {"split.no": (2, "uint16"), "split.count": (2, "uint16"), "tokenizer.ggml.model": (8, "text")}
KEY_TYPES |= {f"tokenizer.ggml.{key}": (7, "bool") for key in ("add_bos_token", "add_eos_token", "add_space_prefix")}
KEY_TYPES["tokenizer.ggml.pre"] = (8, "text")
MOST_BLOCKS = 512

# architectures whose every block holds these tensors, and that have the rms epsilon; other ones may leave blocks out
PLAIN = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "smollm3", "mistral3")
BLOCK_TENSORS = (
    ("attn_norm",), ("attn_q", "attn_qkv"), ("attn_output",), ("ffn_norm",), ("ffn_down", "ffn_down_exps",
    "ffn_down.0"),
)  # fmt: skip
RMS_EPSILON = "attention.layer_norm_rms_epsilon"
EPSILONS = (RMS_EPSILON, "attention.layer_norm_epsilon")
NEEDED = ("block_count", "context_length", "embedding_length", "attention.head_count")
LONGEST_ARCHITECTURE = 100  # characters


def odd_types(header) -> list[str]:
    """Known keys of a wrong type."""
    return [
        f"{key} is {short_value(header.metadata[key])}, which is not of the type that llama.cpp reads there ({name})"
        for key, (kind, name) in KEY_TYPES.items()
        if header.kinds.get(key, kind) != kind
    ]


def odd_numbers(header, arch: str) -> list[str]:
    """Sizes that are missing or out of range."""
    data, found = header.metadata, []
    for key in NEEDED:
        value = data.get(f"{arch}.{key}")
        values = value if isinstance(value, list) else [value]
        if not values or any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in values):
            found.append(
                f"{arch}.{key} is {'missing' if value is None else short_value(value)}, expected a whole number"
            )
        elif key == "block_count" and not 1 <= values[0] <= MOST_BLOCKS:
            found.append(f"{arch}.{key} is {values[0]}, expected 1 to {MOST_BLOCKS}")
    for key in EPSILONS:
        value = data.get(f"{arch}.{key}", None if key == RMS_EPSILON and arch in PLAIN else 0.0)
        if not isinstance(value, float) or not math.isfinite(value) or value < 0:
            found.append(
                f"{arch}.{key} is {'missing' if value is None else short_value(value)}, expected a number from 0 on"
            )
    return found


def missing_tensors(header, arch: str) -> list[str]:
    """Names of tensors that are not there, for architectures in which every block has the same."""
    names, count = {tensor.name for tensor in header.tensors}, header.metadata.get(f"{arch}.block_count")
    if arch not in PLAIN or not isinstance(count, int) or not 1 <= count <= MOST_BLOCKS:
        return []
    return [
        f"blk.{block}.{either[0]}.weight"
        for block in range(count)
        for either in BLOCK_TENSORS
        if not any(f"blk.{block}.{name}.weight" in names for name in either)
    ]
