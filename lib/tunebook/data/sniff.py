"""What a file really is, seen from its first bytes. Does not read rows."""

import json
import re

MAGIC = ((b"PAR1", "parquet"), (b"PK\x03\x04", "zip"), (b"%PDF", "pdf"), (b"ARROW1", "arrow"), (b"SQLite", "sqlite"))
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROL = bytes(set(range(32)) - {8, 9, 10, 12, 13, 27})
LFS_POINTER = (b"version https://git-lfs", "only the pointer of Git LFS (`git lfs pull` fetches the file)")
MAGIC += (LFS_POINTER,)
NOT_ROWS = (LFS_POINTER[1], "zip", "pdf", "arrow", "sqlite", "html", "binary")
MAX_CONTROL_SHARE = 0.2  # of the first bytes: more is no text; a hole of zero bytes in a text file stays below


def encoding_of(head: bytes) -> str:
    """The encoding by its byte order mark, or by the zero bytes between Latin letters; "utf-8" otherwise."""
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    head = head[: len(head) // 2 * 2]
    if len(head.translate(None, _CONTROL)) < 0.4 * len(head):
        return "utf-8"
    zeros = head[1::2].count(0), head[::2].count(0)
    for number, encoding in enumerate(("utf-16-le", "utf-16-be")):
        if zeros[number] > 0.3 * len(head) / 2 and zeros[1 - number] < 0.02 * len(head) / 2:
            return encoding
    return "utf-8"


def content_format(head: bytes, promised: str) -> str:
    """What the bytes are: `promised` unless they clearly are something else."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    text, encoding = head, encoding_of(head)
    if encoding != "utf-8":
        text = head[: len(head) // 4 * 4].decode(encoding, "replace").encode()
    elif len(head.translate(None, _CONTROL)) < (1 - MAX_CONTROL_SHARE) * len(head):
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
