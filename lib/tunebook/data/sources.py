"""Where rows come from: a local file, a Hub data set with a revision, or a task that ships with the kit.

Does not convert or judge rows: `formats` and the checks do.
"""

import re
from pathlib import Path

from tunebook.data.files import EXTENSIONS, read_file
from tunebook.data.notes import finding
from tunebook.data.rows import Rows, rows_from_records
from tunebook.errors import InputProblem, MachineProblem

N_TASK_ROWS = 2_000
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}")


def read_rows(source: str, *, revision: str = "", file_format: str = "", progress=None) -> Rows:
    """Read every row of `source`.

    A path to jsonl, json, csv or parquet (and .gz); `owner/name`, `owner/name:config` or `owner/name:config:split` for a
    Hub data set (split "train" unless named); or the name of a shipped task (its first 2,000 generated rows, seed 0).
    What is wrong inside a file is in `.findings`. Raises InputProblem for a missing file, an unknown extension or an
    unknown name, MachineProblem when the Hub cannot be reached.
    """
    path = Path(source)
    if path.exists() or not _looks_like_name(source):
        return read_file(path, file_format, progress)
    if "/" in source:
        return _read_hub(source, revision)
    return _read_task(source)


def _looks_like_name(source: str) -> bool:
    """True for `owner/name` and bare task names, False for anything with a data extension or more folders."""
    suffixes = {suffix.lower() for suffix in Path(source).suffixes}
    if suffixes & (set(EXTENSIONS) | {".gz"}) or source.startswith((".", "/", "~")):
        return False
    if "/" in source:
        return bool(_HUB_NAME.fullmatch(source)) and not Path(source).parent.is_dir()
    return "." not in source


def _read_task(name: str) -> Rows:
    from tunebook import tasks

    task = tasks.load(name)
    return rows_from_records(task.make_rows(N_TASK_ROWS, 0), name, "task")


def _read_hub(source: str, revision: str) -> Rows:
    """Rows of a Hub data set; without a revision there is a finding, since the data may change under the study."""
    import datasets

    name, *rest = source.split(":")
    config, split = (rest + ["", ""])[:2]
    try:
        data = datasets.load_dataset(name, config or None, split=split or "train", revision=revision or None)
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError, OSError, ValueError) as problem:
        sentence = str(problem).split("\n")[0].rstrip(".")
        if isinstance(problem, ValueError):
            raise InputProblem(f"data set {source}: {sentence}; name it owner/name:config:split") from problem
        raise MachineProblem(
            f"data set {source} (revision {revision or 'not given'}) cannot be read from the Hub: {sentence}; check the"
            " name and the network, or give a local jsonl, json, csv or parquet file"
        ) from problem
    rows = rows_from_records(data, source, "hub")
    if not revision:
        rows.findings.append(finding("unpinned", len(rows), n_rows=len(rows), detail=source))
    return rows
