"""Random search: what it draws, from where, and what it keeps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import zotoolkit
from zotoolkit import DenseBatch, Law, RandomSearch, SeededBatch, make_space
from zotoolkit.directions import directions
from zotoolkit.errors import InvalidSetting

INF = float("inf")


def started(solver: RandomSearch, low: Any = -INF, high: Any = INF, x0: Any = (1.0, -2.0, 2.0), seed: int = 3) -> Any:
    solver.reset(make_space(len(x0), low, high, "float64"), torch.tensor(x0, dtype=torch.float64), seed=seed)
    return solver


def tell(solver: RandomSearch, batch: Any, *losses: float) -> None:
    solver.tell(batch, torch.tensor(losses, dtype=torch.float64))


def test_without_bounds_a_batch_is_seeds() -> None:
    solver = started(RandomSearch(q=4, sigma=0.5))
    batch = solver.ask()
    assert isinstance(batch, SeededBatch)
    assert batch.law is Law.NORMAL
    assert batch.scale.tolist() == [0.0, 0.5, 0.5, 0.5]
    assert torch.equal(batch.points()[0], solver.x0)
    drawn = solver.x0 + 0.5 * directions(batch.seed[1:], "normal", 3).double()
    assert torch.allclose(batch.points()[1:], drawn)


def test_a_million_coordinates_take_a_few_bytes_a_query() -> None:
    solver = RandomSearch(q=32)
    solver.reset(make_space(1_000_000), torch.zeros(1_000_000))
    assert solver.ask().bytes_per_query <= 16


@pytest.mark.parametrize(("x0", "scale"), [((3.0, -4.0), math.sqrt(12.5)), ((0.0, 0.0), 1.0)])
def test_sigma_is_by_default_the_root_mean_square_of_x0(x0: Any, scale: float) -> None:
    batch = started(RandomSearch(q=3), x0=x0).ask()
    assert batch.scale[1:].tolist() == pytest.approx([scale, scale])


def test_in_a_box_it_draws_uniformly() -> None:
    solver = started(RandomSearch(q=20_000), low=[0.0, -1.0, 2.0], high=[1.0, 3.0, 10.0], x0=(0.5, 0.0, 3.0))
    batch = solver.ask()
    assert isinstance(batch, DenseBatch)
    points = batch.points()
    assert points[0].tolist() == [0.5, 0.0, 3.0]
    unit = (points[1:] - solver.bounds.low) / (solver.bounds.high - solver.bounds.low)
    assert torch.allclose(unit.mean(0), torch.full((3,), 0.5, dtype=torch.float64), atol=0.01)
    assert torch.allclose(unit.var(0), torch.full((3,), 1 / 12, dtype=torch.float64), atol=0.005)
    assert abs(float(torch.corrcoef(unit.T)[0, 1])) < 0.03


def test_a_box_as_wide_as_the_numbers_go_is_drawn_from() -> None:
    points = started(RandomSearch(q=100), low=-1e308, high=1e308, x0=(0.0, 0.0)).ask().points()
    assert torch.isfinite(points).all()
    assert float((points[1:] / 1e308).abs().mean()) == pytest.approx(0.5, abs=0.1)


def test_bounded_and_free_coordinates_mix() -> None:
    solver = started(RandomSearch(q=5000, sigma=2.0), low=[0.0, -INF, 0.0], high=[1.0, INF, INF], x0=(0.5, 7.0, 1.0))
    points = solver.ask().points()[1:]
    assert float(points[:, 0].mean()) == pytest.approx(0.5, abs=0.02)
    assert float(points[:, 0].max()) <= 1.0
    assert float(points[:, 1].mean()) == pytest.approx(7.0, abs=0.15)
    assert float(points[:, 1].std()) == pytest.approx(2.0, abs=0.1)
    assert float(points[:, 2].min()) == 0.0


def test_the_draws_depend_on_seed_and_iteration_alone() -> None:
    one, other = started(RandomSearch(q=3), low=0, high=5, x0=(1.0, 1.0)), started(RandomSearch(q=3), 0, 5, (1.0, 1.0))
    for solver, losses in ((one, (1.0, 2.0, 3.0)), (other, (9.0, 1.0, 9.0))):
        tell(solver, solver.ask(), *losses)
    assert torch.equal(one.ask().points(), other.ask().points())


def test_around_the_best_it_follows_and_around_the_start_it_stays() -> None:
    for around, follows in (("best", True), ("start", False)):
        solver = started(RandomSearch(q=3, around=around))  # pyright: ignore[reportArgumentType]
        batch = solver.ask()
        tell(solver, batch, 5.0, 1.0, 3.0)
        best = batch.points()[1]
        assert torch.equal(solver.recommend(), best)
        assert torch.equal(solver.ask().base, best if follows else solver.x0)


def test_a_worse_batch_and_a_failed_one_change_nothing() -> None:
    solver = started(RandomSearch(q=2))
    tell(solver, solver.ask(), float("nan"), INF)
    assert torch.equal(solver.recommend(), solver.x0)
    batch = solver.ask()
    tell(solver, batch, 2.0, -INF)
    assert torch.equal(solver.recommend(), batch.points()[0])
    tell(solver, solver.ask(), 2.0, 3.0)
    assert torch.equal(solver.recommend(), batch.points()[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q": 0}, "q must be an integer of at least 1, got 0"),
        ({"sigma": 0.0}, "sigma must be a finite number above 0, got 0.0"),
        ({"around": "bset"}, "around must be one of 'start', 'best'.*Did you mean 'best'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        zotoolkit.make_solver("Search/Random-v0", **settings)
