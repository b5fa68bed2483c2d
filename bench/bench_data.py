"""The data gate at 50,000 to 1,000,000 rows of about 500 characters: seconds, peak memory, and three planted rows
found.

Also false alarms among 10,000 clean rows of each of six kinds. The sizes double, so that growth can be read off.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (50_000, 100_000, 200_000, 400_000, 1_000_000)
N_WORDS = 64  # a row, about 500 characters
N_CLEAN = 10_000
MIB = 1024  # ru_maxrss is in KiB on Linux


def measure(sizes: tuple = SIZES) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        runs = [_validate(n, Path(folder) / "rows.jsonl") for n in sizes]
    return {"runs": runs, "false_alarms": _false_alarms()}


def _words() -> list[str]:
    from pydoc_data.topics import topics

    return sorted(set(re.findall(r"\b[a-z]{4,11}\b", " ".join(topics.values()))))


def _rows(n: int, seed: int = 0):
    """Clean rows: a question and two sentences of English words in random order."""
    words, rng = _words(), random.Random(seed)
    for _ in range(n):
        picked = rng.choices(words, k=N_WORDS)
        parts = [" ".join(picked[a:b]).capitalize() for a, b in ((0, 20), (20, 40), (40, N_WORDS))]
        yield {"prompt": f"{parts[0]}?", "completion": f"{parts[1]}. {parts[2]}."}


def _plant(n: int, path: Path) -> dict[str, int]:
    """Write n rows with a key, a repeated row and a benchmark problem among them; returns check → row."""
    from tunebook.evaluation.benchmark import load_benchmark

    at = {"secrets": n // 3, "exact_duplicates": n // 2, "contamination": n - 7}
    first = None
    with open(path, "w", encoding="utf-8") as file:
        for number, row in enumerate(_rows(n)):
            first = first or row
            if number == at["secrets"]:
                row["completion"] += " The key is ghp_" + "a1B2c3D4e5F6" * 3 + "."
            elif number == at["exact_duplicates"]:
                row = first
            elif number == at["contamination"]:
                row = {**row, "prompt": load_benchmark("humaneval").problems[11]["prompt"]}
            file.write(json.dumps(row) + "\n")
    return at


def _validate(n: int, path: Path) -> dict:
    planted = _plant(n, path)
    command = [sys.executable, "-m", "tunebook", "validate", str(path), "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "lib")}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    answer = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    found = {item["check"]: item["rows"] for item in answer["findings"] if item["severity"] != "info"}
    return {
        "n_rows": answer["n_rows"],
        "bytes": path.stat().st_size,
        "seconds": round(seconds, 1),
        "rows_per_second": round(n / seconds),
        "peak_mib": usage.ru_maxrss // MIB,
        "planted_found": found == {check: [row] for check, row in planted.items()},
    }


def _false_alarms() -> dict:
    """Kind of clean rows → rows that an error or a warning names, per 10,000."""
    from tunebook import tasks
    from tunebook.data.rows import rows_from_records
    from tunebook.data.validate import judge_data
    from tunebook.evaluation.benchmark import load_benchmark

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from planted_data import CLEAN

    kinds = {name: CLEAN[name](N_CLEAN) for name in ("prose", "labels", "pairs", "chats")}
    kinds["random words"] = list(_rows(N_CLEAN, seed=1))
    distinct = {row["phrase"].casefold(): row for row in tasks.load("schedule_to_cron").make_rows(3 * N_CLEAN, 1)}
    kinds["schedules"] = list(distinct.values())[:N_CLEAN]
    alarms = {}
    for name, records in kinds.items():
        judgement = judge_data(
            rows_from_records(records, name, "memory"), benchmarks={"humaneval": load_benchmark("humaneval").problems}
        )
        loud = {item.check: item.count for item in judgement.findings if item.severity != "info"}
        alarms[name] = {"n_rows": len(records), "named": sum(loud.values()), "checks": loud}
    return alarms
