"""Everything that can be said about a model folder or an adapter folder without loading it. One finding for each
objection.

Meant for a child process: `limited.call` starts its functions. Opens JSON, safetensors headers and
weights; never a pickle, never Python code.
"""

import math
import re
from collections import Counter
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.findings import Objections
from tunebook.inspection import tokenizer_checks, weight_files
from tunebook.inspection.adapter_checks import adapter_findings
from tunebook.inspection.config_checks import code_findings, config_findings
from tunebook.inspection.file_kind import LFS_POINTER, PICKLE, PICKLES, file_kind_of, head_of
from tunebook.inspection.gguf_header import Malformed
from tunebook.inspection.weight_files import BOM, loaded_files, read_small_json, scan_safetensors

MOST_FILES = 10_000
OUTSIDE_FIX = "do not use it, and ask where the folder comes from"


def inspect_folder(folder: str, scan: bool = True) -> dict:
    """What the folder holds and every objection to it; the keys of `inspect_gguf`."""
    place, found = Path(folder), Objections("fetch the folder again")
    jsons = _jsons(place, found)
    is_adapter = (place / "adapter_config.json").exists()
    tensors = _weights(place, jsons, found, scan)
    stem = "adapter_model" if is_adapter else "model"
    if tensors and not any((place / f"{stem}.safetensors{end}").exists() for end in ("", ".index.json")):
        message = f"it has no {stem}.safetensors (or an index of its parts), and weights of another name are not read"
        found.error(message, fix="name the file so", check="weights")
    found += code_findings(place, jsons)
    _add_pickles(place, bool(tensors), found)
    config, settings = jsons.get("config.json", {}), jsons.get("adapter_config.json", {})
    text_config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    tokens, template = {}, ""
    if is_adapter:
        found += adapter_findings(settings, {name: entry[1] for name, entry in tensors.items()})
    else:
        found += config_findings(place, config, text_config, tensors)
    if not is_adapter or "tokenizer_config.json" in jsons:
        tokens, template = _tokenizer(place, jsons, {} if is_adapter else text_config, is_adapter, found)
    architectures = config.get("architectures")
    return {
        "kind": "adapter" if is_adapter else "folder",
        "architecture": str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        "name": str(settings.get("base_model_name_or_path") or "") if is_adapter else place.name,
        "licence": _licence(place),
        **_counted(tensors),
        "tokens": tokens,
        "template": template,
        "metadata": _shown(settings if is_adapter else config),
        "findings": found,
    }


def _counted(tensors: dict[str, tuple]) -> dict:
    """`parameters` and `tensors` of a summary."""
    types = Counter(entry[0] for entry in tensors.values())
    return {
        "parameters": sum(math.prod(entry[1]) for entry in tensors.values()),
        "tensors": {"count": len(tensors), "types": dict(types.most_common())},
    }


def _jsons(place: Path, found: Objections) -> dict[str, dict]:
    """Every JSON file of the folder by name; objections go to `found`."""
    jsons = {}
    for path in sorted(place.glob("*.json")):
        try:
            jsons[path.name] = read_small_json(path)
            if head_of(path).startswith(BOM):
                message = f"{path.name} begins with a byte order mark, at which transformers stops"
                found.error(message, fix="save it as UTF-8 without one", check="json")
        except Malformed as problem:
            found.error(str(problem), check=problem.check)
        except OSError as problem:
            found.error(f"{path.name} cannot be read ({problem.strerror})", check="json")
    return jsons


def _tokenizer(place: Path, jsons: dict, config: dict, is_adapter: bool, found: Objections) -> tuple[dict, str]:
    """As `tokenizer_checks.inspect_tokenizer`, whatever the types of the values are; objections go to `found`."""
    if is_adapter:
        message = "its own tokenizer and chat template are used, and not the base model's"
        found.add("info", message, fix="compare them with the base model's", check="tokenizer")
    try:
        tokens, template, own = tokenizer_checks.inspect_tokenizer(place, jsons, config)
    except (TypeError, AttributeError, ValueError, KeyError) as problem:
        message = f"its tokenizer files hold a value of a wrong type ({type(problem).__name__}: {problem})"
        found.error(message, check="tokenizer")
        return {}, ""
    found += own
    return tokens, template


def inspect_file(path: str, scan: bool = True) -> dict:
    """The same for one safetensors file."""
    found = Objections("fetch the file again")
    try:
        header = weight_files.read_safetensors(path)
    except Malformed as problem:
        return {"kind": "safetensors", "findings": found.error(str(problem), check=problem.check)}
    tensors = header["tensors"]
    found += scan_safetensors(path, tensors) if scan else []
    if not tensors:
        found.error("it holds no tensor", check="tensors")
    return {"kind": "safetensors", **_counted(tensors), "metadata": _shown(header["metadata"]), "findings": found}


