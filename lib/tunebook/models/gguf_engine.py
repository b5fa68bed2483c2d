"""Generates with a GGUF file through llama.cpp, many sequences at once, with the template and the tokenizer in that
file.

Nothing of transformers is used, so what is scored is what ships. Does not convert and does not score.
"""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from tunebook.errors import InputProblem, MachineProblem
from tunebook.files import sha256_file
from tunebook.machine import threads as usual_threads
from tunebook.models.engine import (
    TAIL_TOKENS,
    Decoding,
    Generated,
    choose_token,
    common_prefix,
    has_stop,
    log_softmax,
)
from tunebook.models.gguf_tokenizer import GgufTokenizer, api, checked_file, last_words, load_gguf
from tunebook.models.rendering import asked_text
from tunebook.models.templates import render_prompt

SLOTS = 32
MOST_CONTEXT = 65_536  # tokens of all sequences together
BATCH_TOKENS = 2048


@dataclass
class Row:
    """`read` tokens of prompt + new are in the sequence's memory."""

    index: int
    prompt: list[int]
    stream: random.Random
    new: list[int] = field(default_factory=list)
    read: int = 0
    logp: float = 0.0

    def waiting(self, most: int) -> list[int]:
        """The next tokens to read, at most `most`."""
        if self.read < len(self.prompt):
            return self.prompt[self.read : self.read + most]
        return self.new[-1:] if most else []

    @property
    def is_ready(self) -> bool:
        """Whether all its tokens are read, so that the next one can be chosen."""
        return self.read == len(self.prompt) + len(self.new)


