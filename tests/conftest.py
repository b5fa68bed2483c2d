"""What holds for every test: no network but loopback, and nothing from this person's shell.

Set at import, before any library reads it, and inherited by kernels and other children.
"""

import importlib.util
import os
import sys
from pathlib import Path

OFFLINE = Path(__file__).parent / "offline"
LONG = (
    "smoke_study own_studies ranks zoo runs programs export resume score training forecast watch recover methods preferences"
    " measure serve runner reinforce inspection simulated sweep stage"
).split()
DEAD_PROXY = "http://127.0.0.1:9"  # for clients that are not Python: nothing listens there

for name in ("TUNEBOOK_ROOT", "TUNEBOOK_OUTPUTS", "TUNEBOOK_RUN_FOLDER", "TUNEBOOK_STAGE", "NO_COLOR"):
    os.environ.pop(name, None)
os.environ |= {
    "PYTHONPATH": os.pathsep.join([str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD_PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
}
if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait for each other on full cores double the time
    os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.modules.setdefault("rfc3987_syntax", None)  # 4 s of every test process: see tunebook.pipeline.notebooks

_spec = importlib.util.spec_from_file_location("tunebook_offline", OFFLINE / "sitecustomize.py")
_spec.loader.exec_module(importlib.util.module_from_spec(_spec))


def pytest_collection_modifyitems(items):
    """The files that take a minute come first, else the last process would be alone with one of them."""
    order = {f"test_{name}.py": at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))
