"""manifest.json: the record that a stage finished, and the proof of what it left.

Does not run or re-run anything. It is written last, by rename. A reader checks it before it uses a file.
"""

import fnmatch
import json
import math
import re
import sys
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.files import hash_json, read_json, sha256_file, write_json
from tunebook.pipeline import provenance

SCHEMA = "tunebook-manifest/1"
NAME = "manifest.json"
DATA = (".yaml", ".jinja", ".jsonl")  # files that modules read from their own folder
# Modules that start a child process -> the modules that run in the child, of which this process imports none.
CHILDREN = {
    "execution/runner.py": "execution/*.py",
    "export/convert.py": "export/converter_script.py",
    "inspection/limited.py": "inspection/*.py",
}
PACKAGE = Path(__file__).resolve().parents[1]
FACE_ENTRY = re.compile(r' +"\w+": "([\w.]+)",.*')  # a name of a room's face and the module that has it
# Not outputs of the stage: written around it, some of them after the manifest.
OUTSIDE = (NAME, "executed.ipynb", "params.yaml", "progress.json", "kernel.log", ".*")
# Scores hold CPU seconds (their metrics.json hashes what they say); log-probabilities differ between machines.
UNHASHED = ("figures/*", "*scores.jsonl", "*.logp.jsonl")
KEYS = (
    "stage",
    "kind",
    "params",
    "upstream",
    "files",
    "metrics",
    "checks",
    "status",
    "notebook",
    "code",
    "environment",
    "timing",
)


def list_files(folder: Path, unstored: tuple[str, ...] = (), unhashed: tuple[str, ...] = ()) -> list[dict]:
    """One record for each file under `folder`: path, bytes, rows, sha256, stored, hashed (inside content_hash or not).

    `unstored` and `unhashed` are patterns on the path inside the folder, such as `adapter/*`.
    """
    records = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or matches(name, OUTSIDE):
            continue
        if path.is_symlink():
            raise InputProblem(f"{path} is a link: a stage leaves real files, so that its record holds")
        records.append(
            {
                "path": name,
                "bytes": path.stat().st_size,
                "rows": _count_rows(path),
                "sha256": sha256_file(path),
                "stored": not matches(name, unstored),
                "hashed": not matches(name, (*UNHASHED, *unhashed)),
            }
        )
    return records


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path inside a stage folder fits one of the shell patterns; `*` also crosses folders."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _count_rows(path: Path) -> int | None:
    if path.suffix not in (".jsonl", ".csv"):
        return None
    with open(path, "rb") as stream:
        lines = sum(1 for line in stream if line.strip())
    return lines if path.suffix == ".jsonl" else max(lines - 1, 0)


def content_hash(manifest: dict) -> str:
    """Hash of what a stage is and what it found: stage, kind, params, upstream content, notebook, data outputs.

    Time, memory, machine, run name, figures and the executed notebook stay outside, so two fresh runs on one machine
    agree.
    """
    return hash_json(
        {
            "stage": manifest["stage"],
            "kind": manifest["kind"],
            "params": manifest["params"],
            "upstream": {name: record["content_hash"] for name, record in manifest["upstream"].items()},
            "notebook": manifest["notebook"]["sha256"],
            "files": {record["path"]: record["sha256"] for record in manifest["files"] if record["hashed"]},
        }
    )


def code_files() -> list[str]:
    """Tunebook's own modules that this process has imported, those that its children run (`CHILDREN`), and the data
    files beside them, as paths inside the package.
    """
    paths = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "tunebook" and file and Path(file).resolve().is_relative_to(PACKAGE):
            paths.append(Path(file).resolve())
    paths += [path for name, run in CHILDREN.items() if PACKAGE / name in paths for path in PACKAGE.glob(run)]
    data = [path for folder in {path.parent for path in paths} for path in folder.iterdir() if path.suffix in DATA]
    return sorted({path.relative_to(PACKAGE).as_posix() for path in paths + data})


def code_record(root: Path, files: list[str]) -> dict:
    """Hash of each file in `files` ("" where it is gone), of requirements.txt, and of all together as `code_hash`."""
    hashes = {name: _code_hash(name, files) if (PACKAGE / name).is_file() else "" for name in files}
    record = {"files": hashes, "requirements_sha256": provenance.lock_hash(root)}
    return record | {"code_hash": hash_json(record)}


