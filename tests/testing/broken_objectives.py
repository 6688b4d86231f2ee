"""Objectives that keep every promise but one, named by the words that the complaint must hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zotoolkit
from zotoolkit import BlackBoxObjective, CoordinateBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import torch_generator

BROKEN: list[tuple[str, type[BlackBoxObjective]]] = []


def broken(words: str) -> Callable[[type[BlackBoxObjective]], type[BlackBoxObjective]]:
    def keep(cls: type[BlackBoxObjective]) -> type[BlackBoxObjective]:
        BROKEN.append((words, cls))
        return cls

    return keep


class Good(BlackBoxObjective):
    """A shifted parabola with a mini-batch-like noise, both fast paths, a truth and metrics."""

    def __init__(self, dim: int = 5, dtype: str = "float64") -> None:
        super().__init__(zotoolkit.make_space(dim, -2.0, 3.0, dtype))

    def shift(self, context: int) -> float:
        return float(torch.randn((), generator=torch_generator(self.seed, context)))

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return (x**2).sum(dim=1) + self.shift(context)

    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        here = batch.base[batch.index]
        moved = (here + batch.scale) ** 2 - here**2
        return (batch.base**2).sum() + moved + self.shift(batch.context)

    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        return self.evaluate(batch.points(), batch.context)

    def noise_free(self, x: Tensor) -> Tensor | None:
        return (x**2).sum(dim=1)

    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"norm": float(x.norm())}


@broken("must call super().__init__(space)")
class Uninitialised(Good):
    def __init__(self) -> None:
        self.space = zotoolkit.make_space(5)


@broken("must not override step")
class OwnStep(Good):
    def step(self, batch: QueryBatch) -> Any:
        return self.evaluate(batch.points(), batch.context), False, False, {}


@broken("space must have shape (d,)")
class MatrixSpace(Good):
    def __init__(self) -> None:
        super().__init__()
        self.space = type(self.space)(-1.0, 1.0, (5, 1), np.float64)


@broken("the start point must fit the space: x0 must lie in the space, got 9")
class StartsOutside(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed, options=options)
        return torch.full((5,), 9.0, dtype=self.dtype), {}


@broken("the start point must have the space's dtype torch.float64")
class StartsInFloat32(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        x0, info = super().reset(seed=seed, options=options)
        return x0.float(), info


@broken("the same start point for the same seed, as fresh memory")
class SharesItsStart(Good):
    def __init__(self) -> None:
        super().__init__()
        self.mine = torch.zeros(5, dtype=self.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        _, info = super().reset(seed=seed, options=options)
        return self.mine, info


@broken("must start at that point")
class IgnoresItsOptions(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)


@broken("reset must return (x0, info)")
class ReturnsOneThing(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed, options=options)[0]


@broken("objective.seed must be 2024")
class IgnoresItsSeed(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(options=options)


@broken("reset must zero the count of queries")
class KeepsCounting(Good):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        answer = super().reset(seed=seed, options=options)
        self.queries = 7
        return answer


@broken("must return one loss a query")
class TooFewLosses(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context)[:1].squeeze()


@broken("must return floating-point losses")
class IntegerLosses(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context).long()


@broken("queries failed, the first one with 'TypeError: no such thing'")
class AlwaysFails(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        raise TypeError("no such thing")


@broken("wrote into the points it was given")
class WritesThroughTorch(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x.mul_(2), context)


@broken("evaluate must not write into x")
class WritesThroughNumpy(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        losses = super().evaluate(x, context)
        x.numpy()[:] = 0.0
        return losses


@broken("evaluate_coordinates must not write into batch.base")
class WritesIntoBase(Good):
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        losses = super().evaluate_coordinates(batch)
        batch.base.numpy()[0] += 1.0
        return losses


@broken("evaluate_seeded must not write into batch.base or anything else")
class WritesIntoSeeds(Good):
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        losses = super().evaluate_seeded(batch)
        batch.seed.numpy()[:] = 0
        return losses


@broken("must be a pure function of (x, context)")
class DrawsAnew(Good):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context) + torch.rand((), generator=self.generator)


@broken("must be a pure function of (x, context)")
class Remembers(Good):
    def __init__(self) -> None:
        super().__init__()
        self.last = 0

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        self.last, last = context, self.last
        return super().evaluate(x, context) + 1e-9 * last


@broken("after reset(seed=...) with the same seed")
class ResetsOnward(Good):
    resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.resets += 1
        return super().reset(seed=seed, options=options)

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context) + self.resets


@broken("must not depend on its place among the rows")
class NumbersItsRows(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(x, context) + torch.arange(len(x))


@broken("must not depend on which others are asked with it")
class ComparesItsRows(Good):
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        losses = super().evaluate(x, context)
        return losses - losses.mean()


@broken("evaluate_coordinates must agree with evaluate on batch.points()")
class WrongCoordinates(Good):
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        here = batch.base[batch.index]  # the tangent instead of the parabola
        return (batch.base**2).sum() + 2 * here * batch.scale + self.shift(batch.context)


@broken("evaluate_seeded must agree with evaluate on batch.points() (sphere directions)")
class WrongOnTheSphere(Good):
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        as_normal = SeededBatch(
            base=batch.base, scale=batch.scale, context=batch.context, seed=batch.seed, law="normal", alive=batch.alive
        )
        return super().evaluate_seeded(as_normal if batch.law == "sphere" else batch)


@broken("evaluate_seeded must agree with evaluate on batch.points() (rademacher directions)")
class ForgetsTheMask(Good):
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        whole = SeededBatch(base=batch.base, scale=batch.scale, context=batch.context, seed=batch.seed, law=batch.law)
        return super().evaluate_seeded(whole)


@broken("evaluate_coordinates must agree")
class ForgetsTheContext(Good):
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        losses = super().evaluate_coordinates(batch)
        return None if losses is None else losses - self.shift(batch.context) + self.shift(0)


@broken("noise_free must return None or (4,) floating-point losses")
class OneTruth(Good):
    def noise_free(self, x: Tensor) -> Tensor | None:
        return (x**2).sum()


@broken("noise_free must be a pure function of x")
class NoisyTruth(Good):
    told = 0

    def noise_free(self, x: Tensor) -> Tensor | None:
        self.told += 1
        return (x**2).sum(dim=1) + self.told


@broken("metrics must map names to floats, got 'norm': a tensor")
class TensorMetrics(Good):
    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"norm": x.norm()}


@broken("metrics must return a dict")
class ListedMetrics(Good):
    def metrics(self, x: Tensor) -> dict[str, float]:
        return [1.0]


@broken("metrics must be a pure function of x")
class DriftingMetrics(Good):
    told = 0

    def metrics(self, x: Tensor) -> dict[str, float]:
        self.told += 1
        return {"told": float(self.told)}


@broken("no queries and must not be counted")
class MetricsByQueries(Good):
    def metrics(self, x: Tensor) -> dict[str, float]:
        return {"loss": float(self.step(zotoolkit.DenseBatch.at(x[None]))[0])}


@broken("'forward_equivalents' among them")
class OwnCurrency(Good):
    def costs(self, batch: QueryBatch) -> dict[str, float]:
        return {"euros": float(len(batch))}


@broken("bring back the count of queries")
class Forgetful(Good):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.queries = 0
