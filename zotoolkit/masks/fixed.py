"""A mask that never changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.masks.base import Mask


@dataclass(frozen=True, eq=False)
class FixedMask(Mask):
    """Keeps the same coordinates alive throughout.

    Args:
        index: `(k,)` integer coordinates, each once, k >= 1.

    Raises:
        InvalidSetting: If index is empty, not integers, negative, or holds one twice.
    """

    index: Tensor

    def __post_init__(self) -> None:
        try:
            index = torch.as_tensor(self.index)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidSetting(f"index must be (k,) integers, got {brief(self.index)}.") from None
        if index.dtype == torch.bool:
            raise InvalidSetting(f"index must be integers, got {brief(index)}; use mask.nonzero().flatten().")
        if index.ndim != 1 or index.is_floating_point() or index.is_complex() or not len(index):
            raise InvalidSetting(f"index must be (k,) integers with k >= 1, got {brief(index)}.")
        index = index.to(torch.int64).cpu().sort().values
        if int(index[0]) < 0 or bool((index[1:] == index[:-1]).any()):
            raise InvalidSetting("index must hold each coordinate once and none below 0.")
        object.__setattr__(self, "index", index)

    @override
    def alive(self, dim: int, iteration: int, seed: int) -> Tensor:
        if int(self.index[-1]) >= dim:
            raise InvalidSetting(f"the mask keeps coordinate {int(self.index[-1])}, but there are only {dim}.")
        return self.index
