"""What a finished sweep leaves for a study notebook: a row for each training, kept as one file that git has."""

from collections.abc import Sequence
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.files import read_json, write_json
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import runs

FRONTS = {"02_train_sft": "checkpoints", "09_recover": "front"}  # stage -> its rows of learned against forgotten


def study_rows(study: str, sweep: str = "", beside: Sequence[str] = ()) -> list[dict]:
    """A row for each training: `run`, its grid's values, `seed`, `k` of `n` problems solved (None where it has no
    score) and `points`, what it had learned and forgotten on the way.

    `sweep` is the name of a finished sweep, `beside` names runs whose points count too; the rows then become
    outputs/studies/STUDY.json. Without a sweep that file is read. InputProblem where there is nothing to read.
    """
    outputs = runs.outputs_root(runs.find_root())
    record = outputs / "studies" / f"{study}.json"
    if not sweep:
        if not record.is_file():
            raise InputProblem(f"{record} is not there: run `tunebook sweep {study} --local`, then set sweep: {study}")
        return read_json(record)["rows"]
    folder = outputs / sweep
    about = read_json(folder / "sweep.json") if (folder / "sweep.json").is_file() else {}
    if "summary" not in about:
        raise InputProblem(f"{folder} holds no finished sweep: run `tunebook sweep {sweep}` to its end")
    solved = {run: (k, row["n"]) for row in about["summary"]["rows"] for run, k in _scored(row)}
    rows = []
    for point in about["points"]:
        k, n = solved.get(point["run"], (None, None))
        row = {"run": point["run"], **point["values"], "seed": point["seed"], "k": k, "n": n}
        rows.append(row | {"points": _points(outputs / point["run"])})
    rows += [{"run": run, "points": _points(runs.run_folder_to_read(run, outputs))} for run in beside]
    record.parent.mkdir(exist_ok=True)
    write_json(record, {"sweep": about["study"], "commit": about["commit"], "rows": rows})
    return rows


def _scored(row: dict):
    """(run, solved) of a setting's trainings; none where one of them has no score, for it is not said which."""
    return zip(row["runs"], row["k"], strict=True) if len(row["k"]) == len(row["runs"]) else ()


def _points(folder: Path) -> list[dict]:
    found = []
    for stage, name in FRONTS.items():
        if (folder / stage / manifests.NAME).is_file():
            rows = manifests.read_manifest(folder / stage)["metrics"].get(name) or []
            found += [row for row in rows if row.get("kl") is not None]
    return found
