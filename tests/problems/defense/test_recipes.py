from __future__ import annotations

from typing import Any

import pytest
import torch
from typing_extensions import override

import zotoolkit
from problems.defense import recipes
from tests.problems.defense import small
from zotoolkit import CGE, RGE, Reason
from zotoolkit.errors import InvalidSetting
from zotoolkit.inner import InnerBatch
from zotoolkit.testing import SolverConformance

RECIPES = ("DS-MSE", "FO-DS", "FO-AE-DS", "ZO-DS", "ZO-AE-DS")


class TestUntrained(SolverConformance):
    stochastic = False
    share = 1.0

    @override
    def make_solver(self) -> recipes.Untrained:
        return recipes.Untrained()


def made(name: str) -> Any:
    return small.objective(small.white(), latent="AE" in name, batch_size=24)


def ready(name: str, **settings: Any) -> Any:
    solver, objective = zotoolkit.make_solver(f"Defense/{name}-v0", **settings), made(name)
    solver.attach(objective)
    solver.reset(objective.space, objective.reset(seed=0)[0], seed=0)
    return solver


@pytest.mark.parametrize("name", RECIPES[1:])
def test_each_trains(name: str) -> None:
    objective = made(name)
    x0, _ = objective.reset(seed=0)
    solver = zotoolkit.make_solver(f"Defense/{name}-v0", lr=0.02, iterations=30)
    result = zotoolkit.minimize(objective, solver, budget=30 * 32 + 2, progress=False)
    assert result.reason is Reason.SOLVER_FINISHED
    losses = [float(objective.evaluate(torch.stack((x0, result.x)), k).diff()) for k in range(5)]
    assert sum(losses) < 0
    assert getattr(solver, "first_order", False) == name.startswith("FO")


def test_what_is_asked() -> None:
    batch = ready("ZO-AE-DS", q=5).ask()
    assert isinstance(batch, InnerBatch)
    assert (batch.place, len(batch)) == ("latent", 10)
    assert isinstance(batch.differences, RGE)
    assert (batch.differences.q, batch.differences.difference, batch.differences.mu) == (5, "central", 0.005)
    output = ready("ZO-DS", estimator="cge", mu=0.1, difference="forward").ask()
    assert (output.place, len(output), output.differences) == ("output", 17, CGE(mu=0.1, difference="forward"))
    assert (ready("FO-AE-DS").ask().differences, len(ready("FO-DS").ask())) == (None, 1)


def test_the_rate_falls_over_the_iterations() -> None:
    objective = made("ZO-AE-DS")
    history = zotoolkit.History()
    solver = zotoolkit.make_solver("Defense/ZO-AE-DS-v0", lr=0.1, q=1, iterations=4)
    zotoolkit.minimize(objective, solver, budget=9, progress=False, callbacks=[history])
    rates = [row["lr"] for row in history.rows]
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)


def test_mse_alone_stays_where_it_is() -> None:
    objective = made("DS-MSE")
    solver = zotoolkit.make_solver("Defense/DS-MSE-v0")
    result = zotoolkit.minimize(objective, solver, budget=100, progress=False)
    assert torch.equal(result.x, objective.start())
    assert (result.reason, result.queries) == (Reason.SOLVER_FINISHED, 1)
    assert torch.equal(result.x, solver.recommend())
    assert solver.recommend() is not solver.recommend()


@pytest.mark.parametrize("name", RECIPES)
def test_a_mode_is_told_when_the_problem_is_another_ones(name: str) -> None:
    other = small.objective(small.white(), latent="AE" not in name)
    words = "with an auto-encoder behind it.*latent above 0" if "AE" in name else "a denoiser alone.*latent=0"
    solver = zotoolkit.make_solver(f"Defense/{name}-v0")
    with pytest.raises(InvalidSetting, match=words):
        zotoolkit.minimize(zotoolkit.wrappers.BudgetLimit(other, 10), solver, budget=100, progress=False)
    assert other.queries == 0


def test_either_may_be_left_untrained() -> None:
    for latent in (True, False):
        solver = recipes.Untrained(autoencoder=None)
        zotoolkit.minimize(small.objective(latent=latent), solver, budget=2, progress=False)


@pytest.mark.parametrize("name", ["FO-DS", "FO-AE-DS"])
def test_a_black_box_has_no_gradient(name: str) -> None:
    for asked in (small.model(), small.white("label")):
        with pytest.raises(InvalidSetting, match="works at the interface 'classifier'"):
            zotoolkit.make_solver(f"Defense/{name}-v0").attach(small.objective(asked, latent="AE" in name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0}, "lr"),
        ({"q": 0}, "q must"),
        ({"mu": 0.0}, "mu must"),
        ({"estimator": "spsa"}, "estimator must be one of 'rge', 'cge'"),
        ({"difference": "backward"}, "difference"),
        ({"law": "cauchy"}, "law"),
        ({"schedule": "steps"}, "schedule"),
        ({"iterations": 0}, "iterations"),
    ],
)
@pytest.mark.parametrize("name", ["ZO-DS", "ZO-AE-DS"])
def test_bad_settings(name: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        zotoolkit.make_solver(f"Defense/{name}-v0", **change)
