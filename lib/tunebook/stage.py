"""What a notebook imports to begin and to end a stage: `stage.begin`, then `context.finish`.

Does not compute results and does not know any model or data format.
"""

import os
import sys
import warnings
from pathlib import Path

import yaml

from tunebook.errors import InputProblem
from tunebook.files import read_json
from tunebook.pipeline import inputs, notebooks, params, runs
from tunebook.pipeline.context import Context
from tunebook.pipeline.stages import ADAPTERS  # noqa: F401 (notebooks look there who left an adapter)

_locks: dict[Path, runs.RunLock] = {}


def begin(notebook: str, namespace: dict) -> Context:
    """Begin a stage: read its parameters from the notebook's namespace, verify what it reads, give it an empty folder.

    Under the runner the folder is already empty. By hand (JupyterLab, or bare papermill) the missing upstream stages
    are run first, with the same parameters and with `upstream_values`, a dictionary that the notebook may set; those
    that are there are taken as they are, unless it has set `rerun_upstream = True`. The last result of this stage stays
    until the new one has finished. InputProblem where the parameters did not arrive as the runner sent them.
    """
    _quiet()
    root = runs.find_root()
    source = root / "notebooks" / f"{notebook}.ipynb"
    declared = notebooks.declared(source)
    values = _values(declared, namespace, source, root)
    instance = notebook + (f"@{values['target']}" if "target" in declared else "")
    outputs = runs.outputs_root(root)
    folder = runs.run_folder_to_write(values.get("run", "by-hand"), outputs)
    own = {name: value for name, value in values.items() if name not in params.ROUTING_KEYS}
    if "TUNEBOOK_STAGE" in os.environ:
        instance += "".join(os.environ["TUNEBOOK_STAGE"].partition("+")[1:])  # a further training has no parameter
        _check_sent(folder, instance, values)
        run_stages = read_json(folder / "run.json")["study"]["stages"]
        return Context(root, folder, instance, run_stages, own)
    base, where = params.load_base(root), "upstream_values"
    further = {key: params.checked_value(key, value, base, where) for key, value in namespace.get(where, {}).items()}
    further = inputs.resolve_paths(further, root, Path.cwd(), where)
    run_stages = _prepare_by_hand(root, folder, instance, (further, own), bool(namespace.get("rerun_upstream")))
    return Context(root, folder, instance, run_stages, own, _locks[folder])


def _values(declared: dict, namespace: dict, source: Path, root: Path) -> dict:
    base, where = params.load_base(root), f"{source.name}, parameters cell"
    values = {}
    for name in declared:
        if name not in namespace:
            raise InputProblem(
                f"{source.name}: parameter {name!r} is not set: run the parameters cell first; in an older copy of "
                f"{source.name} the parameter is missing: rename the copy and take the new notebook"
            )
        if name in params.ROUTING_KEYS:
            values[name] = namespace[name]
        else:
            values[name] = params.checked_value(name, namespace[name], base, where)
    if "TUNEBOOK_STAGE" in os.environ:
        return values
    return inputs.resolve_paths(values, root, Path.cwd(), where)  # a working copy opens what lies beside it


def _check_sent(folder: Path, instance: str, values: dict) -> None:
    """Catch a lost tag and a cell that overwrites a parameter: what the runner sent must be what the notebook has."""
    expected_folder, expected = Path(os.environ["TUNEBOOK_RUN_FOLDER"]), os.environ["TUNEBOOK_STAGE"]
    if (folder.resolve(), instance) != (expected_folder.resolve(), expected):
        raise InputProblem(
            f"the notebook runs as {folder.name}/{instance}, the runner started {expected_folder.name}/{expected}:"
            " parameters were lost"
        )
    sent = yaml.safe_load((folder / instance / "params.yaml").read_text(encoding="utf-8"))
    for name, value in sent.items():
        if values.get(name) != value:
            raise InputProblem(
                f"{instance}: {name} is {values.get(name)!r} here, the runner sent {value!r}: nothing may overwrite it"
                " before begin"
            )


def _prepare_by_hand(root: Path, folder: Path, instance: str, values: tuple[dict, dict], rerun: bool) -> list[str]:
    """Have the upstream stages, take the lock of the run, make an empty work folder. Returns the stages of the run.

    `values` are those for the upstream stages alone, and the notebook's own.
    """
    from tunebook.pipeline import byhand

    if folder in _locks:
        _locks.pop(folder).release()
    further, own = values
    run_stages = byhand.prepare_upstream(root, folder, instance, further | own, rerun)
    _locks[folder] = runs.RunLock(folder, instance).acquire()
    runs.start_over(runs.work_folder(folder, instance))
    byhand.write_params_by_hand(root, folder, instance, own)
    byhand.show_interrupts_in_one_line(instance)
    return run_stages


def _quiet() -> None:
    """No progress bars in a notebook: `context.progress` tells how far a stage is."""
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if "transformers" in sys.modules:  # imported before, it would draw a red bar for every model that it loads
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|peft")
