"""Spaces: boxes that can be searched, and projection that keeps rounded steps inside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from zotoolkit import make_space
from zotoolkit.errors import InvalidSpace
from zotoolkit.spaces import bounds_of, check_start, dtype_of


def test_a_box_of_numbers_or_of_arrays() -> None:
    space = make_space(3, low=[-1, 0, 1], high=2, dtype="float64")
    assert (space.low.tolist(), space.high.tolist()) == ([-1, 0, 1], [2, 2, 2])
    assert dtype_of(space) == torch.float64
    assert make_space(np.int64(2)).shape == (2,)  # pyright: ignore[reportArgumentType]
    assert dtype_of(make_space(2)) == torch.float32
    assert dtype_of(make_space(2, dtype=torch.float64)) == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": -1}, r"dim must be a positive integer, got -1 \(int\)"),
        ({"dim": True}, "got True"),
        ({"dim": "3"}, "got '3'"),
        ({"dtype": "int64"}, "dtype must be 'float32' or 'float64', got 'int64'"),
        ({"low": [0, 0]}, r"low must be a number or have shape \(3,\), got shape \(2,\)"),
        ({"high": np.zeros((3, 1))}, r"high must .* got shape \(3, 1\)"),
        ({"low": float("nan")}, "low holds NaN; use -inf"),
        ({"high": [1, 2, float("nan")]}, "high holds NaN"),
        ({"low": "abc"}, r"low must be a number .* got 'abc' \(str\)"),
        ({"low": {}}, r"got {} \(dict\)"),
        ({"low": 1, "high": 1}, r"got low=1 and high=1 in coordinate 0 \(3 of 3 coordinates are crossed\)"),
        ({"low": [0, 2, 0], "high": 1}, r"got low=2 and high=1 in coordinate 1 \(1 of 3"),
        ({"low": math.inf}, "got low=inf and high=inf"),
        ({"low": 0.1, "high": 0.1 + 1e-12}, "got low=0.1 and high=0.1"),
    ],
)
def test_boxes_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpace, match=message):
        make_space(**{"dim": 3, **settings})


def test_a_bound_that_float32_cannot_hold_is_none() -> None:
    space = make_space(2, -1e300, 1e300)
    assert (space.low.tolist(), space.high.tolist()) == ([-math.inf] * 2, [math.inf] * 2)


def test_bounds_as_tensors() -> None:
    bounds = bounds_of(make_space(2, [-1, -math.inf], 1), dtype=torch.float64)
    assert bounds.low.dtype == torch.float64
    assert not bounds.finite
    assert bounds_of(make_space(2, -1, 1)).finite


def test_projection_without_a_margin_is_onto_the_box_itself() -> None:
    bounds = bounds_of(make_space(3, -1, 0.7))
    x = torch.tensor([[-9.0, 0.1, 9.0]])
    assert torch.equal(bounds.project(x), torch.tensor([[-1.0, 0.1, 0.7]]))


def test_projection_in_an_unbounded_space_changes_nothing() -> None:
    x = torch.tensor([-1e30, 0.0, 1e30])
    assert torch.equal(bounds_of(make_space(3)).project(x, margin=0.5), x)


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    share=st.floats(1e-4, 0.49),
    dtype=st.sampled_from(["float32", "float64"]),
    start=st.floats(-1e7, 1e7),
)
def test_a_step_of_the_margin_from_the_projection_stays_in_the_box(
    low: float, width: float, share: float, dtype: str, start: float
) -> None:
    assume(width > 1e-4 * abs(low))
    bounds = bounds_of(make_space(1, low, low + width, dtype))
    margin = share * width
    room = bounds.shrunk(margin)
    assume(bool(room.low <= room.high))
    x = bounds.project(torch.tensor([start], dtype=bounds.low.dtype), margin)
    step = torch.tensor(margin, dtype=x.dtype)
    assert bool((x - step >= bounds.low).all())
    assert bool((x + step <= bounds.high).all())


def test_a_box_that_is_too_narrow_for_a_margin_ends_above_its_start() -> None:
    room = bounds_of(make_space(2, 0, [1, 3])).shrunk(1.0)
    assert (room.low > room.high).tolist() == [True, False]


def test_a_start_is_a_copy_in_the_spaces_dtype() -> None:
    space = make_space(2, dtype="float32")
    given_ = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    x = check_start(given_, space)
    assert x.dtype == torch.float32
    assert not x.requires_grad
    same = torch.tensor([1.0, 2.0])
    check_start(same, space).zero_()
    assert same.tolist() == [1.0, 2.0]
