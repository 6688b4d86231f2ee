"""Coordinate-wise gradient estimation (CGE).

Estimates each live partial derivative by a finite difference along its axis:

    g_i = [f(x + mu e_i) - f(x)] / mu            (forward,  k + 1 queries)
    g_i = [f(x + mu e_i) - f(x - mu e_i)] / 2mu  (central, 2k queries)

Source: Chen et al., DeepZero, ICLR 2024, eq. (2); Lian et al., NeurIPS 2016.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self, override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators.base import DIFFERENCES, Difference, Estimate, Estimator
from zotoolkit.estimators.smoothing import Smoothing, check_smoothing, found_mu, smoothing_at
from zotoolkit.queries import CoordinateBatch, QueryBatch
from zotoolkit.seeding import torch_generator
from zotoolkit.spaces import Bounds
from zotoolkit.structure import Structure

_SUBSET_DRAW = 1


@dataclass(frozen=True)
class CGE(Estimator):
    """Finite differences along the live coordinates.

    Args:
        mu: Smoothing parameter in units of x, a positive number, a `PowerDecay` or a `FittingMu`.
        difference: "forward" or "central".
        subset: How many of the live coordinates an iteration estimates, drawn anew each time without replacement; the
            others get 0 and nothing is rescaled, as in DeepZero's sparse-CGE. None estimates all.

    Raises:
        InvalidSetting: If mu is not positive, difference is unknown, or subset is below 1.

    Examples:
        >>> from zotoolkit.spaces import Bounds
        >>> estimator, x = CGE(mu=1e-4, difference="central"), torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> infinite = torch.full_like(x, torch.inf)
        >>> batch = estimator.queries(x, None, 0, 0, Bounds(-infinite, infinite))
        >>> values = (batch.points() ** 2).sum(1)
        >>> estimator.gradient(batch, values, torch.isfinite(values)).gradient.round(decimals=6).tolist()
        [2.0, 4.0]
    """

    mu: Smoothing = 5e-3
    difference: Difference = "forward"
    subset: int | None = None

    def __post_init__(self) -> None:
        check_smoothing(self.mu)
        check_choice(self.difference, DIFFERENCES, "difference")
        if self.subset is not None:
            check_count(self.subset, "subset")

    @override
    def prepared(self, structure: Structure, dim: int) -> Self:
        """Return the estimator with the mu that fits the objective, if it was left to that."""
        return replace(self, mu=found_mu(self.mu, structure, self.difference))

    @override
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> CoordinateBatch:
        """Build `k + 1` queries (forward; the first has scale 0 and asks for f(x)) or `2k` (central; +, -, +, -, ...).

        The base point comes first so that a budget that ends inside the batch still leaves usable differences.
        A forward step that would leave the box goes backward instead.
        """
        index = self._live(x, alive, context, seed)
        mu = smoothing_at(self.mu, context)
        step = torch.full((len(index),), mu, dtype=x.dtype, device=x.device)
        if self.difference == "forward":
            step = torch.where(x[index] + step > bounds.high[index], -step, step)
            if bool((x[index] + step < bounds.low[index]).any()):
                raise InvalidSetting(f"mu={mu:g} is wider than the box in some coordinate; choose a smaller mu.")
            index = torch.cat((index[:1], index))
            scale = torch.cat((step.new_zeros(1), step))
        else:
            index = index.repeat_interleave(2)
            scale = torch.stack((step, -step), dim=1).flatten()
        return CoordinateBatch(base=x, scale=scale, context=context, index=index)

    @override
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        """Turn `(q,)` loss values into a `(d,)` gradient; coordinates that failed get 0 and are counted."""
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
        gradient = batch.combine(torch.where(formed, slope, 0.0))
        return Estimate(gradient, loss, int((~formed).sum()))

    @override
    def margin(self, context: int) -> float:
        return smoothing_at(self.mu, context) if self.difference == "central" else 0.0

    @override
    def reach(self, context: int) -> float:
        return smoothing_at(self.mu, context)

    def _live(self, x: Tensor, alive: Tensor | None, context: int, seed: int) -> Tensor:
        count = len(x) if alive is None else len(alive)
        if self.subset is None or self.subset >= count:
            return torch.arange(count, device=x.device) if alive is None else alive
        drawn = torch.randperm(count, generator=torch_generator(seed, context, _SUBSET_DRAW))[: self.subset]
        drawn = drawn.sort().values.to(x.device)
        return drawn if alive is None else alive[drawn]
