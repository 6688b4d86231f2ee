"""A Gymnasium environment and a policy as an objective."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import zotoolkit
from zotoolkit import DenseBatch, PolicyObjective, SeededBatch, Status, from_env
from zotoolkit.errors import InvalidSetting, InvalidStart, MissingExtra, UnknownId
from zotoolkit.seeding import derive_seed


def network(inputs: int = 4, outputs: int = 2, hidden: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def candidates(x0: torch.Tensor, q: int = 10, context: int = 0) -> SeededBatch:
    return SeededBatch(base=x0, scale=torch.full((q,), 0.5), seed=torch.arange(q), law="normal", context=context)


class Toy(gymnasium.Env[np.ndarray, Any]):
    """Rewards closeness of the action to the seed's secret, for three steps; breaks where it is told to."""

    def __init__(self, action_space: spaces.Space[Any], breaks: bool = False, observation_space: Any = None) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.breaks = breaks
        self.actions: list[Any] = []
        self.broken = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if self.broken:
            raise RuntimeError("still broken")
        self.secret = float(self.np_random.uniform(-1, 1))
        self.steps = 0
        return self.observation_space.sample() * 0, {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        if self.breaks and float(np.sum(action)) > 5:
            self.broken = True  # for good
            raise RuntimeError("the arm broke")
        self.steps += 1
        return self.observation_space.sample() * 0, float(self.secret + np.sum(action)), False, self.steps == 3, {}


def test_the_loss_is_minus_the_mean_return() -> None:
    """Against the plainest loop there is."""
    objective = from_env("CartPole-v1", network(), episodes=3)
    x0, _ = objective.reset(seed=4)
    batch = candidates(x0, context=6)
    values = objective.step(batch)[0]
    env = gymnasium.make("CartPole-v1")
    module = network()
    for i, x in enumerate(batch.points()):
        vector_to_parameters(x, module.parameters())
        returns = []
        for episode in range(3):
            observation, _ = env.reset(seed=derive_seed(4, 6, episode) >> 32)
            total, over = 0.0, False
            while not over:
                action = int(module(torch.as_tensor(observation)[None]).argmax())
                observation, reward, terminated, truncated, _ = env.step(action)
                total, over = total + float(reward), terminated or truncated
            returns.append(total)
        assert values[i] == -np.mean(returns)


@pytest.mark.parametrize("parallel", [1, 3, 64])
def test_playing_side_by_side_changes_nothing(parallel: int) -> None:
    values = []
    for lanes in (16, parallel):
        objective = from_env("CartPole-v1", network(), parallel=lanes, episodes=2)
        x0, _ = objective.reset(seed=0)
        values.append(objective.step(candidates(x0))[0])
        parts = torch.cat([objective.step(part)[0] for part in candidates(x0).split(3)])
        assert torch.equal(values[-1], parts)
    assert torch.equal(*values)


def test_a_context_is_a_set_of_episodes() -> None:
    space = spaces.Box(-1.0, 1.0, (1,))
    objective = from_env(lambda: Toy(space), lambda w, observation: np.clip(w, -1, 1), dim=1, episodes=2)
    objective.reset(seed=0)
    same = DenseBatch.at(torch.zeros(3, 1))
    first = objective.step(same)[0]
    assert len(first.unique()) == 1  # common random numbers
    assert torch.equal(first, objective.step(same)[0])
    assert first[0] != objective.step(DenseBatch.at(torch.zeros(3, 1), context=1))[0][0]
    objective.reset(seed=1)
    assert first[0] != objective.step(same)[0][0]
    assert objective.metrics(torch.zeros(1))["return_std"] > 0


def test_the_start_is_the_module_and_the_module_is_left_alone() -> None:
    module = network()
    before = parameters_to_vector(module.parameters()).detach().clone()
    objective = from_env("CartPole-v1", module)
    x0, _ = objective.reset(seed=0)
    assert torch.equal(x0, before)
    objective.step(candidates(x0))
    assert torch.equal(parameters_to_vector(module.parameters()), before)
    assert module.training
    given = torch.ones(len(before))
    assert torch.equal(from_env("CartPole-v1", module, x0=given).reset()[0], given)


def test_random_search_balances_the_pole() -> None:
    objective = from_env("CartPole-v1", nn.Linear(4, 2), episodes=3, held_out=10)
    x0, _ = objective.reset(seed=0)
    batch = SeededBatch(base=torch.zeros_like(x0), scale=torch.ones(200), seed=torch.arange(200), law="normal")
    values = objective.step(batch)[0]
    best = batch[values.argmin()[None]].points()[0]
    assert objective.metrics(torch.zeros_like(x0))["return"] < 15
    assert objective.metrics(best)["return"] > 300


def test_a_zeroth_order_gradient_balances_the_pole() -> None:
    torch.manual_seed(0)
    objective = from_env("CartPole-v1", nn.Linear(4, 2), episodes=2, max_steps=200, held_out=10)
    x0, _ = objective.reset(seed=0)
    before = objective.metrics(x0)["return"]
    solver = zotoolkit.make_solver("ZO/Adam-RGE-v0", lr=0.2, mu=0.3, q=10, difference="central")
    result = zotoolkit.minimize(objective, solver, budget=120, seed=0, progress=False)
    assert before < 70
    assert result.metrics["return"] > 150


def test_continuous_actions_are_clipped_to_the_bounds() -> None:
    toys: list[Toy] = []

    def make() -> Toy:
        toys.append(Toy(spaces.Box(np.array([[-1.0, -2.0]]), np.array([[1.0, 2.0]]), dtype=np.float64)))
        return toys[-1]

    module = nn.Linear(2, 2)
    objective = from_env(make, module, episodes=1, parallel=1)
    x = torch.tensor([0.0, 0.0, 0.0, 0.0, 5.0, -5.0])
    objective.step(DenseBatch.at(x[None]))
    (action, *_) = toys[0].actions
    assert action.tolist() == [[1.0, -2.0]]
    assert action.dtype == np.float64


def test_discrete_actions_begin_where_the_space_begins() -> None:
    toys: list[Toy] = []

    def make() -> Toy:
        toys.append(Toy(spaces.Discrete(3, start=5)))
        return toys[-1]

    objective = from_env(make, nn.Linear(2, 3, bias=True), episodes=1, parallel=1)
    x = torch.zeros(9)
    x[8] = 1.0
    objective.step(DenseBatch.at(x[None]))
    assert toys[0].actions == [7, 7, 7]


def test_observations_that_are_no_box_are_flattened() -> None:
    objective = from_env("CliffWalking-v1", nn.Linear(48, 4, bias=False), episodes=1, max_steps=20)
    x0, _ = objective.reset(seed=0)
    assert objective.step(DenseBatch.at(x0[None]))[3]["status"].tolist() == [Status.OK]


def test_an_episode_without_end_is_cut_off() -> None:
    class Endless(Toy):
        def step(self, action: Any) -> Any:
            observation, _, _, _, info = super().step(action)
            return observation, 1.0, False, False, info

    objective = from_env(lambda: Endless(spaces.Discrete(2)), lambda w, o: 0, dim=1, episodes=2, max_steps=37)
    assert objective.step(DenseBatch.at(torch.zeros(1, 1)))[0].item() == -37


@pytest.mark.parametrize("parallel", [1, 4])
def test_an_environment_that_breaks_costs_one_query(parallel: int) -> None:
    space = spaces.Box(-10.0, 10.0, (1,))
    objective = from_env(lambda: Toy(space, breaks=True), lambda w, o: w, dim=1, episodes=2, parallel=parallel)
    values, _, _, info = objective.step(DenseBatch.at(torch.tensor([[0.0], [7.0], [1.0], [2.0]])))
    assert info["status"].tolist() == [0, Status.FAILED, 0, 0]
    assert info["errors"] == {1: "RuntimeError: the arm broke"}
    assert values.isnan().tolist() == [False, True, False, False]
    assert float(values[0] - values[2]) == pytest.approx(3.0)


def test_a_policy_that_raises_costs_one_query() -> None:
    def policy(w: np.ndarray, observation: Any) -> Any:
        if w[0] > 1:
            raise ValueError("too bold")
        return w

    objective = from_env(lambda: Toy(spaces.Box(-1.0, 1.0, (1,))), policy, dim=1, episodes=1)
    info = objective.step(DenseBatch.at(torch.tensor([[0.0], [7.0]])))[3]
    assert info["errors"] == {1: "ValueError: too bold"}


def test_a_policy_cannot_write_into_its_parameters() -> None:
    def policy(w: np.ndarray, observation: Any) -> Any:
        w += 1
        return np.zeros(1)

    objective = from_env(lambda: Toy(spaces.Box(-1.0, 1.0, (1,))), policy, dim=1, episodes=1)
    assert objective.step(DenseBatch.at(torch.zeros(2, 1)))[3]["status"].tolist() == [0, 0]


def test_wrappers_compose(tmp_path: Any) -> None:
    objective = zotoolkit.BudgetLimit(zotoolkit.Record(from_env("CartPole-v1", network()), tmp_path / "r.csv"), 12)
    x0, _ = objective.reset(seed=0)
    assert objective.step(candidates(x0, 15))[2]
    assert len(zotoolkit.read_record(tmp_path / "r.csv")) == 15


def test_close_closes_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(Toy, "close", lambda self: closed.append(self), raising=False)
    space = spaces.Box(-1.0, 1.0, (1,))
    with from_env(lambda: Toy(space), lambda w, o: w, dim=1, parallel=3) as objective:
        objective.step(DenseBatch.at(torch.zeros(2, 1)))
    assert len(closed) == 3


def test_float64_modules_give_float64_spaces() -> None:
    assert from_env("CartPole-v1", network().double()).dtype == torch.float64


def test_the_two_names_are_one() -> None:
    assert from_env is PolicyObjective
    assert repr(from_env("CartPole-v1", network())) == "<PolicyObjective: d=58, float32, cpu>"
    assert from_env("CartPole-v1", network()).metadata == {"name": "policy in CartPole-v1"}


@pytest.mark.parametrize(
    ("env", "policy", "settings", "error", "message"),
    [
        ("CartPol-v1", network(), {}, UnknownId, "gymnasium knows no environment 'CartPol-v1'"),
        (3, network(), {}, InvalidSetting, "env must be a gymnasium id or a function"),
        (lambda: 3, network(), {}, InvalidSetting, r"env must make a gymnasium\.Env, got 3"),
        ("CartPole-v1", "linear", {}, InvalidSetting, "policy must be a torch module or a function"),
        ("CartPole-v1", nn.Tanh(), {}, InvalidSetting, "must have parameters, all float32 or all float64, got none"),
        ("CartPole-v1", network().half(), {}, InvalidSetting, "float16"),
        ("CartPole-v1", network(5), {}, InvalidSetting, r"cannot be called with observations of shape \(4,\)"),
        ("CartPole-v1", network(4, 3), {}, InvalidSetting, "must return 2 outputs, a logit for each action, got 3"),
        ("CartPole-v1", network(), {"dim": 58}, InvalidSetting, "a module has its own parameters"),
        ("CartPole-v1", lambda w, o: 0, {}, InvalidSetting, "dim must be an integer of at least 1, got None"),
        ("CartPole-v1", network(), {"episodes": 0}, InvalidSetting, "episodes must be"),
        ("CartPole-v1", network(), {"parallel": 0}, InvalidSetting, "parallel must be"),
        ("CartPole-v1", network(), {"max_steps": 0}, InvalidSetting, "max_steps must be"),
        ("CartPole-v1", network(), {"held_out": -1}, InvalidSetting, "held_out must be"),
        ("CartPole-v1", network(), {"x0": [1.0]}, InvalidStart, r"x0 must have shape \(58,\)"),
        (lambda: Toy(spaces.MultiBinary(3)), network(2, 3), {}, InvalidSetting, "Discrete or Box actions"),
    ],
)
def test_wrong_settings(env: Any, policy: Any, settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_env(env, policy, **settings)


def test_an_environment_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, run `pip install gymnasium[box2d]`")

    monkeypatch.setattr(gymnasium, "make", refuse)
    with pytest.raises(MissingExtra, match=r"LunarLander.*pip install gymnasium\[box2d\]"):
        from_env("LunarLander-v3", network())
