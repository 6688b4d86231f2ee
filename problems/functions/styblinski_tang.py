"""Styblinski-Tang: a quartic with two valleys in every coordinate, one deeper; 2^d local minima.

    f(z) = 1/2 sum_i z_i^4 - 16 z_i^2 + 5 z_i,    z in [-5, 5]^d,    f* = -39.16616... d at z* = (-2.90353..., ...)

Source: Styblinski and Tang, Neural Networks 3(4), 1990; Jamil and Yang, International Journal of Mathematical Modelling
and Numerical Optimisation 4(2), 2013, no. 144; Surjanovic and Bingham, Virtual Library of Simulation Experiments, 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import SeparableFunction

MINIMISER = -2.903534027771177
"""The smallest root of 4 z^3 - 32 z + 5 = 0."""


class StyblinskiTang(SeparableFunction):
    """Styblinski and Tang's quartic; settings as in `BenchmarkFunction`.

    Examples:
        >>> StyblinskiTang(dim=2).noise_free(torch.tensor([[1.0, 2.0]])).item()
        -24.0
    """

    name = "Styblinski-Tang"
    low, high = -5.0, 5.0
    source = "Styblinski and Tang 1990; Jamil and Yang 2013, no. 144"

    @override
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        return (z**4 - 16 * z**2 + 5 * z) / 2

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.full((self.dim,), MINIMISER, dtype=torch.float64)
