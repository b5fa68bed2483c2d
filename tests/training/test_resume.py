"""An interrupted training comes to the weights of an unbroken one, or says in one sentence why it does not go on."""

import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from tiny_training import dora, dpo, full, kto, sft
from tunebook.errors import IntegrityProblem, MachineProblem
from tunebook.training.resume import Checkpoints

STEPS = 5


class Stop(TrainerCallback):
    """Calls `action` at the beginning of a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def killed():
    raise KeyboardInterrupt


def begin(build, folder: Path, *callbacks, seconds=0.0, **changes):
    trainer = build(folder, True, max_steps=STEPS, lr_scheduler_type="cosine", **changes)
    checkpoints = Checkpoints(trainer, folder / "resume", {"model": "tiny"}, seconds)
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer, checkpoints


def result(trainer) -> tuple[torch.Tensor, list]:
    weights = [value.detach().flatten() for value in trainer.model.parameters() if value.requires_grad]
    shown = [(row["step"], row["loss"], row["num_tokens"]) for row in trainer.state.log_history if "loss" in row]
    return torch.cat(weights), shown


@functools.cache
def unbroken(build) -> tuple[torch.Tensor, list]:
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = begin(build, Path(folder), seconds=1e6)
        trainer.train()
    return result(trainer)


def assert_goes_on(build, folder: Path, step: int) -> None:
    """Begins anew in `folder`; must go on from `step` and end as an unbroken training does."""
    trainer, checkpoints = begin(build, folder)
    last = checkpoints.last()
    assert Path(last).name == f"step-{step}"
    trainer.train(resume_from_checkpoint=last)
    (weights, shown), (wanted, table) = result(trainer), unbroken(build)
    assert torch.equal(weights, wanted), "bit for bit"
    assert shown == table and len(table) == STEPS
    assert [path.name for path in (folder / "resume" / "trainer").iterdir()] == [f"step-{STEPS - 1}"]


@pytest.mark.parametrize("build", [sft, dora, full, dpo, kto])
def test_a_stopped_training_goes_on_to_the_same_weights_and_the_same_loss_table(tmp_path, build):
    trainer, _ = begin(build, tmp_path, Stop(3, killed))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert_goes_on(build, tmp_path, 3)


CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from test_resume import begin
from tiny_training import sft
trainer, checkpoints = begin(sft, Path(sys.argv[1]))
whole = torch.save
def torn(obj, path, **kwargs):
    whole(obj, path, **kwargs)
    if trainer.state.global_step == 3 and Path(path).name == "optimizer.pt":
        os.truncate(path, Path(path).stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = torn
trainer.train()
"""


def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(tmp_path):
    """transformers would take the torn folder for the newest checkpoint."""
    path = os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("lib", "tests", "tests/training"))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], env=os.environ | {"PYTHONPATH": path}, capture_output=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-500:]
    assert (tmp_path / "resume" / "trainer" / "scratch" / "checkpoint-3" / "optimizer.pt").exists()
    assert_goes_on(sft, tmp_path, 2)


def test_a_machine_that_asks_to_stop_gets_the_step_saved_first(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    trainer, _ = begin(sft, tmp_path, Stop(2, lambda: os.kill(os.getpid(), signal.SIGTERM)), seconds=1e6)
    with pytest.raises(MachineProblem, match=r"SIGTERM.*step 3 is saved"):
        trainer.train()
    assert signal.getsignal(signal.SIGTERM) is before
    assert_goes_on(sft, tmp_path, 3)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    trainer, _ = begin(sft, tmp_path)
    whole = torch.save

    def full(obj, path, **kwargs):
        if trainer.state.global_step == 3 and Path(path).name == "optimizer.pt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(obj, path, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MachineProblem, match=r"step 3 cannot be written \(.*No space left.*step 2 is whole"):
        trainer.train()
    monkeypatch.undo()
    assert not (tmp_path / "resume" / "trainer" / "scratch").exists(), "its torn files give their space back"
    assert_goes_on(sft, tmp_path, 2)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A training that was stopped after three steps."""
    folder = tmp_path_factory.mktemp("half")
    trainer, _ = begin(sft, folder, Stop(3, killed))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    return folder


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt", "adapter_model.safetensors"])
@pytest.mark.parametrize("harm", ["is missing", "differs from its hash"])
def test_a_checkpoint_with_a_missing_or_changed_file_is_refused(tmp_path, half, name, harm):
    """transformers starts with a fresh optimizer, or with other random numbers, without a word."""
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "resume" / "trainer" / "step-3" / name
    if harm == "is missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    checkpoints = Checkpoints.__new__(Checkpoints)
    checkpoints._is_first = True
    checkpoints.folder, checkpoints.key, checkpoints.resumed_from = tmp_path / "resume" / "trainer", key_of(half), 0
    with pytest.raises(IntegrityProblem, match=f"{name} {harm}: delete"):
        checkpoints.last()


def key_of(folder: Path) -> dict:
    from tunebook.files import read_json

    return read_json(folder / "resume" / "trainer" / "step-3" / "checkpoint.json")["key"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"learning_rate": 2e-2}, "learning_rate was 0.01 and is 0.02"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"weight_decay": 0.1}, "weight_decay"),
    ],
)
def test_a_training_with_another_parameter_begins_anew(tmp_path, half, changes, why):
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    _, checkpoints = begin(sft, tmp_path, **changes)
    assert checkpoints.last() is None and why in checkpoints.why
    assert not (tmp_path / "resume" / "trainer").exists(), "the old one can never be taken up later"


def test_other_rows_or_other_weights_begin_anew(tmp_path, half):
    key = key_of(half)
    for part in ("rows", "start"):
        other, checkpoints = tmp_path / part, Checkpoints.__new__(Checkpoints)
        shutil.copytree(half, other)
        checkpoints._is_first = True
        checkpoints.folder, checkpoints.key, checkpoints.resumed_from = (
            other / "resume" / "trainer",
            key | {part: {"sha256": "0"}},
            0,
        )
        assert checkpoints.last() is None and checkpoints.why == f"{part} changed"
