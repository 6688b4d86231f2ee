"""An objective as a Gymnasium environment: an agent learns to search."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict
from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import InvalidBatch, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import DenseBatch
from zotoolkit.status import Status
from zotoolkit.wrappers.budget import BudgetLimit
from zotoolkit.wrappers.target import TargetReached

_LARGEST = float(np.finfo(np.float64).max)

Observation = dict[str, Any]


class GymEnvAdapter(gymnasium.Env[Observation, np.ndarray]):
    """An episode is a search: an action is a point to query, the reward is minus its loss.

    The observation is a dict:

        point        (d,)  point queried last; the start point after `reset`
        value        (1,)  its loss; 0 after `reset`, which asks nothing
        best_point   (d,)  point of the lowest loss of the episode; the start point before there is one
        best_value   (1,)  that loss; 0 before there is one
        remaining    (1,)  share of the budget that is left

    The k-th query of an episode has context k. A query that fails, or whose loss is not finite, is rewarded as the
    worst loss of the episode so far (0 if there is none) and named in `info["status"]`. `terminated` says that the
    target has been reached, `truncated` that the budget is spent. `reset(seed=s)` seeds the objective with s; later
    resets without a seed draw new ones. `reset(options={"x0": point})` starts elsewhere.

    Most agents want actions in [-1, 1]: wrap the objective in `RescaleSpace` first. For agents that want one vector,
    wrap the environment in `gymnasium.wrappers.FlattenObservation`.

    Args:
        objective: What is searched.
        budget: Queries an episode.
        target: Loss that ends an episode; None for none.

    Raises:
        InvalidSetting: If the budget is no integer of at least 1 or the target is not finite.

    Examples:
        >>> import zotoolkit
        >>> sphere = zotoolkit.from_callable(lambda x: float(sum(x**2)), dim=2, low=-1, high=1)
        >>> env = GymEnvAdapter(sphere, budget=10)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(np.array([0.5, 0.5]))
        >>> reward, observation["remaining"].item()
        (-0.5, 0.9)
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, objective: BlackBoxObjective, budget: int, target: float | None = None) -> None:
        self._budget = BudgetLimit(objective, budget)
        self.objective: BlackBoxObjective = self._budget if target is None else TargetReached(self._budget, target)
        self.render_mode = None
        space = objective.space
        self._box = self._copy(space)
        self.action_space = self._box
        value = Box(-_LARGEST, _LARGEST, shape=(1,), dtype=np.float64)
        self.observation_space = Dict(
            {
                "point": self._copy(space),
                "value": value,
                "best_point": self._copy(space),
                "best_value": value,
                "remaining": Box(0.0, 1.0, shape=(1,), dtype=np.float64),
            }
        )
        self._over = True

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(1 << 63)) if seed is None else seed
        x0, _ = self.objective.reset(seed=drawn, options=options or None)
        self._point = self._best_point = x0.cpu().numpy()
        self._value = 0.0
        self._best_value: float | None = None
        self._worst_value: float | None = None
        self._queried = 0
        self._over = False
        return self._observation(), {"seed": drawn}

    @override
    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if self._over:
            raise ResetNeeded("the episode is over, or none has begun; call env.reset() first.")
        point = self._check_action(action)
        values, terminated, truncated, info = self.objective.step(DenseBatch.at(point[None], context=self._queried))
        self._queried += 1
        self._over = terminated or truncated
        status = Status(int(info["status"][0]))
        self._point = point.cpu().numpy()
        self._value = float(values[0]) if status is Status.OK else self._worst_value or 0.0
        if status is Status.OK:
            if self._best_value is None or self._value < self._best_value:
                self._best_value, self._best_point = self._value, self._point
            if self._worst_value is None or self._value > self._worst_value:
                self._worst_value = self._value
        told: dict[str, Any] = {"status": status.name, "queries": info["queries"]}
        if 0 in info["errors"]:
            told["error"] = info["errors"][0]
        return self._observation(), -self._value, terminated, truncated, told

    @override
    def close(self) -> None:
        self.objective.close()

    @staticmethod
    def _copy(space: Box) -> Box:
        return Box(space.low, space.high, dtype=space.dtype.type)  # seeding one space seeds no other

    def _check_action(self, action: object) -> Tensor:
        """Return the action as a `(d,)` point.

        Raises:
            InvalidBatch: If it is no point of the action space.
        """
        space = self._box
        point = np.asarray(action)
        if point.shape != space.shape or point.dtype.kind not in "fiu":
            raise InvalidBatch(f"an action must be {len(space.low)} numbers, got {brief(action)}.")
        point = point.astype(space.dtype)
        if len(wrong := np.flatnonzero(~((point >= space.low) & (point <= space.high)))):
            i = int(wrong[0])
            raise InvalidBatch(
                f"an action must lie in the action space, got {point[i]:g} in coordinate {i} with bounds "
                f"[{space.low[i]:g}, {space.high[i]:g}]; gymnasium.wrappers.ClipAction clips actions."
            )
        return torch.as_tensor(point, device=self.objective.device)

    def _observation(self) -> Observation:
        return {
            "point": self._point.copy(),
            "value": np.array([self._value]),
            "best_point": self._best_point.copy(),
            "best_value": np.array([self._best_value or 0.0]),
            "remaining": np.array([self._budget.remaining / self._budget.budget]),
        }
