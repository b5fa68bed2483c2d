"""A training killed at random moments, by SIGKILL and SIGTERM, against an unbroken one: equal weights and an equal loss
table?

Tiny models of SFT, DPO and KTO, with a checkpoint after each step; half of the kills fall while one is written.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS, KILLS = ("sft", "dpo", "kto"), 17  # of each
TRAIN = """
import hashlib, json, sys
from pathlib import Path
import test_resume as resume, tiny_training
resume.STEPS = 30
trainer, checkpoints = resume.begin(getattr(tiny_training, sys.argv[1]), Path(sys.argv[2]))
last = checkpoints.last()
print(json.dumps({"from": checkpoints.resumed_from}), flush=True)
trainer.train(resume_from_checkpoint=last)
weights, table = resume.result(trainer)
print(json.dumps({"weights": hashlib.sha256(weights.numpy().tobytes()).hexdigest(), "table": table}), flush=True)
"""


def measure() -> dict:
    found = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            unbroken = _train(kind, Path(folder), None)[1]
        rng, equal, kills, resumed = random.Random(kind), 0, 0, []
        while kills < KILLS:
            with tempfile.TemporaryDirectory() as folder:
                result = None
                while result is None:
                    wait = rng.uniform(0.05, 1.5) if kills < KILLS else None
                    begun, result = _train(kind, Path(folder), wait, rng.choice([signal.SIGKILL, signal.SIGTERM]))
                    kills += result is None
                    resumed.append(begun)
                equal += result == unbroken
        found[kind] = {
            "kills": kills,
            "trainings": len(resumed) - kills,
            "equal": equal,
            "resumed_from": sorted(resumed),
        }
    return found


def _train(kind: str, folder: Path, wait: float | None, number: int = signal.SIGKILL) -> tuple[int, dict | None]:
    """(the step it went on from, its result or None where it was killed `wait` seconds after it began to train)."""
    path = os.pathsep.join(str(ROOT / name) for name in ("lib", "tests", "tests/training"))
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN, kind, str(folder)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    begun = next(json.loads(line)["from"] for line in child.stdout if line.startswith('{"from"'))
    if wait is not None:
        time.sleep(wait)
        child.send_signal(number)
    ended = [json.loads(line) for line in child.stdout if line.startswith('{"weights"')]
    child.wait()
    return begun, ended[0] if ended else None
