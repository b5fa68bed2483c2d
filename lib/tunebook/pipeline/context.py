"""One running stage as its notebook sees it: verified inputs, progress, checks, and at the end the manifest.

Does not read parameters and does not prepare the folder: `tunebook.stage.begin` does. Between the two the folder has no
manifest, so a stage that breaks off is never taken for finished.
"""

import io
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from tunebook.errors import InputProblem, IntegrityProblem
from tunebook.files import read_json, read_jsonl, sha256_file, write_bytes, write_json, write_jsonl, write_text
from tunebook.pipeline import inputs, ledger, notebooks, provenance, record, runs
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import stages as stage_names
from tunebook.pipeline.manifest import broken, status_line, status_of
from tunebook.pipeline.provenance import Usage

SEVERITIES = ("error", "warn", "info")
PROGRESS_SECONDS = 0.5
RESUME = ".resume"


class Upstream:
    """A finished stage that this one reads. Every file is checked against its recorded hash on first use."""

    def __init__(self, folder: Path, manifest: dict):
        self.path, self.manifest = folder, manifest
        self.metrics, self.status, self.name = manifest["metrics"], manifest["status"], manifest["stage"]
        self._intact: set[str] = set()

    def file(self, name: str) -> Path:
        """Verified path of a recorded file. InputProblem where it was never recorded, IntegrityProblem where it
        differs.
        """
        records = [record for record in self.manifest["files"] if record["path"] == name]
        if not records:
            raise InputProblem(
                f"{self.name} left no {name}: it has"
                f" {', '.join(r['path'] for r in self.manifest['files']) or 'no files'}"
            )
        self._verify(records[0])
        return self.path / name

    def rows(self, name: str) -> list[dict]:
        """The rows of a recorded JSON-lines file, verified."""
        return read_jsonl(self.file(f"{name}.jsonl"))

    def folder(self, name: str) -> Path:
        """Verified path of a folder such as `adapter`: every recorded file in it is checked."""
        records = [record for record in self.manifest["files"] if record["path"].startswith(f"{name}/")]
        if not records:
            raise InputProblem(f"{self.name} left no folder {name}/")
        for found in records:
            self._verify(found)
        return self.path / name

    def _verify(self, record: dict) -> None:
        if record["path"] not in self._intact:
            problem = manifests.file_problem(self.path, record)
            if problem:
                raise IntegrityProblem(f"{self.path / record['path']}: {problem}: run {self.name} again")
            self._intact.add(record["path"])


