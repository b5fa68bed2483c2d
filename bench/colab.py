"""Run notebooks as Colab would, without Colab: `python bench/colab.py FOLDER 01 02 04 05`. Needs a package index;
minutes.

FOLDER gets a Python environment with Colab's versions of kernel and loaded packages, a regular `google` package with a
stand-in `google.colab`, a stub torchao, numpy and PIL in memory before the first cell, and the notebook file alone in
content/. Its Python is `--python`, else this one; its torch is `--torch` from the index, else this machine's. Each
notebook runs cell by cell by nbclient. Prints one line a notebook and whether a file of the runtime's own packages
changed, and writes outputs/bench/colab.json. Source of the versions: pip-freeze.gpu.txt of googlecolab/backend-info,
2026-08-19. The GPU, the network and the browser are not there.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL = (
    "ipython==7.34.0 ipykernel==6.17.1 jupyter_client==7.4.9 traitlets==5.7.1 tornado==6.5.7 nbclient==0.10.4"
    " numpy==2.1.3"
)
KERNEL += (
    " pillow==11.3.0 psutil==5.9.5 protobuf==5.29.6 setuptools sympy networkx jinja2 filelock fsspec"
    " typing_extensions uv"
)
FILES = {
    "google/__init__.py": "",
    "google/colab/__init__.py": "from google.colab import _message, drive, files, runtime, userdata\n",
    "google/colab/userdata.py": (
        "class SecretNotFoundError(Exception): pass\nclass NotebookAccessError(Exception): pass\n"
        "class TimeoutException(Exception): pass\ndef get(name): raise SecretNotFoundError(name)\n"
    ),
    "google/colab/drive.py": "def mount(place): raise ValueError('mount failed')\n",
    "google/colab/files.py": "def download(path): pass\n",
    "google/colab/runtime.py": "def unassign(): pass\n",
    "google/colab/_message.py": "def blocking_request(what, timeout_sec=None): raise TimeoutError\n",
    "google/colab/_shell.py": (
        "from ipykernel.zmqshell import ZMQInteractiveShell\nclass Shell(ZMQInteractiveShell): pass\n"
    ),
    "google/colab/_kernel.py": (
        "import numpy, PIL\nfrom ipykernel.ipkernel import IPythonKernel\nfrom traitlets import Type\n"
        "from google.colab._shell import Shell\nclass Kernel(IPythonKernel):\n    shell_class = Type(Shell)\n"
    ),
    "torchao-0.10.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n",
    "torchao-0.10.0.dist-info/RECORD": (
        "torchao/__init__.py,,\ntorchao-0.10.0.dist-info/METADATA,,\ntorchao-0.10.0.dist-info/RECORD,,\n"
    ),
    "torchao/__init__.py": "__version__ = '0.10.0'\n",
}
SMALL = {"n_rows": 64, "n_dev": 8, "n_test": 12, "general_documents": 2, "retained_limit": 2, "max_new_tokens": 16}
SMALL |= {
    "retained_max_new_tokens": 16,
    "parity_rows": 4,
    "served_prompts": 0,
    "quantisation_margin": 100.0,
    "rehearsal_share": 0.1,
}


def make(folder: Path, interpreter: str, torch_version: str) -> Path:
    """The runtime in `folder`; returns its Python."""
    python, done = folder / "usr" / "bin" / "python", folder / "made"
    if not done.exists():
        subprocess.run([interpreter, "-m", "venv", folder / "usr"], check=True)
        torch = [f"torch=={torch_version}"] if torch_version else []
        subprocess.run([python, "-m", "pip", "install", "-q", *KERNEL.split(), *torch], check=True)
        done.touch()
    site = site_packages(python)
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    if not torch_version:
        import torch

        here = Path(torch.__file__).parents[1]
        for pattern in ("torch", "torchgen", "functorch", "torch-*.dist-info"):
            for path in here.glob(pattern):
                if not (site / path.name).exists():
                    (site / path.name).symlink_to(path)
    return python


def site_packages(python: Path) -> Path:
    """Where the runtime's own packages lie."""
    [site] = (python.parents[1] / "lib").glob("python*/site-packages")
    return site


