"""Generation that keeps the batch full: finished rows leave, waiting rows enter, the shared start of all prompts is
read once.

`generate` yields each completion as it ends, longest prompts first. Greedy at temperature 0; else every row draws from
its own stream, so that its text does not depend on its neighbours' order. Does not extract and does not score.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from tunebook.errors import InputProblem
from tunebook.models.decoder import GROUP, Decoder, Group, agrees, fits
from tunebook.models.engine import Decoding, Generated, common_prefix

PREFILL_TOKENS = 2048
PROOF_TOKENS = 48


@dataclass
class _Row:
    index: int
    prompt: list[int]
    new: list[int]
    stream: random.Random
    logp: float = 0.0


def generate(
    model,
    prompts: Sequence[list[int]],
    stops: set[int],
    decoding: Decoding,
    slots: int = 32,
    on_tokens: Callable[[int], None] | None = None,
    only: Sequence[int] | None = None,
    is_over: Callable[[list[int]], bool] | None = None,
) -> Iterator[Generated]:
    """Completes every prompt of token ids, or those at the places `only`; `on_tokens` is told the tokens made at each
    step.

    A row ends at a token of `stops`, which is left out, where `is_over` says so of its new tokens, or at its limit.

    A row's stream depends on its place among all prompts, so a resumed run draws what an unbroken one draws. Raises
    InputProblem when a prompt with its completion is longer than the model's context. A model that the lean pass is not
    written for is completed by transformers' own `generate`, in batches.
    """
    places = range(len(prompts)) if only is None else only
    if not places:
        return
    config = model.config.get_text_config()
    longest = max(map(len, prompts)) + decoding.max_new_tokens
    limit = getattr(config, "max_position_embeddings", longest)
    if longest > limit:
        raise InputProblem(
            f"prompt of {longest - decoding.max_new_tokens} tokens + {decoding.max_new_tokens} new exceeds the model's"
            f" context of {limit}"
        )
    order = sorted(places, key=lambda at: -len(prompts[at]))
    model.eval()
    decoder = _decoder(model, prompts[order[0]], longest)
    if decoder is None:
        yield from lock_step(model, prompts, stops, decoding, slots, places)
        return
    waiting = [_Row(at, prompts[at], [], random.Random(f"{decoding.seed}/{at}")) for at in reversed(order)]
    batch = _Batch(decoder, min(slots, len(order)), common_prefix(prompts), decoding)
    with torch.inference_mode():
        while waiting or batch.count():
            batch.admit(waiting)
            tokens = batch.step()
            if on_tokens:
                on_tokens(len(tokens))
            yield from batch.retire(tokens, stops, is_over)


def _decoder(model, prompt: list[int], length: int) -> Decoder | None:
    """The lean pass over `model`, None where it is not written for it or does not give the model's own logits."""
    if not fits(model.config.get_text_config()):
        return None
    with torch.inference_mode():
        decoder = Decoder(model, length)
        if agrees(model, decoder, prompt[:PROOF_TOKENS]):
            return decoder
    warnings.warn(
        f"generate: the lean pass differs from {type(model).__name__}'s own, so the slower `generate` of transformers"
        " is used",
        stacklevel=3,
    )
    return None


