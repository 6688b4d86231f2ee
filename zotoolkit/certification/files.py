"""Images, true classes and classifiers named on a command line."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zotoolkit.certification.classifiers import is_classifier
from zotoolkit.compare.imports import check_imports
from zotoolkit.errors import DataDamaged, DataMissing, EntryPointFailed, InvalidImages, InvalidSetting, did_you_mean


def load_classifier(name: str) -> Any:
    """Return the classifier that `module:attribute` or `file.py:attribute` names.

    A module, an estimator or an object with a method `predict` is taken as it is. Of what else can be called, a
    function or class that needs no argument is a factory and is called; any other is the classifier.

    Raises:
        InvalidSetting: If the name does not read `module:attribute`, or the attribute is no classifier.
        EntryPointFailed: If the module cannot be imported, has no such attribute, or the factory raises.
    """
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise InvalidSetting(f"a classifier is named module:attribute or file.py:attribute, got {name!r}.")
    found: Any = _module(where)
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = (
                [public for public in vars(found) if not public.startswith("_")] if hasattr(found, "__dict__") else []
            )
            raise EntryPointFailed(f"{where} has no attribute {attribute!r}.{did_you_mean(part, known)}")
        found = getattr(found, part)
    if is_classifier(found):
        return found
    if not callable(found):
        raise InvalidSetting(f"{name} is no classifier: it can neither be called nor has it a method predict.")
    if not _needs_nothing(found):
        if isinstance(found, type):
            raise InvalidSetting(
                f"{name} is a class that needs arguments; name an instance, or a function that makes one."
            )
        return found
    try:
        return found()
    except Exception as error:
        raise EntryPointFailed(f"cannot make the classifier {name}: {type(error).__name__}: {error}.") from error


def load_images(path: Path, labels: Path | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Read images as float32 and, if there are any, their true classes.

    Args:
        path: An .npy file of `(N, *shape)` images, or an .npz file that has them as x and maybe the classes as y.
        labels: An .npy file of `(N,)` true classes; it goes before those of an .npz file.

    Raises:
        DataMissing: If a file is not there.
        DataDamaged: If one cannot be read, or the .npz file has no x.
        InvalidImages: If images are not floating point.
    """
    content = _read(path)
    if isinstance(content, np.ndarray):
        images, y = content, None
    else:
        if "x" not in content:
            raise DataDamaged(f"{path} must hold the images as x, but holds {', '.join(content) or 'nothing'}.")
        images, y = content["x"], content.get("y")
    if labels is not None:
        y = _read(labels)
        if not isinstance(y, np.ndarray):
            raise DataDamaged(f"{labels} must be an .npy file of true classes, got an .npz file.")
    if images.dtype.kind != "f":
        raise InvalidImages(
            f"{path} holds images of dtype {images.dtype}; save them as floats in the range that the classifier takes, "
            "since sigma is in their units."
        )
    return images.astype(np.float32, copy=False), y


def _read(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}
    except FileNotFoundError as error:
        raise DataMissing(f"there is no file {path}.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataDamaged(f"{path} is no .npy or .npz file of numbers ({error}).") from error
    except Exception as error:  # zipfile has errors of its own
        raise DataDamaged(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def _module(name: str) -> ModuleType:
    checked = check_imports([name])[0]
    if not checked.endswith(".py"):
        return sys.modules[checked]
    return next(module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == checked)


def _needs_nothing(function: Any) -> bool:
    """Whether it can be called without arguments, as a factory is."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True
