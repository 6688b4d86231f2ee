"""How an objective answers a batch: in chunks, on the fastest path it has, one status a query.

A chunk that raises is halved until the queries that cannot be answered stand alone; a chunk that does not fit into
memory is halved for good. One bad query never costs another one its answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zotoolkit.errors import InputMutated, InvalidValues, ZotoolkitError, brief
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.status import Status, StepInfo

if TYPE_CHECKING:
    from zotoolkit.objective import BlackBoxObjective


class PartialFailure(Exception):
    """Raised by `evaluate` when it can tell which rows failed, so that no other row is asked again.

    Args:
        values: `(q,)` losses; whatever stands in a failed row is ignored.
        errors: What went wrong, by row.
    """

    def __init__(self, values: Tensor, errors: dict[int, str]) -> None:
        super().__init__(f"{len(errors)} of {len(values)} queries failed")
        self.values = values
        self.errors = errors


@dataclass
class _Answer:
    """Values and failures gathered over the chunks of one batch."""

    values: list[Tensor] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    position: int = 0

    def add(self, values: Tensor, errors: dict[int, str]) -> None:
        self.errors.update({self.position + row: message for row, message in errors.items()})
        self.values.append(values)
        self.position += len(values)

    def charge(self, costs: dict[str, float]) -> None:
        for name, cost in costs.items():
            self.costs[name] = self.costs.get(name, 0.0) + cost


def answer(objective: BlackBoxObjective, batch: QueryBatch, allowance: int | None) -> tuple[Tensor, StepInfo]:
    """Evaluate the batch's first `allowance` queries and skip the rest.

    Args:
        objective: Whose `evaluate` and fast paths answer.
        batch: What is asked.
        allowance: How many queries may be spent; None for all.

    Returns:
        `(q,)` values, NaN where a query failed or was skipped, and the step's info.
    """
    asked = batch if allowance is None or allowance >= len(batch) else batch[:allowance]
    gathered = _Answer()
    position = 0
    while position < len(asked):
        chunk = asked[position : position + objective.queries_per_chunk(batch)]
        try:
            _answer_chunk(objective, chunk, gathered)
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or len(chunk) == 1:
                raise
            objective.limit_chunk(len(chunk) // 2)
            continue
        position += len(chunk)
    values = torch.cat(gathered.values) if gathered.values else batch.scale.new_empty(0)
    status = torch.zeros(len(batch), dtype=torch.uint8)
    status[: len(asked)][~torch.isfinite(values).cpu()] = Status.NON_FINITE
    status[len(asked) :] = Status.SKIPPED
    if gathered.errors:
        status[list(gathered.errors)] = Status.FAILED
    if len(asked) < len(batch):
        values = torch.cat((values, values.new_full((len(batch) - len(asked),), float("nan"))))
    costs = dict.fromkeys(objective.costs(asked[:0]), 0.0) | gathered.costs
    return values, StepInfo(status=status, errors=gathered.errors, queries=len(asked), costs=costs)


def _answer_chunk(objective: BlackBoxObjective, chunk: QueryBatch, gathered: _Answer) -> None:
    """Answer a chunk, halving it around queries that raise."""
    costs = objective.costs(chunk)
    try:
        values = _evaluate(objective, chunk)
    except PartialFailure as failure:
        gathered.charge(costs)
        values = _check_values(failure.values, len(chunk), "PartialFailure.values").clone()
        values[list(failure.errors)] = float("nan")
        gathered.add(values, failure.errors)
    except ZotoolkitError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            raise
        gathered.charge(costs)
        if len(chunk) == 1:
            gathered.add(chunk.scale.new_full((1,), float("nan")), {0: f"{type(error).__name__}: {error}"})
            return
        for half in chunk.split((len(chunk) + 1) // 2):
            _answer_chunk(objective, half, gathered)
    else:
        gathered.charge(costs)
        gathered.add(values, {})


def _evaluate(objective: BlackBoxObjective, chunk: QueryBatch) -> Tensor:
    """Answer on the fastest path there is and check the answer's form."""
    values: Tensor | None = None
    path = "evaluate"
    base_version = chunk.base._version
    with torch.no_grad():
        if isinstance(chunk, CoordinateBatch):
            values, path = objective.evaluate_coordinates(chunk), "evaluate_coordinates"
        elif isinstance(chunk, SeededBatch):
            values, path = objective.evaluate_seeded(chunk), "evaluate_seeded"
        if values is None:
            path = "evaluate"
            points = chunk.points()
            version = points._version
            values = objective.evaluate(points, chunk.context)
            if points._version != version:
                raise InputMutated(
                    f"{type(objective).__name__}.evaluate wrote into the points it was given; work on x.clone()."
                )
    if chunk.base._version != base_version:
        raise InputMutated(
            f"{type(objective).__name__}.{path} wrote into batch.base, which the solver owns; work on a clone instead."
        )
    return _check_values(values, len(chunk), f"{type(objective).__name__}.{path}")


def _check_values(values: object, count: int, source: str) -> Tensor:
    """Return the values if they are `(count,)` floating point.

    Raises:
        InvalidValues: Otherwise.
    """
    if not isinstance(values, Tensor):
        raise InvalidValues(
            f"{source} must return a ({count},) tensor of losses, one a query, got {brief(values)}; "
            "torch.as_tensor turns an array or a list into one."
        )
    if values.shape != (count,):
        raise InvalidValues(f"{source} must return one loss a query, shape ({count},), got {brief(values)}.")
    if not values.is_floating_point():
        raise InvalidValues(f"{source} must return floating-point losses, got {brief(values)}; use values.double().")
    return values.detach()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
