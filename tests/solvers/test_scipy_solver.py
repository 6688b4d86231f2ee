"""The SciPy adapter against SciPy itself, and what it does at bounds, failures and the end."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize

import zotoolkit
from zotoolkit import CoordinateBatch, DenseBatch, ScipySolver, make_space
from zotoolkit.errors import (
    AskTellOrder,
    InvalidSetting,
    InvalidSpace,
    SolverFailed,
    SolverFinished,
    UnknownId,
    UnknownSetting,
)
from zotoolkit.run import Reason
from zotoolkit.seeding import numpy_generator
from zotoolkit.solvers.scipy_solver import METHODS

INF = float("inf")
X0 = (-1.0, 1.5)


def rosenbrock(x: Any) -> float:
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def started(method: str, low: Any = -INF, high: Any = INF, dtype: str = "float64", **settings: Any) -> ScipySolver:
    solver = ScipySolver(method, **settings)
    solver.reset(make_space(2, low, high, dtype), torch.tensor(X0, dtype=getattr(torch, dtype)), seed=1)
    return solver


def asked(solver: ScipySolver, most: int, loss: Any = rosenbrock) -> np.ndarray:
    """Return the `(n, d)` points that it asks until it finishes, at most so many."""
    points: list[np.ndarray] = []
    while len(points) < most and not solver.finished:
        batch = solver.ask()
        rows = batch.points()
        points += list(rows.double().numpy())
        solver.tell(batch, torch.tensor([loss(row) for row in rows], dtype=rows.dtype))
    solver.close()
    return np.stack(points)


def coroutines() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "zotoolkit-coroutine"]


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell", "COBYLA", "COBYQA"])
@pytest.mark.parametrize("high", [INF, 0.5])
def test_local_searches_ask_what_scipy_asks(method: str, high: float) -> None:
    seen: list[np.ndarray] = []
    low = [-2.0, -INF]

    def clipped(x: np.ndarray) -> float:
        seen.append(np.clip(x, low, [high, INF]))
        return rosenbrock(seen[-1])

    optimize.minimize(
        clipped,
        np.array(X0),
        method=method,
        bounds=optimize.Bounds(low, [high, INF]),  # pyright: ignore[reportArgumentType]
        options={"maxiter": 10_000},
    )
    points = asked(started(method, low, [high, INF]), 10_000)
    assert np.array_equal(points, np.stack(seen))


def test_differential_evolution_asks_what_scipy_asks_a_generation_at_a_time() -> None:
    seen: list[np.ndarray] = []

    def generation(x: np.ndarray) -> Any:
        seen.extend(np.atleast_2d(x.T))
        return np.apply_along_axis(rosenbrock, 0, x)

    optimize.differential_evolution(
        generation,
        [(-2, 2)] * 2,
        maxiter=4,
        popsize=5,
        polish=False,
        vectorized=True,
        updating="deferred",
        x0=np.array(X0),
        rng=numpy_generator(1),
    )
    solver = started("differential_evolution", -2, 2, options={"maxiter": 4, "popsize": 5, "polish": False})
    assert len(solver.ask()) == 10
    assert np.array_equal(asked(solver, 1000), np.stack(seen))
    assert solver.finished


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"differential_evolution", "direct"}))
def test_every_method_gets_to_the_bottom(method: str) -> None:
    low, high = (-2.0, 2.0) if METHODS[method].box else (-INF, INF)
    solver = started(method, low, high)
    asked(solver, 1500)
    assert solver.best_value < (0.05 if method == "COBYLA" else 1e-5)
    assert torch.equal(solver.recommend(), solver.best_x)


@pytest.mark.parametrize("method", ["BFGS", "CG", "L-BFGS-B", "SLSQP", "TNC", "trust-constr", "basinhopping"])
def test_a_derivative_is_a_batch_of_coordinates(method: str) -> None:
    solver = started(method, mu=0.25)
    batch = solver.ask()
    assert isinstance(batch, CoordinateBatch)
    x, y = X0
    assert batch.points().tolist() == [[x, y], [x + 0.25, y], [x, y + 0.25]]
    solver.close()


def test_the_default_step_fits_the_dtype() -> None:
    for dtype in ("float32", "float64"):
        solver = started("BFGS", dtype=dtype)
        eps = torch.finfo(getattr(torch, dtype)).eps
        assert solver.ask().scale[1:].tolist() == pytest.approx([1.5 * eps**0.5] * 2)
        solver.close()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_query_leaves_the_box_and_the_bound_minimum_is_found(method: str) -> None:
    low, high = [-2.0, -1.0], [0.5, 2.0]
    solver = started(method, low, high)
    points = asked(solver, 1500, lambda x: float((x[0] - 3) ** 2 + (x[0] - x[1]) ** 2))
    assert bool((points >= low).all())
    assert bool((points <= high).all())
    if method not in ("BFGS", "CG", "shgo"):  # without bounds they stall there; shgo gives up at minima on the boundary
        assert solver.recommend().tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_methods_without_bounds_see_no_slope_outside() -> None:
    solver = started("BFGS", [-2.0, -2.0], [0.5, 2.0])
    inside, outside = np.array([0.1, -1.0]), np.array([0.6, -2.5])
    assert solver._inward(np.array([7.0, 8.0]), inside).tolist() == [7.0, 8.0]
    assert solver._inward(np.array([7.0, 8.0]), outside).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("method", ["differential_evolution", "dual_annealing", "shgo", "direct"])
def test_a_missing_bound_is_named(method: str) -> None:
    with pytest.raises(InvalidSpace, match=r"needs finite bounds in every coordinate; coordinate 1 has \[-inf, 2\]"):
        started(method, [-2.0, -INF], [2.0, 2.0])


def test_it_finishes_with_scipys_own_words() -> None:
    objective = zotoolkit.from_callable(rosenbrock, dim=2, x0=X0)
    solver = ScipySolver("L-BFGS-B")
    result = zotoolkit.minimize(objective, solver, budget=10_000, progress=False)
    assert result.reason is Reason.SOLVER_FINISHED
    assert solver.message.startswith("CONVERGENCE")
    with pytest.raises(SolverFinished, match="has finished"):
        solver.ask()
    assert coroutines() == []


def test_limits_hold_where_they_are_set() -> None:
    solver = started("Nelder-Mead", options={"maxfev": 7})
    assert len(asked(solver, 100)) == 7
    assert "evaluations" in solver.message
    loose = started("Nelder-Mead", options={"tol": 0.5})
    assert len(asked(loose, 1000)) < len(asked(started("Nelder-Mead"), 1000))


def test_direct_sizes_its_memory_by_the_plan() -> None:
    solver = started("direct", -2, 2)
    solver.plan(30)
    assert 30 <= len(asked(solver, 1000)) <= 60
    assert solver.finished


@pytest.mark.parametrize("method", sorted(METHODS))
def test_close_unwinds_the_thread(method: str) -> None:
    solver = started(method, -2, 2)
    for _ in range(3):
        batch = solver.ask()
        solver.tell(batch, torch.tensor([rosenbrock(row) for row in batch.points()]).double())
    x = solver.recommend()
    solver.ask()
    assert len(coroutines()) == 1
    solver.close()
    assert coroutines() == []
    solver.close()
    assert torch.equal(solver.recommend(), x)
    with pytest.raises(AskTellOrder, match=r"was closed; reset\(space, x0\) begins a new run"):
        solver.tell(solver.ask(), torch.zeros(len(batch)).double())


def test_a_solver_that_is_dropped_takes_its_thread_along() -> None:
    solver = started("Powell")
    solver.ask()
    (thread,) = coroutines()
    del solver
    gc.collect()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_two_runs_of_one_method_can_take_turns() -> None:
    # SciPy holds a lock through a run of COBYQA.
    solvers = [started("COBYQA"), started("COBYQA")]
    begun = time.monotonic()
    for _ in range(5):
        for solver in solvers:
            batch = solver.ask()
            solver.tell(batch, torch.tensor([rosenbrock(batch.points()[0])]).double())
    assert torch.equal(solvers[0].recommend(), solvers[1].recommend())
    for solver in solvers:
        solver.close()
    assert time.monotonic() - begun < 60


def test_failed_queries_are_penalised_and_a_failed_difference_is_no_slope() -> None:
    solver = started("L-BFGS-B")
    batch = solver.ask()
    values = torch.tensor([rosenbrock(row) for row in batch.points()]).double()
    values[1] = torch.nan
    solver.tell(batch, values)
    moved = solver.ask().base
    assert float(moved[0]) == X0[0]
    assert float(moved[1]) != X0[1]
    solver.close()


@pytest.mark.parametrize("method", ["Powell", "Nelder-Mead", "COBYQA", "SLSQP", "differential_evolution"])
def test_a_region_that_fails_is_searched_around(method: str) -> None:
    low, high = (-2.0, 2.0)
    solver = started(method, low, high)
    asked(solver, 1500, lambda x: rosenbrock(x) if x[0] < 0.8 or x[1] < 0 else float("nan"))
    assert np.isfinite(solver.best_value)
    assert float(solver.recommend()[0]) < 0.8
    assert solver.best_value < 4


def test_what_scipy_raises_comes_out_of_ask() -> None:
    solver = started("Nelder-Mead", options={"initial_simplex": [1.0, 2.0]})
    with pytest.raises(SolverFailed, match=r"SciPy's Nelder-Mead failed at iteration 0 .*initial_simplex.*ValueError"):
        solver.ask()
    solver.close()


def test_settings_are_checked() -> None:
    with pytest.raises(UnknownId, match="Did you mean 'SciPy/Powell'"):
        zotoolkit.make_solver("SciPy/Powel")
    with pytest.raises(InvalidSetting, match=r"method must be one of 'Nelder-Mead', .*Did you mean 'Powell'"):
        ScipySolver("powell")
    with pytest.raises(InvalidSetting, match="mu must be a finite number above 0"):
        ScipySolver("BFGS", mu=0.0)
    with pytest.raises(InvalidSetting, match="options must be a dict"):
        ScipySolver("BFGS", options=[("maxiter", 3)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="options may not hold 'jac'"):
        ScipySolver("BFGS", options={"jac": None})
    with pytest.raises(UnknownSetting, match=r"direct has no option 'maxfunc'.*Did you mean 'maxfun'"):
        ScipySolver("direct", options={"maxfunc": 3})
    solver = started("Powell", options={"xtoll": 1.0})
    with pytest.raises(UnknownSetting, match="Unknown solver options: xtoll"):
        solver.ask()
    solver.close()


def test_the_settings_given_are_not_kept_by_reference() -> None:
    options = {"maxfev": 5}
    solver = started("Nelder-Mead", options=options)
    options["maxfev"] = 50
    assert len(asked(solver, 100)) == 5


def test_dense_batches_are_the_points_themselves() -> None:
    batch = started("Powell").ask()
    assert isinstance(batch, DenseBatch)
    assert batch.points().tolist() == [list(X0)]
