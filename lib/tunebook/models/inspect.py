"""What a model file or folder is, and every objection to it, before anything is loaded. The work of `tunebook inspect`.

Files are read in a limited child process (`inspection.limited`), templates are rendered in another. Does not load a
model and does not repair one.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import re
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_json, sha256_file
from tunebook.findings import Objections
from tunebook.inspection.adapter_checks import why_unfit
from tunebook.inspection.file_kind import FOLDER, GGUF, PICKLE, file_kind_of, refuse_holes
from tunebook.inspection.gguf_checks import LONGEST_SHOWN
from tunebook.inspection.limited import ChildLimits, Refused, call, look
from tunebook.inspection.template_sandbox import render_probes
from tunebook.models.source import resolve_base, resolve_model, weights_sha256
from tunebook.models.templates import LONGEST_TEMPLATE

SHOWN = ("architecture", "name", "licence", "metadata")  # cut when they are long
# the child that tries the tokenizer imports transformers, and torch with it
TOKENIZER_LIMITS, RANDOM = ChildLimits(60, 180, 8 * 2**30), Path("/dev/urandom")
READERS = {
    FOLDER: "folder_checks:inspect_folder",
    GGUF: "gguf_checks:inspect_gguf",
    "safetensors": "folder_checks:inspect_file",
}


def inspect(target: str, revision: str = "", base: str = "", scan: bool = True, base_revision: str = "") -> dict:
    """Everything known of `target` (a file, a folder, the name of a packaged model, or owner/name with `revision`).

    Keys: `target, kind, bytes, sha256, findings`, and where the file tells: `architecture, name, licence, parameters,
    tensors, tokens, template_sha256, template, template_diff, rendered, metadata`. `base` is the model that the
    template is compared with and that an adapter must fit. Raises InputProblem for what is no model at all.
    """
    path, licence = _place(target, revision)
    kind = file_kind_of(path)
    odd = [
        file.name for file in (path.glob("*") if kind == FOLDER else [path]) if not (file.is_file() or file.is_dir())
    ]
    if odd:
        message = f"{odd[0]} is no regular file (a pipe, a device, or a link to nothing); nothing was read"
        empty = {"target": target, "kind": kind, "bytes": 0, "sha256": "", "tensors": {"count": 0, "types": {}}}
        return {**empty, "findings": Objections("fetch the files themselves", "not_regular").error(message)}
    files, size = _files(path, kind)
    found = {"target": target, "kind": kind, "bytes": size, "sha256": ""}
    if kind == PICKLE:
        message = (
            f"{path.name} is a pickle file (or PyTorch's archive of one), which can run code when it is opened: it was"
            " not read"
        )
        objections = Objections("ask for safetensors or GGUF; do not convert it on a machine that matters", "pickle")
        return {**found, "sha256": _sha256(path, kind), "findings": objections.error(message)}
    read = _read(path, kind, files, size, scan)
    was_taken = "tensors" in read
    found |= {"tensors": {"count": 0, "types": {}}, **read}
    if was_taken:
        found["sha256"] = _sha256(path, kind)
        found["findings"] += _parts(path, found)
    if kind == FOLDER and not found.get("metadata") and not found["tensors"]["count"]:
        raise InputProblem(f"{target} is a folder without a model; give one that holds config.json and *.safetensors")
    found["licence"] = found.get("licence") or licence
    found |= {key: _cut(found[key]) for key in SHOWN if key in found}
    found["findings"] += _tokenizer(path, found) if scan and kind == FOLDER and was_taken else []
    found["findings"] += _template(found, _template_of(base, base_revision) if base else None)
    found["findings"] += _fit(path, base, base_revision) if found["kind"] == "adapter" else []
    return _plain(found)


def _place(target: str, revision: str) -> tuple[Path, str]:
    """Where it is, and the licence that is known of it."""
    try:
        path = Path(target).expanduser()
        os.lstat(path)
    except (OSError, ValueError, RuntimeError) as problem:
        if not isinstance(problem, FileNotFoundError | NotADirectoryError):
            reason = getattr(problem, "strerror", None) or str(problem)
            shown = target if len(target) <= LONGEST_SHOWN else f"{target[:LONGEST_SHOWN]}..."
            raise InputProblem(
                f"{shown} cannot be read ({reason}); give a file, a folder or the id of a model"
            ) from None
        if revision or path.suffix.lower() not in (".gguf", ".safetensors"):
            source = resolve_model(target, revision)
            return source.adapter or source.folder, source.licence
    return path, ""


def _files(path: Path, kind: str) -> tuple[list[Path], int]:
    """The files to read and their bytes. Raises InputProblem for one that is mostly a hole, or gone meanwhile."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if kind == FOLDER else [path]
    try:
        for file in files:
            refuse_holes(file)
        return files, sum(file.stat().st_size for file in files)
    except OSError as problem:
        raise InputProblem(
            f"{problem.filename} cannot be read ({problem.strerror}); is it still being written?"
        ) from None


def _read(path: Path, kind: str, files: list[Path], size: int, scan: bool) -> dict:
    """What the reader of its kind says; without `tensors` where the header was not taken."""
    name = "folder" if kind == FOLDER else "path"
    allowed = [path, *files] if kind == FOLDER else files
    try:
        return look(f"tunebook.inspection.{READERS[kind]}", {name: os.path.realpath(path)}, allowed, size, scan)
    except Refused as problem:
        found = Objections("do not open it with another program", "limits").error(str(problem))
        return {"kind": kind, "metadata": {"kind": kind}, "findings": found}


