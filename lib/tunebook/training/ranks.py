"""One training in several processes of one machine (DDP, or FSDP): the notebook's own cells run in each of them.

The notebook is the first process. From the cell that makes `Ranks` to the one that trains, the others run the cells of
the notebook's file, with the names that those cells read handed over; so nothing is built in a second place, and what
was made before (rows, texts of base's own) is made once. torchrun cannot start a notebook, and accelerate's
`notebook_launcher` forks, which a process that has computed with threads or a GPU does not survive. Rows of a step are
divided, gradients averaged by tokens, and the first process alone records. With `sharding: fsdp` each GPU holds a part
of every weight, gradient and moment, and a layer is whole only while it computes; after the training the first process
has the model whole again. Source: Zhao et al. 2023, PyTorch FSDP; accelerate's FSDP2.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from transformers import TrainerCallback

from tunebook.errors import InputProblem, MachineProblem
from tunebook.machine import cores
from tunebook.pipeline import notebooks
from tunebook.pipeline.notebook_process import die_with_parent
from tunebook.training.dataset import IGNORED

FIRST, LAST = "training.Ranks(", ".train("  # what the first and the last cell hold that every process runs
START_SECONDS, SILENT_SECONDS, LEAVE_SECONDS = 300, 1800, 30  # to start, between two words of a process, to end
MINE = "TUNEBOOK_RANK"  # environment: which process this is, where it is not the first
FLAGS = ("should_save", "should_evaluate", "should_training_stop")
_running: list[Ranks] = []  # those of this notebook that did not end


class Ranks:
    """The processes of a training: `n` of them, `rank` is this one's number. With one, nothing changes.

    `namespace` is the notebook's globals(); `sharding` is "none" or "fsdp". Raises InputProblem where `n` processes
    cannot do `batch_size` rows a step on this machine, or weights cannot be spread, MachineProblem where one does not
    start.
    """

    def __init__(self, n: int, batch_size: int, context, namespace: dict, sharding: str = "none"):
        self.n, self.rank, self.batch_size = n, int(os.environ.get(MINE, 0)), batch_size
        self.is_sharded, self._empty = sharding == "fsdp", None
        self._children, self._threads, self._is_over = [], torch.get_num_threads(), False
        while _running:
            _running.pop().end()
        if self.rank or (n == 1 and not self.is_sharded):
            return
        check_processes(n, batch_size, namespace["placement"].device, namespace.get("four_bit", False), sharding)
        self._folder = Path(tempfile.mkdtemp(prefix="tunebook-ranks-"))
        _running.append(self)
        try:
            self._start(context, namespace)
        except BaseException:
            self.end()
            raise

    def settings(self) -> dict:
        """Arguments for a trainer's config: its share of the rows of a step, and how the processes talk."""
        share = {"per_device_train_batch_size": self.batch_size // self.n}
        talk = {"ddp_find_unused_parameters": False, "ddp_timeout": SILENT_SECONDS}
        if self.n > 1 and not torch.cuda.is_available():
            talk["ddp_backend"] = "gloo"
        if self.is_sharded:
            talk |= {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "FULL_STATE_DICT"}}
        return share | (talk if self.n > 1 else {})

    def shard(self, trainer) -> None:
        """Spreads the model of `trainer` over the processes, layer by layer; with `sharding: none` nothing changes.

        Now and not when the training begins: what is tried before would not fit one GPU either. The trainer's own way
        would take the layers of a PeftModel for one.
        """
        if self.is_sharded:
            from accelerate.utils.fsdp_utils import fsdp2_prepare_model
            from torch.distributed.fsdp import register_fsdp_forward_method

            plugin = trainer.accelerator.state.fsdp_plugin
            if plugin.mixed_precision_policy:  # accelerate's own sums gradients, and gives losses, in half precision
                whole = {"reduce_dtype": torch.float32, "output_dtype": None}
                plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, **whole)
            self._empty = None if self.rank else _without_data(trainer.model)
            fsdp2_prepare_model(trainer.accelerator, trainer.model)
            register_fsdp_forward_method(trainer.model, "generate")
            with torch.no_grad():  # its first pass finds what is trained: with adapters off, for base's own, nothing
                trainer.model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=trainer.args.device))

    def even(self, dataset):
        """`dataset` with rows that train nothing at its end, where the last step would leave a process without any;
        accelerate would train the first rows a second time.
        """
        lacking = -len(dataset) % self.batch_size if self.n > 1 else 0
        if not lacking:
            return dataset
        from datasets import concatenate_datasets

        ids = dataset[0]["input_ids"]
        row = {"input_ids": ids, "labels": [IGNORED] * len(ids)}
        return concatenate_datasets([dataset, type(dataset).from_list([row] * lacking, features=dataset.features)])

    @contextlib.contextmanager
    def together(self, trainer, saved):
        """Around `trainer.train()`: all processes save, evaluate and stop when the first one does; a process that dies
        ends the training in one sentence, which names the last checkpoint of `saved`.
        """
        if self.n == 1:
            yield
            return
        trainer.add_callback(_Agreement())
        trainer.get_eval_dataloader = _undivided(trainer)
        if trainer.args.device.type == "cuda" and not self.rank:
            threading.Thread(target=self._guard, daemon=True).start()
        try:
            yield
            state = whole_state(trainer.model) if self.is_sharded else None
            if self._empty:
                self._empty.load_state_dict(state, assign=True)
                self._empty.tie_weights()
                trainer.model = trainer.model_wrapped = self._empty.to(trainer.args.device)
            torch.distributed.barrier()
            self._is_over = True
        except Exception as problem:
            dead = self._dead(wait=LEAVE_SECONDS if isinstance(problem, RuntimeError) else 0.0)
            if dead is None:
                raise
            goes_on = f"it goes on from step {saved.saved[-1]}" if saved.saved else "there is no checkpoint yet"
            step = trainer.state.global_step + 1
            raise MachineProblem(f"{dead} in step {step}: run the stage again, {goes_on}") from problem
        finally:
            self.end()

    def end(self) -> None:
        """Ends the other processes (those that have finished their work end by themselves) and leaves the group."""
        if self.rank:
            return
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LEAVE_SECONDS if self._is_over else 0)
            child.kill()
            child.wait()
        self._is_over, self._children = True, []
        _leave()
        torch.set_num_threads(self._threads)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self in _running:
            _running.remove(self)

    def _start(self, context, namespace: dict) -> None:
        _leave()
        threads = str(max(1, self._threads // self.n))
        sources = cells(notebooks.read_cells(notebooks.running(context.notebook, context.root)))
        names = notebooks.handed_over(sources, namespace)
        folders = (context.resume_folder, context.params)
        with open(self._folder / "job", "wb") as stream:
            pickle.dump((sources, {name: namespace[name] for name in names}, folders), stream)
        server = torch.distributed.TCPStore("127.0.0.1", 0, self.n, True, wait_for_workers=False)
        shared = {"WORLD_SIZE": self.n, "LOCAL_WORLD_SIZE": self.n, "MASTER_ADDR": "127.0.0.1"}
        shared |= {"MASTER_PORT": server.port, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        for rank in range(1, self.n):
            environment = os.environ | {name: str(value) for name, value in shared.items()}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), MINE: str(rank)}
            with open(self._folder / f"{rank}.log", "wb") as log:
                command = [sys.executable, "-m", "tunebook.training.ranks", str(self._folder), str(os.getpid())]
                self._children.append(
                    subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
        self._await(server)
        torch.set_num_threads(int(threads))
        os.environ |= {name: str(value) for name, value in shared.items()} | {"RANK": "0", "LOCAL_RANK": "0"}
        _join(0, self.n, server)

    def _await(self, server) -> None:
        """Until every process has loaded what it needs."""
        deadline = time.monotonic() + START_SECONDS
        while server.add("ready", 0) < self.n - 1:
            if dead := self._dead():
                raise MachineProblem(f"{dead} before it began to train")
            if time.monotonic() > deadline:
                raise MachineProblem(f"not all of {self.n} processes started within {START_SECONDS} s")
            time.sleep(0.1)

    def _dead(self, wait: float = 0.0) -> str | None:
        """Which process died and of what, None where all live; looks for `wait` seconds."""
        deadline = time.monotonic() + wait
        while True:
            for rank, child in enumerate(self._children, 1):
                if child.poll():
                    code, log = child.returncode, self._folder / f"{rank}.log"
                    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                    last = lines[-1].removeprefix(f"[rank{rank}]: ") if lines else code
                    reason = f"failed ({last})"
                    reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else reason
                    return f"process {rank + 1} of {self.n} {reason}"
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)

    def _guard(self) -> None:
        """Ends this process where another died and the wait for it is not broken off: gloo's is, NCCL's is not."""
        while not self._is_over:
            if dead := self._dead():
                time.sleep(LEAVE_SECONDS)
                if not self._is_over:
                    print(f"{dead}: run the stage again", file=sys.__stderr__, flush=True)
                    os._exit(1)
            time.sleep(1.0)


def _undivided(trainer):
    """The held-out rows for every process whole: divided, accelerate would read some twice and change their loss."""
    divided = trainer.get_eval_dataloader

    def load(*args):
        prepare, trainer.accelerator.prepare = trainer.accelerator.prepare, lambda loader: loader
        try:
            return divided(*args)
        finally:
            trainer.accelerator.prepare = prepare

    return load


class _Agreement(TrainerCallback):
    """Every process saves, evaluates and stops when the first one does; clocks and last bits differ between them."""

    def on_step_end(self, args, state, control, **kwargs):
        flags = torch.tensor([int(getattr(control, name)) for name in FLAGS], device=args.device)
        torch.distributed.broadcast(flags, 0)
        for name, flag in zip(FLAGS, flags.tolist(), strict=True):
            setattr(control, name, bool(flag))

    on_log = on_evaluate = on_step_end


class Unrecorded:
    """The context of a process that records nothing: what the cells write goes into `folder`, which is deleted."""

    def __init__(self, folder: Path, resume_folder: Path, params: dict):
        self.folder, self.resume_folder, self.params = folder, resume_folder, params

    def progress(self, *args, **kwargs) -> None:
        pass

    table = figure = show = progress


def agreed(value):
    """What the first process has for `value`; the value itself where there is one process alone."""
    if not torch.distributed.is_initialized():
        return value
    held = [value]
    torch.distributed.broadcast_object_list(held, 0)
    return held[0]


def is_spread(model) -> bool:
    """Whether each process holds only a part of the weights."""
    return any(hasattr(weights, "full_tensor") for weights in model.parameters())


def whole_state(model, trained_only: bool = False) -> dict | None:
    """The state dict of a model that is spread, on the CPU of the first process, {} in the others; every process must
    ask for it. None for a model that this process holds whole.
    """
    if not is_spread(model):
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    how = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=trained_only)
    return get_model_state_dict(model, options=how)


