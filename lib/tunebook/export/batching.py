"""Requests for one base file and its adapters, answered together: every sequence keeps its adapter, and each step of
llama.cpp takes the sequences of one, the adapters in turn.

Knows no HTTP (see `server`).
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

from tunebook.models.engine import Decoding, choose_token
from tunebook.models.gguf_engine import GgufModel, Row, api

TORN = "\ufffd"  # the end of a text whose last character is not whole yet


@dataclass
class Request(Row):
    """A row of `adapter` ("" is the base alone). `pieces` gets ("text", str) as it comes, then once ("stop" or
    "length", ""), or ("error", sentence).
    """

    adapter: str = ""
    decoding: Decoding = Decoding()
    stops: tuple[str, ...] = ()
    pieces: SimpleQueue = field(default_factory=SimpleQueue)
    sent: int = 0
    is_cancelled: bool = False

    def tell(self, text: str, reason: str = "") -> bool:
        """Passes on what is new of `text`, and `reason` where it ends; whether it has ended. A stop string ends it, and
        is left out.
        """
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found:
            text, reason = text[: min(found)], "stop"
        held = 0 if reason else max([len(stop) - 1 for stop in self.stops], default=0)
        if not reason and text.endswith(TORN):
            held = max(held, len(text) - len(text.rstrip(TORN)))
        safe = text[self.sent : len(text) - held]
        if safe:
            self.pieces.put(("text", safe))
            self.sent += len(safe)
        if reason:
            self.pieces.put((reason, ""))
        return bool(reason)


class Batcher(threading.Thread):
    """The one thread that computes: up to `engine.slots` sequences of up to `context` tokens at once, at most `most`
    more waiting.
    """

    def __init__(self, engine: GgufModel, context: int, most: int):
        super().__init__(daemon=True)
        self.engine, self.most = engine, most
        self.waiting: deque[Request] = deque()
        self.flight: dict[int, Request] = {}
        self._changed, self._is_ending, self._turn = threading.Condition(), False, ""
        engine.open_context(engine.slots, context)

    def submit(self, request: Request) -> bool:
        """Whether the request waits now; False where too many do, or the server ends."""
        with self._changed:
            if self._is_ending or len(self.waiting) >= self.most:
                return False
            self.waiting.append(request)
            self._changed.notify()
            return True

    def finish(self, seconds: float) -> bool:
        """Takes no more requests, and waits up to `seconds` for those that are there; whether all were answered."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Answers until `finish`."""
        while self._admit():
            try:
                self._step()
            except Exception as problem:  # whatever one request meets, the next ones are answered
                for slot, request in list(self.flight.items()):
                    request.pieces.put(("error", str(problem) or type(problem).__name__))
                    self._leave(slot)

    def _admit(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.waiting or self.flight or self._is_ending)
            for slot in range(self.engine.slots):
                if slot not in self.flight and self.waiting:
                    self.flight[slot] = self.waiting.popleft()
            return bool(self.flight)

    def _step(self) -> None:
        for slot in [slot for slot, request in self.flight.items() if request.is_cancelled]:
            self._leave(slot)
        names = sorted({request.adapter for request in self.flight.values()})
        if not names:
            return
        self._turn = next((name for name in names if name > self._turn), names[0])
        if self._turn != self.engine.adapter:
            self.engine.use_adapter(self._turn)
        rows = {slot: request for slot, request in self.flight.items() if request.adapter == self._turn}
        ready, logits = self.engine.step(rows)
        for at, slot in enumerate(ready):
            request = rows[slot]
            token = choose_token(logits[at : at + 1], request.decoding, [request.stream])[0]
            is_stop = token in self.engine.stops
            request.new += [] if is_stop else [token]
            is_full = len(request.new) >= request.decoding.max_new_tokens
            if request.tell(self.engine.decode(request.new), "stop" if is_stop else "length" if is_full else ""):
                self._leave(slot)

    def _leave(self, slot: int) -> None:
        api().llama_memory_seq_rm(api().llama_get_memory(self.engine.ctx), slot, -1, -1)
        del self.flight[slot]
