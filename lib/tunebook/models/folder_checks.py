"""Everything that can be said about a model folder or an adapter folder without loading it. One finding for each objection.

Meant for a child process: `inspect` and `shapes` are what `limited.call` starts. Opens JSON, safetensors headers and weights;
never a pickle, never Python code.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tunebook.models import safetensors_header, tokenizer_checks
from tunebook.models.adapter_checks import adapter_findings
from tunebook.models.file_kind import PICKLES, head_of, is_pickle
from tunebook.models.gguf_checks import finding
from tunebook.models.gguf_header import Malformed
from tunebook.models.weights_scan import scan_safetensors

LONGEST_JSON = 64 * 2**20
MOST_FILES = 10_000


def read_json(path: Path) -> dict:
    """One JSON object of at most 64 MiB. Raises Malformed."""
    if path.stat().st_size > LONGEST_JSON:
        raise Malformed("length", f"{path.name} has {path.stat().st_size} bytes; at most {LONGEST_JSON} are read")
    value = safetensors_header.parse_strict(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), path.name)
    if not isinstance(value, dict):
        raise Malformed("json", f"{path.name} is no JSON object")
    return value


def inspect(folder: str, scan: bool = True) -> dict:
    """What the folder holds and every objection to it; the keys of `gguf_checks.inspect`."""
    place, found = Path(folder), []
    jsons = {}
    for path in sorted(place.glob("*.json")):
        try:
            jsons[path.name] = read_json(path)
        except Malformed as problem:
            found.append(finding(problem.check, "error", str(problem), "fetch the folder again"))
        except OSError as problem:
            found.append(
                finding("json", "error", f"{path.name} cannot be read ({problem.strerror})", "fetch the folder again")
            )
    is_adapter = (place / "adapter_config.json").exists()
    tensors = _weights(place, jsons, found, scan)
    found += _code(place, jsons) + _pickles(place, bool(tensors))
    config = jsons.get("config.json", {})
    text_config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    if is_adapter:
        found += adapter_findings(
            jsons.get("adapter_config.json", {}), {name: entry[1] for name, entry in tensors.items()}
        )
        tokens, template = {}, ""
    else:
        found += _config(place, config, text_config, tensors)
        try:
            tokens, template, token_findings = tokenizer_checks.inspect(place, jsons, text_config)
        except (TypeError, AttributeError, ValueError, KeyError) as problem:
            message = f"its tokenizer files hold a value of a wrong type ({type(problem).__name__}: {problem})"
            tokens, template, token_findings = (
                {},
                "",
                [finding("tokenizer", "error", message, "fetch the folder again")],
            )
        found += token_findings
    architectures = config.get("architectures")
    return {
        "kind": "adapter" if is_adapter else "folder",
        "architecture": str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        "name": str(jsons.get("adapter_config.json", {}).get("base_model_name_or_path") or "")
        if is_adapter
        else place.name,
        "licence": _licence(place),
        "parameters": sum(_elements(shape) for _, shape, _, _ in tensors.values()),
        "tensors": {
            "count": len(tensors),
            "types": dict(Counter(entry[0] for entry in tensors.values()).most_common()),
        },
        "tokens": tokens,
        "template": template,
        "metadata": _shown(jsons.get("adapter_config.json" if is_adapter else "config.json", {})),
        "findings": found,
    }


def inspect_file(path: str, scan: bool = True) -> dict:
    """The same for one safetensors file."""
    try:
        header = safetensors_header.read(path)
    except Malformed as problem:
        return {
            "kind": "safetensors",
            "findings": [finding(problem.check, "error", f"{problem}", "fetch the file again")],
        }
    tensors = header["tensors"]
    entries = [(name, kind, start, size) for name, (kind, _, start, size) in tensors.items()]
    found = scan_safetensors(path, entries) if scan else []
    if not tensors:
        found.append(finding("tensors", "error", "it holds no tensor", "fetch the file again"))
    return {
        "kind": "safetensors",
        "parameters": sum(_elements(shape) for _, shape, _, _ in tensors.values()),
        "tensors": {
            "count": len(tensors),
            "types": dict(Counter(entry[0] for entry in tensors.values()).most_common()),
        },
        "metadata": _shown(header["metadata"]),
        "findings": found,
    }


def shapes(folder: str) -> dict[str, list[int]]:
    """Shape of every tensor of a folder. Raises InputProblem with the first thing that is wrong in a header."""
    from tunebook.errors import InputProblem

    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            header = safetensors_header.read(str(path))
        except Malformed as problem:
            raise InputProblem(f"{path.name}: {problem}; fetch the file again") from None
        found |= {name: entry[1] for name, entry in header["tensors"].items()}
    return found


def _weights(place: Path, jsons: dict, found: list, scan: bool) -> dict[str, tuple]:
    """name -> (dtype, shape, first byte, bytes) over all safetensors files; objections go to `found`."""
    again, tensors = "fetch the folder again", {}
    for path in sorted(place.glob("*.safetensors")):
        try:
            entries = safetensors_header.read(str(path))["tensors"]
        except (Malformed, OSError) as problem:
            found.append(finding(getattr(problem, "check", "unreadable"), "error", f"{path.name}: {problem}", again))
            continue
        doubled = sorted(tensors.keys() & entries.keys())
        if doubled:
            message = f"{path.name}: tensor {doubled[0]!r} is in another file too"
            found.append(finding("duplicate_tensor", "error", message, again, len(doubled)))
        tensors |= entries
        if scan:
            rows = scan_safetensors(
                str(path), [(name, kind, start, size) for name, (kind, _, start, size) in entries.items()]
            )
            found += [{**row, "message": f"{path.name}: {row['message']}"} for row in rows]
    for name, index in jsons.items():
        if name.endswith(".safetensors.index.json"):
            found += _index(place, name, index, tensors)
    if not tensors and not any(row["severity"] == "error" for row in found):
        found.append(finding("weights", "error", "it holds no readable *.safetensors", "save it with save_pretrained"))
    return tensors


def _index(place: Path, name: str, index: dict, tensors: dict) -> list[dict]:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        return [finding("index", "error", f"{name} has no weight_map", "fetch the folder again")]
    outside = sorted(file for file in set(places.values()) if Path(file).name != file)
    if outside:
        message = f"{name} points out of the folder ({outside[0]!r})"
        return [finding("index", "error", message, "do not use it, and ask where the folder comes from")]
    missing = sorted(file for file in set(places.values()) if not (place / file).exists())
    if missing:
        return [finding("index", "error", f"{name} names {missing[0]!r}, which is not there", "fetch it", len(missing))]
    lost = sorted(places.keys() - tensors.keys())
    if lost:
        return [
            finding("index", "error", f"{name} names the tensor {lost[0]!r}, which no file has", "fetch it", len(lost))
        ]
    return []


def _code(place: Path, jsons: dict) -> list[dict]:
    scripts = sorted(str(path.relative_to(place)) for path in place.rglob("*.py"))
    named = [name for name, value in jsons.items() if value.get("auto_map") or value.get("trust_remote_code")]
    if not scripts and not named:
        return []
    what = ", ".join(scripts[:3] + [f"auto_map in {name}" for name in named])
    fix = "use a model whose architecture transformers knows by itself"
    return [
        finding(
            "remote_code", "error", f"it brings code of its own ({what}), which is never run", fix, len(scripts) or 1
        )
    ]


def _pickles(place: Path, has_weights: bool) -> list[dict]:
    names = []
    for path in sorted(place.rglob("*"))[:MOST_FILES]:
        if path.is_file() and (
            path.suffix.lower() in PICKLES or path.suffix == ".safetensors" and is_pickle(head_of(path))
        ):
            names.append(str(path.relative_to(place)))
    if not names:
        return []
    message = f"{names[0]} is a pickle file, which can run code when it is opened: it is never read"
    fix = "delete it" if has_weights else "ask for safetensors; do not convert it on a machine that matters"
    return [finding("pickle", "warn" if has_weights else "error", message, fix, len(names))]


def _config(place: Path, config: dict, text_config: dict, tensors: dict) -> list[dict]:
    again = "fetch the folder again"
    if not (place / "config.json").exists():
        return [finding("config", "error", "config.json is missing", "give a folder saved with save_pretrained")]
    found = []
    if not isinstance(config.get("model_type"), str) or not isinstance(config.get("architectures"), list):
        found.append(finding("architecture", "error", "config.json names no model_type or no architectures", again))
    shapes_of = {name: entry[1] for name, entry in tensors.items()}
    table = next(
        (shape for name, shape in shapes_of.items() if name.endswith(("embed_tokens.weight", "wte.weight"))), None
    )
    for key, at in (("vocab_size", 0), ("hidden_size", 1)):
        stated = text_config.get(key)
        if table and len(table) == 2 and isinstance(stated, int) and stated != table[at]:
            message = f"config.json says {key} {stated}, the embedding is {table}"
            found.append(finding("size", "error", message, again))
    layers = {int(hit.group(1)) for name in shapes_of if (hit := re.search(r"(?:layers|h|blocks)\.(\d{1,6})\.", name))}
    stated = text_config.get("num_hidden_layers")
    if layers and isinstance(stated, int) and len(layers) != stated:
        message = f"config.json says {stated} layers, the weights have {len(layers)}"
        found.append(finding("size", "error", message, again))
    return found


def _licence(place: Path) -> str:
    card = place / "README.md"
    if card.is_file():
        with open(card, encoding="utf-8", errors="replace") as stream:
            hit = re.search(r"^license:\s*([\w.+-]+)\s*$", stream.read(20_000), re.M)
        if hit:
            return hit.group(1)
    return next((path.name for path in sorted(place.glob("LICEN[SC]E*"))), "")


def _elements(shape: list[int]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def _shown(values: dict) -> dict:
    return {
        key: value for key, value in values.items() if isinstance(value, (int, float, str)) and len(str(value)) < 200
    }
