"""The product of a linear layer with its LoRA as one step of autograd: same sums as PEFT's, fewer of them on the way.

PEFT builds an adapted layer of five operations, each with a tensor and a node of its own; for the short batches of a
CPU that costs as much as the products. `use_short_lora` replaces the forward of each adapted layer, as `compact_head`
does for the head; no library file changes. DoRA, dropout, quantised bases and several active adapters keep PEFT's path.
"""

from __future__ import annotations

import types

import torch


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
        module.forward = types.MethodType(_forward, module)
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


def _forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    names = [name for name in self.active_adapters if name in self.lora_A]
    base, mixed = self.get_base_layer(), torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    is_mixed = mixed and mixed != base.weight.dtype  # autocast would compute in a precision that W has not
    if self.disable_adapters or self.merged or len(names) != 1 or is_mixed or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    name = names[0]
    a, b, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    out = LoraProduct.apply(x.reshape(-1, x.shape[-1]), base.weight, base.bias, a, b, scale)
    return out.view(*x.shape[:-1], -1)
