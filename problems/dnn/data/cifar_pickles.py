"""CIFAR's Python layout, which torchvision downloads: pickles, read without letting them run anything.

A pickle can call whatever it names. These files need four names: how NumPy rebuilds an array, its two types, and how
Python 3 writes bytes into old pickles. An unpickler that knows nothing else cannot be made to do harm.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from problems.dnn.data.cifar_binary import SHAPE
from problems.dnn.data.labels import check_labels
from zotoolkit.errors import DataDamaged


def _empty_array(_: type, shape: Any, dtype: Any) -> np.ndarray:
    """Stand in for NumPy's `_reconstruct`: a plain array, whose contents are filled in afterwards."""
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _bytes(text: str, _: str) -> bytes:
    """Stand in for `_codecs.encode`, which pickles of Python 3 call with "latin1"."""
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes,
}


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds NumPy arrays, dicts, lists, strings and numbers."""

    @override
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no CIFAR file does")
        return _KNOWN[module_name, global_name]


def read_pickles(paths: Sequence[Path], key: str, classes: int) -> tuple[Tensor, Tensor]:
    """Return `(n, 3, 32, 32)` uint8 images and `(n,)` int64 labels of some files, one after the other.

    Args:
        paths: The files.
        key: Under which the labels stand.
        classes: Labels must be below.

    Raises:
        DataDamaged: If a file is no such pickle, asks for anything but arrays, or a label is out of range.
    """
    parts = [_read(path, key, classes) for path in paths]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _read(path: Path, key: str, classes: int) -> tuple[Tensor, Tensor]:
    try:
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        images = np.asarray(content["data"])
        labels = torch.tensor([int(label) for label in content[key]])
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataDamaged(
            f"{path} is no CIFAR file in Python's layout: {error or type(error).__name__}; fetch it anew."
        ) from error
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072 or not len(images):
        raise DataDamaged(f"{path}: data must be (n, 3072) uint8, got {images.shape} {images.dtype}.")
    if len(labels) != len(images):
        raise DataDamaged(f"{path} has {len(images):,} images and {len(labels):,} labels; fetch it anew.")
    return torch.from_numpy(images.reshape(-1, *SHAPE)), check_labels(labels, classes, path)