class Context:
    """One running stage. `params` are the result-affecting parameters, `folder` is where the stage writes."""

    def __init__(
        self,
        root: Path,
        run_folder: Path,
        instance: str,
        run_stages: list[str],
        values: dict,
        lock: runs.RunLock | None = None,
    ):
        """`lock` is the run's lock where the notebook runs by hand; `finish` releases it."""
        self.root, self.run_folder, self.name = root, run_folder, instance
        self.folder = runs.work_folder(run_folder, instance) if lock else run_folder / instance
        # what a killed stage had made, for the next try: beside the stage folders, because those are emptied; gone
        # after `finish`
        self.resume_folder = run_folder / RESUME / instance
        # answers by the hash of all that they depend on: what one stage asked, no later one of the run asks again
        self.answers_folder = run_folder / RESUME / "answers"
        self.notebook, self.target = stage_names.split(instance)
        self.params, self.status, self.checks = values, "", []
        self.stages, self._lock = run_stages, lock
        self._external, self._device, self._unhashed, self._last_progress = [], {}, [], 0.0
        self._environment = provenance.environment(root)
        self._inputs = inputs.hashes(values, root)  # as they are now, not as they are left while the stage runs
        source = root / "notebooks" / f"{self.notebook}.ipynb"
        self._notebook_hash = notebooks.source_hash(notebooks.running(self.notebook, root) if lock else source)
        self._line, self._recorder = _by_hand(notebooks.running(self.notebook, root), values) if lock else (None, None)
        self._started, self._started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        self._usage = Usage()
        self._upstream = self._find_upstream()

    def _find_upstream(self) -> dict[str, Upstream]:
        found = {}
        states = self.run_state()
        for name in stage_names.upstream(self.name, self.stages):
            folder = self.run_folder / name
            if (folder / manifests.NAME).is_file() and states.get(name, {}).get("state") not in ("skipped", "error"):
                found[name] = Upstream(folder, manifests.read_verified(folder, stage_names.kind(name)))
        return found

    def run_state(self) -> dict[str, dict]:
        """What run.json says about every stage of the run: `state` is pass, warn, fail, error, skipped, running or
        pending.
        """
        return self.run_record().get("states", {})

    def overrides(self) -> dict[str, dict]:
        """The parameters of the run's study that single stages have for themselves; {} for stages by hand."""
        return self.run_record().get("study", {}).get("overrides", {})

    def run_record(self) -> dict:
        """run.json of the run; {} where there is none, as before the first stage by hand has ended."""
        path = self.run_folder / record.NAME
        return read_json(path) if path.is_file() else {}

    def needs(self) -> dict[str, Upstream]:
        """Every upstream stage that finished, failed gates included; `run_state` says what became of the others."""
        return dict(self._upstream)

    def need(self, name: str) -> Upstream:
        """One upstream stage that must have passed its gate. InputProblem names what to run or to mend."""
        instance = stage_names.resolve_stage(name, stage_names.discover(self.root))
        reads = stage_names.upstream(self.name, self.stages)
        own = f"{instance}+{stage_names.repeat(self.name)}"  # of the same training, where this is a further one
        instance = own if own in reads else instance
        if instance not in reads:
            raise InputProblem(
                f"{self.name} reads {instance}, which is not in its upstream table: add it to"
                " tunebook/pipeline/stages.py"
            )
        if instance not in self._upstream:
            raise InputProblem(
                f"{self.name} needs {instance}, which has not finished in {self.run_folder}: run that notebook first"
            )
        found = self._upstream[instance]
        if found.status == "fail":
            raise InputProblem(
                f"{instance} failed its gate ({'; '.join(broken(found.manifest['checks']))}): mend that and run it"
                " again"
            )
        return found

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the stage is; cheap enough for every step, since it writes at most twice a second."""
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_SECONDS and done < total:
            return
        self._last_progress = now
        step = {"done": int(done), "total": int(total), "note": note, "seconds": now - self._started}
        temporary = self.folder / ".progress.partial"
        temporary.write_text(json.dumps(step), encoding="utf-8")  # not flushed: progress may be lost
        os.replace(temporary, self.folder / "progress.json")
        if self._line:
            self._line.show(step)

    def check(self, name: str, measured, rule: str, ok: bool, severity: str = "error") -> bool:
        """Add a row to the gate. A row that is not ok fails the stage (error), warns (warn) or only informs (info).
        Returns `ok`.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity {severity!r} is not one of {', '.join(SEVERITIES)}")
        row = {"name": name, "measured": manifests.plain(measured), "rule": rule, "ok": bool(ok), "severity": severity}
        self.checks = [row if old["name"] == name else old for old in self.checks]
        if row not in self.checks:
            self.checks.append(row)
        return bool(ok)

    def shown_checks(self):
        """The rows of the gate as a DataFrame: name, measured, rule, ok, severity."""
        return _frame(self.checks)

    def external(self, repo: str, revision: str, sha256: str) -> None:
        """Record a source from outside the run: a Hub repository, a wheel, a file of the user."""
        self._external.append({"repo": repo, "revision": revision, "sha256": sha256})

    def external_file(self, name: str, path: str) -> None:
        """Record a file of the user that the stage reads, by its hash."""
        self.external(name, "", sha256_file(path))

    def other_run(self, name: str) -> Path:
        """The folder of a finished run: a name under outputs/, or a path. InputProblem where there is none."""
        return runs.run_folder_to_read(name, runs.outputs_root(self.root))

    def note_device(self, device: str, dtype: str, reason: str) -> None:
        """Record where the numbers were computed, in which precision, and why."""
        self._device = {"device": str(device), "dtype": str(dtype), "dtype_reason": reason}

    def save(self, name: str, content: list | dict) -> None:
        """Write NAME in the stage's folder: JSON lines for a name that ends in .jsonl, one JSON object else."""
        write = write_jsonl if name.endswith(".jsonl") else write_json
        write(self.folder / name, content)

    def written(self, name: str) -> list[dict]:
        """The rows of a JSON-lines file that this stage wrote."""
        return read_jsonl(self.folder / f"{name}.jsonl")

    def table(self, name: str, rows: list[dict], hashed: bool = True, empty: str = ""):
        """Write tables/NAME.csv and return it as a DataFrame; without a row nothing is written, and `empty` says so.

        `hashed=False` for tables with times: they differ on every run.
        """
        if not rows:
            return print(empty) if empty else None
        frame = _frame(rows)
        write_text(self.folder / "tables" / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        if not hashed:
            self._unhashed.append(f"tables/{name}.csv")
        return frame

    def show(self, name: str, rows: list[dict], **how) -> None:
        """`table`, shown at once: for a cell that shows more than its last value."""
        from IPython.display import display

        frame = self.table(name, rows, **how)
        if frame is not None:
            display(frame)

    def figure(self, name: str, draw, rows, *more):
        """Write figures/NAME.png and return it as an image, so that the cell shows exactly the recorded file.

        `draw(rows, *more)` makes the figure; where there are no rows nothing is drawn. The file has 256 colours, which
        is a third of its bytes: recorded notebooks hold every figure.
        """
        if not rows:
            return None
        fig = draw(rows, *more)
        import PIL.Image
        from IPython.display import Image

        drawn, image = io.BytesIO(), io.BytesIO()
        fig.savefig(drawn, format="png", dpi=100, bbox_inches="tight")
        PIL.Image.open(drawn).convert("RGB").quantize(256).save(image, "png", optimize=True)
        write_bytes(self.folder / "figures" / f"{name}.png", image.getvalue())
        try:
            return Image(data=image.getvalue(), format="png", alt=name.replace("_", " "))
        except TypeError:  # IPython 7, as on Colab
            return Image(data=image.getvalue(), format="png")

    def finish(self, metrics: dict, unstored: tuple = (), costs: dict | None = None, unhashed: tuple = ()) -> str:
        """Write metrics.json and, last, manifest.json; returns the status line.

        `metrics` are results and are hashed: nothing in them may depend on the clock. `costs` (seconds, tokens a
        second, …) are recorded beside them, outside the hash. `unstored` and `unhashed` are patterns on paths in the
        folder, such as `adapter/*`: files too large to record, and files that differ on every run.
        """
        self._usage.stop()
        self.status = status_of(self.checks)
        (self.folder / "progress.json").unlink(missing_ok=True)
        write_json(self.folder / "metrics.json", manifests.plain(metrics))
        manifest = {
            "stage": self.name,
            "kind": stage_names.kind(self.name),
            "run": self.run_folder.name,
            "by": "hand" if self._lock else "runner",
            "params": self.params,
            "inputs": self._inputs,
            "upstream": {name: _reference(found) for name, found in self._upstream.items()},
            "external": self._external,
            "files": manifests.list_files(self.folder, tuple(unstored), (*self._unhashed, *unhashed)),
            "metrics": manifests.plain(metrics),
            "costs": manifests.plain(costs or {}),
            "checks": self.checks,
            "status": self.status,
            "notebook": {"name": f"{self.notebook}.ipynb", "sha256": self._notebook_hash},
            "code": manifests.code_record(self.root, manifests.code_files()),
            "environment": self._describe_environment(),
            "timing": {"started_at": self._started_at, "seconds": round(time.monotonic() - self._started, 3)},
            "peak_memory_bytes": self._usage.peak_bytes,
            "energy_joules": self._usage.joules,
        }
        manifests.write(self.folder, manifest)
        shutil.rmtree(self.resume_folder, ignore_errors=True)
        line = status_line(self.name, self.status, self.checks)
        return line + self._take_place(manifest) if self._lock else line

    def _take_place(self, manifest: dict) -> str:
        """By hand: put the finished stage in the place of the last one, let the next writer in. Returns how the two
        differ, as text.
        """
        from tunebook.pipeline.reuse import differences  # no part of a stage under the runner, so not of its code hash

        before = self.run_folder / self.name / manifests.NAME
        try:
            last = differences(read_json(before), manifest) if before.is_file() else ""
        except (InputProblem, KeyError, TypeError):
            last = ""
        self.folder = runs.swap_in(self.run_folder, self.name)
        self._recorder.keep(self.run_folder, self.name)
        record.set_state(self.run_folder, self.name, self.status, seconds=manifest["timing"]["seconds"], reused=False)
        ledger.note_by_hand(runs.outputs_root(self.root), manifest)
        if "TUNEBOOK_KEEP" in os.environ:  # Drive, on Colab
            kept = Path(os.environ["TUNEBOOK_KEEP"]) / self.run_folder.name
            shutil.copytree(self.run_folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns(runs.LOCK, RESUME))
        self._lock.release()
        return f"\ncompared with the last try: {last}" if last else ""

    def _describe_environment(self) -> dict:
        seeds = {key: value for key, value in self.params.items() if key.startswith("seed")}
        return {**self._environment, **self._device, "threads": provenance.threads(), "seeds": seeds}


def _by_hand(notebook: Path, values: dict) -> tuple:
    """The line below the running cell, and the recorder of what the cells show."""
    from tunebook.pipeline.byhand import Recorder  # as above
    from tunebook.pipeline.progress import CellLine

    return CellLine(), Recorder(notebook, values)


def _frame(rows: list[dict]):
    """Rows as a DataFrame that a notebook shows uncut."""
    import pandas

    pandas.options.display.max_colwidth = None
    pandas.options.display.html.use_mathjax = False  # a model's "$" would be typeset
    pandas.options.display.float_format = lambda value: f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return pandas.DataFrame(rows)


def _reference(found: Upstream) -> dict:
    return {
        "manifest_sha256": sha256_file(found.path / manifests.NAME),
        "content_hash": found.manifest["content_hash"],
        "status": found.status,
    }
