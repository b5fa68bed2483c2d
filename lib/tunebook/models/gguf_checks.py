"""What a readable GGUF header promises and does not keep: tokenizer, special tokens, sizes, weights. One finding each.

Meant for a child process: `inspect` is what `limited.call` starts. Does not render the chat template and does not load the model.
"""

from __future__ import annotations

from collections import Counter

from tunebook.models.gguf_demands import LONGEST_ARCHITECTURE, missing_tensors, odd_numbers, odd_types
from tunebook.models.gguf_header import STRING, Header, Malformed, read, short
from tunebook.models.gguf_types import TYPES
from tunebook.models.weights_scan import scan_gguf

TOKENS = "tokenizer.ggml.tokens"
SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator")
ADAPTER_SUFFIXES = (".lora_a", ".lora_b")
LONGEST_SHOWN, MOST_SHOWN = 200, 1000  # characters of a value, and keys


def finding(check: str, severity: str, message: str, fix: str, count: int = 1) -> dict:
    """A finding as JSON has it; an artefact has no rows."""
    return {"check": check, "severity": severity, "count": count, "rows": [], "message": message, "fix": fix}


def inspect(path: str, scan: bool = True) -> dict:
    """What the file is and every objection to it: `kind` ("gguf" or "gguf_adapter"), `architecture`, `tensors`, `tokens`,
    `template`, `licence`, `metadata`, `findings`. With `scan` the weights are read for NaN and infinity.
    """
    try:
        header = read(path)
    except Malformed as problem:
        fix = "fetch or export the file again; no loader should open it"
        return {"kind": "gguf", "findings": [finding(problem.check, "error", f"{problem}", fix)]}
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
        return [finding("architecture", "error", "general.architecture is missing or no text", fix)]
    if len(arch) > LONGEST_ARCHITECTURE:
        message = f"general.architecture is {short(arch)} with {len(arch)} characters, which is no architecture's name"
        return [finding("architecture", "error", message, fix)]
    return []


def _demands(header: Header) -> list[dict]:
    """What `gguf_demands` tells of the file."""
    arch, fix = _text(header, "general.architecture"), "export it again with llama.cpp's converter"
    found = [finding("key_type", "error", message, fix) for message in odd_types(header)]
    if not 0 < len(arch) <= LONGEST_ARCHITECTURE:
        return found
    found += [finding("hyperparameter", "error", message, fix) for message in odd_numbers(header, arch)]
    is_part = header.metadata.get("split.count", 1) != 1
    missing = [] if is_part or not header.tensors else missing_tensors(header, arch)
    if missing:
        message = f"{len(missing)} tensors are missing, the first is {missing[0]}"
        found.append(finding("tensors", "error", message, fix, len(missing)))
    return found


def _tokenizer(header: Header) -> list[dict]:
    data, again = header.metadata, "convert it again from a folder that holds the tokenizer"
    tokens = data.get(TOKENS)
    if header.arrays.get(TOKENS) != STRING or not tokens:
        return [finding("tokenizer", "error", "it has no tokenizer (tokenizer.ggml.tokens is missing)", again)]
    found = []
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        values = data.get(key)
        if values is None:
            continue
        if key not in header.arrays or len(values) != len(tokens):
            length = len(values) if key in header.arrays else "no array"
            found.append(finding("tokenizer", "error", f"{key} has {length} entries for {len(tokens)} tokens", again))
        elif any(isinstance(value, str) for value in values):
            found.append(finding("tokenizer", "error", f"{key} holds texts, expected numbers", again))
        elif any(value != value for value in values):
            found.append(finding("tokenizer", "error", f"{key} holds NaN", again))
    found += _doubled(tokens, again)
    if _text(header, "tokenizer.ggml.model") in ("", "none", "no_vocab"):
        name = "missing" if data.get("tokenizer.ggml.model") is None else short(data["tokenizer.ggml.model"])
        message = f"tokenizer.ggml.model is {name}: llama.cpp cannot split text"
        found.append(finding("tokenizer", "error", message, again))
    if _text(header, "tokenizer.ggml.model") == "gpt2" and header.arrays.get("tokenizer.ggml.merges") != STRING:
        found.append(finding("tokenizer", "error", "a gpt2 tokenizer without tokenizer.ggml.merges", again))
    if not _text(header, "tokenizer.chat_template"):
        fix = "export it from a model with a chat template, else prompts are guessed"
        found.append(finding("chat_template", "warn", "it has no chat template", fix))
    return found


