"""What there is to know of a run while it goes on, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.solvers.base import Solver
from zotoolkit.status import Status, StepInfo

_INLINE = 4  # more metrics than these stand below each other


class Reason(Enum):
    """Why a run ended; the value is a sentence."""

    BUDGET_SPENT = "The query budget is spent."
    TARGET_REACHED = "The target loss has been reached."
    SOLVER_FINISHED = "The solver ended by itself."
    STOPPED = "A callback stopped the run."
    STALLED = "The solver went on asking without spending a query: all its queries are answered from a cache."


@dataclass(eq=False)
class Run:
    """The state of a run, as callbacks see it.

    Attributes:
        objective: What is minimised.
        solver: Who minimises it.
        budget: Queries that may be spent.
        queries: Queries spent, before a resume included.
        iteration: Batches told.
        seconds: Time spent in ask, step and tell, before a resume included; callbacks and checkpoints do not count.
        costs: What the queries cost in the objective's units.
        best_value: Lowest loss that a query has observed; infinite before the first.
        best_x: `(d,)` point of that query.
        figures: What the solver reported last.
        batch: The batch answered last.
        values: `(q,)` its losses.
        info: Its status, errors and costs.
    """

    objective: BlackBoxObjective
    solver: Solver
    budget: int
    queries: int = 0
    iteration: int = 0
    seconds: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)
    best_value: float = float("inf")
    best_x: Tensor | None = None
    figures: dict[str, float] = field(default_factory=dict)
    batch: QueryBatch | None = None
    values: Tensor | None = None
    info: StepInfo | None = None

    def observe(self, batch: QueryBatch, values: Tensor, info: StepInfo) -> int:
        """Take in an answered batch and return how many of its queries came back OK."""
        self.batch, self.values, self.info = batch, values, info
        self.queries += info["queries"]
        for name, cost in info["costs"].items():
            self.costs[name] = self.costs.get(name, 0.0) + cost
        usable = (info["status"] == Status.OK).to(values.device)
        count = int(usable.sum())
        if count:
            losses = torch.where(usable, values, torch.inf)
            i = int(losses.argmin())
            if float(losses[i]) < self.best_value:
                self.best_value, self.best_x = float(losses[i]), batch[i : i + 1].points()[0]
        return count

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps of the run."""
        names = ("queries", "iteration", "seconds", "costs", "best_value", "best_x", "figures")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)
        if self.best_x is not None:
            self.best_x = self.best_x.to(self.objective.device)


@dataclass(frozen=True, eq=False)
class Result:
    """What came out of a run.

    Attributes:
        x: `(d,)` point that the solver recommends.
        value: Loss at x: free of noise where the objective knows it, else observed by the run's last query; NaN if
            there was no query left for it.
        best_x: `(d,)` point of the lowest observed loss; None if no query came back.
        best_value: Lowest observed loss; with noise or mini-batches it flatters.
        queries: Queries spent.
        iterations: Batches told.
        seconds: Time spent in ask, step and tell.
        costs: What the queries cost in the objective's units.
        reason: Why the run ended.
        metrics: The objective's figures of merit at x.
    """

    x: Tensor
    value: float
    best_x: Tensor | None
    best_value: float
    queries: int
    iterations: int
    seconds: float
    costs: dict[str, float]
    reason: Reason
    metrics: dict[str, float]

    def __str__(self) -> str:
        spent = f"{self.queries:,} queries in {self.iterations:,} iterations and {self.seconds:.1f} s"
        if len(self.metrics) <= _INLINE:
            figures = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
            return f"loss {self.value:.6g} after {spent}{figures}. {self.reason.value}"
        width = max(map(len, self.metrics))
        lines = (f"  {name:<{width}}  {value:.4g}" for name, value in self.metrics.items())
        return "\n".join((f"loss {self.value:.6g} after {spent}. {self.reason.value}", *lines))
