"""Segmented laws: length 1 in each segment, any slice equal to the whole's to the bit, moments, batches."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit import SeededBatch
from zotoolkit.directions import combine_directions, directions
from zotoolkit.errors import InvalidBatch, InvalidSetting
from zotoolkit.fingerprints import query_fingerprints
from zotoolkit.laws import Law, Segmented, law_of
from zotoolkit.seeding import derive_seeds

OFFSETS = (0, 1, 3, 700, 2047, 2049, 4096, 4100, 8200)
SEEDS = derive_seeds(5, 0, 9)
WHOLE = {law: directions(SEEDS, Segmented(law, OFFSETS), OFFSETS[-1]) for law in Law}


@pytest.mark.parametrize("law", list(Law))
def test_every_segment_has_length_one(law: Law) -> None:
    for start, stop in pairwise(OFFSETS):
        length = WHOLE[law][:, start:stop].double().norm(dim=1)
        torch.testing.assert_close(length, torch.ones_like(length), rtol=0, atol=2e-7)


@pytest.mark.parametrize("law", [Law.NORMAL, Law.SPHERE])
def test_a_segment_is_the_normal_direction_over_its_length(law: Law) -> None:
    normal = directions(SEEDS, Law.NORMAL, OFFSETS[-1]).double()
    for start, stop in pairwise(OFFSETS):
        part = normal[:, start:stop]
        torch.testing.assert_close(
            WHOLE[law][:, start:stop].double(), part / part.norm(dim=1, keepdim=True), rtol=3e-7, atol=0
        )


@pytest.mark.parametrize("dim", [1, 2, 5, 2047, 2048, 2049, 5000])
def test_one_segment_is_the_sphere_to_the_bit(dim: int) -> None:
    assert torch.equal(directions(SEEDS, Segmented("normal", (0, dim)), dim), directions(SEEDS, Law.SPHERE, dim))


@given(
    law=st.sampled_from(list(Law)),
    ends=st.tuples(st.integers(0, OFFSETS[-1]), st.integers(0, OFFSETS[-1])).map(sorted),
    rows=st.lists(st.integers(0, len(SEEDS) - 1), max_size=4),
)
def test_any_slice_of_any_seeds_is_bit_equal_to_the_wholes(law: Law, ends: list[int], rows: list[int]) -> None:
    part = directions(SEEDS[rows], Segmented(law, OFFSETS), OFFSETS[-1], *ends)
    assert torch.equal(part, WHOLE[law][rows, ends[0] : ends[1]])


@pytest.mark.parametrize("law", list(Law))
def test_the_second_moment_is_that_of_a_coordinate_over_seeds(law: Law) -> None:
    segmented, count = Segmented(law, (0, 1, 3, 8)), 100_000
    squares = directions(torch.arange(count), segmented, 8).double() ** 2
    expected = segmented.second_moment(8)
    assert expected.tolist() == pytest.approx([1, 1 / 2, 1 / 2, *[1 / 5] * 5])
    spread = (squares.std(dim=0) / math.sqrt(count)).clamp(min=1e-7)
    assert float(((squares.mean(dim=0) - expected) / spread).abs().max()) < 5.5  # once in a million, of 8


@pytest.mark.parametrize("law", list(Law))
def test_coordinates_are_uncorrelated_within_and_between_segments(law: Law) -> None:
    count = 100_000
    entries = directions(torch.arange(count), Segmented(law, (0, 2, 6)), 6).double()
    products = entries.T @ entries / count
    off = products - products.diag().diag()
    assert float(off.abs().max()) < 6 / math.sqrt(count)


@pytest.mark.parametrize("law", list(Law))
def test_no_entry_exceeds_the_bound(law: Law) -> None:
    segmented = Segmented(law, (0, 2, 6))
    assert float(directions(torch.arange(5000), segmented, 6).abs().max()) <= segmented.bound * (1 + 1e-6)
    assert segmented.bound == pytest.approx(1 / math.sqrt(2) if law is Law.RADEMACHER else 1, rel=1e-3)


@pytest.mark.parametrize("law", list(Law))
def test_combining_is_the_matrix_product(law: Law) -> None:
    weights = torch.linspace(-1, 2, len(SEEDS), dtype=torch.float64)
    combined = combine_directions(SEEDS, Segmented(law, OFFSETS), weights, OFFSETS[-1])
    torch.testing.assert_close(combined, weights @ WHOLE[law].double(), rtol=1e-12, atol=1e-14)


@given(size=st.integers(1, 9), some=st.booleans())
def test_a_batch_splits_without_changing_a_value_and_costs_12_bytes_a_query(size: int, some: bool) -> None:
    alive = torch.tensor([1, 4, 5, 9]) if some else None
    law = Segmented("normal", (0, 1, 4) if some else (0, 4, 10))
    batch = SeededBatch(base=torch.ones(10), scale=torch.linspace(0, 1, 9), seed=SEEDS, law=law, alive=alive)
    points = batch.points()
    assert torch.equal(torch.cat([part.points() for part in batch.split(size)]), points)
    assert batch.bytes_per_query == 12
    weights = torch.arange(9.0)
    direction = torch.zeros(9, 10)
    direction[:, slice(None) if alive is None else alive] = directions(SEEDS, law, batch.direction_dim)
    torch.testing.assert_close(batch.combine(weights), weights @ direction)
    torch.testing.assert_close(points, 1 + batch.scale[:, None] * direction)


def test_queries_of_other_segments_have_other_names() -> None:
    def names(law: Any) -> list[list[int]]:
        batch = SeededBatch(base=torch.ones(4), scale=torch.ones(2), seed=SEEDS[:2], law=law)
        return query_fingerprints(batch).tolist()

    assert names(Segmented("normal", (0, 2, 4))) == names(Segmented("sphere", (0, 2, 4)))
    assert names(Segmented("normal", (0, 2, 4))) != names(Segmented("normal", (0, 1, 4)))
    assert names(Segmented("normal", (0, 2, 4))) != names("sphere")


@pytest.mark.parametrize("offsets", [(), (0,), (1, 2), (0, 2, 2), (0, 3, 1)])
def test_segments_that_cannot_be(offsets: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSetting, match="offsets must ascend from 0"):
        Segmented("normal", offsets)


def test_segments_that_do_not_fit() -> None:
    law = Segmented("rademacher", (0, 2, 4))
    with pytest.raises(InvalidSetting, match="the segments end at 4, but a direction has 5 coordinates"):
        directions(SEEDS, law, 5)
    with pytest.raises(InvalidSetting, match="end at 4"):
        law.second_moment(3)
    with pytest.raises(InvalidBatch, match="segments must end at the directions' 3 coordinates, got 4"):
        SeededBatch(base=torch.ones(3), scale=torch.ones(1), seed=SEEDS[:1], law=law)


def test_laws_by_name() -> None:
    assert law_of("normal") is Law.NORMAL
    law = Segmented("normal", (0, 2))
    assert law_of(law) is law
    assert law.value == "sphere in 0-2"
    with pytest.raises(InvalidSetting, match="law must be one of"):
        Segmented("gauss", (0, 2))
