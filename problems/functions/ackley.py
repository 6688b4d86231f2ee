"""Ackley: a flat, rippled plain with one deep funnel in its middle.

    f(z) = -20 exp(-0.2 sqrt(mean_i z_i^2)) - exp(mean_i cos(2 pi z_i)) + 20 + e
    z in [-32.768, 32.768]^d,    f* = 0 at z* = 0, where the function has a cusp

Source: Ackley, A connectionist machine for genetic hillclimbing, 1987; Surjanovic and Bingham, Virtual Library of
Simulation Experiments, 2013, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import BenchmarkFunction


class Ackley(BenchmarkFunction):
    """Ackley's funnel; settings as in `BenchmarkFunction`.

    Examples:
        >>> round(Ackley(dim=2).noise_free(torch.tensor([[1.0, 1.0]])).item(), 6)
        3.625385
    """

    name = "Ackley"
    low, high = -32.768, 32.768
    source = "Ackley 1987"

    @override
    def raw(self, z: Tensor) -> Tensor:
        distance = (z**2).mean(1, dtype=torch.float64).sqrt()
        ripple = torch.cos(2 * math.pi * z).mean(1, dtype=torch.float64)
        # 20 (1 - e^a) + e (1 - e^(b-1)) by expm1: exactly 0 at the minimum, and no cancellation near it.
        return -20 * torch.expm1(-0.2 * distance) - math.e * torch.expm1(ripple - 1)

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)
