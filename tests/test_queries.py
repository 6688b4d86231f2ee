"""Query batches: splitting never changes a value, `combine` is the matrix product, memory stays within a block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zotoolkit import CoordinateBatch, DenseBatch, Law, QueryBatch, SeededBatch
from zotoolkit.directions import directions
from zotoolkit.errors import InvalidBatch, InvalidSetting
from zotoolkit.seeding import derive_seeds, torch_generator

DTYPES = (torch.float32, torch.float64)


@st.composite
def batches(draw: st.DrawFn, least: int = 0) -> QueryBatch:
    """A batch of any kind, of up to 40 queries in up to 5,000 dimensions."""
    dtype = draw(st.sampled_from(DTYPES))
    dim = draw(st.sampled_from([1, 2, 7, 300, 2048, 4097]))
    count = draw(st.integers(least, 40))
    generator = torch_generator(draw(st.integers(0, 1000)))
    parts: dict[str, Any] = {
        "base": torch.randn(dim, generator=generator, dtype=dtype),
        "scale": torch.randn(count, generator=generator, dtype=dtype),
        "context": draw(st.integers(0, 10**12)),
    }
    parts["scale"][: draw(st.integers(0, 1))] = 0.0
    kind = draw(st.sampled_from(["dense", "coordinate", *Law]))
    if kind == "dense":
        return DenseBatch(**parts, directions=torch.randn(count, dim, generator=generator, dtype=dtype))
    if kind == "coordinate":
        return CoordinateBatch(**parts, index=torch.randint(dim, (count,), generator=generator))
    alive = None
    if draw(st.booleans()):
        alive = torch.randperm(dim, generator=generator)[: draw(st.integers(1, dim))]
        if draw(st.booleans()):
            alive = alive.sort().values
    seed = derive_seeds(draw(st.integers(0, 1000)), 0, count)
    return SeededBatch(**parts, seed=seed, law=kind, alive=alive)


def dense_directions(batch: QueryBatch) -> Tensor:
    """`(q, d)` float64 directions, each kind's by its definition."""
    if isinstance(batch, DenseBatch):
        return batch.directions.double()
    out = torch.zeros(len(batch), batch.dim, dtype=torch.float64)
    if isinstance(batch, CoordinateBatch):
        out[torch.arange(len(batch)), batch.index] = 1.0
    elif isinstance(batch, SeededBatch):
        drawn = directions(batch.seed, batch.law, batch.direction_dim).double()
        columns = torch.arange(batch.dim) if batch.alive is None else batch.alive
        out[:, columns] = drawn
    return out


# Values ---------------------------------------------------------------------------------------------------------------


@given(batch=batches())
def test_points_are_base_plus_scale_times_direction(batch: QueryBatch) -> None:
    points = batch.points()
    assert points.shape == (len(batch), batch.dim)
    assert points.dtype == batch.dtype
    # The same two roundings, of the product and of the sum.
    expected = (dense_directions(batch).to(batch.dtype) * batch.scale[:, None]) + batch.base
    assert torch.equal(points, expected)


@given(batch=batches(), size=st.integers(1, 45))
def test_splitting_never_changes_a_value(batch: QueryBatch, size: int) -> None:
    parts = list(batch.split(size))
    assert all(type(part) is type(batch) and part.context == batch.context for part in parts)
    assert sum(map(len, parts)) == len(batch)
    assert all(len(part) == size for part in parts[:-1])
    points = torch.cat([part.points() for part in parts]) if parts else batch.points()
    assert torch.equal(points, batch.points())


@given(batch=batches(least=1), data=st.data())
def test_any_rows_have_the_same_points(batch: QueryBatch, data: st.DataObject) -> None:
    whole = batch.points()
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=50)), dtype=torch.int64)
    assert torch.equal(batch[rows].points(), whole[rows])
    chosen = torch.zeros(len(batch), dtype=torch.bool)
    chosen[rows] = True
    assert torch.equal(batch[chosen].points(), whole[chosen])
    window = data.draw(st.slices(len(batch)).filter(lambda s: s.step is None or s.step > 0))
    assert torch.equal(batch[window].points(), whole[window])


@given(batch=batches(), data=st.data())
def test_combine_is_the_dense_matrix_product(batch: QueryBatch, data: st.DataObject) -> None:
    weights = torch.randn(len(batch), generator=torch_generator(data.draw(st.integers(0, 9))), dtype=torch.float64)
    dense = dense_directions(batch)
    combined = batch.combine(weights)
    assert combined.shape == (batch.dim,)
    assert combined.dtype == batch.dtype
    # Summing q products in any order errs by at most (q + 1) eps times the sum of their sizes (Higham 2002, ch. 3).
    bound = (len(batch) + 1) * torch.finfo(batch.dtype).eps * (weights.abs() @ dense.abs())
    assert bool(((combined.double() - weights @ dense).abs() <= bound).all())


