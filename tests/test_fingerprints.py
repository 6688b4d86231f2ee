"""Names of query points."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from zotoolkit import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.fingerprints import point_fingerprints, query_fingerprints


def batch_of(kind: str, q: int, dim: int, dtype: torch.dtype, seed: int, alive: bool) -> QueryBatch:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(dim, generator=generator, dtype=dtype)
    scale = torch.randn(q, generator=generator, dtype=dtype)
    scale[::3] = 0
    if kind == "coordinate":
        return CoordinateBatch(base=base, scale=scale, index=torch.randint(0, dim, (q,), generator=generator))
    if kind == "dense":
        return DenseBatch(base=base, scale=scale, directions=torch.randn(q, dim, generator=generator, dtype=dtype))
    live = torch.randperm(dim, generator=generator)[: max(1, dim // 2)] if alive else None
    return SeededBatch(base=base, scale=scale, seed=torch.arange(q) + seed, law=kind, alive=live)


KINDS = ("dense", "coordinate", "rademacher", "normal", "sphere")


@given(
    kind=st.sampled_from(KINDS),
    q=st.integers(0, 12),
    dim=st.sampled_from([1, 2, 7, 4097]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
    alive=st.booleans(),
    size=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_a_name_belongs_to_the_point(
    kind: str, q: int, dim: int, dtype: torch.dtype, seed: int, alive: bool, size: int
) -> None:
    batch = batch_of(kind, q, dim, dtype, seed, alive)
    for name in (point_fingerprints, query_fingerprints):
        names = name(batch)
        assert names.shape == (q, 2)
        assert names.dtype == torch.int64
        parts = [name(part) for part in batch.split(size)]
        assert torch.equal(torch.cat(parts) if parts else names, names)
    assert torch.equal(point_fingerprints(batch), point_fingerprints(DenseBatch.at(batch.points())))
    at_base = batch.scale == 0
    named = point_fingerprints(batch) == query_fingerprints(batch)
    assert bool(named[at_base].all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("entries", "dim"), [([0.0, 1.0], 17), ([-1.0, 1.0], 17), ([0.0, 0.5, 1.0], 11), ([1.0, 2.0, 4.0, 8.0], 8)]
)
def test_each_half_alone_tells_the_points_of_a_grid_apart(dtype: torch.dtype, entries: list[float], dim: int) -> None:
    """Floats with few bits that differ, in many combinations: what a weak mixer stumbles over."""
    grid = torch.cartesian_prod(*[torch.tensor(entries, dtype=dtype)] * dim)
    names = point_fingerprints(DenseBatch.at(grid))
    assert len(names[:, 0].unique()) == len(grid)
    assert len(names[:, 1].unique()) == len(grid)
    # Even 32 of the bits collide no more often than by chance (expected: n^2 / 2^33).
    for bits in (names[:, 0] & 0xFFFFFFFF, (names[:, 0] >> 32) & 0xFFFFFFFF, names[:, 1] & 0xFFFFFFFF):
        assert len(grid) - len(bits.unique()) <= 5 + 3 * len(grid) ** 2 / 2**33


def test_swapped_entries_are_another_point() -> None:
    names = point_fingerprints(DenseBatch.at(torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [3.0, 2.0, 1.0]])))
    assert len(names.unique(dim=0)) == 3


def test_every_bit_is_used() -> None:
    names = point_fingerprints(DenseBatch.at(torch.randn(4000, 5)))
    for shift in range(64):
        for lane in (0, 1):
            share = float(((names[:, lane] >> shift) & 1).double().mean())
            assert abs(share - 0.5) < 0.05


def test_both_zeros_have_one_name() -> None:
    names = point_fingerprints(
        DenseBatch(base=torch.tensor([-0.0]), scale=torch.ones(2), directions=torch.tensor([[0.0], [-0.0]]))
    )
    assert torch.equal(names[0], names[1])


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes, views of the given ones apart."""

    def __init__(self, given: list[torch.Tensor]) -> None:
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (list, tuple)) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_as_large_as_the_points_is_made(kind: str) -> None:
    q, dim = 32, 40_000
    batch = batch_of(kind, q, dim, torch.float32, 0, alive=False)
    given = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    with Largest(given) as largest:
        query_fingerprints(batch)
        point_fingerprints(batch)
    assert largest.elements <= 1 << 18 < q * dim
