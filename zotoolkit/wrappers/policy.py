"""A Gymnasium environment and a policy as an objective: the loss is minus the mean return.

    f(x) = -(1/E) sum_e return of episode e under the policy with parameters x

Episode e of a query is seeded from (seed, context, e), so all queries of a context play the same episodes (common
random numbers) and an objective is a pure function of (x, context) as far as the environment obeys its seed.

Source: evolution strategies on policy parameters, Salimans et al. 2017, arXiv 1703.03864.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.spaces.utils import flatten, flatten_space
from numpy.typing import ArrayLike
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.utils import parameters_to_vector
from typing_extensions import override

from zotoolkit.checks import check_count
from zotoolkit.dispatch import PartialFailure
from zotoolkit.errors import InvalidSetting, MissingExtra, UnknownId, brief
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.seeding import derive_seed
from zotoolkit.spaces import check_start, make_space

EnvFactory = Callable[[], gymnasium.Env[Any, Any]]
PolicyFunction = Callable[[np.ndarray, Any], Any]

_HELD_OUT = 0xE7A1


class PolicyObjective(BlackBoxObjective):
    """Minus the mean return of a policy whose parameters are the point.

    Several episodes, of one query or of many, are played side by side, so that a torch policy answers them in one call.
    An environment that raises makes that query FAILED and no other. `metrics` plays held-out episodes.

    Args:
        env: Id that `gymnasium.make` knows, or a function that returns a new environment.
        policy: A torch module, whose parameters the point replaces in the order of
            `torch.nn.utils.parameters_to_vector`; it maps a batch of observations to logits (discrete actions, the
            largest is taken) or to actions (continuous ones, clipped to the bounds). Or a function of the `(d,)`
            parameters as an array and one observation, which returns the action; `dim` then says how many there are.
        dim: Number of parameters of a policy that is a function.
        episodes: Episodes a query.
        parallel: Episodes that are played side by side, each in an environment of its own.
        max_steps: Steps after which an episode is cut off, besides the environment's own limit.
        held_out: Episodes that `metrics` plays.
        low: Lower bounds of the parameters.
        high: Upper bounds.
        x0: `(d,)` start point; by default the module's own parameters, or 0 within the bounds for a function.

    Raises:
        InvalidSetting: If env, policy or a number cannot be used, or policy and environment do not fit together.
        UnknownId: If gymnasium knows no such environment.
        MissingExtra: If the environment needs a package that is not installed.

    Examples:
        >>> import zotoolkit
        >>> push_back = lambda w, observation: int(observation @ w > 0)
        >>> objective = PolicyObjective("CartPole-v1", push_back, dim=4, episodes=2)
        >>> x0, _ = objective.reset(seed=0)
        >>> batch = zotoolkit.DenseBatch.at(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.1, 0.5, 1.0, 1.0]]))
        >>> values = objective.step(batch)[0]
        >>> bool(values[1] < values[0] < 0)
        True
    """

    def __init__(
        self,
        env: str | EnvFactory,
        policy: torch.nn.Module | PolicyFunction,
        *,
        dim: int | None = None,
        episodes: int = 5,
        parallel: int = 32,
        max_steps: int = 100_000,
        held_out: int = 20,
        low: ArrayLike = -np.inf,
        high: ArrayLike = np.inf,
        x0: ArrayLike | Tensor | None = None,
    ) -> None:
        self.episodes = check_count(episodes, "episodes")
        self.parallel = check_count(parallel, "parallel")
        self.max_steps = check_count(max_steps, "max_steps")
        self.held_out = check_count(held_out, "held_out")
        self._make_env = _factory(env)
        self._envs = [self._make_env()]
        first = self._envs[0]
        self._play: _ModulePlayer | _FunctionPlayer
        if isinstance(policy, torch.nn.Module):
            if dim is not None:
                raise InvalidSetting(f"dim={dim} is for a policy that is a function; a module has its own parameters.")
            self._play = _ModulePlayer(policy, first, self.parallel)
        elif callable(policy):
            self._play = _FunctionPlayer(policy, check_count(dim, "dim"), self.parallel)
        else:
            raise InvalidSetting(f"policy must be a torch module or a function, got {brief(policy)}.")
        super().__init__(make_space(self._play.dim, low, high, self._play.dtype))
        start = self._play.start if x0 is None else x0
        self._x0 = None if start is None else check_start(start, self.space)
        name = env if isinstance(env, str) else getattr(first.spec, "id", type(first.unwrapped).__name__)
        self.metadata = {"name": f"policy in {name}"}

    @override
    def start(self) -> Tensor:
        return super().start() if self._x0 is None else self._x0.clone()

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        returns, errors = self._returns(x, [derive_seed(self.seed, context, e) for e in range(self.episodes)])
        losses = -returns.mean(dim=1)
        if errors:
            raise PartialFailure(losses, errors)
        return losses

    @override
    def metrics(self, x: Tensor) -> dict[str, float]:
        seeds = [derive_seed(self.seed, _HELD_OUT, e, e) for e in range(self.held_out)]
        returns, errors = self._returns(x[None], seeds)
        if errors:
            return {}
        return {"return": float(returns.mean()), "return_std": float(returns.std(correction=0))}

    @override
    def close(self) -> None:
        for env in self._envs:
            env.close()

    @torch.no_grad()
    def _returns(self, x: Tensor, seeds: list[int]) -> tuple[Tensor, dict[int, str]]:
        """Play every point's episodes; return `(q, e)` returns and what went wrong, by point."""
        returns = torch.zeros(len(x), len(seeds), dtype=torch.float64)
        errors: dict[int, str] = {}
        waiting = [(row, episode) for row in range(len(x)) for episode in range(len(seeds))][::-1]
        lanes: list[_Episode | None] = [None] * min(self.parallel, len(waiting))
        while waiting or any(lane is not None for lane in lanes):
            for i, lane in enumerate(lanes):
                while lane is None and waiting:
                    lane = self._begin(i, *waiting.pop(), x, seeds, errors)
                lanes[i] = lane
            live = [i for i, lane in enumerate(lanes) if lane is not None]
            actions = self._play.actions(live) if live else {}
            for i in live:
                episode = lanes[i]
                if episode is not None and self._advance(i, episode, actions[i], errors):
                    returns[episode.row, episode.number] = episode.total
                    lanes[i] = None
        return returns, errors

    def _begin(
        self, i: int, row: int, number: int, x: Tensor, seeds: list[int], errors: dict[int, str]
    ) -> _Episode | None:
        """Start an episode in lane i; None if its point has failed already or the environment does not start."""
        if row in errors:
            return None
        while len(self._envs) <= i:
            self._envs.append(self._make_env())
        try:
            observation, _ = self._envs[i].reset(seed=seeds[number] >> 32)  # 31 bits: old generators take no more
        except Exception as error:
            self._fail(i, row, error, errors)
            return None
        self._play.see(i, observation, x[row])
        return _Episode(row, number)

    def _advance(self, i: int, episode: _Episode, action: Any, errors: dict[int, str]) -> bool:
        """Take a step in lane i; return whether the episode is over."""
        if episode.row in errors:
            return True
        try:
            if isinstance(action, Exception):
                raise action
            observation, reward, terminated, truncated, _ = self._envs[i].step(action)
        except Exception as error:
            self._fail(i, episode.row, error, errors)
            return True
        episode.total += float(reward)
        episode.steps += 1
        self._play.see(i, observation)
        return bool(terminated or truncated) or episode.steps >= self.max_steps

    def _fail(self, i: int, row: int, error: Exception, errors: dict[int, str]) -> None:
        """Note what went wrong, and put a new environment in place of one in an unknown state."""
        errors[row] = f"{type(error).__name__}: {error}"
        self._envs[i].close()
        self._envs[i] = self._make_env()


