"""The judge of `tunebook score` as an OpenEnv environment on this machine: an episode is a problem and a completion.

Speaks OpenEnv's wire contract, so that its clients work unchanged and its package is not needed here. The reward is 1
where the completion passes and 0 otherwise; an observation names the verdict, never the test nor its message. Source:
openenv 0.10.0, openenv/core/env_server (types.py, http_server.py, serialization.py).
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import uuid
from concurrent.futures import Future
from queue import SimpleQueue

from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from tunebook.errors import InputProblem, MachineProblem, did_you_mean
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.readiness import Judging
from tunebook.evaluation.score import judge_completions
from tunebook.machine import is_here

MOST_BYTES = 1 << 20  # of a message
MOST_SESSIONS, MOST_WAITING = 256, 8  # connections; messages of one that may wait
TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
COMMON = {"metadata": {"type": "object"}, "task_id": TEXT}
FIELDS = {
    "action": COMMON | {"completion": TEXT},
    "observation": COMMON | {"prompt": TEXT, "entry_point": TEXT, "kind": TEXT, "verdict": TEXT},
    "state": {"episode_id": TEXT, "step_count": NUMBER, "task_id": TEXT},
}
PATHS = ("/health", "/metadata", "/schema", "/state", "/openapi.json"), ("/reset", "/step", "/mcp")


class Judge(threading.Thread):
    """The one thread that judges: all completions that wait are judged together, as a score's are."""

    def __init__(self, benchmark: Benchmark, judging: Judging):
        super().__init__(daemon=True)
        self.benchmark, self.judging = benchmark, judging
        self.problems = {problem["task_id"]: problem for problem in benchmark.problems}
        self.waiting: SimpleQueue = SimpleQueue()
        self.sessions: set = set()

    def submit(self, task_id: str, completion: str) -> Future:
        """The verdict word, once it is there; the future raises where the machine or the problem's test is at fault."""
        future: Future = Future()
        self.waiting.put((task_id, completion, future))
        return future

    def finish(self) -> None:
        """Judges what waits, and ends."""
        self.waiting.put(None)
        self.join()

    def run(self) -> None:
        """Judges until `finish`."""
        is_ending = False
        while not is_ending:
            jobs = [self.waiting.get()]
            while not self.waiting.empty():
                jobs.append(self.waiting.get())
            is_ending = None in jobs
            self._judge([job for job in jobs if job and job[2].set_running_or_notify_cancel()])

    def _judge(self, jobs: list) -> None:
        rows = [{"task_id": task, "sample": at, "completion": text} for at, (task, text, _) in enumerate(jobs)]
        try:
            verdicts = [row["verdict"] for row in judge_completions(self.benchmark, rows, self.judging)]
            for (_, _, future), verdict in zip(jobs, verdicts, strict=True):
                future.set_result(verdict)
        except Exception as problem:
            if len(jobs) == 1:
                return jobs[0][2].set_exception(MachineProblem(str(problem)))
            for job in jobs:  # one of them is at fault
                self._judge([job])


class Session:
    """A client's episodes, one after another."""

    def __init__(self, judge: Judge):
        self.judge, self.problem, self.is_done = judge, {}, True
        self.episode, self.steps = None, 0

    def reset(self, data: dict) -> dict:
        """Begins an episode with the problem `task_id`, or one drawn by `seed`."""
        fits = isinstance(data, dict) and isinstance(data.get("seed"), int | None)
        if not fits or not isinstance(data.get("episode_id"), str | None):
            raise InputProblem("reset takes an object: seed is a whole number, episode_id a text")
        seed, episode, task_id = (data.get(key) for key in ("seed", "episode_id", "task_id"))
        names = self.judge.benchmark.task_ids()
        task_id = random.Random(seed).choice(names) if task_id is None else task_id
        if not isinstance(task_id, str) or task_id not in self.judge.problems:
            known = f"{self.judge.benchmark.name} has {len(names)}, from {names[0]} to {names[-1]}"
            raise InputProblem(f"no problem {task_id!r}: {did_you_mean(str(task_id), names, known)}")
        self.problem, self.is_done, self.steps = self.judge.problems[task_id], False, 0
        self.episode = episode or str(uuid.uuid4())
        return self._result(None, "")

    async def step(self, action: dict) -> dict:
        """Judges the action's completion; that ends the episode."""
        if not isinstance(action, dict) or not isinstance(action.get("completion"), str):
            raise InputProblem("an action has completion, a text")
        if unknown := sorted(action.keys() - FIELDS["action"]):
            raise InputProblem(f"an action has completion, and may have task_id; {unknown[0]!r} is not known")
        if action.get("task_id") is not None:  # a client that knows the field sends null for none
            self.reset({"task_id": action["task_id"], "episode_id": self.episode})
        if self.is_done:
            raise InputProblem("no episode is open: reset first, or name the action's task_id")
        self.is_done, self.steps = True, 1
        verdict = await asyncio.wrap_future(self.judge.submit(self.problem["task_id"], action["completion"]))
        return self._result(float(verdict == "pass"), verdict)

    def _result(self, reward: float | None, verdict: str) -> dict:
        shown = {key: self.problem[key] for key in ("task_id", "prompt", "entry_point", "kind")}
        return {"observation": shown | {"verdict": verdict, "metadata": {}}, "reward": reward, "done": self.is_done}

    def state(self) -> dict:
        """Which episode is open, and how many steps it had."""
        return {"episode_id": self.episode, "step_count": self.steps, "task_id": self.problem.get("task_id")}


