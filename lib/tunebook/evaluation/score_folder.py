"""Read a score back: a folder that `score` wrote, or a bare scores.jsonl from anywhere. Does not judge anything."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.protocol import UNKNOWN
from tunebook.files import hash_json, read_json, read_jsonl

UNFINISHED = ("truncated", "open_thought")  # verdicts of answers that were cut at the limit, or end inside a thought
SCORES, PROTOCOL, METRICS = "scores.jsonl", "protocol.json", "metrics.json"
# What Linux takes in a name, and in a path with room for the names of temporary files.
NAME_BYTES, PATH_BYTES = 255, 4000


@dataclass(frozen=True)
class Scores:
    """`passed` maps task_id to its samples in order, `at_best` the same if every unfinished answer had come out right;
    `protocol` is empty for a bare file.
    """

    path: str
    passed: dict[str, list[bool]]
    protocol: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    at_best: dict[str, list[bool]] = field(default_factory=dict)

    def unknown(self) -> list[str]:
        """What is not known about how this score was made."""
        if not self.protocol:
            return ["protocol"]
        return sorted(key for key, value in self.protocol.items() if value == UNKNOWN)


def content_sha256(rows: list[dict]) -> str:
    """Hash of what was judged (task_id, sample, passed, verdict), without times and messages: equal on every
    machine.
    """
    return hash_json([[row["task_id"], row["sample"], row["passed"], row["verdict"]] for row in rows])


def read_scores(path: str | Path) -> Scores:
    """Scores from a folder with scores.jsonl, or from the file itself.

    InputProblem for missing files and rows that are no scores; IntegrityProblem when scores.jsonl,
    protocol.json and metrics.json do not belong together: each is checked against the hashes and counts of the others.
    """
    path = Path(path)
    is_folder = path.is_dir()
    file = path / SCORES if is_folder else path
    if not file.is_file():
        inside = (
            sorted(
                item.parent.relative_to(path).as_posix()
                for item in [*path.glob(f"*/{SCORES}"), *path.glob(f"scores/*/{SCORES}")]
            )
            if is_folder
            else []
        )
        if inside:
            raise InputProblem(
                f"{path} holds several scores ({', '.join(inside)}): name one, such as {path / inside[0]}"
            )
        raise InputProblem(
            f"{file}: no such score: give a folder that `tunebook score --out` wrote, or a scores.jsonl file"
        )
    rows = read_jsonl(file)
    passed = _passed(rows, str(file))
    found = {}
    for name in (PROTOCOL, METRICS) if is_folder or file.name == SCORES else ():
        if (file.parent / name).is_file():
            found[name] = read_json(file.parent / name)
    if PROTOCOL in found:
        _require_own_hash(found[PROTOCOL], file.parent / PROTOCOL)
    if METRICS in found:
        _require_counted(found[METRICS], rows, found.get(PROTOCOL), file)
    at_best = _passed([{**row, "passed": row["passed"] or row.get("verdict") in UNFINISHED} for row in rows], str(file))
    return Scores(str(path), passed, found.get(PROTOCOL, {}), found.get(METRICS, {}), at_best)


def _require_own_hash(protocol: dict, file: Path) -> None:
    """The hash of a protocol leaves out the benchmark's name; that of completions from elsewhere has it."""
    whole = {key: value for key, value in protocol.items() if key != "sha256"}
    unnamed = {key: value for key, value in whole.items() if key != "benchmark"}
    if protocol.get("sha256") not in (hash_json(unnamed), hash_json(whole)):
        raise IntegrityProblem(f"{file} was changed: its sha256 is not that of its fields; score the completions again")


def _require_counted(metrics: dict, rows: list[dict], protocol: dict | None, file: Path) -> None:
    """IntegrityProblem unless `metrics` counts these rows and names this protocol."""
    if "content_sha256" not in metrics:
        raise IntegrityProblem(
            f"{file.parent / METRICS} has no content_sha256, so it is not what `score` wrote: score the completions"
            " again"
        )
    complete = all("verdict" in row and "sample" in row for row in rows)
    if not complete or content_sha256(rows) != metrics["content_sha256"]:
        raise IntegrityProblem(
            f"{file} is not the file that {METRICS} beside it was counted from: score the completions again"
        )
    if protocol is None:
        raise IntegrityProblem(f"{file.parent / PROTOCOL} is missing beside {METRICS}: score the completions again")
    k, n, problems = sum(row["passed"] for row in rows), len(rows), len({row["task_id"] for row in rows})
    counted = {"k": k, "n": n, "pass_at_1": k / n, "problems": problems, "n_samples": n // problems}
    named = {"protocol_sha256": protocol["sha256"], "benchmark_sha256": protocol.get("benchmark_sha256")}
    for source, expected in ((SCORES, counted), (PROTOCOL, named)):
        for key, value in expected.items():
            if metrics.get(key) != value:
                raise IntegrityProblem(
                    f"{file.parent / METRICS}: {key} is {metrics.get(key)!r}, {source} beside it gives {value!r}: "
                    "score the completions again"
                )


def _passed(rows: list[dict], where: str) -> dict[str, list[bool]]:
    if not rows:
        raise InputProblem(f"{where}: no scores: the file has no rows")
    found: dict[str, dict[int, bool]] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("task_id"), str) or not isinstance(row.get("passed"), bool):
            raise InputProblem(f"{where}, row {number}: a score needs task_id (text) and passed (true or false)")
        samples = found.setdefault(row["task_id"], {})
        sample = row.get("sample", len(samples))
        if isinstance(sample, bool) or not isinstance(sample, int):
            raise InputProblem(f"{where}, row {number}: sample must be a whole number, found {sample!r}")
        if sample in samples:
            raise InputProblem(f"{where}, row {number}: {row['task_id']!r} sample {sample} occurs twice: score it once")
        samples[sample] = row["passed"]
    return {task_id: [samples[s] for s in sorted(samples)] for task_id, samples in found.items()}


def require_replaceable(out_dir: Path, completions_sha256: str) -> None:
    """Refuse a folder that holds anything but an old score of the same completions, which is then replaced."""
    if len(os.fsencode(out_dir)) > PATH_BYTES or any(len(os.fsencode(part)) > NAME_BYTES for part in out_dir.parts):
        raise InputProblem(f"{str(out_dir)[:60]}... is too long for the name of a folder: choose a shorter one")
    for folder in (out_dir, *out_dir.parents):
        if folder.is_symlink() and not folder.exists():
            raise InputProblem(f"{folder} is a link that leads nowhere: give a folder for the score")
        if folder.exists() and not folder.is_dir():
            raise InputProblem(f"{folder} is a file: give a folder for the score")
    there = [name for name in (METRICS, SCORES, PROTOCOL) if (out_dir / name).exists()]
    foreign = [name for name in there if not (out_dir / name).is_file()]
    if foreign or (there and METRICS not in there):
        raise InputProblem(
            f"{out_dir / (foreign or there)[0]} is no finished score and would be replaced: choose another folder"
        )
    metrics = out_dir / METRICS
    old = read_json(metrics) if metrics.exists() else {}
    if old and "content_sha256" not in old:
        raise InputProblem(f"{metrics} belongs to something else than a score: choose another folder")
    if old and old.get("completions_sha256") != completions_sha256:
        raise InputProblem(
            f"{out_dir} holds the score of other completions ({old.get('k')}/{old.get('n')} on {old.get('benchmark')}):"
            " remove it, or choose another folder"
        )
