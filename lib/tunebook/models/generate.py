"""Generation that keeps the batch full: finished rows leave, waiting rows enter, the shared start of all prompts is read once.

`generate` yields each completion as it ends, longest prompts first. Greedy at temperature 0; else every row draws from its own
stream, so that its text does not depend on its neighbours' order. Does not extract and does not score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tunebook.errors import InputProblem
from tunebook.models.engine import Decoding, Generated
from tunebook.models.slots import SlotCache, fits, use_grouped_attention

PREFILL_TOKENS = 2048


@dataclass
class _Row:
    index: int
    prompt: list[int]
    new: list[int]
    stream: random.Random


def generate(
    model,
    prompts: Sequence[list[int]],
    stops: set[int],
    decoding: Decoding,
    slots: int = 32,
    on_tokens: Callable[[int], None] | None = None,
) -> Iterator[Generated]:
    """Completes every prompt of token ids; `on_tokens` is told the number of tokens made at each step.

    Raises InputProblem when a prompt with its completion is longer than the model's context. A model whose attention is not
    plain is completed by transformers' own `generate`, in batches.
    """
    if not prompts:
        return
    config = model.config.get_text_config()
    longest = max(map(len, prompts)) + decoding.max_new_tokens
    limit = getattr(config, "max_position_embeddings", longest)
    if longest > limit:
        raise InputProblem(
            f"prompt of {longest - decoding.max_new_tokens} tokens + {decoding.max_new_tokens} new exceeds the model's context of {limit}"
        )
    if not fits(config):
        yield from _lock_step(model, prompts, stops, decoding, slots)
        return
    use_grouped_attention(model)
    model.eval()
    slots = min(slots, len(prompts))
    cache = SlotCache(config, slots, longest, model.dtype, model.device)
    batch = _Batch(model, cache, _common_prefix(prompts), decoding)
    order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
    waiting = [_Row(at, prompts[at], [], random.Random(f"{decoding.seed}/{at}")) for at in reversed(order)]
    with torch.inference_mode():
        while waiting or batch.rows:
            if waiting and len(batch.rows) < slots:
                batch.admit([waiting.pop() for _ in range(min(slots - len(batch.rows), len(waiting)))])
            tokens = batch.step()
            if on_tokens:
                on_tokens(len(tokens))
            yield from batch.retire(tokens, stops)


class _Batch:
    """The rows in flight: row i of `rows` lives in slot i."""

    def __init__(self, model, cache: SlotCache, prefix: list[int], decoding: Decoding):
        self.model, self.cache, self.prefix, self.decoding = model, cache, prefix, decoding
        self.rows: list[_Row] = []
        self.prefix_slot = None

    def _forward(self, rows: slice, start: list[int], tokens: torch.Tensor) -> torch.Tensor:
        device = self.model.device
        starts = torch.tensor(start, device=device)
        mask = self.cache.aim(rows, starts, tokens.shape[1])
        positions = starts[:, None] + torch.arange(tokens.shape[1], device=device)
        result = self.model(
            input_ids=tokens.to(device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return result.logits[:, -1].float()

    def admit(self, rows: list[_Row]) -> None:
        """Reads all but the last token of each new prompt into free slots; the last one is the row's first step."""
        first = len(self.rows)
        self.rows += rows
        shared = len(self.prefix)
        if shared and self.prefix_slot is None:
            self._forward(slice(first, first + 1), [0], torch.tensor([self.prefix]))
            self.prefix_slot = (
                self.cache.keys[:, first : first + 1, :, :shared].clone(),
                self.cache.values[:, first : first + 1, :, :shared].clone(),
            )
        if shared:
            self.cache.keys[:, first : len(self.rows), :, :shared] = self.prefix_slot[0]
            self.cache.values[:, first : len(self.rows), :, :shared] = self.prefix_slot[1]
        at = first
        while at < len(self.rows):
            width = max(len(self.rows[at].prompt) - 1 - shared, 0)
            count = max(1, PREFILL_TOKENS // max(width, 1))
            end = min(len(self.rows), at + count)
            if width:
                tokens = torch.zeros((end - at, width), dtype=torch.long)
                for i, row in enumerate(self.rows[at:end]):
                    part = row.prompt[shared:-1]
                    tokens[i, : len(part)] = torch.tensor(part)
                self._forward(slice(at, end), [shared] * (end - at), tokens)
            at = end

    def step(self) -> list[int]:
        """One new token for every row in flight."""
        last = [[row.new[-1] if row.new else row.prompt[-1]] for row in self.rows]
        start = [len(row.prompt) + len(row.new) - 1 for row in self.rows]
        logits = self._forward(slice(0, len(self.rows)), start, torch.tensor(last))
        return choose_tokens(logits, self.decoding, [row.stream for row in self.rows])

    def retire(self, tokens: list[int], stops: set[int]) -> Iterator[Generated]:
        """Appends each row's token; a row that ended leaves, and the last row moves into its slot."""
        for slot in reversed(range(len(self.rows))):
            row, token = self.rows[slot], tokens[slot]
            is_stop = token in stops
            if not is_stop:
                row.new.append(token)
            if not is_stop and len(row.new) < self.decoding.max_new_tokens:
                continue
            last = self.rows.pop()
            if slot < len(self.rows):
                self.rows[slot] = last
                self.cache.copy_slot(len(self.rows), slot, len(last.prompt) + len(last.new))
            yield Generated(row.index, row.new, "stop" if is_stop else "length")


def choose_tokens(logits: torch.Tensor, decoding: Decoding, streams: Sequence[random.Random]) -> list[int]:
    """A token id for each row of `logits` (rows, vocabulary): the largest, or a draw from the nucleus of mass `top_p`."""
    if decoding.temperature <= 0:
        return logits.argmax(dim=-1).tolist()
    probabilities = torch.softmax(logits.float() / decoding.temperature, dim=-1)
    ordered, ids = probabilities.sort(dim=-1, descending=True)
    mass = ordered.cumsum(dim=-1)
    ordered[mass - ordered >= decoding.top_p] = 0
    mass = ordered.cumsum(dim=-1)
    draws = torch.tensor([[stream.random()] for stream in streams], device=logits.device) * mass[:, -1:]
    picked = torch.searchsorted(mass, draws).clamp(max=logits.shape[-1] - 1)
    return ids.gather(1, picked)[:, 0].tolist()


def _common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The longest start that all prompts share, at least one token shorter than the shortest."""
    shortest, longest = min(prompts), max(prompts)
    length = 0
    while length < min(map(len, prompts)) - 1 and shortest[length] == longest[length]:
        length += 1
    return shortest[:length] if len(prompts) > 1 else []


def _lock_step(model, prompts, stops, decoding: Decoding, size: int) -> Iterator[Generated]:
    """transformers' own `generate` in batches of `size`, left-padded: for models that `slots.fits` refuses."""
    pad = min(stops)
    settings = {"do_sample": decoding.temperature > 0, "pad_token_id": pad, "eos_token_id": sorted(stops)}
    if decoding.temperature > 0:
        settings |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        torch.manual_seed(decoding.seed)
    order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
    for first in range(0, len(order), size):
        part = order[first : first + size]
        width = max(len(prompts[at]) for at in part)
        ids = torch.tensor([[pad] * (width - len(prompts[at])) + prompts[at] for at in part])
        mask = torch.tensor([[0] * (width - len(prompts[at])) + [1] * len(prompts[at]) for at in part])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=decoding.max_new_tokens,
                **settings,
            )
        for at, tokens in zip(part, out[:, width:].tolist(), strict=True):
            end = next((place for place, token in enumerate(tokens) if token in stops), None)
            yield Generated(at, tokens[:end], "length" if end is None else "stop")
