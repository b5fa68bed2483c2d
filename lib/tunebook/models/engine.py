"""What generates: a transformers model here, a GGUF file in `gguf_engine`. Both encode, generate and decode in the same
way.

Does not extract and does not score.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TAIL_TOKENS = 16  # in which a stop string is looked for: longer than any of them


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. `temperature` 0 is greedy; `top_p` in (0, 1]; `seed` starts every row's stream."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Generated:
    """One completion: `index` of its prompt, token `ids` without the stop token, `finish_reason` stop or length, and
    where the engine says, the stop token that was drawn, `end`, and `logp`, the log-probability of all its tokens, the
    stop token included, in nats at temperature 1.
    """

    index: int
    ids: list[int]
    finish_reason: str
    end: int | None = None
    logp: float | None = None


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The longest start that all prompts share, at least one token shorter than the shortest."""
    shortest, longest = min(prompts), max(prompts)
    length = 0
    while length < min(map(len, prompts)) - 1 and shortest[length] == longest[length]:
        length += 1
    return shortest[:length] if len(prompts) > 1 else []


def has_stop(tail: str, stops: Sequence[str]) -> bool:
    """Whether one of the strings `stops` is in the last TAIL_TOKENS tokens of a text."""
    return any(stop in tail for stop in stops)


def choose_token(logits, decoding: Decoding, streams: Sequence[random.Random]) -> list[int]:
    """A token id for each row of `logits`, a numpy array (rows, vocabulary): the largest, or a draw from the nucleus
    of mass `top_p`.
    """
    if decoding.temperature <= 0:
        return logits.argmax(axis=1).tolist()
    import numpy

    scaled = logits.astype(numpy.float64) / decoding.temperature
    weights = numpy.exp(scaled - scaled.max(axis=1, keepdims=True))
    chosen = []
    for row, stream in zip(weights / weights.sum(axis=1, keepdims=True), streams, strict=True):
        order = numpy.argsort(-row, kind="stable")
        mass = numpy.cumsum(row[order])
        kept = int(numpy.searchsorted(mass, decoding.top_p)) + 1
        at = int(numpy.searchsorted(mass[:kept], stream.random() * mass[min(kept, len(mass)) - 1]))
        chosen.append(int(order[min(at, len(order) - 1)]))
    return chosen


def log_softmax(logits):
    """Log-probabilities in nats, row by row and without overflow, of `logits`, a numpy array (rows, vocabulary)."""
    import numpy

    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


class TransformersEngine:
    """A loaded model with its tokenizer; `slots` sequences are in flight at once."""

    def __init__(self, model, tokenizer, slots: int = 32):
        self.model, self.tokenizer, self.slots = model, tokenizer, slots
        self._identity = ""

    @property
    def limit(self) -> float:
        """Tokens that the model reads at most; infinity where its config names no number."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or math.inf

    @property
    def chat_template(self) -> str:
        """The chat template as text."""
        return self.tokenizer.chat_template

    def encode(self, messages: list[dict] | str, thinking: str = "none", tools=None) -> list[int]:
        """Token ids of a conversation up to the opening of the assistant's turn; a string is continued as it is.

        `thinking` "on" or "off" goes to a template that knows the mode; InputProblem for one that does not.
        """
        from tunebook.models.templates import render_prompt

        if isinstance(messages, str):
            return list(self.tokenizer(messages)["input_ids"])
        return render_prompt(self.tokenizer, messages, thinking, tools)

    def asked_text(self, thinking: str = "none") -> tuple[str, ...]:
        """See `rendering.asked_text`."""
        from tunebook.models.rendering import asked_text

        return asked_text(self.tokenizer, thinking)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, control tokens included."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def identity(self) -> str:
        """A hash of what makes the texts: weights, precision and device. Two adapters of one model differ."""
        import hashlib

        import torch

        if not self._identity:
            found = hashlib.blake2b(f"{self.model.device.type} {self.model.dtype}".encode(), digest_size=32)
            for name, weights in self.model.state_dict().items():
                found.update(f"{name} {tuple(weights.shape)}".encode())
                found.update(weights.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
            self._identity = found.hexdigest()
        return self._identity

    def generate(
        self,
        prompts: Sequence[list[int]],
        decoding: Decoding,
        on_tokens: Callable[[int], None] | None = None,
        only: Sequence[int] | None = None,
        stops: Sequence[str] = (),
    ) -> Iterator[Generated]:
        """Completes prompts of token ids, or those at the places `only`, each as it ends.

        A text may run on for some tokens past one of the strings `stops`: the caller cuts it.
        """
        from tunebook.models.generate import generate
        from tunebook.models.templates import ends_of

        def is_over(ids: list[int]) -> bool:
            return has_stop(self.decode(ids[-TAIL_TOKENS:]), stops)

        ends = set(ends_of(self.tokenizer))
        return generate(self.model, prompts, ends, decoding, self.slots, on_tokens, only, is_over if stops else None)
