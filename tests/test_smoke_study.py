"""The whole kit on the real model, every stage, twice with equal content hashes: in kernels, as a person runs it, and in
forks of one process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import own_study

ROOT = Path(__file__).parent.parent
STAGES = 10

RUN = ("run", "params/smoke.yaml", "--run", "first", "--exit-zero-when-complete")


def start(outputs: Path, *command: str, core: int | None = None) -> subprocess.Popen:
    """A command as a person calls it, on one core if one is given: two runs side by side must not wait for each other."""
    pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"TUNEBOOK_OUTPUTS": str(outputs), "PYTHONPATH": str(ROOT / "lib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=pin,
    )


def tunebook(outputs: Path, *arguments: str) -> tuple[int, str]:
    started = start(outputs, "-m", "tunebook", *arguments)
    text = started.communicate()[0]
    return started.returncode, text


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two runs from nothing, side by side: `first` in kernels, `smoke` in forks of one process, which import once."""
    folder = tmp_path_factory.mktemp("outputs")
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    kernels = ("-m", "tunebook", *RUN)
    commands = (kernels, (own_study.__file__, str(folder), own_study.AS_IT_IS))
    both = [start(folder, *command, core=usable[at % len(usable)]) for at, command in enumerate(commands)]
    for run in both:
        text = run.communicate()[0]
        assert run.returncode == 0, text
    return folder


def manifests(run: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in run.glob("*/manifest.json")}


def test_two_fresh_runs_have_equal_content_hashes(outputs):
    first, second = manifests(outputs / "first"), manifests(outputs / "smoke")
    assert len(first) == STAGES
    different = [name for name in first if first[name]["content_hash"] != second[name]["content_hash"]]
    assert different == []


def test_a_third_run_reuses_every_stage(outputs):
    code, text = tunebook(outputs, *RUN)
    assert code == 0 and text.count(" reused ") == STAGES


def test_verify_finds_the_recorded_bytes_and_a_flipped_one(outputs):
    assert tunebook(outputs, "verify", "smoke")[0] == 0
    rows = outputs / "smoke" / "01_validate_data" / "train.jsonl"
    content = bytearray(rows.read_bytes())
    content[10] ^= 1
    rows.write_bytes(content)
    code, text = tunebook(outputs, "verify", "smoke")
    assert code == 4 and "train.jsonl" in text


def test_the_verdict_is_in_the_report_without_code(outputs):
    page = (outputs / "smoke" / "report.html").read_text()
    verdict = json.loads((outputs / "smoke" / "report.json").read_text())["verdict"]
    assert "<h1" in page and verdict in page
    assert "stage.begin" not in page and "<script" not in page
