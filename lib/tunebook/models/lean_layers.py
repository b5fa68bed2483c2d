"""The decoder layers of a Llama-like model under LoRA, each as two steps of autograd: attention, and the perceptron.

transformers and PEFT build a layer of about a hundred operations, each with a tensor and a node of its own; for the
short batches of a CPU they cost more than the products. Here queries, keys and values are one product and gate and up
another, each with its low-rank update; rows that lie side by side attend within themselves only, not over the whole
batch; and the backward pass is written out. Same weights, same sums, up to rounding.

`use_lean_layers` replaces the forward of the layers of one model object; no library file changes. Other families, DoRA,
dropout, trained or quantised weights, and weights that are spread over processes keep the libraries' path.
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass

import torch

from tunebook.models.decoder import fits, rotated

# oneDNN writes a kernel for each new shape, a tenth of the time of a short step: batches of a few sizes share theirs
TOKENS, LENGTH = 32, 8  # what the tokens of a batch and the length of its rows are filled up to
NAMES = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))


def use_lean_layers(model) -> int:
    """Gives the decoder layers of `model` on a CPU the lean pass, where all of them can have it; how many there are."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = model.config.get_text_config()
    if model.device.type != "cpu" or not fits(config) or getattr(config, "attention_dropout", 0):
        return 0
    layers = model.model.layers
    modules = [module for layer in layers for names in NAMES for module in _modules(layer, names)]
    if not all(map(is_plain, modules)) or not any(hasattr(module, "lora_A") for module in modules):
        return 0
    trained = (name for name, weights in layers.named_parameters() if weights.requires_grad)
    if not all(".lora_A." in name or ".lora_B." in name for name in trained):  # a norm, say
        return 0
    rows = _Rows(config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads)
    for layer in layers:
        layer.forward = types.MethodType(_Layer(layer, rows, type(layer).forward), layer)
    model.model.forward = types.MethodType(_filled(type(model.model).forward), model.model)
    return len(layers)


def _filled(original):
    """The forward of a model's body that fills a batch up to a few sizes: rows side by side with one row more, which
    none of them sees, padded rows with more padding.
    """

    @functools.wraps(original)
    def forward(self, input_ids=None, attention_mask=None, position_ids=None, **kwargs):
        lacking = 0
        if input_ids is None or kwargs.get("past_key_values") is not None:
            pass
        elif position_ids is None and attention_mask is not None and kwargs.get("use_cache") is False:
            if attention_mask.shape == input_ids.shape:
                lacking = -input_ids.shape[1] % LENGTH
                attention_mask = torch.nn.functional.pad(attention_mask, (0, lacking))
        elif position_ids is not None and attention_mask is None and len(input_ids) == 1:
            if int((position_ids == 0).sum()) > 1:
                lacking = -input_ids.shape[1] % TOKENS
                position_ids = torch.cat([position_ids, torch.arange(lacking)[None]], 1)
        if lacking:
            input_ids = torch.nn.functional.pad(input_ids, (0, lacking))
        found = original(self, input_ids, attention_mask, position_ids, **kwargs)
        if lacking:
            found.last_hidden_state = found.last_hidden_state[:, :-lacking]
        return found

    return forward


def is_lean(model) -> bool:
    """Whether `use_lean_layers` has changed this model."""
    return any(isinstance(getattr(part.__dict__.get("forward"), "__func__", None), _Layer) for part in model.modules())


def is_plain(module) -> bool:
    """Whether a module is a frozen linear layer, or one with adapters that each add scale (x A) B and nothing else."""
    from peft.tuners.lora.layer import Linear

    if not isinstance(module, torch.nn.Linear | Linear):
        return False
    base = _base(module)
    frozen = type(base) is torch.nn.Linear and type(base.weight) is torch.nn.Parameter and not base.weight.requires_grad
    if module is base or not frozen:
        return frozen and (base.bias is None or not base.bias.requires_grad)
    has_dropout = any(not isinstance(part, torch.nn.Identity) for part in module.lora_dropout.values())
    has_bias = any(getattr(part, "bias", None) is not None for part in module.lora_B.values())
    return not (has_dropout or has_bias or module.lora_variant)


def _modules(layer, names: tuple) -> list:
    return [getattr(layer.mlp if hasattr(layer.mlp, name) else layer.self_attn, name) for name in names]


def _base(module):
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


