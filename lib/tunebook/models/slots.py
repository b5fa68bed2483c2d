"""A key/value cache with one slot a sequence, and the attention that reads it.

`DynamicCache` copies the whole cache at every token and pads all rows to the longest. Here each sequence keeps its own slot:
a finished one leaves and a waiting one enters without a copy of the others. For decoder models whose layers all attend to the
full past (Llama, Qwen2, Qwen3, SmolLM, Mistral without a window); `fits` tells. Does not sample.
"""

from __future__ import annotations

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

ATTENTION = "tunebook_grouped"


def fits(config) -> bool:
    """Whether every layer of a model with this config is plain full attention."""
    types = getattr(config, "layer_types", None)
    if types and set(types) != {"full_attention"}:
        return False
    special = ("state_size", "ssm_cfg", "linear_num_value_heads", "q_lora_rank", "attn_logit_softcapping")
    has_window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    return not has_window and not any(getattr(config, name, None) for name in special)


def grouped_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention of grouped queries without repeating keys and values in memory.

    `query` is (batch, heads, new, width), `key` and `value` (batch, kv_heads, past, width), `attention_mask` is added to the
    scores and broadcasts over (batch, 1, new, past). Same result as transformers' eager attention; no dropout.
    """
    batch, heads, new, width = query.shape
    kv_heads = key.shape[1]
    grouped = query.reshape(batch, kv_heads, heads // kv_heads * new, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)) * scaling
    scores = scores.view(batch, heads, new, -1) + attention_mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    mixed = torch.matmul(weights.view(batch, kv_heads, heads // kv_heads * new, -1), value)
    return mixed.view(batch, heads, new, width).transpose(1, 2).contiguous(), None


class SlotCache(Cache):
    """Keys and values of up to `slots` sequences of up to `length` tokens.

    Before each forward call, `aim` says which slots the rows of the batch are and where their new tokens stand.
    """

    def __init__(self, config, slots: int, length: int, dtype: torch.dtype, device: str):
        super().__init__(layers=[])
        kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, slots, kv_heads, length, width)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self._rows, self._start, self._new, self._past = slice(0, 0), None, 0, 0

    def aim(self, rows: slice, start: torch.Tensor, new: int) -> torch.Tensor:
        """Points at slots `rows`, whose `new` next tokens begin at positions `start` (one a row).

        Returns the mask to add to the scores, (rows, 1, new, past), 0 where a token may look and the lowest number elsewhere.
        """
        self._rows, self._start, self._new = rows, start, new
        self._past = int(start.max()) + new
        positions = start[:, None] + torch.arange(new, device=start.device)
        allowed = torch.arange(self._past, device=start.device)[None, None, :] <= positions[:, :, None]
        mask = torch.zeros(allowed.shape, dtype=self.keys.dtype, device=self.keys.device)
        return mask.masked_fill_(~allowed, torch.finfo(mask.dtype).min)[:, None]

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Writes the new keys and values of a layer and returns all up to the longest row's end."""
        keys, values = self.keys[layer_idx, self._rows], self.values[layer_idx, self._rows]
        if self._new == 1:
            at = self._start.view(-1, 1, 1, 1).expand(-1, keys.shape[1], 1, keys.shape[3])
            keys.scatter_(2, at, key_states)
            values.scatter_(2, at, value_states)
        else:  # a prefill: all its rows start at one position
            first = int(self._start[0])
            keys[:, :, first : first + self._new] = key_states
            values[:, :, first : first + self._new] = value_states
        return keys[:, :, : self._past], values[:, :, : self._past]

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of one slot to another."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions in use; the callers pass explicit positions, so only its truth matters."""
        return self._past


def use_grouped_attention(model) -> None:
    """Makes `model` use `grouped_attention`; only for generation, since it has no dropout."""
    AttentionInterface.register(ATTENTION, grouped_attention)
    model.set_attn_implementation(ATTENTION)
