"""The judge as an OpenEnv environment: the verdicts of a score, in OpenEnv's messages, for this machine alone."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from websocket import WebSocketBadStatusException, WebSocketConnectionClosedException, create_connection

from test_programs import FAIL, FORGED, PASS, SECOND_WAVE, TEST
from tunebook.cli import main
from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.score import Judging, judge_completions
from tunebook.export import openenv

DOUBLE = {
    "task_id": "double",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "canonical_solution": "    return x + x\n",
}
NOON = {
    "task_id": "noon",
    "prompt": "daily at noon",
    "entry_point": "",
    "canonical_solution": "0 12 * * *",
    "kind": "answer",
}
SECRET = "text is doubled too"  # of the test
NOON["test"] = f"def check(answer):\n    assert answer == '0 12 * * *', {SECRET!r}\n"
PROBLEMS = from_problems("two", [DOUBLE | {"test": TEST}, NOON])
JUDGING = Judging(workers=2, allow_unisolated=True)
ASKED = [("double", text) for text in (PASS["right"], PASS["leaves_a_child"])]
ASKED += [("double", FAIL[name][0]) for name in ("empty", "constant", "prose", "object", "recursion_without_end")]
ASKED += [("double", FORGED[name][0]) for name in ("sys_exit", "os_exit_in_function", "always_equal", "always_equal_int",
"frame_walking", "patched_builtins", "verdict_on_stdout", "verdict_on_descriptors", "answers_in_advance")]  # fmt: skip
ASKED += [("double", SECOND_WAVE[name][0]) for name in ("true_is_not_four", "lies_about_its_class", "removes_builtins")]
ASKED += [("noon", text) for text in ("0 12 * * *", "0 12 * * 1", "")]


@pytest.fixture(scope="module")
def port():
    """Where the two problems are judged; the server ends as Ctrl-C ends it."""
    ready, found = threading.Event(), {}

    def start(port: int) -> None:
        found.update(port=port, loop=asyncio.get_running_loop(), task=asyncio.current_task())
        ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(_quietly(openenv.serve_judge(PROBLEMS, JUDGING, 0, start))))
    thread.start()
    assert ready.wait(30)
    yield found["port"]
    found["loop"].call_soon_threadsafe(found["task"].cancel)
    thread.join(30)
    assert not thread.is_alive()


async def _quietly(serving):
    try:
        await serving
    except asyncio.CancelledError:
        pass


def connect(port, **more):
    return closing(create_connection(f"ws://127.0.0.1:{port}/ws", timeout=60, **more))


def say(session, kind, **data):
    session.send(json.dumps({"type": kind, "data": data} if data else {"type": kind}))
    answer = json.loads(session.recv())
    return answer["type"], answer["data"]


def http(port, path, body=None, **headers):
    headers = {"Content-Type": "application/json"} | headers
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode()


def test_every_program_gets_the_verdict_of_a_score_also_when_many_ask_at_once(port):
    rows = [{"task_id": task, "sample": at, "completion": text} for at, (task, text) in enumerate(ASKED)]
    wanted = [row["verdict"] for row in judge_completions(PROBLEMS, rows, JUDGING)]

    def step(job):
        with connect(port) as session:
            assert say(session, "reset", task_id=job[0])[1]["done"] is False
            kind, data = say(session, "step", completion=job[1])
            assert kind == "observation" and data["done"] is True and SECRET not in json.dumps(data)
            assert data["reward"] == (data["observation"]["verdict"] == "pass")
            return data["observation"]["verdict"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(step, ASKED)) == wanted
    assert wanted.count("pass") == 3 and {"early_exit", "invalid_output", "no_code", "wrong"} <= set(wanted)


def test_an_episode_is_one_problem_and_one_step(port):
    with connect(port) as session:
        assert say(session, "state")[1]["episode_id"] is None
        assert say(session, "step", completion="x")[1]["code"] == "VALIDATION_ERROR"
        drawn = [say(session, "reset", seed=seed)[1]["observation"]["task_id"] for seed in (*range(8), 3, 5)]
        assert set(drawn) == {"double", "noon"} and drawn[8:] == [drawn[3], drawn[5]]
        kind, first = say(session, "reset", task_id="noon", episode_id="mine")
        assert first["observation"]["prompt"] == "daily at noon" and first["reward"] is None
        assert "0 12 * * *" not in json.dumps(first)
        assert say(session, "step", completion="0 12 * * *")[1]["reward"] == 1.0
        assert say(session, "state") == ("state", {"episode_id": "mine", "step_count": 1, "task_id": "noon"})
        assert "reset first" in say(session, "step", completion="0 12 * * *")[1]["message"]
        assert "did you mean 'noon'" in say(session, "reset", task_id="nooon")[1]["message"]
        for data in ({"completion": 3}, {"text": "x"}, {"completion": "x", "reward": 1}):
            assert say(session, "step", **data)[1]["code"] == "VALIDATION_ERROR"
        assert say(session, "leave")[1]["code"] == "UNKNOWN_TYPE"
        for text in ("{", "[]", '{"data": {}}'):
            session.send(text)
            assert json.loads(session.recv())["data"]["code"] == "INVALID_JSON"
        session.send('{"type": "reset", "data": 3}')
        assert json.loads(session.recv())["data"]["code"] == "VALIDATION_ERROR"
        for data in ({"self": 1, "seed": "a"}, {"task_id": ["noon"]}, {"episode_id": 3}):
            assert say(session, "reset", **data)[1]["code"] == "VALIDATION_ERROR"
        assert say(session, "step", completion="0 12 * * *", task_id="noon")[1]["reward"] == 1.0
        say(session, "reset", task_id="noon")
        judged = say(session, "step", completion="0 12 * * *", task_id=None)[1]
        assert judged["reward"] == 1.0, "null names no problem: the open one is meant"


def test_requests_without_a_session_name_their_problem(port):
    assert http(port, "/health") == (200, {"status": "healthy"})
    assert http(port, "/schema")[1]["action"]["required"] == ["completion"]
    assert {"/reset", "/step", "/state"} <= set(http(port, "/openapi.json")[1]["paths"])
    assert http(port, "/reset", {"seed": 1})[1]["done"] is False
    assert http(port, "/step", {"action": {"task_id": "noon", "completion": "0 12 * * *"}})[1]["reward"] == 1.0
    status, text = http(port, "/step", {"action": {"completion": "0 12 * * *"}})
    assert status == 422 and "name the action's task_id" in text
    assert http(port, "/reset", {"seed": 1}, **{"Content-Type": "application/json; charset=utf-8"})[0] == 200
    assert http(port, "/step", b"{")[0] == 400 and http(port, "/mcp", {})[1]["jsonrpc"] == "2.0"


def test_pages_of_other_sites_and_large_messages_are_refused(port):
    assert http(port, "/step", {}, **{"Content-Type": "text/plain"})[0] == 415
    assert http(port, "/metadata", Host="judge.example.com")[0] == 403
    for head in ({"origin": "http://example.com"}, {"host": "judge.example.com"}):
        with pytest.raises(WebSocketBadStatusException, match="403"), connect(port, **head):
            pass
    with connect(port) as session:
        text = json.dumps({"type": "step", "data": {"completion": "x" * openenv.MOST_BYTES, "task_id": "noon"}})
        with pytest.raises((OSError, WebSocketConnectionClosedException)):
            session.send(text)
            for _ in range(3):
                assert not session.recv()
    with suppress(OSError):  # the connection may be gone before the answer is read
        assert http(port, "/step", b"x" * (openenv.MOST_BYTES + 1))[0] == 400
    with pytest.raises(InputProblem, match="choose another"):
        asyncio.run(openenv.serve_judge(PROBLEMS, JUDGING, port, None))


def test_a_fault_of_the_machine_is_an_error_and_no_reward(port, monkeypatch):
    from tunebook.execution import isolation, runner

    isolation.probe()  # what it finds is kept for the whole process
    monkeypatch.setattr(runner.sys, "executable", "/bin/false")
    with connect(port) as session:
        kind, data = say(session, "step", completion=PASS["right"], task_id="double")
    assert (kind, data["code"]) == ("error", "EXECUTION_ERROR") and "no score is given" in data["message"]


def test_a_benchmark_that_cannot_be_scored_is_not_served(tmp_path, capsys):
    (tmp_path / "b.jsonl").write_text(json.dumps(DOUBLE | {"test": TEST, "canonical_solution": "    return 0\n"}))
    assert main(["judge", "--benchmark", str(tmp_path / "b.jsonl"), "--port", "0", "--allow-unisolated"]) == 2
    assert "the canonical solution fails its own test" in capsys.readouterr().err


def test_openenvs_own_client_and_validator_take_it(port):
    """Where the package openenv is installed; the kit does not need it."""
    client = pytest.importorskip("openenv.core.generic_client")
    from openenv.cli._validation import validate_running_environment

    with client.GenericEnvClient(base_url=f"http://127.0.0.1:{port}").sync() as session:
        assert session.reset(task_id="noon").observation["prompt"] == "daily at noon"
        result = session.step({"completion": "0 12 * * *"})
        assert (result.reward, result.done) == (1.0, True) and session.state()["step_count"] == 1
    report = validate_running_environment(f"http://127.0.0.1:{port}")
    assert report["passed"] and report["mode"] == "simulation"
