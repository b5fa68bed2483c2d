"""What the tokenizer files of a model folder say, and where they disagree with the model's config.

Meant for a child process. Reads JSON only; does not tokenise and does not render the chat template.
"""

from __future__ import annotations

from pathlib import Path

from tunebook.inspection.gguf_checks import artefact_finding

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
LONGEST_FILE = 2**20  # bytes of a template
NAMES = ("bos", "eos", "unk", "pad")


def inspect_tokenizer(place: Path, jsons: dict, config: dict) -> tuple[dict, str, list[dict]]:
    """The summary of the tokens, the chat template as text, and the objections."""
    found, settings = [], jsons.get("tokenizer_config.json", {})
    if not any((place / name).exists() for name in FILES):
        fix = "save the tokenizer there with tokenizer.save_pretrained"
        found.append(
            artefact_finding("tokenizer", "error", "it has no tokenizer (tokenizer.json or tokenizer.model)", fix)
        )
    elif "tokenizer_config.json" not in jsons:
        message = "it has no tokenizer_config.json, so its special tokens and its chat template are unknown"
        found.append(artefact_finding("tokenizer", "error", message, "fetch that file too"))
    ids = _vocabulary(jsons.get("tokenizer.json", {}), found)
    template, objection = _template(place, settings, jsons.get("chat_template.json", {}))
    special = {name: _text(settings.get(f"{name}_token")) for name in NAMES if _text(settings.get(f"{name}_token"))}
    ends = {
        source: _ids(jsons.get(source, {}).get("eos_token_id")) for source in ("config.json", "generation_config.json")
    }
    found += _ranges(ids, _needed(ids, jsons, special, template), config, ends)
    named = ids.get(special.get("eos", ""))
    stated = sorted({one for values in ends.values() for one in values})
    if named is not None and stated and named not in stated:
        message = f"the tokenizer ends with token {named} ({special['eos']!r}), the config says {stated}"
        fix = "make both name the token that ends a turn, else generation does not stop"
        found.append(artefact_finding("end_token", "warn", message, fix))
    found += _template_findings(template, objection)
    if not isinstance(settings.get("model_max_length", 0), (int, float)):
        message = (
            f"tokenizer_config.json: model_max_length is {ascii(settings['model_max_length'])[:40]}, expected a number"
        )
        found.append(artefact_finding("tokenizer", "error", message, "fetch the tokenizer again"))
    tokens = {
        "vocabulary": len(ids),
        "tokenizer": str(settings.get("tokenizer_class") or ""),
        "special": special,
        "ends": stated,
    }
    return tokens, template, found


def _template_findings(template: str, objection: str) -> list[dict]:
    if objection:
        return [
            artefact_finding(
                "chat_template", "error", objection, "fetch the tokenizer again, or use chat_template: chatml"
            )
        ]
    fix = "use an instruct model, or chat_template: chatml"
    return [] if template else [artefact_finding("chat_template", "warn", "it has no chat template", fix)]


def _vocabulary(tokenizer: dict, found: list) -> dict[str, int]:
    """token -> id, added tokens included."""
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = {}
    if isinstance(vocab, dict):
        ids = {token: at for token, at in vocab.items() if isinstance(at, int)}
    elif isinstance(vocab, list):
        ids = {str(entry[0]): at for at, entry in enumerate(vocab) if isinstance(entry, list) and entry}
    for entry in tokenizer.get("added_tokens") or []:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and isinstance(entry.get("id"), int):
            ids[entry["content"]] = entry["id"]
    doubled = len(ids) - len(set(ids.values()))
    if doubled:
        message = f"{doubled} tokens share an id with another"
        found.append(artefact_finding("doubled_tokens", "error", message, "fetch the tokenizer again", doubled))
    return ids


def _needed(ids: dict[str, int], jsons: dict, special: dict, template: str) -> list[str]:
    added = {entry.get("content") for entry in jsons.get("tokenizer.json", {}).get("added_tokens") or []}
    return [text for text in ids if text in special.values() or text not in added or text in template]


def _ranges(ids: dict[str, int], needed: list[str], config: dict, ends: dict) -> list[dict]:
    """Token ids that the model does not have; `needed` are those of text, of turns and of ends: the others stand for
    images.
    """
    size, found = config.get("vocab_size"), []
    if not isinstance(size, int):
        return found
    past = [text for text, at in ids.items() if at >= size]
    if past:
        is_needed = not set(past).isdisjoint(needed)
        message = f"the tokenizer has token ids up to {max(ids.values())}, the model has {size} tokens"
        fix = (
            "use the tokenizer that belongs to the model"
            if is_needed
            else f"never write {ascii(past[0])[:40]} into a row"
        )
        found.append(artefact_finding("vocabulary_size", "error" if is_needed else "info", message, fix))
    for source, values in ends.items():
        wrong = [value for value in values if not 0 <= value < size]
        if wrong:
            message = f"{source}: eos_token_id {wrong[0]} is outside the vocabulary of {size}"
            found.append(artefact_finding("special_token", "error", message, "set it to the tokenizer's end token"))
    return found


def _ids(value) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _text(value) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _template(place: Path, settings: dict, other: dict) -> tuple[str, str]:
    """The chat template for a plain conversation, as transformers chooses it, and what is wrong with it."""
    path = place / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > LONGEST_FILE:
            return "", f"{path.name} has {path.stat().st_size} bytes; templates have a few thousand"
        try:
            return path.read_text(encoding="utf-8"), ""
        except UnicodeDecodeError as problem:
            return "", f"{path.name} is not UTF-8 text (byte {problem.start})"
    value = settings.get("chat_template") or other.get("chat_template") or ""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
    if isinstance(value, dict):
        if not isinstance(value.get("default"), str):
            return "", "none of its chat templates is called default"
        value = value["default"]
    return (value, "") if isinstance(value, str) else ("", f"its chat template is no text ({ascii(value)[:40]})")
