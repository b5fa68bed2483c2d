"""Checkpoints that are whole or absent, so that an interrupted training comes to the weights of an unbroken one.

transformers writes a checkpoint in place and takes a torn one for a good one; a missing optimizer file starts afresh
without a word. Here the trainer writes into a scratch folder, which gets hashes, reaches the disk and then its name.
Only such a folder is gone on from, and only by a training that is equal in everything that makes the weights. Does not
keep adapters for a comparison (`checkpoints`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import time
import warnings
from pathlib import Path

import torch
from transformers import TrainerCallback

from tunebook.errors import IntegrityProblem, MachineProblem
from tunebook.files import hash_json, read_json, sha256_file, write_json
from tunebook.training.ranks import agreed

NAME = "checkpoint.json"
NEEDED = ("scheduler.pt", "trainer_state.json")
# settings of a trainer that say where it writes and what it shows, never what it learns
SILENT = (
    "output_dir",
    "logging_dir",
    "run_name",
    "save_",
    "report_to",
    "disable_tqdm",
    "log_",
    "push_",
    "hub_",
    "project",
    "trackio",
)
LARGEST_SHARE = 0.05  # of the time that saving may take, where it is not after each step
BATCH = 1000


class Checkpoints(TrainerCallback):
    """Saves the whole state of `trainer` in `folder` every `seconds` (0: after each step), and when the machine asks
    the process to end (SIGTERM).

    `about` holds what else makes the weights: the parameters and the hash of the base model. A checkpoint of a training
    that differs in anything is deleted, never gone on from; `why` says in what it differed. Use:
    `trainer.train(resume_from_checkpoint=checkpoints.last())`.
    """

    def __init__(self, trainer, folder: Path, about: dict, seconds: float):
        self.trainer, self.folder, self.seconds = trainer, Path(folder) / "trainer", seconds
        self.key = fingerprint(trainer, about)
        self.why, self.resumed_from, self.saved = "", 0, []
        self._is_first, self._n = trainer.args.process_index == 0, trainer.args.world_size
        self._is_asked, self._before, self._due = False, None, time.monotonic() + seconds
        self._write, trainer._save_checkpoint = trainer._save_checkpoint, self._save
        trainer.args.output_dir = str(self.folder / "scratch")
        trainer.add_callback(self)

    def last(self) -> str | None:
        """The newest checkpoint of this very training, None where there is none.

        IntegrityProblem where a file of it is missing or differs from its hash: a training is not begun anew in
        silence. Where several processes train, it is the first one's finding.
        """
        newest, self.resumed_from = agreed(self._newest() if self._is_first else (None, 0))
        return newest

    def _newest(self) -> tuple[str | None, int]:
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        steps = sorted(int(path.parent.name.partition("-")[2]) for path in self.folder.glob(f"step-*/{NAME}"))
        if not steps:
            return None, 0
        newest = self.folder / f"step-{steps[-1]}"
        record = read_json(newest / NAME)
        self.why = difference(record["key"], self.key)
        if self.why:
            shutil.rmtree(self.folder)
            return None, 0
        for name, sha256 in record["files"].items():
            if not (newest / name).is_file() or sha256_file(newest / name) != sha256:
                trouble = "differs from its hash" if (newest / name).is_file() else "is missing"
                raise IntegrityProblem(f"{newest / name} {trouble}: delete {self.folder} to begin the training anew")
        return str(newest), steps[-1]

    def on_train_begin(self, args, state, control, **kwargs):
        """Goes on counting tokens where the checkpoint stood, and listens for SIGTERM."""
        counted = [row["num_tokens"] for row in state.log_history if "num_tokens" in row]
        if counted and hasattr(self.trainer, "_total_train_tokens"):
            self.trainer._total_train_tokens = counted[-1]
        if self._is_first and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def on_train_end(self, args, state, control, **kwargs):
        """Leaves SIGTERM to whom it belonged, also one that came in the last step."""
        self._listen_no_more()
        if self._is_asked:
            signal.raise_signal(signal.SIGTERM)

    def on_step_end(self, args, state, control, **kwargs):
        """Asks the trainer to save where it is time; never after the last step, from which transformers would train
        one step more.
        """
        is_time = self._is_asked or time.monotonic() >= self._due
        control.should_save = is_time and state.global_step < state.max_steps

    def _ask(self, number, frame) -> None:
        """The first SIGTERM lets the running step end and be saved; a second one ends the process at once."""
        if self._is_asked:
            self._listen_no_more()
            signal.raise_signal(signal.SIGTERM)
        self._is_asked = True

    def _listen_no_more(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _save(self, model, trial) -> None:
        """In place of the trainer's own saving. MachineProblem where the disk does not take it, and after a SIGTERM."""
        started, step = time.monotonic(), self.trainer.state.global_step
        scratch = self.folder / "scratch" / f"checkpoint-{step}"
        try:
            with (
                warnings.catch_warnings()
            ):  # PEFT looks for the base model's config at each save, by the study's name for it
                warnings.simplefilter("ignore", UserWarning)
                self._write(model, trial)
            if self._n > 1:
                torch.distributed.barrier()  # every process has left its random numbers
            if self._is_first:
                self._seal(scratch, self.folder / f"step-{step}")
        except (OSError, RuntimeError, MachineProblem) as problem:
            shutil.rmtree(scratch.parent, ignore_errors=True)
            self._listen_no_more()
            kept = (
                f"the one of step {self.saved[-1]} is whole, and the stage goes on from it"
                if self.saved
                else "there is none yet"
            )
            raise MachineProblem(
                f"the checkpoint of step {step} cannot be written ({str(problem).splitlines()[0]}); {kept}: free space"
                " and run the stage again"
            ) from problem
        self.saved.append(step)
        took = time.monotonic() - started
        self._due = time.monotonic() + (max(self.seconds, took / LARGEST_SHARE) if self.seconds else 0.0)
        if self._is_asked:
            self._listen_no_more()
            raise MachineProblem(
                f"the machine asked to stop (SIGTERM); step {step} is saved: run the stage again, it goes on from there"
            )

    def _seal(self, scratch: Path, place: Path) -> None:
        """Gives a finished checkpoint its hashes and, when all of it is on the disk, its name; older ones go."""
        for name in (
            "README.md",
            "training_args.bin",
        ):  # a card and settings with paths of this machine; neither is read again
            (scratch / name).unlink(missing_ok=True)
        random = [f"rng_state_{rank}.pth" for rank in range(self._n)] if self._n > 1 else ["rng_state.pth"]
        optimizer = "optimizer.bin" if self.trainer.is_fsdp_enabled else "optimizer.pt"
        if missing := [name for name in (optimizer, *NEEDED, *random) if not (scratch / name).is_file()]:
            raise RuntimeError(f"the trainer left no {missing[0]}")
        files = sorted(path for path in scratch.rglob("*") if path.is_file())
        for path in files:
            _flush(path)
        hashes = {path.relative_to(scratch).as_posix(): sha256_file(path) for path in files}
        write_json(scratch / NAME, {"step": self.trainer.state.global_step, "key": self.key, "files": hashes})
        shutil.rmtree(place, ignore_errors=True)
        os.rename(scratch, place)
        _flush(self.folder)
        shutil.rmtree(scratch.parent)  # TRL's model card
        for other in self.folder.glob("step-*"):
            if other != place:
                shutil.rmtree(other)


