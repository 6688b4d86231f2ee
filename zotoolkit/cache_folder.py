"""Where things that can be made again are kept between runs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def cache_folder(part: str) -> Path:
    """Return the folder for one kind of things, made if it is not there.

    `ZOTOOLKIT_CACHE` names the parent; otherwise it is the platform's folder for a user's caches. Where that cannot be
    written to, a folder of this process among the temporary files takes its place. It may be deleted at any time.

    Args:
        part: Kind of things, the folder's name.
    """
    named = os.environ.get("ZOTOOLKIT_CACHE")
    folder = (Path(named) if named else _users() / "zotoolkit") / part
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        if named:
            raise
        return Path(tempfile.mkdtemp(prefix=f"zotoolkit-{part}-"))
    return folder if named or os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix=f"zotoolkit-{part}-"))


def _users() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