class _Batch:
    """The rows in flight, in groups: row i of `rows[g]` lives in slot i of `groups[g]`."""

    def __init__(self, decoder: Decoder, slots: int, prefix: list[int], decoding: Decoding):
        self.decoder, self.slots, self.prefix, self.decoding = decoder, slots, prefix, decoding
        self.groups = [Group(decoder) for _ in range(-(-slots // GROUP))]
        self.rows: list[list[_Row]] = [[] for _ in self.groups]
        self._prefix_block = None

    def count(self) -> int:
        """Rows in flight."""
        return sum(map(len, self.rows))

    def admit(self, waiting: list[_Row]) -> None:
        """Takes rows from the end of `waiting` into free slots and reads all but the last token of their prompts.

        The last token is the row's first step.
        """
        shared = len(self.prefix)
        new: list[tuple[Group, int, list[int]]] = []
        for group, rows in zip(self.groups, self.rows, strict=True):
            while waiting and len(rows) < GROUP and self.count() < self.slots:
                row = waiting.pop()
                rows.append(row)
                group.lengths.append(len(row.prompt) - 1)
                group.fit(0)
                new.append((group, len(rows) - 1, row.prompt[shared:-1]))
        if shared and new and self._prefix_block is None:
            group, slot, _ = new[0]
            self._read([(group, slot, self.prefix)], 0)
            self._prefix_block = [block[:, slot, :, :shared].clone() for block in (group.keys, group.values)]
        for group, slot, _ in new if shared else ():
            group.keys[:, slot, :, :shared], group.values[:, slot, :, :shared] = self._prefix_block
        while new:
            part = [new.pop(0)]
            while new and sum(len(tokens) for _, _, tokens in part) + len(new[0][2]) <= PREFILL_TOKENS:
                part.append(new.pop(0))
            self._read([entry for entry in part if entry[2]], shared)

    def _read(self, part: list[tuple[Group, int, list[int]]], start: int) -> None:
        """Writes the keys and values of prompt tokens from position `start` on, many rows in one flat pass."""
        if not part:
            return
        spans, at = [], 0
        for group, slot, tokens in part:
            spans.append((group, slot, at, at + len(tokens)))
            at += len(tokens)

        def attend(layer, queries, keys, values):
            mixed = torch.empty_like(queries)
            for group, slot, first, end in spans:
                group.write(layer, slot, start, keys[first:end], values[first:end])
                mixed[first:end] = group.read_prompt(layer, slot, queries[first:end], start + end - first)
            return mixed

        ids = [token for _, _, tokens in part for token in tokens]
        places = [start + offset for _, _, tokens in part for offset in range(len(tokens))]
        self._hidden(ids, places, attend)

    def _hidden(self, ids: list[int], places: list[int], attend) -> torch.Tensor:
        device = self.decoder.device
        return self.decoder.hidden(torch.tensor(ids, device=device), torch.tensor(places, device=device), attend)

    def step(self) -> list[int]:
        """One new token for every row in flight, in the order of the groups."""
        rows = [row for part in self.rows for row in part]
        spans, at = [], 0
        for group in self.groups:
            if group.lengths:
                group.begin_step()
                spans.append((group, at, at + len(group.lengths)))
                at += len(group.lengths)

        def attend(layer, queries, keys, values):
            parts = [group.step(layer, queries[a:b], keys[a:b], values[a:b]) for group, a, b in spans]
            return torch.cat(parts)

        places = [length for group in self.groups for length in group.lengths]
        states = self._hidden([row.new[-1] if row.new else row.prompt[-1] for row in rows], places, attend)
        for group in self.groups:
            group.lengths = [length + 1 for length in group.lengths]
        logits = self.decoder.logits(states)
        tokens = choose_tokens(logits, self.decoding, [row.stream for row in rows])
        for row, value in zip(rows, drawn_nats(logits, tokens), strict=True):
            row.logp += value
        return tokens

    def retire(self, tokens: list[int], stops: set[int], is_over: Callable | None) -> Iterator[Generated]:
        """Appends each row's token; a row that ended leaves, and the last row of its group moves into its slot."""
        at = len(tokens)
        for group, rows in zip(reversed(self.groups), reversed(self.rows), strict=True):
            for slot in reversed(range(len(rows))):
                at -= 1
                row, token = rows[slot], tokens[at]
                is_stop = token in stops
                if not is_stop:
                    row.new.append(token)
                    is_stop = is_over is not None and is_over(row.new)
                if not is_stop and len(row.new) < self.decoding.max_new_tokens:
                    continue
                last = rows.pop()
                if slot < len(rows):
                    rows[slot] = last
                group.remove(slot)
                end = token if token in stops else None
                yield Generated(row.index, row.new, "stop" if is_stop else "length", end, row.logp)


def lock_step(
    model, prompts, stops, decoding: Decoding, size: int, only: Collection[int] | None = None
) -> Iterator[Generated]:
    """transformers' own `generate` in left-padded batches of `size`, longest prompts first.

    The batches and their seeds are those of all prompts, also where `only` some are wanted: a batch without any is left
    out.
    """
    pad = min(stops)
    settings = {"do_sample": decoding.temperature > 0, "pad_token_id": pad, "eos_token_id": sorted(stops)}
    if decoding.temperature > 0:
        settings |= {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    wanted = set(range(len(prompts)) if only is None else only)
    order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
    for first in range(0, len(order), size):
        part = order[first : first + size]
        if wanted.isdisjoint(part):
            continue
        torch.manual_seed(random.Random(f"{decoding.seed}/{first}").getrandbits(63))
        width = max(len(prompts[at]) for at in part)
        ids = torch.tensor([[pad] * (width - len(prompts[at])) + prompts[at] for at in part])
        mask = torch.tensor([[0] * (width - len(prompts[at])) + [1] * len(prompts[at]) for at in part])
        with torch.no_grad():  # not inference_mode: a model that is spread trains with the same buffers
            out = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=decoding.max_new_tokens,
                **settings,
            )
        for at, tokens in zip(part, out[:, width:].tolist(), strict=True):
            end = next((place for place, token in enumerate(tokens) if token in stops), None)
            if at in wanted:
                last = None if end is None else tokens[end]
                yield Generated(at, tokens[:end], "length" if end is None else "stop", last)


NUCLEUS_TOKENS = 512  # sorting a whole vocabulary costs more than the model; a nucleus is seldom wider


def choose_tokens(logits: torch.Tensor, decoding: Decoding, streams: Sequence[random.Random]) -> list[int]:
    """A token id for each row of `logits` (rows, vocabulary): the largest, or a draw from the nucleus of mass
    `top_p`.
    """
    if decoding.temperature <= 0:
        return logits.argmax(dim=-1).tolist()
    probabilities = torch.softmax(logits.float() / decoding.temperature, dim=-1)
    draws = torch.tensor([[stream.random()] for stream in streams], device=logits.device)
    if decoding.top_p >= 1:
        return _drawn(probabilities, draws).tolist()
    likeliest, ids = probabilities.topk(min(NUCLEUS_TOKENS, probabilities.shape[-1]), dim=-1)
    if bool((likeliest.sum(dim=-1) < decoding.top_p).any()):
        likeliest, ids = probabilities.sort(dim=-1, descending=True)
    before = likeliest.cumsum(dim=-1) - likeliest
    picked = _drawn(likeliest.masked_fill(before >= decoding.top_p, 0), draws)
    return ids.gather(1, picked[:, None])[:, 0].tolist()


def drawn_nats(logits: torch.Tensor, tokens: list[int]) -> list[float]:
    """Log-probability in nats of the token chosen in each row of `logits` (rows, vocabulary)."""
    logits = logits.float()
    chosen = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
    return (chosen - logits.logsumexp(dim=-1)).tolist()


def _drawn(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The place in each row of `weights` (rows, n), not normalised, at which the draw in [0, 1) of that row falls."""
    mass = weights.cumsum(dim=-1)
    return torch.searchsorted(mass, draws * mass[:, -1:], right=True)[:, 0].clamp(max=weights.shape[-1] - 1)
