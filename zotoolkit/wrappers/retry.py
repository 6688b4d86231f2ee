"""Failed queries asked again."""

from __future__ import annotations

import math
import time
from numbers import Real

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers.base import Wrapper
from zotoolkit.wrappers.splicing import splice


class Retry(Wrapper):
    """Asks failed queries again, and only those, for black boxes that fail by chance.

    Every attempt is a query and counts against a budget, wherever the budget stands. When it runs out, a query keeps
    the outcome of its last attempt. Attempts share their context, so a query that fails for its point fails each time.

    Args:
        objective: What to ask.
        attempts: How often a query is asked at most, the first time included.
        non_finite: Whether an answer of NaN or infinity is asked again too.
        wait: Seconds before the second attempt; doubled before each further one.
        longest_wait: Seconds that a wait never exceeds.

    Raises:
        InvalidSetting: If a number is out of its range.

    Examples:
        >>> import torch, zotoolkit
        >>> answers = iter([RuntimeError("busy"), 7.0])
        >>> def flaky(x):
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> objective = Retry(zotoolkit.from_callable(flaky, dim=1), attempts=2)
        >>> _ = objective.reset(seed=0)
        >>> values, _, _, info = objective.step(zotoolkit.DenseBatch.at(torch.zeros(1, 1, dtype=torch.float64)))
        >>> values.item(), info["queries"]
        (7.0, 2)
    """

    def __init__(
        self,
        objective: BlackBoxObjective,
        attempts: int = 3,
        *,
        non_finite: bool = False,
        wait: float = 0.0,
        longest_wait: float = 60.0,
    ) -> None:
        super().__init__(objective)
        self.attempts = check_count(attempts, "attempts")
        if not isinstance(non_finite, bool):
            raise InvalidSetting(f"non_finite must be True or False, got {brief(non_finite)}.")
        self.non_finite = non_finite
        self.wait = _check_seconds(wait, "wait")
        self.longest_wait = _check_seconds(longest_wait, "longest_wait")

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        values, terminated, truncated, info = super()._answer(batch)
        for attempt in range(1, self.attempts):
            rows = torch.nonzero(self._is_failed(info["status"]))[:, 0]
            if not len(rows) or terminated or truncated:
                break
            self._pause(attempt)
            again, terminated, truncated, part = super()._answer(batch[rows.to(batch.device)])
            values, info = splice(values, info, rows, again, part)
            if bool((part["status"] == Status.SKIPPED).any()):
                break
        return values, terminated, truncated, info

    def _is_failed(self, status: Tensor) -> Tensor:
        failed = status == Status.FAILED
        return failed | (status == Status.NON_FINITE) if self.non_finite else failed

    def _pause(self, attempt: int) -> None:
        doublings = min(attempt - 1, 1000)  # 2.0 ** 1024 overflows
        seconds = min(self.longest_wait, self.wait * 2.0**doublings)
        if seconds > 0:
            time.sleep(seconds)


def _check_seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise InvalidSetting(f"{name} must be a finite number of seconds, at least 0, got {brief(value)}.")
    return float(value)
