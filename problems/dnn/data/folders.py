"""Where data files lie: a folder that is given, the one that ZOTOOLKIT_DATA names, or `data`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from zotoolkit.errors import DataMissing, InvalidSetting, brief

VARIABLE = "ZOTOOLKIT_DATA"
_DEFAULT = "data"


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder given, else the one that the environment variable ZOTOOLKIT_DATA names, else `data`.

    Raises:
        InvalidSetting: If folder is no path.
        DataMissing: If it is no folder.
    """
    if folder is not None and not isinstance(folder, (str, Path)):
        raise InvalidSetting(f"folder must be a path, got {brief(folder)}.")
    path = Path(folder or os.environ.get(VARIABLE) or _DEFAULT).expanduser()
    if not path.is_dir() and folder is not None:
        raise DataMissing(f"there is no folder {path}: folder= must name the one that holds the data files.")
    return path


def places(folder: Path, *names: str, bare: bool = True) -> Iterator[Path]:
    """Yield where to look: the folder and the folders in it, each followed by those of these names in it.

    Args:
        folder: Where to begin.
        names: Folders that a data set may lie in.
        bare: Whether folders of any other name are yielded too.
    """
    heads = [folder]
    if folder.is_dir():
        heads += sorted(path for path in folder.iterdir() if path.is_dir())
    for head in heads:
        if bare:
            yield head
        for name in names:
            if (head / name).is_dir():
                yield head / name


def missing(what: str, folder: Path, instruction: str) -> DataMissing:
    """Return the one line that says that data are not there and what to do about it.

    Args:
        what: The data set's name.
        folder: Where it was looked for.
        instruction: Which files to put where, as a clause after "put".
    """
    return DataMissing(
        f"{what} is not in the folder {folder}: put {instruction}; or name another folder by folder= or {VARIABLE}."
    )
