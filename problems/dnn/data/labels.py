"""Checking labels that were read from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zotoolkit.errors import DataDamaged


def check_labels(labels: Tensor, classes: int, path: Path) -> Tensor:
    """Return `(n,)` labels as int64.

    Raises:
        DataDamaged: If one is outside 0 to classes - 1; the message names file and record.
    """
    labels = labels.to(torch.int64)
    wrong = ((labels < 0) | (labels >= classes)).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise DataDamaged(f"{path}: record {at} has label {int(labels[at])}, which must be 0 to {classes - 1}.")
    return labels
