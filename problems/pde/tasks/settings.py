"""What several problems take in the same way: a corrector by name, a dtype by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Union

import torch
from torch import nn

from zotoolkit.checks import check_choice
from zotoolkit.errors import InvalidSetting, brief

Corrector = Union[str, Callable[[], nn.Module]]


def chosen(corrector: Corrector, known: Mapping[str, Callable[[], nn.Module]]) -> Callable[[], nn.Module]:
    """Return what builds a corrector: one of the known, or a function of the user's.

    Raises:
        InvalidSetting: If it is neither.
    """
    if isinstance(corrector, str):
        return known[check_choice(corrector, tuple(known), "corrector")]
    if isinstance(corrector, nn.Module) or not callable(corrector):
        names = ", ".join(map(repr, known))
        raise InvalidSetting(f"corrector must be {names} or a function that builds a network, got {brief(corrector)}.")
    return corrector


def dtype_named(name: str) -> torch.dtype:
    """Return the dtype of a name.

    Raises:
        InvalidSetting: If it is neither "float32" nor "float64".
    """
    return torch.float64 if check_choice(name, ("float32", "float64"), "dtype") == "float64" else torch.float32


def reached(steps: tuple[int, ...], frames: int) -> tuple[int, ...]:
    """Return those of the steps that trajectories of so many frames reach, or all that they have."""
    return tuple(number for number in steps if number < frames) or (max(1, frames - 1),)