def shapes(folder: str) -> dict[str, list[int]]:
    """Shape of every tensor of a folder. Raises InputProblem with the first thing that is wrong in a header or an
    index.
    """
    found = {}
    for path in loaded_files(Path(folder)):
        try:
            header = _read_header(path)
        except Malformed as problem:
            raise InputProblem(f"{path.name}: {problem}; fetch the file again") from None
        found |= {name: entry[1] for name, entry in header["tensors"].items()}
    for path in sorted(Path(folder).glob("*.safetensors.index.json")):
        try:
            outside = _outside(path.name, read_small_json(path).get("weight_map"))
        except Malformed as problem:
            raise InputProblem(f"{problem}; fetch the file again") from None
        if outside:
            raise InputProblem(f"{outside}; {OUTSIDE_FIX}")
    return found


def _weights(place: Path, jsons: dict, found: Objections, scan: bool) -> dict[str, tuple]:
    """name -> (dtype, shape, first byte, bytes) over the safetensors files that are loaded; objections, also to the
    headers of the others, go to `found`.
    """
    tensors, homes, loaded = {}, {}, loaded_files(place)
    for path in sorted(place.glob("*.safetensors")):
        try:
            entries = _read_header(path)["tensors"]
        except (Malformed, OSError) as problem:
            found.error(f"{path.name}: {problem}", check=getattr(problem, "check", "unreadable"))
            continue
        if path not in loaded:
            homes = dict.fromkeys(entries, path.name) | homes
            continue
        doubled = sorted(tensors.keys() & entries.keys())
        if doubled:
            message = f"{path.name}: tensor {doubled[0]!r} is in another file too"
            found.error(message, check="duplicate_tensor", count=len(doubled))
        tensors |= entries
        homes |= dict.fromkeys(entries, path.name)
        if scan:
            rows = scan_safetensors(str(path), entries)
            found += [{**row, "message": f"{path.name}: {row['message']}"} for row in rows]
    for name, index in jsons.items():
        if name.endswith(".safetensors.index.json"):
            _add_index(place, name, index, homes, found)
    if not tensors and not any(row["severity"] == "error" for row in found):
        found.error("it holds no readable *.safetensors", fix="save it with save_pretrained", check="weights")
    return tensors


def _read_header(path: Path) -> dict:
    if head_of(path).startswith(LFS_POINTER):
        raise Malformed("pointer", "it is only the pointer of Git LFS, not the weights; run git lfs pull")
    return weight_files.read_safetensors(str(path))


def _outside(name: str, places) -> str:
    files = [file for file in places.values() if isinstance(file, str)] if isinstance(places, dict) else []
    outside = sorted(file for file in set(files) if Path(file).name != file)
    return f"{name} points out of the folder ({outside[0]!r})" if outside else ""


def _add_index(place: Path, name: str, index: dict, homes: dict[str, str], found: Objections) -> None:
    """The first objection to an index; `homes` names the file in which each tensor really is."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        found.error(f"{name} has no weight_map", check="index")
        return
    missing = sorted(file for file in set(places.values()) if not (place / file).exists())
    lost = sorted(places.keys() - homes.keys())
    moved = sorted(tensor for tensor, file in places.items() if homes.get(tensor) != file)
    if outside := _outside(name, places):
        found.error(outside, fix=OUTSIDE_FIX, check="index")
    elif missing:
        message = f"{name} names {missing[0]!r}, which is not there"
        found.error(message, fix="fetch it", check="index", count=len(missing))
    elif lost:
        message = f"{name} names the tensor {lost[0]!r}, which no file has"
        found.error(message, fix="fetch it", check="index", count=len(lost))
    elif moved:
        message = f"{name} looks for the tensor {moved[0]!r} in {places[moved[0]]!r}, it is in {homes[moved[0]]!r}"
        found.error(message, check="index", count=len(moved))


def _add_pickles(place: Path, has_weights: bool, found: Objections) -> None:
    names = []
    for path in sorted(place.rglob("*"))[:MOST_FILES]:
        if path.is_file() and (path.suffix.lower() in PICKLES or path.suffix == ".safetensors" and _is_pickle(path)):
            names.append(str(path.relative_to(place)))
    if names:
        message = f"{names[0]} is a pickle file, which can run code when it is opened: it is never read"
        fix = "delete it" if has_weights else "ask for safetensors; do not convert it on a machine that matters"
        found.add("warn" if has_weights else "error", message, fix=fix, check="pickle", count=len(names))


def _is_pickle(path: Path) -> bool:
    try:
        return file_kind_of(path) == PICKLE
    except InputProblem:
        return False


def _licence(place: Path) -> str:
    card = place / "README.md"
    if card.is_file():
        with open(card, encoding="utf-8", errors="replace") as stream:
            hit = re.search(r"^license:\s*([\w.+-]+)\s*$", stream.read(20_000), re.M)
        if hit:
            return hit.group(1)
    return next((path.name for path in sorted(place.glob("LICEN[SC]E*"))), "")


def _shown(values: dict) -> dict:
    return {
        key: value for key, value in values.items() if isinstance(value, (int, float, str)) and len(str(value)) < 200
    }
