"""What a file really is, seen from its first bytes. Does not read rows."""

import json
import re

MAGIC = ((b"PAR1", "parquet"), (b"PK\x03\x04", "zip"), (b"%PDF", "pdf"), (b"ARROW1", "arrow"), (b"SQLite", "sqlite"))
BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
NOT_ROWS = ("zip", "pdf", "arrow", "sqlite", "html", "binary")


def content_format(head: bytes, promised: str) -> str:
    """What the bytes are: `promised` unless they clearly are something else."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    text = head
    for bom, encoding in BOMS:
        if head.startswith(bom):
            text = head[: len(head) // 2 * 2].decode(encoding, "replace").encode()
            break
    else:
        if b"\x00" in head:
            return "binary"
    text = text.lstrip()
    if text[:100].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "html"
    if promised == "parquet":
        return ("jsonl" if text[:1] == b"{" else "json" if text[:1] == b"[" else "csv") if text else promised
    if promised in ("jsonl", "json"):
        if text[:1] == b"[" and text[1:2] != b"\n":
            first_line = text.split(b"\n", 1)[0]
            return "json" if promised == "json" or not _parses_as_array_line(first_line) else "jsonl"
        if text[:1] == b"[":
            return "json"
        looks_csv = text[:1].isalpha() and b"," in text.split(b"\n")[0] and b"{" not in text.split(b"\n")[0]
        return "csv" if looks_csv else promised
    return "jsonl" if re.match(rb'\{\s*"', text) else "json" if re.match(rb'\[\s*\{\s*"', text) else promised


def _parses_as_array_line(line: bytes) -> bool:
    """True when a line starting with [ is a complete JSON list of something else than objects."""
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return not any(isinstance(item, dict) for item in value)
