"""An objective that tells what reached it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, CoordinateBatch, PartialFailure, SeededBatch


class Spy(BlackBoxObjective):
    """A shifted parabola with both fast paths; `fails` and `blank` say which attempts at a row fail or come back NaN.

    Attributes:
        seen: (path, number of queries) of every call.
        asked: Rows answered or failed, what a budget is about.
        closed: Whether close was called.
    """

    def __init__(
        self,
        dim: int = 6,
        *,
        dtype: str = "float64",
        low: Any = -2.0,
        high: Any = 2.0,
        fails: Callable[[int], bool] = lambda attempt: False,
        blank: Callable[[int], bool] = lambda attempt: False,
    ) -> None:
        super().__init__(zotoolkit.make_space(dim, low, high, dtype))
        self.metadata = {"name": "spy"}
        self.fails, self.blank = fails, blank
        self.seen: list[tuple[str, int]] = []
        self.asked = 0
        self.closed = False

    def loss(self, x: Tensor, context: int) -> Tensor:
        return ((x - 0.25) ** 2).sum(dim=1) + 0.001 * (context % 1000)

    def answer(self, path: str, x: Tensor, context: int) -> Tensor:
        self.seen.append((path, len(x)))
        values = self.loss(x, context)
        errors = {}
        for row in range(len(x)):
            if self.fails(self.asked):
                errors[row] = f"attempt {self.asked}\nfailed"
            if self.blank(self.asked):
                values[row] = float("nan")
            self.asked += 1
        if errors:
            raise PartialFailure(values, errors)
        return values

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return self.answer("dense", x, context)

    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor:
        return self.answer("coordinate", batch.points(), batch.context)

    def evaluate_seeded(self, batch: SeededBatch) -> Tensor:
        return self.answer("seeded", batch.points(), batch.context)

    def noise_free(self, x: Tensor) -> Tensor:
        return self.loss(x, 0)

    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"first": float(x[0])}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def spy() -> type[Spy]:
    return Spy


def dense(q: int = 5, dim: int = 6, context: int = 3, dtype: torch.dtype = torch.float64) -> zotoolkit.DenseBatch:
    points = torch.rand(q, dim, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1
    return zotoolkit.DenseBatch.at(points, context)


def coordinate(q: int = 5, dim: int = 6, context: int = 3, dtype: torch.dtype = torch.float64) -> CoordinateBatch:
    return CoordinateBatch(
        base=torch.linspace(-0.5, 0.5, dim, dtype=dtype),
        scale=torch.linspace(0.1, 0.4, q, dtype=dtype),
        index=torch.arange(q) % dim,
        context=context,
    )


def seeded(q: int = 5, dim: int = 6, context: int = 3, dtype: torch.dtype = torch.float64) -> SeededBatch:
    return SeededBatch(
        base=torch.linspace(-0.5, 0.5, dim, dtype=dtype),
        scale=torch.linspace(0.1, 0.4, q, dtype=dtype),
        seed=torch.arange(q) + 10,
        context=context,
    )


@pytest.fixture
def batches() -> dict[str, Callable[..., Any]]:
    """What makes a batch of each kind: called with (q, dim, context, dtype)."""
    return {"dense": dense, "coordinate": coordinate, "seeded": seeded}
