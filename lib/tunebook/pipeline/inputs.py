"""Files and folders of the user that parameters name: found once, and hashed, so that an edited file is never taken for
the old one.

Does not read what is inside. A name that is no path (a shipped benchmark, a Hub id, a PyPI package) is left as it is.
"""

import os
import re
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import hash_json, sha256_file

# Parameters that may name a file or a folder; a notebook's working folder is notebooks/, so paths are kept relative to
# it.
MODELS = ("model", "adapter_base", "larger_model", "teacher", "judge_model")
KEYS = (
    *MODELS,
    "rows",
    "benchmark",
    "retained",
    "hosted_completions",
    "inputs",
    "recover_from",
    "grpo_from",
    "judged",
    "labels",
)
FILES = ("hosted_completions", "inputs", "labels")  # these are always files
HUB_FILE = re.compile(r"(?!\.)[\w.-]+/[\w.-]+/[\w./-]+\.gguf")  # owner/name/file.gguf, as `models.source` reads it
FILE_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".gguf", ".txt")


def resolve_paths(values: dict, root: Path, beside: Path, where: str) -> dict:
    """`values` with each path found: beside the study file, else from the current folder, else in the checkout, else in
    notebooks/.

    Inside the checkout a path becomes relative to notebooks/ (no path of this machine gets into a record), elsewhere
    absolute. InputProblem for a value that is written like a path and is not there.
    """
    places = list(dict.fromkeys([beside, Path.cwd(), root, root / "notebooks"]))

    def find(key: str, text):
        if not isinstance(text, str) or not text:
            return text
        for place in places:
            found = place / Path(text).expanduser()
            if found.exists() and (_is_path(text) or key in FILES or found.is_dir()):
                return _kept(found, root)
        is_on_hub = key in MODELS and HUB_FILE.fullmatch(text)
        if (_is_path(text) or key in FILES) and not is_on_hub:
            raise InputProblem(f"{where}: {key}: {text}: no such file or folder in {_shown(places)}: correct the path")
        return text

    found = {}
    for key in KEYS:
        value = values.get(key)
        if isinstance(value, list):
            found[key] = [find(key, item) for item in value]
        elif value:
            found[key] = find(key, value)
    return values | found


def hashes(values: dict, root: Path) -> dict[str, str]:
    """sha256 of every file and folder that `values` name, by their text; a folder's is over its files' names and
    contents.
    """
    found = {}
    for key in KEYS:
        value = values.get(key)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text and _is_path(text):
                path = root / "notebooks" / Path(text).expanduser()
                if path.exists():
                    found[text] = sha256_file(path) if path.is_file() else _folder_hash(path)
    return found


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.lower().endswith(FILE_ENDINGS)


def _folder_hash(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hash_json([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files])


def _kept(path: Path, root: Path) -> str:
    path = Path(os.path.abspath(path))
    return os.path.relpath(path, root / "notebooks") if path.is_relative_to(root) else str(path)


def _shown(places: list[Path]) -> str:
    return ", ".join(str(place) for place in places[:3])