@given(batch=batches(least=1))
def test_points_are_fresh_and_nothing_is_written_into(batch: QueryBatch) -> None:
    names = ("base", "scale", *batch._per_query)
    before = {name: getattr(batch, name).clone() for name in names}
    batch.points().fill_(1e9)
    batch.combine(torch.ones(len(batch), dtype=batch.dtype)).fill_(1e9)
    assert all(torch.equal(getattr(batch, name), before[name]) for name in names)


def test_points_of_ones_own_come_back_to_the_bit() -> None:
    points = torch.tensor([[1e-30, 1e30, 0.1], [-3.3, 7.7, torch.pi]])
    batch = DenseBatch.at(points, context=5)
    assert torch.equal(batch.points(), points)
    assert batch.context == 5
    assert batch.points().data_ptr() != points.data_ptr()


def test_alive_coordinates_move_and_the_others_do_not() -> None:
    alive = torch.tensor([1, 4])
    batch = SeededBatch(
        base=torch.arange(6.0), scale=torch.tensor([1.0, 2.0]), seed=torch.tensor([3, 4]), law="normal", alive=alive
    )
    moved = batch.points() - torch.arange(6.0)
    # An entry belongs to its place among the alive, so a mask shrinks the dimension that directions live in.
    torch.testing.assert_close(moved[:, alive], batch.scale[:, None] * directions(batch.seed, "normal", 2))
    assert bool((moved[:, [0, 2, 3, 5]] == 0).all())
    assert batch.direction_dim == 2
    combined = batch.combine(torch.ones(2))
    assert combined[[0, 2, 3, 5]].tolist() == [0.0] * 4


def test_a_scale_of_zero_queries_the_base_point() -> None:
    base = torch.randn(3000, generator=torch_generator(0))
    for law in Law:
        batch = SeededBatch(base=base, scale=torch.zeros(1), seed=torch.tensor([9]), law=law)
        assert torch.equal(batch.points()[0], base)


# Memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_coordinate_or_seeded_query_takes_at_most_16_bytes(dtype: torch.dtype) -> None:
    base, scale = torch.zeros(1_000_000, dtype=dtype), torch.ones(1000, dtype=dtype)
    name = torch.arange(1000)
    assert CoordinateBatch(base=base, scale=scale, index=name).bytes_per_query <= 16
    assert SeededBatch(base=base, scale=scale, seed=name).bytes_per_query <= 16
    dense = DenseBatch.at(torch.zeros(2, 1_000_000, dtype=dtype))
    assert dense.bytes_per_query == 1_000_001 * dense.base.element_size()


def test_an_empty_batch_has_no_bytes_per_query() -> None:
    assert not DenseBatch.at(torch.zeros(0, 3)).bytes_per_query >= 0


def _available() -> int:
    """Bytes of memory that can be had without swapping."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


MEASURE = """
import json, sys, torch
from pathlib import Path
from zotoolkit import CoordinateBatch, DenseBatch, SeededBatch

torch.set_num_threads(1)
kind, *calls = sys.argv[1:]

