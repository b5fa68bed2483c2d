"""What a file is by its first bytes and its name: GGUF, safetensors, or a pickle, which is never opened.

Does not parse. A name alone is not believed: a pickle called .safetensors is a pickle.
"""

import os
import stat
from pathlib import Path

from tunebook.errors import InputProblem

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz")
GGUF, SAFETENSORS, PICKLE, FOLDER = "gguf", "safetensors", "pickle", "folder"
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7z"}
HOLES_FROM = 2**30  # bytes
LFS_POINTER = b"version https://"
OLD_GGML = (b"lmgg", b"ggml", b"fmgg", b"tjgg", b"algg")


def file_kind_of(path: str | Path) -> str:
    """ "gguf", "safetensors", "pickle" or "folder". Raises InputProblem for what is missing, closed, or none of
    these.
    """
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return FOLDER
        if not stat.S_ISREG(mode):
            raise InputProblem(
                f"{path} is no regular file (a pipe, socket or device); give a .gguf or .safetensors file"
            )
        refuse_holes(path)
        head = head_of(path)
    except (OSError, ValueError) as problem:
        if isinstance(problem, InputProblem):
            raise
        reason = getattr(problem, "strerror", None) or str(problem)
        raise InputProblem(
            f"{path} cannot be read ({reason}); give a .gguf or .safetensors file, or a folder"
        ) from None
    return _by_content(path, head)


def head_of(path: Path) -> bytes:
    """The first 16 bytes."""
    with open(path, "rb", buffering=0) as stream:
        return stream.read(16)


def refuse_holes(path: Path) -> None:
    """Raises InputProblem for a large file of which the disk holds next to nothing: a download that only reserved its
    place.

    A file system that packs or does not count its blocks is asked for a hole too.
    """
    found = os.stat(path)
    if found.st_size <= HOLES_FROM or found.st_blocks * 512 * 100 >= found.st_size:
        return
    with open(path, "rb", buffering=0) as stream:
        try:
            has_hole = os.lseek(stream.fileno(), 0, os.SEEK_HOLE) < found.st_size
        except (OSError, AttributeError):  # not every system can tell
            return
    if has_hole:
        raise InputProblem(
            f"{path} claims {found.st_size} bytes, of which the disk holds {found.st_blocks * 512}: the rest was never"
            " written; fetch it again"
        )


def packed_as(head: bytes) -> str:
    """The name of the compression that a file begins with, or ""."""
    return next((name for magic, name in PACKED.items() if head.startswith(magic)), "")


def is_pickle(head: bytes) -> bool:
    """Whether a file begins like a pickle (protocol 2 to 5) or like the zip archive in which PyTorch keeps one."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _by_content(path: Path, head: bytes) -> str:
    suffix = path.suffix.lower()
    if head.startswith(LFS_POINTER):
        raise InputProblem(f"{path} is a Git LFS pointer, not the file itself; run git lfs pull")
    if head.startswith(b"GGUF"):
        return GGUF
    looks_like_safetensors = len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40
    if is_pickle(head) and not looks_like_safetensors:
        return PICKLE
    if suffix == ".gguf":
        return GGUF
    if suffix == ".safetensors" or looks_like_safetensors:
        return SAFETENSORS
    if head[:4] in OLD_GGML:
        raise InputProblem(f"{path} is an old GGML file from before GGUF; convert the model again")
    if suffix in PICKLES:
        return PICKLE
    what = f" (it is packed with {packed_as(head)}: unpack it first)" if packed_as(head) else ""
    raise InputProblem(
        f"{path} is no model file{what}; give a .gguf or .safetensors file, a model folder or an adapter folder"
    )
