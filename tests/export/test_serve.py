"""One base file and its adapters behind OpenAI's chat completions: the model name chooses, limits are one sentence, and
what is in flight is finished at the end.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gguf import GGUFReader

from tiny_files import gguf, metadata
from tiny_models import CPU
from tunebook.errors import InputProblem, MachineProblem
from tunebook.evaluation.benchmark import from_problems
from tunebook.evaluation.hosted import Hosted, ask_hosted
from tunebook.evaluation.protocol import Protocol
from tunebook.export.batching import Request
from tunebook.export.planning import cells, kv_bytes, plan_memory
from tunebook.export.server import KEY, Limits, Server, served_files
from tunebook.inspection.gguf_header import read_gguf
from tunebook.models.engine import Decoding
from tunebook.models.gguf_engine import GgufModel, api
from tunebook.models.loading import load_model, merge_adapter

ASKED = [{"role": "user", "content": "every day at noon"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory, converted):
    """A run whose 05 left a base file and two adapters; the second is the first with the other sign."""
    root = tmp_path_factory.mktemp("serve") / "run"
    served = root / "05_export_gguf" / "served"
    served.mkdir(parents=True)
    (root / "run.json").write_text("{}")
    shutil.copyfile(converted / "base.gguf", served / "base-f16.gguf")
    for name in ("sft", "dpo"):
        shutil.copyfile(converted / "adapter.gguf", served / f"adapter-{name}.gguf")
    for tensor in GGUFReader(served / "adapter-dpo.gguf", "r+").tensors:
        tensor.data[:] *= -1 if tensor.name.endswith("lora_b") else 1
    return root


@pytest.fixture(scope="module")
def server(run):
    with Server(*served_files({"run": run}), ("127.0.0.1", 0), Limits(4, 32, 256, 24, 5.0)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
        assert server.finish()


def send(server, path="/v1/chat/completions", headers=(), data=None, **body):
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    data = data if data is not None else json.dumps(body).encode() if body else None
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json", **dict(headers)})
    try:
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read()


def ask(server, model, **more) -> str:
    status, body = send(server, model=model, messages=ASKED, **({"max_tokens": 8} | more))
    assert status == 200, body
    return json.loads(body)["choices"][0]["message"]["content"]


def test_each_model_name_gives_the_answer_of_its_own_adapter_also_under_mixed_traffic(server, run):
    base, adapters = served_files({"run": run})
    alone, wanted = GgufModel(base, 1, adapters=adapters), {}
    for name in ("base", "sft", "dpo"):
        alone.use_adapter("" if name == "base" else name)
        (done,) = alone.generate([alone.encode(ASKED)], Decoding(8))
        wanted[name] = alone.decode(done.ids)
    alone.close()
    assert len(set(wanted.values())) == 3
    assert {row["id"] for row in json.loads(send(server, "/v1/models")[1])["data"]} == set(wanted)
    names = [name for _ in range(6) for name in wanted]
    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(lambda name: ask(server, name), names)) == [wanted[name] for name in names]


def test_a_stream_has_the_text_of_the_whole_answer_piece_by_piece(server):
    whole = ask(server, "sft")
    status, body = send(server, model="sft", messages=ASKED, max_tokens=8, stream=True)
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    parts = [json.loads(line)["choices"][0] for line in lines[:-1]]
    assert status == 200 and lines[-1] == "[DONE]" and len(parts) > 4
    assert "".join(part["delta"].get("content", "") for part in parts) == whole
    assert [part["finish_reason"] for part in parts][-2:] == [None, "length"]


def test_samples_follow_the_seed_and_a_stop_string_ends_the_answer(server):
    drawn = [ask(server, "sft", temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    whole = ask(server, "sft")
    stop = whole[3:6]
    assert ask(server, "sft", stop=stop) == whole[: whole.index(stop)]


def test_pieces_of_a_text_never_hold_half_a_character_or_half_a_stop_string():
    request = Request(0, [1], None, stops=("END",))
    for text in ("caf\ufffd", "café E", "café EN", "café END and more"):
        request.tell(text)
    pieces = [request.pieces.get() for _ in range(request.pieces.qsize())]
    assert "".join(text for _, text in pieces) == "café " and pieces[-1] == ("stop", "")
    assert not any("\ufffd" in text or "E" in text for _, text in pieces)


@pytest.mark.parametrize(
    "status, words, body",
    [
        (404, "no model 'sfx': did you mean", {"model": "sfx", "messages": ASKED}),
        (400, "exceed 256", {"model": "sft", "messages": [{"role": "user", "content": "long " * 300}]}),
        (400, "messages is a list", {"model": "sft", "messages": "hello"}),
        (400, "the content of each turn is a text", {"model": "sft", "messages": [{"role": "user", "content": [1]}]}),
        (400, "temperature 0 to 2", {"model": "sft", "messages": ASKED, "temperature": 9}),
        (400, "cannot be read", {"model": "sft", "messages": ASKED, "max_tokens": "many"}),
        (400, "cannot be read", {"model": "sft", "messages": ASKED, "max_tokens": float("inf")}),
        (400, "stop a text", {"model": "sft", "messages": ASKED, "stop": [5]}),
        (400, "no JSON", {"data": b"{"}),
        (400, "JSON object", {"data": b"[]"}),
        (413, "at most", {"data": b"{}", "headers": {"Content-Length": "9000000"}.items()}),
        (415, "application/json", {"data": b"{}", "headers": {"Content-Type": "text/plain"}.items()}),
        (404, "there are /v1/models", {"path": "/v1/nothing", "a": 1}),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(server, status, words, body):
    found, text = send(server, **body)
    message = json.loads(text)["error"]["message"]
    assert found == status and words in message and "\n" not in message
    assert ask(server, "dpo")


def test_an_error_within_one_request_leaves_the_others_their_answers(server):
    broken = server.read({"model": "sft", "messages": ASKED})
    broken.tell = lambda *_: 1 / 0
    assert server.batcher.submit(broken)
    assert broken.pieces.get(timeout=60) == ("error", "division by zero") and ask(server, "sft")


def test_a_key_is_asked_for_where_one_is_set_and_needed_beyond_this_machine(server, run, monkeypatch):
    with pytest.raises(InputProblem, match="reached from other machines"):
        Server(*served_files({"run": run}), ("0.0.0.0", 0), Limits())
    monkeypatch.setenv(KEY, "secret")
    assert send(server, "/v1/models")[0] == 401 and send(server, "/health")[0] == 200
    assert send(server, "/v1/models", {"Authorization": "Bearer secret"}.items())[0] == 200


def test_the_kits_own_client_scores_it_as_a_hosted_model(server, tmp_path):
    row = {"entry_point": "check", "test": "def check(answer): pass", "kind": "answer", "canonical_solution": "a"}
    problems = from_problems("two", [row | {"task_id": t, "prompt": t} for t in (ASKED[0]["content"], "hourly")])
    hosted = Hosted(f"http://127.0.0.1:{server.server_address[1]}/v1", "sft")
    rows = ask_hosted(hosted, problems, Protocol(problems.sha256, max_new_tokens=8), kept=tmp_path)
    assert rows[0]["completion"] == ask(server, "sft") and rows[0]["n_tokens"] == 8 and rows[0]["model"] == "sft"
    assert rows[0]["finish_reason"] == "length" and len(rows) == 2


def test_a_client_that_goes_away_frees_its_place_and_a_full_queue_says_so(server):
    body = json.dumps({"model": "sft", "messages": ASKED, "max_tokens": 24, "stream": True})
    server.batcher.most, most = 0, server.batcher.most
    status, text = send(server, model="sft", messages=ASKED)
    server.batcher.most = most
    assert status == 503 and "busy" in json.loads(text)["error"]["message"]
    for _ in range(6):
        with socket.create_connection(server.server_address) as client:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            client.sendall(f"{head}\r\n\r\n{body}".encode())
            client.recv(10)
    assert ask(server, "dpo")
    until = time.monotonic() + 30
    while server.batcher.flight and time.monotonic() < until:
        time.sleep(0.05)
    assert not server.batcher.flight


def test_runs_of_different_bases_or_without_files_are_refused(run, tmp_path):
    with pytest.raises(InputProblem, match="has no base file to serve"):
        served_files({"other": tmp_path})
    (tmp_path / "base-f16.gguf").write_bytes(b"another")
    with pytest.raises(InputProblem, match="another base"):
        served_files({"run": run, "other": tmp_path})
    base, adapters = served_files({"run": run, "again": run})
    assert list(adapters) == ["run/dpo", "run/sft", "again/dpo", "again/sft"] and base.name == "base-f16.gguf"


def test_one_gguf_file_is_served_alone(run):
    file = run / "05_export_gguf" / "served" / "base-f16.gguf"
    assert served_files({"base-f16.gguf": file}) == (file, {})
    with pytest.raises(InputProblem, match="no base file to serve"):
        served_files({"a": run, "base-f16.gguf": file.parent.parent})


def test_at_sigterm_the_answer_in_flight_is_finished_and_the_command_ends(run):
    command = [
        sys.executable,
        "-m",
        "tunebook",
        "serve",
        str(run),
        "--port",
        "0",
        "--context",
        "256",
        "--slots",
        "2",
        "--grace",
        "60",
    ]
    lib = str(Path(__file__).parents[2] / "lib")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": lib})
    try:
        url = process.stdout.readline().split()[0]
        body = json.dumps({"model": "sft", "messages": ASKED, "max_tokens": 60, "stream": True}).encode()
        asked = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as reply:
            first = reply.readline()
            process.send_signal(signal.SIGTERM)
            rest = reply.read().decode()
        assert first.startswith(b"data: ") and '"finish_reason": "' in rest and rest.endswith("data: [DONE]\n\n")
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and "answers in flight are finished" in said and said.endswith("ended\n")
    finally:
        process.kill()


def test_memory_of_keys_and_values_is_known_before_and_as_llama_cpp_says_it(server, run):
    base, llama, lines = served_files({"run": run})[0], api(), []
    keep = llama.llama_log_callback(lambda level, text, data: lines.append(text.decode(errors="replace")))
    llama.llama_log_set(keep, None)
    try:
        engine = GgufModel(base, 3)
        engine.open_context(3, 2048)
        engine.close()
    finally:
        llama.llama_log_set(llama.quiet_log, None)
    (said,) = re.findall(r"KV buffer size = +([\d.]+) MiB", "".join(lines))
    assert cells(3, 700) == 2304 and kv_bytes(read_gguf(str(base)), 3 * 2048) == float(said) * 2**20
    assert server.plan.startswith("4 slots of 256 tokens take 0.00 GiB") and "(256 bytes a token)" in server.plan


def test_a_context_that_memory_cannot_hold_is_refused_before_it_is_taken(run, monkeypatch):
    import psutil

    files = served_files({"run": run})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: argparse.Namespace(available=100_000))
    with pytest.raises(
        MachineProblem, match="8 slots of 256 tokens take .* at most 48 tokens fit at 8 slots"
    ) as problem:
        Server(*files, ("127.0.0.1", 0), Limits(8, 8, 256))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("key", ["ssm.state_size", "attention.kv_lora_rank", "attention.shared_kv_layers"])
def test_memory_of_a_model_with_another_state_is_not_guessed(tmp_path, key):
    pairs = metadata() | {f"llama.{key}": ("u32", 1)}
    (tmp_path / "odd.gguf").write_bytes(gguf(pairs))
    assert kv_bytes(read_gguf(str(tmp_path / "odd.gguf")), 256) is None
    assert "not known" in plan_memory(tmp_path / "odd.gguf", 1, 64)


def test_heads_that_differ_between_layers_are_added_up(tmp_path):
    """As OpenELM's and other files say it; keys and values may have sizes of their own."""
    pairs = metadata() | {"llama.block_count": ("u32", 3), "llama.attention.head_count_kv": ("arr", ("u32", [1, 2, 2]))}
    pairs |= {"llama.attention.key_length": ("u32", 6), "llama.attention.value_length": ("u32", 4)}
    (tmp_path / "layers.gguf").write_bytes(gguf(pairs))
    assert kv_bytes(read_gguf(str(tmp_path / "layers.gguf")), 10) == 10 * (1 + 2 + 2) * (6 + 4) * 2


def test_an_activated_adapter_is_refused_and_never_made_a_plain_one(converted, tmp_path):
    """It acts from its invocation on; merged or converted it would act on the whole text, and nobody would see it."""
    from tunebook.export.convert import convert_adapter
    from tunebook.models.source import resolve_model

    adapter = shutil.copytree(converted / "adapter", tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"alora_invocation_tokens": [1, 2]}))
    with pytest.raises(InputProblem, match="alora_invocation_tokens"):
        convert_adapter(converted / "base", adapter, tmp_path / "adapter.gguf")
    with pytest.raises(InputProblem, match="activated LoRA"):
        merge_adapter(load_model(resolve_model(str(converted / "base")), CPU), adapter)
    assert not (tmp_path / "adapter.gguf").exists()