class GgufModel:
    """A GGUF file opened for generation, up to `slots` sequences at once. Close it with `close`.

    `adapters` are GGUF LoRA files by name; `use_adapter` chooses one for what comes next. `found` is what `checked`
    said of the file, where that was asked before; then the adapters are taken for checked too.
    """

    def __init__(
        self,
        path: Path,
        slots: int = SLOTS,
        chat_template: str = "model",
        adapters: dict[str, Path] | None = None,
        threads: int = 0,
        found: dict | None = None,
        thinking: str = "none",
        end_of_turn: str = "",
    ):
        llama, path = api(), Path(path)
        self.path, self.slots, self.threads = path, slots, threads or usual_threads()
        files = {name: Path(file) for name, file in (adapters or {}).items()}
        for file in files.values() if found is None else ():
            if checked_file(file)["kind"] != "gguf_adapter":
                raise InputProblem(f"gguf: {file} is no adapter")
        found = found or checked_file(path)
        if found["kind"] != "gguf":
            raise InputProblem(f"gguf: {path} is an adapter; give the file of a whole model")
        self.model = load_gguf(path)
        self.tokenizer = GgufTokenizer(path, chat_template, self.model, found, thinking, end_of_turn)
        self.stops, self.n_tokens = self.tokenizer.ends, self.tokenizer.n_tokens
        self.limit = llama.llama_model_n_ctx_train(self.model)
        self.adapters = {name: self._load_adapter(file) for name, file in files.items()}
        self.adapter, self.ctx, self._shape = "", None, (0, 0)
        self.batch = llama.llama_batch_init(BATCH_TOKENS, 0, 1)

    def _load_adapter(self, file: Path):
        found = api().llama_adapter_lora_init(self.model, os.fsencode(file))
        if not found:
            raise InputProblem(f"gguf: {file} does not fit the model ({last_words()})")
        return found

    @property
    def chat_template(self) -> str:
        """The template in use, as text."""
        return self.tokenizer.chat_template

    def encode(self, messages: list[dict] | str, thinking: str = "none", tools=None) -> list[int]:
        """Token ids of a conversation up to the opening of the assistant's turn; a string is continued as it is."""
        if isinstance(messages, str):
            return self.tokenizer.encode_text(messages)
        return render_prompt(self.tokenizer, messages, thinking, tools)

    def asked_text(self, thinking: str = "none") -> tuple[str, ...]:
        """See `rendering.asked_text`."""
        return asked_text(self.tokenizer, thinking)

    def identity(self) -> str:
        """A hash of what makes the texts: the file and the adapter on it."""
        return f"{sha256_file(self.path)} {self.adapter}"

    def decode(self, ids: list[int]) -> str:
        """Text of token ids."""
        return self.tokenizer.decode(ids)

    def use_adapter(self, name: str = "") -> None:
        """Puts the adapter called `name` on the base, "" takes it off; costs no reading of files."""
        self.adapter = name
        if self.ctx:
            self._apply_adapter()

    def _apply_adapter(self) -> None:
        chosen = [self.adapters[self.adapter]] if self.adapter else []
        pointers = (api().llama_adapter_lora_p_ctypes * max(1, len(chosen)))(*chosen)
        scales = (ctypes.c_float * max(1, len(chosen)))(*[1.0] * len(chosen))
        if api().llama_set_adapters_lora(self.ctx, pointers, len(chosen), scales) != 0:
            raise MachineProblem(f"gguf: the adapter {self.adapter!r} could not be set ({last_words()})")

    def open_context(self, sequences: int, length: int) -> None:
        """Memory for `sequences` of up to `length` tokens; kept from call to call where it suffices."""
        if self.ctx and self._shape[0] >= sequences and self._shape[1] >= sequences * length:
            api().llama_memory_clear(api().llama_get_memory(self.ctx), True)
            return
        if self.ctx:
            api().llama_free(self.ctx)
        settings = api().llama_context_default_params()
        settings.n_ctx = -(-sequences * length // 256) * 256
        settings.n_batch, settings.n_ubatch = BATCH_TOKENS, 512
        settings.n_seq_max, settings.kv_unified = sequences, True
        settings.n_threads = settings.n_threads_batch = self.threads
        self.ctx, self._shape = api().llama_init_from_model(self.model, settings), (sequences, settings.n_ctx)
        if not self.ctx:
            raise MachineProblem(f"gguf: no memory for {settings.n_ctx} tokens ({last_words()}); lower slots")
        if self.adapter:
            self._apply_adapter()

    def generate(
        self,
        prompts: Sequence[list[int]],
        decoding: Decoding,
        on_tokens: Callable[[int], None] | None = None,
        only: Sequence[int] | None = None,
        stops: Sequence[str] = (),
    ) -> Iterator[Generated]:
        """Completes prompts of token ids, or those at the places `only`, each as it ends; the start that all share is
        read once.

        A text may run on for some tokens past one of the strings `stops`: the caller cuts it.
        """
        places = range(len(prompts)) if only is None else only
        if not places:
            return
        _refuse_empty(prompts, places)
        longest = max(map(len, prompts)) + decoding.max_new_tokens
        if longest > min(self.limit, MOST_CONTEXT):
            raise InputProblem(
                f"prompt of {longest - decoding.max_new_tokens} tokens + {decoding.max_new_tokens} new exceeds the"
                f" model's context of {self.limit}"
            )
        slots = max(1, min(self.slots, len(places), MOST_CONTEXT // longest))
        self.open_context(slots + 1, longest)
        shared = self._read_shared(prompts, slots)
        order = sorted(places, key=lambda at: len(prompts[at]))
        waiting = [Row(at, list(prompts[at]), random.Random(f"{decoding.seed}/{at}"), read=shared) for at in order]
        flight: dict[int, Row] = {}
        memory = api().llama_get_memory(self.ctx)
        while waiting or flight:
            for slot in range(slots):
                if slot not in flight and waiting:
                    flight[slot] = waiting.pop()
                    if shared:
                        api().llama_memory_seq_cp(memory, slots, slot, 0, shared)
            ready, logits = self.step(flight)
            tokens = choose_token(logits, decoding, [flight[slot].stream for slot in ready]) if ready else []
            if on_tokens:
                on_tokens(len(tokens))
            nats = log_softmax(logits)[range(len(tokens)), tokens]
            for slot, token, value in zip(ready, tokens, nats, strict=True):
                row = flight[slot]
                row.logp += float(value)
                is_stop = token in self.stops
                if not is_stop:
                    row.new.append(token)
                    is_stop = has_stop(self.decode(row.new[-TAIL_TOKENS:]), stops) if stops else False
                if is_stop or len(row.new) >= decoding.max_new_tokens:
                    api().llama_memory_seq_rm(memory, slot, -1, -1)
                    del flight[slot]
                    yield Generated(row.index, row.new, "stop" if is_stop else "length", logp=row.logp)

    def _read_shared(self, prompts: Sequence[list[int]], slot: int) -> int:
        """Reads the start that all prompts share into a sequence of its own; its length."""
        shared = common_prefix(prompts)
        row = Row(-1, shared, random.Random())
        while row.read < len(shared):
            self.step({slot: row})
        return len(shared)

    def step(self, flight: dict[int, Row]) -> tuple[list[int], numpy.ndarray]:
        """One call of llama.cpp on as many waiting tokens as a batch holds: the slots that are ready, and their
        logits.
        """
        batch, count, ready = self.batch, 0, []
        for slot, row in flight.items():
            start = row.read
            ids = row.waiting(BATCH_TOKENS - count)
            for token in ids:
                batch.token[count], batch.pos[count] = token, row.read
                batch.n_seq_id[count], batch.seq_id[count][0], batch.logits[count] = 1, slot, 0
                count, row.read = count + 1, row.read + 1
            if row.read > start and row.is_ready:
                batch.logits[count - 1] = 1
                ready.append(slot)
        return ready, self._run(count, len(ready))

    def _run(self, count: int, outputs: int) -> numpy.ndarray:
        """Decodes the first `count` tokens of the batch; logits of those that asked, (outputs, vocabulary)."""
        self.batch.n_tokens = count
        code = api().llama_decode(self.ctx, self.batch)
        if code != 0:
            raise MachineProblem(f"llama.cpp could not decode a batch of {count} tokens (code {code}, {last_words()})")
        if not outputs:
            return numpy.empty((0, self.n_tokens), numpy.float32)
        return numpy.ctypeslib.as_array(api().llama_get_logits(self.ctx), shape=(outputs, self.n_tokens))

    def read_logits(self, ids: list[int], start: int) -> numpy.ndarray:
        """Logits after each token of `ids` from position `start` on, float32 (len(ids) - start, vocabulary); a copy."""
        if len(ids) > BATCH_TOKENS:
            raise InputProblem(f"gguf: a row of {len(ids)} tokens is too long; {BATCH_TOKENS} are read at once")
        self.open_context(2, max(len(ids), 512))
        for at, token in enumerate(ids):
            self.batch.token[at], self.batch.pos[at] = token, at
            self.batch.n_seq_id[at], self.batch.seq_id[at][0], self.batch.logits[at] = 1, 0, at >= start
        return self._run(len(ids), len(ids) - start).copy()

    def close(self) -> None:
        """Frees the model's memory."""
        llama = api()
        llama.llama_batch_free(self.batch)
        if self.ctx:
            llama.llama_free(self.ctx)
        self.tokenizer.close()
        llama.llama_model_free(self.model)


def _refuse_empty(prompts: Sequence[list[int]], places: Sequence[int]) -> None:
    empty = next((at for at in places if not prompts[at]), None)
    if empty is not None:
        raise InputProblem(
            f"gguf: prompt {empty} has no token; look at the row, or at the chat template (`tunebook inspect`)"
        )
