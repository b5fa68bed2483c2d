"""Decoder layers with LoRA as one step of autograd each: the model's own sums, their gradients written out.

In the short batches of a CPU study more time goes into the hundreds of small operations that a layer and its seven
adapters are made of than into its products. Here a layer is one operation: one product for queries, keys and values,
one for gate and up, no tensor repeated for grouped heads. Written for the families that `models.decoder` knows, without
norms on heads; `use_lean_layers` proves it on the model at hand, and leaves any other as it is.
"""

from __future__ import annotations

import types
from itertools import pairwise

import torch

from tunebook.models.decoder import TOLERANCE, fits
from tunebook.training.lora_product import is_plain

NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GROUPS = ((0, 1, 2), (3,), (4, 5), (6,))  # linear layers that read the same rows


class Product:
    """Linear layers that read the same rows, with their LoRA: one frozen weight, whose parts stay those layers'."""

    def __init__(self, modules):
        bases = [module.get_base_layer() for module in modules]
        self.modules = modules
        self.weight = (
            torch.cat([base.weight.detach() for base in bases]) if len(bases) > 1 else bases[0].weight.detach()
        )
        self.bias = None if bases[0].bias is None else torch.cat([base.bias.detach() for base in bases])
        ends = [0]
        for base in bases:
            base.weight.data = self.weight[ends[-1] : ends[-1] + len(base.weight)]  # no second copy in memory
            ends.append(ends[-1] + len(base.weight))
        self.spans = list(pairwise(ends))

    def forward(self, rows, downs, ups, scale: float):
        """(out, kept): the layers' outputs side by side, (n, out), and what `backward` needs."""
        down = torch.cat(downs) if len(downs) > 1 else downs[0]
        low = rows @ down.t()
        out = rows @ self.weight.t() if self.bias is None else torch.addmm(self.bias, rows, self.weight.t())
        for at, ((first, end), up) in enumerate(zip(self.spans, ups, strict=True)):
            rank = len(up.t())
            out[:, first:end].addmm_(low[:, at * rank : (at + 1) * rank], up.t(), alpha=scale)
        return out, (rows, low, down, ups, scale)

    def backward(self, gradient, kept):
        """(of rows, of each A, of each B) for the gradient (n, out) of the outputs."""
        rows, low, down, ups, scale = kept
        rank = len(ups[0].t())
        parts = [gradient[:, first:end] for first, end in self.spans]
        through = [(part @ up).mul_(scale) for part, up in zip(parts, ups, strict=True)]
        through = torch.cat(through, dim=1) if len(through) > 1 else through[0]
        of_ups = [part.t() @ low[:, at * rank : (at + 1) * rank] for at, part in enumerate(parts)]
        of_rows = (gradient @ self.weight).addmm_(through, down)
        return of_rows, list((through.t() @ rows).split(rank)), [part.mul_(scale) for part in of_ups]


def _normed(state, norm):
    """(out, kept) of a root-mean-square norm, computed in float32 as the models' own."""
    wide = state.float()
    root = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    even = wide * root
    return norm.weight.detach() * even.to(state.dtype), (even, root)


def _normed_back(gradient, norm, kept):
    even, root = kept
    wide = (gradient * norm.weight.detach()).float()
    return ((wide - even * (wide * even).mean(-1, keepdim=True)) * root).to(gradient.dtype)


def _turned(heads, cosine, sine):
    half = heads.shape[-1] // 2
    return heads * cosine + torch.cat([-heads[..., half:], heads[..., :half]], dim=-1) * sine


def _turned_back(gradient, cosine, sine):
    half, other = gradient.shape[-1] // 2, gradient * sine
    return gradient * cosine + torch.cat([other[..., half:], -other[..., :half]], dim=-1)


