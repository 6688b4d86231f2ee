"""The nevergrad adapter: what it hands over, what it keeps in, and how it fails."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import zotoolkit
from zotoolkit import NevergradSolver, make_space
from zotoolkit.errors import (
    AskTellOrder,
    CheckpointMismatch,
    InvalidSetting,
    MissingExtra,
    SolverFailed,
    SolverFinished,
    UnknownId,
)

INF = float("inf")


def started(
    name: str, low: Any = -INF, high: Any = INF, dtype: str = "float64", plan: int | None = 50, **settings: Any
) -> NevergradSolver:
    solver = NevergradSolver(name, **settings)
    solver.reset(make_space(3, low, high, dtype), torch.tensor([1.0, -1.0, 2.0], dtype=getattr(torch, dtype)), seed=1)
    if plan is not None:
        solver.plan(plan)
    return solver


def advance(solver: NevergradSolver, batches: int, loss: Any = lambda x: (x**2).sum(1)) -> list[torch.Tensor]:
    asked = []
    for _ in range(batches):
        batch = solver.ask()
        asked.append(batch.points())
        solver.tell(batch, loss(asked[-1]))
    return asked


def threads() -> int:
    return threading.active_count()


@pytest.mark.parametrize(
    ("low", "high", "settings", "sigma"),
    [
        (-INF, INF, {}, [2.0**0.5] * 3),  # the root mean square of (1, -1, 2)
        (-INF, INF, {"sigma": 0.25}, [0.25] * 3),
        ([-3.0, -6.0, 0.0], [3.0, 6.0, 3.0], {}, [1.0, 2.0, 0.5]),  # a sixth of the widths
        (-3.0, 3.0, {"sigma": 0.25}, [0.25] * 3),
        ([-3.0, -INF, 0.0], [INF, 6.0, 3.0], {}, [2.0**0.5] * 3),
    ],
)
def test_first_mutations(low: Any, high: Any, settings: dict[str, float], sigma: list[float]) -> None:
    solver = started("OnePlusOne", low, high, **settings)
    solver.ask()
    array = solver._optimizer.parametrization
    assert np.broadcast_to(array.sigma.value, 3).tolist() == pytest.approx(sigma)
    assert array.value.tolist() == [1.0, -1.0, 2.0]
    bounded = np.isfinite([low, high]).all()
    assert (array.bounds[0] is not None) == bounded


def test_the_first_point_of_a_local_search_is_the_start() -> None:
    assert started("OnePlusOne").ask().points().tolist() == [[1.0, -1.0, 2.0]]


def test_batches_have_as_many_queries_as_there_are_workers_and_end_on_the_budget() -> None:
    assert [len(points) for points in advance(started("DE", num_workers=20), 3)] == [20, 20, 10]


@pytest.mark.parametrize("name", ["Powell", "SPSA", "DS9", "MultiDS"])
def test_what_nevergrad_cannot_run_in_parallel_is_asked_one_at_a_time(name: str) -> None:
    with_threads = threads()
    solver = started(name, num_workers=4)
    assert [len(points) for points in advance(solver, 3)] == [1, 1, 1]
    solver.close()
    assert threads() == with_threads


def test_the_plan_of_minimize_reaches_the_optimizer_and_a_setting_goes_before_it() -> None:
    for settings, budget in (({}, 50), ({"budget": 30}, 30)):
        solver = started("TBPSA", **settings)
        solver.ask()
        assert solver._optimizer.budget == budget


def test_a_plan_comes_before_the_first_ask() -> None:
    solver = started("OnePlusOne")
    solver.ask()
    with pytest.raises(AskTellOrder, match="before the first ask"):
        solver.plan(10)
    with pytest.raises(InvalidSetting, match="budget"):
        started("OnePlusOne").plan(0)


def test_without_the_budget_it_needs_it_says_so() -> None:
    with pytest.raises(SolverFailed, match=r"ScrHammersleySearch failed in ask .*budget=None.*pass budget="):
        started("ScrHammersleySearch", plan=None).ask()


def test_a_one_shot_design_finishes_with_its_last_point() -> None:
    solver = started("ScrHammersleySearch", plan=10, num_workers=4)
    assert [len(points) for points in advance(solver, 3)] == [4, 4, 2]
    assert solver.finished
    with pytest.raises(SolverFinished):
        solver.ask()


def test_points_beyond_the_numbers_are_brought_back() -> None:
    solver = started("OnePlusOne", dtype="float32")
    limit = torch.finfo(torch.float32).max
    for value, expected in (
        ([np.nan, np.inf, -1e300], [1.0, limit, -limit]),
        ([np.inf, -np.inf, 0.5], [limit, -limit, 0.5]),
        ([3e38, 3e38, -3e38], [3e38, 3e38, -3e38]),  # their sum overflows, they do not
    ):
        solver._candidates = [SimpleNamespace(value=np.array(value))]
        assert solver._points().tolist() == [torch.tensor(expected).tolist()]


def test_half_bounded_spaces_are_clipped_into() -> None:
    solver = started("DE", [0.5, -INF, -INF], [INF, 0.0, INF], num_workers=8)
    for points in advance(solver, 5, lambda x: x.sum(1)):
        assert float(points[:, 0].min()) >= 0.5
        assert float(points[:, 1].max()) <= 0.0
    assert float(solver.recommend()[0]) >= 0.5


def test_global_generators_and_warnings_are_left_alone() -> None:
    # CmaFmin2 seeds NumPy's generator from the clock, and draws from it on a thread.
    courses = []
    for k in range(2):
        np.random.seed(k)  # noqa: NPY002
        random.seed(k)
        before = np.random.get_state(legacy=False)["state"]["pos"], random.getstate()  # noqa: NPY002
        solver = started("CmaFmin2")
        courses.append(torch.cat(advance(solver, 30)))
        solver.close()
        assert before == (np.random.get_state(legacy=False)["state"]["pos"], random.getstate())  # noqa: NPY002
    assert torch.equal(*courses)


def test_unusable_losses_are_a_penalty() -> None:
    solver = started("DE", num_workers=4)
    told: list[float] = []
    batch = solver.ask()
    tell = solver._optimizer.tell
    solver._optimizer.tell = lambda candidate, loss: (told.append(loss), tell(candidate, loss))
    nan = float("nan")
    solver.tell(batch, torch.tensor([nan, INF, -INF, nan]).double())
    assert told == [1e20] * 4
    assert torch.equal(solver.recommend(), solver.x0)
    for losses, expected in (
        ([nan, 2.0, 5.0, nan], [10.0, 2.0, 5.0, 10.0]),  # the worst, plus its magnitude
        ([-9.0, nan, 3.0, 4.0], [-9.0, 19.0, 3.0, 4.0]),  # the worst, plus the spread
    ):
        told.clear()
        solver.tell(solver.ask(), torch.tensor(losses).double())
        assert told == expected


def test_a_failed_point_is_never_recommended() -> None:
    solver = started("OnePlusOne", plan=200)
    for k in range(60):
        batch = solver.ask()
        points = batch.points()
        bad = points[:, 0] < 0.5
        solver.tell(batch, torch.where(bad | (k < 5), torch.nan, (points**2).sum(1)))
        assert float(solver.recommend()[0]) >= 0.5


def test_close_ends_threads_and_the_recommendation_stays() -> None:
    before = threads()
    solver = started("Powell")
    advance(solver, 10)
    assert threads() == before + 1
    x = solver.recommend()
    solver.close()
    assert threads() == before
    assert torch.equal(solver.recommend(), x)
    with pytest.raises(AskTellOrder, match="was closed"):
        solver.ask()
    solver.reset(solver.space, solver.x0, seed=1)
    solver.plan(50)
    assert len(advance(solver, 3)) == 3
    solver.close()


def test_a_process_ends_with_optimizers_in_the_middle_of_a_run() -> None:
    code = """
