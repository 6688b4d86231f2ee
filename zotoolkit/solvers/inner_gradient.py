"""Descends a gradient that queries estimate at an interface inside the objective; see `zotoolkit.inner`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Union

from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import AskTellOrder, InvalidSetting, ScheduleWarning, brief
from zotoolkit.estimators import CGE, RGE
from zotoolkit.estimators.base import Estimate, Estimator
from zotoolkit.inner import HasInner, InnerBatch
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.gradient import GradientSolver, OptimizerFactory, SchedulerFactory
from zotoolkit.spaces import Bounds
from zotoolkit.status import StepInfo

Differences = Union[CGE, RGE]
DifferencesAt = Union[CGE, RGE, Callable[[float], Union[CGE, RGE]], None]


class AtInterface(Estimator):
    """The batch of one gradient at an interface, and the gradient that comes back with its values.

    Args:
        place: Which interface.
        differences: As in `InnerGradientSolver`.

    Attributes:
        source: The objective.
        mu: The smoothing parameter that the objective found fitting; None before it was asked.
        gradient_told: `(d,)` that the objective answered with last.
    """

    def __init__(self, place: str, differences: DifferencesAt) -> None:
        self.place = place
        self._differences = differences
        self.source: HasInner | None = None
        self.mu: float | None = None
        self.gradient_told: Tensor | None = None

    @override
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> QueryBatch:
        if self.source is None:
            raise AskTellOrder("a solver at an inner interface needs attach(objective) before it asks anything.")
        differences = self._fitted(self.source)
        count = self.source.inner_queries(self.place, differences)
        scale = x.new_zeros(count)
        return InnerBatch(base=x, scale=scale, context=context, place=self.place, differences=differences, seed=seed)

    @override
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        told, self.gradient_told = self.gradient_told, None
        if told is None or not bool(usable.all()):  # a budget ended, the black box was down, or answered NaN
            return Estimate(batch.base.new_zeros(batch.dim), float("nan"), len(batch))
        return Estimate(told, float(values[0]), 0)

    @override
    def margin(self, context: int) -> float:
        return 0.0

    def count(self, source: HasInner) -> int:
        """Return how many queries one gradient takes, whatever mu fits."""
        differences = self._differences(1.0) if callable(self._differences) else self._differences
        return source.inner_queries(self.place, differences)

    def _fitted(self, source: HasInner) -> Differences | None:
        if not callable(self._differences):
            return self._differences
        if self.mu is None:
            self.mu = source.inner_mu(self.place)
        return self._differences(self.mu)


class InnerGradientSolver(GradientSolver):
    """Trains the known part of an objective by queries of the unknown part behind it.

    Args:
        place: Which interface of the objective, such as "latent".
        differences: A `CGE` or `RGE` over the inner variables of one sample; or a function that makes one of the
            smoothing parameter that the objective finds fitting; None for back-propagation through everything, where
            the objective can do that: then this is no zeroth-order solver, and says so in `first_order`.
        optimizer: As in `GradientSolver`.
        scheduler: As in `GradientSolver`.
        iterations: After how many it has finished; None for as many as the query budget allows.
        first_order: Whether back-propagation goes through what a zeroth-order solver would have to query; by default,
            where differences is None. An interface may also stop it there.

    Raises:
        InvalidSetting: If an argument cannot be used.

    Warns:
        ScheduleWarning: If the budget of a run pays for fewer iterations.
    """

    def __init__(
        self,
        place: str,
        differences: DifferencesAt,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        iterations: int | None = None,
        first_order: bool | None = None,
    ) -> None:
        if differences is not None and not isinstance(differences, (CGE, RGE)) and not callable(differences):
            raise InvalidSetting(f"differences must be a CGE, an RGE, a function of mu or None, got {differences!r}.")
        self._interface = AtInterface(place, differences)
        super().__init__(self._interface, optimizer, scheduler)
        self.first_order = differences is None if first_order is None else bool(first_order)
        self._mu: float | None = None  # as of the last tell: what is found while asking is found again
        self._iterations = None if iterations is None else check_count(iterations, "iterations")

    @override
    def attach(self, objective: BlackBoxObjective) -> None:
        """Take the objective whose interface is used.

        Raises:
            InvalidSetting: If it has no such interface, the differences do not fit there, or a wrapper changes losses
                or coordinates.
        """
        super().attach(objective)
        inner = objective.unwrapped
        place = self._interface.place
        if not isinstance(inner, HasInner) or place not in inner.inner_places:
            there = ", ".join(map(repr, inner.inner_places)) if isinstance(inner, HasInner) else "none"
            raise InvalidSetting(f"this solver works at the interface {place!r}, and of these {inner!r} has {there}.")
        layer: Any = objective
        while layer is not inner:
            if not getattr(layer, "passes_inner", True) or layer.space != layer.objective.space:
                raise InvalidSetting(
                    f"{type(layer).__name__} changes losses or coordinates, and the gradient at the interface "
                    f"{place!r} would not be theirs; leave the wrapper out."
                )
            layer = layer.objective
        self._interface.count(inner)  # settings that do not fit the interface are told before anything is asked
        self._interface.source = inner

    @override
    def plan(self, budget: int) -> None:
        """Compare the budget with the iterations.

        Warns:
            ScheduleWarning: If it pays for fewer.
        """
        source = self._interface.source
        if self._iterations is None or source is None:
            return
        each = self._interface.count(source)
        if budget < self._iterations * each:
            warnings.warn(
                f"{budget:,} queries pay for {budget // each:,} of {self._iterations:,} iterations of {each:,} "
                "queries, so the schedule does not reach its end; raise the budget, or lower iterations.",
                ScheduleWarning,
                stacklevel=4,
            )

    @override
    def tell(self, batch: QueryBatch, values: Tensor, info: StepInfo | None = None) -> dict[str, float]:
        answered = isinstance(values, Tensor) and len(values) == len(batch) and bool(values.isfinite().all())
        self._interface.gradient_told = None if info is None else info.get("gradient")
        if answered and self._interface.gradient_told is None:
            raise InvalidSetting(
                "the answer holds no gradient: tell needs the step's info as it came; a wrapper that makes an info of "
                f"its own must hand on 'gradient'; got {brief(info)}."
            )
        figures = super().tell(batch, values, info)
        return figures | ({} if info is None else info.get("figures", {}))

    @override
    def _start(self) -> None:
        self._interface.mu = self._mu = None
        super()._start()

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        figures = super()._tell(batch, values, usable)
        self._mu = self._interface.mu
        self.finished = self._iterations is not None and self.iteration + 1 >= self._iterations
        return figures

    @override
    def _state(self) -> dict[str, Any]:
        return super()._state() | {"mu": self._mu}

    @override
    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._interface.mu = self._mu = state["mu"]
