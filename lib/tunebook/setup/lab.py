"""`make lab`: working copies of the notebooks under work/, which git ignores, and JupyterLab with a start page and
without news.

JupyterLab saves every two minutes, with outputs and counts; in notebooks/ each save would be a change of the checkout.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from tunebook.files import read_json, sha256_file, write_json

ROOT = Path(__file__).resolve().parents[3]
COPIED = ".copied.json"
OVERRIDES = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "@jupyterlab/notebook-extension:tracker": {
        "windowingMode": "none"
    },  # cells out of sight are still there for search and print
}


def copy_notebooks(root: Path) -> list[str]:
    """Bring work/ to what notebooks/ has. A copy that somebody changed stays; returns those whose source has moved
    on since.
    """
    work, old = root / "work", []
    record = work / COPIED
    copied = read_json(record) if record.is_file() else {}
    for source in sorted([*(root / "notebooks").rglob("*.ipynb"), root / "notebooks" / "README.md"]):
        name = source.relative_to(root / "notebooks").as_posix()
        target, digest = work / name, sha256_file(source)
        if target.exists() and sha256_file(target) != copied.get(name):
            old += [name] if copied.get(name) != digest else []
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied[name] = digest
    write_json(record, copied)
    return old


def main() -> None:
    """Become JupyterLab in the checkout, opened at work/README.md."""
    for name in copy_notebooks(ROOT):
        print(f"work/{name} is yours and stays, though notebooks/{name} has changed: rename it to get the new one")
    settings = Path(sys.prefix) / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(OVERRIDES), encoding="utf-8")
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, for widgets that no notebook here has
    options = [f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/work/README.md", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])


if __name__ == "__main__":
    main()
