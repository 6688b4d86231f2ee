"""What all test functions share: bounds, instances, noise, start points.

A function is written once, in raw coordinates z and with a known minimiser z*. The objective evaluates it at

    z = z*  + (x - x*)          shifted:  x* drawn by the instance's seed, well inside the bounds
    z = z*  + R (x - x*)        rotated:  R orthogonal, drawn by the instance's seed

so that the minimum value f* is the same for every instance and is attained at the known x*.
"""

from __future__ import annotations

from abc import abstractmethod
from math import isfinite
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from problems.functions.noise import coordinate_batch_hash, normal_noise, point_hash
from problems.functions.rotation import Rotation
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch
from zotoolkit.seeding import check_seed, torch_generator
from zotoolkit.spaces import bounds_of, make_space

_SHIFT_DRAW, _ROTATION_DRAW, _START_DRAW = 0x402, 0x403, 0x404
_SHIFT_SHARE = 0.6
_FAST_CHUNK = 1 << 20


class BenchmarkFunction(BlackBoxObjective):
    """A test function of any dimension with a known minimum.

    A subclass sets the class attributes and writes `raw` and `raw_minimiser`. Losses are float64 whatever the points'
    dtype: a float32 sum over many coordinates would lose the differences that zeroth-order solvers live on.

    Args:
        dim: Number of coordinates d.
        instance: Seed of the shift and the rotation; None leaves the minimiser where the literature has it.
        rotated: Whether to rotate too; needs an instance.
        noise: Standard deviation of normal noise added to each query, independent between points and contexts, and a
            pure function of (reset's seed, context, point). `noise_free` stays exact.
        dtype: Of the points, "float64" or "float32".
        device: Where points and losses live.

    Attributes:
        minimiser: `(d,)` x*.
        minimum: f*, also `metadata["optimum_value"]`.

    Raises:
        InvalidSetting: If noise is negative, dim too small, or rotated without an instance.
        InvalidSpace: If dim is not positive or dtype is another.
    """

    name: ClassVar[str]
    low: ClassVar[float]
    high: ClassVar[float]
    least_dim: ClassVar[int] = 1
    source: ClassVar[str]

    def __init__(
        self,
        dim: int = 10,
        *,
        instance: int | None = None,
        rotated: bool = False,
        noise: float = 0.0,
        dtype: str | torch.dtype = "float64",
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(make_space(dim, self.low, self.high, dtype), device=device)
        check_count(dim, "dim", least=self.least_dim)
        if isinstance(noise, bool) or not isinstance(noise, Real) or not noise >= 0 or not isfinite(noise):
            raise InvalidSetting(f"noise must be a finite number of at least 0, got {brief(noise)}.")
        if rotated and instance is None:
            raise InvalidSetting("rotated=True needs an instance, the seed of its rotation, such as instance=1.")
        self.noise = float(noise)
        self.instance = None if instance is None else check_seed(instance, "instance")
        self._raw_minimiser = self.raw_minimiser().to(device=self.device, dtype=self.dtype)
        self._minimiser = self._raw_minimiser if self.instance is None else self._draw_minimiser(self.instance)
        self._rotation: Rotation | None = None
        if rotated and self.instance is not None:
            seed = int(torch.randint(1 << 62, (), generator=torch_generator(self.instance, _ROTATION_DRAW)))
            self._rotation = Rotation(self.dim, seed, self.dtype, self.device)
        self.minimum = float(self.raw(self.raw_minimiser()[None].to(self.device))[0])
        self.metadata: dict[str, Any] = {
            "name": self.name,
            "optimum_value": self.minimum,
            "instance": self.instance,
            "rotated": rotated,
            "noise": self.noise,
            "source": self.source,
        }

    # What a function writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def raw(self, z: Tensor) -> Tensor:
        """Return the `(q,)` float64 values at `(q, d)` raw points."""

    @abstractmethod
    def raw_minimiser(self) -> Tensor:
        """Return the `(d,)` float64 minimiser z* of `raw`."""

    # What the objective makes of it ---------------------------------------------------------------------------------

    @property
    def minimiser(self) -> Tensor:
        """`(d,)` point x* of the minimum, as fresh memory."""
        return self._minimiser.clone()

    @override
    def start(self) -> Tensor:
        """Return a `(d,)` point drawn uniformly from the box by the seed."""
        generator = torch_generator(self.seed, _START_DRAW)
        share = torch.rand(self.dim, dtype=torch.float64, generator=generator).to(self.device)
        low, high = bounds_of(self.space, self.device)
        return torch.clamp((low + share * (high - low)).to(self.dtype), low, high)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        values = self.noise_free(x)
        return values if self.noise == 0 else values + self.noise * normal_noise(self.seed, context, point_hash(x))

    @override
    def noise_free(self, x: Tensor) -> Tensor:
        return self.raw(self._to_raw(x))

    def gradient(self, x: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Return the noise-free value and its `(d,)` gradient at one `(d,)` point; for first-order references only."""
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            value = self.noise_free(leaf[None])[0]
            (slope,) = torch.autograd.grad(value, leaf)
        return value.detach(), slope

    def _to_raw(self, x: Tensor) -> Tensor:
        if self.instance is None:
            return x
        offset = x - self._minimiser
        return self._raw_minimiser + (offset if self._rotation is None else self._rotation(offset))

    def _draw_minimiser(self, instance: int) -> Tensor:
        share = torch.rand(self.dim, dtype=torch.float64, generator=torch_generator(instance, _SHIFT_DRAW))
        half = (self.high - self.low) / 2
        middle = self.low + half
        return (middle + _SHIFT_SHARE * half * (2 * share - 1)).to(device=self.device, dtype=self.dtype)


class SeparableFunction(BenchmarkFunction):
    """A sum of one term a coordinate: a coordinate query changes one term, so it costs O(1) instead of O(d).

    The fast path holds for every instance that is not rotated, with noise and without. A subclass writes `terms` in
    place of `raw`.
    """

    @abstractmethod
    def terms(self, z: Tensor, index: Tensor) -> Tensor:
        """Return each coordinate's term.

        Args:
            z: Raw coordinate values, of any shape.
            index: int64 coordinate that each stands in; broadcasts against z.
        """

    @override
    def raw(self, z: Tensor) -> Tensor:
        return self.terms(z, torch.arange(z.shape[1], device=z.device)).sum(1, dtype=torch.float64)

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        if self._rotation is not None:
            return None
        total = self.noise_free(batch.base[None])
        old = batch.base[batch.index]
        before, after = self._terms_at(old, batch.index), self._terms_at(old + batch.scale, batch.index)
        values = total + (after.to(torch.float64) - before.to(torch.float64))
        if self.noise == 0:
            return values
        return values + self.noise * normal_noise(self.seed, batch.context, coordinate_batch_hash(batch))

    @override
    def queries_per_chunk(self, batch: QueryBatch) -> int:
        if not self._is_fast(batch):
            return super().queries_per_chunk(batch)
        return _FAST_CHUNK if self._chunk_limit is None else min(_FAST_CHUNK, self._chunk_limit)

    @override
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        """Return what the batch costs: on the fast path the base once and two terms of d a query."""
        if not self._is_fast(batch) or not len(batch):
            return super().costs(batch)
        return {"forward_equivalents": 1 + 2 * len(batch) / self.dim}

    def _is_fast(self, batch: QueryBatch) -> bool:
        return isinstance(batch, CoordinateBatch) and self._rotation is None

    def _terms_at(self, x: Tensor, index: Tensor) -> Tensor:
        if self.instance is not None:
            x = self._raw_minimiser[index] + (x - self._minimiser[index])
        return self.terms(x, index)
