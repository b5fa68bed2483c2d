"""A step that runs out of memory is tried again with less: fewer rows a pass, then recomputing, then shorter rows.

The rungs, in order: `accumulation` halves the rows of a pass and adds up their gradients, so that the step trains the
same rows to the same weights but for rounding; `checkpointing` recomputes activations in the backward pass, which
costs time alone; `length` cuts the beginning of rows, which changes what is trained. Nothing of the training is lost,
since the step has changed no weight yet. Memory that the operating system takes back by killing the process cannot be
caught here. One process with a plain step only: under DDP or with gradients already accumulated it ends in a sentence.
"""

from __future__ import annotations

import torch

from tunebook.errors import MachineProblem
from tunebook.models.loading import free_memory

ROWS = "rows_of_the_batch"
SHORTEST = 32  # tokens below which no row is cut
KEEP = 0.75  # of a row's tokens, at each cut


class _Rows(list):
    """Rows of a batch as the data set has them, carried beside its tensors; no tensor, so no device is asked for it."""


class MemoryLadder:
    """Lets `trainer` (SFT, DPO or KTO of TRL) walk down the rungs. `rungs` holds a dict for each that it took: `step`,
    `rung`, `change`.

    `fewest`: rows that a pass needs at least (KTO compares neighbours: 2).
    """

    def __init__(self, trainer, fewest: int = 1):
        self.trainer, self.fewest, self.rungs = trainer, fewest, []
        self.rows_a_pass = trainer.args.per_device_train_batch_size
        self.longest, self._is_recomputed = 0, False
        if trainer.args.gradient_checkpointing:  # `train` would begin with it; a pilot before must cost the same
            self._recompute()
        self._step, trainer.training_step = trainer.training_step, self._climb
        self._loader, trainer.get_train_dataloader = trainer.get_train_dataloader, self._load
        self._collate = trainer.data_collator

    def verdict(self) -> str:
        """What was changed, in words."""
        return "; ".join(f"{rung['rung']} at step {rung['step']}: {rung['change']}" for rung in self.rungs) or "none"

    def _load(self):
        self.trainer.data_collator = lambda rows: {**self._collate(rows), ROWS: _Rows(rows)}
        try:
            return self._loader()
        finally:
            self.trainer.data_collator = self._collate

    def _climb(self, model, inputs, num_items_in_batch=None):
        rows = inputs.pop(ROWS)
        counted = self.trainer._total_train_tokens
        lengths = {name: len(values) for name, values in self.trainer._metrics["train"].items()}
        while True:
            try:
                return self._pass(model, inputs, rows, num_items_in_batch)
            except (MemoryError, RuntimeError) as problem:
                if not is_out_of_memory(problem):
                    raise
                reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            self._descend(len(rows), rows, reason)
            model.zero_grad(set_to_none=True)
            self.trainer._total_train_tokens = counted
            for name, values in self.trainer._metrics["train"].items():
                del values[lengths.get(name, 0) :]
            free_memory()

    def _pass(self, model, inputs, rows: list, items):
        """The training step, in as many parts as rows_a_pass asks for. Returns the sum of their losses."""
        if len(rows) <= self.rows_a_pass and not self.longest:
            return self._step(model, dict(inputs), num_items_in_batch=items)
        total, parts = 0.0, self.trainer.current_gradient_accumulation_steps
        n = max(1, min(-(-len(rows) // self.rows_a_pass), len(rows) // self.fewest))
        try:
            for at in range(n):
                part = rows[len(rows) * at // n : len(rows) * (at + 1) // n]
                # losses that are means over the rows count by their share; those over `items` do so themselves
                self.trainer.current_gradient_accumulation_steps = parts * len(rows) / len(part)
                batch = self._collate(part)
                batch = {name: self._cut(value) for name, value in batch.items()} if self.longest else batch
                total = total + self._step(model, batch, num_items_in_batch=items)
        finally:
            self.trainer.current_gradient_accumulation_steps = parts
        return total

    def _cut(self, value):
        is_row = torch.is_tensor(value) and value.dim() > 1
        return value[..., -self.longest :] if is_row else value

    def _descend(self, n_rows: int, rows: list, reason: str) -> None:
        """Takes the next rung, and MachineProblem below the last."""
        args, now = self.trainer.args, min(self.rows_a_pass, n_rows)
        short = f"step {self.trainer.state.global_step + 1} needs more memory than there is ({reason})"
        if args.gradient_accumulation_steps > 1 or args.world_size > 1:
            raise MachineProblem(f"{short}; lower batch_size or max_length, or use processes: 1")
        if now // 2 >= self.fewest:
            self.rows_a_pass = now // 2
            self._note("accumulation", f"{now} rows a pass -> {self.rows_a_pass}, {n_rows} rows a step as before")
        elif not self._is_recomputed and self.trainer.model.supports_gradient_checkpointing:
            self._recompute()
            self._note("checkpointing", "activations are recomputed in the backward pass")
        else:
            longest = self.longest or max(_length(row) for row in rows)
            if int(longest * KEEP) < SHORTEST:
                tried = f"with one row of {longest} tokens a pass and recomputed activations"
                raise MachineProblem(f"{short}, {tried}; use a smaller model or method: lora")
            self.longest = int(longest * KEEP)
            self._note("length", f"rows of at most {self.longest} tokens, cut at the beginning")

    def _recompute(self) -> None:
        model, self._is_recomputed = self.trainer.model, True
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if hasattr(model, "enable_input_require_grads"):
            model.enable_input_require_grads()

    def _note(self, rung: str, change: str) -> None:
        self.rungs.append({"step": self.trainer.state.global_step + 1, "rung": rung, "change": change})


def is_laddered(trainer) -> bool:
    """Whether a ladder stands on this trainer."""
    return isinstance(getattr(trainer.training_step, "__self__", None), MemoryLadder)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory is short, on a GPU or on a CPU."""
    said = str(problem).lower()
    is_said = any(words in said for words in ("out of memory", "allocate memory", "not enough memory"))
    return isinstance(problem, MemoryError | torch.OutOfMemoryError) or is_said


def _length(row: dict) -> int:
    return max((len(value) for name, value in row.items() if name.endswith("ids")), default=0)
