"""Directions: any slice equals the whole's slice to the bit, and moments and correlations are those of the law.

Every statistical threshold is a quantile computed from the sample size: a bound that a true sample breaks once in a
million, shared out among all the comparisons of a test. Seeds are fixed, so a test passes always or never.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from zotoolkit import directions as module
from zotoolkit.directions import Law, combine_directions, direction_blocks, directions
from zotoolkit.errors import InvalidBatch, InvalidSetting
from zotoolkit.seeding import derive_seeds

LAWS = tuple(Law)
BORDERS = (2048, 4096, 6144, 8192)
DIM = 8300
SEEDS = torch.tensor([0, 1, 2, 7, 2**32, 2**40 + 1, 2**63 - 1, -1, -(2**63)])
FALSE_ALARM = 1e-6
WHOLE = {law: directions(SEEDS, law, DIM) for law in LAWS}


def limit(comparisons: int = 1) -> float:
    """How many standard deviations the largest of so many normal deviates stays below, but once in a million times."""
    return float(stats.norm.isf(FALSE_ALARM / 2 / comparisons))


# Slices ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_slices_at_every_offset_around_the_tile_borders(law: Law) -> None:
    near = sorted({0, 1, DIM} | {b + offset for b in BORDERS for offset in (-1, 0, 1)})
    for start in near:
        for stop in (n for n in near if n >= start):
            part = directions(SEEDS[3:5], law, DIM, start, stop)
            assert torch.equal(part, WHOLE[law][3:5, start:stop]), (start, stop)


@given(
    law=st.sampled_from(LAWS),
    ends=st.tuples(st.integers(0, DIM), st.integers(0, DIM)).map(sorted),
    rows=st.lists(st.integers(0, len(SEEDS) - 1), max_size=12),
    threads=st.sampled_from([1, 2]),
)
def test_any_slice_of_any_seeds_is_bit_equal_to_the_wholes(
    law: Law, ends: list[int], rows: list[int], threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        part = directions(SEEDS[rows], law, DIM, *ends)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(part, WHOLE[law][rows, ends[0] : ends[1]])


@pytest.mark.parametrize("law", LAWS)
def test_many_directions_are_bit_equal_with_one_thread_two_threads_and_one_at_a_time(law: Law) -> None:
    seed = derive_seeds(3, 0, 300)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = directions(seed, law, 9000)
        torch.set_num_threads(2)
        two = directions(seed, law, 9000)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)
    alone = torch.cat([directions(seed[i : i + 1], law, 9000) for i in range(0, 300, 37)])
    assert torch.equal(one[::37], alone)


@pytest.mark.parametrize("law", [Law.RADEMACHER, Law.NORMAL])
@pytest.mark.parametrize("dim", [1, 2, 2047, 2048, 2049, 4095, 4096, 4097])
def test_entries_do_not_depend_on_the_number_of_coordinates(law: Law, dim: int) -> None:
    assert torch.equal(directions(SEEDS, law, dim), WHOLE[law][:, :dim])


def test_sphere_is_the_normal_direction_over_its_length() -> None:
    normal = WHOLE[Law.NORMAL].double()
    expected = normal / normal.norm(dim=1, keepdim=True)
    # Two roundings to float32: of the length and of the quotient.
    torch.testing.assert_close(WHOLE[Law.SPHERE].double(), expected, rtol=2 * torch.finfo(torch.float32).eps, atol=0)


@given(
    law=st.sampled_from(LAWS),
    ends=st.tuples(st.integers(0, 5000), st.integers(0, 5000)).map(sorted),
    count=st.integers(0, 70),
)
def test_blocks_cover_each_entry_once(law: Law, ends: list[int], count: int) -> None:
    seen = torch.zeros(count, ends[1] - ends[0])
    for rows, columns, block in direction_blocks(torch.arange(count), law, 5000, *ends):
        assert block.shape == seen[rows, columns].shape
        seen[rows, columns] += 1
    assert bool((seen == 1).all())


# The hash, written out in Python's integers ---------------------------------------------------------------------------


def _hash_by_hand(seed: int, counter: int) -> int:
    mask32, mask64 = (1 << 32) - 1, (1 << 64) - 1
    z = (seed + 0x9E3779B97F4A7C15) & mask64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask64
    z ^= z >> 31
    x = (counter - 0x61C88647) & mask32
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & mask32
    x = ((x ^ (x >> 15)) * 0xD35A2D97) & mask32
    x ^= x >> 15
    x = ((x ^ (z & mask32)) * 0x21F0AAAD) & mask32
    x ^= x >> 15
    return (x * ((z >> 32) | 1)) & mask32


def _normal_by_hand(seed: int, coordinate: int) -> float:
    mask32 = (1 << 32) - 1
    tile, place = divmod(coordinate, 4096)
    x = _hash_by_hand(seed, tile * 2048 + place % 2048)
    x ^= x >> 15
    angle = (x - (1 << 32) if x >> 31 else x) * 2 * math.pi / 2**32
    x = (x * 0x2C1B3C6D) & mask32
    x = ((x ^ (x >> 12)) * 0x297A2D39) & mask32
    x ^= x >> 15
    radius = math.sqrt(-2 * math.log(((x & 0x7FFFFFFF) | 1) / 2**31))
    return radius * (math.cos(angle) if place < 2048 else math.sin(angle))


@given(seed=st.integers(-(2**63), 2**63 - 1), coordinate=st.integers(0, 2**31 - 2))
def test_entries_equal_the_hash_written_out(seed: int, coordinate: int) -> None:
    """Pins the laws: a run can be resumed by a later version only if its directions are still the same."""
    where = (torch.tensor([seed]), 2**31 - 1, coordinate, coordinate + 1)
    sign = directions(where[0], "rademacher", *where[1:]).item()
    assert sign == (-1.0 if _hash_by_hand(seed, coordinate) >> 31 else 1.0)
    normal = directions(where[0], "normal", *where[1:]).item()
    # float32: the radius is known to 2e-6 of its square, the angle to 2e-7.
    assert normal == pytest.approx(_normal_by_hand(seed, coordinate), rel=1e-4, abs=3e-3)


# Moments --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_moments_of_all_entries(law: Law) -> None:
    dim, count = 5000, 2000
    entries = directions(derive_seeds(0, 0, count), law, dim).double().flatten() / math.sqrt(law.second_moment(dim))
    n = entries.numel()
    second, fourth = (entries**2).mean().item(), (entries**4).mean().item()
    assert abs(entries.mean().item()) < limit() / math.sqrt(n)
    assert abs((entries**3).mean().item()) < limit() * math.sqrt(15 / n)
    if law is Law.NORMAL:
        assert abs(second - 1) < limit() * math.sqrt(2 / n)
        assert abs(fourth - 3) < limit() * math.sqrt(96 / n)
    elif law is Law.SPHERE:  # the mean square of each direction is 1 by construction
        assert second == pytest.approx(1, abs=1e-6)
        assert abs(fourth - 3 * dim / (dim + 2)) < limit() * math.sqrt(96 / n)
    else:
        assert second == fourth == 1


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dim", [1, 3, 50])
def test_second_moment_is_that_of_a_coordinate_over_seeds(law: Law, dim: int) -> None:
    count = 200_000
    squares = directions(torch.arange(count), law, dim).double() ** 2
    expected = law.second_moment(dim)
    spread = squares.std(dim=0).clamp(min=1e-7 * expected)
    deviates = (squares.mean(dim=0) - expected) / (spread / math.sqrt(count))
    assert float(deviates.abs().max()) < limit(dim)


def test_rademacher_entries_are_exactly_plus_or_minus_one() -> None:
    entries = directions(torch.arange(-500, 500), "rademacher", 5000)
    assert bool((entries.abs() == 1).all())


@pytest.mark.parametrize("dim", [1, 2, 3, 100, 2049, 10_000])
def test_sphere_has_unit_length(dim: int) -> None:
    lengths = directions(torch.arange(1000), "sphere", dim).double().norm(dim=1)
    # Each entry is rounded by half a unit in the last place of float32, the length before it by as much.
    assert float((lengths - 1).abs().max()) <= torch.finfo(torch.float32).eps


@pytest.mark.parametrize("law", LAWS)
def test_no_entry_exceeds_the_bound(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    assert float(directions(torch.arange(400), law, 20_000).abs().max()) <= law.bound
    assert float(directions(torch.arange(100_000), law, 1).abs().max()) <= law.bound

    def zeros(counter: Tensor, key: tuple[Tensor, Tensor], buffers: object) -> tuple[Tensor, Tensor]:
        """The hash that gives the largest radius, at angle 0."""
        empty = torch.zeros(len(key[0]), len(counter), dtype=torch.int32)
        return empty, empty.clone()

    monkeypatch.setattr(module, "_hash", zeros)
    largest = float(directions(torch.arange(1), law, 1).abs().max())
    assert largest <= law.bound <= 1.001 * largest


def test_a_direction_whose_entries_are_all_zero_is_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(counter: Tensor, key: tuple[Tensor, Tensor], buffers: object) -> tuple[Tensor, Tensor]:
        empty = torch.zeros(len(key[0]), len(counter))
        return empty, empty.clone()

    monkeypatch.setattr(module, "_polar", zeros)
    assert directions(torch.arange(2), "sphere", 3).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("coordinates", [(0, 2048), (2048, 4096), (4096, 6144), (0, 100_000)])
def test_normal_entries_pass_kolmogorov_smirnov(coordinates: tuple[int, int]) -> None:
    start, stop = coordinates
    entries = directions(derive_seeds(1, 0, 2_000_000 // (stop - start)), "normal", 100_000, start, stop)
    assert stats.kstest(entries.flatten().numpy(), "norm").pvalue > FALSE_ALARM


def test_normal_tails_have_the_right_weight() -> None:
    entries = directions(derive_seeds(2, 0, 1000), "normal", 10_000).abs().flatten()
    for sigma in (2.0, 3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(sigma)
        count = int((entries > sigma).sum())
        assert stats.binomtest(count, entries.numel(), expected).pvalue > FALSE_ALARM, sigma


def test_rademacher_signs_are_balanced_in_every_direction_and_every_coordinate() -> None:
    signs = directions(derive_seeds(4, 0, 1500), "rademacher", 2500).double()
    for axis in (0, 1):
        sums = signs.sum(dim=axis) / math.sqrt(signs.shape[axis])
        assert float(sums.abs().max()) < limit(len(sums))
        chi_square = float((sums**2).sum())
        assert FALSE_ALARM / 2 < stats.chi2.cdf(chi_square, len(sums)) < 1 - FALSE_ALARM / 2


def test_rademacher_runs_of_eight_signs_are_equally_frequent() -> None:
    bits = (directions(derive_seeds(5, 0, 400), "rademacher", 8000) > 0).to(torch.int64)
    words = (bits.reshape(-1, 8) * 2 ** torch.arange(8)).sum(dim=1)
    assert stats.chisquare(torch.bincount(words, minlength=256).numpy()).pvalue > FALSE_ALARM


# Correlations ---------------------------------------------------------------------------------------------------------

SEED_SETS = {
    "consecutive": torch.arange(600),
    "consecutive, from a large one": torch.arange(600) + (2**62 - 300),
    "negative": torch.arange(-600, 0),
    "one bit apart": torch.tensor([0] + [1 << bit for bit in range(63)] + [-(2**63)]),
    "one bit apart from a random one": 0x1234_5678_9ABC_DEF0 ^ torch.tensor([0] + [1 << bit for bit in range(63)]),
    "multiples of 2^32": torch.arange(600) << 32,
    "as solvers draw them": derive_seeds(0, 0, 600),
    "of successive iterations": torch.cat([derive_seeds(0, iteration, 6) for iteration in range(100)]),
}


def _check_uncorrelated(standardised: Tensor) -> None:
    """Check that the rows of an `(n, m)` matrix, of mean 0 and variance 1, have no correlation but by chance."""
    n, m = standardised.shape
    pairs = torch.triu_indices(n, n, offset=1)
    deviates = (standardised @ standardised.T)[pairs[0], pairs[1]].double() / math.sqrt(m)
    assert float(deviates.abs().max()) < limit(len(deviates))
    # The squared deviates add up to chi-square over all pairs, which sees what is too small to see in any one.
    excess = (float((deviates**2).sum()) - len(deviates)) / math.sqrt(2 * len(deviates))
    assert abs(excess) < limit()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seeds", SEED_SETS)
def test_directions_of_different_seeds_are_uncorrelated(law: Law, seeds: str) -> None:
    dim = 20_000
    _check_uncorrelated(directions(SEED_SETS[seeds], law, dim) / math.sqrt(law.second_moment(dim)))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("start", [0, 1500, 3500])
def test_coordinates_are_uncorrelated_over_seeds(law: Law, start: int) -> None:
    """Windows across the tile borders at 2,048 and 4,096."""
    dim, count = 5000, 20_000
    window = directions(torch.arange(count), law, dim, start, start + 1000)
    _check_uncorrelated(window.T.contiguous() / math.sqrt(law.second_moment(dim)))


def test_both_halves_of_a_box_muller_pair_are_independent() -> None:
    count, width = 50_000, 64
    first = directions(torch.arange(count), "normal", 4096, 0, width).double()
    second = directions(torch.arange(count), "normal", 4096, 2048, 2048 + width).double()
    for power, mean, spread in ((1, 0, 1), (2, 1, math.sqrt(2)), (3, 0, math.sqrt(15))):
        product = ((first**power - mean) * (second**power - mean)).mean(dim=0) / spread**2
        assert float(product.abs().max()) < 1.2 * limit(width) / math.sqrt(count)  # 1.2: heavy tails of sixth powers


@pytest.mark.parametrize("law", LAWS)
def test_a_long_direction_is_uncorrelated_with_itself_shifted(law: Law) -> None:
    dim, lags = 1 << 20, [*range(1, 33), *(1 << bit for bit in range(6, 20)), 2047, 2049, 4095, 4097]
    for seed in (0, 1, 2**40):
        entries = directions(torch.tensor([seed]), law, dim)[0].double() / math.sqrt(law.second_moment(dim))
        for lag in lags:
            deviate = float(entries[lag:] @ entries[:-lag]) / math.sqrt(dim - lag)
            assert abs(deviate) < limit(3 * len(lags)), (seed, lag)


# Pairs of counters below 2^21 whose scrambled words differ in the top bit alone: found by sorting the words.
TWINS = ((719268, 1094158), (98452, 1099604), (1012855, 1964588), (904215, 1985761))


@pytest.mark.parametrize("law", [Law.RADEMACHER, Law.NORMAL])
@pytest.mark.parametrize("twins", TWINS)
def test_coordinates_with_almost_the_same_counter_are_uncorrelated(law: Law, twins: tuple[int, int]) -> None:
    """With a fixed factor after the keys their correlation over seeds was -0.29 (Rademacher) and -0.34 (normal)."""
    count = 50_000
    if law is Law.NORMAL:  # coordinates whose pairs have these counters
        twins = tuple(counter // 2048 * 4096 + counter % 2048 for counter in twins)  # pyright: ignore[reportAssignmentType]
    one, other = (directions(torch.arange(count), law, 1 << 22, c, c + 1)[:, 0].double() for c in twins)
    assert abs(float((one * other).mean())) < limit(len(TWINS) * 2) / math.sqrt(count)


# Combining ------------------------------------------------------------------------------------------------------------


@given(
    law=st.sampled_from(LAWS),
    count=st.integers(0, 40),
    dim=st.sampled_from([1, 5, 2047, 2049, 4096, 5000]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_combine_directions_is_the_matrix_product(law: Law, count: int, dim: int, dtype: torch.dtype) -> None:
    seed = derive_seeds(9, count, count)
    weights = torch.linspace(-2, 1, count, dtype=dtype)
    dense = directions(seed, law, dim).double()
    combined = combine_directions(seed, law, weights, dim)
    assert combined.dtype == dtype
    bound = (count + 1) * torch.finfo(dtype).eps * (weights.abs().double() @ dense.abs())
    assert bool(((combined.double() - weights.double() @ dense).abs() <= bound).all())


# Bad input ------------------------------------------------------------------------------------------------------------


def test_unknown_law_is_told_with_a_suggestion() -> None:
    with pytest.raises(InvalidSetting, match=r"got 'rademaker' \(str\)\. Did you mean 'rademacher'\?"):
        Law.of("rademaker")


@pytest.mark.parametrize("seed", [torch.zeros(2), torch.zeros(2, dtype=torch.int32), torch.zeros(2, 1).long()])
def test_seeds_of_the_wrong_kind(seed: Tensor) -> None:
    with pytest.raises(InvalidBatch, match=r"seed must be \(n,\) int64, got a tensor of shape"):
        directions(seed, "normal", 3)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 6), (6, 6)])
def test_slices_outside(start: int, stop: int) -> None:
    with pytest.raises(InvalidBatch, match=f"got {start}:{stop} of 5"):
        directions(torch.arange(2), "normal", 5, start, stop)


def test_laws_are_found_by_value() -> None:
    assert [Law.of(law.value) for law in LAWS] == list(LAWS)
    assert np.prod([law.second_moment(4) for law in LAWS]) == 0.25