import torch, zotoolkit
for id in ("Nevergrad/Powell-v0", "Nevergrad/CmaFmin2-v0", "Nevergrad/ChainCMAPowell-v0", "SciPy/Powell-v0"):
    globals()[id] = solver = zotoolkit.make_solver(id)
    solver.reset(zotoolkit.make_space(2), torch.ones(2))
    solver.plan(100)
    for _ in range(20):
        batch = solver.ask()
        solver.tell(batch, batch.points().sum(1))
    solver.ask()
print("done")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "done", "")


def test_an_optimizer_that_would_hang_in_nevergrad_fails_instead() -> None:
    # NGOptF's portfolio asks a sub-optimiser on a thread twice without telling it.
    solver = started("NGOptF", plan=24)
    with pytest.raises(SolverFailed, match="asked a sub-optimiser again before telling it"):
        advance(solver, 24, lambda x: ((x - 0.3) ** 2).sum(1))
    solver.close()


@pytest.mark.parametrize(("name", "package"), [("FCMA", "fcmaes"), ("BOBYQA", "pybobyqa"), ("PymooCMAES", "pymoo")])
def test_a_missing_package_is_named(name: str, package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed here")
    solver = started(name)
    with pytest.raises(MissingExtra, match=f"nevergrad's {name} needs a package that is not installed.*{package}"):
        advance(solver, 3)
    solver.close()


def test_settings_are_checked() -> None:
    with pytest.raises(InvalidSetting, match=r"no optimiser 'TwoPointDE'.*Did you mean 'TwoPointsDE'"):
        NevergradSolver("TwoPointDE")
    with pytest.raises(UnknownId, match="Did you mean 'Nevergrad/OnePlusOne'"):
        zotoolkit.make_solver("Nevergrad/OnePlusOn")
    for settings, message in (
        ({"num_workers": 0}, "num_workers must be an integer of at least 1, got 0"),
        ({"sigma": -1.0}, "sigma must be a finite number above 0"),
        ({"budget": 0}, "budget must be an integer of at least 1"),
    ):
        for name in ("DE", "Powell"):
            with pytest.raises(InvalidSetting, match=message):
                zotoolkit.make_solver(f"Nevergrad/{name}-v0", **settings)


def test_an_optimizer_whose_name_ends_in_a_space_has_an_id() -> None:
    solver = zotoolkit.make_solver("Nevergrad/UltraSmoothDiscreteLognormalOnePlusOne-v0")
    assert repr(solver) == "<NevergradSolver Nevergrad/UltraSmoothDiscreteLognormalOnePlusOne-v0>"


def test_a_replay_that_does_not_repeat_is_noticed() -> None:
    solver = started("DE", num_workers=4)
    advance(solver, 3)
    state = solver.state_dict()
    for change in ({"checksum": 1}, {"sizes": torch.tensor([4, 4, 3])}, {"planned": 9}):
        wrong = {**state, "state": {**state["state"], **change}}
        again = started("DE", num_workers=4)
        with pytest.raises(CheckpointMismatch, match=r"asked for other points.*nevergrad"):
            again.load_state_dict(wrong)


@pytest.mark.parametrize("id", ["Nevergrad/CMA-v0", "Nevergrad/ChainCMAPowell-v0", "SciPy/COBYQA-v0"])
def test_a_run_is_resumed_by_minimize(id: str, tmp_path: Path) -> None:
    def run(budget: int, **settings: Any) -> zotoolkit.Result:
        objective = zotoolkit.from_callable(lambda x: float(((x - 0.3) ** 2).sum()), dim=3, x0=[1.0, 2.0, 3.0])
        solver = zotoolkit.make_solver(id)
        result = zotoolkit.minimize(objective, solver, budget=budget, progress=False, seed=4, **settings)
        solver.close()
        return result

    class Stop(zotoolkit.Callback):
        def on_iteration(self, run: zotoolkit.Run) -> bool:
            return run.queries >= 17

    whole = run(40)
    half = run(40, checkpoint=tmp_path, callbacks=[Stop()])
    assert half.queries < whole.queries
    rest = run(40, checkpoint=tmp_path, resume=True, callbacks=[zotoolkit.Callback()])
    assert torch.equal(whole.x, rest.x)
    assert (whole.best_value, whole.queries) == (rest.best_value, rest.queries)
