"""Rosenbrock: a long, curved, nearly flat valley; coordinates depend on their neighbours.

    f(z) = sum_{i<d} 100 (z_{i+1} - z_i^2)^2 + (1 - z_i)^2,    z in [-5, 10]^d, d >= 2,    f* = 0 at z* = (1, ..., 1)

Source: Rosenbrock, The Computer Journal 3(3), 1960; Surjanovic and Bingham, Virtual Library of Simulation Experiments,
2013, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import BenchmarkFunction


class Rosenbrock(BenchmarkFunction):
    """Rosenbrock's banana valley in d dimensions; settings as in `BenchmarkFunction`.

    Examples:
        >>> Rosenbrock(dim=2).noise_free(torch.tensor([[-1.0, 1.0], [1.0, 1.0]])).tolist()
        [4.0, 0.0]
    """

    name = "Rosenbrock"
    low, high = -5.0, 10.0
    least_dim = 2
    source = "Rosenbrock 1960"

    @override
    def raw(self, z: Tensor) -> Tensor:
        here, after = z[:, :-1], z[:, 1:]
        return (100 * (after - here**2) ** 2 + (1 - here) ** 2).sum(1, dtype=torch.float64)

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.ones(self.dim, dtype=torch.float64)
