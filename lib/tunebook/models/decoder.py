"""A lean forward pass over the weights of a Llama-like transformers model: tokens of many sequences in one flat row, no
padding.

Same weights, same sums as the model's own forward pass; what it leaves out is the time between them: one product for
queries, keys and values, one for gate and up, weights laid out for the CPU once, rotary tables computed once. Knows no
batch and no cache: the caller brings the attention. `fits` tells for which models it is written, `agrees` proves it on
the model at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import linear, silu

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROTARY = ("default", "linear", "llama3", "yarn")  # those whose table does not depend on the length of the text
# oneDNN's own layout doubles a weight's memory and, on CPUs where torch's float32 product is MKL's for AVX2, halves its
# time
PACKED_BYTES = 4 << 30
PACKED_ROWS = 64
# largest difference from the model's own logits, as a share of the largest logit
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.01}


def fits(config) -> bool:
    """Whether a model with this config is one of FAMILIES with plain full attention in every layer."""
    types = getattr(config, "layer_types", None)
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    has_window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    return (
        config.model_type in FAMILIES
        and (not types or set(types) == {"full_attention"})
        and not has_window
        and scaling.get("rope_type", "default") in ROTARY
        and getattr(config, "hidden_act", "") == "silu"
    )


class Decoder:
    """The weights of `model`, laid out once; positions up to `length`.

    `heads`, `kv_heads` and `width` are those of attention, `layers` their number.
    """

    def __init__(self, model, length: int):
        config = model.config.get_text_config()
        self.body, self.dtype, self.device = model.model, model.dtype, model.device
        self.heads, self.layers = config.num_attention_heads, config.num_hidden_layers
        self.kv_heads = getattr(config, "num_key_value_heads", None) or self.heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.scale = self.width**-0.5
        size = sum(weight.nbytes for weight in model.parameters())
        product = _packed if model.device.type == "cpu" and size <= PACKED_BYTES else _plain
        self._blocks = [_block(layer, product) for layer in self.body.layers]
        self._head = product(model.lm_head.weight.detach(), None)
        places = torch.arange(length, device=self.device)[None]
        cosine, sine = self.body.rotary_emb(torch.zeros(1, dtype=self.dtype, device=self.device), places)
        self._cosine, self._sine = cosine[0, :, None], sine[0, :, None]

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, attend: Callable) -> torch.Tensor:
        """Hidden states (n, hidden) of `n` tokens with their positions in their own sequences.

        `attend(layer, queries, keys, values)` gets (n, heads, width) and twice (n, kv_heads, width), and returns what
        each token mixed, (n, heads, width).
        """
        state = self.body.embed_tokens(ids)
        cosine, sine = self._cosine[positions], self._sine[positions]
        for layer, block in enumerate(self._blocks):
            joined = block["qkv"](_normed(state, block["first"])).view(len(ids), -1, self.width)
            queries, keys, values = joined.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
            if block["q_norm"] is not None:
                queries, keys = _normed(queries, block["q_norm"]), _normed(keys, block["k_norm"])
            turned = rotated(torch.cat([queries, keys], dim=1), cosine, sine)
            mixed = attend(layer, turned[:, : self.heads], turned[:, self.heads :], values)
            state = state + block["out"](mixed.reshape(len(ids), -1))
            gate, up = block["gate_up"](_normed(state, block["second"])).chunk(2, dim=-1)
            state = state + block["down"](silu(gate).mul_(up))
        return state

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (n, vocabulary) in float32 of hidden states (n, hidden)."""
        return self._head(_normed(states, self.body.norm)).float()


def agrees(model, decoder: Decoder, ids: list[int]) -> bool:
    """Whether the lean pass gives the model's own logits after the tokens `ids`, within TOLERANCE."""
    tokens = torch.tensor(ids, device=model.device)
    repeats = decoder.heads // decoder.kv_heads

    def attend(layer, queries, keys, values):
        rows = (queries, keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1))
        return causal(*(row.transpose(0, 1) for row in rows), decoder.scale).transpose(0, 1)

    places = torch.arange(len(ids), device=model.device)
    ours = decoder.logits(decoder.hidden(tokens, places, attend)[-1:])[0]
    theirs = model(input_ids=tokens[None], logits_to_keep=1).logits[0, -1].float()
    return bool((ours - theirs).abs().max() <= TOLERANCE[model.dtype] * theirs.abs().max())


