"""The studies of own rows whole, on a tiny random model: `python own_study.py OUTPUTS NAME...`; `smoke` as it is.

The runner of `tunebook run`, papermill's injection and every cell of every notebook; only the kernel is not one: each
notebook runs in a fork of this process, which has imported torch once for all. Scores mean nothing.
"""

import gc
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import tiny_models
from tunebook.pipeline import executor, study
from tunebook.pipeline.progress import Display

ROOT = Path(__file__).parent.parent
IMPORTED = "datasets IPython.core.interactiveshell matplotlib.pyplot nbformat papermill.iorw papermill.parameterize pandas peft sklearn.linear_model".split()
WATCHED = {"watch_points": 1, "checkpoints": 2}
WITH_PREFERENCES = ("own_pairs", "own_labels")  # of the others 03 samples answers, all wrong: there is nothing to train
SHORT = ["00", "01", "04@base", "02", "04@sft", "06"]
LABELLED = "tool_calls"  # with a judge, and a sheet that nobody fills in
AS_IT_IS = "smoke"
SMALL = {
    "n_rows": 12, "dpo_prompts": 6, "dpo_samples": 2, "dpo_least_pairs": 0, "dpo_epochs": 1.0, "max_new_tokens": 6,
    "retained": [], "general_documents": 1, "audit_problems": 2, "rehearsal_share": 0.0, "watch_points": 0, "ladder": [], "batch_size": 4,
    "search_share": 1e-6, "benchmark_limit": 4, "model_revision": "",
}  # fmt: skip


def run_cells(job: executor.Job) -> None:
    """Every cell of the notebook with the job's parameters, as papermill injects them."""
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    details = executor._describe(job, job.run_folder / job.instance)
    os.environ |= executor._environment(job, job.run_folder)
    os.chdir(details["cwd"])
    notebook = parameterize_notebook(load_notebook_node(details["notebook"]), job.params)
    nbformat.write(notebook, details["final"])
    shell = InteractiveShell()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()


def execute(job: executor.Job, on_tick) -> dict:
    """The runner's `execute`, in a fork instead of a kernel."""
    log = job.run_folder / job.instance / "kernel.log"
    child = os.fork()
    if not child:
        with open(log, "w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            try:
                run_cells(job)
            except BaseException:
                traceback.print_exc()
                sys.stdout.flush()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
    is_ok = os.waitpid(child, 0)[1] == 0
    text = log.read_text()
    return {"outcome": "ok"} if is_ok else {"outcome": "exception", "name": job.instance, "message": text[-2000:]}


def save_model(folder: Path) -> str:
    """A random Llama with the base's tokenizer and its ends."""
    tiny_models.tiny_llama().save_pretrained(folder)
    tiny_models.tokenizer("model").save_pretrained(folder)
    return str(folder)


def main(outputs: Path, names: list[str]) -> None:
    """Run the studies into `outputs`. What is imported here is inherited by every fork."""
    import matplotlib

    matplotlib.use("agg")
    for name in IMPORTED:
        importlib.import_module(name)
    from trl import DPOTrainer, KTOTrainer, SFTTrainer  # noqa: F401

    os.environ["TUNEBOOK_OUTPUTS"] = str(outputs)
    if names != [AS_IT_IS]:
        child = os.fork()  # a fork after torch has computed may wait for its threads for ever
        if not child:
            save_model(outputs / "tiny")
            os._exit(0)
        os.waitpid(child, 0)
    study.execute = execute
    gc.collect()
    gc.freeze()  # else every fork copies what the collector touches
    for name in names:
        settings = SMALL | {"model": str(outputs / "tiny")}
        settings |= WATCHED if name in WITH_PREFERENCES else {"stages": SHORT}
        if name == LABELLED:
            judge = {"judge_model": settings["model"], "judge_revision": ""}
            settings |= judge | {"stages": [*SHORT[:-1], "11", SHORT[-1]]}
        settings = {} if name == AS_IT_IS else settings
        sets = tuple(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()
        )
        study.run_study(ROOT, study.Request(params=name, run=name, sets=sets), Display(sys.stdout))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
