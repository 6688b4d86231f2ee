"""Which samples a smaller set keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.seeding import torch_generator

_SUBSET_DRAW = 0x511


def chosen(targets: Tensor, count: int, seed: int) -> Tensor:
    """Return `(count,)` int64 rows, ascending, drawn from a seed.

    Where targets are class indices, classes take turns: each has as many rows as any other, or all that it has, give or
    take one. The rows of a smaller count are among those of a larger one.

    Args:
        targets: `(n, ...)`; a single axis of integers is taken for classes.
        count: Rows, at most n.
        seed: Of the draw.

    Examples:
        >>> targets = torch.tensor([0] * 90 + [1] * 10)
        >>> targets[chosen(targets, 10, seed=0)].bincount().tolist()
        [5, 5]
    """
    order = torch.randperm(len(targets), generator=torch_generator(seed, _SUBSET_DRAW))
    if targets.ndim == 1 and not targets.is_floating_point():
        labels = targets.cpu()[order]
        # A row's turn is its place among those of its class; rows of one turn stay in the order drawn.
        by_class = torch.argsort(labels, stable=True)
        _, sizes = torch.unique_consecutive(labels[by_class], return_counts=True)
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        turn = torch.empty_like(by_class)
        turn[by_class] = torch.arange(len(labels)) - starts
        order = order[torch.argsort(turn, stable=True)]
    return order[:count].sort().values.to(targets.device)
