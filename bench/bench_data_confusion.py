"""Every planted defect against every data check: which checks fired, and at which rows. Written as
data_confusion.json.
"""

import sys
import tempfile
from pathlib import Path


def measure() -> dict:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from planted_data import PLANTED, check_of, confusion

    with tempfile.TemporaryDirectory() as folder:
        table = confusion(Path(folder))
    right = {name for name, found in table.items() if found == {check_of(name): PLANTED[name][1]}}
    return {"n_planted": len(table), "n_found_alone": len(right), "wrong": sorted(set(table) - right), "table": table}
