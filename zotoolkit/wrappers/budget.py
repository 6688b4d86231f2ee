"""A limit on how many queries may be spent."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.status import StepInfo
from zotoolkit.wrappers.base import Wrapper


class BudgetLimit(Wrapper):
    """Spends at most so many queries between two resets, and not one more.

    A budget that ends inside a batch evaluates the batch's first queries and marks the others SKIPPED. `truncated` is
    True from the step on that spends the last query. The limit sits at the innermost objective, so it counts what is
    really spent whatever stands between: a retry counts, an answer from a cache does not.

    Args:
        objective: What to limit.
        budget: Queries from one reset to the next, at least 1.

    Raises:
        InvalidSetting: If the budget is no integer of at least 1.

    Examples:
        >>> import torch, zotoolkit
        >>> objective = BudgetLimit(zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2), budget=3)
        >>> _ = objective.reset(seed=0)
        >>> batch = zotoolkit.DenseBatch.at(torch.ones(4, 2, dtype=torch.float64))
        >>> values, terminated, truncated, info = objective.step(batch)
        >>> values.tolist(), truncated, objective.remaining
        ([2.0, 2.0, 2.0, nan], True, 0)
    """

    def __init__(self, objective: BlackBoxObjective, budget: int) -> None:
        super().__init__(objective)
        self.budget = check_count(budget, "budget")
        self._spent = 0

    @property
    def remaining(self) -> int:
        """Queries that may still be spent."""
        return self.budget - self._spent

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        start = super().reset(seed=seed, options=options)
        self._spent = 0
        return start

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "spent": self._spent}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._spent = state["spent"]

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        innermost = self.unwrapped
        before = innermost.queries
        try:
            with self.objective.allowing(self.remaining):
                values, terminated, truncated, info = super()._answer(batch)
        finally:  # a wrapper that raises after the queries were spent gives none of them back
            self._spent += innermost.queries - before
        return values, terminated, truncated or self.remaining == 0, info
