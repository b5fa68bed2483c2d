"""The whole kit once, on the real model, as a person runs it: every stage, twice, with equal content hashes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = 10


def tunebook(outputs: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"TUNEBOOK_OUTPUTS": str(outputs)}
    command = [sys.executable, "-m", "tunebook", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for name in ("first", "second"):
        done = tunebook(folder, "run", "params/smoke.yaml", "--run", name, "--exit-zero-when-complete")
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def manifests(run: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in run.glob("*/manifest.json")}


def test_two_fresh_runs_have_equal_content_hashes(outputs):
    first, second = manifests(outputs / "first"), manifests(outputs / "second")
    assert len(first) == STAGES
    different = [name for name in first if first[name]["content_hash"] != second[name]["content_hash"]]
    assert different == []


def test_a_third_run_reuses_every_stage(outputs):
    done = tunebook(outputs, "run", "params/smoke.yaml", "--run", "first", "--exit-zero-when-complete")
    assert done.returncode == 0 and done.stdout.count(" reused ") == STAGES


def test_a_changed_learning_rate_runs_only_what_depends_on_it(outputs):
    done = tunebook(
        outputs, "run", "params/smoke.yaml", "--run", "first", "--set", "learning_rate=2.0e-3", "--only", "02"
    )
    assert "02_train_sft" in done.stdout and " reused " not in done.stdout


def test_verify_finds_the_recorded_bytes_and_a_flipped_one(outputs):
    assert tunebook(outputs, "verify", "second").returncode == 0
    pairs = outputs / "second" / "01_validate_data" / "train.jsonl"
    content = bytearray(pairs.read_bytes())
    content[10] ^= 1
    pairs.write_bytes(content)
    done = tunebook(outputs, "verify", "second")
    assert done.returncode == 4 and "train.jsonl" in done.stdout + done.stderr


def test_the_verdict_is_in_the_report_without_code(outputs):
    page = (outputs / "second" / "report.html").read_text()
    verdict = json.loads((outputs / "second" / "report.json").read_text())["verdict"]
    assert "<h1" in page and verdict in page
    assert "stage.begin" not in page and "<script" not in page
