"""Noise on the answers of an objective that has none, to see what a solver makes of it.

    y = f(x) (1 + relative z1) + std z2,    z1, z2 ~ N(0, 1)

Which noise a query gets is a pure function of (seed, context, point), as everything about an objective is: the order,
the chunks and the form in which queries are sent change nothing. Different points get independent noise. The same
point asked again in the same context gets the same noise, so averaging needs different contexts, which solvers give
their iterations anyway.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit import dispatch
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.fingerprints import point_fingerprints
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed, mix64
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers.base import Wrapper

_STREAM = 0x401


class Noise(Wrapper):
    """Adds Gaussian noise to every loss.

    Batches pass unmaterialised; naming the points costs one pass over the entries of dense and seeded directions.
    `noise_free` tells the loss without this noise. Bit-reproducible on one device; between devices normal directions
    differ in the last bit, and a point that differs has other noise.

    Args:
        objective: Whose losses to disturb.
        std: Standard deviation of the additive part, in units of the loss.
        relative: Standard deviation of the multiplicative part, a share of the loss.
        shared: Whether all queries of a context share one draw (common random numbers), so that additive noise cancels
            in finite differences.

    Raises:
        InvalidSetting: If a deviation is negative or not finite, or both are 0.

    Examples:
        >>> import torch, zotoolkit
        >>> objective = Noise(zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2), std=0.1)
        >>> x0, _ = objective.reset(seed=0)
        >>> batch = zotoolkit.DenseBatch.at(torch.eye(2, dtype=torch.float64))
        >>> noisy = objective.step(batch)[0]
        >>> bool(noisy[0] != noisy[1]), torch.equal(noisy, objective.step(batch)[0])
        (True, True)
        >>> objective.noise_free(batch.points()).tolist()
        [1.0, 1.0]
    """

    passes_inner = False

    def __init__(
        self, objective: BlackBoxObjective, std: float, *, relative: float = 0.0, shared: bool = False
    ) -> None:
        super().__init__(objective)
        self.std = _check_deviation(std, "std")
        self.relative = _check_deviation(relative, "relative")
        if self.std == self.relative == 0:
            raise InvalidSetting("std and relative are both 0, which is no noise; leave the wrapper out instead.")
        if not isinstance(shared, bool):
            raise InvalidSetting(f"shared must be True or False, got {brief(shared)}.")
        self.shared = shared
        below = objective
        self._depth = 0  # noise around noise draws from a stream of its own
        while isinstance(below, Wrapper):
            self._depth += isinstance(below, Noise)
            below = below.objective

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        self._refuse_inner(batch)
        values, terminated, truncated, info = super()._answer(batch)
        if not len(batch):
            return values, terminated, truncated, info
        values = self._disturb(values, batch)
        overflow = (info["status"] == Status.OK) & ~torch.isfinite(values).cpu()
        status = torch.where(overflow, int(Status.NON_FINITE), info["status"]).to(torch.uint8)
        info = StepInfo(status=status, errors=info["errors"], queries=info["queries"], costs=info["costs"])
        return values, terminated, truncated, info

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return self._disturb(super().evaluate(x, context), DenseBatch.at(x, context))

    @override
    def evaluate_coordinates(self, batch: CoordinateBatch) -> Tensor | None:
        values = super().evaluate_coordinates(batch)
        return None if values is None else self._disturb(values, batch)

    @override
    def evaluate_seeded(self, batch: SeededBatch) -> Tensor | None:
        values = super().evaluate_seeded(batch)
        return None if values is None else self._disturb(values, batch)

    @override
    def noise_free(self, x: Tensor) -> Tensor:
        """Return the wrapped objective's true losses; if it tells none, its losses in context 0."""
        values = self.objective.noise_free(x)
        return dispatch.answer(self.objective, DenseBatch.at(x), None)[0] if values is None else values

    def _disturb(self, values: Tensor, batch: QueryBatch) -> Tensor:
        key = derive_seed(self.seed, batch.context, _STREAM, self._depth)
        if self.shared:
            name = torch.zeros(1, 2, dtype=torch.int64, device=values.device)
        else:
            name = point_fingerprints(batch).to(values.device)
        first, second = _normals(name, key)
        return values * (1 + self.relative * first).to(values) + (self.std * second).to(values)


def _normals(name: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Return two independent `(n,)` float64 normals for `(n, 2)` int64 names: Box and Muller 1958."""
    high = mix64(name[:, 0] + key)
    low = mix64(name[:, 1] ^ high)
    unit = 2.0**-53
    radius = (((high >> 11) & ((1 << 53) - 1)).to(torch.float64) + 1).mul_(unit).log_().mul_(-2.0).sqrt_()
    angle = ((low >> 11) & ((1 << 53) - 1)).to(torch.float64).mul_(2 * math.pi * unit)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def _check_deviation(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise InvalidSetting(f"{name} must be a finite number of at least 0, got {brief(value)}.")
    return float(value)
