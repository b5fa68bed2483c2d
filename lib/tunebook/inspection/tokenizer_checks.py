"""What the tokenizer files of a model folder say, and where they disagree with the model's config.

Meant for a child process. Reads JSON only; does not tokenise and does not render the chat template.
"""

from pathlib import Path

from tunebook.findings import Objections

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
LONGEST_FILE = 2**20  # bytes of a template
NAMES = ("bos", "eos", "unk", "pad")


def inspect_tokenizer(place: Path, jsons: dict, config: dict) -> tuple[dict, str, Objections]:
    """The summary of the tokens, the chat template as text, and the objections."""
    found, settings = Objections("fetch the tokenizer again", "tokenizer"), jsons.get("tokenizer_config.json", {})
    if not any((place / name).exists() for name in FILES):
        fix = "save the tokenizer there with tokenizer.save_pretrained"
        found.error("it has no tokenizer (tokenizer.json or tokenizer.model)", fix=fix)
    elif "tokenizer_config.json" not in jsons:
        message = "it has no tokenizer_config.json, so its special tokens and its chat template are unknown"
        found.error(message, fix="fetch that file too")
    ids = _vocabulary(jsons.get("tokenizer.json", {}), found)
    template, objection = _template(place, settings, jsons.get("chat_template.json", {}))
    special = {name: _text(settings.get(f"{name}_token")) for name in NAMES if _text(settings.get(f"{name}_token"))}
    ends = {
        source: _ids(jsons.get(source, {}).get("eos_token_id")) for source in ("config.json", "generation_config.json")
    }
    _add_ranges(ids, _needed(ids, jsons, special, template), config, ends, found)
    named = ids.get(special.get("eos", ""))
    stated = sorted({one for values in ends.values() for one in values})
    if named is not None and stated and named not in stated:
        message = f"the tokenizer ends with token {named} ({special['eos']!r}), the config says {stated}"
        fix = "make both name the token that ends a turn, else generation does not stop"
        found.warn(message, fix=fix, check="end_token")
    if objection:
        found.error(objection, fix="fetch the tokenizer again, or use chat_template: chatml", check="chat_template")
    elif not template:
        fix = "use an instruct model, or chat_template: chatml"
        found.warn("it has no chat template", fix=fix, check="chat_template")
    if not isinstance(settings.get("model_max_length", 0), (int, float)):
        shown = ascii(settings["model_max_length"])[:40]
        found.error(f"tokenizer_config.json: model_max_length is {shown}, expected a number")
    tokens = {
        "vocabulary": len(ids),
        "tokenizer": str(settings.get("tokenizer_class") or ""),
        "special": special,
        "ends": stated,
    }
    return tokens, template, found


def _vocabulary(tokenizer: dict, found: Objections) -> dict[str, int]:
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
        found.error(f"{doubled} tokens share an id with another", check="doubled_tokens", count=doubled)
    return ids


def _needed(ids: dict[str, int], jsons: dict, special: dict, template: str) -> list[str]:
    added = {entry.get("content") for entry in jsons.get("tokenizer.json", {}).get("added_tokens") or []}
    return [text for text in ids if text in special.values() or text not in added or text in template]


def _add_ranges(ids: dict[str, int], needed: list[str], config: dict, ends: dict, found: Objections) -> None:
    """Token ids that the model does not have; `needed` are those of text, of turns and of ends: the others stand for
    images.
    """
    size = config.get("vocab_size")
    if not isinstance(size, int):
        return
    past = [text for text, at in ids.items() if at >= size]
    if past:
        is_needed = not set(past).isdisjoint(needed)
        message = f"the tokenizer has token ids up to {max(ids.values())}, the model has {size} tokens"
        if is_needed:
            found.error(message, fix="use the tokenizer that belongs to the model", check="vocabulary_size")
        else:
            fix = f"never write {ascii(past[0])[:40]} into a row"
            found.add("info", message, fix=fix, check="vocabulary_size")
    for source, values in ends.items():
        wrong = [value for value in values if not 0 <= value < size]
        if wrong:
            message = f"{source}: eos_token_id {wrong[0]} is outside the vocabulary of {size}"
            found.error(message, fix="set it to the tokenizer's end token", check="special_token")


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
