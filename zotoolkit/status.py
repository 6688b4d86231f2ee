"""What became of each query of a batch."""

from __future__ import annotations

from enum import IntEnum
from typing import TypedDict

from torch import Tensor
from typing_extensions import NotRequired


class Status(IntEnum):
    """Outcome of one query, stored as uint8 in `info["status"]`."""

    OK = 0
    """A finite loss came back."""
    FAILED = 1
    """The objective raised; the value is NaN and `info["errors"]` says why."""
    NON_FINITE = 2
    """The objective answered NaN or infinity, kept as the value."""
    SKIPPED = 3
    """Never asked, because the budget ran out; the value is NaN."""


class StepInfo(TypedDict):
    """The `info` of a step.

    Attributes:
        status: `(q,)` uint8, a `Status` for each query.
        errors: Message for each query that failed, by its position in the batch.
        queries: How many queries this step spent; retries count again, cached answers and skipped ones do not.
        costs: What the step cost in the objective's own units; always has `"forward_equivalents"`, the number of full
            evaluations that the same work would have paid for.
        gradient: `(d,)`, of an answered `InnerBatch` only.
        figures: For the log, of an answered `InnerBatch` only.
    """

    status: Tensor
    errors: dict[int, str]
    queries: int
    costs: dict[str, float]
    gradient: NotRequired[Tensor]
    figures: NotRequired[dict[str, float]]
