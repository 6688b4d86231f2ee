"""What a candidate changes in the output of one operation, relative to the base point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Change:
    """Differences of P candidates to one base value of shape S.

    Args:
        values: `(P, *S)` differences. If axis is given they have length 1 along it and are 0 elsewhere.
        axis: Axis of the base value along which each candidate changes one index alone, such as the channel axis
            behind a convolution of which one weight is perturbed. None where anything may change.
        index: `(P,)` int64, which index along axis; None without an axis.
    """

    values: Tensor
    axis: int | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Self:
        """Return the changes of some candidates."""
        return type(self)(self.values[rows], self.axis, None if self.index is None else self.index[rows])

    def dense(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return the `(P, *shape)` differences written out, images with the channels innermost in memory."""
        if self.axis is None or self.index is None:
            return self.values.to(dtype)
        out = images_like(len(self), shape, self.values, dtype)
        place = self.index.view(-1, *(1,) * len(shape)).expand(self.values.shape)
        return out.scatter_(self.axis + 1, place, self.values.to(dtype))


def images_like(count: int, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `(count, *shape)` zeros; four-axis shapes, (B, C, H, W), with the channels innermost in memory."""
    if len(shape) != 4:
        return torch.zeros(count, *shape, dtype=dtype, device=like.device)
    batch, channels, height, width = shape
    out = torch.zeros(count, batch, height, width, channels, dtype=dtype, device=like.device)
    return out.permute(0, 1, 4, 2, 3)


def fold(values: Tensor) -> Tensor:
    """Return `(P, B, ...)` as `(P * B, ...)`: a view wherever the memory allows."""
    return values.flatten(0, 1)


def rows(values: Tensor, axis: int) -> Tensor:
    """Return a tensor with this axis last and all others but the first flattened: `(P, B, C, H, W)` as `(P, M, C)`.

    A view if the axis is innermost in memory, as channels are here.
    """
    moved = values.movedim(axis, -1)
    return moved.reshape(moved.shape[0], -1, moved.shape[-1])
