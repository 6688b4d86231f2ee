"""Compass search: poll along the axes, move if something is better, else take smaller steps.

    poll     f(x) and f(x + D u_i e_i), f(x - D u_i e_i) for the coordinates i of this batch
    search   if some polls were better: the best of them, all better ones taken together, and that move doubled
    step     D grows if the doubled move was the best, D shrinks after all 2d polls were no better

The search step is a pattern move in Hooke and Jeeves' sense and does not touch convergence: the best poll is always
among its points, so it never ends worse than compass search's own move. The base point is asked again in every poll,
since batch k is mini-batch k and only losses of one batch are compared.

Bounds: a poll that would leave the box ends on it, and one that would not move at all is left out.

Source: Kolda, Lewis and Torczon, Optimization by direct search, SIAM Review 45(3), 2003, section 3; Lewis and Torczon,
Pattern search for bound constrained minimization, SIAM J. Optimization 9(4), 1999; Hooke and Jeeves, JACM 8(2), 1961.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_count, check_fraction, check_least, check_positive
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch
from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.scales import coordinate_scales

_SHARE = 0.25  # of a bounded coordinate's width: the first step


class PatternSearch(Solver):
    """Polls both ways along every axis, in batches.

    Deterministic: the seed does not matter. It ends by itself.

    Args:
        step: First step in units of x; by default a quarter of the width of a bounded coordinate, and elsewhere the
            root mean square of x0, or 1 if x0 is 0.
        coordinates: How many coordinates a batch polls, two queries each; None for all. With fewer, it moves as soon as
            a batch holds something better, and goes on with the coordinates that follow.
        expansion: Factor of the step when a doubled move was the best, at least 1.
        contraction: Factor of the step when no poll was better, below 1.
        tolerance: Ends when the step has shrunk below this share of the first one.

    Raises:
        InvalidSetting: If a setting is out of its range.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.from_callable(lambda x: float(((x - 1) ** 2).sum()), dim=3)
        >>> zotoolkit.minimize(objective, PatternSearch(), budget=1000, progress=False).x.tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        step: float | None = None,
        coordinates: int | None = None,
        expansion: float = 2.0,
        contraction: float = 0.5,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        self.step = None if step is None else check_positive(step, "step")
        self.coordinates = None if coordinates is None else check_count(coordinates, "coordinates")
        self.expansion = check_least(expansion, 1.0, "expansion")
        self.contraction = check_fraction(contraction, "contraction")
        self.tolerance = check_fraction(tolerance, "tolerance")
        if self.contraction == 1:
            raise InvalidSetting(f"contraction must be in (0, 1), got {brief(contraction)}.")

    @override
    def _start(self) -> None:
        if self.step is None:
            self._unit = coordinate_scales(self.x0, self.bounds, _SHARE)
        else:
            self._unit = torch.full_like(self.x0, self.step)
        self._x = self.x0.clone()
        self._loss = float("nan")
        self._size = 1.0  # the step, as a multiple of the first one
        self._next = 0  # coordinate that the next poll begins with
        self._failed = 0  # coordinates polled in vain since the last move
        self._pattern: Tensor | None = None  # (2, d): all better polls together, and that move doubled

    @override
    def _ask(self) -> QueryBatch:
        if self._pattern is not None:
            return DenseBatch.at(torch.cat((self._x[None], self._pattern)), context=self.iteration)
        count = self._polled()
        index = (self._next + torch.arange(count, device=self._x.device)) % self.dim
        index = index.repeat_interleave(2)
        sign = torch.ones_like(self._x[index])
        sign[1::2] = -1
        step = self._inside(index, sign * self._size * self._unit[index])
        moving = self._x[index] + step != self._x[index]
        base = torch.zeros(1, dtype=torch.int64, device=index.device)
        return CoordinateBatch(
            base=self._x.clone(),
            scale=torch.cat((step.new_zeros(1), step[moving])),
            context=self.iteration,
            index=torch.cat((base, index[moving])),
        )

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        losses = torch.where(usable, values, torch.inf)
        if isinstance(batch, CoordinateBatch):
            self._poll_told(batch, losses)
        elif isinstance(batch, DenseBatch):
            self._pattern_told(batch, losses)
        self.finished = self._size < self.tolerance
        return {"loss": self._loss, "step": self._size}

    @override
    def recommend(self) -> Tensor:
        """Return the point that the polls surround."""
        return self._x.clone()

    @override
    def _state(self) -> dict[str, Any]:
        return {
            "x": self._x,
            "loss": self._loss,
            "size": self._size,
            "next": self._next,
            "failed": self._failed,
            "pattern": self._pattern,
        }

    @override
    def _load(self, state: dict[str, Any]) -> None:
        device = self.x0.device
        self._x, self._loss, self._size = state["x"].to(device), state["loss"], state["size"]
        self._next, self._failed = state["next"], state["failed"]
        self._pattern = None if state["pattern"] is None else state["pattern"].to(device)

    def _polled(self) -> int:
        """Return how many coordinates the next poll takes; a round polls each of them once."""
        most = self.dim if self.coordinates is None else self.coordinates
        return min(most, self.dim - self._failed)

    def _inside(self, index: Tensor, step: Tensor) -> Tensor:
        """Shorten steps from x along coordinates so that x + step, rounded, lies in the box."""
        x, low, high = self._x[index], self.bounds.low[index], self.bounds.high[index]
        step = torch.clamp(x + step, low, high) - x
        while bool((outside := (x + step < low) | (x + step > high)).any()):
            step = torch.where(outside, torch.nextafter(step, torch.zeros_like(step)), step)
        return step

    def _poll_told(self, batch: CoordinateBatch, losses: Tensor) -> None:
        if not bool(torch.isfinite(losses).any()):
            return  # nothing came back: poll again
        if torch.isfinite(losses[0]):
            self._loss = float(losses[0])
        here = self._loss if self._loss == self._loss else float("inf")
        polled = self._polled()
        self._next = (self._next + polled) % self.dim
        polls, losses = batch[1:], losses[1:]
        better = losses < here
        if not bool(better.any()):
            self._failed += polled
            if self._failed == self.dim:
                self._failed = 0
                self._size *= self.contraction
            return
        self._failed = 0
        i = int(losses.argmin())
        best = polls[i : i + 1].points()[0]
        together = _together(polls, losses, better)
        self._pattern = torch.stack((together, self.bounds.project(together + (together - self._x))))
        if int(better.sum()) == 1 or torch.equal(together, best):
            self._pattern = self._pattern[1:]
        self._x, self._loss = best, float(losses[i])

    def _pattern_told(self, batch: DenseBatch, losses: Tensor) -> None:
        self._pattern = None
        i = int(losses.argmin())
        if not torch.isfinite(losses[i]):
            return
        self._x, self._loss = batch.directions[i].clone(), float(losses[i])
        if i == len(batch) - 1:
            self._size *= self.expansion


def _together(polls: CoordinateBatch, losses: Tensor, better: Tensor) -> Tensor:
    """Return the base moved along every axis that has a better poll, to the better of its two."""
    point, best = polls.base.clone(), torch.full_like(polls.base, torch.inf, dtype=losses.dtype)
    for side in (polls.scale > 0, polls.scale < 0):
        index, step = polls.index[better & side], polls.scale[better & side]
        loss = losses[better & side]
        won = loss < best[index]
        point[index[won]] = polls.base[index[won]] + step[won]
        best[index[won]] = loss[won]
    return point
