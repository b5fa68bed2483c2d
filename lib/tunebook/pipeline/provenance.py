"""What ran where: commit, package versions, processor, GPU, threads. Reads only; never imports torch."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import psutil

from tunebook.errors import InputProblem
from tunebook.machine import cores, cpu_field, cpu_flags, largest_resident, peak_bytes
from tunebook.pipeline import notebooks
from tunebook.setup.packages import LLAMA_BUILD, read_requirements

# The processor features that change which kernels run, and so the last bits of a result.
NUMERIC_FLAGS = re.compile(r"avx|amx|fma|f16c|sse4|neon|asimd|sve|bf16|i8mm")
CODE_PATHS = ("lib", "notebooks", "params", "requirements.txt")


@cache
def cpu() -> dict:
    """Model name, numeric instruction sets and the number of cores that this process may use."""
    model = cpu_field("model name") or platform.processor() or platform.machine()
    return {
        "model": model,
        "flags": sorted(flag for flag in cpu_flags() if NUMERIC_FLAGS.search(flag)),
        "cores": cores(),
    }


@cache
def gpus() -> tuple[str, ...]:
    """Name, driver and memory of each NVIDIA GPU; empty without nvidia-smi or with CUDA_VISIBLE_DEVICES set to
    nothing.
    """
    if not shutil.which("nvidia-smi") or os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ()
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def device_fingerprint() -> str:
    """Names the hardware whose numbers are comparable bit by bit: processor model, numeric instruction sets, GPUs."""
    text = "\n".join([platform.machine(), cpu()["model"], *cpu()["flags"], *gpus()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`, or None where git or a repository is missing."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def commit(root: Path) -> dict:
    """`commit` ("" outside git) and `dirty`: whether lib, notebooks, params or the pins differ from it."""
    head = git(root, "rev-parse", "HEAD")
    changes = git(root, "status", "--porcelain", "--no-renames", "--", *CODE_PATHS) or ""
    changed = [line.split(maxsplit=1) for line in changes.splitlines()]
    return {"commit": head or "", "dirty": not head or any(_is_edited(root, *entry) for entry in changed)}


def _is_edited(root: Path, state: str, name: str) -> bool:
    """Whether a changed file has another source: outputs, counts and values of parameters in a notebook are none."""
    if state != "M" or not name.endswith(".ipynb"):
        return True
    try:
        before = notebooks.source_hash_of(json.loads(git(root, "show", f"HEAD:{name}"))["cells"])
        return before != notebooks.source_hash(root / name)
    except (InputProblem, TypeError, ValueError):
        return True


def lock_hash(root: Path) -> str:
    """SHA-256 of requirements.txt, the one list of exact versions; "" where it is missing."""
    path = root / "requirements.txt"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def packages(root: Path) -> dict[str, str]:
    """Installed version of every package that requirements.txt names."""
    path = root / "requirements.txt"
    names = read_requirements(path) if path.is_file() else {}
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def llama_build() -> str:
    """What llama.cpp was compiled with, or the index of its ready-made wheel; "" where the set-up did not say."""
    found = importlib.util.find_spec("llama_cpp")
    note = Path(found.origin).parents[1] / LLAMA_BUILD if found and found.origin else None
    return note.read_text(encoding="utf-8").strip() if note and note.is_file() else ""


def threads() -> dict:
    """Threads that numeric libraries use: torch's own count where the stage imported torch."""
    torch = sys.modules.get("torch")
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        "torch": torch.get_num_threads() if torch else None,
    }


def environment(root: Path) -> dict:
    """Everything above as one record for the manifest."""
    return {
        **commit(root),
        "lock_hash": lock_hash(root),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages(root),
        "llama_build": llama_build(),
        "cpu": cpu(),
        "gpus": list(gpus()),
        "device_fingerprint": device_fingerprint(),
    }


SAMPLE_SECONDS = 1.0
POWERCAP = Path("/sys/class/powercap")


class Usage:
    """Samples once a second: `peak_bytes` of the tree of processes, where between samples the system's own
    high-water mark of each process counts, and `joules` since it was made, None where no counter can be read.
    """

    def __init__(self):
        self.peak_bytes = 0
        self._energy = EnergyCounters()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def joules(self) -> float | None:
        """Energy of the processor packages until the last sample."""
        return self._energy.joules

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(SAMPLE_SECONDS):
            total = 0
            with contextlib.suppress(psutil.Error):
                for member in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        total += member.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, total)
            self._energy.sample()

    def stop(self) -> None:
        """End the samples and take the last values in; safe to call twice."""
        self._done.set()
        self._thread.join()
        self._energy.sample()
        self.peak_bytes = max(self.peak_bytes, peak_bytes(), largest_resident(of_children=True))


class EnergyCounters:
    """`joules` of all processor packages since the counters were first read; None where there is none, or one cannot be
    read.

    Source: Linux's powercap interface (RAPL of Intel and AMD); most systems let only root read it, virtual machines
    have none. A counter begins again after `max_energy_range_uj`: half an hour and more of full load, so sample
    oftener.
    """

    def __init__(self, folder: Path = POWERCAP):
        # a package is intel-rapl:N, on AMD too; intel-rapl:N:M are parts of it, and psys holds the packages once more
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self.joules, self._last = None, {}
        with contextlib.suppress(OSError, ValueError):
            packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
            self._last = {zone: _number(zone, "energy_uj") for zone in packages}
            self.joules = 0.0 if packages else None

    def sample(self) -> None:
        """Add what was used since the last sample."""
        if self.joules is None:
            return
        try:
            for zone, before in self._last.items():
                self._last[zone] = now = _number(zone, "energy_uj")
                again = _number(zone, "max_energy_range_uj") if now < before else 0
                self.joules += (now - before + again) / 1e6
        except (OSError, ValueError):
            self.joules = None


def _number(zone: Path, name: str) -> int:
    return int((zone / name).read_text())