def _without_data(model):
    """A copy whose weights have a form and no data, and whose forward passes are those of their classes."""
    empty = {
        id(weights): torch.nn.Parameter(torch.empty_like(weights, device="meta"), weights.requires_grad)
        for weights in model.parameters()
    }
    copied = copy.deepcopy(model, empty)
    for module in copied.modules():
        module.__dict__.pop("forward", None)
    return copied


def check_processes(n: int, batch_size: int, device: str, four_bit: bool = False, sharding: str = "none") -> None:
    """InputProblem where `n` processes cannot train `batch_size` rows a step on this machine's `device`, or `sharding`
    cannot be.

    >>> check_processes(2, 3, "cpu")
    Traceback (most recent call last):
    tunebook.errors.InputProblem: processes: 2 cannot divide 3 rows a step evenly; batch_size must be a multiple of it
    """
    if n < 1:
        raise InputProblem(f"processes: {n} must be at least 1")
    if sharding == "fsdp" and (device != "cuda" or n == 1):
        why = (
            "processes: 1 has one alone"
            if device == "cuda"
            else f"this machine trains on {device}, where none is saved"
        )
        raise InputProblem(f"sharding: fsdp spreads a model over the memory of several GPUs; {why}: use sharding: none")
    if batch_size % n:
        raise InputProblem(
            f"processes: {n} cannot divide {batch_size} rows a step evenly; batch_size must be a multiple of it"
        )
    if four_bit or device == "mps":
        why = "a base of 4 bits lies on one GPU" if four_bit else "an Apple GPU takes one process"
        raise InputProblem(f"processes: {n} cannot train here: {why}; use processes: 1")
    most, what = (torch.cuda.device_count(), "GPUs") if device == "cuda" else (cores(), "cores")
    if n > most:
        raise InputProblem(f"processes: {n} is more than the {most} {what} of this machine; use processes: {most}")


