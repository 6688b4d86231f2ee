"""Griewank: a wide parabola with ripples that couple all coordinates and fade as d grows.

    f(z) = sum_i z_i^2 / 4000 - prod_i cos(z_i / sqrt(i)) + 1,    z in [-600, 600]^d,    f* = 0 at z* = 0

Source: Griewank, Journal of Optimization Theory and Applications 34, 1981; Surjanovic and Bingham, Virtual Library of
Simulation Experiments, 2013, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import BenchmarkFunction


class Griewank(BenchmarkFunction):
    """Griewank's rippled bowl; settings as in `BenchmarkFunction`.

    Examples:
        >>> round(Griewank(dim=1).noise_free(torch.tensor([[3.0]], dtype=torch.float64)).item(), 6)
        1.992242
    """

    name = "Griewank"
    low, high = -600.0, 600.0
    source = "Griewank 1981"

    @override
    def raw(self, z: Tensor) -> Tensor:
        root = torch.arange(1, z.shape[1] + 1, dtype=z.dtype, device=z.device).sqrt()
        bowl = (z**2).sum(1, dtype=torch.float64) / 4000
        return bowl - torch.cos(z / root).prod(1, dtype=torch.float64) + 1

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)
