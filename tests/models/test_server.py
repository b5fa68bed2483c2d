"""A model behind the kit's own loopback server gives the answers that it gives without one, and counts their tokens."""

import threading

import httpx
import pytest

from tiny_models import tiny_llama, tokenizer
from tunebook.errors import MachineProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.hosted import Hosted, ask_hosted
from tunebook.evaluation.protocol import Protocol
from tunebook.models.engine import Decoding, TransformersEngine
from tunebook.models.server import make_server


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_llama(), tokenizer(), slots=1)


@pytest.fixture(scope="module")
def url(engine):
    with make_server(engine, "tiny") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_the_hosted_rung_gets_the_models_own_answers(engine, url, tmp_path):
    row = {"entry_point": "check", "canonical_solution": "x", "test": "def check(a): pass", "kind": "answer"}
    problems = from_problems("task", [{**row, "task_id": str(at), "prompt": f"say {at}"} for at in range(5)])
    rows = ask_hosted(Hosted(url, "tiny"), problems, Protocol(problems.sha256, max_new_tokens=6), (), tmp_path)
    prompts = [engine.encode([{"role": "user", "content": problem["prompt"]}]) for problem in problems.problems]
    found = {done.index: done for done in engine.generate(prompts, Decoding(6))}
    assert [row["completion"] for row in rows] == [engine.decode(found[at].ids) for at in range(5)]
    counts = [(row["input_tokens"], row["n_tokens"], row["finish_reason"], row["model"]) for row in rows]
    assert counts == [
        (len(prompt), len(found[at].ids), found[at].finish_reason, "tiny") for at, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/chat/completions", {"messages": []}, "messages must be"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "a"}], "stream": True}, "stream"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": "many"}, "number"),
        ("/chat/completions", [1], "messages must be"),
        ("/models", {"messages": [{"role": "user", "content": "a"}]}, "there is only /v1/chat/completions"),
    ],
)
def test_a_request_that_cannot_be_served_gets_a_sentence(url, path, body, words):
    reply = httpx.post(url + path, json=body, trust_env=False)
    assert reply.status_code == 400 and words in reply.json()["error"]["message"]


def test_an_answer_ends_before_a_stop_string(engine, url):
    asked = {"messages": [{"role": "user", "content": "say a word"}], "max_tokens": 8}
    whole = httpx.post(url + "/chat/completions", json=asked, trust_env=False).json()["choices"][0]["message"][
        "content"
    ]
    stop = whole[len(whole) // 2 :][:3]
    cut = httpx.post(url + "/chat/completions", json=asked | {"stop": stop}, trust_env=False).json()["choices"][0]
    assert cut["message"]["content"] == whole[: whole.find(stop)] and cut["finish_reason"] == "stop"


def test_a_port_that_is_taken_is_said_in_a_sentence(engine):
    with make_server(engine, "tiny") as server, pytest.raises(MachineProblem, match="choose another --port"):
        make_server(engine, "tiny", server.server_port)
