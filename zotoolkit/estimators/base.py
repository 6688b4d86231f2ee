"""The interface of gradient estimators: two pure functions, one builds queries, one uses their values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from torch import Tensor
from typing_extensions import Self

from zotoolkit.queries import QueryBatch
from zotoolkit.spaces import Bounds
from zotoolkit.structure import Structure

Difference = Literal["forward", "central"]
DIFFERENCES = ("forward", "central")


class Estimate(NamedTuple):
    """What an estimator makes of a batch.

    Attributes:
        gradient: `(d,)`; 0 in coordinates that are not alive or could not be estimated.
        loss: Estimated loss at the base point; NaN if no query tells.
        missing: How many finite differences could not be formed because a query failed.
    """

    gradient: Tensor
    loss: float
    missing: int


class Estimator(ABC):
    """Turns queries around a point into a gradient estimate. Knows nothing of networks, devices or clusters."""

    @abstractmethod
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> QueryBatch:
        """Build the batch for one estimate.

        Args:
            x: `(d,)` base point, inside the bounds shrunk by `margin(context, d)`.
            alive: `(k,)` int64 coordinates that are estimated; None for all.
            context: The iteration, which is the mini-batch that all queries share.
            seed: The run's seed; draws derive from (seed, context).
            bounds: No query leaves them.
        """

    @abstractmethod
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        """Turn answers into an estimate.

        Args:
            batch: What `queries` built.
            values: `(q,)` losses.
            usable: `(q,)` bool; the others are left out.
        """

    @abstractmethod
    def margin(self, context: int) -> float:
        """Return how far, in any coordinate, a query may lie from the base point without the bounds' being looked at.

        The base point is kept so far inside the bounds (Flaxman et al., SODA 2005, shrink the set likewise).
        """

    def reach(self, context: int) -> float:
        """Return how far, in any coordinate, a query may lie from the base point at all.

        Every coordinate of the box must be more than twice as wide.
        """
        return self.margin(context)

    def prepared(self, structure: Structure, dim: int) -> Self:
        """Return the estimator that works on an objective of this structure; itself by default.

        Args:
            structure: What the objective tells of its layers and epochs.
            dim: Number of coordinates d.
        """
        return self
