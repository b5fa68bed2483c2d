"""A model behind an OpenAI-compatible server, asked by the kit itself: within a budget, every answer kept as it comes,
and none asked for twice.

The form of requests and replies is that of OpenAI's chat completions, which vLLM, llama.cpp and Ollama serve too.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation import prompts
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.completions import CompletionLog, check_completions, check_protocol
from tunebook.evaluation.protocol import Protocol
from tunebook.files import hash_json
from tunebook.machine import is_here

KEY = "TUNEBOOK_HOSTED_KEY"  # the environment variable with the server's key; it is sent and never written
PARALLEL, TRIES, TIMEOUT = 4, 5, 300.0  # requests in flight, tries of each, seconds a try
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Hosted:
    """The server (`url` without /chat/completions), the name of the `model` there, tokens an answer may take (0: as
    the task), and the most money that all answers may cost; prices are for a million tokens.
    """

    url: str = ""
    model: str = ""
    max_tokens: int = 0
    budget: float = 0.0
    price_input: float = 0.0
    price_output: float = 0.0

    def check(self) -> None:
        """InputProblem for an address that cannot be asked, or asked without a limit to what it costs."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputProblem(
                f"hosted_url: write the address before /chat/completions, as https://host/v1, and the key into the"
                f" environment variable {KEY}; found {self.url.rpartition('@')[2]!r}"
            )
        if not self.model:
            raise InputProblem("hosted_model: name the model as its server calls it")
        if self.is_local:
            return
        if parts.scheme == "http" and _key():
            raise InputProblem(f"hosted_url: {self.url} would send the key of {KEY} in the clear; use https")
        if not self.budget or not (self.price_input or self.price_output):
            raise InputProblem(
                "hosted_budget: a server that is not this machine is asked only within a budget; set hosted_budget,"
                " price_hosted_input and price_hosted_output"
            )

    @property
    def is_local(self) -> bool:
        """Whether the address is this machine itself."""
        return is_here(urlsplit(self.url).hostname or "")

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Money of so many tokens."""
        return (tokens_in * self.price_input + tokens_out * self.price_output) / 1e6


def ask_hosted(
    hosted: Hosted, problems: Benchmark, protocol: Protocol, examples=(), kept: Path = Path(), on_progress=None
) -> list[dict]:
    """Completions of every problem and sample, with `input_tokens`, `n_tokens`, `seconds` and the `model` that the
    server says it is.

    `examples` as in `complete`. Answers lie in the folder `kept`, one file for each server and model, and are taken
    from there when the same is asked again, also among other questions; the budget is for all of them. InputProblem
    where the next requests could cost more than is left of it, or the server refuses them; MachineProblem where it
    cannot be reached. What has come is kept then too.
    """
    hosted.check()
    check_protocol(protocol)
    if protocol.prompt_style == "raw":
        raise InputProblem("hosted_url: a server of chats cannot continue a raw text; use prompt_style: chat")
    samples = range(protocol.n_samples)
    bodies = {(p["task_id"], i): _body(hosted, p, protocol, examples, i) for p in problems.problems for i in samples}
    names: dict[tuple, list] = {}  # as the log calls a request -> whose it is
    for at, body in bodies.items():
        names.setdefault((hash_json(body), at[1]), []).append(at)
    key = hash_json([hosted.url, hosted.model])
    with CompletionLog(kept / f"{key[:32]}.jsonl", key) as log, _client(hosted) as client:
        left = [name for name in names if name not in log.done_keys]
        with ThreadPoolExecutor(PARALLEL) as pool:
            for start in range(0, len(left), PARALLEL):
                wave = left[start : start + PARALLEL]
                _require_affordable(hosted, log.rows, [bodies[names[name][0]] for name in wave])
                asked = [pool.submit(_answer, client, bodies[names[name][0]]) for name in wave]
                failed = [future.exception() for future in asked]
                for name, future, problem in zip(wave, asked, failed, strict=True):
                    if problem is None:
                        log.append(*name, **future.result())
                if on_progress:
                    on_progress(len(names) - len(left) + start + len(wave), len(names), "hosted")
                if problems_met := [problem for problem in failed if problem]:
                    raise problems_met[0]
        kept_rows = ((row, names.get((row["task_id"], row["sample"]), ())) for row in log.rows)
        return check_completions([{**row, "task_id": at[0]} for row, whose in kept_rows for at in whose], problems)


def _body(hosted: Hosted, problem: dict, protocol: Protocol, examples, sample: int) -> dict:
    shown = examples[problem["task_id"]] if isinstance(examples, dict) else examples
    body = {
        "model": hosted.model,
        "messages": prompts.messages(problem, protocol.prompt_style, protocol.instruction, shown),
        "max_tokens": hosted.max_tokens or protocol.max_new_tokens,
        "temperature": protocol.temperature,
        "top_p": protocol.top_p,
        "seed": protocol.seed + sample,
    }
    tools = {"tools": problem["tools"]} if problem.get("tools") else {}
    stops = {"stop": list(protocol.stops)} if protocol.stops else {}
    return {**body, **tools, **stops}


def _require_affordable(hosted: Hosted, rows: list[dict], bodies: list[dict]) -> None:
    """InputProblem unless these requests fit into the budget at their most: a token of input is at least a byte."""
    if not hosted.budget:
        return
    spent = sum(hosted.cost(row["input_tokens"], row["n_tokens"]) for row in rows)
    texts = [str([body["messages"], body.get("tools")]).encode() for body in bodies]
    most = sum(hosted.cost(len(text), body["max_tokens"]) for text, body in zip(texts, bodies, strict=True))
    if spent + most > hosted.budget:
        raise InputProblem(
            f"hosted_budget: {len(rows)} answers have cost {spent:.4g} of {hosted.budget:g}, and the next {len(bodies)}"
            f" may cost up to {most:.4g}; raise hosted_budget or ask fewer problems, the answers are kept"
        )


def _key() -> str:
    """The server's key. InputProblem, which does not quote it, where no header could carry it."""
    key = os.environ.get(KEY, "").strip()  # a file's end of line is no part of it
    if not (key.isascii() and key.isprintable()):
        raise InputProblem(f"{KEY}: the key holds characters that no request can carry: set it again")
    return key


