"""Sphere: the easiest function there is, convex, separable and perfectly conditioned.

    f(z) = sum_i z_i^2,    z in [-5.12, 5.12]^d,    f* = 0 at z* = 0

Source: De Jong, An analysis of the behavior of a class of genetic adaptive systems, 1975 (F1); Surjanovic and Bingham,
Virtual Library of Simulation Experiments, 2013, sfu.ca/~ssurjano; Hansen et al., BBOB, 2009, f1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import SeparableFunction


class Sphere(SeparableFunction):
    """Sum of squares; settings as in `BenchmarkFunction`.

    Examples:
        >>> Sphere(dim=2).noise_free(torch.tensor([[3.0, 4.0]])).item()
        25.0
    """

    name = "Sphere"
    low, high = -5.12, 5.12
    source = "De Jong 1975, F1; BBOB f1"

    @override
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        return z**2

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)
