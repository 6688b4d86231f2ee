"""RGE against closed forms: its mean and its variance on a linear function are known exactly."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from zotoolkit import RGE, Law, PowerDecay, SeededBatch
from zotoolkit.directions import directions
from zotoolkit.engines import ParameterLayout
from zotoolkit.errors import InvalidSetting
from zotoolkit.estimators import Estimate
from zotoolkit.laws import Segmented
from zotoolkit.seeding import torch_generator
from zotoolkit.spaces import Bounds
from zotoolkit.structure import Structure

F64 = torch.float64
SLOPE = torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0], dtype=F64)


def unbounded(dim: int) -> Bounds:
    infinite = torch.full((dim,), torch.inf, dtype=F64)
    return Bounds(-infinite, infinite)


def linear(points: Tensor) -> Tensor:
    return points @ SLOPE


def estimate(estimator: RGE, context: int, alive: Tensor | None = None) -> Estimate:
    batch = estimator.queries(torch.ones(5, dtype=F64), alive, context, 0, unbounded(5))
    values = linear(batch.points())
    return estimator.gradient(batch, values, torch.isfinite(values))


def variance(law: Law) -> Tensor:
    """`(d,)` variances of one direction's estimate of a linear function with gradient g.

    E[(g'u)^2 u_i^2] is |g|^2 for signs, |g|^2 + 2 g_i^2 for normals, and that over d (d + 2) on the sphere, whose
    estimate is d times as large; g_i^2 is the square of the mean.
    """
    square, dim = SLOPE @ SLOPE, len(SLOPE)
    if law is Law.RADEMACHER:
        return square - SLOPE**2
    if law is Law.NORMAL:
        return square + SLOPE**2
    return (square + 2 * SLOPE**2) * dim / (dim + 2) - SLOPE**2


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize(("difference", "q"), [("forward", 1), ("central", 3)])
def test_estimates_of_a_linear_function_are_unbiased_with_the_known_variance(law: Law, difference: Any, q: int) -> None:
    count = 1000
    estimator = RGE(0.1, q, difference, law)
    estimates = torch.stack([estimate(estimator, context).gradient for context in range(count)])
    expected = variance(law) / q
    limit = float(stats.norm.isf(1e-6 / 10))
    deviates = (estimates.mean(dim=0) - SLOPE) / (expected / count).sqrt()
    assert float(deviates.abs().max()) < limit
    # The spread of a sample variance, from the sample's own fourth moments.
    squares = (estimates - SLOPE) ** 2
    spread = squares.std(dim=0) / math.sqrt(count)
    assert float(((squares.mean(dim=0) - expected) / spread).abs().max()) < limit


def test_the_error_falls_as_the_root_of_q() -> None:
    def error(q: int) -> float:
        errors = [estimate(RGE(0.1, q), context).gradient - SLOPE for context in range(100)]
        return float(torch.stack(errors).square().sum(dim=1).mean())

    assert error(5) / error(500) == pytest.approx(100, rel=0.3)


def test_on_the_sphere_it_is_the_papers_formula() -> None:
    """DeepZero and ZO-AE-DS: d / (q mu) sum [f(x + mu u) - f(x)] u with u uniform on the unit sphere."""
    mu, q, x = 0.05, 7, torch.linspace(-1, 1, 5, dtype=F64)

    def loss(points: Tensor) -> Tensor:
        return (points**4).sum(dim=-1) + points[..., 0].exp()

    estimator = RGE(mu, q, "forward", "sphere")
    batch = estimator.queries(x, None, 3, 9, unbounded(5))
    result = estimator.gradient(batch, loss(batch.points()), torch.ones(q + 1).bool())
    u = directions(batch.seed[1:], "sphere", 5).double()
    expected = sum((loss(x + mu * row) - loss(x)) * row for row in u) * 5 / (q * mu)
    torch.testing.assert_close(result.gradient, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(q, dtype=F64), rtol=0, atol=1e-6)


@given(
    law=st.sampled_from(list(Law)),
    difference=st.sampled_from(["forward", "central"]),
    q=st.integers(1, 9),
    dim=st.integers(1, 40),
    some=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_average_of_directional_differences(
    law: Law, difference: Any, q: int, dim: int, some: bool, seed: int
) -> None:
    generator = torch_generator(seed)
    x = torch.randn(dim, generator=generator, dtype=F64)
    alive = torch.randperm(dim, generator=generator)[: max(1, dim // 2)].sort().values if some else None
    columns = torch.arange(dim) if alive is None else alive

    def loss(point: Tensor) -> Tensor:
        return (point.sin() * torch.arange(1, dim + 1)).sum()

    mu = 0.03
    estimator = RGE(mu, q, difference, law)
    batch = estimator.queries(x, alive, 2, seed, unbounded(dim))
    assert isinstance(batch, SeededBatch)
    assert len(batch) == (q + 1 if difference == "forward" else 2 * q)
    values = torch.stack([loss(point) for point in batch.points()])
    result = estimator.gradient(batch, values, torch.isfinite(values))
    seeds = batch.seed[1:] if difference == "forward" else batch.seed[::2]
    assert len(seeds.unique()) == q
    expected = torch.zeros(dim, dtype=F64)
    for row in directions(seeds, law, len(columns)).double():
        u = torch.zeros(dim, dtype=F64)
        u[columns] = row
        slope = (loss(x + mu * u) - loss(x)) / mu
        if difference == "central":
            slope = (loss(x + mu * u) - loss(x - mu * u)) / (2 * mu)
        expected += slope * u / (q * law.second_moment(len(columns)))
    torch.testing.assert_close(result.gradient, expected, rtol=1e-8, atol=1e-8 * dim**2)
    assert bool((result.gradient[[i for i in range(dim) if i not in columns]] == 0).all())


def test_directions_belong_to_the_seed_and_the_iteration() -> None:
    def seeds(context: int, seed: int) -> list[int]:
        return RGE(q=3).queries(torch.zeros(2, dtype=F64), None, context, seed, unbounded(2)).seed.tolist()

    assert seeds(0, 0) == seeds(0, 0)
    assert not set(seeds(0, 0)) & set(seeds(1, 0))
    assert not set(seeds(0, 0)) & set(seeds(0, 1))


def test_the_base_point_comes_first_so_that_a_budget_that_ends_leaves_differences() -> None:
    batch = RGE(0.5, q=3).queries(torch.ones(2, dtype=F64), None, 0, 0, unbounded(2))
    assert batch.scale.tolist() == [0.0, 0.5, 0.5, 0.5]
    assert batch.points()[0].tolist() == [1.0, 1.0]


@given(difference=st.sampled_from(["forward", "central"]), missing=st.sets(st.integers(0, 11)))
def test_the_average_is_over_the_differences_that_could_be_formed(difference: Any, missing: set[int]) -> None:
    estimator = RGE(0.1, q=6, difference=difference)
    batch = estimator.queries(torch.ones(5, dtype=F64), None, 0, 0, unbounded(5))
    missing = {i for i in missing if i < len(batch)}
    values = linear(batch.points())
    values[sorted(missing)] = float("nan")
    result = estimator.gradient(batch, values, torch.isfinite(values))
    if difference == "forward":
        kept = [] if 0 in missing else [i for i in range(1, 7) if i not in missing]
    else:
        kept = [i for i in range(0, 12, 2) if not {i, i + 1} & missing]
    assert result.missing == 6 - len(kept)
    rows = directions(batch.seed[kept], "normal", 5).double()
    expected = (rows @ SLOPE) @ rows / max(len(kept), 1)
    torch.testing.assert_close(result.gradient, expected, rtol=1e-9, atol=1e-9)


def test_the_loss_is_the_base_points_or_the_mean_of_the_pairs() -> None:
    base = float(linear(torch.ones(1, 5, dtype=F64)))
    assert estimate(RGE(0.1), 0).loss == base
    assert estimate(RGE(0.1, difference="central"), 0).loss == pytest.approx(base)  # exact, as the function is linear


@pytest.mark.parametrize("law", list(Law))
def test_the_margin_bounds_every_step(law: Law) -> None:
    estimator = RGE(PowerDecay(0.2, exponent=1.0), q=2000, law=law)
    for context in (0, 3):
        batch = estimator.queries(torch.zeros(5, dtype=F64), None, context, 0, unbounded(5))
        assert float(batch.points().abs().max()) <= estimator.margin(context) == estimator.reach(context)
        assert estimator.margin(context) == pytest.approx(0.2 / (context + 1) * law.bound)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 0.0}, "mu must be .* got 0.0"),
        ({"q": 0}, r"q must be an integer of at least 1, got 0 \(int\)"),
        ({"q": 1.0}, r"got 1.0 \(float\)"),
        ({"difference": "backward"}, "difference must be one of .* got 'backward'"),
        ({"law": "gauss"}, "law must be one of rademacher, normal, sphere, got 'gauss'"),
        ({"law": "spere"}, r"Did you mean 'sphere'\?"),
        ({"normalize": "tensor"}, "normalize must be one of 'none', 'global', 'per-tensor', got 'tensor'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        RGE(**settings)


# Directions of length 1 -----------------------------------------------------------------------------------------------

LAYOUT = ParameterLayout.of(torch.nn.ModuleList([torch.nn.Linear(3, 1, bias=False), torch.nn.Linear(1, 1)]))  # 3, 1, 1
SPARSE = torch.tensor([0, 2, 4])  # two of the first tensor, none of the second, the third


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("normalize", ["global", "per-tensor"])
@pytest.mark.parametrize("alive", [None, SPARSE])
def test_normalised_estimates_are_unbiased(law: Law, normalize: Any, alive: Tensor | None) -> None:
    estimator = RGE(0.1, 30, law=law, normalize=normalize, layout=LAYOUT)
    estimates = torch.stack([estimate(estimator, context, alive).gradient for context in range(200)])
    expected = SLOPE.clone()
    if alive is not None:
        expected = torch.zeros(5, dtype=F64).index_put((alive,), SLOPE[alive])
    spread = estimates.std(dim=0) / math.sqrt(200) + 1e-9
    assert float(((estimates.mean(dim=0) - expected) / spread).abs().max()) < 5.5


def test_global_is_the_sphere_to_the_bit() -> None:
    for alive in (None, SPARSE):
        batch = RGE(0.1, 4, normalize="global").queries(torch.ones(5), alive, 3, 1, unbounded(5))
        sphere = RGE(0.1, 4, law="sphere").queries(torch.ones(5), alive, 3, 1, unbounded(5))
        assert torch.equal(batch.points(), sphere.points())


@pytest.mark.parametrize(("alive", "offsets"), [(None, (0, 3, 4, 5)), (SPARSE, (0, 2, 3))])
def test_per_tensor_steps_have_length_mu_in_every_tensor(alive: Tensor | None, offsets: tuple[int, ...]) -> None:
    estimator = RGE(0.25, 6, normalize="per-tensor").prepared(Structure(LAYOUT), 5)
    batch = estimator.queries(torch.zeros(5), alive, 0, 0, unbounded(5))
    assert batch.law == Segmented("sphere", offsets)
    points = batch.points()[1:] if alive is None else batch.points()[1:, alive]
    for start, stop in pairwise(offsets):
        torch.testing.assert_close(points[:, start:stop].norm(dim=1), torch.full((6,), 0.25))


def test_normalised_steps_stay_within_the_margin() -> None:
    for law in Law:
        for normalize in ("global", "per-tensor"):
            estimator = RGE(0.2, 500, law=law, normalize=normalize, layout=LAYOUT)
            points = estimator.queries(torch.zeros(5, dtype=F64), None, 0, 0, unbounded(5)).points()
            assert float(points.abs().max()) <= estimator.margin(0) == pytest.approx(0.2, rel=1e-3)


def test_per_tensor_needs_to_know_the_tensors() -> None:
    estimator = RGE(normalize="per-tensor")
    with pytest.raises(InvalidSetting, match="normalize='per-tensor' needs an objective with an attribute `layout`"):
        estimator.prepared(Structure(), 5)
    with pytest.raises(InvalidSetting, match=r"solver.attach\(objective\)"):
        estimator.queries(torch.ones(5), None, 0, 0, unbounded(5))
    with pytest.raises(InvalidSetting, match="of 5 coordinates, but there are 6"):
        estimator.prepared(Structure(LAYOUT), 6)
    assert RGE().prepared(Structure(), 6) == RGE()
