"""Splitting by cost: every query once, balanced within one query, values back in order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from zotoolkit import CGE, CoordinateBatch
from zotoolkit.engines import ParameterLayout
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidValues
from zotoolkit.sharding import split_by_cost
from zotoolkit.spaces import Bounds

LAYOUT = ParameterLayout.of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)))
COSTS = {"0.weight": 1.0, "0.bias": 0.9, "2.weight": 0.1, "2.bias": 0.0}


@given(
    index=st.lists(st.integers(0, LAYOUT.dim - 1), max_size=60),
    costs=st.lists(st.floats(0, 10), min_size=4, max_size=4),
    parts=st.integers(1, 12),
)
def test_every_query_goes_to_one_worker_and_no_worker_has_much_more_than_its_share(
    index: list[int], costs: list[float], parts: int
) -> None:
    coordinates = torch.tensor(index, dtype=torch.int64)
    shards = split_by_cost(coordinates, LAYOUT, costs, parts)
    assert len(shards) == parts
    assert torch.cat(shards.rows).sort().values.tolist() == list(range(len(index)))
    each = torch.tensor(costs, dtype=torch.float64)[LAYOUT.slot_of(coordinates)]
    if not bool(each.any()):
        each = torch.ones_like(each)
    assert shards.costs == pytest.approx([float(each[rows].sum()) for rows in shards.rows])
    share, dearest = float(each.sum()) / parts, float(each.max()) if len(each) else 0.0
    assert all(abs(cost - share) <= dearest * (1 + 1e-9) + 1e-9 for cost in shards.costs)
    assert torch.equal(shards.merge([coordinates[rows].double() for rows in shards.rows]), coordinates.double())


@given(parts=st.integers(1, 9), difference=st.sampled_from(["forward", "central"]))
def test_the_gradient_is_that_of_the_whole_batch(parts: int, difference: Any) -> None:
    dim = LAYOUT.dim
    x = torch.linspace(-1, 1, dim, dtype=torch.float64)
    infinite = torch.full_like(x, torch.inf)
    estimator = CGE(1e-3, difference)
    batch = estimator.queries(x, None, 0, 0, Bounds(-infinite, infinite))
    shards = split_by_cost(batch, LAYOUT, COSTS, parts)
    values = shards.merge([(part.points() ** 3).sum(1) for part in shards.split(batch)])
    assert torch.equal(values, (batch.points() ** 3).sum(1))
    # A worker sees a run of neighbouring coordinates.
    ends = [(int(part.index.min()), int(part.index.max())) for part in shards.split(batch) if len(part)]
    assert all(before[1] <= after[0] for before, after in pairwise(ends))


def test_a_query_of_the_base_point_costs_a_whole_pass() -> None:
    batch = CoordinateBatch(
        base=torch.zeros(LAYOUT.dim), scale=torch.tensor([0.0, 1.0, 1.0]), index=torch.tensor([43, 43, 44])
    )
    assert split_by_cost(batch, LAYOUT, COSTS, 1).costs == pytest.approx([1.1 + 0.0])
    assert split_by_cost(batch, LAYOUT, COSTS, 1, base_cost=5.0).costs == pytest.approx([5.1 + 0.0])


@pytest.mark.parametrize(
    ("batch", "costs", "parts", "error", "message"),
    [
        (torch.arange(3), COSTS, 0, InvalidSetting, "parts must be an integer of at least 1, got 0"),
        (torch.arange(3), {"0.weight": 1.0}, 2, InvalidSetting, "lacks 0.bias, 2.weight, 2.bias"),
        (torch.arange(3), [1.0], 2, InvalidSetting, "one entry for each of the 4 parameters, got 1"),
        (torch.arange(3), {**COSTS, "2.bias": -1.0}, 2, InvalidSetting, "cost of 2.bias must be .* got -1.0"),
        (torch.arange(3.0), COSTS, 2, InvalidBatch, r"\(q,\) int64 coordinates"),
        (torch.tensor([99]), COSTS, 2, InvalidBatch, r"\[0, 47\), got 99 to 99"),
    ],
)
def test_what_cannot_be_split(batch: Any, costs: Any, parts: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        split_by_cost(batch, LAYOUT, costs, parts)


def test_values_that_do_not_fit() -> None:
    shards = split_by_cost(torch.arange(4), LAYOUT, COSTS, 2)
    with pytest.raises(InvalidValues, match=r"in parts of \[2, 2\], got shapes \[\(4,\)\]"):
        shards.merge([torch.zeros(4)])
    with pytest.raises(InvalidBatch, match="a batch of 4 queries, got 1"):
        shards.split(CoordinateBatch(base=torch.zeros(47), scale=torch.ones(1), index=torch.tensor([0])))
