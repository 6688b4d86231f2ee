"""CIFAR as Parquet files of PNG images, which the Hugging Face hub keeps: columns `img` and a label."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from problems.dnn.data.cifar_binary import SHAPE
from problems.dnn.data.labels import check_labels
from zotoolkit.errors import DataDamaged, MissingExtra


def has_column(path: Path, label: str) -> bool:
    """Whether a Parquet file has the columns `img` and `label`.

    Raises:
        MissingExtra: If pyarrow or Pillow is not installed.
        DataDamaged: If it is no Parquet file.
    """
    return {"img", label} <= set(_opened(path).schema_arrow.names)


def read_parquet(paths: Sequence[Path], label: str, classes: int) -> tuple[Tensor, Tensor]:
    """Return `(n, 3, 32, 32)` uint8 images and `(n,)` int64 labels of some files, one after the other.

    Args:
        paths: The files.
        label: The labels' column.
        classes: Labels must be below.

    Raises:
        MissingExtra: If pyarrow or Pillow is not installed.
        DataDamaged: If a file cannot be read, an image is none of 32x32 pixels, or a label is out of range.
    """
    parts = [_read(path, label, classes) for path in paths]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _read(path: Path, label: str, classes: int) -> tuple[Tensor, Tensor]:
    image = _package("PIL.Image")
    try:
        table = _opened(path).read(columns=["img", label]).to_pydict()
        labels = torch.tensor(table[label], dtype=torch.int64)
        images = torch.empty(len(labels), *SHAPE, dtype=torch.uint8)
        for row, entry in enumerate(table["img"]):
            with image.open(io.BytesIO(entry["bytes"])) as picture:
                pixels = np.array(picture.convert("RGB"))
            images[row] = torch.from_numpy(pixels).permute(2, 0, 1)
    except Exception as error:  # pyarrow and Pillow raise many kinds of their own
        raise DataDamaged(f"{path} cannot be read: {error}; fetch it anew.") from error
    if not len(labels):
        raise DataDamaged(f"{path} holds no image.")
    return images, check_labels(labels, classes, path)


def _opened(path: Path) -> Any:
    _package("PIL.Image")
    parquet = _package("pyarrow.parquet")
    try:
        return parquet.ParquetFile(path)
    except Exception as error:
        raise DataDamaged(f"{path} is no Parquet file: {error}; fetch it anew.") from error


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(
            "reading images from Parquet files needs pyarrow and Pillow: pip install 'zotoolkit[images]'."
        ) from error
