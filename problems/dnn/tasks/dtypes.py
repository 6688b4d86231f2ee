"""Dtypes that settings name."""

from __future__ import annotations

import torch

from zotoolkit.checks import check_choice

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def dtype_named(name: str) -> torch.dtype:
    """Return the dtype.

    Raises:
        InvalidSetting: If it is neither "float32" nor "float64".
    """
    return _DTYPES[check_choice(name, tuple(_DTYPES), "dtype")]
