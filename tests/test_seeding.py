"""Seeds from seeds: pure, different, and well mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zotoolkit.errors import InvalidSetting
from zotoolkit.seeding import check_seed, derive_seed, derive_seeds, mix64, numpy_generator, torch_generator

SEED = st.integers(0, 2**63 - 1)


def splitmix64(state: int) -> int:
    """Vigna's reference code (prng.di.unimi.it/splitmix64.c), in Python's integers."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_splitmix64_gives_the_published_numbers() -> None:
    # The first outputs of splitmix64.c from state 1234567.
    assert [splitmix64(1234567 + k * 0x9E3779B97F4A7C15) for k in range(2)] == [6457827717110365317, 3203168211198807973]


@given(value=st.integers(-(2**63), 2**63 - 1))
def test_mix64_is_splitmix64(value: int) -> None:
    mixed = int(mix64(torch.tensor([value]))[0]) % 2**64
    assert mixed == splitmix64(value % 2**64)


@given(root=SEED, path=st.lists(st.integers(0, 2**63 - 1), max_size=4))
def test_derived_seeds_are_seeds_and_pure(root: int, path: list[int]) -> None:
    seed = derive_seed(root, *path)
    assert check_seed(seed) == seed == derive_seed(root, *path)


def test_places_in_the_tree_have_seeds_of_their_own() -> None:
    places = [(root, *path) for root in range(20) for path in [(), *((i,) for i in range(20))]]
    places += [(root, i, j) for root in range(10) for i in range(10) for j in range(10)]
    assert len({derive_seed(*place) for place in places}) == len(places)


def test_the_seeds_of_an_iteration_are_different_and_belong_to_it() -> None:
    first, second, other = derive_seeds(0, 0, 1000), derive_seeds(0, 1, 1000), derive_seeds(1, 0, 1000)
    assert len(torch.cat((first, second, other)).unique()) == 3000
    assert torch.equal(derive_seeds(0, 0, 10), first[:10])
    assert first.dtype == torch.int64


def test_bits_of_derived_seeds_are_balanced() -> None:
    seeds = np.array([derive_seed(0, i) for i in range(20_000)], dtype=np.uint64)
    for bit in range(63):
        ones = int(((seeds >> np.uint64(bit)) & np.uint64(1)).sum())
        assert stats.binomtest(ones, len(seeds)).pvalue > 1e-6 / 63, bit


def test_generators_are_pure() -> None:
    draws = [torch.rand(3, generator=torch_generator(1, 2)).tolist() for _ in range(2)]
    assert draws[0] == draws[1] != torch.rand(3, generator=torch_generator(1, 3)).tolist()
    assert numpy_generator(1, 2).random() == numpy_generator(1, 2).random() != numpy_generator(2, 2).random()


def test_nothing_draws_from_torchs_or_numpys_global_state() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - looked at, not drawn from
    derive_seeds(0, 0, 10)
    torch.rand(3, generator=torch_generator(1))
    numpy_generator(1).random()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 2**63, 0.0, "1", None, True, torch.tensor(1)])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"seed must be an integer in \[0, 2\*\*63\), got"):
        check_seed(seed)
