"""Rastrigin: a parabola with a regular grid of about 10^d local minima.

    f(z) = 10 d + sum_i z_i^2 - 10 cos(2 pi z_i),    z in [-5.12, 5.12]^d,    f* = 0 at z* = 0

Source: Rastrigin 1974; Mühlenbein et al., Parallel Computing 17, 1991; Surjanovic and Bingham, Virtual Library of
Simulation Experiments, 2013, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import SeparableFunction


class Rastrigin(SeparableFunction):
    """Rastrigin's egg box; settings as in `BenchmarkFunction`.

    Examples:
        >>> Rastrigin(dim=2).noise_free(torch.tensor([[1.0, 0.0]])).item()
        1.0
    """

    name = "Rastrigin"
    low, high = -5.12, 5.12
    source = "Rastrigin 1974; Mühlenbein et al. 1991"

    @override
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        return 10 + z**2 - 10 * torch.cos(2 * math.pi * z)

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)
