"""Ellipsoid: convex and separable, but badly conditioned; curvatures spread evenly in logarithm.

    f(z) = sum_i c^((i-1)/(d-1)) z_i^2,    c = 10^6,    z in [-5, 5]^d,    f* = 0 at z* = 0

Source: Hansen et al., Real-parameter black-box optimization benchmarking 2009 (BBOB), f2 without its oscillation,
rotated f10.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import SeparableFunction
from zotoolkit.checks import check_positive


class Ellipsoid(SeparableFunction):
    """Axis-parallel ellipsoid.

    Args:
        dim: Number of coordinates d.
        condition: Largest curvature divided by the smallest.
        instance: As in `BenchmarkFunction`, like all that follow.
        rotated: Whether to rotate.
        noise: Standard deviation of the noise.
        dtype: Of the points.
        device: Where they live.

    Examples:
        >>> Ellipsoid(dim=2, condition=100.0).noise_free(torch.tensor([[1.0, 2.0]])).item()
        401.0
    """

    name = "Ellipsoid"
    low, high = -5.0, 5.0
    source = "BBOB f2 without its oscillation"

    def __init__(
        self,
        dim: int = 10,
        *,
        condition: float = 1e6,
        instance: int | None = None,
        rotated: bool = False,
        noise: float = 0.0,
        dtype: str | torch.dtype = "float64",
        device: torch.device | str = "cpu",
    ) -> None:
        self.condition = check_positive(condition, "condition")
        super().__init__(dim, instance=instance, rotated=rotated, noise=noise, dtype=dtype, device=device)

    @override
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        exponent = index.to(z.dtype) / max(self.dim - 1, 1)
        return self.condition**exponent * z**2

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)
