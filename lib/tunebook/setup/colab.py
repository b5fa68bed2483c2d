"""Prepare a Colab runtime: exact pins in a folder in front of Colab's own packages, in Colab's own kernel, without a
restart.

Colab's torch, its kernel and all that is in memory before the first cell stay; nothing is written into Colab's
site-packages, but torchao goes where it is too old for peft. Standard library only until the packages are there.
Source: pip-freeze.gpu.txt of googlecolab/backend-info (2026-08-19); what is kept is read at run time, since images
change every few weeks.
"""

import hashlib
import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tunebook.errors import MachineProblem
from tunebook.setup import llama_wheel, wheels
from tunebook.setup.packages import normal_name, read_requirements, run_logged

# `python -m tunebook.setup.colab me/tunebook` puts a fork's name here, in the badges and in the cells
REPOSITORY = "OWNER/tunebook"
ROOT = Path(__file__).resolve().parents[3]
DRIVE = Path("/content/drive/MyDrive/tunebook-outputs")
NEEDED_BYTES = 5 * 1024**3
# The CUDA build of the driver; the kernel; and `google`, which is one regular package there, so a second protobuf is
# not seen.
KEPT = (
    "torch triton torchvision ipykernel ipython jupyter-client jupyter-core traitlets tornado pyzmq nbclient nbformat"
    " nbconvert"
)
KEPT += " protobuf setuptools pip matplotlib-inline comm debugpy"
UNUSED = (
    "jupyterlab jupyterlab-server jupyter-server jupyter-server-terminals jupyter-lsp jupyter-builder jupyter-events"
)
UNUSED += " notebook-shim async-lru json5 pytest pluggy iniconfig pytest-xdist execnet ruff cronsim"
OURS = ("transformers", "trl", "peft", "accelerate", "datasets", "huggingface_hub", "tokenizers", "pyarrow", "pandas")
OLDEST_TORCHAO = (0, 16)  # Source: peft 0.21.2 raises ImportError at the first LoRA layer with an older one
PROOF = """
import torch, transformers, trl, peft, datasets, papermill
datasets.Dataset.from_list([{"a": [1]}])
print(*(f"{part.__name__} {part.__version__}" for part in (torch, transformers, trl, peft)), sep=", ")
"""
PROBE = "from tunebook.execution.isolation import probe; print(probe()['tier'])"
# colabtools#5237: Colab constrains uv to its own versions by these.
UV = {"UV_CONSTRAINT": "", "UV_BUILD_CONSTRAINT": "", "UV_PRERELEASE": "if-necessary-or-explicit"}
TIERS = {
    "T2": "namespaces: nothing outside can be seen",
    "T1": "Landlock: nothing outside can be written",
    "T0": (
        "limits only: a model's code would run unconfined here, so HumanEval is not scored. Leave it out with `retained"
        " = []`, or write `allow_unisolated = True` into the parameters cell; never with a mounted Drive"
    ),
}


def prepare(namespace: dict, keep_in_drive: bool = False) -> None:
    """Make this Colab runtime ready for the notebook whose globals are `namespace`; MachineProblem, one sentence, where
    it cannot be.

    About a minute in the first notebook of a session. With `keep_in_drive` finished stages are copied to Drive, and
    those of an earlier session come back.
    """
    overlay = ROOT.parent / "tunebook-env" / "site-packages"  # dill takes a module as importable only under such a name
    log = overlay.parent / "colab.log"
    _check_machine(overlay)
    pins = read_requirements(ROOT / "requirements.txt")
    loaded = loaded_distributions()
    wrong = sorted(name for name in OURS if name in sys.modules and not _is_from(sys.modules[name], overlay))
    if wrong:
        raise MachineProblem(f"{wrong[0]} was imported before this cell: Runtime > Restart session, then Run all")
    stamp, key = overlay.parent / "stamp", hashlib.sha256(f"{sys.version}\n{pins}".encode()).hexdigest()
    is_ready = stamp.is_file() and stamp.read_text() == key
    if not is_ready:
        _step("packages", lambda: _install(pins, loaded, overlay, log))
    _step("torchao", lambda: _drop_torchao(log))  # every time: a package that somebody installed may bring it back
    _put_first(overlay)
    if not is_ready:
        _step("proof", lambda: _prove(log))
        stamp.write_text(key)
    if needs_llama(namespace):
        _step("llama.cpp", lambda: _bring_llama(pins[llama_wheel.LLAMA], overlay, log))
    _take_token()
    tier = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False).stdout.strip()
    print(f"isolation: {tier or 'none'} {TIERS.get(tier, TIERS['T0'])}")
    _see_notebook(overlay.parent / "running.ipynb")
    if keep_in_drive:
        _keep_in_drive()
    else:
        print(f"results: {ROOT / 'outputs'}, gone with this runtime unless keep_in_drive is True (or download them)")


