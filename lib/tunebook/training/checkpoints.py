"""Which point of a training is kept: what it learned on dev against what it forgot. Test is not opened here.

Source: Shenfeld, Pari and Agrawal 2025, RL's Razor: the distance from base on the new task predicts what is forgotten
elsewhere.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainerCallback

from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.forgetting import bits_per_byte, measure_kept
from tunebook.evaluation.measure import answer_and_score
from tunebook.evaluation.protocol import Asking
from tunebook.evaluation.score_folder import read_scores
from tunebook.models.loading import BaseModel
from tunebook.models.source import ModelSource
from tunebook.statistics.compare import compare_paired
from tunebook.training.ranks import whole_state
from tunebook.training.settings import even_steps, save_adapter


@dataclass(frozen=True)
class Yardstick:
    """What checkpoints are compared by: problems of dev and how they are asked, the general text that is read
    (documents, 0 for none), and the rise in percent of its bits that a checkpoint may need.
    """

    problems: list[dict]
    asking: Asking
    general_documents: int = 40
    largest_bits_rise: float = 10.0

    def score(self, engine, folder: Path, context) -> dict:
        """The metrics of `engine` on the problems, in `folder`."""
        dev = from_problems("dev", self.problems, source="dev_problems.jsonl")
        return answer_and_score(engine, dev, folder, context, **self.asking.choice_fields())["metrics"]

    def general_text(self, engine, before, path: Path) -> dict:
        """What `engine` keeps of general text, and its distance from the engine `before` on the problems."""
        dev = from_problems("dev", self.problems, source="dev_problems.jsonl")
        return measure_kept(engine, before, dev, self.general_documents, self.asking.seed, path)


class KeepAdapters(TrainerCallback):
    """Saves the adapter `n` times at even distances, the last time at the end; `folders` maps the step to its folder in
    `folder`.

    Until the training ends they lie in `resume`, which outlives a killed stage.
    """

    def __init__(self, n: int, folder: Path, resume: Path, source: ModelSource):
        self.n, self.folder, self.resume, self.source = n, folder, resume / "adapters", source
        self.folders: dict[int, Path] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if not state.global_step and state.is_world_process_zero:
            shutil.rmtree(self.resume, ignore_errors=True)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step not in even_steps(state.max_steps, self.n):
            return
        weights = whole_state(model, trained_only=True)
        if state.is_world_process_zero:
            place, scratch = self.resume / f"step-{state.global_step}", self.resume / "scratch"
            for old in (scratch, place):
                shutil.rmtree(old, ignore_errors=True)
            save_adapter(model, scratch, self.source, state=weights)
            scratch.rename(place)

    def on_train_end(self, args, state, control, **kwargs):
        kept = sorted(self.resume.glob("step-*"), key=lambda place: int(place.name[5:]))
        for place in kept if state.is_world_process_zero else ():
            self.folders[int(place.name[5:])] = Path(
                shutil.copytree(place, self.folder / place.name, dirs_exist_ok=True)
            )


def keep_best(base: BaseModel, folders: dict[int, Path], yardstick: Yardstick, context) -> tuple[list[dict], int]:
    """Compares the checkpoints and copies the best one over `adapter/` of the stage; their rows, and the step of the
    one that is kept. Without a checkpoint the end of the training stays.
    """
    if not folders:
        return [], 0
    rows = compare_checkpoints(base, folders, yardstick, context)
    kept, reason = choose_checkpoint(rows, yardstick.largest_bits_rise)
    shutil.copytree(folders[kept["step"]], context.folder / "adapter", dirs_exist_ok=True)
    context.check("checkpoint", f"step {kept['step']}", reason, True, severity="info")
    return rows, kept["step"]


def compare_checkpoints(base: BaseModel, folders: dict[int, Path], yardstick: Yardstick, context) -> list[dict]:
    """A row a checkpoint: `step`, `k`, `n` on the problems, `bits_per_byte` of general text, its `rise` over base in
    percent, and the distance `kl` from base on the task's prompts in nats a token.
    """
    rows = []
    with base.engine() as before:
        at_first = yardstick.general_text(before, None, context.folder / "checkpoints" / "base.json")
        for step, adapter in folders.items():
            folder = context.folder / "checkpoints" / f"step-{step}"
            with base.engine(adapter) as engine:
                found = yardstick.score(engine, folder, context)
                kept = yardstick.general_text(engine, before, folder / "forgetting.json")
            rows.append({"step": step, "k": found["k"], "n": found["n"], **kept_row(at_first, kept)})
    return rows


def kept_row(at_first: dict, kept: dict) -> dict:
    """`bits_per_byte`, its `rise` over base in percent, and the distance `kl` from base on the task's prompts (nats a
    token), of two findings of `measure_kept`; None where nothing was read.
    """
    bits = bits_per_byte(kept)
    if bits is None:
        return {"bits_per_byte": None, "rise": None, "kl": None}
    rise = round(100 * (bits / bits_per_byte(at_first) - 1), 2)
    return {
        "bits_per_byte": round(bits, 4),
        "rise": rise,
        "kl": (kept["kl"] or {"nats_per_token": 0.0})["nats_per_token"],
    }


def choose_checkpoint(rows: list[dict], largest_rise: float) -> tuple[dict, str]:
    """The row that is kept, and why; every row gets `on_front`: no other solves as much and forgets less.

    Of the front, those whose rise is within `largest_rise` percent compete; the one that solves most dev problems is
    kept, at equal scores the one nearer to base. Where none is within, the last one is kept.

    >>> rows = [{"step": s, "k": k, "rise": r, "kl": r / 10} for s, k, r in ((1, 5, 1.0), (2, 9, 4.0), (3, 9, 8.0))]
    >>> choose_checkpoint(rows, 10.0)[0]["step"], [row["on_front"] for row in rows]
    (2, [True, True, False])
    """
    for row in rows:
        row["on_front"] = not any(_is_worse(row, other) for other in rows)
    meets = [row for row in rows if row["on_front"] and (row["rise"] or 0.0) <= largest_rise]
    limit = f"{largest_rise:g}% more bits for general text"
    if not meets:
        return rows[-1], f"no checkpoint stays within {limit}, so the last one is kept"
    kept = max(meets, key=lambda row: (row["k"], -(row["kl"] or 0.0), -row["step"]))
    return kept, f"solves most on dev among those on the front that need at most {limit}"


def _is_worse(row: dict, other: dict) -> bool:
    """Whether `other` is at least as good in both and better in one."""
    pair, rival = ((one["k"], -(one["rise"] or 0.0)) for one in (row, other))
    return rival[0] >= pair[0] and rival[1] >= pair[1] and rival != pair


RULE = "the new adapter when it solves more dev problems than the one that was given, else that one"
NO_CHOICE = "the first adapter goes on"


def keep_better(
    base: BaseModel, adapters: dict[str, Path], dev: list[dict], asking: Asking, context, place: str = "chosen"
) -> dict:
    """Scores every adapter on the problems `dev` ([]: no dev part, so the first adapter is kept) and copies the better
    to the folder `place`. One adapter alone is kept without being asked.

    `adapters` are in order of preference at equal scores. Returns `kept`, `rule`, `rows` of `adapter, k, n`, and
    `change`: the paired comparison of the last adapter with the first (`verdict`, `gained`, `lost`, `difference` and
    `interval` in points, `p_exact`), None without two scores.
    """
    rows, passed, is_choice = [], [], len(adapters) > 1
    for name, adapter in adapters.items() if dev and is_choice else ():
        folder = context.folder / "dev" / name
        with base.engine(adapter) as engine:
            found = Yardstick(dev, asking).score(engine, folder, context)
        passed.append(read_scores(folder / "score").passed)
        rows.append({"adapter": name, "k": found["k"], "n": found["n"]})
    kept = max(rows, key=lambda row: row["k"])["adapter"] if rows else next(iter(adapters))
    shutil.copytree(adapters[kept], context.folder / place)
    change = compare_paired(passed[0], passed[-1]) if len(passed) > 1 else None
    return {
        "kept": kept,
        "rule": RULE if rows else f"{'no dev part' if is_choice else 'nothing was trained'}: {NO_CHOICE}",
        "rows": rows,
        "change": (
            change
            and {
                key: change[key]
                for key in ("verdict", "n", "k_a", "k_b", "gained", "lost", "difference", "interval", "p_exact")
            }
        ),
    }
