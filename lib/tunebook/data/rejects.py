"""rejects.jsonl: every row that was removed, with the reason. Does not decide what is removed."""

from pathlib import Path

from tunebook.data.secrets import redact_record
from tunebook.pipeline.files import write_jsonl


def write_rejects(path: Path, rejects: list[dict]) -> None:
    """Write the rejects (see `notes.reject`) in the order of their rows, secrets and personal data masked."""
    ordered = sorted(rejects, key=lambda item: (item["row"] if item["row"] is not None else -1, item["check"]))
    write_jsonl(path, [redact_record(item) for item in ordered])
