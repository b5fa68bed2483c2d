"""A checkout in small whose trainings take no time: 02 draws a skill from its rate and its seed, 04 solves that many."""

import json
from pathlib import Path

from mini_study import write_notebook

BASE = """run: by-hand
target: base
rows: 5
rate: 0.5
seed: 1
split: test
seeds: 1
cell_timeout_seconds: 120
stages: ["01", "04@base", "02", "04@sft"]
"""
DATA = [
    'from tunebook import stage\ncontext = stage.begin("01_validate_data", globals())',
    'context.save("train.jsonl", [{"row": row} for row in range(rows)])\nprint(context.finish({"n_rows": rows}))',
]
# Once, and for one rate alone, the worker is killed as a machine that goes away would kill it.
TRAIN = [
    "import os, pathlib, psutil, signal\nfrom tunebook import stage\n"
    'context = stage.begin("02_train_sft", globals())\ncontext.need("01")',
    'marker = pathlib.Path(os.environ["TUNEBOOK_OUTPUTS"]) / "killed"\n'
    "if rate == 0.9 and marker.parent.joinpath('kill').exists() and not marker.exists():\n"
    "    marker.write_text('once')\n"
    "    os.kill(psutil.Process().parents()[2].pid, signal.SIGKILL)  # above papermill's and that which forks it\n"
    "    __import__('time').sleep(60)",
    'print(context.finish({"skill": rate + 0.01 * seed}))',
]
SCORE = [
    "from tunebook import stage\nfrom tunebook.evaluation.benchmark import from_problems\n"
    "from tunebook.evaluation.protocol import Protocol\nfrom tunebook.evaluation.score import score\n"
    'context = stage.begin("04_evaluate_pass_at_1", globals())\ncontext.need("01")',
    'skill = context.need("02").metrics["skill"] if target == "sft" else 0.1',
    "problem = {'entry_point': 'check', 'canonical_solution': '1', 'kind': 'answer', 'prompt': 'one?',"
    " 'test': \"def check(answer):\\n    assert answer == '1'\\n\"}\n"
    "found = from_problems('task', [problem | {'task_id': str(at), 'prompt': f'{at}?'} for at in range(40)])\n"
    "rows = [{'task_id': str(at), 'completion': '1' if at < 40 * skill else '0', 'finish_reason': 'stop'}"
    " for at in range(40)]\n"
    "score(found, rows, context.folder / 'scores' / 'task', Protocol(found.sha256))",
    "from tunebook.files import read_json\n"
    "metrics = read_json(context.folder / 'scores' / 'task' / 'metrics.json')\n"
    'print(context.finish({"scores": {"task": metrics}}))',
]
RUN = 'run: str = "by-hand"'


def make_root(root: Path) -> Path:
    """The checkout with a study `demo`."""
    (root / "params" / "sweeps").mkdir(parents=True)
    (root / "params" / "base.yaml").write_text(BASE, encoding="utf-8")
    (root / "params" / "demo.yaml").write_text("extends: base\nrows: 7\n", encoding="utf-8")
    write_notebook(root, "01_validate_data", f"{RUN}\nrows: int = 5", DATA)
    write_notebook(root, "02_train_sft", f"{RUN}\nrate: float = 0.5\nseed: int = 1", TRAIN)
    score = f'{RUN}\ntarget: str = "base"\nsplit: str = "test"\nseed: int = 1'
    write_notebook(root, "04_evaluate_pass_at_1", score, SCORE)
    return root


def write_sweep(root: Path, name: str, **content) -> None:
    """params/sweeps/NAME.yaml; JSON is YAML."""
    text = json.dumps({"study": "demo", **content})
    (root / "params" / "sweeps" / f"{name}.yaml").write_text(text, encoding="utf-8")


def ledger_of(root: Path) -> list[dict]:
    """The lines of the ledger."""
    return [json.loads(line) for line in (root / "outputs" / "ledger.local.jsonl").read_text().splitlines()]
