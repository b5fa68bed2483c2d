"""One measurement again in a child process that sees a lesser CPU: what most laptops have."""

import json
import os
import subprocess
import sys
from pathlib import Path

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
CODE = "import importlib, json, sys; print(json.dumps(importlib.import_module(sys.argv[1]).measure_here(sys.argv[2])))"


def on_avx2(module: str) -> dict:
    """`measure_here("float32")` of the benchmark `module` as on a CPU with AVX2 alone; {} on one that has no more."""
    from tunebook.machine import cpu_flags

    if "avx512f" not in cpu_flags():
        return {}
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", CODE, module, "float32"]
    found = subprocess.run(command, env=os.environ | AVX2 | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, check=True)
    return json.loads(found.stdout.splitlines()[-1])
