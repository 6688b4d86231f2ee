"""Structured query batches: what a solver sends instead of a dense matrix of points.

Query i asks for the loss at `base + scale[i] * direction_i`. A batch describes its directions as compactly as their
structure allows, so that an objective can exploit it and a cluster can be sent a few bytes a query:

    DenseBatch        (q, d) directions         evolutionary solvers, points a user made
    CoordinateBatch   (q,) coordinate indices   CGE: direction e_i          12 bytes a query in float32
    SeededBatch       (q,) seeds and a law      RGE, SPSA, ES               12 bytes a query in float32
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self, override

from zotoolkit.checks import check_count
from zotoolkit.directions import combine_directions, direction_blocks
from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.laws import AnyLaw, Law, Segmented, law_of


@dataclass(frozen=True, eq=False, kw_only=True)
class QueryBatch(ABC):
    """A batch of q queries around one base point in d dimensions.

    Args:
        base: `(d,)` floating point. Nobody ever writes into it.
        scale: `(q,)` of the base's dtype, signed; 0 queries the base point itself.
        context: Names the mini-batch or noise draw that all q queries share; solvers put their iteration number here.

    Raises:
        InvalidBatch: If shapes, dtypes or devices do not fit together.
    """

    base: Tensor
    scale: Tensor
    context: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.base, Tensor) or self.base.ndim != 1 or not self.base.is_floating_point():
            raise InvalidBatch(f"base must be a (d,) floating-point tensor, got {brief(self.base)}.")
        if not isinstance(self.scale, Tensor) or self.scale.ndim != 1:
            raise InvalidBatch(f"scale must be a (q,) tensor, got {brief(self.scale)}.")
        if self.scale.dtype != self.base.dtype or self.scale.device != self.base.device:
            raise InvalidBatch(
                f"scale must have the base's dtype and device, got {self.scale.dtype} on {self.scale.device} and "
                f"{self.base.dtype} on {self.base.device}."
            )
        if isinstance(self.context, bool) or not isinstance(self.context, int) or self.context < 0:
            raise InvalidBatch(f"context must be an integer >= 0, got {brief(self.context)}.")
        for name in self._per_query:
            rows = getattr(self, name)
            if not isinstance(rows, Tensor) or rows.ndim == 0 or rows.device != self.base.device:
                raise InvalidBatch(f"{name} must be a tensor of rows on {self.base.device}, got {brief(rows)}.")
            if len(rows) != len(self.scale):
                raise InvalidBatch(
                    f"{name} must have one row a query: got {len(rows)} rows and {len(self.scale)} scales."
                )

    @property
    @abstractmethod
    def _per_query(self) -> tuple[str, ...]:
        """Names of the fields, besides scale, whose first axis is the query."""

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return len(self.base)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the base, the scales and the points."""
        return self.base.dtype

    @property
    def device(self) -> torch.device:
        """Where the batch lives."""
        return self.base.device

    @property
    def bytes_per_query(self) -> float:
        """Memory that one query takes besides the base point that all share; NaN when empty."""
        if not len(self):
            return float("nan")
        size = sum(t.numel() * t.element_size() for t in (self.scale, *(getattr(self, n) for n in self._per_query)))
        return size / len(self)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Return the batch of these queries: a slice, or a `(k,)` int64 or `(q,)` bool tensor."""
        if not isinstance(rows, slice) and not (isinstance(rows, Tensor) and rows.ndim == 1):
            raise InvalidBatch(
                f"a batch is indexed by a slice or a (k,) tensor, got {brief(rows)}; use batch[i:i + 1] for one."
            )
        part = copy.copy(self)  # rows of a checked batch need no second check
        for name in ("scale", *self._per_query):
            object.__setattr__(part, name, getattr(self, name)[rows])
        return part

    def split(self, size: int) -> Iterator[Self]:
        """Yield consecutive batches of at most `size` queries; every value stays the same to the bit.

        Raises:
            InvalidSetting: If size is not positive.
        """
        size = check_count(size, "size")
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @abstractmethod
    def points(self) -> Tensor:
        """Return the `(q, d)` points as fresh memory: the form that every objective understands."""

    @abstractmethod
    def combine(self, weights: Tensor) -> Tensor:
        """Return the `(d,)` sum of `weights[i] * direction_i`; the scales do not enter.

        Args:
            weights: `(q,)` floating point.

        Raises:
            InvalidBatch: If there is not one weight a query.
        """

    def _check_weights(self, weights: Tensor) -> Tensor:
        if not isinstance(weights, Tensor) or weights.shape != self.scale.shape:
            raise InvalidBatch(f"weights must have shape {tuple(self.scale.shape)}, got {brief(weights)}.")
        return weights.to(self.base)


@dataclass(frozen=True, eq=False, kw_only=True)
class DenseBatch(QueryBatch):
    """Directions written out.

    Args:
        directions: `(q, d)` of the base's dtype.

    Examples:
        >>> batch = DenseBatch.at(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> batch.points().tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """

    directions: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directions.ndim != 2 or self.directions.shape[1] != self.dim or self.directions.dtype != self.dtype:
            raise InvalidBatch(f"directions must be (q, {self.dim}) {self.dtype}, got {brief(self.directions)}.")

    @property
    @override
    def _per_query(self) -> tuple[str, ...]:
        return ("directions",)

    @classmethod
    def at(cls, points: Tensor, context: int = 0) -> Self:
        """Return the batch that queries `(q, d)` points as they are.

        Raises:
            InvalidBatch: If points is not a `(q, d)` floating-point tensor.
        """
        if not isinstance(points, Tensor) or points.ndim != 2 or not points.is_floating_point():
            raise InvalidBatch(f"points must be a (q, d) floating-point tensor, got {brief(points)}.")
        return cls(
            base=points.new_zeros(points.shape[1]),
            scale=points.new_ones(len(points)),
            context=context,
            directions=points,
        )

    @override
    def points(self) -> Tensor:
        out = self.directions * self.scale[:, None]
        out += self.base
        return out

    @override
    def combine(self, weights: Tensor) -> Tensor:
        return self._check_weights(weights) @ self.directions


@dataclass(frozen=True, eq=False, kw_only=True)
class CoordinateBatch(QueryBatch):
    """Directions along the axes.

    Args:
        index: `(q,)` int64 coordinates in [0, d).

    Examples:
        >>> batch = CoordinateBatch(base=torch.zeros(3), scale=torch.tensor([0.5]), index=torch.tensor([2]))
        >>> batch.points().tolist()
        [[0.0, 0.0, 0.5]]
    """

    index: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index.ndim != 1 or self.index.dtype != torch.int64:
            raise InvalidBatch(f"index must be (q,) int64, got {brief(self.index)}.")
        if len(self.index) and not (int(self.index.min()) >= 0 and int(self.index.max()) < self.dim):
            raise InvalidBatch(
                f"index must lie in [0, {self.dim}), got {int(self.index.min())} to {int(self.index.max())}."
            )

    @property
    @override
    def _per_query(self) -> tuple[str, ...]:
        return ("index",)

    @override
    def points(self) -> Tensor:
        out = self.base.repeat(len(self), 1)
        return out.scatter_add_(1, self.index[:, None], self.scale[:, None])

    @override
    def combine(self, weights: Tensor) -> Tensor:
        return torch.zeros_like(self.base).index_add_(0, self.index, self._check_weights(weights))


@dataclass(frozen=True, eq=False, kw_only=True)
class SeededBatch(QueryBatch):
    """Random directions named by their seeds; see `zotoolkit.directions`.

    Args:
        seed: `(q,)` int64.
        law: "rademacher", "normal", "sphere", or `Segmented` for directions of length 1 in each of several segments.
        alive: `(k,)` int64 coordinates that the directions live in, shared by all; entry j of a k-dimensional
            direction belongs to coordinate `alive[j]` and every other coordinate is 0. Each at most once, in
            [0, d). None means all d.

    Examples:
        >>> batch = SeededBatch(base=torch.zeros(4), scale=torch.ones(2), seed=torch.tensor([1, 2]))
        >>> batch.points().abs().tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """

    seed: Tensor
    law: AnyLaw | str = Law.RADEMACHER
    alive: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "law", law_of(self.law))
        if self.seed.ndim != 1 or self.seed.dtype != torch.int64:
            raise InvalidBatch(f"seed must be (q,) int64, got {brief(self.seed)}.")
        if self.alive is not None:
            self._check_alive(self.alive)
        if isinstance(self.law, Segmented) and self.law.offsets[-1] != self.direction_dim:
            raise InvalidBatch(
                f"the law's segments must end at the directions' {self.direction_dim} coordinates, got "
                f"{self.law.offsets[-1]}."
            )

    @property
    @override
    def _per_query(self) -> tuple[str, ...]:
        return ("seed",)

    def _check_alive(self, alive: Tensor) -> None:
        if not isinstance(alive, Tensor) or alive.ndim != 1 or alive.dtype != torch.int64:
            raise InvalidBatch(f"alive must be (k,) int64 or None, got {brief(alive)}.")
        if alive.device != self.device:
            raise InvalidBatch(f"alive must be on the base's device {self.device}, got {alive.device}.")
        if not len(alive):
            return
        ends = alive.aminmax()
        if int(ends.min) < 0 or int(ends.max) >= self.dim:
            raise InvalidBatch(f"alive must lie in [0, {self.dim}), got {int(ends.min)} to {int(ends.max)}.")
        ascending = bool((alive[1:] > alive[:-1]).all())
        if not ascending and len(alive.unique()) < len(alive):
            raise InvalidBatch("alive must hold each coordinate at most once.")

    @property
    def direction_dim(self) -> int:
        """Number of coordinates k that the directions live in."""
        return self.dim if self.alive is None else len(self.alive)

    @override
    def points(self) -> Tensor:
        out = self.base.new_empty(len(self), self.dim)
        if self.alive is not None:
            out[:] = self.base
        base = self.base if self.alive is None else self.base[self.alive]
        for rows, columns, block in direction_blocks(self.seed, self.law, self.direction_dim):
            part = block.to(self.dtype).mul_(self.scale[rows, None]).add_(base[columns])
            if self.alive is None:
                out[rows, columns] = part
            else:
                out[rows, self.alive[columns]] = part
        return out

    @override
    def combine(self, weights: Tensor) -> Tensor:
        dense = combine_directions(self.seed, self.law, self._check_weights(weights), self.direction_dim)
        if self.alive is None:
            return dense
        return torch.zeros_like(self.base).index_add_(0, self.alive, dense)
