"""A hosted model is asked within its budget, and no answer is paid for twice."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from tunebook.decision.economics import Prices
from tunebook.decision.ladder import Ladder, climb, rung_cost
from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation import hosted as room
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.hosted import Hosted, ask_hosted
from tunebook.evaluation.protocol import Asking, Protocol

PROBLEMS = [
    {"task_id": f"t/{at}", "prompt": f"say {at}", "entry_point": "answer", "canonical_solution": str(at),
     "test": f"def check(answer):\n    assert answer.strip() == '{at}'\n", "kind": "answer"}
    for at in range(10)
]  # fmt: skip


class Server(BaseHTTPRequestHandler):
    """Answers as llama.cpp's and vLLM's servers do; `script` may put a status in front."""

    asked, script, wants_newer_name, said = [], [], False, staticmethod(lambda text: text)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if Server.script:
            status, headers, text = Server.script.pop(0)
            return self.reply(status, text.encode(), headers)
        if Server.wants_newer_name and "max_tokens" in body:
            text = '{"error": {"message": "Unsupported parameter: use \'max_completion_tokens\' instead."}}'
            return self.reply(400, text.encode())
        Server.asked.append((self.path, self.headers.get("authorization"), body))
        text = body["messages"][-1]["content"].split()[-1]
        message = {"role": "assistant", "content": Server.said(text), "reasoning_content": "let me think"}
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        reply = {"model": "served-7b", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        self.reply(200, json.dumps(reply).encode())

    def reply(self, status, text, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    Server.asked, Server.script, Server.wants_newer_name = [], [], False
    monkeypatch.setattr(room.time, "sleep", lambda _: None)
    monkeypatch.delenv(room.KEY, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def ask(server, folder):
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    return ask_hosted(server, bench, Protocol(bench.sha256, max_new_tokens=8), kept=folder)


def test_answers_come_with_the_servers_own_counts_and_are_never_asked_for_twice(url, tmp_path, monkeypatch):
    monkeypatch.setenv(room.KEY, "secret-key")
    rows = ask(Hosted(url, "m"), tmp_path)
    assert [row["completion"] for row in rows] == [str(at) for at in range(10)]
    assert {(row["input_tokens"], row["n_tokens"], row["model"]) for row in rows} == {(20, 5, "served-7b")}
    assert {(path, key) for path, key, _ in Server.asked} == {("/v1/chat/completions", "Bearer secret-key")}
    assert ask(Hosted(url, "m"), tmp_path) == rows and len(Server.asked) == 10
    assert b"secret-key" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    ask(Hosted(url, "another"), tmp_path)
    assert len(Server.asked) == 20  # another model's answers are others


def test_a_key_from_a_file_has_no_end_of_line_and_is_never_quoted(url, tmp_path, monkeypatch):
    monkeypatch.setenv(room.KEY, "secret-key\n")
    ask(Hosted(url, "m"), tmp_path)
    assert {key for _, key, _ in Server.asked} == {"Bearer secret-key"}
    monkeypatch.setenv(room.KEY, "s\u00e9cret")
    with pytest.raises(InputProblem, match="TUNEBOOK_HOSTED_KEY: the key holds") as found:
        ask(Hosted(url, "m"), tmp_path)
    assert "cret" not in str(found.value)


def test_the_same_request_among_others_is_not_paid_again_and_the_budget_is_for_all(url, tmp_path):
    few, all_of = (from_problems("task", [dict(problem) for problem in part]) for part in (PROBLEMS[:4], PROBLEMS))
    server = Hosted(url, "m", budget=250.0, price_input=1e6, price_output=2e6)
    ask_hosted(replace(server, budget=1e6), few, Protocol(few.sha256, max_new_tokens=8), kept=tmp_path)
    with pytest.raises(InputProblem, match="4 answers have cost 120 of 250"):
        ask(server, tmp_path)
    assert len(Server.asked) == 4
    rows = ask(replace(server, budget=1e6), tmp_path)
    assert [row["task_id"] for row in rows] == all_of.task_ids() and len(Server.asked) == 10


def test_an_answer_in_parts_is_its_text(url, tmp_path, monkeypatch):
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
    monkeypatch.setattr(Server, "said", lambda text: parts)
    assert {row["completion"] for row in ask(Hosted(url, "m"), tmp_path)} == {"42"}


def test_several_greedy_answers_are_refused_before_they_cost(url, tmp_path):
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    with pytest.raises(InputProblem, match="4 greedy completions would be the same text"):
        ask_hosted(Hosted(url, "m"), bench, Protocol(bench.sha256, n_samples=4, temperature=0.0), kept=tmp_path)
    assert not Server.asked


def test_the_budget_is_never_passed_and_what_was_paid_for_is_kept(url, tmp_path):
    """An answer costs 20 x 1 + 5 x 2 = 30 units here; the next four may cost up to their bytes and 8 tokens each."""
    prices = {"price_input": 1e6, "price_output": 2e6}
    with pytest.raises(InputProblem, match=r"hosted_budget: 4 answers have cost 120 of 300"):
        ask(Hosted(url, "m", budget=300.0, **prices), tmp_path)
    before = len(Server.asked)
    assert 0 < before < 10
    assert len(ask(Hosted(url, "m", budget=1e9, **prices), tmp_path)) == 10
    assert len(Server.asked) == 10


def test_a_busy_server_is_asked_again_and_a_silent_one_ends_in_one_sentence(url, tmp_path):
    Server.script = [(429, [("retry-after", "2")], "slow down"), (503, [], "busy")]
    assert len(ask(Hosted(url, "m"), tmp_path)) == 10
    Server.script = [(500, [], "broken")] * 40
    with pytest.raises(MachineProblem, match="did not answer in 5 tries .500: broken.*kept"):
        ask(Hosted(url, "other"), tmp_path)
    with pytest.raises(MachineProblem, match="ConnectError"):
        ask(Hosted("http://127.0.0.1:9/v1", "m"), tmp_path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ((401, [], '{"error": "bad key"}'), "environment variable TUNEBOOK_HOSTED_KEY"),
        ((404, [], "no model m"), "hosted_model"),
        ((200, [], '{"choices": []}'), "does not answer in the form of chat completions"),
        ((200, [], "<html>welcome</html>"), "does not answer in the form of chat completions"),
    ],
)
def test_a_refusal_says_what_to_change(url, tmp_path, script, words):
    Server.script = [script] * 4
    with pytest.raises(InputProblem, match=words):
        ask(Hosted(url, "m"), tmp_path)


def test_a_server_that_knows_only_the_newer_name_of_the_limit_is_asked_by_it(url, tmp_path):
    Server.wants_newer_name = True
    assert len(ask(Hosted(url, "m", max_tokens=99), tmp_path)) == 10
    assert all(body["max_completion_tokens"] == 99 and "max_tokens" not in body for _, _, body in Server.asked)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "api.example.org/v1"}, "as https://host/v1"),
        ({"url": "https://me:secret@host/v1"}, "environment variable"),
        ({"url": "https://host/v1", "model": ""}, "hosted_model"),
        ({"url": "https://host/v1"}, "hosted_budget"),
        ({"url": "https://host/v1", "budget": 1.0}, "price_hosted_input"),
    ],
)
def test_an_address_without_a_limit_is_refused_before_anything_is_sent(given, words):
    with pytest.raises(InputProblem, match=words) as problem:
        Hosted(**{"model": "m", **given}).check()
    assert "secret" not in str(problem.value)


def test_a_key_is_not_sent_in_the_clear(monkeypatch):
    monkeypatch.setenv(room.KEY, "k")
    with pytest.raises(InputProblem, match="in the clear"):
        Hosted("http://host.example/v1", "m", budget=1.0, price_input=1.0).check()


def test_the_rung_of_a_server_is_judged_like_every_other_and_its_calls_are_kept(url, tmp_path):
    context = SimpleNamespace(folder=tmp_path / "00", run_folder=tmp_path, progress=None, answers_folder=None)
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    ladder = Ladder([], hosted=Hosted(url, "m"), target_score=60.0)
    asking = Asking(instruction="Repeat the number.", allow_unisolated=True)
    rungs, calls = climb(ladder, SimpleNamespace(tokenizer=None), bench, [], asking, context)
    assert [(rung["rung"], rung["k"], rung["meets_spec"]) for rung in rungs] == [("hosted", 10, True)]
    assert {body["messages"][0]["content"].splitlines()[0] for _, _, body in Server.asked} == {"Repeat the number."}
    prices = Prices("s", "2026-11-25", price_hosted_input=5.0, price_hosted_output=10.0)
    assert rung_cost("hosted", calls["hosted"], prices)["money_per_1000_calls"] == pytest.approx(0.15)
    asked = json.loads((tmp_path / "00/ladder/hosted/score/protocol.json").read_text())
    assert (asked["thinking"], asked["chat_template_sha256"]) == ("unknown", "unknown")  # the server's own affair
    kept = [json.loads(line) for line in (tmp_path / "00/ladder/hosted/calls.jsonl").read_text().splitlines()]
    assert {(call["input_tokens"], call["output_tokens"]) for call in kept} == {(20, 5)}


def test_a_server_and_a_file_of_answers_are_not_both_the_hosted_model(url):
    with pytest.raises(InputProblem, match="both name a hosted model"):
        Ladder([], hosted=Hosted(url, "m"), hosted_completions="h.jsonl").wanted(True, 0)


def test_the_rung_without_a_model_answers_as_the_nearest_row_and_is_judged_like_every_other(tmp_path):
    context = SimpleNamespace(folder=tmp_path / "00", run_folder=tmp_path, progress=None, answers_folder=None)
    bench = from_problems("task", [dict(problem) for problem in PROBLEMS])
    rows = [_row(problem["prompt"] + " please", problem["canonical_solution"]) for problem in PROBLEMS]
    rows[0]["completion"][0]["content"] = "something else"
    rungs, calls = climb(
        Ladder(["nearest"], target_score=101.0), None, bench, rows, Asking(allow_unisolated=True), context
    )
    assert [(rung["rung"], rung["k"], rung["n"]) for rung in rungs] == [("nearest", len(PROBLEMS) - 1, len(PROBLEMS))]
    assert (
        rung_cost("nearest", calls["nearest"], Prices("s", "2026-11-25", price_machine_hour=1.0))["output_tokens"] == 0
    )
    with pytest.raises(InputProblem, match="nearest needs training rows"):
        Ladder(["nearest"]).wanted(True, 0)


def _row(prompt: str, answer: str) -> dict:
    turn = {"role": "user", "content": prompt}
    return {"prompt": [turn], "completion": [{"role": "assistant", "content": answer}]}
