"""A mask of coordinates drawn uniformly, renewed every few iterations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count, check_fraction
from zotoolkit.masks.base import Mask
from zotoolkit.seeding import torch_generator

_MASK_DRAW = 2


@dataclass(frozen=True)
class UniformMask(Mask):
    """Keeps a random share of the coordinates alive.

    Args:
        keep: Share in (0, 1]; at least one coordinate is kept.
        refresh: Draw anew every so many iterations.

    Raises:
        InvalidSetting: If keep is outside (0, 1] or refresh below 1.

    Examples:
        >>> UniformMask(keep=0.25).alive(dim=8, iteration=0, seed=0).shape
        torch.Size([2])
    """

    keep: float
    refresh: int = 1

    def __post_init__(self) -> None:
        check_fraction(self.keep, "keep")
        check_count(self.refresh, "refresh")

    @override
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        generator = torch_generator(seed, iteration // self.refresh, _MASK_DRAW)
        return torch.randperm(dim, generator=generator)[: max(1, round(self.keep * dim))].sort().values
