"""pip as a child process: its output in a log, its failures as one sentence with the remedy, and the list of versions.

Standard library only. Does not decide what is installed: `install` and `wheels` do.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tunebook.errors import MachineProblem

LLAMA_BUILD = "llama_cpp_build.txt"  # beside the installed package: the flags or the index of its wheel
COMPILER_REMEDY = "install one (Debian, Ubuntu: apt install g++; macOS: xcode-select --install), then run again"
# What pip or CMake print -> what it means and what to do. The first that is found counts.
MEANINGS = (
    (r"No space left on device|Errno 28|Disk quota exceeded", "the disk is full: free about 5 GB, then run again"),
    (
        r"Killed signal terminated|internal compiler error: Killed",
        "memory ran out: CMAKE_BUILD_PARALLEL_LEVEL=1 make setup",
    ),
    (
        r"CMAKE_C(XX)?_COMPILER (not set|could be found)|compiler[^.]{0,200}(not found|is not able)",
        f"there is no working C++ compiler: {COMPILER_REMEDY}",
    ),
    (
        (
            r"NewConnectionError|name resolution|ConnectTimeout|ReadTimeout|Network is"
            r" unreachable|ProxyError|Connection refused"
        ),
        (
            "no package index can be reached: the first set-up needs the network (or PIP_INDEX_URL for a mirror), then"
            " run again"
        ),
    ),
    (
        r"No matching distribution found",
        "the index has no such version for this Python and system: try PYTHON=python3.11",
    ),
    (r"Permission denied", "a file may not be written: look at who owns the folder, then run again"),
)


def read_requirements(path: Path) -> dict[str, str]:
    """Version by name, in the order of the file; names in pip's normal form (lower case, hyphens)."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {normal_name(name): version for name, version in found}


def normal_name(name: str) -> str:
    """A package's name as pip compares it.

    >>> normal_name("Cron_Descriptor")
    'cron-descriptor'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def meaning_of(output: str) -> str:
    """What a failed call means, with the remedy; its last line where it is none of the known troubles."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = next(
        (line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "it said nothing"
    )
    last = last.removeprefix("ERROR:").strip()
    return next(
        (f"{last}; {meaning}" for pattern, meaning in MEANINGS if re.search(pattern, output, re.IGNORECASE)), last
    )


def run_logged(what: str, command: list[str], log: Path, **environment: str) -> None:
    """Run a command with its output in the log. MachineProblem, one sentence that names the log, when it fails."""
    variables = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",
        **environment,
    }
    variables.pop("PYTHONPATH", None)
    with open(log, "a+", encoding="utf-8", errors="replace") as stream:
        stream.write(f"\n$ {' '.join(command)}\n")
        stream.flush()
        start = stream.tell()
        child = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=variables, check=False)
        stream.seek(start)
        output = stream.read()
    if child.returncode != 0:
        raise MachineProblem(f"{what} failed ({meaning_of(output)}); the log is {log}")


def pip_install(what: str, venv: Path, arguments: list[str]) -> None:
    """`pip install ARGUMENTS` into the environment. A call that ends while files are written leaves
    `install.unfinished` behind, which says that the environment has half a package in it; MachineProblem when pip
    fails.
    """
    marker, log = venv / "install.unfinished", venv / "install.log"
    start = log.stat().st_size if log.exists() else 0
    marker.touch()
    try:
        run_logged(what, [str(venv / "bin/python"), "-m", "pip", "install", *arguments], log)
    except BaseException:
        if b"Installing collected packages" not in log.read_bytes()[start:]:
            marker.unlink()
        raise
    marker.unlink()


def install_fast(what: str, venv: Path, arguments: list[str]) -> None:
    """`pip_install` by uv, which is fetched where it is missing; by pip itself where uv cannot do it."""
    python, log = str(venv / "bin/python"), venv / "install.log"
    try:
        if not shutil.which("uv") and not (venv / "bin/uv").exists():
            run_logged("fetching uv", [python, "-m", "pip", "install", "uv"], log)
        uv = shutil.which("uv") or str(venv / "bin/uv")
        indexes = [
            "--index-strategy",
            "unsafe-best-match",
            *_pip_indexes(python),
        ]  # all indexes count alike, as for pip
        run_logged(what, [uv, "pip", "install", "--python", python, *indexes, *arguments], log)
    except (MachineProblem, OSError):
        pip_install(what, venv, arguments)


def _pip_indexes(python: str) -> list[str]:
    """The indexes that pip is told to use, as options for uv, which does not read pip's settings."""
    command = [python, "-m", "pip", "config", "list"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    options = []
    for name, value in re.findall(r"^(?:[\w:-]+\.)?(index-url|extra-index-url|find-links)='(.*)'$", text, re.MULTILINE):
        options += [f"--{name}={part}" for part in value.split()]
    return options
