"""Peak memory of this process and its children while a stage runs. Counts resident memory only, not a GPU's."""

import contextlib
import resource
import sys
import threading

import psutil

SAMPLE_SECONDS = 1.0
UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere


class PeakMemory:
    """Samples the tree of processes once a second; between samples the system's own high-water mark of each process counts."""

    def __init__(self):
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(SAMPLE_SECONDS):
            total = 0
            with contextlib.suppress(psutil.Error):
                for member in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        total += member.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        """End the samples and take the high-water marks in; safe to call twice."""
        self._done.set()
        self._thread.join()
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            self.peak_bytes = max(self.peak_bytes, resource.getrusage(who).ru_maxrss * UNIT)
