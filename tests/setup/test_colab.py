"""Colab without Colab: a stand-in `google.colab`, the notebook file alone, and rules over cells; the whole emulation
is bench/colab.py.
"""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tunebook.errors import MachineProblem
from tunebook.files import read_json, sha256_file
from tunebook.setup import colab, lab, llama_wheel
from tunebook.setup.packages import normal_name, read_requirements

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements.txt"
PATHS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def cell(path: Path, name: str) -> str:
    return next("".join(c["source"]) for c in read_json(path)["cells"] if c["id"] == name)


def test_every_notebook_asks_for_what_it_needs_and_has_its_badge():
    """Without the metadata a reader gets a CPU and twelve silent minutes; a badge with another name opens a 404."""
    for path in PATHS:
        metadata = read_json(path)["metadata"]
        needs_gpu = path.stem[:2] in ("02", "03", "04", "05", "07", "08", "09", "10", "11", "12", "13")
        assert (metadata.get("accelerator") == "GPU") is needs_gpu and metadata["colab"]["provenance"] == []
        assert (metadata["colab"].get("gpuType") == "T4") is needs_gpu
        link = (
            f"https://colab.research.google.com/github/{colab.REPOSITORY}/blob/main/{path.relative_to(ROOT).as_posix()}"
        )
        assert f"[![Open In Colab]({BADGE})]({link})" in cell(path, "title"), path.name
    assert len(PATHS) >= 9
    assert (
        f"[![Open In Colab]({BADGE})](https://colab.research.google.com/github/{colab.REPOSITORY}/blob/main/"
        in (ROOT / "README.md").read_text()
    ), "the README's own badge goes with a fork, too"


def test_the_bootstrap_clones_the_tag_of_this_version_from_the_one_repository_and_never_imports_torch():
    """A notebook saved in Drive meets a library with other parameters where it clones whatever is newest."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    sources = {cell(path, "bootstrap") for path in PATHS}
    assert len(sources) == 1
    [source] = sources
    assert f'"v{version}"' in source and f"https://github.com/{colab.REPOSITORY}" in source and "torch" not in source


def test_a_fork_puts_its_name_in_one_place(tmp_path):
    for name in ("README.md", "lib/tunebook/setup/colab.py", "notebooks/02_train_sft.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    changed = colab.set_repository("someone/kit", tmp_path)
    assert {path.name for path in changed} >= {"colab.py", "02_train_sft.ipynb"}
    notebook = tmp_path / "notebooks/02_train_sft.ipynb"
    assert "github.com/someone/kit" in cell(notebook, "bootstrap") and "github/someone/kit/blob" in cell(
        notebook, "title"
    )
    assert colab.REPOSITORY not in notebook.read_text()
    with pytest.raises(MachineProblem, match="owner/name"):
        colab.set_repository("only-a-name", tmp_path)


def test_what_colab_holds_in_memory_is_never_brought_a_second_time():
    pins = read_requirements(ROOT / "requirements.txt")
    chosen = {line.split("==")[0] for line in colab.choose(pins, {"numpy", "pillow", "psutil"})}
    assert {"transformers", "trl", "peft", "datasets", "pyarrow", "papermill"} <= chosen
    assert not chosen & {
        "torch",
        "numpy",
        "pillow",
        "ipykernel",
        "ipython",
        "jupyter-client",
        "jupyterlab",
        llama_wheel.LLAMA,
    }
    assert all(line.split("==")[1] == pins[line.split("==")[0]] for line in colab.choose(pins, set()))
    assert "pytest" in colab.loaded_distributions() and "transformers" not in colab.loaded_distributions()


PYTHON = {"python_version": "3.13", "python_full_version": "3.13.15", "extra": ""}


def test_the_pins_go_with_what_colab_keeps():
    """A renewed pin that asks for a newer numpy than the one in Colab's memory stops every notebook there."""
    kept, pins = read_requirements(Path(__file__).with_name("colab_kept.txt")), read_requirements(REQUIREMENTS)
    chosen = dict(line.split("==") for line in colab.choose(pins, set(kept)))
    there, problems, seen = chosen | kept, [], 0
    for name in chosen:
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if requirement.marker and not requirement.marker.evaluate(PYTHON):
                continue
            seen += 1
            version = there.get(normal_name(requirement.name))
            if version is None or not requirement.specifier.contains(version.partition("+")[0], prereleases=True):
                problems.append(f"{name} {chosen[name]} needs {requirement}, there is {version}")
    assert not problems and seen > 150 and {"torch", "numpy", "protobuf"} <= set(kept)


@pytest.mark.parametrize(
    ("namespace", "needed"),
    [
        ({"model": "m", "rows": ""}, False),
        ({"model": "m", "target": "sft"}, False),
        ({"model": "m", "target": "gguf"}, True),
        ({"model": "m", "gguf_types": []}, True),
        ({"monitored": ""}, True),
        ({"run": "r", "seed": 0}, True),
    ],
)
def test_llama_cpp_is_brought_only_to_who_reads_or_writes_its_files(namespace, needed):
    assert colab.needs_llama(namespace) is needed


