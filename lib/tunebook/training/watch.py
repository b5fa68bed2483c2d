"""A training watched while it runs: held-out loss, distance from base, general text, and three answers, at even
distances.

A sick training is stopped early with the reason and the remedy (`health`). Base is the model as it is before the first
step, without any adapter; where whole weights go on from an earlier stage, the one that is given. What is measured lies
in the trainer's own log, so that it survives a kill with the checkpoint. Does not choose a checkpoint.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from transformers import TrainerCallback

from tunebook.data.row_types import demonstrations
from tunebook.evaluation.forgetting import general_texts
from tunebook.machine import free_heap
from tunebook.models.engine import Decoding
from tunebook.models.generate import lock_step
from tunebook.models.loading import BaseModel
from tunebook.models.templates import encode_row, ends_of, render_prompt, start_id
from tunebook.training.dataset import tokenised
from tunebook.training.health import WINDOW, diagnose, hides_answer, require_finite
from tunebook.training.ranks import is_spread
from tunebook.training.settings import even_steps

HELD_OUT_ROWS = 48
KL_PROMPTS, KL_TOKENS = 16, 16
MOST_DOCUMENTS = 8
SPOKEN = 3  # prompts whose answers are shown
SHOWN = (
    "step",
    "train_loss",
    "held_out_loss",
    "held_out_accuracy",
    "kl",
    "bits_per_byte",
    "rise",
    "grad_norm",
    "learning_rate",
)
COSTS = ("tokens_per_second", "memory_gib")


@dataclass(frozen=True)
class Watching:
    """How a training is watched: at `points` even distances (0: not at all), on `documents` pieces of general text (at
    most 8), with answers of `answer_tokens` tokens. `largest_rise`: percent that general text may cost more bits before
    forgetting is a sickness.
    """

    points: int = 3
    documents: int = MOST_DOCUMENTS
    answer_tokens: int = 32
    largest_rise: float = 10.0
    seed: int = 0


class Watch(TrainerCallback):
    """Measures `trainer` on the held-out canonical rows `rows` (its eval_dataset, where it has one, is made of them).

    `points`: one dict a point, the first before step 1 (see SHOWN, and `answers`). `sickness` is None for a healthy
    training. Add it after the callback that logs (`settings.Report`).
    """

    def __init__(self, trainer, rows: Sequence[dict], tokenizer, how: Watching, base: BaseModel | None = None):
        self.trainer, self.tokenizer, self.how = trainer, tokenizer, how
        self.points, self.sickness, self._spent, self._seen = [], None, 0.0, (0, 0.0)
        # the other processes only share the evaluation, and each forward pass of a model that is spread
        measures = how.points and (trainer.is_world_process_zero() or is_spread(trainer.model))
        asking = [row for row in rows if row["prompt"]][:KL_PROMPTS] if measures else []
        self._asked = [render_prompt(tokenizer, row["prompt"], tools=row.get("tools")) for row in asking]
        self._wanted = [(row["prompt"][-1]["content"], _answer_of(row)) for row in rows if row["prompt"]][:SPOKEN]
        self._texts = list(general_texts(min(how.documents, MOST_DOCUMENTS)).values()) if measures else []
        if how.points and trainer.eval_dataset is not None and "labels" in trainer.eval_dataset.column_names:
            self.sickness = hides_answer(rows, trainer.eval_dataset, tokenizer)
        started = time.perf_counter()
        with self._quiet(), _base_of(trainer.model, base) as self._model:
            self._drawn = self._draw()
            self._base_bits = self._bits()
            self._base_answers = self._speak()
        self._model, self.seconds_a_point = trainer.model, time.perf_counter() - started
        trainer.add_callback(self)

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes up the points of a training that goes on; else measures the first."""
        self.points = [_point(row) for row in state.log_history if "answers" in row]
        if self.sickness:
            control.should_training_stop = True
        elif self.how.points and not self.points:
            self._look(state)

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for the held-out loss where a point is due."""
        control.should_evaluate = (
            control.should_evaluate or self._is_due(state) and self.trainer.eval_dataset is not None
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Looks at the losses every few steps."""
        if not logs or "loss" not in logs:
            return
        if self._is_due(state) and self.trainer.eval_dataset is None:
            self._look(state)
        if state.global_step % (WINDOW // 2) == 0:
            self._judge(state, control)

    def on_evaluate(self, args, state, control, **kwargs):
        """Measures beside the held-out loss what the trainer does not."""
        self._measure(state)
        self._judge(state, control)

    def _is_due(self, state) -> bool:
        return state.global_step in even_steps(state.max_steps, self.how.points)

    def _look(self, state) -> None:
        """A point outside the trainer's own evaluation."""
        if self.trainer.eval_dataset is not None:
            self.trainer.evaluate()
        else:
            state.log_history.append({"step": state.global_step})
            self._measure(state)

    def _judge(self, state, control) -> None:
        rows = [row for row in state.log_history if "loss" in row and row.get("kind", "rows") == "rows"]
        is_likelihood = "labels" in (self.trainer.train_dataset.column_names or ())
        limits = state.max_steps, self.how.largest_rise, is_likelihood
        self.sickness = self.sickness or diagnose(rows, self.points, *limits)
        control.should_training_stop = control.should_training_stop or self.sickness is not None

    def _measure(self, state) -> None:
        """Adds to the last entry of the trainer's log what this point shows."""
        started = time.perf_counter()
        entry, trained = state.log_history[-1], [row for row in state.log_history if "loss" in row]
        with self._quiet():
            bits, distance, answers = self._bits(), self._distance(), self._speak()
        require_finite(bits, f"what general text costs after step {state.global_step}")
        entry |= {
            "kl": distance,
            "answers": answers,
            "bits_per_byte": bits,
            "memory_gib": _memory_bytes(self.trainer.model) / 2**30,
        }
        entry["rise"] = 100 * (bits / self._base_bits - 1) if bits else None
        if trained:
            last = trained[-1]
            entry |= {
                "train_loss": last["loss"],
                "grad_norm": last.get("grad_norm"),
                "learning_rate": last.get("learning_rate"),
            }
            tokens, seconds = last.get("num_tokens", 0), last.get("seconds", 0.0) - self._spent
            if seconds > self._seen[1]:
                entry["tokens_per_second"] = (tokens - self._seen[0]) / (seconds - self._seen[1])
            self._seen = (tokens, seconds)
        self.points.append(_point(entry))
        self._spent += time.perf_counter() - started + entry.get("eval_runtime", 0.0)

    @contextlib.contextmanager
    def _quiet(self):
        """Evaluation mode, no gradients, the trainer's precision; the random streams stay where they were, and so does
        the heap.
        """
        model = self.trainer.model
        was_training, devices = model.training, [model.device] if model.device.type == "cuda" else []
        model.eval()
        try:
            with torch.random.fork_rng(devices), torch.no_grad(), self.trainer.accelerator.autocast():
                yield
        finally:
            model.train(was_training)
            free_heap()

    def _logps(self, ids: list[int]) -> torch.Tensor:
        """Log-probabilities (tokens, vocabulary) in float32 after each token."""
        tokens = torch.tensor([ids], device=self._model.device)
        return self._model(input_ids=tokens, use_cache=False).logits[0].float().log_softmax(-1)

    def _draw(self) -> list[tuple[list[int], int, torch.Tensor]]:
        """Answers that base draws: whole ids, where the answer begins, and base's log-probabilities along it in half
        precision.
        """
        decoding = Decoding(KL_TOKENS, temperature=1.0, seed=self.how.seed)
        drawn = []
        for done in self._complete(self._asked, decoding):
            if done.ids:
                whole, start = self._asked[done.index] + done.ids, len(self._asked[done.index]) - 1
                drawn.append((whole, start, self._logps(whole)[start:-1].half().cpu()))
        return drawn

    def _distance(self) -> float | None:
        """KL(base || model) in nats a token of base's own answers, over the whole vocabulary."""
        total, tokens = 0.0, 0
        for whole, start, kept in self._drawn:
            base = kept.float().to(self.trainer.model.device)
            total += float((base.exp() * (base - self._logps(whole)[start:-1])).sum())
            tokens += len(kept)
        return total / tokens if tokens else None

    def _bits(self) -> float | None:
        """Bits a byte of general text; None where none is read."""
        bits, size = 0.0, sum(len(text.encode()) for text in self._texts)
        for text in self._texts:
            ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            logps = self._logps([start_id(self.tokenizer), *ids])[:-1]
            bits -= float(logps.gather(1, torch.tensor(ids, device=logps.device)[:, None]).sum()) / math.log(2)
        return bits / size if size else None

    def _speak(self) -> list[str]:
        """Greedy answers to the first prompts."""
        texts = [""] * min(SPOKEN, len(self._asked))
        for done in self._complete(self._asked[:SPOKEN], Decoding(self.how.answer_tokens)):
            texts[done.index] = self.tokenizer.decode(done.ids)
        return texts

    def _complete(self, prompts: list[list[int]], decoding: Decoding):
        return lock_step(self._model, prompts, ends_of(self.tokenizer), decoding, KL_PROMPTS)

    def table(self) -> list[dict]:
        """A row a point, results only: what SHOWN names."""
        return [{key: point.get(key) for key in SHOWN} for point in self.points]

    def costs(self) -> list[dict]:
        """A row a point: `step`, tokens a second since the last, and the memory in use."""
        return [{key: point.get(key) for key in ("step", *COSTS)} for point in self.points[1:]]

    def spoken(self) -> list[dict]:
        """A row for each of the prompts: what is asked, what was wanted, what base says, and what the model said at
        each point.
        """
        return (
            [
                {"prompt": asked, "wanted": wanted, "base": self._base_answers[at]}
                | {f"step {point['step']}": point["answers"][at] for point in self.points[1:]}
                for at, (asked, wanted) in enumerate(self._wanted)
            ]
            if self.how.points
            else []
        )

    def verdict(self) -> str:
        """ "healthy", or the sickness with its reason and remedy."""
        return str(self.sickness or "healthy")


def held_out(rows: Sequence[dict], tokenizer, max_length: int):
    """The first HELD_OUT_ROWS canonical rows that fit into `max_length` tokens, and their dataset (None without a
    row).
    """

    def fits(row: dict) -> bool:
        return len(encode_row(tokenizer, row["prompt"], row["completion"], row.get("tools"))[0]) <= max_length

    fitting = (row for row in demonstrations(rows) if fits(row))
    kept = list(itertools.islice(fitting, HELD_OUT_ROWS))
    return kept, tokenised(kept, tokenizer, max_length) if kept else None


def _answer_of(row: dict) -> str:
    return str((row.get("completion") or row.get("chosen") or [{}])[-1].get("content") or "")


def _point(entry: dict) -> dict:
    held = {"held_out_loss": entry.get("eval_loss"), "held_out_accuracy": entry.get("eval_mean_token_accuracy")}
    return {key: entry.get(key) for key in (*SHOWN, *COSTS, "answers")} | held


@contextlib.contextmanager
def _base_of(model, base: BaseModel | None):
    """The base model of a PeftModel: its adapter off. Of any other `base`, opened meanwhile; without one the model as
    it is.
    """
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            yield model
    elif base is None:
        yield model
    else:
        with base.engine() as engine:
            yield engine.model


def _memory_bytes(model) -> int:
    """Most that the GPU has held, or what this process holds now."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    return psutil.Process().memory_info().rss
