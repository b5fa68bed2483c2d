"""One line for every run, failed and negative ones too, and how often each test split was opened.

Recorded runs (`ref-*`) are lines of outputs/ledger.jsonl, which is committed; all others are lines of
ledger.local.jsonl beside it, so that no run changes the checkout. Lines are appended, never changed. A line holds no
path and no message of an error. Does not judge.
"""

import fcntl
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from tunebook.errors import InputProblem

NAME, LOCAL = "ledger.jsonl", "ledger.local.jsonl"
RECORDED = "ref-"
SCHEMA = "tunebook-ledger/1"
# Stages that show test problems to a model.
OPENING = ("should_we_fine_tune", "evaluate_pass_at_1")


def append(outputs: Path, entry: dict) -> dict:
    """Add one line in a single write under a lock, so that concurrent runs never mix their lines; returns it with
    schema and time.

    A torn line that a killed process left is closed first, so that it costs itself alone.
    """
    path = _path(outputs, NAME if str(entry.get("run", "")).startswith(RECORDED) else LOCAL)
    entry = {"schema": SCHEMA, "at": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
    line = json.dumps(entry, sort_keys=True, allow_nan=False).encode("ascii") + b"\n"
    outputs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return entry


def note_by_hand(outputs: Path, manifest: dict) -> None:
    """A stage by hand that opened a test split, or gave a verdict, is a line of its own."""
    opened, verdict = opened_by(manifest), manifest["metrics"].get("verdict", "")
    if opened or verdict:
        about = {key: manifest["environment"][key] for key in ("commit", "dirty")} | {
            "run": manifest["run"],
            "study": "by hand",
        }
        ended = {"ended": "complete", "ran": [f"{manifest['stage']} {manifest['status']}"], "opened": opened}
        append(outputs, {**about, **ended, "verdict": verdict, "seconds": manifest["timing"]["seconds"]})


def read_ledger(outputs: Path) -> tuple[list[dict], int]:
    """All lines that are ledger entries, recorded and local, oldest first, and the number of lines that are not
    (torn, or of another version).
    """
    paths = [path for path in (_path(outputs, NAME), _path(outputs, LOCAL)) if path.is_file()]
    entries, torn = [], 0
    for line in b"\n".join(path.read_bytes() for path in paths).split(b"\n"):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and entry.get("schema") == SCHEMA and _is_whole(entry):
            entries.append(entry)
        else:
            torn += 1
    return sorted(entries, key=lambda entry: entry["at"]), torn


def _path(outputs: Path, name: str) -> Path:
    """Where this file of the ledger is or will be; InputProblem where something else has its name."""
    path = outputs / name
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise InputProblem(f"{path} is {kind}, the ledger is a file of JSON lines: move it away")
    return path


def _is_whole(entry: dict) -> bool:
    """Whether every field that is read has its type."""
    texts = [entry.get("at"), *(entry.get(key, "") for key in ("run", "study", "ended", "verdict", "commit"))]
    opened = entry.get("opened", [])
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(entry.get("ran", []), list)
        and isinstance(opened, list)
        and all(isinstance(one, dict) and isinstance(one.get("sha256"), str) and "benchmark" in one for one in opened)
    )


def opened_by(manifest: dict) -> list[dict]:
    """The benchmarks that a finished stage showed to its model: `stage, benchmark, sha256`; [] for stages that show
    none.
    """
    if manifest["kind"] not in OPENING:
        return []
    scores = list(manifest["metrics"].get("scores", {}).items()) if "scores" in manifest["metrics"] else []
    if manifest["params"].get("split") == "dev":  # no test split: every choice may be made on it
        scores = [(name, found) for name, found in scores if name != "task"]
    rungs = [(rung.get("benchmark", ""), rung) for rung in manifest["metrics"].get("rungs", [])]
    return [
        {"stage": manifest["stage"], "benchmark": name, "sha256": found["benchmark_sha256"]}
        for name, found in scores + rungs
        if found.get("benchmark_sha256")
    ]


def times_opened(entries: list[dict]) -> Counter:
    """How many lines opened each split, by its hash: a study that scores four models on one split counts once a run."""
    return Counter(sha for entry in entries for sha in {found["sha256"] for found in entry.get("opened", [])})


def ledger_rows(entries: list[dict]) -> list[dict]:
    """Rows for `tunebook ledger`: one a line, newest last."""
    return [
        {
            "at": entry["at"],
            "run": entry.get("run", ""),
            "study": entry.get("study", ""),
            "ended": entry.get("ended", ""),
            "verdict": entry.get("verdict", "") or "none",
            "commit": entry.get("commit", "")[:12] + ("+" if entry.get("dirty") else ""),
            "stages_run": len(entry.get("ran", [])),
        }
        for entry in entries
    ]


def splits(entries: list[dict]) -> list[dict]:
    """Rows for `tunebook ledger`: every test split with the number of runs that opened it."""
    names: dict[str, set] = {}
    for entry in entries:
        for found in entry.get("opened", []):
            names.setdefault(found["sha256"], set()).add(f"{entry.get('study', '')}: {found['benchmark']}")
    return [
        {"split": sha[:12], "runs": count, "what": ", ".join(sorted(names[sha]))}
        for sha, count in times_opened(entries).most_common()
    ]
