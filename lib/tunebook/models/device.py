"""On which device and in which precision a model runs, and why.

`choose_placement` is a pure function of what the machine has, so every case can be tested anywhere. Does not load a
model and does not change a global setting of torch.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

from tunebook.errors import MachineProblem
from tunebook.machine import cores, cpu_flags

BF16_CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: `cuda_capability` is (major, minor) of the first GPU, or None without one; `gpus` how
    many this process sees; `free_bytes` the memory that is free on the device, 0 where it is not known.
    """

    cpu_flags: frozenset[str] = field(default_factory=frozenset)
    cuda_capability: tuple[int, int] | None = None
    cuda_name: str = ""
    cores: int = 1
    gpus: int = 1
    has_mps: bool = False
    free_bytes: int = 0


@dataclass(frozen=True)
class Placement:
    """The choice. `weights` and `trainable` are torch dtype names; `autocast` is "" or the dtype of mixed precision."""

    device: str
    weights: str
    trainable: str
    autocast: str
    reason: str
    free_bytes: int = 0

    def torch_dtype(self):
        """The dtype of the frozen weights as a `torch.dtype`."""
        import torch

        return getattr(torch, self.weights)


def choose_placement(machine: Machine) -> Placement:
    """The placement for `machine`, with the reason in one sentence.

    A T4 (capability 7.5) reports bfloat16 as supported though it is emulated, so the capability decides and not
    `torch.cuda.is_bf16_supported`. Raises MachineProblem where one process sees several GPUs, which no trainer takes.

    >>> choose_placement(Machine(cuda_capability=(7, 5), cuda_name="T4")).autocast
    'float16'
    """
    free, flags = machine.free_bytes, sorted(BF16_CPU_FLAGS & machine.cpu_flags)
    if machine.cuda_capability is not None:
        if machine.gpus > 1:
            raise MachineProblem(
                f"this process sees {machine.gpus} GPUs and a trainer takes one: set CUDA_VISIBLE_DEVICES=0 before it"
                " starts"
            )
        name, version = machine.cuda_name or "this GPU", _dotted(machine.cuda_capability)
        if machine.cuda_capability >= (8, 0):
            reason = f"{name} has bfloat16 units (compute capability {version} >= 8.0)"
            return Placement("cuda", "bfloat16", "float32", "bfloat16", reason, free)
        reason = (
            f"{name} only emulates bfloat16 (compute capability {version} < 8.0), "
            "so float16 compute with float32 trainable weights"
        )
        return Placement("cuda", "float16", "float32", "float16", reason, free)
    if machine.has_mps:
        return Placement(
            "mps", "float32", "float32", "", "Apple's GPU; float32, since mixed precision was not tried", free
        )
    if flags:
        reason = f"no GPU; the CPU multiplies bfloat16 ({flags[0]})"
        return Placement("cpu", "bfloat16", "float32", "bfloat16", reason, free)
    return Placement(
        "cpu", "float32", "float32", "", "no GPU; the CPU has no bfloat16 units, so float32 is fastest", free
    )


def best_gpus(free: list[int], visible: str, n: int = 1) -> str:
    """Of the GPUs whose free memory is listed by number, the `n` to show to a process: most free memory among those
    that CUDA_VISIBLE_DEVICES, `visible`, names ("": all). Names that are no numbers are left: the first of them.

    >>> best_gpus([100, 900, 500], "", 2), best_gpus([100, 900, 500], "0,2"), best_gpus([1], "GPU-3f,GPU-7a")
    ('1,2', '2', 'GPU-3f')
    """
    names = visible.split(",") if visible else [str(at) for at in range(len(free))]
    if not all(name.strip().isdigit() and int(name) < len(free) for name in names):
        return ",".join(names[:n])
    return ",".join(sorted(names, key=lambda name: -free[int(name)])[:n]).replace(" ", "")


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def this_machine(processes: int = 1) -> Machine:
    """Reads the CPU's flags, the GPU and the free memory. Imports torch.

    Where CUDA has several GPUs and has not started, and no launcher gave this process one, it is shown those with
    most free memory, one for each of the `processes` of a training.
    """
    import psutil
    import torch

    _show_gpus(processes)
    if torch.cuda.is_available():
        known = (torch.cuda.get_device_capability(0), torch.cuda.get_device_name(0), cores())
        gpus = 1 if "LOCAL_RANK" in os.environ or processes > 1 else torch.cuda.device_count()
        return Machine(cpu_flags(), *known, gpus, free_bytes=torch.cuda.mem_get_info()[0])
    free = psutil.virtual_memory().available
    return Machine(cpu_flags(), cores=cores(), has_mps=torch.backends.mps.is_available(), free_bytes=free)


def _show_gpus(n: int) -> None:
    """Sets CUDA_VISIBLE_DEVICES before CUDA reads it."""
    import torch

    if torch.cuda.device_count() < 2 or torch.cuda.is_initialized() or "LOCAL_RANK" in os.environ:
        return
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        free = [int(line) for line in said.splitlines()]
    except (OSError, ValueError, subprocess.CalledProcessError):
        return
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # nvidia-smi's
    os.environ["CUDA_VISIBLE_DEVICES"] = best_gpus(free, os.environ.get("CUDA_VISIBLE_DEVICES", ""), n)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, so that two runs on one machine give the same weights."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
