"""Whether a GGUF file speaks the same tokens as the model that was scored: template, token ids, end of turn.

Does not score (the benchmark does that) and does not repair a file.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from tunebook.evaluation.measure import measure
from tunebook.models.gguf_engine import GgufModel

PROBES = (
    "0 9 * * 1-5",
    "  two  spaces,\ttab\nnewline\n\n",
    "naïve café — “quotes” … 日本語 العربية עברית",
    "emoji 👩‍💻🚀 e\u0301 zero\u200bwidth",
    "def f(x):\n    return x ** 2  # 3.14e-10",
    "12345678901234567890 1,000,000.00",
    "<|im_end|> typed inside content",
    unicodedata.normalize("NFD", "Åström Ünïcödé"),
)


def compare_tokens(tokenizer, gguf_model, conversations: list[list[dict]]) -> dict:
    """Renders every conversation in both engines and compares text and token ids.

    `conversations` are lists of messages; the probe strings are added as user turns, with and without a system turn. Returns
    `n`, `same_text`, `same_ids`, and `first_difference` (text up to 200 characters) or "".
    """
    extra = [[{"role": "user", "content": text}] for text in PROBES]
    extra += [[{"role": "system", "content": "Answer briefly."}, *turns] for turns in extra[:3]]
    extra += [[*extra[0], {"role": "assistant", "content": "ok"}, *extra[1]]]
    same_text = same_ids = 0
    first = ""
    everything = conversations + extra
    for messages in everything:
        ours = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(ours, add_special_tokens=False)["input_ids"]
        theirs = gguf_model.tokenizer.render(messages)
        is_same_text, is_same_ids = ours == theirs, list(ids) == gguf_model.tokenizer.encode_text(theirs)
        same_text += is_same_text
        same_ids += is_same_ids
        if not (is_same_text and is_same_ids) and not first:
            first = f"transformers {ours!r} / llama.cpp {theirs!r}"[:200]
    return {"n": len(everything), "same_text": same_text, "same_ids": same_ids, "first_difference": first}


def score_types(files: dict[str, Path], problems, context, max_new_tokens: int) -> list[dict]:
    """Scores every file on `problems` through llama.cpp: rows of `type, bytes, k, n, pass_at_1, low, high`, scores in points."""
    rows = []
    for at, (kind, path) in enumerate(files.items()):
        context.progress(at, len(files), f"dev score of {kind}")
        engine = GgufModel(path)
        folder = context.folder / "dev" / kind
        found = measure(engine, problems, folder, context, max_new_tokens=max_new_tokens)["metrics"]
        engine.close()
        low, high = (100 * end for end in found["interval"])
        row = {"type": kind, "bytes": path.stat().st_size, "k": found["k"], "n": found["n"]}
        rows.append({**row, "pass_at_1": 100 * found["pass_at_1"], "low": low, "high": high})
    return rows


def smallest_that_holds(scores: list[dict], margin_points: float) -> dict:
    """The smallest file whose dev score is within `margin_points` of the f16 file's: rows of `type, bytes, k, n`.

    A row's `why` says how far it is from f16. With no f16 row the best score stands in for it.
    """
    reference = next((row for row in scores if row["type"] == "f16"), max(scores, key=lambda row: row["k"] / row["n"]))
    bar = 100 * reference["k"] / reference["n"] - margin_points
    for row in scores:
        points = 100 * row["k"] / row["n"]
        row["holds"] = points >= bar
        row["why"] = f"{points:.1f} points on dev, needs {bar:.1f} ({reference['type']} less {margin_points:g})"
    return min((row for row in scores if row["holds"]), key=lambda row: row["bytes"])
