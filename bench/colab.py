"""Run notebooks as Colab would, without Colab: `python bench/colab.py FOLDER 01 02 04 05`. Needs a package index;
minutes.

FOLDER gets a Python environment with Colab's versions of kernel and loaded packages and with this machine's torch, a
regular `google` package with a stand-in `google.colab`, a stub torchao, numpy and PIL in memory before the first cell,
and the notebook file alone in content/. Each notebook runs cell by cell by nbclient. Prints one line a notebook, and
whether Colab's own site-packages changed. Source of the versions: pip-freeze.gpu.txt of googlecolab/backend-info,
2026-08-19. The GPU, the network and the browser are not there.
"""

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


def make(folder: Path) -> Path:
    """The runtime in `folder`; returns its Python."""
    python = folder / "usr" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "usr"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *KERNEL.split()], check=True)
    [site] = (folder / "usr" / "lib").glob("python*/site-packages")
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    import torch

    here = Path(torch.__file__).parents[1]
    for path in [*here.glob("torch"), *here.glob("torchgen"), *here.glob("functorch"), *here.glob("torch-*.dist-info")]:
        if not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    return python


def packages_of(python: Path) -> dict:
    """Installed distributions of the runtime itself, without torchao, which may go."""
    [site] = (python.parents[1] / "lib").glob("python*/site-packages")
    return {
        path.name: path.stat().st_mtime_ns for path in site.glob("*.dist-info") if not path.name.startswith("torchao")
    }


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
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = make(folder)
    shutil.rmtree(folder / "content", ignore_errors=True)
    repository(folder)
    before, problems = packages_of(python), []
    for name in sys.argv[2:]:
        number, _, target = name.partition("@")
        started = time.monotonic()
        problem = run(folder, python, number, target or "sft")
        problems += [problem] if problem else []
        print(f"{name}: {problem or 'pass'} ({time.monotonic() - started:.0f} s)", flush=True)
    changed = packages_of(python) != before
    print("the runtime's own packages", "CHANGED" if changed else "are unchanged")
    return int(bool(problems) or changed)


if __name__ == "__main__":
    sys.exit(main())
