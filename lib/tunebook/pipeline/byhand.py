"""A notebook that somebody runs by hand: the stages before it, run with the same parameters where they are missing, and
its executed copy after it, as a batch run leaves one.

Does not run the notebook itself; that is the person's.
"""

import contextlib
import json
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem
from tunebook.files import sha256_file, write_text
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import notebooks, params, record, runs
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline import study as studies
from tunebook.pipeline.executor import end_forks
from tunebook.pipeline.progress import Display
from tunebook.pipeline.reuse import can_stand, why_not


def prepare_upstream(root: Path, folder: Path, instance: str, own: dict, rerun: bool = False) -> list[str]:
    """Have every stage that `instance` reads, directly or not, and return the stages of the run in order.

    A missing stage gets the values of the run's study and, on top, those of this notebook. One that passed is taken as
    it is, and what differs from now is said; with `rerun` it is made anew. One whose inputs have changed is always made
    anew: rows that a new split puts into the test may have been in its training.
    """
    base = params.load_base(root)
    known = stage_names.discover(root)
    study = _study_of(root, folder, base, own)
    run_stages = _with_stage(
        study.stages, [stage_names.resolve_stage(name, known) for name in base.get("stages", [])], instance
    )
    study = replace(study, stages=run_stages)
    wanted = closure(instance, run_stages)
    working = replace(study, overrides=_values_of(root, folder, study, instance, own, wanted))
    plan = studies.make_plan(root, folder, working, Display(sys.stdout))
    with runs.RunLock(folder, instance):
        record.start(root, folder, study)
        try:
            for name in wanted:
                now = studies.wanted_now(plan, name)
                reason = why_not(folder / name, now)
                if reason and not rerun and can_stand(folder / name, now):
                    plan.display.say(f"{name} is taken as it is, though {reason} (rerun_upstream = True makes it anew)")
                elif reason:
                    plan.display.say(f"run {folder.name}: {name} runs first, since {reason}")
                    error = studies.run_stages(plan, [name])
                    if error and not stage_names.is_verdict(instance):
                        raise InputProblem(f"{instance} needs what broke off before it: {error}")
        finally:
            end_forks()  # a person's kernel stays open for hours
    return run_stages


def write_params_by_hand(root: Path, folder: Path, instance: str, own: dict) -> None:
    """params.yaml of a stage by hand, as the runner writes it."""
    target = stage_names.split(instance)[1]
    value = runs.run_value(folder, runs.outputs_root(root))
    studies.write_params(
        runs.work_folder(folder, instance), {"run": value, **({"target": target} if target else {}), **own}
    )


def closure(instance: str, run_stages: list[str]) -> list[str]:
    """Every stage that `instance` reads, directly or through others, in the order of the run."""
    found: set[str] = set()
    waiting = [instance]
    while waiting:
        for name in stage_names.upstream(waiting.pop(), run_stages):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return [name for name in run_stages if name in found]


def _study_of(root: Path, folder: Path, base: dict, own: dict) -> params.Study:
    """The study that the run was started with; for a new run, base.yaml with the values of this notebook."""
    path = root / "params" / "base.yaml"
    values = {key: value for key, value in base.items() if key != "stages"}
    if not (folder / record.NAME).is_file():
        return params.Study(folder.name, path, values | own, [], {})
    study = record.load_record(folder)["study"]
    return params.Study(study["name"], path, values | study["params"], study["stages"], study["overrides"])


def _with_stage(known: list[str], defaults: list[str], instance: str) -> list[str]:
    """Stages of the run: those it was started with, else base.yaml's; the one at hand is put in before the verdict."""
    if instance in known:
        return known
    if instance in defaults:
        return defaults
    verdicts = [name for name in known if stage_names.is_verdict(name)]
    return [name for name in known if name not in verdicts] + [instance, *(v for v in verdicts if v != instance)]


def _values_of(
    root: Path, folder: Path, study: params.Study, instance: str, own: dict, wanted: list[str]
) -> dict[str, dict]:
    """Own values of each stage in `wanted`: those it was made with, and above them what this notebook shares with it.

    A value that the study gives to one stage alone is not shared, in either direction.
    """
    fixed = {name: study.overrides.get(name, {}) for name in [*wanted, instance]}
    shared = {key: value for key, value in own.items() if key not in fixed[instance] or fixed[instance][key] != value}
    found = {}
    for name in wanted:
        names = notebooks.declared(root / "notebooks" / f"{stage_names.split(name)[0]}.ipynb")
        values = fixed[name] | _recorded_params(folder / name)
        values |= {key: value for key, value in shared.items() if key not in fixed[name]}
        found[name] = {key: value for key, value in values.items() if key in names}
    return found


def _recorded_params(folder: Path) -> dict:
    try:
        return manifests.read_manifest(folder)["params"]
    except (InputProblem, IntegrityProblem):
        return {}


