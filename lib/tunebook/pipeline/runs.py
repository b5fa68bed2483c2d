"""Where runs lie, who may write one, and how a stage folder is started over.

Does not read parameters or manifests. A run is a folder: a plain name under the outputs folder, or a path.
"""

import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Self

from tunebook.errors import InputProblem, MachineProblem, did_you_mean

LONGEST_PATH = 4000
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LOCK = ".lock"
NEW = ".new"
# Present from the first second of a run, so a folder that holds none of these is somebody else's.
RUN_MARKS = ("run.json", LOCK)


def find_root(start: str | Path | None = None) -> Path:
    """The checkout: $TUNEBOOK_ROOT, else the nearest folder above `start` with params/base.yaml, else where this
    file lies.
    """
    chosen = os.environ.get("TUNEBOOK_ROOT")
    if chosen:
        if not (Path(chosen) / "params" / "base.yaml").is_file():
            raise InputProblem(f"TUNEBOOK_ROOT={chosen} has no params/base.yaml: set it to the Tunebook checkout")
        return Path(chosen).resolve()
    here = Path(start or Path.cwd()).resolve()
    for folder in [here, *here.parents, Path(__file__).resolve().parents[3]]:
        if (folder / "params" / "base.yaml").is_file():
            return folder
    raise InputProblem(f"no params/base.yaml in {here} or above: run inside the Tunebook checkout or set TUNEBOOK_ROOT")


def outputs_root(root: Path) -> Path:
    """$TUNEBOOK_OUTPUTS, else outputs/ in the checkout."""
    chosen = os.environ.get("TUNEBOOK_OUTPUTS")
    return Path(chosen).expanduser().absolute() if chosen else root / "outputs"


def run_folder_to_write(text: str, outputs: Path) -> Path:
    """Folder of the run `text`: a plain name, or an existing folder that is empty or a run. InputProblem otherwise."""
    if RUN_NAME.fullmatch(text):
        folder = outputs / text
    elif ("/" in text or os.sep in text) and len(text) < LONGEST_PATH and Path(text).is_dir():
        folder = Path(text).resolve()
    else:
        raise InputProblem(
            f"--run {text!r} is neither a plain name (letters, digits, '.', '_', '-') nor the path of an existing"
            " folder"
        )
    if folder.exists() and not folder.is_dir():
        raise InputProblem(f"{folder} is a file, a run is a folder: choose another --run")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / mark).exists() for mark in RUN_MARKS):
        raise InputProblem(f"{folder} holds files and is no run (no run.json): choose another --run")
    return folder


def run_folder_to_read(text: str, outputs: Path) -> Path:
    """Folder of an existing run, by name under `outputs` or by path. InputProblem names the nearest run."""
    candidates = [outputs / text] if RUN_NAME.fullmatch(text) else []
    for folder in [*candidates, Path(text)]:
        if text and folder.is_dir():
            if not any((folder / mark).exists() for mark in RUN_MARKS):
                raise InputProblem(f"{folder} is no run: it has no run.json")
            return folder.resolve()
    names = sorted(p.name for p in outputs.iterdir() if (p / "run.json").exists()) if outputs.is_dir() else []
    remedy = did_you_mean(text, names, f"runs there: {', '.join(names) or 'none'}")
    raise InputProblem(f"no run {text!r} under {outputs} and no such folder: {remedy}")


def run_value(folder: Path, outputs: Path) -> str:
    """What the `run` parameter says about `folder`: its name under `outputs`, else its absolute path."""
    return folder.name if folder.parent == outputs else str(folder)


class RunLock:
    """One writer a run. Held by this process until `release` or its death; the kernel drops it even after kill -9."""

    def __init__(self, folder: Path, writer: str = "tunebook"):
        """`writer` is what another one is told: the stage of a notebook by hand, or the command."""
        self.path, self.writer = folder / LOCK, writer
        self._stream = None

    def acquire(self) -> Self:
        """MachineProblem names the notebook or command, and the process, that holds the run."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(self.path, "a+", encoding="ascii")  # noqa: SIM115 (stays open as long as the lock is held)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            stream.close()
            raise MachineProblem(
                f"run {self.path.parent.name} is being written by {holder}: let it end (or shut its kernel down), then"
                " repeat"
            ) from None
        stream.truncate(0)
        stream.write(f"{self.writer} (process {os.getpid()})\n")
        stream.flush()
        self._stream = stream
        return self

    def release(self) -> None:
        """Let the next writer in; safe to call twice."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_) -> None:
        self.release()


def work_folder(folder: Path, instance: str) -> Path:
    """Where a stage by hand is made; `swap_in` moves it to its place, so that an interrupt leaves the last finished
    one there.
    """
    if (folder / instance).is_symlink():
        raise InputProblem(f"{folder / instance} is a link: a stage folder is replaced when its stage runs")
    return folder / NEW / instance


def swap_in(folder: Path, instance: str) -> Path:
    """Put the finished stage in the place of the last one. Returns its place."""
    new, place, old = folder / NEW / instance, folder / instance, folder / NEW / f"{instance}.old"
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(folder / NEW, ignore_errors=True)
    return place


def start_over(folder: Path) -> None:
    """Empty a stage folder. The manifest goes first, so a crash on the way leaves nothing that looks finished."""
    if folder.is_symlink():
        raise InputProblem(
            f"{folder} is a link: a stage folder is emptied when its stage runs, so it must be a real folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
