"""The next token of each row from its logits: the likeliest, or a draw from the row's own stream. Knows no model."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from tunebook.models.engine import Decoding

NUCLEUS_TOKENS = 512  # sorting a whole vocabulary costs more than the model; a nucleus is seldom wider


def choose_tokens(logits: torch.Tensor, decoding: Decoding, streams: Sequence[random.Random]) -> list[int]:
    """A token id for each row of `logits` (rows, vocabulary): the largest, or a draw from the nucleus of mass `top_p`."""
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


def _drawn(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The place in each row of `weights` (rows, n), not normalised, at which the draw in [0, 1) of that row falls."""
    mass = weights.cumsum(dim=-1)
    return torch.searchsorted(mass, draws * mass[:, -1:], right=True)[:, 0].clamp(max=weights.shape[-1] - 1)
