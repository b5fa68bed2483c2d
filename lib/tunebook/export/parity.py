"""Whether a GGUF file is the model that was scored: its tokens, its template, its ends, its distributions.

Everything is compared with the transformers model. Does not score (see `choice`) and does not repair a file.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy

from tunebook.evaluation import prompts
from tunebook.models.corpus import strings
from tunebook.models.engine import log_softmax
from tunebook.models.templates import TemplateRefuses, apply_template, encode_row, ends_of

N_STRINGS = 2000
# nats: float16 against the computing precision of the trained model stays far below, a wrong tensor far above
SAME_KL = 0.02
PROBES = (
    "0 9 * * 1-5",
    "  two  spaces,\ttab\n",
    "<|im_end|> typed inside content",
    "naïve “quotes” 日本語 עברית 👩‍💻",
)


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows as token ids; `starts` are the positions of the last prompt tokens, from where distributions are
    compared.
    """

    ids: list[list[int]]
    starts: list[int]


def held_out(tokenizer, problems, count: int) -> HeldOutRows:
    """The first `count` problems with their canonical solutions, as training would write them."""
    ids, starts = [], []
    for problem in problems.problems[:count]:
        row, mask = encode_row(
            tokenizer, prompts.messages(problem), [{"role": "assistant", "content": problem["canonical_solution"]}]
        )
        ids.append(row)
        starts.append(len(row) - sum(mask) - 1)
    return HeldOutRows(ids, starts)


def log_probabilities(model, rows: HeldOutRows) -> list[numpy.ndarray]:
    """What a transformers model expects after each token from the start on: float32 (positions, vocabulary), nats."""
    import torch

    found = []
    with torch.inference_mode():
        for ids, start in zip(rows.ids, rows.starts, strict=True):
            logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, start:-1]
            found.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
    return found


def gguf_log_probabilities(engine, rows: HeldOutRows):
    """The same of a GGUF file, one row after the other."""
    for ids, start in zip(rows.ids, rows.starts, strict=True):
        yield log_softmax(engine.read_logits(ids[:-1], start))


def divergence(expected: list[numpy.ndarray], found) -> dict:
    """KL(expected || found) over all positions: `kl_mean`, `kl_max` (nats), `same_top` (share), `positions`.

    Source: Kullback and Leibler 1951. Columns that only one side has (padding of the vocabulary) are left out.
    """
    distances, same, count = [], 0, 0
    for ours, theirs in zip(expected, found, strict=True):
        width = min(ours.shape[1], theirs.shape[1])
        ours, theirs = ours[:, :width], theirs[:, :width]
        distances.append((numpy.exp(ours) * (ours - theirs)).sum(axis=1))
        same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        count += len(ours)
    joined = numpy.maximum(numpy.concatenate(distances), 0.0)
    return {
        "kl_mean": float(joined.mean()),
        "kl_max": float(joined.max()),
        "same_top": same / count,
        "positions": count,
    }


def compare_strings(tokenizer, theirs, seed: int, count: int = N_STRINGS) -> dict:
    """Token ids of a made-up corpus in both tokenizers: `n`, `same`, `uncomposed`, `promoted`, `first_difference`.

    llama.cpp does not compose characters, as a tokenizer with the normaliser NFC does, and it reads a word of the
    vocabulary that looks like a control token as one (</s> in Qwen's). Strings that differ by that alone are counted in
    `uncomposed` and `promoted`, and as the same. Source: control-looking tokens in llama.cpp's llama-vocab.cpp.
    """
    found = {"n": count, "same": 0, "uncomposed": 0, "promoted": 0, "first_difference": ""}
    for text in strings(seed, count):
        ours, ids = list(tokenizer(text, add_special_tokens=False)["input_ids"]), theirs.tokenize(text)
        composed = unicodedata.normalize("NFC", text)
        is_uncomposed = ours != ids and composed != text and ours == theirs.tokenize(composed)
        is_promoted = ours != ids and not is_uncomposed and _with_promoted(tokenizer, theirs, text, ids) == ids
        found["uncomposed"] += is_uncomposed
        found["promoted"] += is_promoted
        found["same"] += ours == ids or is_uncomposed or is_promoted
        if ours != ids and not is_uncomposed and not is_promoted and not found["first_difference"]:
            found["first_difference"] = f"{text[:60]!r}: {ours[:12]} / {ids[:12]}"
    return found


def _with_promoted(tokenizer, theirs, text: str, ids: list[int]) -> list[int]:
    """Our ids of the text, cut at the words that llama.cpp takes for control tokens and our tokenizer does not."""
    known = tokenizer.get_added_vocab()
    words = {theirs.piece(token): token for token in ids if theirs.is_control(token)}
    words = {word: token for word, token in words.items() if word and word not in known}
    if not words:
        return []
    found = []
    for part in re.split(f"({'|'.join(map(re.escape, words))})", text):
        found += [words[part]] if part in words else tokenizer(part, add_special_tokens=False)["input_ids"]
    return found