class Colab:
    """A runtime in a folder: what it has been asked to run, a torchao of 2025, secrets, a Drive."""

    def __init__(self, folder: Path, monkeypatch):
        self.calls, self.root = [], folder / "content" / "tunebook"
        (self.root / "outputs").mkdir(parents=True)
        (self.root / "requirements.txt").write_text("torch==2.13.0\ntrl==1.16.0\nllama-cpp-python==0.3.36\n")
        monkeypatch.setattr(colab, "ROOT", self.root)
        monkeypatch.setattr(colab, "OURS", ())
        monkeypatch.setattr(colab, "loaded_distributions", set)  # not what this test process has loaded
        monkeypatch.setattr(colab, "NEEDED_BYTES", 0)
        monkeypatch.setattr(colab, "run_logged", lambda what, command, log, **rest: self.calls.append(command))
        monkeypatch.setattr(colab, "PROOF", "print('versions')")
        monkeypatch.setattr(colab, "PROBE", "print('T0')")
        monkeypatch.setattr(sys, "path", list(sys.path))
        self.google = types.ModuleType("google")
        self.module = types.ModuleType("google.colab")
        self.google.colab = self.module
        self.secret("SecretNotFoundError")
        monkeypatch.setitem(sys.modules, "google", self.google)
        monkeypatch.setitem(sys.modules, "google.colab", self.module)
        for name in ("HF_TOKEN", "PYTHONPATH", "TUNEBOOK_PACKAGES", "TUNEBOOK_RUNNING_NOTEBOOK", "TUNEBOOK_KEEP"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)

    def secret(self, answer: str):
        def get(name):
            if answer.endswith(("Error", "Exception")):
                raise type(answer, (Exception,), {})(name)
            return answer

        self.module.userdata = types.SimpleNamespace(get=get)


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    return Colab(tmp_path, monkeypatch)


def test_the_pins_go_into_a_folder_of_their_own_in_front_of_colabs(runtime, monkeypatch, capsys):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.0")
    colab.prepare({"model": "m", "rows": ""})
    overlay = runtime.root.parent / "tunebook-env" / "site-packages"
    install, uninstall = runtime.calls
    assert install[install.index("--target") + 1] == str(overlay) and "--no-deps" in install
    assert (overlay.parent / "requirements.txt").read_text() == "trl==1.16.0\n"
    assert uninstall[-1] == "torchao" and "uninstall" in uninstall
    assert sys.path[0] == str(overlay) and os.environ["PYTHONPATH"].startswith(str(overlay))
    shown = capsys.readouterr().out
    assert "retained = []" in shown and "allow_unisolated = True" in shown, "T0 names the two ways on"
    runtime.calls.clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.16.1")
    colab.prepare({"model": "m", "rows": ""})
    assert runtime.calls == [], "the second notebook of a session has nothing to do"


def test_an_import_before_the_cell_is_the_one_case_of_a_restart(runtime, monkeypatch):
    monkeypatch.setattr(colab, "OURS", ("json",))
    with pytest.raises(MachineProblem, match="json was imported before.*Restart session"):
        colab.prepare({"model": "m", "rows": ""})


def test_packages_that_do_not_go_together_are_told_before_the_notebook_begins(runtime, monkeypatch):
    monkeypatch.setattr(colab, "PROOF", "raise ImportError('trl 1 needs torch 9')")
    with pytest.raises(MachineProblem, match="trl 1 needs torch 9"):
        colab.prepare({"model": "m", "rows": ""})


@pytest.mark.parametrize("answer", ["hf_abc", "SecretNotFoundError", "NotebookAccessError", "TimeoutException"])
def test_a_token_reaches_child_kernels_and_its_absence_stops_nothing(runtime, answer):
    runtime.secret(answer)
    colab.prepare({"model": "m", "rows": ""})
    assert os.environ.get("HF_TOKEN") == ("hf_abc" if answer == "hf_abc" else None)


def test_the_drive_gives_back_what_an_earlier_session_made(runtime, monkeypatch, tmp_path):
    kept = tmp_path / "drive"
    (kept / "by-hand" / "02_train_sft").mkdir(parents=True)
    (kept / "by-hand" / "run.json").write_text("{}")
    mounted = []
    runtime.module.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setattr(colab, "DRIVE", kept)
    colab.prepare({"model": "m", "rows": ""}, keep_in_drive=True)
    assert (
        mounted and (runtime.root / "outputs/by-hand/run.json").is_file() and os.environ["TUNEBOOK_KEEP"] == str(kept)
    )


def test_the_live_notebook_is_what_the_record_names(runtime):
    notebook = {"cells": [{"cell_type": "code", "metadata": {}, "source": "mine = 1"}]}
    runtime.module._message = types.SimpleNamespace(blocking_request=lambda what, timeout_sec: {"ipynb": notebook})
    colab.prepare({"model": "m", "rows": ""})
    assert read_json(Path(os.environ["TUNEBOOK_RUNNING_NOTEBOOK"])) == notebook


def test_the_bootstrap_does_nothing_outside_colab():
    source = cell(PATHS[0], "bootstrap")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COLAB")}
    check = f"{source}\nassert 'tunebook' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", check], env=environment, check=False).returncode == 0


def test_the_lab_opens_copies_and_keeps_what_somebody_wrote(tmp_path):
    """Every save of JupyterLab in notebooks/ made the checkout dirty and failed the tests."""
    source = tmp_path / "notebooks" / "01_a.ipynb"
    source.parent.mkdir()
    (source.parent / "README.md").write_text("start")
    source.write_text("first")
    assert lab.copy_notebooks(tmp_path) == []
    copy = tmp_path / "work" / "01_a.ipynb"
    source.write_text("second")
    assert lab.copy_notebooks(tmp_path) == [] and copy.read_text() == "second"
    copy.write_text("mine")
    assert lab.copy_notebooks(tmp_path) == []
    source.write_text("third")
    assert lab.copy_notebooks(tmp_path) == ["01_a.ipynb"] and copy.read_text() == "mine"
    assert sha256_file(source) != sha256_file(copy)
