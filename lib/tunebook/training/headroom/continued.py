"""What rows of a group add to a training that has begun: short continuations of one mini-adapter, with rows of the
group and without, everything else equal.

Every continuation starts from the same weights and the same state of Adam, and takes the same steps with the same rows
in the same order. A row weighs the same in each of them, whether or not another one stands beside it, so that a
continuation without the group is not one with more of the others (but for the clipping of large gradients, as in the
training itself). Does not judge (see `statistics.harm`).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

import torch

from tunebook.errors import InputProblem
from tunebook.models.abilities import packs_exactly
from tunebook.models.lean_layers import use_lean_layers
from tunebook.models.loading import BaseModel, free_memory
from tunebook.statistics.harm import FEWEST_DRAWS
from tunebook.training.dataset import IGNORED, tokenised
from tunebook.training.headroom.probe import Recipe, lora_of, row_nats
from tunebook.training.settings import keep_trainable_in_float32, student_settings
from tunebook.training.short_forward import is_special, score_trained

FEWEST_DEV, HELD_AT_ONCE = 20, 8
CLIP = 1.0  # largest norm of a step's gradient, as in TRL's trainers


@dataclass(frozen=True, kw_only=True)
class Continued(Recipe):
    """How much is tried: `warm_rows` of the common start, taken from the groups in turn; `draws` of rows; `steps` of a
    continuation, each with a row of any group and one of the group in question beside it.
    """

    warm_rows: int = 128
    draws: int = 6
    steps: int = 8


def with_and_without(base: BaseModel, groups: dict[str, list[dict]], dev: list[dict], how: Continued, context) -> dict:
    """What `dev`, canonical rows, costs after continuations with rows of each of the `groups` and without.

    `differences`: group -> draws by dev rows, nats of an answer with the group less without it; `curve`: mean nats
    before the common start, halfway and at its end; `seconds`: of the start, and of one draw. InputProblem for too few
    dev rows, or a group of fewer rows than steps.
    """
    _require_enough(groups, dev, how)
    parts = {name: list(tokenised(rows, base.tokenizer, how.max_length)) for name, rows in groups.items()}
    held = list(tokenised(dev, base.tokenizer, how.max_length))
    rng, begun = Random(f"rows that hurt {how.seed}"), time.perf_counter()
    for rows in parts.values():
        rng.shuffle(rows)
    warm, left = _split(parts, how)
    n_tokens = sum(label != IGNORED for row in warm for label in row["labels"]) / len(warm)
    student, weight = Student(base, how), 1 / (n_tokens * how.batch_size)
    curve, n_steps, half = [], -(-len(warm) // how.batch_size), -(-len(warm) // how.batch_size // 2)
    for step in range(n_steps + 1):
        if step in (0, half, n_steps):
            nats = student.measure(held)
            curve.append({"rows": min(step * how.batch_size, len(warm)), "nats_answer": sum(nats) / len(nats)})
        if step < n_steps:
            rate = how.rate * min(1.0, (step + 1) / max(1, n_steps // 4))
            student.step(warm[step * how.batch_size :][: how.batch_size], weight, rate)
            context.progress(step, n_steps, "common start")
    student.keep()
    seconds, differences = {"start": time.perf_counter() - begun}, {name: [] for name in left}
    for draw in range(how.draws):
        context.progress(draw, how.draws, "draws")
        for name, nats in _draw(student, left, held, how, (rng, weight)).items():
            differences[name].append(nats)
    seconds["draw"] = (time.perf_counter() - begun - seconds["start"]) / how.draws
    del student
    free_memory()
    return {"differences": differences, "curve": curve, "seconds": seconds}


def _split(parts: dict[str, list], how: Continued) -> tuple[list, dict[str, list]]:
    """Rows of the common start, from the groups in turn, and what each group has left for the draws: rows that the
    start did not see, where as many as a draw takes are left.
    """
    share, more = divmod(how.warm_rows, len(parts))
    counts = {name: min(share + (at < more), len(rows)) for at, (name, rows) in enumerate(parts.items())}
    turns = zip_longest(*(rows[: counts[name]] for name, rows in parts.items()))
    left = {name: rows[counts[name] :] for name, rows in parts.items()}
    left = {name: rows if len(rows) >= how.steps else parts[name] for name, rows in left.items()}
    return [row for turn in turns for row in turn if row is not None], left


def _draw(student: Student, left: dict[str, list], held: list, how: Continued, drawing: tuple) -> dict[str, list]:
    """One draw: group -> nats of each held-out row with the group less without it."""
    rng, weight = drawing
    names = rng.sample(list(left), len(left))
    mix = [rng.choice(left[names[step % len(names)]]) for step in range(how.steps)]
    rows = {None: [[]] * how.steps} | {name: [[row] for row in rng.sample(left[name], how.steps)] for name in left}
    nats = {}
    for name, beside in rows.items():
        student.set_back()
        for step in range(how.steps):
            student.step([mix[step], *beside[step]], weight, how.rate)
        nats[name] = student.measure(held)
    without = nats.pop(None)
    return {name: [a - b for a, b in zip(values, without, strict=True)] for name, values in nats.items()}


def _require_enough(groups: dict, dev: list[dict], how: Continued) -> None:
    """InputProblem where nothing would be learned."""
    if len(dev) < FEWEST_DEV:
        raise InputProblem(
            f"hurt_dev_rows: {len(dev)} dev rows are too few to see an effect on: give {FEWEST_DEV} or more (n_dev,"
            " hurt_dev_rows)"
        )
    if how.draws < FEWEST_DRAWS or how.steps < 1 or how.warm_rows < how.batch_size:
        raise InputProblem(
            f"hurt_draws, hurt_steps, hurt_warm_rows: {how.draws} draws of {how.steps} steps after {how.warm_rows} rows"
            f" say nothing: give {FEWEST_DRAWS} draws, 1 step and {how.batch_size} rows, or more"
        )
    if small := [name for name, rows in groups.items() if len(rows) < how.steps]:
        raise InputProblem(f"hurt_steps: {small[0]} has fewer rows than the {how.steps} of a draw: give fewer steps")


class Student:
    """A model with an adapter that can be set back to where a continuation starts."""

    def __init__(self, base: BaseModel, how: Continued):
        from peft import get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(how.seed)
        model = AutoModelForCausalLM.from_pretrained(base.source.folder, **student_settings(base.placement, False))
        model.to(base.placement.device)
        special = is_special(model.config.get_text_config())
        self.packs = not special and base.placement.device == "cpu" and packs_exactly(model)
        self.model = get_peft_model(model, lora_of(model, how))
        keep_trainable_in_float32(self.model)
        use_lean_layers(self.model)
        self.weights = [weights for weights in self.model.parameters() if weights.requires_grad]
        self.adam = torch.optim.AdamW(self.weights, lr=how.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.start = None

    def keep(self) -> None:
        """The weights and Adam's state as they are now are the start."""
        self.start = [weights.detach().clone() for weights in self.weights], copy.deepcopy(self.adam.state_dict())

    def set_back(self) -> None:
        weights, state = self.start
        with torch.no_grad():
            for old, kept in zip(self.weights, weights, strict=True):
                old.copy_(kept)
        self.adam.load_state_dict(copy.deepcopy(state))

    def nats(self, rows: Sequence[dict]) -> torch.Tensor:
        """Negative log-likelihood of each row's answer, in nats, the token that ends the turn included; (rows,)."""
        if self.packs:
            return self._packed(rows)
        return torch.stack([row_nats(self.model, row) for row in rows])

    def _packed(self, rows: Sequence[dict]) -> torch.Tensor:
        """All rows one after another in one sequence, each seeing only itself."""
        sizes = [len(row["input_ids"]) for row in rows]
        ids = torch.tensor([[i for row in rows for i in row["input_ids"]]])
        # nothing in a row comes before its first token, so that is not predicted
        labels = torch.tensor([[i for row in rows for i in (IGNORED, *row["labels"][1:])]])
        places = torch.cat([torch.arange(size) for size in sizes])[None]
        scored = score_trained(self.model.get_base_model(), labels, input_ids=ids, position_ids=places)
        nats = torch.nn.functional.pad(-scored.log_probs[0], (1, 0))  # by the token that is predicted
        return torch.stack([part.sum() for part in nats.split(sizes)])

    def step(self, rows: Sequence[dict], weight: float, rate: float) -> None:
        """One step of Adam on the sum of the rows' nats times `weight`."""
        self.model.train()
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.zero_grad()
        (weight * self.nats(rows).sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.weights, CLIP)
        self.adam.step()

    def measure(self, rows: Sequence[dict]) -> list[float]:
        """Nats of each row's answer."""
        self.model.eval()
        with torch.no_grad():
            return [float(n) for at in range(0, len(rows), HELD_AT_ONCE) for n in self.nats(rows[at:][:HELD_AT_ONCE])]
