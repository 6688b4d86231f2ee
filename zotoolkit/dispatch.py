"""How an objective answers a batch: in chunks, on the fastest path it has, one status a query.

A chunk that raises is halved until the queries that cannot be answered stand alone; a chunk that does not fit into
memory is halved for good. One bad query never costs another one its answer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from zotoolkit.errors import BudgetSpent, InputMutated, InvalidBatch, InvalidValues, ZotoolkitError, brief
from zotoolkit.inner import HasInner, InnerAnswer, InnerBatch
from zotoolkit.queries import CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.status import Status, StepInfo

if TYPE_CHECKING:
    from zotoolkit.objective import BlackBoxObjective

_log = logging.getLogger("zotoolkit")


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


class Answered(NamedTuple):
    """What became of a batch.

    Attributes:
        values: `(q,)` losses, NaN where a query failed or was skipped.
        info: The step's info.
        spent: Whether there is no use in asking on: a budget of the objective's own ended, or a batch that goes whole
            or not at all is more than the allowance.
    """

    values: Tensor
    info: StepInfo
    spent: bool


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


def answer(objective: BlackBoxObjective, batch: QueryBatch, allowance: int | None) -> Answered:
    """Evaluate the batch's first `allowance` queries and skip the rest.

    An objective whose own budget ends (it raises BudgetSpent, such as that of the images a classifier may be sent) has
    the queries skipped that are left.

    Args:
        objective: Whose `evaluate` and fast paths answer.
        batch: What is asked.
        allowance: How many queries may be spent; None for all.
    """
    if isinstance(batch, InnerBatch):
        return _answer_inner(objective, batch, allowance)
    asked = batch if allowance is None or allowance >= len(batch) else batch[:allowance]
    gathered, spent = _Answer(), False
    while gathered.position < len(asked):
        size = max(1, objective.queries_per_chunk(batch))
        chunk = asked[gathered.position : gathered.position + size]
        try:
            _answer_chunk(objective, chunk, gathered)
        except BudgetSpent as error:
            _log.warning("%s", error)
            asked, spent = asked[: gathered.position], True
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or len(chunk) == 1:
                raise
            # What the chunk's first rows answered before memory ran out has been gathered; carry on behind them.
            objective.limit_chunk(len(chunk) // 2)
    values = torch.cat(gathered.values) if gathered.values else batch.scale.new_empty(0)
    status = torch.zeros(len(batch), dtype=torch.uint8)
    status[: len(asked)][~torch.isfinite(values).cpu()] = Status.NON_FINITE
    status[len(asked) :] = Status.SKIPPED
    if gathered.errors:
        status[list(gathered.errors)] = Status.FAILED
    if len(asked) < len(batch):
        values = torch.cat((values, values.new_full((len(batch) - len(asked),), float("nan"))))
    costs = dict.fromkeys(objective.costs(asked[:0]), 0.0) | gathered.costs
    return Answered(values, StepInfo(status=status, errors=gathered.errors, queries=len(asked), costs=costs), spent)


def _answer_inner(objective: BlackBoxObjective, batch: InnerBatch, allowance: int | None) -> Answered:
    """Answer a batch at an inner interface whole; skip it whole if a budget does not cover it."""
    if not isinstance(objective, HasInner) or batch.place not in objective.inner_places:
        there = ", ".join(map(repr, objective.inner_places)) if isinstance(objective, HasInner) else "none"
        raise InvalidBatch(f"{objective!r} has no inner interface {batch.place!r}; it has {there}.")
    count, values = len(batch), batch.scale.new_full((len(batch),), float("nan"))
    if count not in (0, needed := objective.inner_queries(batch.place, batch.differences)):
        raise InvalidBatch(f"an InnerBatch is asked whole: these differences take {needed} queries, got {count}.")
    costs = dict.fromkeys(objective.costs(batch[:0]), 0.0)

    def told(status: Status, queries: int = 0, errors: dict[int, str] | None = None) -> StepInfo:
        paid = costs | objective.costs(batch) if queries else costs
        every = torch.full((count,), status, dtype=torch.uint8)
        return StepInfo(status=every, errors=errors or {}, queries=queries, costs=paid)

    if not count or (allowance is not None and allowance < count):
        return Answered(values, told(Status.SKIPPED), bool(count))
    try:
        with untouched(batch.base, f"{type(objective).__name__}.evaluate_inner wrote into batch.base"):
            loss, gradient, figures = _check_inner(objective.evaluate_inner(batch), objective, batch)
    except BudgetSpent as error:
        _log.warning("%s", error)
        return Answered(values, told(Status.SKIPPED), True)
    except ZotoolkitError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        failed = dict.fromkeys(range(count), f"{type(error).__name__}: {error}")
        return Answered(values, told(Status.FAILED, count, failed), False)
    finite = math.isfinite(loss) and bool(torch.isfinite(gradient).all())
    info = told(Status.OK if finite else Status.NON_FINITE, count)
    # A copy: an objective may answer the next batch in the same memory.
    info["gradient"], info["figures"] = gradient.detach().to(batch.base, copy=True), dict(figures)
    return Answered(values.fill_(loss), info, False)


def _check_inner(answer: object, objective: BlackBoxObjective, batch: InnerBatch) -> InnerAnswer:
    """Return the answer to an InnerBatch if it has the right form.

    Raises:
        InvalidValues: Otherwise.
    """
    name = f"{type(objective).__name__}.evaluate_inner"
    if not isinstance(answer, tuple) or len(answer) != 3 or not isinstance(answer[2], dict):
        raise InvalidValues(f"{name} must return an InnerAnswer(loss, gradient, figures), got {brief(answer)}.")
    loss, gradient, figures = answer
    if isinstance(loss, Tensor) and loss.numel() == 1:
        loss = loss.item()
    if isinstance(loss, bool) or not isinstance(loss, (int, float)):
        raise InvalidValues(f"{name} must return the mean loss as a float, got {brief(loss)}.")
    if not isinstance(gradient, Tensor) or gradient.shape != batch.base.shape or not gradient.is_floating_point():
        raise InvalidValues(f"{name} must return a ({batch.dim},) gradient, got {brief(gradient)}.")
    return InnerAnswer(float(loss), gradient, figures)


def _answer_chunk(objective: BlackBoxObjective, chunk: QueryBatch, gathered: _Answer) -> None:
    """Answer a chunk, halving it around queries that raise."""
    try:
        values = _evaluate(objective, chunk)
    except PartialFailure as failure:
        gathered.charge(objective.costs(chunk))
        values = _check_values(failure.values, chunk, "PartialFailure.values")
        if strangers := [row for row in failure.errors if row not in range(len(chunk))]:
            raise InvalidValues(f"PartialFailure.errors names row {strangers[0]!r} of {len(chunk)} rows.") from None
        values[list(failure.errors)] = float("nan")
        gathered.add(values, failure.errors)
    except ZotoolkitError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        gathered.charge(objective.costs(chunk))
        if len(chunk) == 1:
            gathered.add(chunk.scale.new_full((1,), float("nan")), {0: f"{type(error).__name__}: {error}"})
            return
        for half in chunk.split((len(chunk) + 1) // 2):
            _answer_chunk(objective, half, gathered)
    else:
        gathered.charge(objective.costs(chunk))
        gathered.add(values, {})


def _evaluate(objective: BlackBoxObjective, chunk: QueryBatch) -> Tensor:
    """Answer on the fastest path there is and check the answer's form."""
    values: Tensor | None = None
    path = "evaluate"
    name = type(objective).__name__
    with torch.no_grad():
        if isinstance(chunk, CoordinateBatch):
            path = "evaluate_coordinates"
            with untouched(chunk.base, f"{name}.{path} wrote into batch.base"):
                values = objective.evaluate_coordinates(chunk)
        elif isinstance(chunk, SeededBatch):
            path = "evaluate_seeded"
            with untouched(chunk.base, f"{name}.{path} wrote into batch.base"):
                values = objective.evaluate_seeded(chunk)
        if values is None:
            path = "evaluate"
            points = chunk.points()
            with untouched(points, f"{name}.evaluate wrote into the points it was given"):
                values = objective.evaluate(points, chunk.context)
    return _check_values(values, chunk, f"{name}.{path}")


