"""An objective as a Gymnasium environment."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import ClipAction, FlattenObservation

from zotoolkit import BudgetLimit, GymEnvAdapter, Noise, RescaleSpace, from_callable
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidStart


def parabola(low: Any = -1.0, high: Any = 1.0, dtype: str = "float64") -> Any:
    def loss(x: np.ndarray) -> float:
        if x[0] == 0.75:
            raise RuntimeError("the mesh does not close")
        return float((x**2).sum()) if x[0] != 0.5 else math.nan

    return from_callable(loss, dim=2, low=low, high=high, dtype=dtype)


@pytest.fixture
def registered() -> Iterator[str]:
    id = "zotoolkit-tests/Search-v0"
    gymnasium.register(id, entry_point=lambda: GymEnvAdapter(Noise(parabola(), 0.1), 10, target=-5.0))
    yield id
    del gymnasium.registry[id]


def test_gymnasium_has_no_complaint(registered: str) -> None:
    """With a spec, check_env also checks determinism; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(registered).unwrapped)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: Noise(f, 0.1), BudgetLimit])
def test_gymnasium_has_no_complaint_about_a_bare_one(dtype: str, wrap: Any) -> None:
    objective = parabola(dtype=dtype)
    objective = BudgetLimit(objective, 1000) if wrap is BudgetLimit else wrap(objective)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(GymEnvAdapter(objective, 10), skip_render_check=True)  # there is nothing to render


def test_an_uneven_box_is_fine_after_rescaling() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(GymEnvAdapter(RescaleSpace(parabola([0, -5], [1, 100])), 10), skip_render_check=True)


@pytest.mark.filterwarnings("ignore:.*(infinity|symmetric and normalized):UserWarning")
def test_an_unbounded_space_works() -> None:
    check_env(GymEnvAdapter(parabola(-np.inf, np.inf), 10), skip_render_check=True)


def test_an_episode() -> None:
    env = GymEnvAdapter(parabola(), 4)
    observation, info = env.reset(seed=7)
    assert info == {"seed": 7}
    assert {name: value.tolist() for name, value in observation.items()} == {
        "point": [0.0, 0.0],
        "value": [0.0],
        "best_point": [0.0, 0.0],
        "best_value": [0.0],
        "remaining": [1.0],
    }
    told = [env.step(np.array(point)) for point in ([0.2, 0.0], [0.1, 0.0], [0.3, 0.0], [0.0, 1.0])]
    assert [reward for _, reward, *_ in told] == pytest.approx([-0.04, -0.01, -0.09, -1.0])
    assert [truncated for *_, truncated, _ in told] == [False, False, False, True]
    observation = told[2][0]
    assert observation["point"].tolist() == [0.3, 0.0]
    assert observation["best_point"].tolist() == [0.1, 0.0]
    assert observation["best_value"] == pytest.approx([0.01])
    assert observation["remaining"] == pytest.approx([0.25])
    assert all(each in env.observation_space for each, *_ in told)
    assert told[0][4] == {"status": "OK", "queries": 1}


def test_writing_into_an_observation_changes_nothing_inside() -> None:
    env = GymEnvAdapter(parabola(), 10)
    observation, _ = env.reset(seed=0)
    for point in ([0.1, 0.0], [0.3, 0.0]):
        for array in observation.values():
            array[:] = 9
        observation = env.step(np.array(point))[0]
    assert observation["best_point"].tolist() == [0.1, 0.0]
    assert observation["point"].tolist() == [0.3, 0.0]


def test_the_target_ends_an_episode() -> None:
    env = GymEnvAdapter(parabola(), 10, target=0.05)
    env.reset(seed=0)
    assert env.step(np.array([0.4, 0.0]))[2:4] == (False, False)
    assert env.step(np.array([0.2, 0.0]))[2:4] == (True, False)
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2))