def causal(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of the last tokens of a sequence, (heads, new, width), to all of it, (heads, past + new, width)."""
    new, length = queries.shape[1], keys.shape[1]
    allowed = torch.ones(new, length, dtype=torch.bool, device=queries.device).tril(length - new)
    attention = torch.nn.functional.scaled_dot_product_attention
    return attention(queries[None], keys[None], values[None], attn_mask=allowed, scale=scale)[0]


def _block(layer, product: Callable) -> dict:
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "qkv": _joined(product, attention.q_proj, attention.k_proj, attention.v_proj),
        "out": _joined(product, attention.o_proj),
        "gate_up": _joined(product, mlp.gate_proj, mlp.up_proj),
        "down": _joined(product, mlp.down_proj),
        "first": layer.input_layernorm,
        "second": layer.post_attention_layernorm,
        "q_norm": getattr(attention, "q_norm", None),
        "k_norm": getattr(attention, "k_norm", None),
    }


def _joined(product: Callable, *modules) -> Callable:
    """The modules' outputs side by side: one product with joined weights where they are laid out anew, else no
    weight is copied.
    """
    if product is _plain:
        parts = [_plain(_weight(module), module.bias) for module in modules]
        return parts[0] if len(parts) == 1 else lambda rows: torch.cat([part(rows) for part in parts], dim=-1)
    biases = [module.bias for module in modules]
    weight = torch.cat([_weight(module) for module in modules])
    return product(weight, None if biases[0] is None else torch.cat([bias.detach() for bias in biases]))


def _weight(module) -> torch.Tensor:
    """The weight of a linear layer, a LoRA that is on in it added; `agrees` notices any other kind of adapter."""
    weight = module.weight.detach()
    if not hasattr(module, "get_delta_weight") or module.disable_adapters or module.merged:
        return weight
    added = [module.get_delta_weight(name) for name in module.active_adapters if name in getattr(module, "lora_A", ())]
    return (weight.float() + sum(update.detach().float() for update in added)).to(weight.dtype) if added else weight


def _plain(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable:
    return lambda rows: linear(rows, weight, bias)


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable:
    """The product with a weight in oneDNN's layout; torch's own where this build has none."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_ROWS)
        multiply = torch.ops.mkldnn._linear_pointwise
        multiply(torch.zeros(2, weight.shape[1], dtype=weight.dtype), packed, bias, "none", [], "")
    except (AttributeError, RuntimeError):
        return _plain(weight, bias)
    return lambda rows: multiply(rows, packed, bias, "none", [], "")


def _normed(rows: torch.Tensor, norm) -> torch.Tensor:
    """Root-mean-square norm in float32, then the weight in the model's precision, as the models' own modules do it."""
    wide = rows.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * scaled.to(rows.dtype)


def rotated(rows: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Heads (n, heads, width) turned by the rotary tables (n, 1, width), as the models' own modules do it; with the
    negative sine it is the way back.
    """
    half = rows.shape[-1] // 2
    turned = torch.cat([-rows[..., half:], rows[..., :half]], dim=-1)
    return rows * cosine + turned * sine


GROUP = 16
STEP = 64  # tokens by which a group's room grows


class Group:
    """Up to GROUP sequences. Slot i of the block belongs to the i-th row of the group; `lengths` are tokens written."""

    def __init__(self, decoder: Decoder):
        self.decoder = decoder
        self.lengths: list[int] = []
        self.room = 0
        self._allocate(0)

    def _allocate(self, room: int) -> None:
        decoder = self.decoder
        shape = (decoder.layers, GROUP, decoder.kv_heads, room, decoder.width)
        blocks = [torch.zeros(shape, dtype=decoder.dtype, device=decoder.device) for _ in range(2)]
        kept = min(room, self.room)
        for new, old in zip(blocks, (self.keys, self.values) if self.room else (), strict=False):
            new[:, :, :, :kept] = old[:, :, :, :kept]
        self.keys, self.values = blocks
        self.room = room

    def fit(self, length: int) -> None:
        """Make room for `length` tokens a row, and give back what is far too much."""
        room = -(-max([length, *(n + 1 for n in self.lengths)]) // STEP) * STEP
        if room > self.room or room < self.room - 2 * STEP:
            self._allocate(room)

    def remove(self, slot: int) -> None:
        """Drop a row; the last row moves into its slot."""
        last, length = len(self.lengths) - 1, self.lengths.pop()
        if slot < last:
            self.lengths[slot] = length
            for block in (self.keys, self.values):
                block[:, slot, :, :length] = block[:, last, :, :length]

    def write(self, layer: int, slot: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put the keys and values (new, kv_heads, width) of a row's tokens from position `start` on."""
        end = start + len(keys)
        self.keys[layer, slot, :, start:end] = keys.transpose(0, 1)
        self.values[layer, slot, :, start:end] = values.transpose(0, 1)

    def read_prompt(self, layer: int, slot: int, queries: torch.Tensor, end: int) -> torch.Tensor:
        """What the last tokens of a row of `end` tokens mix: queries and result (new, heads, width)."""
        repeats = self.decoder.heads // self.decoder.kv_heads
        keys, values = (b[layer, slot, :, :end].repeat_interleave(repeats, 0) for b in (self.keys, self.values))
        return causal(queries.transpose(0, 1), keys, values, self.decoder.scale).transpose(0, 1)

    def begin_step(self) -> None:
        """Work out once what every layer of the next step needs: where its one new token a row goes, and what rows
        may see.
        """
        self.fit(0)
        rows, device = len(self.lengths), self.decoder.device
        ends = torch.tensor(self.lengths, device=device)
        starts = torch.arange(rows * self.decoder.kv_heads, device=device).view(rows, -1) * self.room
        self._places = (starts + ends[:, None]).flatten()
        hidden = torch.arange(self.room, device=device)[None] > ends[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.decoder.dtype, device=device)
        mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)
        self._mask = mask.repeat_interleave(self.decoder.kv_heads, 0)[:, None]

    def step(self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Write one token a row and attend: queries (rows, heads, width), keys and values (rows, kv_heads, width)."""
        rows, width = queries.shape[0] * self.decoder.kv_heads, self.decoder.width
        past = []
        for block, new in ((self.keys, keys), (self.values, values)):
            flat = block[layer].view(-1, width)
            flat.index_copy_(0, self._places, new.reshape(rows, width))
            past.append(flat[: rows * self.room].view(rows, self.room, width))
        grouped = queries.reshape(rows, -1, width)
        scores = torch.baddbmm(self._mask, grouped, past[0].transpose(1, 2), alpha=self.decoder.scale)
        return torch.bmm(torch.softmax(scores, dim=-1), past[1]).view(queries.shape)