class Attention:
    """Grouped-query attention over (batch, length, heads * width) with an additive mask (batch, 1, length, length)."""

    def __init__(self, module):
        self.width, self.scale = module.head_dim, module.scaling
        self.heads = module.q_proj.out_features // self.width
        self.kv_heads = module.k_proj.out_features // self.width

    def _groups(self, rows, heads: int):
        """(n, heads * width) as (batch, kv_heads, heads / kv_heads * length, width)."""
        batch, length = self.shape
        split = rows.reshape(batch, length, self.kv_heads, heads // self.kv_heads, self.width)
        return split.permute(0, 2, 3, 1, 4).reshape(batch, self.kv_heads, -1, self.width)

    def _rows(self, groups, heads: int):
        batch, length = self.shape
        split = groups.view(batch, self.kv_heads, heads // self.kv_heads, length, self.width)
        return split.permute(0, 3, 1, 2, 4).reshape(batch * length, heads * self.width)

    def forward(self, joined, mask, cosine, sine):
        self.shape = mask.shape[0], mask.shape[-1]
        n = self.heads + self.kv_heads
        turned = _turned(joined[:, : n * self.width].view(*self.shape, n, self.width), cosine, sine)
        turned, values = turned.reshape(len(joined), n, self.width), joined[:, n * self.width :]
        queries = self._groups(turned[:, : self.heads], self.heads)
        keys, values = self._groups(turned[:, self.heads :], self.kv_heads), self._groups(values, self.kv_heads)
        scores = (queries @ keys.transpose(2, 3)).mul_(self.scale)
        parts = scores.view(*scores.shape[:2], -1, *mask.shape[2:]) + mask[:, :, None]
        shares = torch.softmax(parts, dim=-1, dtype=torch.float32).to(joined.dtype).view(scores.shape)
        return self._rows(shares @ values, self.heads), (queries, keys, values, shares, cosine, sine)

    def backward(self, gradient, kept):
        queries, keys, values, shares, cosine, sine = kept
        mixed = self._groups(gradient, self.heads)
        of_shares = mixed @ values.transpose(2, 3)
        wide, far = shares.float(), of_shares.float()
        of_scores = (wide * (far - (far * wide).sum(-1, keepdim=True))).to(gradient.dtype).mul_(self.scale)
        of_values = self._rows(shares.transpose(2, 3) @ mixed, self.kv_heads)
        of_keys = self._rows(of_scores.transpose(2, 3) @ queries, self.kv_heads)
        of_queries = self._rows(of_scores @ keys, self.heads)
        turned = torch.cat([of_queries, of_keys], dim=1)
        back = _turned_back(turned.view(*self.shape, -1, self.width), cosine, sine)
        return torch.cat([back.view(len(gradient), -1), of_values], dim=1)


class Layer:
    """One decoder layer: its products, its norms, its attention."""

    def __init__(self, layer, modules):
        self.products = [Product([modules[at] for at in group]) for group in GROUPS]
        self.norms = layer.input_layernorm, layer.post_attention_layernorm
        self.attention = Attention(layer.self_attn)

    def forward(self, state, mask, cosine, sine, downs, ups, scales):
        def product(at, rows):
            group = GROUPS[at]
            return self.products[at].forward(rows, [downs[i] for i in group], [ups[i] for i in group], scales[group[0]])

        normed, norm_1 = _normed(state, self.norms[0])
        joined, qkv = product(0, normed)
        mixed, attention = self.attention.forward(joined, mask, cosine, sine)
        out, output = product(1, mixed)
        state = state + out
        normed, norm_2 = _normed(state, self.norms[1])
        both, gate_up = product(2, normed)
        gate, up = both.chunk(2, dim=1)
        lit = torch.sigmoid(gate)
        out, down = product(3, gate * lit * up)
        return state + out, (norm_1, qkv, attention, output, norm_2, gate_up, gate, up, lit, down)

    def backward(self, gradient, kept):
        norm_1, qkv, attention, output, norm_2, gate_up, gate, up, lit, down = kept
        inner, *of_down = self.products[3].backward(gradient, down)
        of_gate = inner * up * lit * (1 + gate * (1 - lit))
        both = torch.cat([of_gate, inner * gate * lit], dim=1)
        inner, *of_gate_up = self.products[2].backward(both, gate_up)
        gradient = gradient + _normed_back(inner, self.norms[1], norm_2)
        inner, *of_output = self.products[1].backward(gradient, output)
        inner, *of_qkv = self.products[0].backward(self.attention.backward(inner, attention), qkv)
        gradient = gradient + _normed_back(inner, self.norms[0], norm_1)
        parts = (of_qkv, of_output, of_gate_up, of_down)
        return gradient, [of for part in parts for of in part[0]], [of for part in parts for of in part[1]]


class LeanStep(torch.autograd.Function):
    """A Layer on states (n, hidden); the fourteen adapter weights come last, so that autograd knows them."""

    @staticmethod
    def forward(ctx, layer, state, mask, cosine, sine, scales, *adapters):
        cast = [weights.to(state.dtype) for weights in adapters]
        out, ctx.kept = layer.forward(state, mask, cosine, sine, cast[:7], cast[7:], scales)
        ctx.layer, ctx.dtypes = layer, [weights.dtype for weights in adapters]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        of_state, of_downs, of_ups = ctx.layer.backward(gradient.contiguous(), ctx.kept)
        ctx.kept = None
        of_adapters = [of.to(dtype) for of, dtype in zip(of_downs + of_ups, ctx.dtypes, strict=True)]
        return None, of_state, None, None, None, None, *of_adapters


def use_lean_layers(model) -> int:
    """Gives the decoder layers of a PeftModel on a CPU the one-step form; how many, 0 where it is not shown equal."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config.get_text_config()
    layers = inner.model.layers if fits(config) and inner.device.type == "cpu" else []
    if not layers or not all(_is_written_for(layer) for layer in layers):
        return 0
    before = _probe(model)
    for layer in layers:
        modules = _modules(layer)
        layer.lean, layer.forward = Layer(layer, modules), types.MethodType(_forward, layer)
    after = _probe(model)
    if all(_apart(a, b) <= 5 * TOLERANCE[inner.dtype] for a, b in zip(before, after, strict=True)):
        return len(layers)
    for layer in layers:
        del layer.forward
    return 0


def _modules(layer) -> list:
    return [getattr(layer.self_attn if at < 4 else layer.mlp, name) for at, name in enumerate(NAMES)]


def _is_written_for(layer) -> bool:
    found = [getattr(layer.self_attn if at < 4 else layer.mlp, name, None) for at, name in enumerate(NAMES)]
    biases = [hasattr(m, "get_base_layer") and m.get_base_layer().bias is None for m in found]
    same = all(len({biases[at] for at in group}) == 1 for group in GROUPS)
    return all(map(is_plain, found)) and same and not hasattr(layer.self_attn, "q_norm")


def _forward(self, hidden_states, attention_mask=None, position_embeddings=None, past_key_values=None, **kwargs):
    modules = _modules(self)
    name = modules[0].active_adapters[0]
    is_lean = torch.is_grad_enabled() and past_key_values is None and attention_mask is not None
    is_lean = is_lean and attention_mask.is_floating_point() and not modules[0].disable_adapters
    if not is_lean or any(m.active_adapters != [name] or name not in m.lora_A or m.merged for m in modules):
        kwargs |= {"attention_mask": attention_mask, "past_key_values": past_key_values}
        return type(self).forward(self, hidden_states, position_embeddings=position_embeddings, **kwargs)
    adapters = [m.lora_A[name].weight for m in modules] + [m.lora_B[name].weight for m in modules]
    cosine, sine = (part[:, :, None] for part in position_embeddings)
    state, scales = hidden_states.reshape(-1, hidden_states.shape[-1]), [m.scaling[name] for m in modules]
    with torch.autocast("cpu", enabled=False):
        out = LeanStep.apply(self.lean, state, attention_mask, cosine, sine, scales, *adapters)
    return out.view(hidden_states.shape)


def _probe(model) -> list[torch.Tensor]:
    """Logits and the gradients of every adapter weight for a few fixed token ids, two rows, one of them padded."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    size = min(inner.get_input_embeddings().weight.shape[0], 20_000)
    ids = torch.randint(size, (2, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    weights = [weights for weights in model.parameters() if weights.requires_grad]
    with torch.autocast("cpu", inner.dtype, enabled=inner.dtype != torch.float32):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    loss = logits[mask.bool()].log_softmax(-1)[:, 0].sum()
    return [logits.detach(), *(of.float() for of in torch.autograd.grad(loss, weights))]


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))
