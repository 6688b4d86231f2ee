"""Which points are asked for each sample of a batch, and how their differences become one gradient a sample.

The settings are those of `zotoolkit.CGE` and `zotoolkit.RGE`, and so is the scaling, sample by sample:

    CGE   g[b, c] = D[b, c]                        for the coordinates c that are asked, 0 elsewhere
    RGE   g[b]    = 1 / (n_b m) sum_i D[b, i] u[b, i]      with E[u u^T] = m I

where D is a forward or central difference over mu. RGE divides by the n_b differences that a sample has left.

Directions are hashes of (seed, context, sample, i). A sample's do not depend on how many others there are, nor on how
many directions follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.directions import combine_directions, directions
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.estimators import CGE, RGE, Estimator
from zotoolkit.estimators.smoothing import smoothing_at
from zotoolkit.laws import AnyLaw, Law, Segmented
from zotoolkit.seeding import derive_seed, mix64

_SAMPLE_DRAW, _SUBSET_DRAW = 0x5A1, 0x5A2
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Sampled(ABC):
    """The directions of B samples of d coordinates in one call.

    Attributes:
        mu: Length of a step along a direction.
        central: Whether a difference takes two queries.
        samples: B.
        dim: d.
        count: Directions a sample.
    """

    mu: float
    central: bool
    samples: int
    dim: int
    count: int

    @property
    def queries_per_sample(self) -> int:
        """Queries for the differences of one sample; the base point's own is not among them."""
        return (2 if self.central else 1) * self.count

    @abstractmethod
    def steps(self, pairs: slice, dtype: torch.dtype) -> Tensor:
        """Return the `(p, d)` steps of some differences, mu times their directions.

        Args:
            pairs: Of B * count, those of a sample side by side.
            dtype: Of the points.
        """

    @abstractmethod
    def combine(self, slopes: Tensor, formed: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the `(B, d)` gradients.

        Args:
            slopes: `(B, count)` float64 differences over mu, 0 where there is none.
            formed: `(B, count)` bool, where there is one.
            dtype: Of the gradients.
        """


@dataclass(frozen=True)
class SampledCoordinates(Sampled):
    """Unit vectors.

    Attributes:
        index: `(B, count)` int64 coordinates; no row has one twice.
    """

    index: Tensor

    @override
    def steps(self, pairs: slice, dtype: torch.dtype) -> Tensor:
        index = self.index.reshape(-1)[pairs]
        return torch.zeros(len(index), self.dim, dtype=dtype, device=index.device).scatter_(1, index[:, None], self.mu)

    @override
    def combine(self, slopes: Tensor, formed: Tensor, dtype: torch.dtype) -> Tensor:
        out = torch.zeros(self.samples, self.dim, dtype=dtype, device=slopes.device)
        return out.scatter_(1, self.index, slopes.to(dtype))


@dataclass(frozen=True)
class SampledRandom(Sampled):
    """Random directions.

    Attributes:
        seeds: `(B, count)` int64.
        law: How they are distributed.
    """

    seeds: Tensor
    law: AnyLaw

    @override
    def steps(self, pairs: slice, dtype: torch.dtype) -> Tensor:
        return directions(self.seeds.reshape(-1)[pairs], self.law, self.dim).to(dtype).mul_(self.mu)

    @override
    def combine(self, slopes: Tensor, formed: Tensor, dtype: torch.dtype) -> Tensor:
        weights = (slopes / formed.sum(1, keepdim=True).clamp(min=1)).to(dtype)
        size = self.count * self.dim
        # Blocks of samples, the same ones however the queries were chunked: so are the sums' roundings.
        if size > _BLOCK:
            rows = zip(self.seeds, weights, strict=True)
            out = torch.stack([combine_directions(seeds, self.law, weight, self.dim) for seeds, weight in rows])
        else:
            parts = zip(self.seeds.split(_BLOCK // size), weights.split(_BLOCK // size), strict=True)
            out = torch.cat([self._combined(seeds, weight) for seeds, weight in parts])
        moment = self.law.second_moment(self.dim)
        return out / (moment.to(out) if isinstance(moment, Tensor) else moment)

    def _combined(self, seeds: Tensor, weights: Tensor) -> Tensor:
        drawn = directions(seeds.reshape(-1), self.law, self.dim).view(*seeds.shape, self.dim)
        return torch.bmm(weights[:, None], drawn.to(weights.dtype))[:, 0]


def check_estimator(estimator: object) -> CGE | RGE:
    """Return the estimator if samples can be estimated apart by it.

    Raises:
        InvalidSetting: If it is neither a CGE nor an RGE, or normalises directions in each parameter tensor.
    """
    if not isinstance(estimator, (CGE, RGE)):
        hint = "" if isinstance(estimator, Estimator) else ", such as zotoolkit.RGE(mu=0.005, q=16)"
        raise InvalidSetting(f"estimator must be a CGE or an RGE{hint}, got {brief(estimator)}.")
    if isinstance(estimator, RGE) and estimator.normalize == "per-tensor":
        raise InvalidSetting("normalize='per-tensor' is for parameters of a network; a sample is one tensor: 'global'.")
    return estimator


def sampled(
    estimator: CGE | RGE, samples: int, dim: int, *, seed: int, context: int, device: torch.device | str = "cpu"
) -> Sampled:
    """Return the directions that an estimator takes for each of B samples of d coordinates.

    Args:
        estimator: Its settings; a `PowerDecay` counts in contexts.
        samples: B.
        dim: d.
        seed: Of all draws.
        context: Which call.
        device: Where the points live.

    Examples:
        >>> plan = sampled(RGE(mu=0.1, q=2), samples=3, dim=4, seed=0, context=7)
        >>> plan.steps(slice(0, 6), torch.float32).shape, plan.queries_per_sample
        (torch.Size([6, 4]), 2)
    """
    mu = smoothing_at(estimator.mu, context)
    central = estimator.difference == "central"
    if isinstance(estimator, CGE):
        count = dim if estimator.subset is None else min(estimator.subset, dim)
        index = torch.arange(dim, device=device).expand(samples, dim)
        if count < dim:
            draws = _keys(seed, context, _SUBSET_DRAW, samples, dim, device)
            index = draws.sort(1).indices[:, :count].sort(1).values
        return SampledCoordinates(mu, central, samples, dim, count, index)
    law = Law.of(estimator.law)
    whole: AnyLaw = law if estimator.normalize == "none" else Segmented(law, (0, dim))
    seeds = _keys(seed, context, _SAMPLE_DRAW, samples, estimator.q, device)
    return SampledRandom(mu, central, samples, dim, estimator.q, seeds, whole)


def _keys(seed: int, context: int, draw: int, samples: int, count: int, device: torch.device | str) -> Tensor:
    """Return `(B, count)` int64 hashes of (seed, context, draw, sample, i)."""
    rows = mix64(torch.arange(samples, dtype=torch.int64, device=device) + derive_seed(seed, context, draw))
    columns = torch.arange(count, dtype=torch.int64, device=device)
    return mix64((rows[:, None] + columns).reshape(-1)).view(samples, count)
