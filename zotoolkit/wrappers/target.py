"""An end as soon as a loss is low enough."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch
from zotoolkit.status import Status, StepInfo
from zotoolkit.wrappers.base import Wrapper


class TargetReached(Wrapper):
    """Says `terminated` from the step on in which a query answers with a loss at or below the target.

    Judged by the losses as they pass here: under a `Noise` wrapper these are the true ones, above it the noisy ones.
    Only queries with status OK count.

    Args:
        objective: What to watch.
        target: Loss to reach, finite.

    Attributes:
        reached: Whether the target has been reached since the last reset.

    Raises:
        InvalidSetting: If the target is no finite number.

    Examples:
        >>> import torch, zotoolkit
        >>> objective = TargetReached(zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2), target=0.5)
        >>> _ = objective.reset(seed=0)
        >>> at = lambda value: zotoolkit.DenseBatch.at(torch.full((1, 2), value, dtype=torch.float64))
        >>> [objective.step(at(value))[1] for value in (1.0, 0.5, 1.0)]
        [False, True, True]
    """

    def __init__(self, objective: BlackBoxObjective, target: float) -> None:
        super().__init__(objective)
        if isinstance(target, bool) or not isinstance(target, Real) or not math.isfinite(float(target)):
            raise InvalidSetting(f"target must be a finite number, got {brief(target)}.")
        self.target = float(target)
        self.reached = False

    @override
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        start = super().reset(seed=seed, options=options)
        self.reached = False
        return start

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "reached": self.reached}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.reached = state["reached"]

    @override
    def _answer(self, batch: QueryBatch) -> tuple[Tensor, bool, bool, StepInfo]:
        values, terminated, truncated, info = super()._answer(batch)
        usable = (info["status"] == Status.OK).to(values.device)
        self.reached = self.reached or bool((usable & (values <= self.target)).any())
        return values, terminated or self.reached, truncated, info
