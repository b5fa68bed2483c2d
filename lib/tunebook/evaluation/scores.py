"""Read a score back: a folder that `score` wrote, or a bare scores.jsonl from anywhere. Does not judge anything."""

from dataclasses import dataclass, field
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.evaluation.protocol import UNKNOWN
from tunebook.pipeline.files import hash_json, read_json, read_jsonl

SCORES, PROTOCOL, METRICS = "scores.jsonl", "protocol.json", "metrics.json"


@dataclass(frozen=True)
class Scores:
    """`passed` maps task_id to its samples in order; `protocol` is empty for a bare file."""

    path: str
    passed: dict[str, list[bool]]
    protocol: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)

    def unknown(self) -> list[str]:
        """What is not known about how this score was made."""
        if not self.protocol:
            return ["protocol"]
        return sorted(key for key, value in self.protocol.items() if value == UNKNOWN)


def content_sha256(rows: list[dict]) -> str:
    """Hash of what was judged (task_id, sample, passed, verdict), without times and messages: equal on every machine."""
    return hash_json([[row["task_id"], row["sample"], row["passed"], row["verdict"]] for row in rows])


def read_scores(path: str | Path) -> Scores:
    """Scores from a folder with scores.jsonl, or from the file itself.

    InputProblem for missing files and rows that are no scores; IntegrityProblem when scores.jsonl is not what metrics.json counted.
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
    beside = file.parent if is_folder or file.name == SCORES else None
    protocol = read_json(beside / PROTOCOL) if beside and (beside / PROTOCOL).is_file() else {}
    metrics = read_json(beside / METRICS) if beside and (beside / METRICS).is_file() else {}
    if "content_sha256" in metrics:
        if (
            any("verdict" not in row or "sample" not in row for row in rows)
            or content_sha256(rows) != metrics["content_sha256"]
        ):
            raise IntegrityProblem(
                f"{file} is not the file that {METRICS} beside it was counted from: score the completions again"
            )
    return Scores(str(path), passed, protocol, metrics)


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
    for folder in (out_dir, *out_dir.parents):
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
            f"{out_dir} holds the score of other completions ({old.get('k')}/{old.get('n')} on {old.get('benchmark')}): "
            "remove it, or choose another folder"
        )
