"""A box of any size seen as [low, high]^d, so that one step size fits all coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, InvalidSpace, brief
from zotoolkit.figures.drawing import Drawing
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.spaces import bounds_of, check_start, make_space
from zotoolkit.status import StepInfo
from zotoolkit.wrappers.base import Wrapper
from zotoolkit.wrappers.splicing import splice, unanswered


class RescaleSpace(Wrapper):
    """Shifts and scales every coordinate, so that the box becomes [low, high]^d.

    Start point, noise-free losses and metrics are mapped too; `inward` gives the wrapped objective's own coordinates of
    a result. Bounds map onto bounds exactly. A coordinate batch stays one, with scaled steps, and so does a seeded
    batch if all live coordinates have the same width; otherwise its directions are written out, a chunk at a time.

    Args:
        objective: Whose space to rescale; bounded in every coordinate.
        low: Lower bound of every new coordinate.
        high: Upper bound.

    Raises:
        InvalidSpace: If a coordinate is unbounded; the message names it.
        InvalidSetting: If low and high are not finite or cross.

    Examples:
        >>> import zotoolkit
        >>> narrow_wide = zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2, low=[0, -100], high=[1, 300])
        >>> objective = RescaleSpace(narrow_wide)
        >>> x0, _ = objective.reset(seed=0)
        >>> x0.tolist(), objective.inward(x0).tolist()
        ([0.0, 0.0], [0.5, 100.0])
    """

    passes_inner = False

    def __init__(self, objective: BlackBoxObjective, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(objective)
        for name, bound in (("low", low), ("high", high)):
            if isinstance(bound, bool) or not isinstance(bound, Real) or not math.isfinite(float(bound)):
                raise InvalidSetting(f"{name} must be a finite number, got {brief(bound)}.")
        if not low < high:
            raise InvalidSetting(f"low must be below high, got low={low:g} and high={high:g}.")
        self.low, self.high = float(low), float(high)
        self._inner = bounds_of(objective.space, objective.device)
        width = self._inner.high - self._inner.low
        if len(wrong := torch.nonzero(~torch.isfinite(width))):
            i = int(wrong[0])
            raise InvalidSpace(
                f"RescaleSpace needs a box of finite width, got [{self._inner.low[i].item():g}, "
                f"{self._inner.high[i].item():g}] in coordinate {i} ({len(wrong)} of {self.dim} coordinates); "
                "give the objective bounds there."
            )
        self.space = make_space(self.dim, self.low, self.high, self.dtype)
        self._ratio = width / (self.high - self.low)

    def inward(self, x: Tensor) -> Tensor:
        """Return the wrapped objective's coordinates of `(..., d)` points of this space."""
        # lerp counts from the nearer end, so bounds map onto bounds exactly and rounding leads no point out of the box.
        return torch.lerp(self._inner.low, self._inner.high, (x - self.low) / (self.high - self.low))

    def outward(self, x: Tensor) -> Tensor:
        """Return this space's coordinates of `(..., d)` points of the wrapped objective's."""
        share = (x - self._inner.low) / (self._inner.high - self._inner.low)
        return torch.lerp(torch.full_like(share, self.low), torch.full_like(share, self.high), share)

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        given = None if options is None else options.get("x0")
        if options is None or given is None:
            x0, info = super().reset(seed=seed, options=options)
            return self.outward(x0), info
        x0 = check_start(given, self.space).to(self.device)
        _, info = super().reset(seed=seed, options={**options, "x0": self.inward(x0)})
        return x0, info

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        self._refuse_inner(batch)
        inner = self._translate(batch)
        if inner is not None:
            return super()._answer(inner)
        values, info = unanswered(self.objective, batch)
        terminated = truncated = False
        start = 0
        for part in list(batch.split(self.queries_per_chunk(batch))) or [batch]:
            dense = DenseBatch.at(self.inward(part.points()), part.context)
            part_values, ended, spent, part_info = super()._answer(dense)
            terminated, truncated = terminated or ended, truncated or spent
            rows = torch.arange(start, start + len(part))
            values, info = splice(values, info, rows, part_values, part_info)
            start += len(part)
        return values, terminated, truncated, info

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return super().evaluate(self.inward(x), context)

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        return super().evaluate_coordinates(self._coordinates(batch))

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        inner = self._seeded(batch)
        return None if inner is None else super().evaluate_seeded(inner)

    @override
    def start(self) -> Tensor:
        return self.outward(super().start())

    @override
    def noise_free(self, x: Tensor) -> Tensor | None:
        return super().noise_free(self.inward(x))

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        return super().metrics(self.inward(x))

    @override
    def final_metrics(self, x: Tensor) -> dict[str, float]:
        return super().final_metrics(self.inward(x))

    @override
    def pictures(self, points: Mapping[str, Mapping[int, Tensor]]) -> Sequence[Drawing]:
        inner = {name: {seed: self.inward(x) for seed, x in seeds.items()} for name, seeds in points.items()}
        return super().pictures(inner)

    def _translate(self, batch: QueryBatch) -> QueryBatch | None:
        """Return the batch in the wrapped objective's coordinates; None if it must be written out in parts."""
        if isinstance(batch, CoordinateBatch):
            return self._coordinates(batch)
        if isinstance(batch, SeededBatch):
            return self._seeded(batch)
        if isinstance(batch, DenseBatch):
            return DenseBatch.at(self.inward(batch.points()), batch.context)
        return None

    def _coordinates(self, batch: CoordinateBatch) -> CoordinateBatch:
        scale = batch.scale * self._ratio[batch.index]
        return CoordinateBatch(base=self.inward(batch.base), scale=scale, context=batch.context, index=batch.index)

    def _seeded(self, batch: SeededBatch) -> SeededBatch | None:
        ratio = self._ratio if batch.alive is None else self._ratio[batch.alive]
        if not len(ratio) or not bool((ratio == ratio[0]).all()):
            return None
        return SeededBatch(
            base=self.inward(batch.base),
            scale=batch.scale * ratio[0],
            context=batch.context,
            seed=batch.seed,
            law=batch.law,
            alive=batch.alive,
        )
