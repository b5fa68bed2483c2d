"""Run a recorded study again at its recorded commit, and say whether it comes out the same. Leaves the record and the checkout alone."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import yaml

from tunebook.errors import InputProblem, MachineProblem
from tunebook.pipeline import manifest as manifests
from tunebook.pipeline import params, provenance, record
from tunebook.pipeline.compare_runs import first_divergence
from tunebook.pipeline.files import write_text

RUN = "reproduction"


def reproduce_run(root: Path, folder: Path, keep: bool, say: Callable[[str], None]) -> int:
    """0 when every recorded stage comes out the same, 1 at the first divergence, which is named.

    InputProblem where the record cannot be reproduced: a dirty or unknown commit, or no finished stage.
    """
    recorded = record.load(folder)
    finished = _finished(folder, recorded)
    _require_commit(root, recorded, finished)
    for name, was, is_now in _changed_packages(finished, root):
        say(f"note: {name} was {was or 'absent'}, is {is_now or 'absent'}")
    with _worktree(root, recorded["commit"], keep, say) as tree:
        again = _run_again(tree, recorded["study"])
        return _compare(finished, again, say)


def _finished(folder: Path, recorded: dict) -> dict[str, dict]:
    found = {}
    for name, state in recorded["states"].items():
        if state["state"] in record.FINISHED:
            found[name] = manifests.read(folder / name)
    if not found:
        raise InputProblem(f"{folder} has no finished stage: there is nothing to reproduce")
    return found


def _require_commit(root: Path, recorded: dict, finished: dict[str, dict]) -> None:
    commit = recorded.get("commit", "")
    if not commit:
        raise InputProblem("the run was recorded outside git, so its code is not known: record it in a checkout")
    dirty = [name for name, manifest in finished.items() if manifest["environment"]["dirty"]]
    if recorded["dirty"] or dirty:
        where = f" ({dirty[0]})" if dirty else ""
        raise InputProblem(
            f"the run was recorded with changes that were not committed{where}: commit them and record it again"
        )
    if provenance.git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise InputProblem(f"commit {commit[:12]} of the record is not in {root}: fetch it, then repeat")


def _changed_packages(finished: dict[str, dict], root: Path) -> list[tuple[str, str, str]]:
    """Packages whose installed version differs from the recorded one: the likely reason of a divergence."""
    was, now = next(iter(finished.values()))["environment"]["packages"], provenance.packages(root)
    return [
        (name, was.get(name, ""), now.get(name, ""))
        for name in sorted(set(was) | set(now))
        if was.get(name) != now.get(name)
    ]


@contextmanager
def _worktree(root: Path, commit: str, keep: bool, say: Callable[[str], None]):
    """A checkout of `commit` in a temporary folder, removed afterwards unless `keep`."""
    folder = Path(tempfile.mkdtemp(prefix="tunebook-reproduce-")) / "checkout"
    if provenance.git(root, "worktree", "add", "--detach", str(folder), commit) is None:
        raise MachineProblem(
            f"git worktree add {folder} failed: free disk space or check that {root} is a git checkout"
        )
    try:
        yield folder
    finally:
        if keep:
            say(f"kept: {folder / 'outputs' / RUN}")
        else:
            provenance.git(root, "worktree", "remove", "--force", str(folder))
            folder.parent.rmdir()


def _run_again(tree: Path, study: dict) -> Path:
    """Run the recorded study with the code in `tree`; its stages show on this terminal. Returns the new run's folder."""
    values = {key: value for key, value in study["params"].items() if key not in params.ROUTING_KEYS}
    overlay = {"extends": "base", **values, "stages": study["stages"], **study["overrides"]}
    path = tree / "params" / f"{RUN}.yaml"
    write_text(path, yaml.safe_dump(overlay, sort_keys=False, allow_unicode=True))
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TUNEBOOK_RUN", "TUNEBOOK_STAGE", "GIT_"))
    }
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(tree / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TUNEBOOK_ROOT": str(tree),
        "TUNEBOOK_OUTPUTS": str(tree / "outputs"),
    }
    command = [sys.executable, "-m", "tunebook", "run", str(path), "--run", RUN]
    done = subprocess.run(command, cwd=tree, env=environment, check=False)
    folder = tree / "outputs" / RUN
    if done.returncode not in (0, 1) or not (folder / record.NAME).is_file():
        raise MachineProblem(f"the repeated run ended with exit code {done.returncode}: its message is above")
    return folder


def _compare(finished: dict[str, dict], again: Path, say: Callable[[str], None]) -> int:
    here = (provenance.device_fingerprint(), provenance.cpu()["cores"])
    for name, recorded in finished.items():
        environment = recorded["environment"]
        is_same_hardware = (environment["device_fingerprint"], environment["cpu"]["cores"]) == here
        if not (again / name / manifests.NAME).is_file():
            say(f"{name}: DIVERGES: it did not finish now")
            return 1
        divergence = first_divergence(recorded, manifests.read(again / name), is_same_hardware)
        if divergence:
            say(f"{name}: DIVERGES: {divergence}")
            return 1
        say(
            f"{name}: same"
            + ("" if is_same_hardware else " (other hardware: scores within their intervals, weights not compared)")
        )
    say("reproduced: no stage diverges")
    return 0
