"""What a stage uses: peak memory of this process and its children, and the processor's energy where the machine tells it.

Memory is resident memory, a GPU's is not counted. Energy is that of all processor packages, other work on the machine included.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
from pathlib import Path

import psutil

SAMPLE_SECONDS = 1.0
UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
POWERCAP = Path("/sys/class/powercap")


class Usage:
    """Samples once a second: `peak_bytes` of the tree of processes, where between samples the system's own high-water mark of each
    process counts, and `joules` since it was made, None where no counter can be read."""

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
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            self.peak_bytes = max(self.peak_bytes, resource.getrusage(who).ru_maxrss * UNIT)


class EnergyCounters:
    """`joules` of all processor packages since the counters were first read; None where there is none, or one cannot be read.

    Source: Linux's powercap interface (RAPL of Intel and AMD); most systems let only root read it, virtual machines have none. A
    counter begins again after `max_energy_range_uj`: half an hour and more of full load, so sample oftener.
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
