"""A training in two processes is the training of one, whole in each or spread over both: equal losses, equal weights; a
process that dies ends it in one sentence.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import PartialState
from safetensors.torch import load_file

from tiny_models import CPU
from tunebook.errors import InputProblem, MachineProblem
from tunebook.models.loading import difference, probe
from tunebook.pipeline.notebooks import handed_over
from tunebook.training import ranks
from tunebook.training.ranks import cells, check_processes

IMPORTS = """
import os, signal
import torch
from trl import SFTConfig, SFTTrainer
import test_resume, tiny_models, tiny_training
from tunebook import models, training
"""
BUILD = """
ranks = training.Ranks(processes, 4, context, globals(), sharding)
torch.manual_seed(0)
tokenizer = tiny_models.tokenizer()
"""
CONSTRUCT = """
settings = tiny_training.settings(context.folder, max_length=None, max_steps=-1, num_train_epochs=3.0,
    train_sampling_strategy="sequential", lr_scheduler_type="cosine", learning_rate=1e-3 if method == "full" else 1e-2)
report = training.Report(context)
keep = training.KeepAdapters(2, context.folder / "kept", context.resume_folder, base)
trainer = SFTTrainer(model=tiny_models.tiny_llama(), args=SFTConfig(**settings | ranks.settings()),
    train_dataset=ranks.even(dataset), eval_dataset=dataset, processing_class=tokenizer,
    peft_config=tiny_training.lora(method), callbacks=[report, keep])
ranks.shard(trainer)
training.use_compact_head(trainer), models.use_lean_layers(trainer.model), training.MemoryLadder(trainer)
how = training.Watching(2, 1, 4)
watch = training.Watch(trainer, tiny_training.ROWS, tokenizer, how)
saved = training.Checkpoints(trainer, context.resume_folder, {}, 0.0)
start = saved.last()
expected = training.pilot(trainer, watch)
if ranks.rank and dies:
    trainer.add_callback(test_resume.Stop(3, lambda: os.kill(os.getpid(), signal.SIGKILL)))
"""
TRAIN = """
with ranks.together(trainer, saved):
    trainer.train(resume_from_checkpoint=start)
if not ranks.is_sharded:  # a part of the weights is no result
    torch.save(test_resume.result(trainer)[0], folder / f"weights-{ranks.rank}")
