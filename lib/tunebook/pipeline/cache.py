"""Where downloaded and converted files are kept between runs. Does not fetch anything and does not decide what is kept."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """$TUNEBOOK_CACHE, else $XDG_CACHE_HOME/tunebook, else ~/.cache/tunebook; made where it is missing."""
    chosen = os.environ.get("TUNEBOOK_CACHE")
    if chosen:
        folder = Path(chosen).expanduser()
    elif os.environ.get("XDG_CACHE_HOME"):
        folder = Path(os.environ["XDG_CACHE_HOME"]) / "tunebook"
    else:
        folder = Path.home() / ".cache" / "tunebook"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()
