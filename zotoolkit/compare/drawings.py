"""What problems draw of the points that solvers found: asked for without risk to the results, kept in files.

The pictures of a folder of results lie in `pictures/PROBLEM/NAME.png` or `.gif`; `pictures/pictures.json`, written
last, names them with their captions.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from zotoolkit.compare.specification import slug
from zotoolkit.errors import InvalidSetting, PicturesWarning, ZotoolkitError, brief
from zotoolkit.figures.drawing import ENDINGS, Drawing
from zotoolkit.files import read_json, write_bytes, write_json
from zotoolkit.objective import BlackBoxObjective

PICTURES = "pictures"
INDEX_FILE = "pictures.json"


def draws(objective: BlackBoxObjective) -> bool:
    """Whether a problem draws pictures, as far as its class tells."""
    return type(objective.unwrapped).pictures is not BlackBoxObjective.pictures


def drawn(objective: BlackBoxObjective, label: str, points: Mapping[str, Mapping[int, Tensor]]) -> list[Drawing]:
    """Return what a problem draws.

    Args:
        objective: The problem.
        label: What figures call it.
        points: As in `BlackBoxObjective.pictures`.

    Warns:
        PicturesWarning: If that fails, however it does; then there are none.
    """
    try:
        return _checked(objective.pictures(points))
    except Exception as error:
        warn(label, error)
        return []


def warn(label: str, error: Exception) -> None:
    """Say why a problem has no pictures."""
    said = str(error) if isinstance(error, ZotoolkitError) else f"{type(error).__name__}: {error}"
    warnings.warn(f"no pictures of {label}: {said}", PicturesWarning, stacklevel=3)


def write_drawings(drawings: Mapping[str, Sequence[Drawing]], folder: Path) -> list[Path]:
    """Write pictures, by problem, in place of the folder's former ones and return their paths.

    Raises:
        ResultsUnwritable: If they cannot be written.
    """
    paths, index = [], []
    for problem, pictures in drawings.items():
        for picture in pictures:
            paths.append(_path(folder, problem, picture.name, picture.ending))
            write_bytes(paths[-1], picture.content)
            about = {"name": picture.name, "ending": picture.ending, "caption": picture.caption}
            index.append({"problem": problem, **about})
    if index or (folder / PICTURES / INDEX_FILE).exists():
        write_json(folder / PICTURES / INDEX_FILE, {"pictures": index})
    return paths


def read_drawings(folder: Path) -> dict[str, list[Drawing]] | None:
    """Return the pictures of a folder by problem; None if there are none, or not all that its index names."""
    found: dict[str, list[Drawing]] = {}
    try:
        for entry in read_json(folder / PICTURES / INDEX_FILE, "pictures")["pictures"]:
            if entry["ending"] not in ENDINGS or Path(entry["name"]).name != entry["name"]:
                return None
            content = _path(folder, entry["problem"], entry["name"], entry["ending"]).read_bytes()
            found.setdefault(entry["problem"], []).append(Drawing(entry["name"], entry["caption"], content))
    except (OSError, ZotoolkitError, KeyError, TypeError, AttributeError):
        return None
    return found


def drawing_files(folder: Path) -> list[Path]:
    """Return the paths of a folder's pictures."""
    return [
        _path(folder, problem, picture.name, picture.ending)
        for problem, pictures in (read_drawings(folder) or {}).items()
        for picture in pictures
    ]


def _path(folder: Path, problem: str, name: str, ending: str) -> Path:
    return folder / PICTURES / slug(problem) / f"{name}.{ending}"


def _checked(pictures: object) -> list[Drawing]:
    """Return the pictures as a list.

    Raises:
        InvalidSetting: If they are none, or two have one name.
    """
    right = isinstance(pictures, Sequence) and all(isinstance(picture, Drawing) for picture in pictures)
    if not right or not isinstance(pictures, Sequence):
        raise InvalidSetting(f"pictures must return a list of zotoolkit.figures.Drawing, got {brief(pictures)}.")
    names = [picture.name for picture in pictures]
    if len(set(names)) < len(names):
        raise InvalidSetting(f"pictures must have names of their own, got {names}.")
    return list(pictures)