def _doubled(tokens: list[str], fix: str) -> list[dict]:
    """llama.cpp aborts on a token that is there twice; it ends a token at a zero byte, and gives empty ones a name."""
    found = []
    cut = [token for token in tokens if "\0" in token]
    if cut:
        message = f"{len(cut)} tokens hold a zero byte, at which llama.cpp ends them, the first is {short(cut[0])}"
        found.append(finding("tokenizer", "error", message, fix, len(cut)))
    counts = Counter(tokens)
    doubled = [token for token, count in counts.items() if count > 1 and token]
    if doubled:
        message = (
            f"{len(doubled)} tokens are in the vocabulary twice, the first is {short(doubled[0])}: llama.cpp aborts"
        )
        found.append(finding("doubled_tokens", "error", message, fix, len(doubled)))
    if counts[""] > 1:
        message = f"{counts['']} tokens of the vocabulary are empty"
        found.append(finding("doubled_tokens", "warn", message, fix, counts[""]))
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
                finding("special_token", "error", f"{key} is {short(value)}, the vocabulary has {count} tokens", fix)
            )
    if count and _special_id(header, "eos") is None and _special_id(header, "eot") is None:
        found.append(finding("special_token", "warn", "no end token is named (eos, eot): generation may not stop", fix))
    return found


def _sizes(header: Header) -> list[dict]:
    data, arch = header.metadata, _text(header, "general.architecture")
    fix, found = "export it again with llama.cpp's converter", []
    if not header.tensors:
        return [*found, finding("tensors", "error", "it holds no tensor", fix)]
    is_part = isinstance(data.get("split.count"), int) and data["split.count"] > 1
    if is_part:
        number = data["split.no"] if isinstance(data.get("split.no"), int) else 0
        message = f"part {number + 1} of {data['split.count']}: only this part was looked at"
        found.append(finding("split", "info", message, "look at the other parts too"))
        if "split.no" not in data or number >= data["split.count"]:
            message = f"split.no is {short(data.get('split.no'))} of {data['split.count']} parts, which count from 0"
            found.append(finding("split", "error", message, "fetch the parts again"))
    table = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if table is None:
        if not is_part:
            found.append(finding("tensors", "error", "the tensor token_embd.weight is missing", fix))
        return found
    tokens, width = data.get(TOKENS), data.get(f"{arch}.embedding_length")
    if len(table.dims) != 2 or isinstance(tokens, list) and table.dims[1] != len(tokens):
        message = f"token_embd.weight is {list(table.dims)}, the vocabulary has {len(tokens or [])} tokens"
        found.append(finding("vocabulary_size", "error", message, fix))
    if isinstance(width, int) and table.dims[0] != width:
        message = f"token_embd.weight has rows of {table.dims[0]}, {arch}.embedding_length is {width}"
        found.append(finding("hyperparameter", "error", message, fix))
    return found


def _adapter(header: Header) -> list[dict]:
    fix, found = "convert the adapter again", []
    if _text(header, "adapter.type") != "lora":
        found.append(
            finding("adapter", "error", f"adapter.type is {short(header.metadata.get('adapter.type'))}, not lora", fix)
        )
    if not isinstance(header.metadata.get("adapter.lora.alpha"), float):
        found.append(finding("adapter", "error", "adapter.lora.alpha is missing", fix))
    sides: dict[str, dict] = {}
    for tensor in header.tensors:
        stem, dot, side = tensor.name.rpartition(".")
        sides.setdefault(stem if dot + side in ADAPTER_SUFFIXES else tensor.name, {})[dot + side] = tensor
    alone = [stem for stem, pair in sides.items() if set(pair) != set(ADAPTER_SUFFIXES)]
    if alone or not sides:
        what = f"{alone[0]} lacks its other half" if alone else "it holds no tensor"
        found.append(finding("adapter", "error", what, fix, max(1, len(alone))))
    for stem, pair in sides.items():
        if stem not in alone and pair[".lora_a"].dims[-1] != pair[".lora_b"].dims[0]:
            found.append(finding("adapter", "error", f"{stem}: the ranks of its two halves differ", fix))
    return found


def _trailing(header: Header) -> list[dict]:
    end = max((tensor.start + tensor.bytes for tensor in header.tensors), default=header.data_start)
    extra = header.file_bytes - -(-end // header.alignment) * header.alignment
    if extra <= 0:
        return []
    fix = "ask where the file comes from: nothing belongs there"
    return [finding("trailing_bytes", "warn", f"{extra} bytes follow the last tensor", fix, extra)]