@contextmanager
def untouched(tensor: Tensor, sentence: str) -> Iterator[None]:
    """Raise InputMutated if the tensor is written into, whatever else is raised; inference tensors cannot tell."""
    version = None if tensor.is_inference() else tensor._version

    def check() -> None:
        if version is not None and tensor._version != version:
            raise InputMutated(f"{sentence}; work on a clone.")

    try:
        yield
    except Exception:
        check()
        raise
    check()


def _check_values(values: object, chunk: QueryBatch, source: str) -> Tensor:
    """Return the values, as fresh memory on the batch's device, if they are `(q,)` floating point.

    Raises:
        InvalidValues: Otherwise.
    """
    count = len(chunk)
    if not isinstance(values, Tensor):
        raise InvalidValues(
            f"{source} must return a ({count},) tensor of losses, one a query, got {brief(values)}; "
            "torch.as_tensor turns an array or a list into one."
        )
    if values.shape != (count,):
        raise InvalidValues(f"{source} must return one loss a query, shape ({count},), got {brief(values)}.")
    if not values.is_floating_point():
        raise InvalidValues(f"{source} must return floating-point losses, got {brief(values)}; use values.double().")
    # A copy: an objective may answer the next chunk in the same memory.
    return values.detach().to(chunk.device, copy=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error says that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
