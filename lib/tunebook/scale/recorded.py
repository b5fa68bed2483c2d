"""What a finished sweep leaves for a study notebook: a row for each training, kept as one file beside the sweep.

The file that git has, outputs/studies/STUDY.json, is such a file, copied there by whoever records a study.
"""

from collections.abc import Sequence
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.evaluation.forgetting import bits_per_byte
from tunebook.evaluation.score_folder import read_scores
from tunebook.files import read_json, write_json
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import runs

FRONTS = {"02_train_sft": "checkpoints", "09_recover": "front"}  # stage -> its rows of learned against forgotten


def study_rows(study: str, sweep: str = "", beside: Sequence[str] = ()) -> list[dict]:
    """A row for each training: `run`, its grid's values, `seed`, `k` of `n` problems solved (None where it has no
    score), `points`, what it had learned and forgotten on the way, and what `_ended` says of its end.

    `sweep` is the name of a finished sweep, `beside` names runs whose points count too; the rows then become
    outputs/SWEEP/STUDY.json, which git does not see. Without a sweep the recorded outputs/studies/STUDY.json is read.
    InputProblem where there is nothing to read.
    """
    outputs = runs.outputs_root(runs.find_root())
    if not sweep:
        record = outputs / "studies" / f"{study}.json"
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
        place = outputs / point["run"]
        rows.append(row | {"points": _points(place)} | (_ended(place, about["judged"]) if k is not None else {}))
    rows += [{"run": run, "points": _points(runs.run_folder_to_read(run, outputs))} for run in beside]
    write_json(folder / f"{study}.json", {"sweep": about["study"], "commit": about["commit"], "rows": rows})
    return rows


def _ended(folder: Path, judged: str) -> dict:
    """Of the end of a training: `passed`, a 1 or 0 for each problem by its name; where general text was read its
    `bits_per_byte`, their `rise` over base in percent, and the distance `kl` in nats a token; `seconds` and
    `memory_gib` that 02 took.
    """
    found = {}
    if (folder / judged / "scores" / "task").is_dir():
        passed = read_scores(folder / judged / "scores" / "task").passed
        found["passed"] = "".join(str(int(ok)) for task in sorted(passed) for ok in passed[task])
    kept = [folder / name / "forgetting.json" for name in ("04_evaluate_pass_at_1@base", judged)]
    read = [read_json(file) if file.is_file() else {} for file in kept]
    before, after = (bits_per_byte(one) for one in read)
    if before and after:
        distance = (read[1].get("kl") or {}).get("nats_per_token")
        found |= {"bits_per_byte": after, "rise": 100 * (after / before - 1), "kl": distance}
    if (folder / "02_train_sft" / manifests.NAME).is_file():
        costs = manifests.read_manifest(folder / "02_train_sft").get("costs") or {}
        if "train_seconds" in costs:
            memory = costs["forecast_beside_actual"][1]["actual"]
            found |= {"seconds": costs["train_seconds"], "memory_gib": memory}
    return found


def _scored(row: dict):
    """(run, solved) of a setting's trainings; none where one of them has no score, for it is not said which."""
    return zip(row["runs"], row["k"], strict=True) if len(row["k"]) == len(row["runs"]) else ()


def _points(folder: Path) -> list[dict]:
    found = []
    for stage, name in FRONTS.items():
        if (folder / stage / manifests.NAME).is_file():
            rows = manifests.read_manifest(folder / stage)["metrics"].get(name) or []
            found += [row for row in rows if row.get("kl")]  # base itself is 0 from base
    return found
