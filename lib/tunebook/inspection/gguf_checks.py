"""What a readable GGUF header promises and does not keep: tokenizer, special tokens, sizes, weights. One finding each.

Meant for a child process: `inspect` is what `limited.call` starts. Does not render the chat template and does not load
the model.
"""

from __future__ import annotations

import math
from collections import Counter

from tunebook.inspection.gguf_header import STRING, TYPES, Header, Malformed, read_gguf, short_value
from tunebook.inspection.weight_files import scan_gguf

TOKENS = "tokenizer.ggml.tokens"
SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator")
ADAPTER_SUFFIXES = (".lora_a", ".lora_b")
LONGEST_SHOWN, MOST_SHOWN = 200, 1000  # characters of a value, and keys


def artefact_finding(check: str, severity: str, message: str, fix: str, count: int = 1) -> dict:
    """A finding as JSON has it; an artefact has no rows."""
    return {"check": check, "severity": severity, "count": count, "rows": [], "message": message, "fix": fix}


def inspect_gguf(path: str, scan: bool = True) -> dict:
    """What the file is and every objection to it: `kind` ("gguf" or "gguf_adapter"), `architecture`, `tensors`,
    `tokens`, `template`, `licence`, `metadata`, `findings`. With `scan` the weights are read for NaN and infinity.
    """
    try:
        header = read_gguf(path)
    except Malformed as problem:
        fix = "fetch or export the file again; no loader should open it"
        return {"kind": "gguf", "findings": [artefact_finding(problem.check, "error", f"{problem}", fix)]}
    is_adapter = header.metadata.get("general.type") == "adapter"
    found = _architecture(header)
    found += (
        _adapter(header)
        if is_adapter
        else [*_demands(header), *_tokenizer(header), *_special_tokens(header), *_sizes(header)]
    )
    found += _trailing(header)
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
        "parameters": sum(_elements(tensor.dims) for tensor in header.tensors),
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


def _elements(dims: tuple[int, ...]) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def _text(header: Header, key: str) -> str:
    value = header.metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _special_id(header: Header, name: str):
    value = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _architecture(header: Header) -> list[dict]:
    arch, fix = _text(header, "general.architecture"), "export it again with llama.cpp's converter"
    if not arch:
        return [artefact_finding("architecture", "error", "general.architecture is missing or no text", fix)]
    if len(arch) > LONGEST_ARCHITECTURE:
        message = (
            f"general.architecture is {short_value(arch)} with {len(arch)} characters, which is no architecture's name"
        )
        return [artefact_finding("architecture", "error", message, fix)]
    return []


def _demands(header: Header) -> list[dict]:
    """What `gguf_demands` tells of the file."""
    arch, fix = _text(header, "general.architecture"), "export it again with llama.cpp's converter"
    found = [artefact_finding("key_type", "error", message, fix) for message in odd_types(header)]
    if not 0 < len(arch) <= LONGEST_ARCHITECTURE:
        return found
    found += [artefact_finding("hyperparameter", "error", message, fix) for message in odd_numbers(header, arch)]
    is_part = header.metadata.get("split.count", 1) != 1
    missing = [] if is_part or not header.tensors else missing_tensors(header, arch)
    if missing:
        message = f"{len(missing)} tensors are missing, the first is {missing[0]}"
        found.append(artefact_finding("tensors", "error", message, fix, len(missing)))
    return found


def _tokenizer(header: Header) -> list[dict]:
    data, again = header.metadata, "convert it again from a folder that holds the tokenizer"
    tokens = data.get(TOKENS)
    if header.arrays.get(TOKENS) != STRING or not tokens:
        return [artefact_finding("tokenizer", "error", "it has no tokenizer (tokenizer.ggml.tokens is missing)", again)]
    found = []
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        values = data.get(key)
        if values is None:
            continue
        if key not in header.arrays or len(values) != len(tokens):
            length = len(values) if key in header.arrays else "no array"
            found.append(
                artefact_finding("tokenizer", "error", f"{key} has {length} entries for {len(tokens)} tokens", again)
            )
        elif any(isinstance(value, str) for value in values):
            found.append(artefact_finding("tokenizer", "error", f"{key} holds texts, expected numbers", again))
        elif any(value != value for value in values):
            found.append(artefact_finding("tokenizer", "error", f"{key} holds NaN", again))
    found += _doubled(tokens, again)
    if _text(header, "tokenizer.ggml.model") in ("", "none", "no_vocab"):
        name = "missing" if data.get("tokenizer.ggml.model") is None else short_value(data["tokenizer.ggml.model"])
        message = f"tokenizer.ggml.model is {name}: llama.cpp cannot split text"
        found.append(artefact_finding("tokenizer", "error", message, again))
    if _text(header, "tokenizer.ggml.model") == "gpt2" and header.arrays.get("tokenizer.ggml.merges") != STRING:
        found.append(artefact_finding("tokenizer", "error", "a gpt2 tokenizer without tokenizer.ggml.merges", again))
    if not _text(header, "tokenizer.chat_template"):
        fix = "export it from a model with a chat template, else prompts are guessed"
        found.append(artefact_finding("chat_template", "warn", "it has no chat template", fix))
    return found