def _client(hosted: Hosted):
    import httpx

    key = _key()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    base = hosted.url.rstrip("/").removesuffix("/chat/completions") + "/"
    return httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT, trust_env=not hosted.is_local)


def _answer(client, body: dict) -> dict:
    """One reply as the log keeps it. A server's own thought, where it sends one apart, is left out."""
    started = time.perf_counter()
    reply = _post(client, body)
    try:
        choice, usage = reply["choices"][0], reply["usage"]
        said = choice["message"].get("content") or ""
        if not isinstance(said, str):  # parts, as of models that think: only the text is the answer
            said = "".join(part["text"] for part in said if part.get("type") == "text")
        return {
            "completion": said,
            "finish_reason": choice.get("finish_reason") or "stop",
            "n_tokens": int(usage["completion_tokens"]),
            "input_tokens": int(usage["prompt_tokens"]),
            "seconds": round(time.perf_counter() - started, 3),
            "model": str(reply.get("model", "")),
        }
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise InputProblem(
            f"hosted_url: {client.base_url} does not answer in the form of chat completions with token counts (choices,"
            f" usage): {str(reply)[:200]!r}"
        ) from None


def _post(client, body: dict) -> dict:
    """The reply to one request; a busy server is asked again, after the time that it names."""
    import httpx

    for attempt in range(TRIES):
        try:
            reply = client.post("chat/completions", json=body)
            if reply.status_code == 400 and "max_completion_tokens" in reply.text and "max_tokens" in body:
                body = {**body, "max_completion_tokens": body["max_tokens"]}  # the newer name of the same limit
                del body["max_tokens"]
                reply = client.post("chat/completions", json=body)
        except httpx.TransportError as problem:
            why, wait = f"{type(problem).__name__}: {problem}", 2.0**attempt
        else:
            if reply.is_success:
                return _parsed(reply)
            why = f"{reply.status_code}: {' '.join(reply.text.split())[:200]}"
            if reply.status_code not in BUSY:
                raise InputProblem(f"hosted_url: {client.base_url} refuses the request ({why}); {_remedy(reply)}")
            named = reply.headers.get("retry-after", "")
            wait = min(float(named), 60.0) if named.isdigit() else 2.0**attempt
        if attempt < TRIES - 1:
            time.sleep(wait)
    raise MachineProblem(
        f"hosted_url: {client.base_url} did not answer in {TRIES} tries ({why}); the answers so far are kept, run again"
    )


def _parsed(reply):
    try:
        return reply.json()
    except ValueError:
        return reply.text


def _remedy(reply) -> str:
    if reply.status_code in (401, 403):
        return f"put its key into the environment variable {KEY}"
    return "look at hosted_url and hosted_model" if reply.status_code == 404 else "change what it names"
