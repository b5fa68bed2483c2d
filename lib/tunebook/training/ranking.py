"""Whether a model finds the chosen answer of a held-out pair likelier than the rejected one, before and after a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tunebook.models.templates import encode_row


def rank_pairs(model, tokenizer, pairs: Sequence[dict], max_length: int) -> list[tuple[float, float]]:
    """Log-probability of the chosen and of the rejected answer of each pair, in nats, summed over the answer's tokens."""
    was_training = model.training
    model.eval()
    found = [tuple(_logp(model, tokenizer, pair, key, max_length) for key in ("chosen", "rejected")) for pair in pairs]
    model.train(was_training)
    return found


def _logp(model, tokenizer, pair: dict, key: str, max_length: int) -> float:
    ids, mask = encode_row(tokenizer, pair["prompt"], pair[key], *([pair["tools"]] if pair.get("tools") else []))
    tokens = torch.tensor([ids[:max_length]], device=model.device)
    trained = torch.tensor(mask[1:max_length], dtype=torch.bool, device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1][trained].float()
    return float(-torch.nn.functional.cross_entropy(logits, tokens[0, 1:][trained], reduction="sum"))


def ranking(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> dict:
    """Of held-out pairs: `ranked_before` and `ranked_after`, how many chosen answers are likelier than the rejected; `accuracy`, the
    share whose chosen answer gained on the rejected one; `margin`, by how many nats on average.

    >>> ranking([(-5.0, -4.0), (-3.0, -9.0)], [(-4.0, -6.0), (-3.0, -8.5)])
    {'n': 2, 'ranked_before': 1, 'ranked_after': 2, 'accuracy': 0.5, 'margin': 1.25}
    """
    gains = [(a[0] - a[1]) - (b[0] - b[1]) for b, a in zip(before, after, strict=True)]
    if not gains:
        return {"n": 0}
    ranked = [sum(chosen > rejected for chosen, rejected in side) for side in (before, after)]
    shares = {"accuracy": sum(gain > 0 for gain in gains) / len(gains), "margin": round(sum(gains) / len(gains), 4)}
    return {"n": len(gains), "ranked_before": ranked[0], "ranked_after": ranked[1], **shares}