"""


def train(folder: Path, n: int, dies: bool = False, method: str = "lora", sharding: str = "none") -> dict:
    """The namespace after a notebook's cells ran in `n` processes; where they share a model, as if on GPUs."""
    from tiny_models import tokenizer
    from tiny_training import ROWS
    from tunebook.training.dataset import tokenised

    imports = IMPORTS + ("import cpus_as_gpus\n" if sharding == "fsdp" else "")
    code = {"imports": imports, "build": BUILD, "construct": CONSTRUCT, "train": TRAIN, "after": "never = 1 / 0"}
    notebook = [{"cell_type": "code", "id": name, "metadata": {}, "source": text} for name, text in code.items()]
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    path = folder / "notebooks" / "02_tiny.ipynb"
    path.write_text(json.dumps({"cells": notebook, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    ignore = {name: lambda *args: None for name in ("progress", "table")}
    context = SimpleNamespace(folder=folder, resume_folder=folder / "resume", params={}, **ignore)
    context.notebook, context.root = "02_tiny", folder
    dataset = tokenised(ROWS[:7], tokenizer(), 64)  # the last step has three rows of four
    held = {"context": context, "dataset": dataset, "processes": n, "placement": CPU, "dies": dies, "folder": folder}
    held |= {"method": method, "sharding": sharding, "base": SimpleNamespace(name="tiny", revision="", folder=folder)}
    held |= {"placement": replace(CPU, device="cuda")} if sharding == "fsdp" else {}
    for text in (imports, BUILD, CONSTRUCT, TRAIN):
        exec(text, held)
    return held


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    """The other process finds what the tests import, and a machine with two cores."""
    path = os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("lib", "tests", "tests/training"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setattr(ranks, "cores", lambda: 2)
        yield


@pytest.fixture(scope="module")
def two(two_cores, tmp_path_factory):
    """A training in two processes, and the weights of each."""
    folder = tmp_path_factory.mktemp("two")
    return train(folder, 2), [torch.load(folder / f"weights-{rank}") for rank in (0, 1)]


def test_two_processes_train_what_one_does(tmp_path, two):
    """Also with a last step whose rows cannot be divided: accelerate would train the first row twice."""
    one, (two, (first, second)) = train(tmp_path, 1), two
    assert torch.equal(first, second), "every process has the same weights"
    alone = torch.load(tmp_path / "weights-0")
    assert (first - alone).abs().max() < 1e-5 * alone.abs().max()
    losses = [[row["loss"] for row in held["report"].rows] for held in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 6 and losses[0][0] > losses[0][-1]
    watched = [[point["held_out_loss"] for point in held["watch"].points] for held in (one, two)]
    assert watched[0] == pytest.approx(watched[1], rel=1e-4) and len(watched[0]) == 3
    assert two["watch"].points[-1]["kl"] == pytest.approx(one["watch"].points[-1]["kl"], rel=1e-3)
    assert not torch.distributed.is_initialized() and "WORLD_SIZE" not in os.environ, "the notebook is alone again"


def test_a_killed_process_ends_the_training_in_one_sentence_and_the_next_try_ends_alike(tmp_path, two):
    said = r"process 2 of 2 was killed by SIGKILL in step 4: run the stage again, it goes on from step 3"
    with pytest.raises(MachineProblem, match=said):
        train(tmp_path, 2, dies=True)
    assert not torch.distributed.is_initialized() and not ranks._running
    again = train(tmp_path, 2)
    assert again["saved"].resumed_from == 3 and len(again["report"].rows) == 6
    assert all(torch.equal(torch.load(tmp_path / f"weights-{rank}"), two[1][rank]) for rank in (0, 1))


def test_a_model_spread_over_two_processes_trains_as_a_whole_one_and_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    """accelerate spreads over accelerators alone, so two CPU processes are told that they are two GPUs. All weights are
    trained; the first process has them whole afterwards, as it has those of the kept points.
    """
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(PartialState, "__init__", PartialState.__init__)
    one = train(tmp_path / "one", 1, method="full")
    with pytest.raises(MachineProblem, match="process 2 of 2 was killed by SIGKILL in step 4.*goes on from step 3"):
        train(tmp_path / "two", 2, True, "full", "fsdp")
    two = train(tmp_path / "two", 2, False, "full", "fsdp")
    assert two["saved"].resumed_from == 3 and "ACCELERATE_USE_FSDP" not in os.environ
    losses = [[row["loss"] for row in held["report"].rows] for held in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 6
    for point in ("held_out_loss", "kl", "bits_per_byte"):
        seen = [[row[point] for row in held["watch"].points] for held in (one, two)]
        assert seen[0] == pytest.approx(seen[1], rel=1e-3, abs=1e-6) and len(seen[0]) == 3, point
    whole, gathered = (held["trainer"].model for held in (one, two))
    assert difference(probe(whole), probe(gathered)) < 1e-4 and gathered.get_output_embeddings().weight.requires_grad
    kept = [load_file(tmp_path / name / "kept" / "step-3" / "model.safetensors") for name in ("one", "two")]
    assert kept[0].keys() == kept[1].keys() and all(
        (weights - kept[1][name]).abs().max() < 1e-4 for name, weights in kept[0].items()
    )


@pytest.mark.parametrize(
    ("n", "batch", "device", "four_bit", "said"),
    [
        (0, 4, "cpu", False, "at least 1"),
        (3, 4, "cpu", False, "cannot divide 4 rows a step"),
        (64, 64, "cpu", False, "more than the 2 cores"),
        (2, 4, "mps", False, "Apple GPU takes one process"),
        (2, 4, "cuda", True, "4 bits lies on one GPU"),
        (2, 4, "cuda", False, "more than the 0 GPUs"),
    ],
)
def test_processes_that_cannot_be_are_refused_in_a_sentence(n, batch, device, four_bit, said, monkeypatch):
    monkeypatch.setattr(ranks, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputProblem, match=said):
        check_processes(n, batch, device, four_bit)


@pytest.mark.parametrize(
    ("n", "device", "said"), [(1, "cuda", "has one alone"), (2, "cpu", "trains on cpu"), (2, "mps", "on mps")]
)
def test_weights_are_spread_over_gpus_alone(n, device, said, monkeypatch):
    """On one CPU all parts lie in the same memory."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputProblem, match=f"sharding: fsdp spreads .*{said}.*use sharding: none"):
        check_processes(n, 2, device, sharding="fsdp")
    check_processes(2, 2, "cuda", sharding="fsdp")


def test_the_notebooks_cells_from_ranks_to_train_run_in_every_process():
    """What the cells read is handed over, what they make is not."""
    root = Path(__file__).parents[2]
    notebook = json.loads((root / "notebooks" / "02_train_sft.ipynb").read_text())["cells"]
    sources = cells(notebook)
    assert "from trl import" in sources[0] and "training.Ranks(" in sources[1] and ".train(" in sources[-1]
    made_before = ("trainer", "student", "watch")  # by a first run in the same kernel
    names = dict.fromkeys(
        ("dataset", "tokenizer", "batch_size", "validated", "training", "context", "In", *made_before)
    )
    assert handed_over(sources, names) == ["batch_size", "dataset", "tokenizer"]
    with pytest.raises(InputProblem, match="save it first"):
        cells([cell for cell in notebook if cell["id"] != "build"])
