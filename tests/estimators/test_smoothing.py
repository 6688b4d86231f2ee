"""The smoothing parameter: Spall's c_k, and what fits an objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zotoolkit
from zotoolkit import PowerDecay
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators import rounding_mu
from zotoolkit.estimators.smoothing import smoothing_at


def test_it_falls_by_spalls_formula() -> None:
    decay = PowerDecay(0.4)
    assert [decay(k) for k in (0, 1, 99)] == [pytest.approx(0.4 / (k + 1) ** 0.101) for k in (0, 1, 99)]
    assert PowerDecay(1.0, exponent=0.5)(8) == pytest.approx(1 / 3)


def test_a_number_stays_as_it_is() -> None:
    assert smoothing_at(0.25, 1000) == 0.25
    assert smoothing_at(PowerDecay(0.25, 1.0), 1) == 0.125


@pytest.mark.parametrize(("initial", "exponent"), [(0, 1), (-1, 1), (1, 0), (1, -0.1), (float("nan"), 1), ("1", 1)])
def test_settings_that_cannot_be(initial: Any, exponent: Any) -> None:
    with pytest.raises(InvalidSetting, match="must be a finite number above 0, got"):
        PowerDecay(initial, exponent)


@pytest.mark.parametrize("iteration", [-1, 0.5])
def test_iterations_are_counted_from_0(iteration: Any) -> None:
    with pytest.raises(InvalidSetting, match="iteration must be an integer of at least 0"):
        PowerDecay(1.0)(iteration)


class Picky(zotoolkit.BlackBoxObjective):
    """Names the mu that fits it."""

    def __init__(self, forward: float = 1e-4) -> None:
        super().__init__(zotoolkit.make_space(dim=3))
        self._forward = forward

    def evaluate(self, x: torch.Tensor, context: int) -> torch.Tensor:
        return (x**2).sum(1)

    def fitting_mu(self, difference: str) -> float:
        return {"forward": self._forward, "central": 1e-3}[difference]


@pytest.mark.parametrize("recipe", ["SGD-CGE", "SGD-RGE", "Adam-CGE", "Adam-RGE", "SignSGD"])
@pytest.mark.parametrize(("difference", "mu"), [("forward", 1e-4), ("central", 1e-3)])
def test_recipes_take_the_mu_that_the_objective_names(recipe: str, difference: str, mu: float) -> None:
    objective, solver = Picky(), zotoolkit.make_solver(f"ZO/{recipe}-v0", difference=difference)
    for chosen, expected in ((objective, mu), (zotoolkit.make("Functions/Sphere-v0", dim=3), 5e-3)):
        x0, _ = chosen.reset(seed=0)
        solver.attach(chosen)
        solver.reset(chosen.space, x0, seed=0)
        assert float(solver.ask().scale.abs().max()) == pytest.approx(expected)


def test_deep_zero_scores_and_trains_with_it() -> None:
    objective, solver = Picky(), zotoolkit.make_solver("ZO/DeepZero-v0", q=4, sparsity=0.5, iterations=2)
    x0, _ = objective.reset(seed=0)
    solver.attach(objective)
    solver.reset(objective.space, x0, seed=0)
    for _ in range(3):
        batch = solver.ask()
        assert float(batch.scale.abs().max()) == pytest.approx(1e-4)
        values, *_, info = objective.step(batch)
        solver.tell(batch, values, info)


def test_a_mu_that_is_given_stays() -> None:
    x0, _ = (objective := Picky()).reset(seed=0)
    solver = zotoolkit.make_solver("ZO/SGD-CGE-v0", mu=0.25)
    solver.attach(objective)
    solver.reset(objective.space, x0, seed=0)
    assert float(solver.ask().scale.max()) == 0.25


def test_an_objective_that_names_nonsense_is_told() -> None:
    with pytest.raises(InvalidSetting, match="fitting_mu"):
        zotoolkit.make_solver("ZO/SGD-CGE-v0").attach(Picky(-1.0))


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_rounding_mu_is_near_the_best(difference: str) -> None:
    """Differences of a float32 loss with a curvature of order 1: no mu ten times off is better."""
    x = torch.linspace(0.5, 1.5, 1000, dtype=torch.float64)

    def error(mu: float) -> float:
        step = (x + mu).float().exp().double()
        back = x.float().exp().double() if difference == "forward" else (x - mu).float().exp().double()
        slope = (step - back) / (mu if difference == "forward" else 2 * mu)
        return float((slope / x.exp() - 1).abs().median())

    mu = rounding_mu(torch.finfo(torch.float32).eps, difference)
    assert error(mu) < min(error(10 * mu), error(mu / 10))