def test_a_step_before_reset_or_after_the_end() -> None:
    env = GymEnvAdapter(parabola(), 1)
    with pytest.raises(ResetNeeded, match=r"call env\.reset"):
        env.step(np.zeros(2))
    env.reset(seed=0)
    assert env.step(np.zeros(2))[3]
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))


def test_failures_are_rewarded_as_the_worst_so_far() -> None:
    env = GymEnvAdapter(parabola(), 10)
    env.reset(seed=0)
    *_, info = told = env.step(np.array([0.75, 0.0]))
    assert told[1] == 0
    assert info["status"] == "FAILED"
    assert "mesh" in info["error"]
    env.step(np.array([1.0, 1.0]))
    env.step(np.array([0.1, 0.0]))
    for point, status in (([0.75, 0.0], "FAILED"), ([0.5, 0.0], "NON_FINITE")):
        observation, reward, _, _, info = env.step(np.array(point))
        assert reward == -2.0
        assert info["status"] == status
        assert observation in env.observation_space
        assert observation["best_point"].tolist() == [0.1, 0.0]


def test_seeds() -> None:
    def rewards(env: GymEnvAdapter, seed: int | None) -> list[float]:
        env.reset(seed=seed)
        return [env.step(np.zeros(2))[1] for _ in range(3)]

    env, other = GymEnvAdapter(Noise(parabola(), 1.0), 10), GymEnvAdapter(Noise(parabola(), 1.0), 10)
    assert rewards(env, 5) == rewards(other, 5) != rewards(env, 6)
    rewards(env, 5)
    following = rewards(env, None), rewards(env, None)
    assert following == (rewards(other, None), rewards(other, None))
    assert len({*following[0], *following[1], *rewards(env, 5)}) == 9  # new noise for each query and episode


def test_options() -> None:
    env = GymEnvAdapter(parabola(), 10)
    assert env.reset(options={"x0": [0.5, -0.5]})[0]["point"].tolist() == [0.5, -0.5]
    with pytest.raises(InvalidStart, match="coordinate 0"):
        env.reset(options={"x0": [3.0, 0.0]})
    with pytest.raises(InvalidSetting, match="options may hold"):
        env.reset(options={"y": 1})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.array([0.0, 1.5]), r"got 1\.5 in coordinate 1 with bounds \[-1, 1\]; .*ClipAction"),
        (np.array([math.nan, 0.0]), "got nan in coordinate 0"),
        (np.zeros(3), r"must be 2 numbers, got an array of shape \(3,\)"),
        (0.5, r"must be 2 numbers, got 0\.5"),
        (np.array(["a", "b"]), "must be 2 numbers"),
        (None, "must be 2 numbers, got None"),
    ],
)
def test_wrong_actions_cost_no_query(action: Any, message: str) -> None:
    env = GymEnvAdapter(parabola(), 10)
    env.reset(seed=0)
    with pytest.raises(InvalidBatch, match=message):
        env.step(action)
    assert env.objective.queries == 0


def test_gymnasium_wrappers_fit() -> None:
    env = ClipAction(FlattenObservation(GymEnvAdapter(parabola(), 10)))
    assert env.reset(seed=0)[0].shape == (7,)
    assert env.step(np.array([5.0, 0.0]))[1] == -1.0


@pytest.mark.parametrize("settings", [{"budget": 0}, {"budget": 10, "target": math.nan}])
def test_wrong_settings(settings: Any) -> None:
    with pytest.raises(InvalidSetting):
        GymEnvAdapter(parabola(), **settings)


def test_close_closes_the_objective(spy: Any) -> None:
    inner = spy()
    GymEnvAdapter(inner, 3).close()
    assert inner.closed


def test_a_random_agent_finds_what_random_search_finds() -> None:
    env = GymEnvAdapter(RescaleSpace(parabola([-1, -5], [2, 4])), 200)
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    truncated = False
    while not truncated:
        observation, _, _, truncated, _ = env.step(env.action_space.sample())
    assert 0 < observation["best_value"].item() < 0.5