def show_interrupts_in_one_line(instance: str) -> None:
    """From now on in this kernel, stopping a cell at work in the library shows what is left, not the library's frames.

    An interrupt of other code keeps its traceback. Nothing outside IPython.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if not hasattr(shell, "set_custom_exc"):
        return
    package = str(Path(__file__).resolve().parents[1])
    said = f"{instance} was stopped: the last finished result stays as it was; run the notebook again to go on"

    def show(shell, kind, value, trace, tb_offset=None):
        frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
        if any(name.startswith(package) for name in frames):
            shell._showtraceback(kind, value, [f"{kind.__name__}: {said}"])
        else:
            shell.showtraceback((kind, value, trace), tb_offset=tb_offset)

    shell.set_custom_exc((KeyboardInterrupt,), show)


class Recorder:
    """Everything that the kernel shows from `begin` on, cell by cell, and the executed notebook made of it.

    The source in the browser need not be saved yet, and a closed tab sees no output at all; so the messages of the
    kernel are what is kept. A cell that ran before `begin` has its code and no output. Nothing outside a kernel.
    """

    def __init__(self, notebook: Path, values: dict):
        """`notebook` gives the text between the cells; `values` are the parameters as the stage got them."""
        self._notebook, self._values, self._cells, self._place = notebook, values, {}, None
        ipython = sys.modules.get("IPython")
        self._shell = ipython.get_ipython() if ipython else None
        self._kernel = getattr(self._shell, "kernel", None)
        if self._kernel is None:
            return
        session = self._kernel.session
        last = getattr(session.send, "recorder", None)
        plain = last.stop() if last else session.send

        def send(stream, message, content=None, parent=None, *rest, **named):
            with contextlib.suppress(KeyError, TypeError, AttributeError):  # a record never stops a notebook
                self._see(message, content, parent)
            return plain(stream, message, content, parent, *rest, **named)

        send.recorder, self._plain, session.send = self, plain, send
        self._shell.events.register("post_run_cell", self._after_cell)
        parent = self._shell.parent_header  # the request of the very cell that begins
        self._cells[parent["header"]["msg_id"]] = _executed(parent, len(self._shell.history_manager.input_hist_raw) - 1)

    def stop(self):
        """Let the kernel go; returns its own way to send."""
        self._shell.events.unregister("post_run_cell", self._after_cell)
        return self._plain

    def keep(self, run_folder: Path, instance: str) -> None:
        """Write executed.ipynb of the stage that has just finished; the cells after it are added as they end."""
        if self._kernel is not None:
            self._place = run_folder / instance
            self._digest = sha256_file(self._place / manifests.NAME)
            self._write()

    def _see(self, message, content, parent) -> None:
        if isinstance(message, dict):
            kind, content, header = message["msg_type"], message["content"], message["parent_header"]
        else:
            kind, header = message, parent.get("header", parent)
        if kind == "execute_input":
            self._cells[header["msg_id"]] = _executed(parent, content["execution_count"])
        cell = self._cells.get(header["msg_id"])
        if cell is None:
            return
        if kind == "update_display_data":
            name = content["transient"]["display_id"]
            for output in (output for other in self._cells.values() for output in other["outputs"]):
                if output.get("display_id") == name:
                    output |= {"data": content["data"], "metadata": content["metadata"]}
        elif kind == "stream":
            last = cell["outputs"][-1] if cell["outputs"] else {}
            if last.get("name") == content["name"]:
                last["text"] += content["text"]
            else:
                cell["outputs"].append({"output_type": kind, "name": content["name"], "text": content["text"]})
        elif kind in ("display_data", "execute_result", "error"):
            shown = {key: value for key, value in content.items() if key != "transient"}
            name = content.get("transient", {}).get("display_id")
            cell["outputs"].append({"output_type": kind, **shown} | ({"display_id": name} if name else {}))

    def _after_cell(self, *_) -> None:
        """The notebook goes on after `finish`: its page and its status line belong to it, too."""
        if self._place is None:
            return
        folder = self._place.parent
        with contextlib.suppress(MachineProblem, InputProblem, IntegrityProblem, OSError), runs.RunLock(folder):
            if sha256_file(self._place / manifests.NAME) == self._digest:  # nobody has made the stage anew
                self._write()
                state = record.load_record(folder)["states"][self._place.name]
                kept = {key: state[key] for key in ("state", "seconds", "reused") if key in state}
                record.set_state(folder, self._place.name, **kept)

    def _write(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        notebook = json.loads(self._notebook.read_text(encoding="utf-8"))
        earlier = {code.strip(): number for number, code in enumerate(self._shell.history_manager.input_hist_raw)}
        left, cells = list(self._cells.values()), []
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            ran = [one for one in left if cell.get("id") == one["id"] or source.strip() == one["source"].strip()]
            if cell["cell_type"] == "code":
                cell |= {"execution_count": earlier.get(source.strip()), "outputs": []}
            if ran and cell["cell_type"] == "code":
                left = [one for one in left if one not in ran]
                cell |= {key: ran[-1][key] for key in ("source", "outputs", "execution_count")}
            cells += [cell, *self._parameters(cell)]
        for at, one in enumerate(left):  # cells that are not saved yet
            counts = [cell.get("execution_count") or 0 for cell in cells]
            place = next((i for i, count in enumerate(counts) if count > one["execution_count"]), len(cells))
            cells.insert(place, _code_cell(f"added-{at}", one))
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            output.pop("display_id", None)
        notebook["cells"] = cells
        write_text(self._place / "executed.ipynb", json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")

    def _parameters(self, cell: dict) -> list[dict]:
        """Below the parameters cell the values that the stage was made with, as papermill puts them."""
        if notebooks.TAG not in cell.get("metadata", {}).get("tags", []):
            return []
        lines = [f"{name} = {value!r}" for name, value in self._values.items()]
        return [_code_cell("injected-parameters", {"source": "# as the stage began\n" + "\n".join(lines)})]


def _executed(request: dict, number: int) -> dict:
    name = (request.get("metadata") or {}).get("cellId", "")
    return {"id": name, "source": request["content"]["code"], "execution_count": number, "outputs": []}


def _code_cell(name: str, cell: dict) -> dict:
    empty = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    return empty | cell | {"id": name}