def choose(pins: dict[str, str], loaded: set[str], machine: tuple[str, ...] = ()) -> list[str]:
    """The pins that go into the overlay: all but those that Colab keeps, those in memory, and those that nobody uses
    there.

    >>> choose({"torch": "2.13.0", "numpy": "2.4.6", "trl": "1.16.0", "ruff": "0.17.6"}, {"numpy"})
    ['trl==1.16.0']
    """
    out = {*KEPT.split(), *UNUSED.split(), llama_wheel.LLAMA, *loaded, *machine}
    return [
        f"{name}=={version}" for name, version in pins.items() if name not in out and not name.startswith("nvidia-")
    ]


def loaded_distributions() -> set[str]:
    """Packages of which some module is in memory already: a second version would be half loaded."""
    owners = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    return {normal_name(owner) for top in tops for owner in owners.get(top, [])} - {normal_name(name) for name in OURS}


def needs_llama(namespace: dict) -> bool:
    """Whether the notebook makes or reads GGUF files: 05, 07, 04 with gguf, and 06, which may run those before it."""
    return (
        namespace.get("target") == "gguf"
        or any(name in namespace for name in ("gguf_types", "monitored"))
        or not any(name in namespace for name in ("model", "rows"))
    )


def set_repository(name: str, root: Path = ROOT) -> list[Path]:
    """Put owner/repository into the badges, the bootstrap cells and this file. Returns the files that changed."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise MachineProblem(f"{name!r} is no repository: write owner/name")
    changed = []
    for path in [
        root / "README.md",
        root / "lib/tunebook/setup/colab.py",
        *sorted((root / "notebooks").rglob("*.ipynb")),
    ]:
        text = path.read_text(encoding="utf-8")
        new = text.replace(f"github.com/{REPOSITORY}", f"github.com/{name}").replace(
            f"github/{REPOSITORY}", f"github/{name}"
        )
        new = new.replace(f'REPOSITORY = "{REPOSITORY}"', f'REPOSITORY = "{name}"')
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def _step(name: str, work) -> None:
    started = time.monotonic()
    words = work()
    print(f"{name}: {words} ({time.monotonic() - started:.0f} s)", flush=True)


def _check_machine(overlay: Path) -> None:
    try:
        overlay.mkdir(parents=True, exist_ok=True)
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        print(found.strip().splitlines()[0])
    except (OSError, IndexError, subprocess.SubprocessError):
        print("no GPU: Runtime > Change runtime type > T4 GPU; goes on with the CPU")
    free = shutil.disk_usage(overlay).free
    if free < NEEDED_BYTES:
        raise MachineProblem(
            f"{overlay}: {free / 1e9:.1f} GB free, about 5 needed: Runtime > Disconnect and delete runtime"
        )


def _is_from(module, overlay: Path) -> bool:
    return str(getattr(module, "__file__", None) or overlay).startswith(str(overlay))


def _install(pins: dict, loaded: set[str], overlay: Path, log: Path) -> str:
    """Exact pins, wheels only, without their dependencies: the list is complete."""
    chosen = choose(pins, loaded)
    listed = overlay.parent / "requirements.txt"
    listed.write_text("\n".join(chosen) + "\n")
    arguments = ["--target", str(overlay), "--no-deps", "--only-binary", ":all:", "-r", str(listed)]
    uv = shutil.which("uv")
    command = (
        [uv, "pip", "install", "--python", sys.executable]
        if uv
        else [sys.executable, "-m", "pip", "install", "--upgrade"]
    )
    run_logged("installing the packages", [*command, *arguments], log, **UV)
    return f"{len(chosen)} as pinned, the rest is Colab's"


def _drop_torchao(log: Path) -> str:
    """Child processes meet it too, so it has to go from the disk."""
    try:
        version = importlib.metadata.version("torchao")
    except importlib.metadata.PackageNotFoundError:
        return "not there"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST_TORCHAO:
        return version
    run_logged("removing torchao", [sys.executable, "-m", "pip", "uninstall", "-y", "-q", "torchao"], log)
    return f"{version} removed: peft refuses it"


def _put_first(overlay: Path) -> None:
    """In this kernel, and by PYTHONPATH in the kernels that it starts."""
    places = [str(overlay), str(ROOT / "lib")]
    sys.path[:] = places + [place for place in sys.path if place not in places]
    inherited = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place and place not in places]
    os.environ["TUNEBOOK_PACKAGES"] = str(overlay)  # for children that ignore PYTHONPATH, or have one of their own
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *inherited])
    importlib.invalidate_caches()


def _prove(log: Path) -> str:
    """Import everything in a child: a pair of versions that do not go together is told here and not in the middle of
    a notebook.
    """
    child = subprocess.run([sys.executable, "-c", PROOF], capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise MachineProblem(f"the packages do not go with this image's torch ({last}): report it; the log is {log}")
    return child.stdout.strip()


def _bring_llama(version: str, overlay: Path, log: Path) -> str:
    """The wheel that an earlier notebook compiled, or the ready-made one, where it decodes; else one compiled here,
    which is said before, since it takes minutes.
    """
    python, gguf = sys.executable, wheels.smollm2_gguf()
    if llama_wheel.try_decode(python, gguf, overlay)[0]:
        return "there already"
    flags = llama_wheel.chosen_flags()
    kept = llama_wheel.wheel_folder(version, flags)
    with tempfile.TemporaryDirectory() as build:
        place = Path(build)
        ready = llama_wheel.cached_wheel(kept) or llama_wheel.ready_made_wheel(version, place, python)
        if ready and _try(ready, overlay, gguf, log):
            if ready.parent != kept:
                llama_wheel.keep_wheel(ready, kept, [llama_wheel.READY_MADE])
            llama_wheel.note_build(kept, overlay)
            return ready.name
        print("compiling llama.cpp (3 to 8 minutes, once a session)", flush=True)
        place = place / "compiled"
        place.mkdir()
        wheel = llama_wheel.compile_wheel(version, flags, place, python, log)
        if not _try(wheel, overlay, gguf, log):
            raise MachineProblem(f"llama.cpp was compiled and cannot decode here; the log is {log}")
        llama_wheel.keep_wheel(wheel, kept, flags)
        llama_wheel.note_build(kept, overlay)
        return wheel.name


def _try(wheel: Path, overlay: Path, gguf: Path, log: Path) -> bool:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--upgrade",
        "--no-deps",
        "--no-index",
        "--target",
        str(overlay),
        str(wheel),
    ]
    run_logged("installing llama.cpp", command, log)
    return llama_wheel.try_decode(sys.executable, gguf, overlay)[0]


def _take_token() -> None:
    """The Hub's token from Colab's secrets into the environment, since child kernels cannot ask for it; silent where
    there is none.
    """
    try:
        from google.colab import userdata

        token = userdata.get("HF_TOKEN")
    except Exception as problem:  # SecretNotFoundError, NotebookAccessError, TimeoutException: three ways to have none
        print(f"no HF_TOKEN from Colab's secrets ({type(problem).__name__}): public models need none")
        return
    os.environ.setdefault("HF_TOKEN", token)


def _see_notebook(path: Path) -> None:
    """Keep the notebook as it stands in the browser, so that a record names its cells and not those of the clone."""
    try:
        from google.colab import _message

        path.write_text(json.dumps(_message.blocking_request("get_ipynb", timeout_sec=10)["ipynb"]), encoding="utf-8")
    except Exception:  # private to Colab: without it the record names the clone's cells
        return
    os.environ["TUNEBOOK_RUNNING_NOTEBOOK"] = str(path)


def _keep_in_drive() -> None:
    from google.colab import drive

    drive.mount("/content/drive")
    kept, outputs = DRIVE, ROOT / "outputs"
    kept.mkdir(parents=True, exist_ok=True)
    for run in kept.iterdir():
        if run.is_dir() and not (outputs / run.name).exists():
            shutil.copytree(run, outputs / run.name)
    os.environ["TUNEBOOK_KEEP"] = str(kept)
    print(
        f"results are copied to {kept} as stages finish; code without isolation can read that Drive, so do not consent"
        " to it"
    )


if __name__ == "__main__":
    for changed in set_repository(sys.argv[1]):
        print(changed)
