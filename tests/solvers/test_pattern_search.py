"""Compass search: which points it polls, when it moves, and when its steps change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import zotoolkit
from zotoolkit import CoordinateBatch, DenseBatch, PatternSearch, make_space
from zotoolkit.errors import InvalidSetting, SolverFinished
from zotoolkit.run import Reason

INF = float("inf")


def started(solver: PatternSearch, x0: Any = (0.0, 0.0), low: Any = -INF, high: Any = INF) -> PatternSearch:
    solver.reset(make_space(len(x0), low, high, "float64"), torch.tensor(x0, dtype=torch.float64))
    return solver


def poll(solver: PatternSearch, loss: Any) -> tuple[Any, dict[str, float]]:
    batch = solver.ask()
    return batch, solver.tell(batch, loss(batch.points()))


def sphere(x: Tensor) -> Tensor:
    return (x**2).sum(1)


def test_a_poll_asks_the_point_and_both_ways_along_every_axis() -> None:
    batch = started(PatternSearch(step=0.5), (1.0, 2.0)).ask()
    assert isinstance(batch, CoordinateBatch)
    assert batch.points().tolist() == [[1.0, 2.0], [1.5, 2.0], [0.5, 2.0], [1.0, 2.5], [1.0, 1.5]]


def test_steps_are_shares_of_the_widths_in_a_box() -> None:
    batch = started(PatternSearch(), (0.0, 10.0), [-2.0, 0.0], [2.0, 100.0]).ask()
    assert batch.points().tolist()[1:] == [[1.0, 10.0], [-1.0, 10.0], [0.0, 35.0], [0.0, 0.0]]


def test_a_poll_ends_on_the_bound_and_is_left_out_if_it_cannot_move() -> None:
    batch = started(PatternSearch(step=1.0), (2.0, 1.5), -2.0, 2.0).ask()
    assert batch.points().tolist() == [[2.0, 1.5], [1.0, 1.5], [2.0, 2.0], [2.0, 0.5]]


def test_without_anything_better_the_step_shrinks() -> None:
    solver = started(PatternSearch(step=1.0, contraction=0.25))
    _, figures = poll(solver, sphere)
    assert figures == {"loss": 0.0, "step": 0.25}
    assert solver.ask().points().tolist()[1] == [0.25, 0.0]


def test_a_better_poll_is_taken_or_something_better_still() -> None:
    solver = started(PatternSearch(step=1.0), (3.0, -3.0))
    poll(solver, sphere)
    assert solver.recommend().tolist() == [2.0, -3.0]
    batch = solver.ask()
    assert isinstance(batch, DenseBatch)
    assert batch.points().tolist() == [[2.0, -3.0], [2.0, -2.0], [1.0, -1.0]]
    figures = solver.tell(batch, sphere(batch.points()))
    assert solver.recommend().tolist() == [1.0, -1.0]
    assert figures == {"loss": 2.0, "step": 2.0}  # the doubled move won, so steps grow


def test_the_pattern_never_costs_the_best_poll() -> None:
    solver = started(PatternSearch(step=1.0), (3.0, -3.0))
    poll(solver, sphere)
    _, figures = poll(solver, lambda x: torch.tensor([1.0, 7.0, 8.0]).double())
    assert solver.recommend().tolist() == [2.0, -3.0]
    assert figures["step"] == 1.0
    poll(solver, sphere)
    batch = solver.ask()
    solver.tell(batch, torch.full((len(batch),), torch.nan).double())
    assert solver.recommend().tolist() == [2.0, -2.0]


def test_chunks_of_coordinates_move_at_once_and_go_on_where_they_stopped() -> None:
    solver = started(PatternSearch(step=1.0, coordinates=1), (0.0, 0.0, 3.0))
    for coordinate in (0, 1, 2):
        batch, figures = poll(solver, sphere)
        assert set(batch.index[1:].tolist()) == {coordinate}
        assert figures["step"] == 1.0
    assert isinstance(solver.ask(), DenseBatch)  # the third one was better
    poll(solver, sphere)
    assert set(solver.ask().index[1:].tolist()) == {0}  # pyright: ignore[reportAttributeAccessIssue]


def test_a_round_takes_every_coordinate_once_before_the_step_shrinks() -> None:
    solver = started(PatternSearch(step=1.0, coordinates=2), (0.0,) * 5)
    polled: list[int] = []
    while True:
        batch, figures = poll(solver, sphere)
        polled += batch.index[1::2].tolist()
        if figures["step"] < 1.0:
            break
    assert sorted(polled) == [0, 1, 2, 3, 4]


def test_it_ends_when_the_step_is_small() -> None:
    solver = started(PatternSearch(step=1.0, tolerance=0.2))
    for _ in range(3):
        assert not solver.finished
        poll(solver, sphere)
    assert solver.finished
    with pytest.raises(SolverFinished, match="has finished"):
        solver.ask()


def test_a_batch_without_an_answer_is_asked_again() -> None:
    solver = started(PatternSearch(step=1.0))
    first, figures = poll(solver, lambda x: torch.full((len(x),), torch.nan).double())
    assert figures["step"] == 1.0
    assert torch.equal(first.points(), solver.ask().points())


def test_a_failed_base_counts_as_it_did_before() -> None:
    solver = started(PatternSearch(step=1.0))
    poll(solver, lambda x: sphere(x) + 1)
    batch, _ = poll(solver, lambda x: torch.where(sphere(x) == 0, torch.nan, sphere(x) + 1))
    assert isinstance(batch, CoordinateBatch)
    assert solver.recommend().tolist() == [0.0, 0.0]
    assert isinstance(solver.ask(), CoordinateBatch)


def test_it_solves_what_it_should() -> None:
    objective = zotoolkit.from_callable(
        lambda x: ((x - torch.tensor([0.3, -1.7, 2.9])) ** 2).sum(1), dim=3, batched=True, library="torch"
    )
    result = zotoolkit.minimize(objective, PatternSearch(), budget=2000, progress=False)
    assert result.reason is Reason.SOLVER_FINISHED
    assert result.x.tolist() == pytest.approx([0.3, -1.7, 2.9], abs=1e-5)


def test_a_bound_minimum_is_found() -> None:
    objective = zotoolkit.from_callable(lambda x: float(x[0] + (x[1] - 0.7) ** 2), dim=2, low=-1, high=2)
    result = zotoolkit.minimize(objective, PatternSearch(), budget=500, progress=False)
    assert result.x.tolist() == pytest.approx([-1.0, 0.7], abs=1e-5)


@given(
    x=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4),
    step=st.floats(2**-20, 10, width=32),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_no_poll_leaves_the_box_by_a_rounding(x: list[float], step: float, dtype: str) -> None:
    space = make_space(len(x), -1.0, 1.0, dtype)
    solver = PatternSearch(step=step)
    solver.reset(space, torch.tensor(x, dtype=getattr(torch, dtype)))
    while solver.iteration < 6 and not solver.finished:
        points = solver.ask().points()
        assert bool((points.abs() <= 1).all())
        solver.tell(solver.ask(), (points - 0.9).square().sum(1))


def test_a_million_coordinates_take_a_few_bytes_a_query() -> None:
    solver = PatternSearch(coordinates=1000)
    solver.reset(make_space(1_000_000), torch.zeros(1_000_000))
    batch = solver.ask()
    assert len(batch) == 2001
    assert batch.bytes_per_query <= 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 0}, "step must be a finite number above 0, got 0"),
        ({"coordinates": 0}, "coordinates must be an integer of at least 1"),
        ({"expansion": 0.5}, "expansion must be a finite number of at least 1"),
        ({"contraction": 1}, r"contraction must be in \(0, 1\), got 1"),
        ({"tolerance": 0.0}, "tolerance must be a number in"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        zotoolkit.make_solver("Search/Pattern-v0", **settings)