def files_of(python: Path) -> dict:
    """SHA-256 of every file of the runtime's own packages but torchao, which may go, and compiled Python; of torch and
    CUDA, which are gigabytes, size and time.
    """
    site, found = site_packages(python), {}
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if not path.is_file() or path.suffix == ".pyc" or name.startswith("torchao"):
            continue
        is_large = name.startswith(("torch/", "nvidia/", "triton/"))
        stat = path.stat()
        found[name] = (stat.st_size, stat.st_mtime_ns) if is_large else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def versions_of(python: Path) -> dict:
    """Python and the distributions that make the runtime what it is."""
    names = ("torch", "ipython", "ipykernel", "jupyter_client", "traitlets", "tornado", "numpy", "pillow", "protobuf")
    code = "import importlib.metadata as m, json, platform, sys; print(json.dumps({'python': platform.python_version()}"
    code += " | {name: m.version(name) for name in sys.argv[1:]}))"
    return json.loads(subprocess.run([python, "-c", code, *names], capture_output=True, check=True).stdout)


def repository(folder: Path) -> Path:
    """This checkout as the remote, with the tag that the bootstrap asks for."""
    bare = folder / "remote.git"
    shutil.rmtree(bare, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", "--bare", ROOT, bare], check=True)
    subprocess.run(["git", "-C", bare, "tag", "-f", "v0.1.0"], check=True, capture_output=True)
    return bare


def run(folder: Path, python: Path, number: str, target: str) -> str:
    """Copy one notebook into content/, run it there; '' or the error."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    content = folder / "content"
    content.mkdir(exist_ok=True)
    [source] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    notebook = nbformat.read(source, as_version=4)
    cell = next(cell for cell in notebook.cells if cell["id"] == "parameters")
    for name, value in (SMALL | {"target": target}).items():
        cell.source = re.sub(rf"^({name}: \w+ = )\S+", rf"\g<1>{value!r}", cell.source, flags=re.MULTILINE)
    spec = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    argv = [
        str(python),
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
        "--IPKernelApp.kernel_class=google.colab._kernel.Kernel",
    ]
    environment = {
        "COLAB_RELEASE_TAG": "release-colab",
        "COLAB_GPU": "",
        "TUNEBOOK_ROOT": str(content / "tunebook"),
        "PYTHONPATH": "",
    }
    environment |= {"TUNEBOOK_REPO": str(folder / "remote.git"), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python", "env": environment}))
    os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
    try:
        NotebookClient(
            notebook, kernel_name="python3", timeout=1200, resources={"metadata": {"path": str(content)}}
        ).execute()
        problem = ""
    except CellExecutionError as error:
        problem = f"{error.ename}: {error.evalue}"[:300]
    nbformat.write(notebook, folder / f"{number}{target}.ipynb")
    for shown in notebook.cells:
        if shown["id"] in ("bootstrap", "status"):
            print("".join(output.get("text", "") for output in shown.get("outputs", [])), end="")
    return problem


def main() -> int:
    """Exit code 1 where a notebook failed or the runtime's own packages changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=lambda text: Path(text).resolve())
    parser.add_argument("notebooks", nargs="+", help="number, with a target for 04: 01 02 04@sft 05")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch", default="", help="version from the package index; this machine's without it")
    parser.add_argument("--keep", action="store_true", help="go on with the stages that an earlier call left in FOLDER")
    parser.add_argument("--out", default=ROOT / "outputs" / "bench", type=Path)
    wanted = parser.parse_args()
    folder = wanted.folder
    folder.mkdir(parents=True, exist_ok=True)
    python = make(folder, wanted.python, wanted.torch)
    if not wanted.keep:
        shutil.rmtree(folder / "content", ignore_errors=True)
    repository(folder)
    before, results = files_of(python), {}
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    for name in wanted.notebooks:
        number, _, target = name.partition("@")
        started = time.monotonic()
        problem = run(folder, python, number, target or "sft")
        results[name] = {
            "result": problem or "pass",
            "seconds": round(time.monotonic() - started),
            "commit": commit,
        }
        print(f"{name}: {problem or 'pass'} ({results[name]['seconds']} s)", flush=True)
    after = files_of(python)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    print("files of the runtime's own packages that changed:", ", ".join(changed) or f"none of {len(before)}")
    sys.path.insert(0, str(ROOT / "lib"))
    from tunebook.files import write_json
    from tunebook.pipeline.provenance import environment

    result = {"notebooks": results, "runtime": versions_of(python), "parameters": SMALL}
    result |= {"own_files": len(before), "changed_files": changed}
    record = {"result": result, "environment": environment(ROOT), "load": os.getloadavg()}
    write_json(wanted.out / "colab.json", record)
    return int(any(found["result"] != "pass" for found in results.values()) or bool(changed))


if __name__ == "__main__":
    sys.exit(main())
