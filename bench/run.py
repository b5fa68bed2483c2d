"""Measures speed and memory as ratios within one run: `make bench`, or `python bench/run.py NAME ...` for a part.

Prints one line a measurement and writes outputs/bench/NAME.json. No test depends on a duration: machines are noisy.
"""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--out", default=HERE.parent / "outputs" / "bench", type=Path)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
    from tunebook.files import write_json
    from tunebook.pipeline.provenance import environment

    for name in arguments.names or NAMES:
        result = importlib.import_module(f"bench_{name}").measure()
        record = {"result": result, "environment": environment(HERE.parent), "load": os.getloadavg()}
        write_json(arguments.out / f"{name}.json", record)
        print(name, json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
