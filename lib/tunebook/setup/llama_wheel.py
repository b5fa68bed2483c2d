"""llama-cpp-python for the CPU at hand: which instruction sets to compile for, the wheel in the cache, and a true trial
of it.

PyPI has its source only. Its default, GGML_NATIVE, asks the compiler what the CPU can do and dies of SIGILL where a
virtual machine announces AMX and forbids it; pip's own cache returns a wheel whatever flags it was built with. So the
instruction sets are named one by one, never AMX, and the wheel is kept under them. The binding's own index has wheels
for AVX2. Standard library only.
"""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

from tunebook.machine import cpu_flags
from tunebook.setup.packages import LLAMA_BUILD, run_logged
from tunebook.setup.wheels import cache_dir, pip_download

LLAMA = "llama-cpp-python"
AVX512 = {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
# CMake option of ggml -> names in /proc/cpuinfo that it needs. Source:
# vendor/llama.cpp/ggml/src/ggml-cpu/CMakeLists.txt
X86_OPTIONS = {
    "GGML_SSE42": {"sse4_2"},
    "GGML_AVX": {"avx"},
    "GGML_AVX2": {"avx", "avx2"},
    "GGML_FMA": {"avx", "fma"},
    "GGML_F16C": {"avx", "f16c"},
    "GGML_BMI2": {"bmi2"},
    "GGML_AVX_VNNI": {"avx2", "avx_vnni"},
    "GGML_AVX512": AVX512,
    "GGML_AVX512_VBMI": AVX512 | {"avx512vbmi"},
    "GGML_AVX512_VNNI": AVX512 | {"avx512_vnni"},
    "GGML_AVX512_BF16": AVX512 | {"avx512_bf16"},
}
ARM_EXTENSIONS = {"asimddp": "dotprod", "asimdhp": "fp16", "i8mm": "i8mm"}
# Source: build-and-release.yaml of abetlen/llama-cpp-python at 3691546: GGML_NATIVE=off, one wheel for every Python
READY_MADE = "https://abetlen.github.io/llama-cpp-python/whl/cpu"
READY_MADE_NEEDS = {"sse4_2", "avx", "avx2", "fma", "f16c", "bmi2"}
# The binding forces llama-common on (parsers, templates, HTTP: 53 of 127 objects), which Python never loads. CMake
# reads this after
# llama.cpp's own project().
WITHOUT_COMMON = 'set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)\n'
ALWAYS = ["-DGGML_NATIVE=OFF", "-DLLAVA_BUILD=OFF"]
TRIAL = """
import sys
import llama_cpp
model = llama_cpp.Llama(sys.argv[1], n_ctx=64, n_batch=32, n_threads=2, n_gpu_layers=0, verbose=False)
model.eval(model.tokenize(b"Every weekday at nine"))
for _ in range(4):
    model.eval([model.sample(temp=0.0)])
print(llama_cpp.llama_print_system_info().decode().strip(" |"))
"""


def llama_flags(cpu_flags: set[str], machine: str) -> list[str]:
    """CMake definitions for a CPU with these features on this machine (as `platform.machine()` names it).

    >>> llama_flags({"asimddp", "asimdhp"}, "aarch64")[-1]
    '-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod+fp16'
    """
    if machine in ("x86_64", "AMD64"):
        return ALWAYS + [f"-D{option}={'ON' if needs <= cpu_flags else 'OFF'}" for option, needs in X86_OPTIONS.items()]
    if machine == "aarch64":
        extensions = [name for feature, name in ARM_EXTENSIONS.items() if feature in cpu_flags]
        return ALWAYS + ([f"-DGGML_CPU_ARM_ARCH=armv8.2-a+{'+'.join(extensions)}"] if extensions else [])
    if machine == "arm64":  # Apple: the compiler's target has all that ggml uses; one device for every measurement
        return [*ALWAYS, "-DGGML_METAL=OFF"]
    return list(ALWAYS)


def chosen_flags() -> list[str]:
    """Flags for this machine; the user's own CMAKE_ARGS come last, so that they win."""
    return llama_flags(cpu_flags(), platform.machine()) + os.environ.get("CMAKE_ARGS", "").split()


def wheel_folder(version: str, flags: list[str]) -> Path:
    """Folder of the cache for the wheel of this version, these flags and this system, for every Python; made by
    `keep_wheel`.
    """
    tag = f"{platform.system()}-{platform.machine()}".lower()
    key = hashlib.sha256("\n".join([version, tag, *flags]).encode()).hexdigest()[:16]
    return cache_dir() / LLAMA / f"{version}-{tag}-{key}"


def cached_wheel(folder: Path) -> Path | None:
    """The wheel in that folder, or None."""
    return next(iter(sorted(folder.glob("llama_cpp_python-*.whl"))), None)


def is_index_reachable() -> bool:
    """Whether the binding's own index answers within five seconds."""
    try:
        with urllib.request.urlopen(f"{READY_MADE}/{LLAMA}/", timeout=5):
            return True
    except OSError:
        return False


def ready_made_wheel(version: str, folder: Path, python: str) -> Path | None:
    """The binding's own wheel for this version, fetched into `folder`; None where its index has none for this machine,
    cannot be reached within seconds, or CMAKE_ARGS asks for a build of one's own. It uses AVX2 even where the CPU has
    more; try it first.
    """
    is_linux = platform.system() == "Linux" and platform.machine() == "x86_64"
    if not is_linux or not cpu_flags() >= READY_MADE_NEEDS or os.environ.get("CMAKE_ARGS"):
        return None
    quick = ["--timeout", "5", "--retries", "0", "--index-url", READY_MADE, "--no-deps", "--only-binary", ":all:"]
    pip_download([*quick, "--dest", str(folder), f"{LLAMA}=={version}"], python)
    return cached_wheel(folder)


def compile_wheel(version: str, flags: list[str], folder: Path, python: str, log: Path) -> Path:
    """Compile the version from PyPI's source with these flags on all cores; MachineProblem, one sentence, where that
    fails.
    """
    include = folder / "without_common.cmake"
    include.write_text(WITHOUT_COMMON, encoding="utf-8")
    what = ["--no-deps", "--no-cache-dir", "--no-binary", LLAMA, "-w", str(folder), f"{LLAMA}=={version}"]
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    definitions = [*flags, f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={include}"]
    variables = {"CMAKE_ARGS": " ".join(definitions), "CMAKE_BUILD_PARALLEL_LEVEL": jobs}
    run_logged("compiling llama.cpp", [python, "-m", "pip", "wheel", *what], log, **variables)
    return next(folder.glob("*.whl"))


def keep_wheel(wheel: Path, folder: Path, flags: list[str]) -> Path:
    """Copy a built wheel into the folder, with its flags beside it for people; returns the path of the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flags.txt").write_text("\n".join(flags) + "\n", encoding="utf-8")
    partial = folder / f".{wheel.name}.{os.getpid()}.partial"
    shutil.copyfile(wheel, partial)
    return partial.replace(folder / wheel.name)


def note_build(folder: Path, site: Path) -> None:
    """Say beside the package in `site` what the wheel kept in `folder` was built with, for the record of a run."""
    shutil.copyfile(folder / "flags.txt", site / LLAMA_BUILD)


def try_decode(python: str, gguf: Path, place: Path | None = None) -> tuple[bool, str]:
    """Decode a few tokens of a quantised file in a child process: (True, instruction sets in use) or (False, what
    happened).

    `place` is a folder in front of the child's own packages.
    """
    first = f"import sys; sys.path.insert(0, {str(place)!r})\n" if place else ""
    command = [python, "-I", "-c", first + TRIAL, str(gguf)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=120)
    except subprocess.TimeoutExpired:
        return False, "no token within 120 seconds"
    if child.returncode == 0:
        return True, child.stdout.strip().splitlines()[-1]
    if child.returncode == -signal.SIGILL:
        return False, "killed by SIGILL: it was compiled for instructions that this CPU does not execute"
    if child.returncode < 0:
        return False, f"killed by {signal.Signals(-child.returncode).name}"
    return False, (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
