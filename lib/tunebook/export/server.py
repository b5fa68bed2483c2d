"""An OpenAI-compatible server over one base file with any number of adapters; the request's `model` chooses.

`GET /v1/models`, `POST /v1/chat/completions` (also as a stream), `GET /health`. Answers from this machine alone unless
it is told otherwise. llama-cpp-python's own server takes one adapter a model and computes one request at a time, so
only its library is used. Does not keep what is asked or answered.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tunebook.errors import InputProblem, MachineProblem, did_you_mean
from tunebook.export.batching import Batcher, Request
from tunebook.export.planning import plan_memory
from tunebook.files import sha256_file
from tunebook.machine import is_here
from tunebook.models.engine import Decoding
from tunebook.models.gguf_engine import GgufModel

KEY = "TUNEBOOK_SERVE_KEY"  # the environment variable with the key that a request must bring
MOST_BYTES, SECONDS = 1 << 20, 30.0  # of a request's body, and to send it
BASE, SPARE_THREADS = "base", 32


@dataclass(frozen=True)
class Limits:
    """`slots` requests are answered at once and `queue` more wait; prompt and answer together take `context` tokens, an
    answer `max_tokens`; `grace` seconds are left to those in flight when the server is told to end.
    """

    slots: int = 8
    queue: int = 64
    context: int = 2048
    max_tokens: int = 512
    grace: float = 20.0


class Refused(Exception):
    """A request that is not answered: the HTTP status and one sentence."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def served_files(folders: dict[str, Path]) -> tuple[Path, dict[str, Path]]:
    """The base file and the adapters by model name: `sft` of one run, `RUN/sft` of several.

    `folders` are runs, or the folders `served/` that `05` left, by name; one GGUF file is a base of its own.
    InputProblem where one has no such files, or its base is another one.
    """
    base, adapters = None, {}
    for name, folder in folders.items():
        if folder.is_file() and len(folders) == 1:
            return folder, {}
        here = folder / "05_export_gguf" / "served"
        here = here if here.is_dir() else folder
        found = sorted(here.glob("base-*.gguf"))
        if not found:
            raise InputProblem(
                f"{folder} has no base file to serve: run 05_export_gguf in that run with served_prompts above 0"
                " (recorded runs store no weights); what method dora or full trains is no adapter file: serve its"
                " 05_export_gguf/model-f16.gguf"
            )
        base = base or found[0]
        if sha256_file(found[0]) != sha256_file(base):
            raise InputProblem(f"{found[0]} is another base than {base}: serve runs of one base model together")
        for file in sorted(here.glob("adapter-*.gguf")):
            own = file.stem.removeprefix("adapter-")
            adapters[own if len(folders) == 1 else f"{name}/{own}"] = file
    return base, adapters


class Server(ThreadingHTTPServer):
    """Serves `base` and `adapters` at `address`; `serve_forever`, then `finish`."""

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(self, base: Path, adapters: dict[str, Path], address: tuple[str, int], limits: Limits):
        require_local(address[0])
        try:
            super().__init__(address, _Handler)
        except OSError as problem:
            raise InputProblem(f"--host {address[0]} --port {address[1]}: {problem.strerror}; choose another") from None
        self.limits, self.names, self.active = limits, [BASE, *adapters], set()
        self.engine = GgufModel(base, limits.slots, adapters=adapters)
        self.context = min(limits.context, self.engine.limit)
        self._rendering = threading.Lock()
        try:
            self.plan = plan_memory(base, limits.slots, self.context)
            self.batcher = Batcher(self.engine, self.context, limits.queue)
        except MachineProblem:
            self.server_close()
            self.engine.close()
            raise
        self.batcher.start()

    def verify_request(self, request, client_address) -> bool:
        """Whether a connection is taken: each has a thread, and there are not many more than can wait."""
        return threading.active_count() <= self.limits.slots + self.limits.queue + SPARE_THREADS

    def finish(self) -> bool:
        """Takes no new connection, answers what is in flight, and closes; whether all were answered within the
        grace.
        """
        self.server_close()
        until = time.monotonic() + self.limits.grace
        is_done = self.batcher.finish(self.limits.grace)
        while self.active and time.monotonic() < until:
            time.sleep(0.01)
        if is_done:
            self.engine.close()
        return is_done and not self.active

    def read(self, body: dict) -> Request:
        """The request that a body asks for; Refused where it cannot be answered."""
        name = body.get("model")
        if name not in self.names:
            known = f"there are {', '.join(self.names)}"
            raise Refused(404, f"no model {name!r}: {did_you_mean(str(name), self.names, known)}")
        if body.get("n", 1) != 1 or body.get("tools"):
            raise Refused(400, "n above 1 and tools are not served: ask once for each answer, without tools")
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or self.limits.max_tokens
        stops, seed = body.get("stop") or [], body.get("seed")
        try:
            stops = tuple([stops] if isinstance(stops, str) else stops)
            new = min(int(wanted), self.limits.max_tokens)
            decoding = Decoding(new, float(body.get("temperature") or 0.0), float(body.get("top_p") or 1.0))
            turns = _turns(body.get("messages"))
            with self._rendering:
                self.engine.tokenizer.renew()
                prompt = self.engine.encode(turns)
        except (TypeError, ValueError, OverflowError, InputProblem) as problem:
            raise Refused(400, f"the request cannot be read: {problem}") from None
        is_text = all(isinstance(stop, str) and stop for stop in stops)
        if new < 1 or not 0 <= decoding.temperature <= 2 or not 0 < decoding.top_p <= 1 or not is_text:
            raise Refused(
                400, "max_tokens is at least 1, temperature 0 to 2, top_p above 0 and at most 1, stop a text not empty"
            )
        if len(prompt) + new > self.context:
            raise Refused(
                400, f"{len(prompt)} tokens of prompt + {new} of answer exceed {self.context}: shorten one of them"
            )
        stream = random.Random(f"{seed}/0") if seed is not None else random.Random()
        return Request(-1, prompt, stream, adapter="" if name == BASE else name, decoding=decoding, stops=stops)