def _parts(path: Path, found: dict) -> list[dict]:
    """The other parts of a GGUF file in parts must lie beside it, where its name tells theirs."""
    count = (found.get("metadata") or {}).get("split.count")
    name = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", path.name)
    if found["kind"] != GGUF or not name or count != int(name[2]):
        return []
    parts = [f"{name[1]}-{number:05d}-of-{name[2]}.gguf" for number in range(1, count + 1)]
    missing = [part for part in parts if not (path.parent / part).exists()]
    if not missing:
        return []
    message = f"{len(missing)} of its {count} parts are missing beside it, the first is {missing[0]}"
    return Objections("fetch all parts into one folder", "split").error(message, count=len(missing))


def _cut(value):
    """Texts of at most `LONGEST_SHOWN` characters."""
    if isinstance(value, dict):
        return {_cut(key): _cut(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_cut(one) for one in value]
    return value[:LONGEST_SHOWN] + "..." if isinstance(value, str) and len(value) > LONGEST_SHOWN else value


def _sha256(path: Path, kind: str) -> str:
    try:
        return weights_sha256(path) if kind == FOLDER else sha256_file(path)
    except (InputProblem, OSError):
        return ""


def _tokenizer(path: Path, found: dict) -> list[dict]:
    """The strings that the tokenizer's class reads otherwise than its file, where both can be asked."""
    has_errors = any(row["severity"] == "error" for row in found["findings"])
    is_plain = found["tokens"].get("tokenizer") in ("PreTrainedTokenizerFast", "TokenizersBackend")  # the file itself
    files = [name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
    if has_errors or not files or is_plain and files[0] == "tokenizer.json" or not (path / "config.json").is_file():
        return []
    try:
        return call(
            "tunebook.models.loading:read_otherwise",
            {"folder": os.path.realpath(path)},
            [path, *path.iterdir(), RANDOM],
            TOKENIZER_LIMITS,
        )["findings"]
    except InputProblem as problem:
        found = Objections("fetch the tokenizer again", "tokenizer")
        return found.error(f"its tokenizer cannot be read ({problem})")


def _template(found: dict, base: str | None) -> list[dict]:
    """Renders the template, notes its hash, and compares it with the base model's."""
    text, findings = found.get("template", ""), Objections("use another template, for example chatml", "chat_template")
    if not text:
        found["template_sha256"] = ""
        return []
    found["template_sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if len(text) > LONGEST_TEMPLATE:
        found["template"] = ""
        fix = "look at it by hand; templates have a few thousand characters"
        return findings.error(f"its chat template has {len(text)} characters", fix=fix)
    tokens = found["tokens"].get("pieces") or found["tokens"].get("special", {})
    pieces = [tokens.get(name, "") if isinstance(tokens.get(name, ""), str) else "" for name in ("bos", "eos")]
    try:
        found["rendered"] = {name: text[:LONGEST_TEMPLATE] for name, text in render_probes(text, *pieces).items()}
        if not found["rendered"]["user"].strip():
            findings.error("its chat template makes no text of a user's turn")
    except InputProblem as problem:
        findings.error(str(problem))
    if base is not None and base != text:
        lines = difflib.unified_diff(base.splitlines(), text.splitlines(), "base", "this", lineterm="")
        found["template_diff"] = "\n".join(lines)
        message = "its chat template is not the base model's; the difference is shown"
        findings.warn(message, fix="train and serve with one template", check="template_differs")
    return findings


def _template_of(base: str, revision: str) -> str:
    """The base model's template. Raises InputProblem for a base that cannot be read."""
    path, _ = _place(base, revision)
    kind = file_kind_of(path)
    if kind not in READERS:
        raise InputProblem(f"--base {base} is a pickle file, which is not read; give a folder or a GGUF file")
    found = _read(path, kind, *_files(path, kind), scan=False)
    errors = [row["message"] for row in found["findings"] if row["severity"] == "error"]
    if errors and not found.get("template"):
        raise InputProblem(
            f"--base {base}: {errors[0]}; give another base model (`tunebook inspect` lists every objection)"
        )
    return found.get("template", "")


def _fit(adapter: Path, base: str, revision: str) -> list[dict]:
    """Whether an adapter's shapes fit its base model, where that is at hand."""
    found = Objections("name the base model's folder with --base", "adapter_fit")
    try:
        config = read_json(adapter / "adapter_config.json")
        source = resolve_base(adapter, bool(base), base, revision)
        if source is None:
            message = f"its base model {config.get('base_model_name_or_path')} is not here, so the fit was not checked"
            return found.add("info", message, fix="name the base model with --base")
        sides = [
            call("tunebook.inspection.folder_checks:shapes", {"folder": str(one)}, [one, *one.iterdir()])
            for one in (adapter, source.folder)
        ]
    except (InputProblem, OSError) as problem:
        return found.error(str(problem))
    reason = why_unfit(config, *sides)
    return found.error(reason, fix="give the base model that it was trained on") if reason else found


def _plain(value):
    """The value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
