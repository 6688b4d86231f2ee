"""RescaleSpace, besides what all wrappers promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zotoolkit
from zotoolkit import CoordinateBatch, RescaleSpace, SeededBatch, from_callable
from zotoolkit.errors import InvalidSetting, InvalidSpace, InvalidStart

LOW, HIGH = np.array([0.0, -100.0, 5.0, -1.0, 1e-3, 7.0]), np.array([1.0, 300.0, 5.5, 1.0, 1e3, 8.0])


@pytest.fixture
def uneven(spy: Any) -> Any:
    return spy(low=LOW, high=HIGH)


@pytest.mark.parametrize("box", [(-1.0, 1.0), (0.0, 1.0), (-3.0, 10.0)])
def test_the_map_is_affine(uneven: Any, box: tuple[float, float], batches: Any) -> None:
    objective = RescaleSpace(uneven, *box)
    batch = batches["dense"]()
    share = (batch.points() - box[0]) / (box[1] - box[0])
    expected = torch.tensor(LOW) + share * torch.tensor(HIGH - LOW)
    torch.testing.assert_close(objective.inward(batch.points()), expected)
    torch.testing.assert_close(objective.outward(expected), batch.points())
    torch.testing.assert_close(objective.step(batch)[0], uneven.loss(expected, 3))
    assert bool((objective.space.low == box[0]).all())
    assert bool((objective.space.high == box[1]).all())


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=5),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=300, deadline=None)
def test_the_box_maps_into_the_box_and_bounds_onto_bounds(
    low: float, width: float, shares: list[float], dtype: str
) -> None:
    kind = np.dtype(dtype).type
    if not kind(low) < kind(low + width):
        return
    inner = from_callable(lambda x: 0.0, dim=1, low=low, high=low + width, dtype=dtype)
    objective = RescaleSpace(inner)
    bounds = zotoolkit.spaces.bounds_of(inner.space)
    ends = torch.tensor([[-1.0], [1.0]], dtype=objective.dtype)
    assert torch.equal(objective.inward(ends), torch.stack(bounds))
    assert torch.equal(objective.outward(torch.stack(bounds)), ends)
    x = torch.tensor(shares, dtype=objective.dtype)[:, None] * 2 - 1
    inside = objective.inward(x)
    assert bool(((inside >= bounds.low) & (inside <= bounds.high)).all())
    back = objective.outward(inside)
    assert bool(((back >= -1) & (back <= 1)).all())


def test_points_outside_stay_outside(uneven: Any) -> None:
    objective = RescaleSpace(uneven)
    x = torch.full((6,), 1.5, dtype=torch.float64)
    assert bool((objective.inward(x) > torch.tensor(HIGH)).all())


def test_a_coordinate_batch_stays_one(uneven: Any, batches: Any) -> None:
    objective = RescaleSpace(uneven)
    batch = batches["coordinate"]()
    inner = objective._translate(batch)
    assert isinstance(inner, CoordinateBatch)
    assert torch.equal(inner.index, batch.index)
    assert inner.context == batch.context
    torch.testing.assert_close(inner.points(), objective.inward(batch.points()))
    objective.step(batch)
    assert uneven.seen == [("coordinate", 5)]


def test_scale_zero_stays_the_base(uneven: Any) -> None:
    batch = CoordinateBatch(
        base=torch.zeros(6, dtype=torch.float64), scale=torch.zeros(2, dtype=torch.float64), index=torch.tensor([0, 1])
    )
    values = RescaleSpace(uneven).step(batch)[0]
    assert values[0] == values[1]


def test_a_seeded_batch_of_equal_widths_stays_one(spy: Any, batches: Any) -> None:
    inner = spy(low=-3.0, high=1.0)
    objective = RescaleSpace(inner)
    translated = objective._translate(batches["seeded"]())
    assert isinstance(translated, SeededBatch)
    torch.testing.assert_close(translated.points(), objective.inward(batches["seeded"]().points()))


def test_only_live_coordinates_need_the_same_width(uneven: Any, batches: Any) -> None:
    objective = RescaleSpace(uneven)
    batch = SeededBatch(
        base=torch.zeros(6, dtype=torch.float64),
        scale=torch.full((3,), 0.1, dtype=torch.float64),
        seed=torch.arange(3),
        alive=torch.tensor([0, 5]),
    )
    objective.step(batch)
    objective.step(batches["seeded"]())
    assert [path for path, _ in uneven.seen] == ["seeded", "dense"]


def test_other_seeded_batches_are_written_out_a_chunk_at_a_time(
    uneven: Any, batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    points = SeededBatch.points
    monkeypatch.setattr(SeededBatch, "points", lambda self: written.append(len(self)) or points(self))
    objective = RescaleSpace(uneven)
    batch = batches["seeded"](7)
    whole = objective.step(batch)[0]
    torch.testing.assert_close(whole, uneven.loss(objective.inward(batch.points()), 3))
    uneven.seen.clear()
    written.clear()
    objective.limit_chunk(3)
    assert torch.equal(objective.step(batch)[0], whole)
    assert uneven.seen == [("dense", 3), ("dense", 3), ("dense", 1)]
    assert written == [3, 3, 1]


def test_evaluate_sees_this_space(uneven: Any, batches: Any) -> None:
    objective = RescaleSpace(uneven)
    x = batches["dense"]().points()
    assert torch.equal(objective.evaluate(x, 3), objective.step(batches["dense"]())[0])
    assert torch.equal(
        objective.evaluate_coordinates(batches["coordinate"]()), objective.step(batches["coordinate"]())[0]
    )
    assert objective.evaluate_seeded(batches["seeded"]()) is None


def test_start_points_are_mapped(uneven: Any) -> None:
    objective = RescaleSpace(uneven)
    x0, _ = objective.reset(seed=0)
    torch.testing.assert_close(objective.inward(x0), uneven.start())
    given = torch.linspace(-1, 1, 6, dtype=torch.float64)
    x0, _ = objective.reset(options={"x0": given.tolist()})
    assert torch.equal(x0, given)
    with pytest.raises(InvalidStart, match="coordinate 1 with bounds"):
        objective.reset(options={"x0": [0.0, 2.0, 0.0, 0.0, 0.0, 0.0]})
    with pytest.raises(InvalidSetting, match="options"):
        objective.reset(options={"y0": 1})


def test_noise_free_none_stays_none() -> None:
    objective = RescaleSpace(from_callable(lambda x: 0.0, dim=1, low=0, high=1))
    assert objective.noise_free(torch.zeros(1, 1, dtype=torch.float64)) is None


def test_a_solver_gains_from_it() -> None:
    """Widths 1 to 10^4: one learning rate fits all coordinates only after rescaling."""
    width = np.logspace(0, 4, 5)

    def loss(x: np.ndarray) -> float:
        return float((((x - 0.3 * width) / width) ** 2).sum())

    def value(objective: zotoolkit.BlackBoxObjective) -> float:
        solver = zotoolkit.make_solver("ZO/SGD-CGE-v0", lr=0.1, mu=1e-3)
        return zotoolkit.minimize(objective, solver, budget=600, seed=0, progress=False).value

    plain = from_callable(loss, dim=5, low=0, high=width)
    assert value(RescaleSpace(plain)) < 1e-3 < 1e-1 < value(plain)


def test_an_unbounded_coordinate_is_named() -> None:
    plain = from_callable(lambda x: 0.0, dim=3, low=[0, 0, -math.inf], high=[1, math.inf, 1])
    with pytest.raises(InvalidSpace, match=r"got \[0, inf\] in coordinate 1 \(2 of 3 coordinates\); give"):
        RescaleSpace(plain)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1.0, -1.0, "low must be below high, got low=1 and high=-1"),
        (0.0, 0.0, "low must be below high"),
        (-math.inf, 1.0, "low must be a finite number, got -inf"),
        (0.0, math.nan, "high must be a finite number"),
        ("a", 1.0, "low must be a finite number"),
    ],
)
def test_wrong_settings(low: Any, high: Any, message: str, spy: Any) -> None:
    with pytest.raises(InvalidSetting, match=message):
        RescaleSpace(spy(), low, high)
