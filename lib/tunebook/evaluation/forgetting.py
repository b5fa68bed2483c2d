"""What a model still knows beside the task: bits per byte of general text, and its distance from base on the task's
prompts.

The text is the language reference that every CPython carries (`pydoc_data.topics`): offline, fixed topics, hashed. Does
not judge.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from tunebook.errors import MachineProblem
from tunebook.evaluation import prompts
from tunebook.evaluation.benchmark import Benchmark
from tunebook.files import hash_json, write_json
from tunebook.models.engine import Decoding
from tunebook.models.templates import start_id

BITS, NOTHING = "bits_per_byte", "nothing"  # in `gated`: general text, and that no loss decides
TOPICS = (
    "assert atom-identifiers attribute-access augassign binary booleans calls class comparisons compound"
    " context-managers customization debugger dict exceptions execmodel for formatstrings function global identifiers"
    " id-classes import integers naming numeric-types objects operator-summary power raise return sequence-types"
    " slicings specialattrs string-methods strings subscriptions try types typesmapping typesseq with"
).split()
DOCUMENT_CHARACTERS = 700
KL_PROMPTS, KL_TOKENS = 48, 16


def general_texts(n: int) -> dict[str, str]:
    """The first `n` topics as name -> text of about 700 characters without its title. MachineProblem where Python
    lacks them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise MachineProblem(
            "this Python has no pydoc_data.topics, the general text: install the complete standard library, or set"
            " general_documents to 0"
        ) from None
    names = [name for name in TOPICS if name in topics][:n]
    return {name: _start(topics[name]) for name in names}


def _start(text: str) -> str:
    """The beginning of a topic, whole words, its title and the line under it left out."""
    body = text.partition("\n\n")[2].strip() or text.strip()
    return body if len(body) <= DOCUMENT_CHARACTERS else body[:DOCUMENT_CHARACTERS].rsplit(None, 1)[0]


def measure_kept(engine, base, benchmark: Benchmark, n_documents: int, seed: int, path: Path) -> dict:
    """Writes and returns `documents` (name, bytes, bits), `texts_sha256`, and `kl` from `base` on the benchmark's
    prompts.

    `engine` is a TransformersEngine or a GgufModel. `base` is a TransformersEngine, None where the distance is not
    measured: for the base model itself and for a GGUF file. n_documents 0 measures nothing.
    """
    found = {}
    if n_documents:
        texts = general_texts(n_documents)
        documents = [
            {"name": name, "bytes": len(text.encode()), "bits": round(text_bits(engine, text), 3)}
            for name, text in texts.items()
        ]
        distance = kl_from_base(engine, base, benchmark, seed) if base else None
        found = {"documents": documents, "texts_sha256": hash_json(texts), "kl": distance}
    write_json(path, found)
    return found


def bits_per_byte(found: dict) -> float | None:
    """All bits over all bytes; None where nothing was measured."""
    documents = found.get("documents", [])
    return sum(d["bits"] for d in documents) / sum(d["bytes"] for d in documents) if documents else None


def text_bits(engine, text: str) -> float:
    """Bits that the model needs for `text`, its first token after the model's own start token."""
    import torch

    ids = list(engine.tokenizer(text, add_special_tokens=False)["input_ids"])
    whole = [start_id(engine.tokenizer), *ids]
    is_gguf = hasattr(engine, "read_logits")
    logits = torch.from_numpy(engine.read_logits(whole[:-1], 0)) if is_gguf else _logits(engine, whole)[:-1]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids, device=logits.device), reduction="sum")
    return float(nats) / math.log(2)


def kl_from_base(engine, base, benchmark: Benchmark, seed: int) -> dict:
    """Kullback-Leibler divergence KL(base || model) in nats on answers that base itself draws at temperature 1.

    Over the whole vocabulary at each token of the first KL_TOKENS of an answer, one answer for each of the first
    KL_PROMPTS prompts: `nats_per_token` and `nats_per_answer` (means), `prompts`, `tokens`.

    Source: Shenfeld, Pari and Agrawal 2025, RL's Razor: this distance on the new task predicts what is forgotten
    elsewhere.
    """
    asked = [base.encode(prompts.messages(problem)) for problem in benchmark.problems[:KL_PROMPTS]]
    return divergence(base, engine, asked, seed)


def divergence(first, second, asked: Sequence[list[int]], seed: int) -> dict:
    """KL(first || second) in nats on answers to the prompts `asked` (token ids) that the engine `first` draws at
    temperature 1, over the whole vocabulary at each of their first KL_TOKENS tokens: as `kl_from_base` says it.
    """
    decoding = Decoding(KL_TOKENS, temperature=1.0, seed=seed)
    total, tokens = 0.0, 0
    for done in first.generate(asked, decoding):
        if not done.ids:
            continue
        whole, start = asked[done.index] + done.ids, len(asked[done.index]) - 1
        ours, theirs = (_logits(one, whole)[start:-1].log_softmax(-1) for one in (first, second))
        total += float((ours.exp() * (ours - theirs)).sum())
        tokens += len(done.ids)
    return {
        "nats_per_token": round(total / tokens, 4) if tokens else None,
        "nats_per_answer": round(total / len(asked), 4),
        "prompts": len(asked),
        "tokens": tokens,
    }


def _logits(engine, ids: list[int]):
    """Float32 logits (tokens, vocabulary) of one text, with plain attention: generation may have set its own."""
    import torch

    if engine.model.config._attn_implementation != "sdpa":
        engine.model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        return (
            engine.model(input_ids=torch.tensor([ids], device=engine.model.device), use_cache=False).logits[0].float()
        )


def call_sizes(
    engine, benchmark: Benchmark, rows: list[dict], style: str, instruction: str, examples: Sequence[dict] = ()
) -> list[dict]:
    """Tokens in and out of every call, for the cost of one: `task_id, input_tokens, output_tokens`."""
    shown = examples if style == "few_shot" else ()
    asked = {p["task_id"]: prompts.messages(p, style, instruction, shown) for p in benchmark.problems}
    inputs = {task: len(engine.encode(messages)) for task, messages in asked.items()}
    return [
        {"task_id": row["task_id"], "input_tokens": inputs[row["task_id"]], "output_tokens": row["n_tokens"]}
        for row in rows
    ]