def cells(notebook_cells: list[dict]) -> list[str]:
    """Sources of the code cells that every process runs: the imports, then from `Ranks` to `.train(`."""
    code = [(cell.get("id"), "".join(cell["source"])) for cell in notebook_cells if cell["cell_type"] == "code"]
    sources = [source for _, source in code]
    first = next((at for at, source in enumerate(sources) if FIRST in source), None)
    last = next((at for at, source in enumerate(sources) if LAST in source), None)
    if first is None or last is None:
        raise InputProblem(f"the notebook's file has no cell with {FIRST}...) and one with {LAST}...): save it first")
    return [source for name, source in code if name == "imports"] + sources[first : last + 1]


def _join(rank: int, n: int, store) -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "gloo":
        os.environ["ACCELERATE_USE_CPU"] = "true"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    else:
        torch.cuda.set_device(rank)
        backend = "cpu:gloo,cuda:nccl"
    silent = timedelta(seconds=SILENT_SECONDS)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=n, timeout=silent)


def _leave() -> None:
    """Forgets the group, so that this process is one alone again."""
    from accelerate.state import AcceleratorState, PartialState

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in (*"RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT".split(), "ACCELERATE_USE_FSDP"):
        os.environ.pop(name, None)
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()


def main(folder: Path, parent_pid: int) -> None:
    """Be one of the other processes: the imports, the names, the cells; then it has done its part."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process saves, then all end
    sources, names, (resume_folder, params) = pickle.loads((folder / "job").read_bytes())
    rank, n = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    scratch = folder / f"scratch-{rank}"
    scratch.mkdir()
    namespace = {"__name__": "__main__"} | names | {"context": Unrecorded(scratch, resume_folder, params)}
    exec(compile(sources[0], "imports", "exec"), namespace)
    store = torch.distributed.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), n, False)
    store.add("ready", 1)
    _join(rank, n, store)
    for source in sources[1:]:
        exec(compile(source, "cell", "exec"), namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
