"""`tunebook doctor` names what is wrong and the remedy, and never breaks itself on a broken machine."""

import argparse
import json
import signal
import sys
from pathlib import Path

import pytest

from tunebook import doctor
from tunebook.setup import llama_wheel, wheels


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add(parser.add_subparsers())
    args = parser.parse_args(["doctor", *arguments])
    return args.handler(args)


def stand_in_python(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/bash\nulimit -c 0\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def cached_model(tmp_path, monkeypatch):
    """A cache in which the base model is a file of three bytes with a right pin."""
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(
        wheels, "SMOLLM2_GGUF_SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    gguf = wheels.unpacked_folder(*wheels.SMOLLM2) / wheels.SMOLLM2_GGUF
    gguf.parent.mkdir(parents=True)
    gguf.write_bytes(b"abc")
    return gguf


def test_this_machine_is_examined_as_one_json_object(capsys):
    code = run("--json")
    report = json.loads(capsys.readouterr().out)
    names = {check["name"] for check in report["checks"]}
    assert names >= {
        "python",
        "cores",
        "memory",
        "disk",
        "compiler",
        "base model",
        "llama.cpp",
        "converter",
        "device",
        "isolation",
    }
    assert code == (0 if report["ok"] else 3)
    assert [check for check in report["checks"] if check["level"] != "ok" and not check["remedy"]] == []


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("fail", 3)])
def test_only_a_fail_changes_the_exit_code(level, code, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda root: [doctor.Advice(level, "thing", "as found", "what to do")])
    assert run() == code
    assert capsys.readouterr().out.split() == [level, "thing", "as", "found", "what", "to", "do"]


def test_a_check_that_breaks_is_a_fail_and_the_others_go_on(monkeypatch, tmp_path):
    def broken():
        raise ImportError("libtorch.so: cannot open")

    monkeypatch.setattr(doctor, "check_device", broken)
    monkeypatch.setattr(doctor, "check_llama", lambda: [])
    monkeypatch.setattr(doctor, "check_isolation", lambda: [])
    findings = list(doctor.examine(tmp_path))  # no requirements.txt here either
    failed = {finding.name: finding.detail for finding in findings if finding.level == "fail"}
    assert "libtorch.so" in failed["device"]
    assert "requirements.txt" in failed["packages"]
    assert "converter" in {finding.name for finding in findings}


def test_what_the_next_set_up_would_wait_for_is_named(tmp_path, monkeypatch):
    """Minutes of compiling should be no surprise."""
    monkeypatch.setenv("TUNEBOOK_CACHE", str(tmp_path))
    listed = tmp_path / "requirements.txt"
    listed.write_text("llama-cpp-python==9.9\n")
    assert "llama.cpp is not in the cache" in next(doctor.check_setup(listed)).detail
    folder = llama_wheel.wheel_folder("9.9", llama_wheel.chosen_flags())
    folder.mkdir(parents=True)
    (folder / "llama_cpp_python-9.9-py3-none-any.whl").touch()
    assert "llama.cpp is not" not in next(doctor.check_setup(listed)).detail


def test_each_package_that_differs_is_named(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("pytest==0.0.1  # the runner\nno_such-package==1.0\n")
    wrong, missing = doctor.check_packages(requirements)
    assert (wrong.level, missing.level) == ("warn", "fail")
    assert "0.0.1" in wrong.detail
    assert "no-such-package 1.0" in missing.detail


def test_a_cpu_build_of_torch_is_the_version_in_the_list(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0+cpu")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    assert [finding.level for finding in doctor.check_packages(tmp_path / "requirements.txt")] == ["ok"]


def test_a_llama_cpp_for_another_cpu_is_named_with_the_remedy(cached_model, tmp_path, monkeypatch):
    """Without this the export stage dies in the kernel and papermill only says that it is gone."""
    monkeypatch.setattr(sys, "executable", stand_in_python(tmp_path / "python", "kill -ILL $$"))
    (finding,) = doctor.check_llama()
    assert finding.level == "fail"
    assert "SIGILL" in finding.detail
    assert "make setup" in finding.remedy


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo 'Traceback' >&2; echo 'ModuleNotFoundError: llama_cpp' >&2; exit 1", "ModuleNotFoundError: llama_cpp"),
        ("exit 7", "exit code 7"),
        (f"kill -{signal.SIGSEGV.value} $$", "SIGSEGV"),
    ],
)
def test_a_failed_decode_says_how_it_ended(tmp_path, body, words):
    works, detail = llama_wheel.try_decode(stand_in_python(tmp_path / "python", body), tmp_path / "any.gguf")
    assert not works
    assert words in detail


def test_a_missing_base_model_is_a_warning_and_a_changed_one_a_fail(cached_model):
    assert [finding.level for finding in doctor.check_base_model()] == ["ok"]
    cached_model.write_bytes(b"abd")
    assert [finding.level for finding in doctor.check_base_model()] == ["fail"]
    cached_model.unlink()
    assert [finding.level for finding in doctor.check_base_model()] == ["warn"]
    assert [finding.level for finding in doctor.check_llama()] == ["warn"]


@pytest.mark.parametrize(("tier", "level"), [("T2", "ok"), ("T1", "ok"), ("T0", "warn"), (None, "fail")])
def test_weak_isolation_is_not_passed_over(tier, level, monkeypatch):
    tiers = {"T2": "user namespaces are switched off", "T1": "no Landlock", "T0": "works"}
    monkeypatch.setattr("tunebook.execution.isolation.probe", lambda: {"tier": tier, "name": tier, "tiers": tiers})
    (finding,) = doctor.check_isolation()
    assert finding.level == level
    if level != "ok":
        assert "user namespaces" in finding.detail
        assert finding.remedy
