"""Generates with a GGUF file through llama.cpp, many sequences at once, with the template and the tokenizer in that file.

Nothing of transformers is used, so what is scored is what ships. Greedy only. Does not convert and does not score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from tunebook.errors import InputProblem, MachineProblem
from tunebook.models.device import cores
from tunebook.models.engine import Decoding, Generated

SLOTS = 32
CONTEXT_TOKENS = 8192
BATCH_TOKENS = 2048


@dataclass
class _Row:
    index: int
    prompt: list[int]
    new: list[int] = field(default_factory=list)


class GgufModel:
    """A GGUF file opened for generation: up to `slots` sequences share a context of `context_tokens`. Close it with `close`."""

    def __init__(self, path: Path, slots: int = SLOTS, context_tokens: int = CONTEXT_TOKENS):
        import llama_cpp

        if not Path(path).is_file():
            raise InputProblem(f"gguf: {path} does not exist")
        self.llama_cpp, self.slots = llama_cpp, slots
        self.llama = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, verbose=False)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context_tokens, BATCH_TOKENS, 512
        settings.n_seq_max, settings.kv_unified = slots, True
        settings.n_threads = settings.n_threads_batch = cores()
        self.context_tokens = context_tokens
        # a context of our own: the one of `Llama` holds a single sequence
        self.ctx = llama_cpp.llama_init_from_model(self.llama.model, settings)
        if not self.ctx:
            raise MachineProblem(f"gguf: no memory for a context of {context_tokens} tokens; close other programs")
        self.metadata = self.llama.metadata
        self.stops = {self.llama.token_eos(), self.llama.token_eot() if hasattr(self.llama, "token_eot") else -1} - {-1}

    def render(self, messages: list[dict]) -> str:
        """The prompt as text, by the chat template inside the file."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        if not self.chat_template:
            raise InputProblem("gguf: the file has no chat template; export it with one")
        formatter = Jinja2ChatFormatter(
            template=self.chat_template,
            eos_token=self._piece(self.llama.token_eos()),
            bos_token=self._piece(self.llama.token_bos()),
        )
        return formatter(messages=messages).prompt

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, control tokens read as such; BOS only where the file asks for it."""
        return self.llama.tokenize(text.encode(), add_bos=False, special=True)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids."""
        return self.llama.detokenize(ids, special=True).decode(errors="replace")

    @property
    def chat_template(self) -> str:
        """The template inside the file, as text."""
        return self.metadata.get("tokenizer.chat_template", "")

    def encode(self, messages: list[dict]) -> list[int]:
        """Token ids of a conversation up to the opening of the assistant's turn."""
        return self.tokenize(self.render(messages))

    def generate(
        self, prompts: Sequence[list[int]], decoding: Decoding, on_tokens: Callable[[int], None] | None = None
    ) -> Iterator[Generated]:
        """Completes prompts of token ids, each as it ends. Raises InputProblem for a temperature above 0."""
        if decoding.temperature > 0:
            raise InputProblem("gguf: this engine decodes greedily; set temperature to 0.0")
        longest = max(map(len, prompts), default=0)
        if longest > BATCH_TOKENS or longest + decoding.max_new_tokens > self.context_tokens:
            raise InputProblem(f"gguf: a prompt of {longest} tokens is too long; this engine takes {BATCH_TOKENS}")
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        waiting = [_Row(at, list(prompts[at])) for at in order]
        flight: dict[int, _Row] = {}
        memory = self.llama_cpp.llama_get_memory(self.ctx)
        while waiting or flight:
            for slot in range(self.slots):
                if slot not in flight and waiting and self._has_room(flight, waiting[-1], decoding.max_new_tokens):
                    flight[slot] = waiting.pop()
            tokens = self._decode(flight)
            if on_tokens:
                on_tokens(len(tokens))
            for slot, token in tokens.items():
                row = flight[slot]
                is_stop = token in self.stops
                if not is_stop:
                    row.new.append(token)
                if is_stop or len(row.new) >= decoding.max_new_tokens:
                    self.llama_cpp.llama_memory_seq_rm(memory, slot, -1, -1)
                    del flight[slot]
                    yield Generated(row.index, row.new, "stop" if is_stop else "length")

    def _has_room(self, flight: dict[int, _Row], row: _Row, new: int) -> bool:
        """Whether the context holds one more row, each counted at its full length."""
        return sum(len(one.prompt) + new for one in [*flight.values(), row]) <= self.context_tokens

    def _decode(self, flight: dict[int, _Row]) -> dict[int, int]:
        """One call of llama.cpp: a prompt for each new row as far as the batch holds them, one token for each old row."""
        api, batch = self.llama_cpp, self.llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        wanted: dict[int, int] = {}
        count = 0
        for slot, row in flight.items():
            ids = row.prompt if not row.new else row.new[-1:]
            start = 0 if not row.new else len(row.prompt) + len(row.new) - 1
            if count + len(ids) > BATCH_TOKENS:
                continue
            for offset, token in enumerate(ids):
                batch.token[count], batch.pos[count] = token, start + offset
                batch.n_seq_id[count], batch.seq_id[count][0] = 1, slot
                batch.logits[count] = offset == len(ids) - 1
                count += 1
            wanted[slot] = count - 1
        batch.n_tokens = count
        code = api.llama_decode(self.ctx, batch) if count else 1
        if code != 0:
            raise MachineProblem(
                f"llama.cpp could not decode a batch of {count} tokens (code {code}); lower the prompt length"
            )
        width = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.llama.model))
        chosen = {}
        for slot, at in wanted.items():
            logits = numpy.ctypeslib.as_array(api.llama_get_logits_ith(self.ctx, at), shape=(width,))
            chosen[slot] = int(logits.argmax())
        api.llama_batch_free(batch)
        return chosen

    def text_nats(self, text: str) -> float:
        """Nats that the model needs for all tokens of `text` after its own start token. InputProblem for a text beyond one batch."""
        api, ids = self.llama_cpp, [self.llama.token_bos(), *self.tokenize(text)]
        if len(ids) > BATCH_TOKENS:
            raise InputProblem(f"gguf: a text of {len(ids)} tokens is too long; this engine takes {BATCH_TOKENS}")
        api.llama_memory_clear(api.llama_get_memory(self.ctx), True)
        batch = api.llama_batch_init(len(ids), 0, 1)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, True
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        batch.n_tokens = len(ids)
        code = api.llama_decode(self.ctx, batch)
        api.llama_batch_free(batch)
        if code != 0:
            raise MachineProblem(f"llama.cpp could not read a text of {len(ids)} tokens (code {code}); free memory")
        width = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.llama.model))
        total = 0.0
        for at, token in enumerate(ids[1:]):
            row = numpy.ctypeslib.as_array(api.llama_get_logits_ith(self.ctx, at), shape=(width,)).astype(numpy.float64)
            top = row.max()
            total += top + float(numpy.log(numpy.exp(row - top).sum())) - row[token]
        api.llama_memory_clear(api.llama_get_memory(self.ctx), True)
        return float(total)

    def _piece(self, token: int) -> str:
        return self.llama.detokenize([token], special=True).decode(errors="replace") if token >= 0 else ""

    def close(self) -> None:
        """Frees the model's memory."""
        self.llama_cpp.llama_free(self.ctx)
        self.llama.close()
