"""Masks: which coordinates are alive, purely from (iteration, seed)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit import FixedMask, UniformMask
from zotoolkit.errors import InvalidSetting


@given(
    keep=st.floats(1e-6, 1.0), refresh=st.integers(1, 9), dim=st.integers(1, 200), iteration=st.integers(0, 10**6),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_uniform_mask_keeps_its_share_ascending_and_purely(
    keep: float, refresh: int, dim: int, iteration: int, seed: int
) -> None:
    mask = UniformMask(keep, refresh)
    alive = mask.alive(dim, iteration, seed)
    assert len(alive) == max(1, round(keep * dim))
    assert alive.dtype == torch.int64
    assert bool((alive[1:] > alive[:-1]).all())
    assert 0 <= int(alive[0]) <= int(alive[-1]) < dim
    first = iteration - iteration % refresh
    assert all(torch.equal(mask.alive(dim, i, seed), alive) for i in range(first, first + refresh))


def test_a_uniform_mask_changes_when_it_is_refreshed_and_with_the_seed() -> None:
    mask = UniformMask(0.5, refresh=3)
    assert not torch.equal(mask.alive(100, 2, 0), mask.alive(100, 3, 0))
    assert not torch.equal(mask.alive(100, 2, 0), mask.alive(100, 2, 1))


def test_a_uniform_mask_keeps_each_coordinate_equally_often() -> None:
    counts = torch.zeros(20)
    for iteration in range(2000):
        counts[UniformMask(0.25).alive(20, iteration, 0)] += 1
    # 500 times on average, with deviation sqrt(2000 * 1/4 * 3/4) = 19.4.
    assert float((counts - 500).abs().max()) < 5 * 19.4


def test_a_fixed_mask_keeps_the_same_sorted() -> None:
    mask = FixedMask(torch.tensor([5, 1, 3], dtype=torch.int32))
    for iteration in (0, 7):
        assert mask.alive(6, iteration, iteration).tolist() == [1, 3, 5]
    assert FixedMask([2, 0]).alive(3, 0, 0).tolist() == [0, 2]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([], r"index must be \(k,\) integers with k >= 1, got a tensor of shape \(0,\)"),
        ([0.5], "torch.float32"),
        ([[0]], r"shape \(1, 1\)"),
        ([1, 1], "each coordinate once"),
        ([-1, 0], "none below 0"),
        ([True, False], "dtype torch.bool"),
        ("abc", r"got 'abc' \(str\)"),
    ],
)
def test_fixed_masks_that_cannot_be(index: Any, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        FixedMask(index)


def test_a_fixed_mask_of_more_coordinates_than_there_are() -> None:
    with pytest.raises(InvalidSetting, match="keeps coordinate 5, but there are only 5"):
        FixedMask(torch.tensor([5])).alive(5, 0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0.0}, r"keep must be a number in \(0, 1\], got 0.0"),
        ({"keep": 1.1}, "got 1.1"),
        ({"keep": True}, "got True"),
        ({"keep": 0.5, "refresh": 0}, "refresh must be an integer of at least 1, got 0"),
    ],
)
def test_uniform_masks_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        UniformMask(**settings)