def fingerprint(trainer, about: dict) -> dict:
    """What the weights of a training follow from: `about`, the trainer's settings, its rows, the weights that it
    starts from, the machine and the libraries. Equal for two trainings that must come to equal bits.
    """
    settings = {name: value for name, value in trainer.args.to_dict().items() if not name.startswith(SILENT)}
    machine = {
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": str(trainer.args.device),
    }
    machine |= {"gpu": torch.cuda.get_device_name()} if trainer.args.device.type == "cuda" else {}
    held = {"about": about, "settings": settings, "machine": machine, "libraries": _versions()}
    return json.loads(json.dumps(held, default=str)) | {
        "rows": {"sha256": _rows_hash(trainer.train_dataset)},
        "start": {"sha256": _weights_hash(trainer.model)},
    }


def difference(old: dict, new: dict) -> str:
    """In what two fingerprints differ, "" where they are equal.

    >>> difference({"about": {"learning_rate": 0.1}}, {"about": {"learning_rate": 0.2}})
    'learning_rate was 0.1 and is 0.2'
    """
    for part in {**old, **new}:
        before, now = old.get(part, {}), new.get(part, {})
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                is_hash = name == "sha256"
                return f"{part} changed" if is_hash else f"{name} was {before.get(name)} and is {now.get(name)}"
    return ""


def _versions() -> dict:
    from importlib.metadata import version

    code = {path.name: sha256_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))}
    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")} | {
        "code": hash_json(code)
    }


def _rows_hash(dataset) -> str:
    found = hashlib.sha256(" ".join(dataset.column_names).encode())
    for first in range(0, len(dataset), BATCH):
        found.update(json.dumps(dataset[first : first + BATCH], sort_keys=True, default=str).encode())
    return found.hexdigest()


def _weights_hash(model) -> str:
    """Of the weights that are trained; the others are those of the base model."""
    found = hashlib.sha256()
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            weights = weights.full_tensor() if hasattr(weights, "full_tensor") else weights
            found.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
            # a copy: FSDP could never again free the memory of weights that numpy has seen
            found.update(weights.detach().clone().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _flush(path: Path) -> None:
    """Lets a file or a folder reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
