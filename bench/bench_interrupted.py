"""A training killed at random moments by SIGKILL, against an unbroken one: equal weights, loss table and kept adapters,
and a clock that goes on?

Tiny models of SFT and DPO, with a checkpoint after each step, so that many of the kills fall while one is written. Each
training is a forked process: what is killed is real, and the libraries are loaded once. POSIX only.
"""

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent
KINDS, KILLS, STEPS, POINTS = ("sft", "dpo"), 25, 30, 3  # kills of each kind, steps of a training, adapters it keeps
LONGEST_SHARE = 0.4  # of the unbroken training's time, until a kill


def measure() -> dict:
    prepare()
    import tiny_training

    found = {}
    for kind in KINDS:
        found[kind] = survive(kind, getattr(tiny_training, kind), KILLS, STEPS)
        print(kind, found[kind], flush=True)
    return found


def prepare() -> None:
    """Imports what a training needs, here, once; its children find it loaded."""
    sys.path[:0] = [str(ROOT / name) for name in ("tests", "tests/training")]
    import test_resume  # noqa: F401


def survive(kind: str, build, n_kills: int, steps: int) -> dict:
    """What became of the trainings of `steps` steps that `build` makes, killed `n_kills` times in all."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        unbroken = _train(build, steps, Path(folder), None)[1]
        longest = LONGEST_SHARE * (time.monotonic() - started)
    rng, n_equal, kills, writing, legs = random.Random(kind), 0, 0, 0, []
    while kills < n_kills:
        with tempfile.TemporaryDirectory() as folder:
            result = None
            while result is None:
                wait = rng.uniform(0.05, longest) if kills < n_kills else None
                begun, result = _train(build, steps, Path(folder), wait)
                legs.append(begun)
                if result is None:
                    kills += 1
                    writing += any(Path(folder).glob("resume/trainer/scratch/*"))
            n_equal += result == unbroken
    found = {"kills": kills, "while_a_checkpoint_was_written": writing, "trainings": len(legs) - kills}
    return found | {"equal_to_the_unbroken": n_equal, "resumed_from_step": sorted(step for step in legs if step)}


def _train(build, steps: int, folder: Path, wait: float | None) -> tuple[int, dict | None]:
    """The step that it went on from, and its result: None where it was killed `wait` seconds after it began."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.close(reading)
        _child(build, steps, folder, writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        begun = json.loads(lines.readline())
        if wait is not None:
            time.sleep(wait)
            os.kill(pid, signal.SIGKILL)
        ended = lines.readline()
    os.waitpid(pid, 0)
    return begun, json.loads(ended) if ended.endswith("\n") else None


def _child(build, steps: int, folder: Path, pipe: int) -> None:
    """Trains in this process, says where it began and what came out, and ends it."""
    import test_resume
    from tunebook.training.checkpoints import KeepAdapters
    from tunebook.training.settings import Report

    test_resume.STEPS = steps
    report = Report(SimpleNamespace(progress=lambda *args: None))
    keep = KeepAdapters(POINTS, folder / "kept", folder / "resume", SimpleNamespace(name="tiny", revision=""))
    trainer, checkpoints = test_resume.begin(build, folder, report, keep)
    last = checkpoints.last()
    os.write(pipe, f"{checkpoints.resumed_from}\n".encode())
    trainer.train(resume_from_checkpoint=last)
    weights, table = test_resume.result(trainer)
    clock = [row["seconds"] for row in report.rows]
    result = {"weights": hashlib.sha256(weights.numpy().tobytes()).hexdigest(), "table": table}
    result |= {"rows": len(report.rows), "clock_goes_on": clock == sorted(clock) and clock[0] > 0}
    result["kept"] = {
        path.name: hashlib.sha256((path / "adapter_model.safetensors").read_bytes()).hexdigest()
        for path in sorted((folder / "kept").iterdir())
    }
    os.write(pipe, (json.dumps(result) + "\n").encode())
    os._exit(0)
