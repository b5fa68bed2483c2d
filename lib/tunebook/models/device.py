"""On which device and in which precision a model runs, and why.

`choose_placement` is a pure function of what the machine has, so every case can be tested anywhere. Does not load a
model and does not change a global setting of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tunebook.machine import cores, cpu_flags

BF16_CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@dataclass(frozen=True)
class Machine:
    """What the choice depends on: `cuda_capability` is (major, minor) of the first GPU, or None without one."""

    cpu_flags: frozenset[str] = field(default_factory=frozenset)
    cuda_capability: tuple[int, int] | None = None
    cuda_name: str = ""
    cores: int = 1


@dataclass(frozen=True)
class Placement:
    """The choice. `weights` and `trainable` are torch dtype names; `autocast` is "" or the dtype of mixed precision."""

    device: str
    weights: str
    trainable: str
    autocast: str
    reason: str

    def torch_dtype(self):
        """The dtype of the frozen weights as a `torch.dtype`."""
        import torch

        return getattr(torch, self.weights)


def choose_placement(machine: Machine) -> Placement:
    """The placement for `machine`, with the reason in one sentence.

    A T4 (capability 7.5) reports bfloat16 as supported though it
    is emulated, so the capability decides and not `torch.cuda.is_bf16_supported`.

    >>> choose_placement(Machine(cuda_capability=(7, 5), cuda_name="T4")).autocast
    'float16'
    """
    if machine.cuda_capability is not None:
        name = machine.cuda_name or "this GPU"
        if machine.cuda_capability >= (8, 0):
            reason = f"{name} has bfloat16 units (compute capability {_dotted(machine.cuda_capability)} >= 8.0)"
            return Placement("cuda", "bfloat16", "float32", "bfloat16", reason)
        reason = (
            f"{name} only emulates bfloat16 (compute capability {_dotted(machine.cuda_capability)} < 8.0), "
            "so float16 compute with float32 trainable weights"
        )
        return Placement("cuda", "float16", "float32", "float16", reason)
    found = sorted(BF16_CPU_FLAGS & machine.cpu_flags)
    if found:
        return Placement("cpu", "bfloat16", "float32", "bfloat16", f"no GPU; the CPU multiplies bfloat16 ({found[0]})")
    return Placement("cpu", "float32", "float32", "", "no GPU; the CPU has no bfloat16 units, so float32 is fastest")


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def this_machine() -> Machine:
    """Reads the CPU's flags and the first GPU's capability. Imports torch."""
    import torch

    capability, name = None, ""
    if torch.cuda.is_available():
        capability, name = torch.cuda.get_device_capability(0), torch.cuda.get_device_name(0)
    return Machine(cpu_flags(), capability, name, cores())


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, so that two runs on one machine give the same weights."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
