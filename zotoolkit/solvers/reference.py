"""First-order references: what back-propagation reaches with the same network, mini-batches, optimiser and schedule.

Not zeroth-order solvers, and flagged so (`first_order`): a query answers with a loss, these also look at the gradient.
They are the line that zeroth-order training is measured against. An iteration asks one query, at the iterate, and takes
one backward pass, which is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import AskTellOrder, InvalidSetting
from zotoolkit.estimators.base import Estimate, Estimator
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, QueryBatch
from zotoolkit.solvers.gradient import GradientSolver, OptimizerFactory, SchedulerFactory
from zotoolkit.spaces import Bounds


class HasGradient(Protocol):
    """An objective that can also tell its gradient."""

    def gradient(self, x: Tensor, context: int) -> tuple[Tensor, Tensor]:
        """Return the loss and its `(d,)` gradient at one `(d,)` point, on the context's mini-batch."""
        ...


class Backprop(Estimator):
    """One query at the base point, and the objective's own gradient there."""

    def __init__(self) -> None:
        self.source: HasGradient | None = None

    @override
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> QueryBatch:
        index = torch.zeros(1, dtype=torch.int64, device=x.device)
        return CoordinateBatch(base=x, scale=x.new_zeros(1), context=context, index=index)

    @override
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        if self.source is None:
            raise AskTellOrder("a first-order reference needs attach(objective) before it is told anything.")
        _, slope = self.source.gradient(batch.base, batch.context)
        return Estimate(slope, float(values[0]), 0)

    @override
    def margin(self, context: int) -> float:
        return 0.0


class FirstOrderReference(GradientSolver):
    """Trains by back-propagation; needs an objective with a method `gradient(x, context)`.

    Args:
        optimizer: As in `GradientSolver`.
        scheduler: As in `GradientSolver`.
        iterations: After how many it has finished; None for as many as the query budget allows.

    Examples:
        >>> import functools, zotoolkit
        >>> objective = zotoolkit.make("Functions/Sphere-v0", dim=2)
        >>> rows = first_order_curve(objective, 50, functools.partial(torch.optim.SGD, lr=0.1))
        >>> rows[-1]["queries"], rows[-1]["backward_passes"], rows[-1]["value"] < 1e-6
        (50, 50, True)
    """

    first_order: ClassVar[bool] = True

    def __init__(
        self,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        iterations: int | None = None,
    ) -> None:
        self._backprop = Backprop()
        super().__init__(self._backprop, optimizer, scheduler)
        self._iterations = None if iterations is None else check_count(iterations, "iterations")

    @override
    def attach(self, objective: BlackBoxObjective) -> None:
        """Take the objective whose gradient is used.

        Raises:
            InvalidSetting: If it has none, or a wrapper changes its space.
        """
        inner = objective.unwrapped
        if not callable(getattr(inner, "gradient", None)):
            raise InvalidSetting(
                f"{inner!r} has no method gradient(x, context), so it cannot have a first-order reference."
            )
        if inner.space != objective.space:
            raise InvalidSetting("a wrapper changes the space of the objective, and its gradient would not fit.")
        self._backprop.source = cast("HasGradient", inner)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        figures = super()._tell(batch, values, usable)
        self.finished = self._iterations is not None and self.iteration + 1 >= self._iterations
        return figures | {"backward_passes": float(self.iteration + 1)}


def first_order_curve(
    objective: BlackBoxObjective,
    iterations: int,
    optimizer: OptimizerFactory,
    scheduler: SchedulerFactory | None = None,
    *,
    seed: int = 0,
    every: int | None = None,
    metrics: Callable[[Tensor], dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Run a first-order reference and return its curve.

    Args:
        objective: With a method `gradient(x, context)`.
        iterations: How many steps.
        optimizer: As in `GradientSolver`.
        scheduler: As in `GradientSolver`.
        seed: Of the objective.
        every: Write a row every so many iterations besides the first and the last; None for those two alone.
        metrics: What else to write of a point; by default the objective's metrics.

    Returns:
        Rows with iteration, queries, backward_passes, value (noise-free where there is such a thing) and the metrics.

    Raises:
        InvalidSetting: If the objective has no gradient or a setting is out of range.
    """
    solver = FirstOrderReference(optimizer, scheduler, iterations)
    solver.attach(objective)
    x0, _ = objective.reset(seed=seed)
    solver.reset(objective.space, x0, seed=seed)
    metrics = objective.metrics if metrics is None else metrics

    def row(x: Tensor, loss: float) -> dict[str, Any]:
        exact = objective.noise_free(x[None])
        return {
            "iteration": solver.iteration,
            "queries": objective.queries,
            "backward_passes": solver.iteration,
            "value": loss if exact is None else float(exact[0]),
            **metrics(x),
        }

    rows = [row(x0, float("nan"))]
    while not solver.finished:
        batch = solver.ask()
        values, _, _, info = objective.step(batch)
        figures = solver.tell(batch, values, info)
        if solver.finished or (every is not None and solver.iteration % check_count(every, "every") == 0):
            rows.append(row(solver.recommend(), figures["loss"]))
    return rows