def make(q, d):
    base, scale = torch.zeros(d), torch.ones(q)
    if kind == "dense":
        return DenseBatch(base=base, scale=scale, directions=torch.zeros(q, d))
    if kind == "coordinate":
        return CoordinateBatch(base=base, scale=scale, index=torch.arange(q) % d)
    alive = torch.arange(d // 2) * 2 if kind.endswith(" alive") else None
    return SeededBatch(base=base, scale=scale, seed=torch.arange(q), law=kind.split()[0], alive=alive)

def call(batch, name):
    return batch.points() if name == "points" else batch.combine(torch.ones(len(batch)))

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10

beyond = {}
for name in calls:
    call(make(3, 10_000), name)  # warms up: lazily loaded libraries, thread pools
    batch = make(1024, 1_000_000)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = status("VmRSS")
    result = call(batch, name)
    beyond[name] = status("VmHWM") - before - result.numel() * 4
    del batch, result
print(json.dumps(beyond))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux to measure peak memory")
@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        ("dense", ["combine", "points"]),
        ("coordinate", ["combine", "points"]),
        ("rademacher", ["combine", "points"]),
        ("normal", ["combine"]),
        ("sphere alive", ["combine", "points"]),
    ],
)
def test_nothing_is_held_beyond_the_result_and_a_block_of_64_mib(kind: str, calls: list[str]) -> None:
    """q = 1,024 and d = 1,000,000 in float32, measured in a process of its own."""
    matrix = 1024 * 1_000_000 * 4
    needed = matrix * ((kind == "dense") + ("points" in calls)) + (1 << 30)
    if _available() < needed:
        pytest.skip(f"needs {needed >> 30} GiB of free memory")
    run = subprocess.run([sys.executable, "-c", MEASURE, kind, *calls], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    beyond = json.loads(run.stdout)
    assert set(beyond) == set(calls)
    assert max(beyond.values()) <= 64 << 20, beyond


# Bad input ------------------------------------------------------------------------------------------------------------

BASE, SCALE, SEED = torch.zeros(3), torch.ones(2), torch.arange(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenseBatch.at([[1.0]]), r"points must be a \(q, d\) floating-point tensor, got \[\[1.0\]\] \(list\)"),
        (lambda: DenseBatch.at(torch.ones(3)), r"points must be .* got a tensor of shape \(3,\)"),
        (lambda: DenseBatch.at(torch.ones(1, 3).long()), r"points must be .* dtype torch.int64"),
        (lambda: DenseBatch(base=BASE, scale=SCALE, directions=torch.ones(2, 4)), r"directions must be \(q, 3\)"),
        (lambda: DenseBatch(base=BASE, scale=SCALE, directions=torch.ones(2, 3).double()), "torch.float64"),
        (lambda: DenseBatch(base=BASE, scale=SCALE, directions=torch.ones(4, 3)), "got 4 rows and 2 scales"),
        (lambda: DenseBatch(base=BASE, scale=SCALE, directions=torch.tensor(1.0)), r"got a tensor of shape \(\)"),
        (
            lambda: DenseBatch(base=torch.zeros(1, 3), scale=SCALE, directions=torch.ones(2, 3)),
            r"base must be a \(d,\)",
        ),
        (lambda: DenseBatch(base=BASE.long(), scale=SCALE, directions=torch.ones(2, 3)), "base must be"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE.double(), index=SEED), "scale must have the base's dtype"),
        (lambda: CoordinateBatch(base=BASE, scale=torch.ones(2, 1), index=SEED), r"scale must be a \(q,\)"),
        (lambda: CoordinateBatch(base=BASE, scale=1.0, index=SEED), r"got 1.0 \(float\)"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE, index=SEED.float()), r"index must be \(q,\) int64"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE, index=SEED + 2), r"index must lie in \[0, 3\), got 2 to 3"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE, index=SEED - 1), "got -1 to 0"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE, index=SEED, context=-1), "context must be .* got -1"),
        (lambda: CoordinateBatch(base=BASE, scale=SCALE, index=SEED, context=1.5), "context must be .* got 1.5"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED.int()), r"seed must be \(q,\) int64"),
        (
            lambda: SeededBatch(base=BASE, scale=SCALE, seed=[1, 2]),
            r"seed must be a tensor of rows on cpu, got \[1, 2\]",
        ),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=[1]), r"alive must be .* got \[1\] \(list\)"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=torch.ones(3)), "alive must be"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=SEED - 1), r"\[0, 3\), got -1 to 0"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=SEED + 2), r"\[0, 3\), got 2 to 3"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=SEED * 0), "each coordinate at most once"),
        (lambda: SeededBatch(base=BASE, scale=SCALE, seed=SEED, alive=torch.tensor([2, 0, 2])), "at most once"),
    ],
)
def test_parts_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(InvalidBatch, match=message):
        make()


@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_split_by_a_size_that_is_none(size: Any) -> None:
    with pytest.raises(InvalidSetting, match="size must be an integer of at least 1, got"):
        list(DenseBatch.at(torch.ones(2, 3)).split(size))


@pytest.mark.parametrize("weights", [torch.ones(3), torch.ones(2, 1), [1.0, 2.0]])
def test_combine_needs_one_weight_a_query(weights: Any) -> None:
    with pytest.raises(InvalidBatch, match=r"weights must have shape \(2,\), got"):
        DenseBatch.at(torch.ones(2, 3)).combine(weights)


@pytest.mark.parametrize("rows", [0, [0], torch.tensor(0)])
def test_a_batch_is_indexed_by_rows(rows: Any) -> None:
    with pytest.raises(InvalidBatch, match="use batch"):
        DenseBatch.at(torch.ones(2, 3))[rows]


def test_an_unknown_law_is_told_with_a_suggestion() -> None:
    with pytest.raises(InvalidSetting, match="Did you mean 'normal'"):
        SeededBatch(base=BASE, scale=SCALE, seed=SEED, law="norml")
