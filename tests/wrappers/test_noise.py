"""Noise, besides what all wrappers promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from zotoolkit import BlackBoxObjective, CoordinateBatch, DenseBatch, Noise, SeededBatch, Status, from_callable
from zotoolkit.errors import InvalidSetting
from zotoolkit.spaces import make_space


class Level(BlackBoxObjective):
    """The same loss everywhere."""

    def __init__(self, value: float = 0.0, dtype: str = "float64", dim: int = 3) -> None:
        super().__init__(make_space(dim, dtype=dtype))
        self.value = value

    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return torch.full((len(x),), self.value, dtype=x.dtype)


def noise(objective: Noise, count: int = 20_000, context: int = 0) -> Tensor:
    """Noise at points on a coarse grid, whose floats have few bits that differ."""
    points = torch.stack([torch.arange(count) // 141, torch.arange(count) % 141, torch.zeros(count)], dim=1)
    return objective.step(DenseBatch.at(points.to(objective.dtype), context))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_noise_is_gaussian(dtype: str) -> None:
    objective = Noise(Level(dtype=dtype), 2.0)
    objective.reset(seed=1)
    drawn = noise(objective)
    assert len(drawn.unique()) > 0.99 * len(drawn)
    assert stats.kstest(drawn.double().numpy() / 2.0, "norm").pvalue > 1e-3


def test_noise_is_independent_between_points_contexts_and_seeds() -> None:
    objective = Noise(Level(), 1.0)
    objective.reset(seed=1)
    here, there = noise(objective, context=0), noise(objective, context=1)
    objective.reset(seed=2)
    elsewhere = noise(objective)
    limit = 4 / math.sqrt(len(here))  # four standard deviations of a correlation
    for a, b in ((here, there), (here, elsewhere), (here[1:], here[:-1]), (here[141:], here[:-141])):
        assert abs(float(torch.corrcoef(torch.stack((a, b)))[0, 1])) < limit


def test_relative_noise_has_the_size_of_the_loss() -> None:
    objective = Noise(Level(50.0), 0.0, relative=0.1)
    objective.reset(seed=1)
    drawn = noise(objective)
    assert float(drawn.mean()) == pytest.approx(50, abs=4 * 5 / math.sqrt(20_000))
    assert float(drawn.std()) == pytest.approx(5, rel=0.02)


def test_additive_and_relative_noise_are_independent() -> None:
    def std(additive: float, relative: float) -> float:
        objective = Noise(Level(1.0), additive, relative=relative)
        objective.reset(seed=1)
        return float(noise(objective).std())

    assert std(3.0, 4.0) == pytest.approx(5.0, rel=0.02)


def test_noise_around_noise_draws_anew() -> None:
    objective = Noise(Noise(Level(), 3.0), 4.0)
    objective.reset(seed=1)
    assert float(noise(objective).std()) == pytest.approx(5.0, rel=0.02)


def test_shared_noise_cancels_in_differences() -> None:
    objective = Noise(Level(), 1.0, shared=True)
    objective.reset(seed=1)
    assert len(noise(objective).unique()) == 1
    levels = torch.stack([noise(objective, 1, context)[0] for context in range(500)])
    assert stats.kstest(levels.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", ["rademacher", "normal", "sphere"])
def test_the_same_point_has_the_same_noise_however_it_is_asked(dtype: torch.dtype, law: str) -> None:
    dim = 5000
    objective = Noise(Level(dim=dim, dtype=str(dtype).removeprefix("torch.")), 1.0)
    objective.reset(seed=3)
    base = torch.linspace(-1, 1, dim, dtype=dtype)
    scale = torch.tensor([0.5, 0.0, -0.25, 1e-3], dtype=dtype)
    alive = torch.arange(0, dim, 3)
    for batch in (
        CoordinateBatch(base=base, scale=scale, index=torch.tensor([7, 0, 4999, 7])),
        SeededBatch(base=base, scale=scale, seed=torch.arange(4), law=law),
        SeededBatch(base=base, scale=scale, seed=torch.arange(4), law=law, alive=alive),
    ):
        values = objective.step(batch)[0]
        assert torch.equal(values, objective.step(DenseBatch.at(batch.points()))[0])
        backwards = torch.arange(len(batch)).flip(0)
        assert torch.equal(values.flip(0), objective.step(batch[backwards])[0])


def test_both_zeros_are_one_point() -> None:
    objective = Noise(Level(), 1.0)
    points = torch.tensor([[0.0, 1.0, 2.0], [-0.0, 1.0, 2.0]], dtype=torch.float64)
    values = objective.step(DenseBatch.at(points))[0]
    assert values[0] == values[1]


def test_evaluate_is_as_noisy_as_step(spy: Any, batches: Any) -> None:
    objective = Noise(spy(), 1.0)
    objective.reset(seed=1)
    expected = objective.step(batches["dense"]())[0]
    assert torch.equal(objective.evaluate(batches["dense"]().points(), 3), expected)
    expected = objective.step(batches["coordinate"]())[0]
    assert torch.equal(objective.evaluate_coordinates(batches["coordinate"]()), expected)
    expected = objective.step(batches["seeded"]())[0]
    assert torch.equal(objective.evaluate_seeded(batches["seeded"]()), expected)
    assert Noise(Level(dim=6), 1.0).evaluate_coordinates(batches["coordinate"]()) is None


def test_noise_free_is_the_inner_truth(spy: Any) -> None:
    inner = spy()
    x = torch.zeros(2, 6, dtype=torch.float64)
    assert torch.equal(Noise(Noise(inner, 1.0), 1.0).noise_free(x), inner.noise_free(x))
    assert inner.seen == []


def test_noise_free_asks_an_objective_that_knows_no_truth_and_counts_nothing() -> None:
    def loss(x: Any) -> float:
        if x[0] > 1:
            raise ValueError("outside")
        return float(sum(x**2))

    objective = Noise(from_callable(loss, dim=2), 1.0)
    objective.reset(seed=0)
    truth = objective.noise_free(torch.tensor([[0.5, 0.5], [2.0, 0.0]], dtype=torch.float64))
    assert truth[0] == 0.5
    assert math.isnan(truth[1])
    assert objective.queries == objective.unwrapped.queries == 0


def test_noise_that_overflows_is_not_ok() -> None:
    objective = Noise(Level(3e38, dtype="float32"), 3e38)
    objective.reset(seed=0)
    values = noise(objective, 200)
    status = objective.step(DenseBatch.at(torch.rand(200, 3)))[3]["status"]
    assert bool(values.isinf().any())
    assert set(status.tolist()) == {Status.OK, Status.NON_FINITE}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": -1.0}, "std must be a finite number of at least 0, got -1.0"),
        ({"std": math.nan}, "std must be"),
        ({"std": "big"}, "std must be"),
        ({"std": 1.0, "relative": math.inf}, "relative must be"),
        ({"std": 0.0}, "no noise"),
        ({"std": 1.0, "shared": 1}, "shared must be True or False"),
    ],
)
def test_wrong_settings(settings: Any, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Noise(Level(), **settings)
