"""How far a solver reaches at first when the user does not say."""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.spaces import Bounds


def free_scale(x0: Tensor) -> float:
    """Return the length of a first step where there are no bounds: the root mean square of x0, or 1 if x0 is 0.

    Examples:
        >>> free_scale(torch.tensor([3.0, -3.0])), free_scale(torch.zeros(2))
        (3.0, 1.0)
    """
    size = float(x0.double().square().mean().sqrt())
    return size if size > 0 else 1.0


def coordinate_scales(x0: Tensor, bounds: Bounds, share: float) -> Tensor:
    """Return `(d,)` first step lengths: a share of the width where a coordinate is bounded, else `free_scale`."""
    width = bounds.high - bounds.low
    return torch.where(torch.isfinite(width), share * width, free_scale(x0))
