"""A model of this machine behind an OpenAI-compatible server on loopback: what `hosted_url` can ask, and a way to try a
GGUF file from any program that speaks chat completions.

One request at a time; no key, no stream, no other machine. Does not judge.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from tunebook.errors import InputProblem, MachineProblem
from tunebook.models.engine import Decoding

MOST_BYTES = 1 << 20  # of a request
PATH = "/v1/chat/completions"
DEFAULT_TOKENS = 256


def make_server(engine, name: str, port: int = 0) -> HTTPServer:
    """The server on 127.0.0.1 (a free port for 0), not yet serving; `engine` answers as the model called `name`.
    MachineProblem where the port cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                if self.path != PATH:
                    raise InputProblem(f"there is only {PATH}")
                length = int(self.headers.get("Content-Length") or 0)
                if not 0 < length <= MOST_BYTES:
                    raise InputProblem(f"a request needs a body of at most {MOST_BYTES} bytes")
                code, reply = 200, answer(engine, name, json.loads(self.rfile.read(length)))
            except (InputProblem, ValueError) as problem:
                code, reply = 400, {"error": {"message": str(problem), "type": "invalid_request_error"}}
            data = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_) -> None:
            """Nothing: a request may hold what is nobody's business."""

    try:
        return HTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as problem:
        raise MachineProblem(f"port {port} cannot be used ({problem}): choose another --port") from None


def _is_turn(turn) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content", ""), str)


def answer(engine, name: str, body: dict) -> dict:
    """The reply to one request in the form of chat completions, its tokens counted. InputProblem for one that asks for
    what is not there.
    """
    turns = body.get("messages") if isinstance(body, dict) else None
    if not (isinstance(turns, list) and turns and all(map(_is_turn, turns))):
        raise InputProblem("messages must be a list of turns with role and content")
    if body.get("stream") or body.get("n", 1) != 1:
        raise InputProblem("stream and n are not known here: leave them out")
    try:
        stops = [body["stop"]] if isinstance(body.get("stop"), str) else list(body.get("stop") or ())
        limit = int(body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_TOKENS)
        sampling = [float(body.get(key, usual)) for key, usual in (("temperature", 0.0), ("top_p", 1.0))]
        decoding = Decoding(limit, *sampling, int(body.get("seed") or 0))
    except (TypeError, ValueError) as problem:
        raise InputProblem(f"a number of the request cannot be read: {problem}") from None
    prompt = engine.encode(turns, tools=body.get("tools"))
    done = next(iter(engine.generate([prompt], decoding, stops=stops)))
    text, reason = engine.decode(done.ids), done.finish_reason
    if places := [at for at in map(text.find, stops) if at >= 0]:
        text, reason = text[: min(places)], "stop"
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    counts = {"prompt_tokens": len(prompt), "completion_tokens": len(done.ids)}
    usage = counts | {"total_tokens": sum(counts.values())}
    return {"object": "chat.completion", "model": name, "choices": [choice], "usage": usage}