def _code_hash(name: str, files: list[str]) -> str:
    """Hash of a file; of a room's face without the names of modules outside `files`, which no stage here used."""
    text = (PACKAGE / name).read_text(encoding="utf-8") if name.endswith("__init__.py") else ""
    if "= face(" not in text:
        return sha256_file(PACKAGE / name)
    room = name.removesuffix("__init__.py")
    modules = {path.removesuffix(".py").removesuffix("/__init__") for path in files}
    entries = ((line, FACE_ENTRY.fullmatch(line)) for line in text.splitlines())
    return hash_json([line for line, found in entries if not found or room + found[1].replace(".", "/") in modules])


def write(folder: Path, manifest: dict) -> None:
    """Add schema and content hash, and write the manifest by rename."""
    manifest = {"schema": SCHEMA, **manifest}
    write_json(folder / NAME, manifest | {"content_hash": content_hash(manifest)})


def read_manifest(folder: Path) -> dict:
    """The manifest of a finished stage. InputProblem where there is none, IntegrityProblem where it is not what was
    written.
    """
    path = folder / NAME
    if not path.is_file():
        raise InputProblem(f"{folder} has no manifest.json: the stage did not finish, run it first")
    try:
        manifest = read_json(path)
    except InputProblem as problem:
        raise IntegrityProblem(f"{problem}: the manifest is damaged, run the stage again") from None
    if manifest.get("schema") != SCHEMA:
        raise IntegrityProblem(
            f"{path}: schema {manifest.get('schema')!r}, expected {SCHEMA!r}: made by another version, run the stage"
            " again"
        )
    try:
        missing = [key for key in KEYS if key not in manifest]
        expected = content_hash(manifest)
    except (KeyError, TypeError, AttributeError):
        raise IntegrityProblem(f"{path}: fields are missing: the manifest is damaged, run the stage again") from None
    if missing:
        raise IntegrityProblem(f"{path}: {missing[0]!r} is missing: the manifest is damaged, run the stage again")
    if expected != manifest.get("content_hash"):
        raise IntegrityProblem(
            f"{path}: content_hash is {str(manifest.get('content_hash'))[:12]}, its fields give {expected[:12]}: it was"
            " edited, run the stage again"
        )
    return manifest


def read_verified(folder: Path, kind: str) -> dict:
    """The manifest of a finished stage of this kind, its own hash checked. Files are checked by `file_problem` or
    on use.
    """
    manifest = read_manifest(folder)
    if manifest["kind"] != kind:
        raise InputProblem(
            f"{folder} holds a stage of kind {manifest['kind']!r}, expected {kind!r}: choose the right folder"
        )
    return manifest


def file_problem(folder: Path, record: dict) -> str:
    """What is wrong with one recorded file on disk: "missing", "N bytes, recorded M", "sha256 differs", or "" when
    it is intact.
    """
    path = folder / record["path"]
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != record["bytes"]:
        return f"{size} bytes, recorded {record['bytes']}"
    return "" if sha256_file(path) == record["sha256"] else "sha256 differs"


def plain(value):
    """`value` with numpy scalars, arrays, paths and tuples turned into what JSON has; NaN and infinities become
    null.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    json.dumps(value)  # TypeError names the type
    return value


def status_of(checks: list[dict]) -> str:
    """Status of a stage: fail on any error row that is not ok, warn on any warn row, else pass."""
    severities = {check["severity"] for check in checks if not check["ok"]}
    return "fail" if "error" in severities else "warn" if "warn" in severities else "pass"


def broken(checks: list[dict], severities: tuple[str, ...] = ("error",)) -> list[str]:
    """The rules that were broken, one sentence each.

    >>> broken([{"name": "rows", "measured": 3, "rule": "at least 9", "ok": False, "severity": "error"}])
    ['rows is 3, rule at least 9']
    """
    rows = [check for check in checks if not check["ok"] and check["severity"] in severities]
    return [f"{check['name']} is {check['measured']}, rule {check['rule']}" for check in rows]


def status_line(name: str, status: str, checks: list[dict]) -> str:
    """One line: status, and every row that is the reason for it."""
    return f"{name}: {status} ({'; '.join(broken(checks, ('error', 'warn'))) or f'{len(checks)} checks hold'})"
