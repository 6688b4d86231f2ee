"""The training modes: what each asks, that each learns, and that all can be run by id."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zotoolkit
from problems.pde import recipes
from tests.problems.pde import small
from zotoolkit.errors import InvalidSetting
from zotoolkit.queries import CoordinateBatch, SeededBatch

pytestmark = pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")

MODES: dict[str, dict[str, Any]] = {
    "NON": {"iterations": 60},
    "Detached": {"iterations": 60},
    "Hybrid": {"iterations": 60, "q": 8},
    "ZO-SOL": {"iterations": 60},
    "Sparse-ZO-SOL": {"iterations": 60, "sparsity": 0.5, "q": 8},
    "FO-SOL": {"iterations": 60},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_learns(mode: str) -> None:
    objective = small.burgers(torch.float32)
    x0, _ = objective.reset(seed=0)
    before = objective.noise_free(x0[None])
    assert before is not None
    solver = zotoolkit.make_solver(f"PDE/{mode}-v0", lr=1e-2, **MODES[mode])
    result = zotoolkit.minimize(objective, solver, budget=100_000, progress=False)
    assert result.value < 0.5 * float(before)
    assert result.reason.name == "SOLVER_FINISHED"


def test_src_asks_once_and_stays() -> None:
    objective = small.burgers()
    result = zotoolkit.minimize(objective, zotoolkit.make_solver("PDE/SRC-v0"), budget=100, progress=False)
    assert torch.equal(result.x, objective.start())
    assert result.queries == 1


@pytest.mark.parametrize(
    ("mode", "first_order"),
    [("NON", False), ("Detached", False), ("Hybrid", False), ("FO-SOL", True)],
)
def test_only_what_differentiates_the_simulator_is_first_order(mode: str, first_order: bool) -> None:
    assert getattr(zotoolkit.make_solver(f"PDE/{mode}-v0"), "first_order", False) is first_order


def test_a_black_box_can_be_corrected_by_all_modes_but_one() -> None:
    from tests.problems.pde.test_correct_simulator import black_box

    for mode in MODES:
        solver = zotoolkit.make_solver(f"PDE/{mode}-v0", **{**MODES[mode], "iterations": 2})
        objective = small.burgers(simulator=black_box())
        if mode == "FO-SOL":
            with pytest.raises(InvalidSetting, match="'simulator'"):
                zotoolkit.minimize(objective, solver, budget=10_000, progress=False)
        else:
            assert zotoolkit.minimize(objective, solver, budget=10_000, progress=False).x.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "kind", "count"),
    [
        ({}, CoordinateBatch, 16),
        ({"difference": "central"}, CoordinateBatch, 30),
        ({"subset": 4}, CoordinateBatch, 5),
        ({"estimator": "rge", "q": 6}, SeededBatch, 7),
        ({"estimator": "rge", "q": 6, "difference": "central"}, SeededBatch, 12),
    ],
)
def test_what_zo_sol_asks(settings: dict[str, Any], kind: type, count: int) -> None:
    objective = small.burgers()
    solver = recipes.zo_sol(iterations=3, **settings)
    x0, _ = objective.reset(seed=0)
    solver.attach(objective)
    solver.reset(objective.space, x0, seed=0)
    batch = solver.ask()
    assert objective.dim == 15
    assert isinstance(batch, kind)
    assert len(batch) == count
    difference = settings.get("difference", "forward")
    assert float(batch.scale.abs().max()) == pytest.approx(objective.fitting_mu(difference))


def test_without_iterations_the_schedule_follows_the_budget() -> None:
    """15 coordinates and the base: 16 queries an iteration; the rate is near 0 at the end."""
    solver, rows = recipes.zo_sol(lr=1.0), zotoolkit.callbacks.History()
    zotoolkit.minimize(small.burgers(), solver, budget=16 * 5 + 1, progress=False, callbacks=[rows])
    rates = [row["lr"] for row in rows.rows]
    assert len(rates) == 5
    assert rates == pytest.approx([(1 + torch.cos(torch.tensor(torch.pi * k / 5)).item()) / 2 for k in range(5)])


def test_a_loop_of_ones_own_has_to_say_how_long_it_is() -> None:
    objective, solver = small.burgers(), recipes.zo_sol()
    x0, _ = objective.reset(seed=0)
    solver.attach(objective)
    solver.reset(objective.space, x0, seed=0)
    with pytest.raises(InvalidSetting, match=r"plan\(budget\)"):
        solver.ask()
    solver.plan(1000)
    assert len(solver.ask()) == 16


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (recipes.zo_sol, {"estimator": "cg"}, "estimator must be"),
        (recipes.zo_sol, {"lr": 0.0}, "lr must be"),
        (recipes.zo_sol, {"mu": -1.0}, "mu must be"),
        (recipes.zo_sol, {"schedule": "step"}, "schedule must be"),
        (recipes.zo_sol, {"iterations": 0}, "iterations must be"),
        (recipes.hybrid, {"estimator": "x"}, "estimator must be"),
        (recipes.hybrid, {"q": 0}, "q must be"),
        (recipes.hybrid, {"mu": 0.0}, "mu must be"),
        (recipes.non, {"lr": -1.0}, "lr must be"),
        (recipes.fo_sol, {"iterations": 0}, "iterations must be"),
        (recipes.sparse_zo_sol, {"sparsity": 1.0}, "sparsity"),
    ],
)
def test_settings_that_cannot_be(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        make(**settings)
