"""A checkout in small: params/ and three notebooks that take no time, for tests of the pipeline."""

import io
import json
from pathlib import Path

from tunebook.pipeline.progress import Display
from tunebook.pipeline.study import Request, run_study

BASE = """run: by-hand
target: base
rows: 5
rate: 2.0e-4
seed: 1
names: [a]
cell_timeout_seconds: 60
stages: ["01", "04@base", "06"]
"""
DATA_PARAMETERS = '# Where\nrun: str = "by-hand"  # name under outputs\nrows: int = 5'
SCORE_PARAMETERS = (
    'run: str = "by-hand"\ntarget: str = "base"\nrate: float = 2.0e-4  # per step\nseed: int = 1\nnames: list = ["a"]'
)
VERDICT_PARAMETERS = '# Where\nrun: str = "by-hand"'

DATA = [
    'from tunebook import stage\ncontext = stage.begin("01_validate_data", globals())',
    (
        "from tunebook.files import write_jsonl\n"
        'write_jsonl(context.folder / "train.jsonl", [{"row": row} for row in range(rows)])'
    ),
    'context.check("n_rows", rows, "at least 1", rows >= 1)',
    'print(context.finish({"n_rows": rows}, costs={"seconds": 1.5}))',
]
SCORE = [
    'from tunebook import stage\ncontext = stage.begin("04_evaluate_pass_at_1", globals())',
    (
        'data = context.need("01").file("train.jsonl")\ncontext.progress(1, 2)\ncontext.table("scores", [{"task_id":'
        ' "a", "passed": True}])'
    ),
    'print(context.finish({"estimate": rate, "interval": [0.0, 1.0]}))',
]
VERDICT = [
    'from tunebook import stage\ncontext = stage.begin("06_verdict", globals())',
    'verdict = "GO" if all(found.status == "pass" for found in context.needs().values()) else "INCONCLUSIVE"',
    'print(context.finish({"verdict": verdict, "reasons": ["the rule says so"], "seen": sorted(context.needs())}))',
]


def write_notebook(root: Path, name: str, parameters: str, cells: list[str], tags: tuple = ("parameters",)) -> Path:
    """A notebook with one cell for the parameters, tagged with `tags`, and the code cells."""
    made = [_cell("parameters", parameters, list(tags))]
    made += [_cell(f"cell-{number}", source, []) for number, source in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _cell(name: str, source: str, tags: list[str]) -> dict:
    metadata = {"tags": tags} if tags else {}
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def make_root(root: Path, data: list[str] = DATA, score: list[str] = SCORE) -> Path:
    """A whole small checkout; `data` and `score` are the cells of 01 and 04."""
    (root / "params").mkdir(parents=True)
    (root / "params" / "base.yaml").write_text(BASE, encoding="utf-8")
    (root / "params" / "demo.yaml").write_text("extends: base\nrows: 7\n", encoding="utf-8")
    write_notebook(root, "01_validate_data", DATA_PARAMETERS, data)
    write_notebook(root, "04_evaluate_pass_at_1", SCORE_PARAMETERS, score)
    write_notebook(root, "06_verdict", VERDICT_PARAMETERS, VERDICT)
    return root


def run(root: Path, **request) -> tuple[int, str]:
    """Exit code and printed lines of `tunebook run demo`; Tunebook's problems escape."""
    shown = io.StringIO()
    code = run_study(root, Request(**({"params": "demo"} | request)), Display(shown))
    return code, shown.getvalue()
