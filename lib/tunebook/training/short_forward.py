"""A forward pass that computes less, with the same outputs: the vocabulary projection only at the tokens that are
trained.

Off CUDA, TRL's fused head projects every position onto the vocabulary, though in a short instruction row most of them
are prompt and get no loss. `use_compact_head` gives a model the same head, computed at the trained positions alone.
Models that scale or cap their logits, or that have a router, keep TRL's path. It replaces the forward of one model
object, as TRL's own `add_fused_lm_head` does; no library file changes.
"""

from __future__ import annotations

import functools
import types

import torch
from trl.trainer.utils import FusedCausalLMOutput

from tunebook.errors import InputProblem
from tunebook.models.abilities import has_router
from tunebook.training.ranks import is_spread

SAME = 0.02  # of the largest logit: two orders of the same sums in half precision differ by less
SPECIAL = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def is_special(config) -> bool:
    """Whether a model with this config does more to its logits than one product, or routes its tokens."""
    return any(getattr(config, name, None) for name in SPECIAL) or has_router(config)


def use_compact_head(trainer) -> bool:
    """Gives the model of a TRL trainer the compact head, and says whether it did.

    Left as it is: a model on CUDA, where TRL's own kernel already skips untrained positions, and one with special
    logits or routed experts. InputProblem for a model whose logits are neither: TRL's head would be wrong too.
    """
    model = trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model
    temperature = getattr(trainer, "temperature", 1.0)
    if is_special(model.config.get_text_config()):
        return False
    require_one_product(model)
    if model.device.type == "cuda":
        return False
    fused = model.forward

    @functools.wraps(type(model).forward)
    def forward(self, *args, fused_lm_head=False, labels=None, **kwargs):
        if not fused_lm_head:
            return fused(*args, labels=labels, **kwargs)
        kwargs.pop("num_items_in_batch", None)
        return score_trained(self, labels, *args, temperature=temperature, **kwargs)

    model.forward = types.MethodType(forward, model)
    return True


def require_one_product(model) -> None:
    """InputProblem where logits are more than the last hidden states times the output embeddings, as where a head of
    several layers predicts (ModernBERT's decoder) or a cap has a name of its own (RecurrentGemma, xLSTM).
    """
    if is_spread(model):
        return
    tokens, was_training = torch.arange(8, device=model.device)[None], model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        product = model.get_output_embeddings()(hidden).float()
    model.train(was_training)
    if not torch.allclose(logits, product, rtol=SAME, atol=SAME * float(logits.abs().max())):
        raise InputProblem(
            f"model: the logits of {type(model).__name__} are not its last hidden states times its output embeddings,"
            " which the loss of TRL and of this kit take them for: it would learn something else; use another model"
        )


def score_trained(model, labels: torch.Tensor, *args, temperature: float = 1.0, **kwargs) -> FusedCausalLMOutput:
    """Log-probabilities (nats), entropy and hits of the next tokens that `labels` (batch, length) names; -100 is
    untrained.

    The logits are divided by `temperature`, as a trainer of sampled answers asks for.

    Every field is (batch, length - 1) and zero where nothing is trained, as in TRL's head.
    """
    kwargs["use_cache"] = False
    hidden = model.base_model(*args, **kwargs).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    mask = targets != -100
    logits = model.get_output_embeddings()(hidden[mask])
    logps, entropy, hits, means = LogProbs.apply(logits, targets[mask], temperature)

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    log_probs = spread(logps)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=spread(entropy),
        mean_logits=spread(means),
        is_top1=spread(hits),
        label_mask=mask,
    )


CHUNK = 16  # positions whose whole vocabulary is in work at once: what stays in a CPU's cache


class LogProbs(torch.autograd.Function):
    """Log-probabilities (nats), entropy, hits and mean logit of `targets` (n,) under `logits` (n, vocabulary) in any
    precision, over a temperature. Only the first has a gradient.

    It is worked out in float32 by a few positions at a time; in the precision of the logits one matrix is kept.
    """

    @staticmethod
    def forward(ctx, logits, targets, temperature):
        places, apart, found = torch.arange(CHUNK, device=logits.device), torch.empty_like(logits), []
        for part, chosen, kept in zip(logits.split(CHUNK), targets.split(CHUNK), apart.split(CHUNK), strict=True):
            wide = part.float() if temperature == 1 else part.float() / temperature
            largest, best = wide.max(-1, keepdim=True)
            shares = (wide - largest).exp_()
            total = shares.sum(-1, keepdim=True)
            shares.div_(total)
            level = (largest + total.log())[:, 0]
            at = places[: len(part)]
            logps = wide[at, chosen] - level
            found.append((logps, level - (shares * wide).sum(-1), best[:, 0] == chosen, wide.mean(-1)))
            shares[at, chosen] -= 1
            kept.copy_(shares)
        outputs = [torch.cat(parts) for parts in zip(*found, strict=True)]
        ctx.apart, ctx.temperature = apart, temperature
        ctx.mark_non_differentiable(*outputs[1:])
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        return ctx.apart * (gradient / -ctx.temperature)[:, None].to(ctx.apart.dtype), None, None
