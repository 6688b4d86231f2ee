"""Queries at an interface inside an objective, answered together with the gradient that they estimate.

Where a part of an objective is known, such as a denoiser in front of a black-box classifier, queries need not move the
parameters: they can move what that part hands to the black box, sample by sample, and back-propagation through the
known part turns the estimate there into a gradient of the parameters. The objective does both, since it alone knows
where its black box begins; a solver says at which interface, with which differences, and takes a step.

Source: Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.queries import QueryBatch


@dataclass(frozen=True, eq=False, kw_only=True)
class InnerBatch(QueryBatch):
    """All queries of one gradient at an inner interface.

    A query is one evaluation of the black box on the whole mini-batch, as everywhere; but here each moves the inner
    variables of the samples, each along a direction of its own, and none moves the point. So all `points()` are the
    base point, the values are the mini-batch's mean loss there, and a batch is answered whole or not at all.

    Args:
        base: `(d,)` point.
        scale: `(q,)` zeros, one for each query that the estimate takes.
        context: Names the mini-batch and the directions.
        place: Which interface of the objective.
        differences: A `CGE` or `RGE` over the inner variables of one sample, which the objective checks; None for its
            own back-propagation through everything, which is no zeroth-order method.
        seed: Of the directions.

    Raises:
        InvalidBatch: If a part does not fit, or scale is not 0.
    """

    place: str
    differences: Any
    seed: int = 0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.place, str):
            raise InvalidBatch(f"place must be the name of an interface, got {brief(self.place)}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidBatch(f"seed must be an integer >= 0, got {brief(self.seed)}.")
        if bool((self.scale != 0).any()):
            raise InvalidBatch(f"an InnerBatch moves no point: scale must be 0, got {brief(self.scale)}.")

    @property
    @override
    def _per_query(self) -> tuple[str, ...]:
        return ()

    @override
    def points(self) -> Tensor:
        return self.base.repeat(len(self), 1)

    @override
    def combine(self, weights: Tensor) -> Tensor:
        self._check_weights(weights)
        return self.base.new_zeros(self.dim)


class InnerAnswer(NamedTuple):
    """What an objective answers an `InnerBatch` with.

    Attributes:
        loss: Mean loss of the mini-batch.
        gradient: `(d,)` estimate of its gradient.
        figures: For the log, such as the share of differences that are 0.
    """

    loss: float
    gradient: Tensor
    figures: dict[str, float]


@runtime_checkable
class HasInner(Protocol):
    """An objective with inner interfaces."""

    inner_places: Sequence[str]
    """Names of the interfaces."""

    def inner_queries(self, place: str, differences: Any) -> int:
        """Return how many queries one gradient takes."""
        ...

    def inner_mu(self, place: str) -> float:
        """Return the smoothing parameter that fits an interface; may ask a few queries to find out."""
        ...

    def evaluate_inner(self, batch: InnerBatch) -> InnerAnswer:
        """Answer a batch."""
        ...
