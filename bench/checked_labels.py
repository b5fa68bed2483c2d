"""Fills in the sheet of `11` by the checker that scored the answers, in place of a person: an example.

`python bench/checked_labels.py RUN OUT.csv`: RUN is a run whose `judged` names files of completions in stages of `04`;
the checker's verdicts stand beside them in scores/.
"""

import csv
import json
import sys
from pathlib import Path


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(run: Path, out: Path) -> None:
    folder = run / "11_label"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    passed = {}
    for name in manifest["params"]["judged"]:
        path = (Path(__file__).parents[1] / "notebooks" / name).resolve()
        stage, benchmark = path.parents[1], path.name.partition(".")[0]
        judged = rows(stage / "scores" / benchmark / "scores.jsonl")
        passed[stage.name.partition("@")[2]] = {row["task_id"]: row["passed"] for row in judged if not row["sample"]}
    labels = {
        name: passed[model][row["task_id"]]
        for row in rows(folder / "judged.jsonl")
        for model, name in row["ids"].items()
    }
    sheet = run / "labels" / manifest["metrics"]["sheet"]
    with open(sheet, encoding="utf-8-sig", newline="") as stream:
        filled = [row | {"label": "right" if labels[row["id"]] else "wrong"} for row in csv.DictReader(stream)]
    with open(out, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, filled[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(filled)
    print(f"{out}: {len(filled)} labels made by the checker")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