def compare_templates(tokenizer, theirs, conversations: list[list[dict]]) -> dict:
    """Conversations rendered in both engines, with and without a system turn and over several turns; tools are absent.

    `n`, `same_text`, `same_ids` (BOS included, as a server feeds them), `refused` (by both, which is the same),
    `first_difference`, `doubled_bos`.
    """
    probes = [[{"role": "user", "content": text}] for text in PROBES]
    system, answer = {"role": "system", "content": "Answer briefly."}, {"role": "assistant", "content": "ok"}
    everything = conversations + probes + [[system, *turns] for turns in probes]
    everything += [[*turns, answer, *probes[0]] for turns in probes] + [[system, *probes[1], answer, *probes[0]]]
    everything += [[*probes[0], *probes[1]]]  # two questions in a row, which many templates refuse
    found = {
        "n": len(everything),
        "same_text": 0,
        "same_ids": 0,
        "refused": 0,
        "doubled_bos": 0,
        "first_difference": "",
    }
    for messages in everything:
        ours, text = _rendered(tokenizer, messages), _rendered(theirs, messages)
        ids = list(tokenizer(ours, add_special_tokens=False)["input_ids"]) if ours is not None else []
        fed = theirs.encode_text(text) if text is not None else []
        found["refused"] += ours is None and text is None
        found["same_text"] += ours == text
        found["same_ids"] += ids == fed
        found["doubled_bos"] += fed[:2] == [theirs.bos_token_id] * 2
        if (ours != text or ids != fed) and not found["first_difference"]:
            found["first_difference"] = f"transformers {ours!r} {ids[:4]} / llama.cpp {text!r} {fed[:4]}"[:300]
    return found


def _rendered(tokenizer, messages: list[dict]) -> str | None:
    """The prompt as text, None where the template refuses it."""
    try:
        return apply_template(tokenizer, messages, tokenize=False, add_generation_prompt=True)
    except TemplateRefuses:
        return None


def export_checks(
    tokenizer, engine, conversations, seed: int, rows: HeldOutRows, trained: list, base: list
) -> list[dict]:
    """The checks of an f16 file, each with `name, measured, rule, ok`: which one fails says what is wrong with the
    file.

    `trained` and `base` are the log-probabilities of the model that was scored and of the one that it began as.
    """
    theirs = engine.tokenizer
    corpus, template = compare_strings(tokenizer, theirs, seed), compare_templates(tokenizer, theirs, conversations)
    file = list(gguf_log_probabilities(engine, rows))
    to_trained, to_base, moved = divergence(trained, file), divergence(base, file), divergence(base, trained)
    ends = [sorted(map(theirs.piece, one)) for one in (ends_of(tokenizer), engine.stops)]
    is_base = to_base["kl_mean"] < SAME_KL < moved["kl_mean"]
    shown = f"{to_trained['kl_mean']:.5f} nats from the trained model, {to_base['kl_mean']:.5f} from the base"
    refused = f", {template['refused']} refused by both" if template["refused"] else ""
    uncomposed = (
        f"{corpus['uncomposed']}/{corpus['n']} strings are read otherwise unless their characters are composed (NFC)"
    )
    promoted = f"{corpus['promoted']}/{corpus['n']} strings hold a word that llama.cpp alone reads as a control token"
    return [
        _row("same_token_ids", f"{corpus['same']}/{corpus['n']} {corpus['first_difference']}", "all equal",
        corpus["same"] == corpus["n"]),
        _row("uncomposed_text", uncomposed, "reported", True) | {"severity": "info"},
        _row("promoted_words", promoted, "reported", True) | {"severity": "info"},
        _row("same_rendered_text", f"{template['same_text']}/{template['n']}{refused} {_diff(template)}", "all equal",
        template["same_text"] == template["n"]),
        _row("same_prompt_ids", f"{template['same_ids']}/{template['n']}", "all equal, BOS included",
        template["same_ids"] == template["n"]),
        _row("doubled_bos", template["doubled_bos"], "0", template["doubled_bos"] == 0),
        _row("same_ends", f"stops at {', '.join(ends[1])}", f"at {', '.join(ends[0])}, as in training",
        ends[0] == ends[1]),
        _row("adapter_is_in_the_file", shown, "not the base model", not is_base),
        _row("same_distributions", round(to_trained["kl_mean"], 5), f"mean KL below {SAME_KL} nats",
        to_trained["kl_mean"] < SAME_KL),
    ]  # fmt: skip


def _diff(template: dict) -> str:
    return template["first_difference"] if template["same_text"] < template["n"] else ""


def _row(name: str, measured, rule: str, ok: bool) -> dict:
    return {"name": name, "measured": measured, "rule": rule, "ok": bool(ok)}


def agreement(ours: list[dict], theirs: list[dict], tokenizer) -> dict:
    """How often two models' greedy answers are equal: `same_text` (share) and `first_differing_token`, the median over
    the others.

    Both are rows of completions in one order.
    """
    places = []
    for a, b in zip(ours, theirs, strict=True):
        if a["completion"] != b["completion"]:
            sides = [list(tokenizer(one["completion"], add_special_tokens=False)["input_ids"]) for one in (a, b)]
            places.append(next((at for at, pair in enumerate(zip(*sides)) if pair[0] != pair[1]), min(map(len, sides))))
    median = float(numpy.median(places)) if places else None
    return {"same_text": 1 - len(places) / len(ours), "first_differing_token": median}
