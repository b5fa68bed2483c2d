"""What generates: a transformers model here, a GGUF file in `gguf_engine`. Both encode, generate and decode in the same way.

Does not extract and does not score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. `temperature` 0 is greedy; `top_p` in (0, 1]; `seed` starts every row's stream."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Generated:
    """One completion: `index` of its prompt, token `ids` without the stop token, `finish_reason` stop or length."""

    index: int
    ids: list[int]
    finish_reason: str


class TransformersEngine:
    """A loaded model with its tokenizer; `slots` sequences are in flight at once."""

    def __init__(self, model, tokenizer, slots: int = 32):
        self.model, self.tokenizer, self.slots = model, tokenizer, slots

    @property
    def chat_template(self) -> str:
        """The chat template as text."""
        return self.tokenizer.chat_template

    def encode(self, messages: list[dict]) -> list[int]:
        """Token ids of a conversation up to the opening of the assistant's turn."""
        from tunebook.models.templates import render_prompt

        return render_prompt(self.tokenizer, messages)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, control tokens included."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def generate(
        self, prompts: Sequence[list[int]], decoding: Decoding, on_tokens: Callable[[int], None] | None = None
    ) -> Iterator[Generated]:
        """Completes prompts of token ids, each as it ends."""
        from tunebook.models.generate import generate
        from tunebook.models.templates import stop_ids

        stops = stop_ids(self.tokenizer, self.model.generation_config)
        return generate(self.model, prompts, stops, decoding, self.slots, on_tokens)
