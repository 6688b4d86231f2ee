"""Lévy: waves on a parabola; every coordinate but the last carries a wave and a slope.

    f(z) = sin^2(pi w_1) + sum_{i<d} (w_i - 1)^2 (1 + 10 sin^2(pi w_i + 1)) + (w_d - 1)^2 (1 + sin^2(2 pi w_d))
    w_i = 1 + (z_i - 1) / 4,    z in [-10, 10]^d,    f* = 0 at z* = (1, ..., 1)

Source: Laguna and Martí, Journal of Global Optimization 33, 2005; Surjanovic and Bingham, Virtual Library of Simulation
Experiments, 2013, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import BenchmarkFunction


class Levy(BenchmarkFunction):
    """Lévy's waves; settings as in `BenchmarkFunction`.

    Examples:
        >>> Levy(dim=2).noise_free(torch.tensor([[1.0, 1.0], [1.0, 5.0]], dtype=torch.float64)).tolist()
        [0.0, 1.0]
    """

    name = "Lévy"
    low, high = -10.0, 10.0
    source = "Laguna and Martí 2005"

    @override
    def raw(self, z: Tensor) -> Tensor:
        # With v = w - 1 = (z - 1) / 4 the first sine is sin(pi v) up to its sign, and exactly 0 at the minimum.
        v = (z - 1) / 4
        first = torch.sin(math.pi * v[:, 0]).to(torch.float64) ** 2
        inner = v[:, :-1]
        middle = (inner**2 * (1 + 10 * torch.sin(math.pi * (inner + 1) + 1) ** 2)).sum(1, dtype=torch.float64)
        last = v[:, -1]
        return first + middle + (last**2 * (1 + torch.sin(2 * math.pi * last) ** 2)).to(torch.float64)

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.ones(self.dim, dtype=torch.float64)
