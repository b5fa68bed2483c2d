"""Keys and values of the sequences in flight, in groups of rows that lie side by side with room for the longest of the group.

A group is one block of memory without gaps, so attention reads it without a copy; a finished sequence leaves and a waiting one
enters without touching the others, and a short row never pays for a long one in another group. Does not sample.
"""

from __future__ import annotations

import torch

from tunebook.models.decoder import Decoder, causal

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
        """Work out once what every layer of the next step needs: where its one new token a row goes, and what rows may see."""
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