@dataclass
class _Update:
    """A low-rank update of one product: `down` (ranks, in) and `up` (out, ranks), the scales in it; `spans` say which
    outputs, ranks and scale belong to each adapter.
    """

    down: torch.Tensor
    up: torch.Tensor
    spans: list[tuple[slice, slice, float]]


class _Product:
    """Linear layers that read the same rows, as one product; their weights become views of the joined one."""

    def __init__(self, modules: list):
        self.modules = modules
        bases = [_base(module) for module in modules]
        self.sizes = [len(base.weight) for base in bases]
        self.weight = bases[0].weight.data if len(bases) == 1 else torch.cat([base.weight.data for base in bases])
        for base, part in zip(bases, self.weight.split(self.sizes), strict=True):
            base.weight.data = part
        biases = [base.bias for base in bases]
        self.bias = None if biases[0] is None else torch.cat([bias.data for bias in biases])

    def is_ready(self) -> bool:
        """Whether no adapter is merged, and no layer has several that are on."""
        return not any(getattr(module, "merged", False) or len(_active(module)) > 1 for module in self.modules)

    def adapters(self) -> list[torch.Tensor]:
        """A and B of every layer whose adapter is on."""
        return [
            weights[name].weight
            for module in self.modules
            for name in _active(module)
            for weights in (module.lora_A, module.lora_B)
        ]

    def update(self, adapters: list[torch.Tensor]) -> _Update | None:
        """The update of all layers: A under A, and B along the diagonal."""
        if not adapters:
            return None
        spans, column, row = [], 0, 0
        up = self.weight.new_zeros(len(self.weight), sum(map(len, adapters[::2])))
        rest = iter(adapters[1::2])
        for module, size in zip(self.modules, self.sizes, strict=True):
            for name in _active(module):
                b, scale = next(rest), module.scaling[name]
                spans.append((slice(row, row + size), slice(column, column + b.shape[1]), scale))
                up[spans[-1][:2]] = b * scale
                column += b.shape[1]
            row += size
        return _Update(torch.cat(adapters[::2]).to(up.dtype), up, spans)

    def forward(self, rows: torch.Tensor, update: _Update | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The outputs (n, out) of rows (n, in), and what the update made of the rows on the way."""
        weight = self.weight.t()
        out = rows @ weight if self.bias is None else torch.addmm(self.bias, rows, weight)
        if update is None:
            return out, None
        low = rows @ update.down.t()
        return out.addmm_(low, update.up.t()), low

    def backward(self, gradient: torch.Tensor, rows: torch.Tensor, low, update: _Update | None) -> tuple:
        """Gradients of the rows, and of every A and B."""
        of_rows = gradient @ self.weight
        if update is None:
            return of_rows, []
        through, of_up = gradient @ update.up, (gradient.t() @ low).float()
        of_down, found = (through.t() @ rows).float(), []
        for outs, ranks, scale in update.spans:
            found += [of_down[ranks], of_up[outs, ranks] * scale]
        return of_rows.addmm_(through, update.down), found


def _active(module) -> list[str]:
    if not hasattr(module, "lora_A") or module.disable_adapters:
        return []
    return [name for name in module.active_adapters if name in module.lora_A]


class _Norm:
    """Root-mean-square norm over the last dimension, in float32 as transformers computes it."""

    def __init__(self, module):
        self.weight, self.epsilon = module.weight.detach(), module.variance_epsilon

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = rows.float()
        rate = wide.square().mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()
        return (wide * rate).to(rows.dtype).mul_(self.weight), rate

    def backward(self, gradient: torch.Tensor, rows: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        unit, wide = rows.float() * rate, (gradient * self.weight).float()
        wide -= unit.mul_((wide * unit).mean(-1, keepdim=True))
        return wide.mul_(rate).to(rows.dtype)


class _Rows:
    """Which tokens see each other, worked out once for all layers of a pass."""

    def __init__(self, heads: int, kv_heads: int):
        self.heads, self.kv_heads, self.key = heads, kv_heads, None

    def read(self, mask: torch.Tensor | None, positions: torch.Tensor, shape: tuple, dtype: torch.dtype) -> None:
        """Sets `count` and `length` of the rows, `place` of each token among them (None: in order), and `mask`, which
        is added to their scores (rows x kv heads, heads of one x length, length).

        Rows that follow one another in a batch of one are taken apart, where the mask keeps them apart, too.
        """
        if self.key and self.key[0] is mask and self.key[1] is positions and self.key[2] == shape:
            return
        self.key, group = (mask, positions, shape), self.heads // self.kv_heads
        (self.count, self.length), self.place = shape, None
        starts = (positions[0] == 0).nonzero()[:, 0] if shape[0] == 1 else ()
        if len(starts) > 1 and mask is not None:
            lengths = torch.diff(starts, append=torch.tensor([shape[1]]))
            seen = mask if mask.dtype == torch.bool else mask == 0
            if starts[0] == 0 and int(seen.sum()) == int((lengths * (lengths + 1) // 2).sum()):
                self.count, self.length = len(lengths), -(-int(lengths.max()) // LENGTH) * LENGTH
                row = torch.arange(self.count).repeat_interleave(lengths)
                self.place, mask = row * self.length + positions[0], None
        if mask is None:
            mask = torch.ones(self.length, self.length, dtype=torch.bool).tril()[None, None]
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
        mask = mask.repeat(1, 1, group, 1)
        self.mask = mask[:, 0] if len(mask) == 1 else mask.repeat_interleave(self.kv_heads, 0)[:, 0]


class _Layer:
    """The forward of one decoder layer."""

    def __init__(self, layer, rows: _Rows, original):
        attention = layer.self_attn
        self.products = [_Product(_modules(layer, names)) for names in NAMES]
        self.norms = [_Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)]
        self.head_norms = [_Norm(getattr(attention, name)) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
        self.width, self.scale, self.rows, self.original = attention.head_dim, attention.scaling, rows, original
        self.heads, self.kv_heads = rows.heads, rows.kv_heads

    def __call__(self, layer, hidden_states, attention_mask=None, position_ids=None, **kwargs):
        mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        dtype = self.products[0].weight.dtype
        is_ours = hidden_states.dtype == dtype and (not mixed or mixed == dtype)
        is_whole = kwargs.get("past_key_values") is None and all(product.is_ready() for product in self.products)
        if not is_ours or not is_whole:
            return self.original(layer, hidden_states, attention_mask, position_ids, **kwargs)
        shape = hidden_states.shape
        self.rows.read(attention_mask, position_ids, shape[:2], dtype)
        cosine, sine = (
            part.expand(shape[0], -1, -1).reshape(-1, 1, self.width) for part in kwargs["position_embeddings"]
        )
        adapters = [product.adapters() for product in self.products]
        with torch.autocast("cpu", enabled=False):
            state = hidden_states.reshape(-1, shape[-1])
            state = _Attention.apply(state, self, cosine, sine, len(adapters[0]), *adapters[0], *adapters[1])
            state = _Perceptron.apply(state, self, len(adapters[2]), *adapters[2], *adapters[3])
        return state.view(shape)

    # heads beside each other in rows that are as long as the longest: (rows x kv heads, heads of one x length, width)
    def spread(self, flat: torch.Tensor, rows: tuple) -> torch.Tensor:
        """Tokens (n, heads, width) laid out by row."""
        count, length, place, _ = rows
        if place is not None:
            flat = flat.new_zeros(count * length, *flat.shape[1:]).index_copy_(0, place, flat)
        grouped = flat.view(count, length, self.kv_heads, -1, self.width)
        return grouped.permute(0, 2, 3, 1, 4).reshape(count * self.kv_heads, -1, self.width)

    def gathered(self, spread: torch.Tensor, rows: tuple) -> torch.Tensor:
        """The way back of `spread`: tokens (n, heads, width)."""
        count, length, place, _ = rows
        flat = spread.view(count, self.kv_heads, -1, length, self.width).permute(0, 3, 1, 2, 4)
        flat = flat.reshape(count * length, -1, self.width)
        return flat if place is None else flat.index_select(0, place)


class _Attention(torch.autograd.Function):
    """state + attention(norm(state)) for tokens (n, hidden)."""

    @staticmethod
    def forward(ctx, state, layer, cosine, sine, n_first, *adapters):
        qkv, out = layer.products[:2]
        updates = qkv.update(adapters[:n_first]), out.update(adapters[n_first:])
        normed, rate = layer.norms[0].forward(state)
        joined, low = qkv.forward(normed, updates[0])
        heads = joined.view(len(state), -1, layer.width)
        n = layer.heads + layer.kv_heads
        turning, values = heads[:, :n], heads[:, n:]
        before_norm = ()
        if layer.head_norms:
            parts = [norm.forward(part) for norm, part in zip(layer.head_norms, _split(turning, layer), strict=True)]
            before_norm = (turning, *(rate for _, rate in parts))
            turning = torch.cat([part for part, _ in parts], 1)
        turned = rotated(turning, cosine, sine)
        rows = (layer.rows.count, layer.rows.length, layer.rows.place, layer.rows.mask)
        queries, keys, values = (layer.spread(part, rows) for part in (*_split(turned, layer), values))
        scores = torch.baddbmm(rows[3], queries, keys.transpose(1, 2), alpha=layer.scale)
        shares = torch.softmax(scores, dim=-1)
        mixed = layer.gathered(torch.bmm(shares, values), rows).reshape(len(state), -1)
        added, low_out = out.forward(mixed, updates[1])
        ctx.layer, ctx.rows, ctx.updates = layer, rows, updates
        kept = (cosine, sine, *before_norm)
        ctx.save_for_backward(state, rate, normed, low, queries, keys, values, shares, mixed, low_out, *kept)
        return added.add_(state)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        layer, rows = ctx.layer, ctx.rows
        state, rate, normed, low, queries, keys, values, shares, mixed, low_out, *kept = ctx.saved_tensors
        cosine, sine, *before_norm = kept
        qkv, out = layer.products[:2]
        of_mixed, of_out = out.backward(gradient, mixed, low_out, ctx.updates[1])
        of_mixed = layer.spread(of_mixed.view(len(state), -1, layer.width), rows)
        of_values = torch.bmm(shares.transpose(1, 2), of_mixed)
        of_shares = torch.bmm(of_mixed, values.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype).mul_(layer.scale)
        of_queries, of_keys = torch.bmm(of_scores, keys), torch.bmm(of_scores.transpose(1, 2), queries)
        of_queries, of_keys, of_values = (layer.gathered(part, rows) for part in (of_queries, of_keys, of_values))
        of_turning = rotated(torch.cat([of_queries, of_keys], 1), cosine, -sine)
        if layer.head_norms:
            turning, *rates = before_norm
            three = zip(layer.head_norms, _split(of_turning, layer), _split(turning, layer), rates, strict=True)
            of_turning = torch.cat([norm.backward(part, before, rate) for norm, part, before, rate in three], 1)
        of_joined = torch.cat([of_turning, of_values], 1).view(len(state), -1)
        of_normed, of_qkv = qkv.backward(of_joined, normed, low, ctx.updates[0])
        of_state = layer.norms[0].backward(of_normed, state, rate).add_(gradient)
        return of_state, None, None, None, None, *of_qkv, *of_out


def _split(heads: torch.Tensor, layer: _Layer) -> tuple:
    return heads.split([layer.heads, layer.kv_heads], dim=1)


class _Perceptron(torch.autograd.Function):
    """state + down(silu(gate(norm(state))) up(norm(state))) for tokens (n, hidden)."""

    @staticmethod
    def forward(ctx, state, layer, n_first, *adapters):
        gate_up, down = layer.products[2:]
        updates = gate_up.update(adapters[:n_first]), down.update(adapters[n_first:])
        normed, rate = layer.norms[1].forward(state)
        joined, low = gate_up.forward(normed, updates[0])
        gate, up = joined.chunk(2, dim=-1)
        inner = torch.nn.functional.silu(gate).mul_(up)
        added, low_down = down.forward(inner, updates[1])
        ctx.layer, ctx.updates = layer, updates
        ctx.save_for_backward(state, rate, normed, low, joined, inner, low_down)
        return added.add_(state)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        state, rate, normed, low, joined, inner, low_down = ctx.saved_tensors
        gate_up, down = ctx.layer.products[2:]
        of_inner, of_down = down.backward(gradient, inner, low_down, ctx.updates[1])
        gate, up = joined.chunk(2, dim=-1)
        of_joined = torch.empty_like(joined)
        of_gate, of_up = of_joined.chunk(2, dim=-1)
        torch.mul(of_inner, torch.nn.functional.silu(gate), out=of_up)
        of_gate.copy_(torch.ops.aten.silu_backward(of_inner.mul_(up), gate))
        of_normed, of_gate_up = gate_up.backward(of_joined, normed, low, ctx.updates[0])
        of_state = ctx.layer.norms[1].backward(of_normed, state, rate).add_(gradient)
        return of_state, None, None, *of_gate_up, *of_down
