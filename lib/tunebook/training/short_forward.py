"""Two forward passes that compute less, with the same outputs: the vocabulary projection only at the tokens that are
trained, and a linear layer with its LoRA as one step of autograd.

Off CUDA, TRL's fused head projects every position onto the vocabulary, though in a short instruction row most of them
are prompt and get no loss. `use_compact_head` gives a model the same head, computed at the trained positions alone.
Models that scale or cap their logits, or that have a router, keep TRL's path.

PEFT builds an adapted layer of five operations, each with a tensor and a node of its own; for the short batches of a
CPU that costs as much as the products. `use_short_lora` makes one of them. DoRA, dropout, quantised bases and several
active adapters keep PEFT's path. Both replace the forward of one model object, as TRL's own `add_fused_lm_head` does;
no library file changes.
"""

from __future__ import annotations

import functools
import types

import torch
from trl.trainer.utils import FusedCausalLMOutput

from tunebook.models.abilities import has_router

SPECIAL = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def is_special(config) -> bool:
    """Whether a model with this config does more to its logits than one product, or routes its tokens."""
    return any(getattr(config, name, None) for name in SPECIAL) or has_router(config)


def use_compact_head(trainer) -> bool:
    """Gives the model of a TRL trainer the compact head, and says whether it did.

    Left as it is: a model on CUDA, where TRL's own kernel already skips untrained positions, and one with special
    logits or routed experts.
    """
    model = trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model
    temperature = getattr(trainer, "temperature", 1.0)
    if model.device.type == "cuda" or is_special(model.config.get_text_config()):
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
    logits = model.get_output_embeddings()(hidden[mask]).float() / temperature
    logps = torch.log_softmax(logits, dim=-1)
    chosen = targets[mask]
    with torch.no_grad():
        entropy = -(logps.exp() * logps).sum(-1)
        hits = logits.argmax(-1) == chosen
        means = logits.mean(-1)

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    log_probs = spread(logps.gather(1, chosen[:, None])[:, 0])
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=spread(entropy),
        mean_logits=spread(means),
        is_top1=spread(hits),
        label_mask=mask,
    )


class LoraProduct(torch.autograd.Function):
    """x W' + scale (x A') B' for rows x (n, in), frozen W (out, in), A (r, in) and B (out, r), in the precision of W.

    Source of the form: Hu et al. 2021, equation 3.
    """

    @staticmethod
    def forward(ctx, rows, weight, bias, a, b, scale):
        rows, down, up = (part.to(weight.dtype) for part in (rows, a, b))
        low = rows @ down.t()
        out = torch.addmm(bias, rows, weight.t()) if bias is not None else rows @ weight.t()
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale, ctx.dtypes = scale, (a.dtype, b.dtype)
        return out.addmm_(low, up.t(), alpha=scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        rows, low, weight, down, up = ctx.saved_tensors
        through = (gradient @ up).mul_(ctx.scale)
        of_rows = (gradient @ weight).addmm_(through, down) if ctx.needs_input_grad[0] else None
        of_a = (through.t() @ rows).to(ctx.dtypes[0]) if ctx.needs_input_grad[3] else None
        of_b = (gradient.t() @ low).mul_(ctx.scale).to(ctx.dtypes[1]) if ctx.needs_input_grad[4] else None
        return of_rows, None, None, of_a, of_b, None


def use_short_lora(model) -> int:
    """Gives every plain LoRA layer of `model` on a CPU the one-step product; how many there are."""
    found = [module for module in model.modules() if is_plain(module)]
    for module in found:
        module.forward = types.MethodType(_adapted_forward, module)
    return len(found)


def is_plain(module) -> bool:
    """Whether a module is an adapted layer on a CPU that is x W + scale (x A) B and nothing else, for each adapter."""
    from peft.tuners.lora.layer import Linear

    if not isinstance(module, Linear):
        return False
    base = module.get_base_layer()
    has_dropout = any(not isinstance(part, torch.nn.Identity) for part in module.lora_dropout.values())
    has_bias = any(getattr(part, "bias", None) is not None for part in module.lora_B.values())
    return (
        type(base) is torch.nn.Linear
        and base.weight.device.type == "cpu"
        and not base.weight.requires_grad
        and not (has_dropout or has_bias or module.lora_variant)
    )


def _adapted_forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    names = [name for name in self.active_adapters if name in self.lora_A]
    base, mixed = self.get_base_layer(), torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    is_mixed = mixed and mixed != base.weight.dtype  # autocast would compute in a precision that W has not
    if self.disable_adapters or self.merged or len(names) != 1 or is_mixed or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    name = names[0]
    a, b, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    out = LoraProduct.apply(x.reshape(-1, x.shape[-1]), base.weight, base.bias, a, b, scale)
    return out.view(*x.shape[:-1], -1)