def require_local(host: str) -> None:
    """InputProblem for an address that other machines reach, unless a key is asked for."""
    if not is_here(host) and not os.environ.get(KEY):
        raise InputProblem(f"--host {host} is reached from other machines: set a key in {KEY}, or leave --host out")


def _turns(messages) -> list[dict]:
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages is a list of turns, each with role and content")
    for turn in messages:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise ValueError("each of messages has a role")
        if not isinstance(turn.get("content"), str):
            raise ValueError("the content of each turn is a text")
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages]


class _Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, timeout = "HTTP/1.1", "tunebook", SECONDS
    server: Server

    def log_message(self, *args) -> None:
        """Nothing: what is asked is not kept."""

    def do_GET(self) -> None:
        with self._answering():
            if self.path == "/health":
                return self._json(200, {"status": "ok"})
            self._require_key()
            if self.path != "/v1/models":
                raise Refused(404, "there are /v1/models, /v1/chat/completions and /health")
            models = [{"id": name, "object": "model", "owned_by": "tunebook"} for name in self.server.names]
            self._json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        with self._answering():
            body = self._body()
            self._require_key()
            if self.path != "/v1/chat/completions":
                raise Refused(404, "there are /v1/models, /v1/chat/completions and /health")
            request = self.server.read(body)
            if not self.server.batcher.submit(request):
                raise Refused(503, "the server is busy, or ends: try again in a moment")
            try:
                self._stream(request, body["model"]) if body.get("stream") else self._whole(request, body["model"])
            finally:
                request.is_cancelled = True  # of no effect where it has ended; else the client has gone

    @contextmanager
    def _answering(self):
        self.server.active.add(threading.get_ident())
        try:
            yield
        except Refused as problem:
            kind = "invalid_request_error" if problem.status < 500 else "server_error"
            self._json(problem.status, {"error": {"message": str(problem), "type": kind, "code": problem.status}})
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            self.server.active.discard(threading.get_ident())

    def _require_key(self) -> None:
        key = os.environ.get(KEY, "").strip()  # a file's end of line is no part of it
        if key and not hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Bearer {key}".encode()):
            raise Refused(401, "the request brings no right key: send Authorization: Bearer KEY")

    def _body(self) -> dict:
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MOST_BYTES:
            self.close_connection = True  # its body is not read
            raise Refused(413, f"a request states its length, at most {MOST_BYTES} bytes")
        text = self.rfile.read(int(size))
        if (
            self.headers.get_content_type() != "application/json"
        ):  # a page of another site cannot send this type unasked
            raise Refused(415, "send application/json")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is no JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "the body is a JSON object with model and messages")
        return body

    def _json(self, status: int, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _whole(self, request: Request, name: str) -> None:
        text = ""
        while (piece := request.pieces.get())[0] == "text":
            text += piece[1]
        if piece[0] == "error":
            raise Refused(500, piece[1])
        turn = {"message": {"role": "assistant", "content": text}}
        sizes = {"prompt_tokens": len(request.prompt), "completion_tokens": len(request.new)}
        usage = {"usage": sizes | {"total_tokens": sum(sizes.values())}}
        self._json(200, _reply(name, "chat.completion", _identity(), turn, piece[0]) | usage)

    def _stream(self, request: Request, name: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        identity, delta = _identity(), {"role": "assistant", "content": ""}
        self._event(_reply(name, "chat.completion.chunk", identity, {"delta": delta}, None))
        while (piece := request.pieces.get())[0] == "text":
            self._event(_reply(name, "chat.completion.chunk", identity, {"delta": {"content": piece[1]}}, None))
        if piece[0] == "error":
            self._event({"error": {"message": piece[1], "type": "server_error", "code": 500}})
        else:
            self._event(_reply(name, "chat.completion.chunk", identity, {"delta": {}}, piece[0]))
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, value: dict) -> None:
        self._chunk(f"data: {json.dumps(value)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _identity() -> dict:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}


def _reply(name: str, kind: str, identity: dict, part: dict, reason: str | None) -> dict:
    return identity | {"object": kind, "model": name, "choices": [{"index": 0, **part, "finish_reason": reason}]}
