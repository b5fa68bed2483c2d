"""The recorded trainings of notebooks/studies/lora_or_full.ipynb: full, and LoRA of two ranks, at three rates each.

`python bench/lora_or_full.py SECONDS` makes those that are not there yet, full and rank 16 seed by seed, then rank 1,
and begins none after that time. Each is a process of its own, forked from this one, and a row of
outputs/lora_or_full/lora_or_full.json, as `scale.study_rows` would write it of a sweep; for the record it is copied
into outputs/studies/. It trains as 02 does, on a task of bench_headroom.py that few rows teach.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "outputs" / "lora_or_full" / "lora_or_full.json"
KEYS = ("method", "lora_rank", "learning_rate")
TASK, ROWS, DOCUMENTS, SEEDS = "units", 64, 12, 3
GRIDS = [[{"method": "full", "learning_rate": rate} for rate in (3e-5, 1e-4, 3e-4)]]
GRIDS[0] += [{"method": "lora", "lora_rank": 16, "learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3)]
GRIDS += [[{"method": "lora", "lora_rank": 1, "learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3)]]


def collect(seconds: float) -> None:
    """Goes on with the trainings that have no row yet."""
    from tunebook.files import read_json, write_json
    from tunebook.pipeline.provenance import environment

    begun = time.perf_counter()
    record = {"task": TASK, "n_rows": ROWS, "environment": environment(ROOT), "load": os.getloadavg(), "rows": []}
    record |= {"base": None, "seconds": 0.0}
    record = read_json(RECORD) if RECORD.exists() else record
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    wanted = [{}, *({**point, "seed": seed} for grid in GRIDS for seed in range(SEEDS) for point in grid)]
    done = [{}] * bool(record["base"]) + [
        {key: row[key] for key in (*KEYS, "seed") if key in row} for row in record["rows"]
    ]
    with multiprocessing.get_context("fork").Pool(1, _warm, maxtasksperchild=1) as pool:
        for point in wanted:
            if point in done or time.perf_counter() - begun > seconds:
                continue
            started = time.perf_counter()
            found = pool.apply(trained, (point, record["base"]))
            if point:
                record["rows"].append({"run": "-".join(f"{value}" for value in point.values()), **point, **found})
            else:
                record["base"] = found
            record["seconds"] += round(time.perf_counter() - started, 1)
            write_json(RECORD, record)
            print(
                time.strftime("%H:%M:%S"), point, f"{found['k']}/{found['n']}, {found['rise']:+.1f}% bits", flush=True
            )


def _warm() -> None:
    """One thread a training, also on an idle machine."""
    import torch

    torch.set_num_threads(1)


def trained(point: dict, before: dict | None) -> dict:
    """One training and its score, or base where `point` is empty: what `study_rows` says of the end of a training."""
    from bench_headroom import asking_of, base_model, parts_of

    from tunebook import models, training
    from tunebook.training.headroom.probe import Mini, train_adapter

    base, seed, clock = base_model(), point.get("seed", 0), Clock()
    parts = parts_of(TASK, ROWS, 0)
    with tempfile.TemporaryDirectory() as place:
        context = SimpleNamespace(folder=Path(place), answers_folder=None, progress=lambda *_: None)
        if point:
            settings = {key: point[key] for key in KEYS if key in point}
            how, rows = Mini(seed=seed, **settings), training.tokenised(parts["train"], base.tokenizer, Mini.max_length)
            dataset, _ = training.interleave(rows, [], how.batch_size, seed)
            models.seed_everything(seed)
            folder = Path(place) / "trained"
            train_adapter(base, dataset, how, folder, [clock.callback()], lr_scheduler_type="cosine", warmup_steps=0.05)
        with base.engine(folder if point else None) as engine:
            return judged(engine, parts["test"][1], asking_of(TASK), context, before) | clock.costs


def judged(engine, problems: list[dict], asking, context, before: dict | None) -> dict:
    """What `engine` solves, and what it keeps of general text."""
    from tunebook import evaluation
    from tunebook.evaluation.forgetting import bits_per_byte, measure_kept
    from tunebook.evaluation.score_folder import read_scores

    asked = evaluation.from_problems("task", problems, source="drawn")
    evaluation.answer_and_score(engine, asked, context.folder / "score", context, **asking.choice_fields())
    passed = read_scores(context.folder / "score" / "score").passed
    bits = bits_per_byte(measure_kept(engine, None, asked, DOCUMENTS, 0, context.folder / "kept.json"))
    marks = "".join(str(int(passed[task][0])) for task in sorted(passed))
    rise = 100 * (bits / before["bits_per_byte"] - 1) if before else 0.0
    found = {"k": marks.count("1"), "n": len(marks), "passed": marks, "bits_per_byte": bits, "rise": rise}
    return found | {"kl": None, "points": []}


class Clock:
    """What the steps of a training take: `seconds`, those of the processor alone, and the most memory."""

    def __init__(self):
        self.costs = {}

    def callback(self):
        from transformers import TrainerCallback

        from tunebook.training.forecast import Peak

        clock = self

        class Timed(TrainerCallback):
            def on_train_begin(self, *_, **__):
                self.begun, self.peak = (time.perf_counter(), time.process_time()), Peak()

            def on_train_end(self, *_, **__):
                wall, busy = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]
                memory = self.peak.bytes() / 2**30
                clock.costs = {"seconds": wall, "processor_seconds": busy, "memory_gib": memory}

        return Timed()


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "lib")]
    import peft  # noqa: F401 (before the processes are forked: each has them then)
    import trl  # noqa: F401

    collect(float(sys.argv[1]))
