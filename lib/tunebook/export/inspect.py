"""What a model file or folder is, and every objection to it, before anything is loaded. The work of `tunebook inspect`.

Files are read in a limited child process (`models.limited`), templates are rendered in another. Does not load a model and does
not repair one.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.models.adapter_checks import why_unfit
from tunebook.models.file_kind import FOLDER, GGUF, PICKLE, kind_of
from tunebook.models.gguf_checks import finding
from tunebook.models.limited import Limits, Refused, call
from tunebook.models.source import resolve, resolve_base, weights_sha256
from tunebook.models.template_sandbox import render_probes
from tunebook.pipeline.files import read_json, sha256_file

LONGEST_TEMPLATE = 100_000
BYTES_A_SECOND = 50_000_000  # at least so much is looked through in a second, on a slow disk
READERS = {FOLDER: "folder_checks:inspect", GGUF: "gguf_checks:inspect", "safetensors": "folder_checks:inspect_file"}


def inspect(target: str, revision: str = "", base: str = "", scan: bool = True, base_revision: str = "") -> dict:
    """Everything known of `target` (a file, a folder, the name of a packaged model, or owner/name with `revision`).

    Keys: `target, kind, bytes, sha256, findings`, and where the file tells: `architecture, name, licence, parameters, tensors,
    tokens, template_sha256, template, template_diff, rendered, metadata`. `base` is the model that the template is compared with
    and that an adapter must fit. Raises InputProblem for what is no model at all.
    """
    path = Path(target).expanduser()
    licence = ""
    if not os.path.lexists(path) and (revision or path.suffix.lower() not in (".gguf", ".safetensors")):
        source = resolve(target, revision)
        path, licence = source.adapter or source.folder, source.licence
    kind = kind_of(path)
    odd = [
        file.name for file in (path.glob("*") if kind == FOLDER else [path]) if not (file.is_file() or file.is_dir())
    ]
    if odd:
        message = f"{odd[0]} is no regular file (a pipe, a device, or a link to nothing); nothing was read"
        empty = {"target": target, "kind": kind, "bytes": 0, "sha256": "", "tensors": {"count": 0, "types": {}}}
        return {**empty, "findings": [finding("not_regular", "error", message, "fetch the files themselves")]}
    files = sorted(file for file in path.rglob("*") if file.is_file()) if kind == FOLDER else [path]
    size = sum(file.stat().st_size for file in files)
    found = {"target": target, "kind": kind, "bytes": size, "sha256": _sha256(path, kind)}
    if kind == PICKLE:
        message = f"{path.name} is a pickle file (or PyTorch's archive of one), which can run code when it is opened: it was not read"
        fix = "ask for safetensors or GGUF; do not convert it on a machine that matters"
        return {**found, "findings": [finding("pickle", "error", message, fix)]}
    found |= _read(path, kind, files, size, scan)
    if kind == FOLDER and not found.get("metadata") and not found["tensors"]["count"]:
        raise InputProblem(f"{target} is a folder without a model; give one that holds config.json and *.safetensors")
    found["licence"] = found.get("licence") or licence
    found["findings"] += _template(found, _template_of(base, base_revision) if base else None)
    found["findings"] += _fit(path, base, base_revision) if found["kind"] == "adapter" else []
    return _plain(found)


def _read(path: Path, kind: str, files: list[Path], size: int, scan: bool) -> dict:
    seconds = 30 + size // BYTES_A_SECOND
    limits = Limits(cpu_seconds=seconds, wall_seconds=3 * seconds)
    name = "folder" if kind == FOLDER else "path"
    allowed = [path, *files] if kind == FOLDER else files
    try:
        argument = {name: os.path.realpath(path), "scan": scan}
        return call(f"tunebook.models.{READERS[kind]}", argument, allowed, limits)
    except Refused as problem:
        empty = {"tensors": {"count": 0, "types": {}}, "metadata": {"kind": kind}}
        return {**empty, "findings": [finding("limits", "error", str(problem), "do not open it with another program")]}


def _sha256(path: Path, kind: str) -> str:
    if kind != FOLDER:
        return sha256_file(path)
    try:
        return weights_sha256(path)
    except (InputProblem, OSError):
        return ""


def _template(found: dict, base: str | None) -> list[dict]:
    """Renders the template, notes its hash, and compares it with the base model's."""
    text = found.get("template", "")
    if not text:
        found["template_sha256"] = ""
        return []
    found["template_sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if len(text) > LONGEST_TEMPLATE:
        found["template"] = ""
        fix = "look at it by hand; templates have a few thousand characters"
        return [finding("chat_template", "error", f"its chat template has {len(text)} characters", fix)]
    tokens, findings = found["tokens"].get("pieces") or found["tokens"].get("special", {}), []
    pieces = [tokens.get(name, "") if isinstance(tokens.get(name, ""), str) else "" for name in ("bos", "eos")]
    try:
        found["rendered"] = render_probes(text, *pieces)
    except InputProblem as problem:
        findings.append(finding("chat_template", "error", str(problem), "use another template, for example chatml"))
    if base is not None and base != text:
        lines = difflib.unified_diff(base.splitlines(), text.splitlines(), "base", "this", lineterm="")
        found["template_diff"] = "\n".join(lines)
        message = "its chat template is not the base model's; the difference is shown"
        findings.append(finding("template_differs", "warn", message, "train and serve with one template"))
    return findings


def _template_of(base: str, revision: str) -> str:
    return inspect(base, revision, scan=False).get("template", "")


def _fit(adapter: Path, base: str, revision: str) -> list[dict]:
    """Whether an adapter's shapes fit its base model, where that is at hand."""
    try:
        config = read_json(adapter / "adapter_config.json")
        source = resolve(base, revision) if base else resolve_base(adapter, download=False)
        if source is None:
            message = f"its base model {config.get('base_model_name_or_path')} is not here, so the fit was not checked"
            return [finding("adapter_fit", "info", message, "name the base model with --base")]
        sides = [
            call("tunebook.models.folder_checks:shapes", {"folder": str(one)}, [one, *one.iterdir()])
            for one in (adapter, source.folder)
        ]
    except (InputProblem, OSError) as problem:
        return [finding("adapter_fit", "error", str(problem), "name the base model's folder with --base")]
    reason = why_unfit(config, *sides)
    return [finding("adapter_fit", "error", reason, "give the base model that it was trained on")] if reason else []


def _plain(value):
    """The value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