def _doubled(tokens: list[str], fix: str) -> list[dict]:
    """llama.cpp aborts on a token that is there twice; it ends a token at a zero byte, and gives empty ones a name."""
    found = []
    cut = [token for token in tokens if "\0" in token]
    if cut:
        message = (
            f"{len(cut)} tokens hold a zero byte, at which llama.cpp ends them, the first is {short_value(cut[0])}"
        )
        found.append(artefact_finding("tokenizer", "error", message, fix, len(cut)))
    counts = Counter(tokens)
    doubled = [token for token, count in counts.items() if count > 1 and token]
    if doubled:
        message = (
            f"{len(doubled)} tokens are in the vocabulary twice, the first is {short_value(doubled[0])}: llama.cpp"
            " aborts"
        )
        found.append(artefact_finding("doubled_tokens", "error", message, fix, len(doubled)))
    if counts[""] > 1:
        message = f"{counts['']} tokens of the vocabulary are empty"
        found.append(artefact_finding("doubled_tokens", "warn", message, fix, counts[""]))
    return found


def _special_tokens(header: Header) -> list[dict]:
    tokens, found = header.metadata.get(TOKENS), []
    count = len(tokens) if isinstance(tokens, list) else 0
    fix = "set it to the id that the tokenizer has, and export again"
    for name in SPECIAL:
        key = f"tokenizer.ggml.{name}_token_id"
        value = header.metadata.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count):
            found.append(
                artefact_finding(
                    "special_token", "error", f"{key} is {short_value(value)}, the vocabulary has {count} tokens", fix
                )
            )
    if count and _special_id(header, "eos") is None and _special_id(header, "eot") is None:
        found.append(
            artefact_finding("special_token", "warn", "no end token is named (eos, eot): generation may not stop", fix)
        )
    return found


def _sizes(header: Header) -> list[dict]:
    data, arch = header.metadata, _text(header, "general.architecture")
    fix, found = "export it again with llama.cpp's converter", []
    if not header.tensors:
        return [*found, artefact_finding("tensors", "error", "it holds no tensor", fix)]
    is_part = isinstance(data.get("split.count"), int) and data["split.count"] > 1
    if is_part:
        number = data["split.no"] if isinstance(data.get("split.no"), int) else 0
        message = f"part {number + 1} of {data['split.count']}: only this part was looked at"
        found.append(artefact_finding("split", "info", message, "look at the other parts too"))
        if "split.no" not in data or number >= data["split.count"]:
            message = (
                f"split.no is {short_value(data.get('split.no'))} of {data['split.count']} parts, which count from 0"
            )
            found.append(artefact_finding("split", "error", message, "fetch the parts again"))
    table = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if table is None:
        if not is_part:
            found.append(artefact_finding("tensors", "error", "the tensor token_embd.weight is missing", fix))
        return found
    tokens, width = data.get(TOKENS), data.get(f"{arch}.embedding_length")
    if len(table.dims) != 2 or isinstance(tokens, list) and table.dims[1] != len(tokens):
        message = f"token_embd.weight is {list(table.dims)}, the vocabulary has {len(tokens or [])} tokens"
        found.append(artefact_finding("vocabulary_size", "error", message, fix))
    if isinstance(width, int) and table.dims[0] != width:
        message = f"token_embd.weight has rows of {table.dims[0]}, {arch}.embedding_length is {width}"
        found.append(artefact_finding("hyperparameter", "error", message, fix))
    return found


def _adapter(header: Header) -> list[dict]:
    fix, found = "convert the adapter again", []
    if _text(header, "adapter.type") != "lora":
        found.append(
            artefact_finding(
                "adapter", "error", f"adapter.type is {short_value(header.metadata.get('adapter.type'))}, not lora", fix
            )
        )
    if not isinstance(header.metadata.get("adapter.lora.alpha"), float):
        found.append(artefact_finding("adapter", "error", "adapter.lora.alpha is missing", fix))
    sides: dict[str, dict] = {}
    for tensor in header.tensors:
        stem, dot, side = tensor.name.rpartition(".")
        sides.setdefault(stem if dot + side in ADAPTER_SUFFIXES else tensor.name, {})[dot + side] = tensor
    alone = [stem for stem, pair in sides.items() if set(pair) != set(ADAPTER_SUFFIXES)]
    if alone or not sides:
        what = f"{alone[0]} lacks its other half" if alone else "it holds no tensor"
        found.append(artefact_finding("adapter", "error", what, fix, max(1, len(alone))))
    for stem, pair in sides.items():
        if stem not in alone and pair[".lora_a"].dims[-1] != pair[".lora_b"].dims[0]:
            found.append(artefact_finding("adapter", "error", f"{stem}: the ranks of its two halves differ", fix))
    return found


def _trailing(header: Header) -> list[dict]:
    end = max((tensor.start + tensor.bytes for tensor in header.tensors), default=header.data_start)
    extra = header.file_bytes - -(-end // header.alignment) * header.alignment
    if extra <= 0:
        return []
    fix = "ask where the file comes from: nothing belongs there"
    return [artefact_finding("trailing_bytes", "warn", f"{extra} bytes follow the last tensor", fix, extra)]


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