from_env = PolicyObjective
"""`PolicyObjective` under a name that goes with `from_callable`."""


@dataclass
class _Episode:
    """An episode that is being played."""

    row: int
    number: int
    total: float = 0.0
    steps: int = 0


class _FunctionPlayer:
    """Asks a function for one action at a time."""

    start = None
    dtype = torch.float32

    def __init__(self, policy: PolicyFunction, dim: int, lanes: int) -> None:
        self.dim = dim
        self._policy = policy
        self._parameters: list[Any] = [None] * lanes
        self._observations: list[Any] = [None] * lanes

    def see(self, i: int, observation: Any, x: Tensor | None = None) -> None:
        self._observations[i] = observation
        if x is not None:
            self._parameters[i] = x.numpy()

    def actions(self, live: list[int]) -> dict[int, Any]:
        return {i: self._one(i) for i in live}

    def _one(self, i: int) -> Any:
        try:
            return self._policy(self._parameters[i].copy(), self._observations[i])
        except Exception as error:  # costs this query its answer and no other
            return error


class _ModulePlayer:
    """Asks a torch module, with the parameters of every lane, for all actions in one call.

    The call always has as many rows as there are lanes, so that rounding does not depend on what else is being played.
    """

    def __init__(self, policy: torch.nn.Module, env: gymnasium.Env[Any, Any], lanes: int) -> None:
        self._policy = copy.deepcopy(policy).eval().cpu()
        named = dict(self._policy.named_parameters())
        dtypes = {parameter.dtype for parameter in named.values()}
        if not named or len(dtypes) > 1 or dtypes & {torch.float16, torch.bfloat16}:
            raise InvalidSetting(
                "a policy module must have parameters, all float32 or all float64, got "
                f"{sorted(map(str, dtypes)) or 'none'}."
            )
        self.dtype = dtypes.pop()
        self.start = parameters_to_vector(named.values()).detach()
        self.dim = len(self.start)
        self._action_space, self._observation_space = env.action_space, env.observation_space
        seen = self._observation_space
        shape = seen.shape if isinstance(seen, Box) else flatten_space(seen).shape
        self._x = self.start.repeat(lanes, 1)
        self._seen = torch.zeros(lanes, *(shape or ()), dtype=self.dtype)
        self._parameters: dict[str, Tensor] = {}
        at = 0
        for name, parameter in named.items():
            self._parameters[name] = self._x[:, at : at + parameter.numel()].unflatten(1, parameter.shape or (1,))
            if not parameter.shape:
                self._parameters[name] = self._parameters[name][:, 0]
            at += parameter.numel()
        self._check_outputs()

    def _check_outputs(self) -> None:
        space = self._action_space
        if isinstance(space, Discrete):
            wanted, what = int(space.n), "a logit for each action"
        elif isinstance(space, Box):
            wanted, what = math.prod(space.shape), "a number for each entry of an action"
        else:
            raise InvalidSetting(
                f"a policy module chooses Discrete or Box actions, the environment takes {space}; write the policy as "
                "a function of (parameters, observation)."
            )
        try:
            outputs = self._outputs()
        except Exception as error:
            raise InvalidSetting(
                f"the policy module cannot be called with observations of shape {tuple(self._seen.shape[1:])}, one for "
                f"each parameter vector: {type(error).__name__}: {error}"
            ) from error
        if outputs.shape[1] != wanted:
            raise InvalidSetting(f"the policy module must return {wanted} outputs, {what}, got {outputs.shape[1]}.")

    def see(self, i: int, observation: Any, x: Tensor | None = None) -> None:
        space = self._observation_space
        row = observation if isinstance(space, Box) else flatten(space, observation)
        self._seen[i] = torch.as_tensor(np.asarray(row))
        if x is not None:
            self._x[i] = x

    @torch.no_grad()
    def _outputs(self) -> Tensor:
        def one(parameters: dict[str, Tensor], seen: Tensor) -> Tensor:
            return functional_call(self._policy, parameters, (seen[None],)).reshape(-1)

        return vmap(one)(self._parameters, self._seen)

    def actions(self, live: list[int]) -> dict[int, Any]:
        outputs = self._outputs()
        space = self._action_space
        if isinstance(space, Discrete):
            chosen = (outputs.argmax(dim=1) + int(space.start)).tolist()
            return {i: chosen[i] for i in live}
        box = cast("Box", space)
        rows = outputs.numpy().reshape(-1, *box.shape)
        return {i: np.clip(rows[i], box.low, box.high).astype(box.dtype) for i in live}


def _factory(env: object) -> EnvFactory:
    """Return a function that makes environments, and turns gymnasium's errors into ours."""
    if not isinstance(env, str) and not callable(env):
        raise InvalidSetting(f"env must be a gymnasium id or a function that makes environments, got {brief(env)}.")

    def make() -> gymnasium.Env[Any, Any]:
        try:
            made = gymnasium.make(env, disable_env_checker=True) if isinstance(env, str) else env()
        except gymnasium.error.DependencyNotInstalled as error:
            raise MissingExtra(
                f"the environment {brief(env)} needs a package that is not installed: {error}"
            ) from error
        except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
            raise UnknownId(f"gymnasium knows no environment {env!r}: {error}") from error
        if not isinstance(made, gymnasium.Env):
            raise InvalidSetting(f"env must make a gymnasium.Env, got {brief(made)}.")
        return made

    return make
