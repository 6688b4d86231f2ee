"""CIFAR's binary layout, as its authors publish it.

A file is a row of records, each one label byte (CIFAR-100: coarse, then fine label) and 3,072 pixel bytes: 32x32 red,
then green, then blue, row by row. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from problems.dnn.data.labels import check_labels
from zotoolkit.errors import DataDamaged

SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


def read_binary(paths: Sequence[Path], labels: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return `(n, 3, 32, 32)` uint8 images and `(n,)` int64 labels of some files, one after the other.

    Args:
        paths: The files, which must hold equally many records.
        labels: Label bytes a record; the last is the one that is used.
        classes: Labels must be below.

    Raises:
        DataDamaged: If a file is no whole number of records, is empty, has fewer records than another, or a label is
            out of range.
    """
    size = labels + _PIXELS
    counts: list[int] = []
    for path in paths:
        count, rest = divmod(path.stat().st_size, size)
        if rest or not count:
            raise DataDamaged(
                f"{path} has {path.stat().st_size:,} bytes, no whole number of records of {size:,}: cut short, or "
                "another layout; fetch it anew."
            )
        counts.append(count)
    for path, count in zip(paths, counts, strict=True):
        if count < max(counts):
            raise DataDamaged(f"{path} has {count:,} records, another file {max(counts):,}: cut short; fetch it anew.")
    images = torch.empty(sum(counts), *SHAPE, dtype=torch.uint8)
    targets = torch.empty(sum(counts), dtype=torch.int64)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        records = torch.from_numpy(np.fromfile(path, np.uint8).reshape(count, size))
        targets[start : start + count] = check_labels(records[:, labels - 1], classes, path)
        images[start : start + count] = records[:, labels:].reshape(count, *SHAPE)
        start += count
    return images, targets
