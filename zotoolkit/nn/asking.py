"""Asking a black box: in chunks, counted, within a budget, a failed query as NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zotoolkit.checks import check_choice, check_count
from zotoolkit.dispatch import PartialFailure, untouched
from zotoolkit.errors import BudgetSpent, InvalidSetting, InvalidValues, QueryFailed, brief

Function = Callable[..., Tensor]
FAILURE_POLICIES = ("drop", "raise")


class QueryCount(NamedTuple):
    """Queries of a black box so far.

    Attributes:
        sent: Rows that the function was called with.
        answered: Those that came back with finite numbers.
    """

    sent: int
    answered: int


class Asker:
    """Sends rows to a function of tensors.

    Args:
        function: `function(points, *extras)` with `(m, *shape)` points and `(m, ...)` extras returns `(m,)` losses or
            `(m, *out)` outputs. A row that holds NaN or infinity has failed; `zotoolkit.PartialFailure` says the same.
        budget: Rows that may be sent in all; None for any number.
        on_failure: "drop" gives NaN for rows that failed, "raise" raises.
        max_batch: Rows of one call.

    Attributes:
        count: Rows sent and answered so far.

    Raises:
        InvalidSetting: If an argument cannot be used.
    """

    def __init__(self, function: Function, budget: int | None, on_failure: str, max_batch: int) -> None:
        if not callable(function):
            raise InvalidSetting(f"function must be called as function(points, *extras), got {brief(function)}.")
        self.function = function
        self.budget = None if budget is None else check_count(budget, "budget", least=0)
        self.on_failure = check_choice(on_failure, FAILURE_POLICIES, "on_failure")
        self.max_batch = check_count(max_batch, "max_batch")
        self.count = QueryCount(0, 0)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def reserve(self, rows: int) -> None:
        """Check that so many rows can still be sent.

        Raises:
            BudgetSpent: If they cannot.
        """
        if self.budget is not None and self.count.sent + rows > self.budget:
            raise BudgetSpent(
                f"{rows} more queries of {self.name} were wanted, but {max(0, self.budget - self.count.sent)} of the "
                f"budget of {self.budget} are left; raise the budget, or ask fewer samples or directions."
            )

    def ask(self, points: Tensor, extras: Sequence[Tensor], form: torch.Size | None = None) -> Tensor:
        """Return the `(m,)` losses or `(m, *out)` outputs, all NaN in rows that failed.

        Args:
            points: `(m, *shape)` fresh memory, m at least 1; handed to the function.
            extras: `(m, ...)` each, fresh memory too.
            form: What `out` must be; None for anything.

        Raises:
            BudgetSpent: If so many rows cannot be sent; none is.
            QueryFailed: If a row failed and the policy is "raise".
            InvalidValues: If the function answers with anything but one row a point.
            InputMutated: If the function writes into the points.
        """
        self.reserve(len(points))
        answers: list[Tensor] = []
        for start in range(0, len(points), self.max_batch):
            rows = slice(start, start + self.max_batch)
            answers.append(self._call(points[rows], [extra[rows] for extra in extras], form))
            form = answers[0].shape[1:]
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _call(self, points: Tensor, extras: Sequence[Tensor], form: torch.Size | None) -> Tensor:
        count = len(points)
        self.count = self.count._replace(sent=self.count.sent + count)
        errors: dict[int, str] = {}
        with torch.no_grad(), untouched(points, f"{self.name} wrote into the points it was given"):
            try:
                values: object = self.function(points, *extras)
            except PartialFailure as failure:
                values, errors = failure.values, dict(failure.errors)
        answer = self._checked(values, points, form)
        if strangers := [row for row in errors if row not in range(count)]:
            raise InvalidValues(f"PartialFailure.errors names row {strangers[0]!r} of {count} rows.")
        if errors:
            answer[list(errors)] = torch.nan
        usable = torch.isfinite(answer).reshape(count, -1).all(1)
        answered = int(usable.sum())
        self.count = self.count._replace(answered=self.count.answered + answered)
        if answered == count:
            return answer
        if self.on_failure == "raise":
            first = int((~usable).nonzero()[0, 0])
            reason = errors.get(first, "the answer is not finite")
            raise QueryFailed(
                f"{count - answered} of {count} queries of {self.name} failed, the first because: {reason}; mend the "
                "function, or pass on_failure='drop' to go on without them."
            )
        answer[~usable] = torch.nan
        return answer

    def _checked(self, values: object, points: Tensor, form: torch.Size | None) -> Tensor:
        """Return the values as fresh memory on the points' device, if they have the right form.

        Raises:
            InvalidValues: Otherwise.
        """
        count = len(points)
        if not isinstance(values, Tensor):
            raise InvalidValues(
                f"{self.name} must return a tensor with {count} rows, one a point, got {brief(values)}; "
                "torch.as_tensor turns an array or a list into one."
            )
        if values.ndim < 1 or len(values) != count:
            raise InvalidValues(
                f"{self.name} must return one row a point, shape ({count},) or ({count}, ...), got {brief(values)}."
            )
        if not values.is_floating_point():
            raise InvalidValues(f"{self.name} must return floating point, got {brief(values)}; use values.float().")
        if form is not None and values.shape[1:] != form:
            raise InvalidValues(
                f"{self.name} must return rows of shape {tuple(form)} here, got {tuple(values.shape[1:])}; the shape "
                "of a row must not depend on the points, and a loss is one number a row."
            )
        # A copy: a function may answer the next chunk in the same memory.
        return values.detach().to(points.device, copy=True)
