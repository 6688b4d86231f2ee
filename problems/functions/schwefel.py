"""Schwefel: the second-best minima lie far from the best one, which sits near a corner.

    f(z) = sum_i c - z_i sin(sqrt|z_i|),    z in [-500, 500]^d,    f* = 0 at z* = (420.96874..., ...)

Beyond [-500, 500] the formula has still lower values, which a shifted or rotated instance would reach. So a coordinate
outside counts at the nearest end, plus the squared distance to it, as BBOB's f20 does with a penalty of its own: f* is
then the minimum over all of R^d.

Source: Schwefel, Numerical optimization of computer models, 1981; Surjanovic and Bingham, Virtual Library of Simulation
Experiments, 2013, sfu.ca/~ssurjano; Hansen et al., BBOB, 2009, f20 (penalty).
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.base import SeparableFunction

MINIMISER = 420.968746359982
"""Where z sin(sqrt z) is largest in [0, 500]: the root of tan(sqrt z) = -sqrt(z) / 2."""
HEIGHT = 418.98288727243374
"""Its value there, c."""


class Schwefel(SeparableFunction):
    """Schwefel's deceptive sines; settings as in `BenchmarkFunction`.

    Examples:
        >>> round(Schwefel(dim=1).noise_free(torch.tensor([[100.0]], dtype=torch.float64)).item(), 6)
        473.384998
    """

    name = "Schwefel"
    low, high = -500.0, 500.0
    source = "Schwefel 1981"

    @override
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        inside = torch.clamp(z, self.low, self.high)
        return HEIGHT - inside * torch.sin(inside.abs().sqrt()) + (z - inside) ** 2

    @override
    def raw_minimiser(self) -> Tensor:
        return torch.full((self.dim,), MINIMISER, dtype=torch.float64)
