"""Randomised gradient estimation (RGE).

Averages directional finite differences along random directions u_i with E[u u^T] = m I:

    g = 1/(q m) sum_i [f(x + mu u_i) - f(x)] / mu            u_i   (forward,  q + 1 queries)
    g = 1/(q m) sum_i [f(x + mu u_i) - f(x - mu u_i)] / 2mu  u_i   (central, 2q queries)

m is 1 for Rademacher and normal directions and 1/d on the unit sphere, which gives the usual factor d there.

Source: Nesterov and Spokoiny, Found. Comput. Math. 17, 2017; Duchi et al., IEEE Trans. Inf. Theory 61(5), 2015;
Chen et al., DeepZero, ICLR 2024, eq. (1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.directions import Law
from zotoolkit.estimators.base import DIFFERENCES, Difference, Estimate, Estimator
from zotoolkit.estimators.smoothing import Smoothing, check_smoothing, smoothing_at
from zotoolkit.queries import QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seeds
from zotoolkit.spaces import Bounds


@dataclass(frozen=True)
class RGE(Estimator):
    """Finite differences along random directions.

    Args:
        mu: Smoothing parameter in units of x per unit of direction, a positive number or a `PowerDecay`. On the unit
            sphere a step has length mu; with Rademacher and normal directions about mu * sqrt(d).
        q: Number of directions an estimate. Must be at least 1.
        difference: "forward" or "central".
        law: "normal", "rademacher" or "sphere".

    Raises:
        InvalidSetting: If mu is not positive, q is below 1, or difference or law is unknown.
    """

    mu: Smoothing = 5e-3
    q: int = 10
    difference: Difference = "forward"
    law: Law | str = Law.NORMAL

    def __post_init__(self) -> None:
        check_smoothing(self.mu)
        check_count(self.q, "q")
        check_choice(self.difference, DIFFERENCES, "difference")
        object.__setattr__(self, "law", Law.of(self.law))

    @override
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> SeededBatch:
        """Build `q + 1` queries (forward; the first has scale 0, for f(x)) or `2q` (central; +, -, +, -, ...)."""
        mu = smoothing_at(self.mu, context)
        seeds = derive_seeds(seed, context, self.q, x.device)
        scale = torch.full((self.q,), mu, dtype=x.dtype, device=x.device)
        if self.difference == "forward":
            seeds = torch.cat((seeds[:1], seeds))
            scale = torch.cat((scale.new_zeros(1), scale))
        else:
            seeds = seeds.repeat_interleave(2)
            scale = torch.stack((scale, -scale), dim=1).flatten()
        return SeededBatch(base=x, scale=scale, context=context, seed=seeds, law=self.law, alive=alive)

    @override
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        """Average over the directions whose queries all came back."""
        scale = batch.scale.to(values)
        if self.difference == "forward":
            batch, loss = batch[1:], float(values[0])
            formed = usable[1:] & usable[0]
            slope = (values[1:] - values[0]) / scale[1:]
        else:
            plus, minus = values[0::2], values[1::2]
            formed = usable[0::2] & usable[1::2]
            slope = (plus - minus) / (scale[0::2] - scale[1::2])
            loss = float(((plus + minus) / 2)[formed].mean())
            batch = batch[::2]
        count = int(formed.sum())
        dim = batch.dim if not isinstance(batch, SeededBatch) else batch.direction_dim
        weight = 1.0 / (max(count, 1) * Law.of(self.law).second_moment(dim))
        gradient = batch.combine(torch.where(formed, slope * weight, 0.0))
        return Estimate(gradient, loss, len(formed) - count)

    @override
    def margin(self, context: int) -> float:
        return smoothing_at(self.mu, context) * Law.of(self.law).bound