class _Http(RequestHandler):
    """Requests without a session of their own: each `/step` names its problem."""

    def initialize(self, judge: Judge) -> None:
        self.judge = judge

    def prepare(self) -> None:
        if not is_here(self.request.host_name):
            raise HTTPError(403, reason="asked by another name than this machine's")
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.request.method == "POST" and kind != "application/json":
            raise HTTPError(415, reason="send application/json")  # a page of another site cannot send this type unasked

    def write_error(self, status_code: int, **_) -> None:
        self.finish({"detail": self._reason})

    def get(self) -> None:
        about = {"name": f"tunebook {self.judge.benchmark.name}", "description": __doc__.partition("\n")[0]}
        schema = {name: {"type": "object", "properties": fields} for name, fields in FIELDS.items()}
        schema["action"]["required"] = ["completion"]
        info = {"title": about["name"], "version": "1.0.0"}
        paths = {path: {way: {}} for way, names in zip(("get", "post"), PATHS) for path in names}
        answers = {"/health": {"status": "healthy"}, "/metadata": about, "/schema": schema}
        answers |= {"/state": Session(self.judge).state(), "/openapi.json": {"openapi": "3.1.0", "info": info}}
        answers["/openapi.json"]["paths"] = paths
        self.finish(answers[self.request.path])

    async def post(self) -> None:
        try:
            body = json.loads(self.request.body or b"{}")
            if not isinstance(body, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise HTTPError(400, reason="the body is no JSON object") from None
        if self.request.path == "/mcp":
            error = {"code": -32601, "message": "this environment has no tools"}
            return self.finish({"jsonrpc": "2.0", "id": None, "error": error})
        session = Session(self.judge)
        try:
            reset = self.request.path == "/reset"
            self.finish(session.reset(body) if reset else await session.step(body.get("action")))
        except InputProblem as problem:
            self.set_status(422)
            self.finish({"detail": str(problem)})
        except MachineProblem as problem:
            self.set_status(500)
            self.finish({"detail": str(problem)})


class _Socket(WebSocketHandler):
    """A session: messages `reset`, `step`, `state` and `close`, answered in their order. Another site's page is refused
    by tornado's `check_origin`.
    """

    def initialize(self, judge: Judge) -> None:
        self.session, self.lock, self.waiting = Session(judge), asyncio.Lock(), 0
        self.others = judge.sessions

    def prepare(self) -> None:
        if not is_here(self.request.host_name):
            raise HTTPError(403)

    async def open(self, *_) -> None:
        if len(self.others) >= MOST_SESSIONS:
            await self._error("CAPACITY_REACHED", f"{MOST_SESSIONS} sessions are open: close one")
            return self.close()
        self.others.add(self)

    def on_close(self) -> None:
        self.others.discard(self)

    def on_message(self, message) -> None:
        """Answers in a task of its own: while a program is judged, pings are answered."""
        if self.waiting >= MOST_WAITING:
            return self.close(1008, "wait for the answers")
        self.waiting += 1
        self.task = asyncio.ensure_future(self._answer(message))

    async def _answer(self, text) -> None:
        async with self.lock:
            try:
                message = json.loads(text)
                kind, data = message["type"], message.get("data", {})
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                return await self._error("INVALID_JSON", "a message is a JSON object with type, and data where needed")
            finally:
                self.waiting -= 1
            try:
                if kind == "close":
                    self.close()
                elif kind == "state":
                    await self._send("state", self.session.state())
                elif kind in ("reset", "step"):
                    found = self.session.reset(data) if kind == "reset" else await self.session.step(data)
                    await self._send("observation", found)
                else:
                    await self._error("UNKNOWN_TYPE", f"no message {kind!r}: send reset, step, state or close")
            except InputProblem as problem:
                await self._error("VALIDATION_ERROR", str(problem))
            except MachineProblem as problem:
                await self._error("EXECUTION_ERROR", str(problem))

    async def _error(self, code: str, message: str) -> None:
        await self._send("error", {"message": message, "code": code})

    async def _send(self, kind: str, data: dict) -> None:
        try:
            await self.write_message(json.dumps({"type": kind, "data": data}))
        except WebSocketClosedError:
            pass  # the client has gone


async def serve_judge(benchmark: Benchmark, judging: Judging, port: int, on_start) -> None:
    """Serves at 127.0.0.1 until it is cancelled; `on_start` gets the port."""
    judge = Judge(benchmark, judging)
    routes = [(path, _Http, {"judge": judge}) for names in PATHS for path in names]
    app = Application([*routes, ("/ws", _Socket, {"judge": judge})], websocket_max_message_size=MOST_BYTES)
    app.settings["log_function"] = lambda handler: None
    try:
        server = app.listen(port, "127.0.0.1", max_body_size=MOST_BYTES)
    except OSError as problem:
        raise InputProblem(f"--port {port}: {problem.strerror}; choose another, 0 takes a free one") from None
    judge.start()
    try:
        on_start(next(iter(server._sockets.values())).getsockname()[1])
        await asyncio.Event().wait()
    finally:
        server.stop()
        judge.finish()
