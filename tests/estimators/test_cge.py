"""CGE against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zotoolkit import CGE, CoordinateBatch, PowerDecay
from zotoolkit.errors import InvalidSetting
from zotoolkit.seeding import torch_generator
from zotoolkit.spaces import Bounds

F64 = torch.float64


def unbounded(dim: int, dtype: torch.dtype = F64) -> Bounds:
    infinite = torch.full((dim,), torch.inf, dtype=dtype)
    return Bounds(-infinite, infinite)


def quadratic(dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A symmetric `(d, d)` matrix and a `(d,)` vector: f(x) = x'Ax/2 + b'x has gradient Ax + b and Hessian A."""
    generator = torch_generator(seed)
    a = torch.randn(dim, dim, generator=generator, dtype=F64)
    return a + a.T, torch.randn(dim, generator=generator, dtype=F64)


def evaluate(a: Tensor, b: Tensor, points: Tensor) -> Tensor:
    return ((points @ a) * points).sum(dim=1) / 2 + points @ b


def estimate(estimator: CGE, a: Tensor, b: Tensor, x: Tensor, alive: Tensor | None = None) -> Any:
    batch = estimator.queries(x, alive, 0, 0, unbounded(len(x)))
    values = evaluate(a, b, batch.points())
    return estimator.gradient(batch, values, torch.isfinite(values))


@given(dim=st.integers(1, 30), mu=st.floats(1e-4, 10.0), seed=st.integers(0, 100))
def test_central_differences_of_a_quadratic_are_exact(dim: int, mu: float, seed: int) -> None:
    a, b = quadratic(dim, seed)
    x = torch.randn(dim, generator=torch_generator(seed, 1), dtype=F64)
    result = estimate(CGE(mu, "central"), a, b, x)
    # Only rounding is left: of the losses and of x + mu, over the width of the difference.
    size = float(a.abs().sum() * (x.abs().max() + mu) ** 2 + b.abs().sum() * (x.abs().max() + mu))
    torch.testing.assert_close(result.gradient, a @ x + b, rtol=0, atol=8 * torch.finfo(F64).eps * size / mu)
    assert result.missing == 0
    assert result.loss == pytest.approx(
        float(evaluate(a, b, x[None])) + mu**2 * float(a.diagonal().mean()) / 2, rel=1e-6
    )


@given(dim=st.integers(1, 30), mu=st.floats(1e-3, 10.0))
def test_forward_differences_of_a_quadratic_err_by_half_mu_times_the_curvature(dim: int, mu: float) -> None:
    a, b = quadratic(dim)
    x = torch.linspace(-1, 1, dim, dtype=F64)
    result = estimate(CGE(mu), a, b, x)
    torch.testing.assert_close(result.gradient, a @ x + b + mu * a.diagonal() / 2, rtol=1e-7, atol=1e-7)
    assert result.loss == pytest.approx(float(evaluate(a, b, x[None])[0]), abs=1e-12 * dim**2)


def test_forward_queries_are_the_base_point_and_one_a_coordinate() -> None:
    x = torch.arange(4, dtype=F64)
    batch = CGE(0.5).queries(x, torch.tensor([1, 3]), 6, 0, unbounded(4))
    assert isinstance(batch, CoordinateBatch)
    assert batch.points().tolist() == [[0, 1, 2, 3], [0, 1.5, 2, 3], [0, 1, 2, 3.5]]
    assert batch.scale.tolist() == [0.0, 0.5, 0.5]
    assert batch.context == 6


def test_central_queries_alternate_plus_and_minus() -> None:
    batch = CGE(0.5, "central").queries(torch.zeros(2, dtype=F64), None, 0, 0, unbounded(2))
    assert batch.points().tolist() == [[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]]


def test_only_live_coordinates_are_estimated() -> None:
    a, b = quadratic(6)
    x = torch.ones(6, dtype=F64)
    alive = torch.tensor([0, 4])
    for difference in ("forward", "central"):
        whole = estimate(CGE(1e-3, difference), a, b, x).gradient
        part = estimate(CGE(1e-3, difference), a, b, x, alive).gradient
        assert torch.equal(part[alive], whole[alive])
        assert part[[1, 2, 3, 5]].tolist() == [0.0] * 4


def test_subsets_are_drawn_anew_without_replacement_from_the_live_coordinates() -> None:
    alive = torch.arange(0, 40, 2)
    estimator = CGE(1e-3, subset=5)

    def drawn(context: int, seed: int) -> list[int]:
        return estimator.queries(torch.zeros(40, dtype=F64), alive, context, seed, unbounded(40)).index[1:].tolist()

    assert drawn(3, 1) == drawn(3, 1)
    assert drawn(3, 1) != drawn(4, 1) != drawn(4, 2)
    counts = torch.zeros(40)
    for context in range(400):
        subset = drawn(context, 0)
        assert len(set(subset)) == 5
        assert set(subset) <= set(alive.tolist())
        counts[subset] += 1
    # Each of the 20 live ones is drawn 100 times on average, with deviation sqrt(400 * 1/4 * 3/4) = 8.7.
    assert float((counts[alive] - 100).abs().max()) < 5 * 8.7


def test_a_subset_of_more_than_all_is_all() -> None:
    batch = CGE(1e-3, subset=9).queries(torch.zeros(3, dtype=F64), None, 0, 0, unbounded(3))
    assert batch.index[1:].tolist() == [0, 1, 2]


@given(missing=st.sets(st.integers(0, 10)))
def test_forward_differences_that_are_missing_give_0_and_are_counted(missing: set[int]) -> None:
    a, b = quadratic(10)
    x = torch.ones(10, dtype=F64)
    estimator = CGE(1e-3)
    batch = estimator.queries(x, None, 0, 0, unbounded(10))
    values = evaluate(a, b, batch.points())
    whole = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    values[sorted(missing)] = float("nan")
    result = estimator.gradient(batch, values, torch.isfinite(values))
    lost = set(range(1, 11)) if 0 in missing else missing
    assert result.missing == len(lost)
    expected = [0.0 if i + 1 in lost else whole[i].item() for i in range(10)]
    assert result.gradient.tolist() == expected
    assert (result.loss == result.loss) == (0 not in missing)


@given(missing=st.sets(st.integers(0, 19)))
def test_central_differences_that_are_missing_give_0_and_are_counted(missing: set[int]) -> None:
    a, b = quadratic(10)
    x = torch.ones(10, dtype=F64)
    estimator = CGE(1e-3, "central")
    batch = estimator.queries(x, None, 0, 0, unbounded(10))
    values = evaluate(a, b, batch.points())
    whole = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    values[sorted(missing)] = float("inf")
    result = estimator.gradient(batch, values, torch.isfinite(values))
    lost = {i // 2 for i in missing}
    assert result.missing == len(lost)
    assert result.gradient.tolist() == [0.0 if i in lost else whole[i].item() for i in range(10)]
    assert (result.loss == result.loss) == (len(lost) < 10)


def test_a_forward_step_that_would_leave_the_box_goes_backward() -> None:
    x = torch.tensor([0.0, 1.0, 0.95], dtype=F64)
    bounds = Bounds(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64))
    estimator = CGE(0.1)
    batch = estimator.queries(x, None, 0, 0, bounds)
    assert batch.scale.tolist() == [0.0, 0.1, -0.1, -0.1]
    values = (batch.points() * torch.tensor([1.0, 2.0, 3.0], dtype=F64)).sum(dim=1)
    gradient = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    torch.testing.assert_close(gradient, torch.tensor([1.0, 2.0, 3.0], dtype=F64))


def test_a_step_that_fits_on_neither_side() -> None:
    bounds = Bounds(torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    with pytest.raises(InvalidSetting, match=r"mu=0.6 is wider than the box"):
        CGE(0.6).queries(torch.tensor([0.5], dtype=F64), None, 0, 0, bounds)


def test_differences_are_taken_in_the_values_precision() -> None:
    """float64 losses of float32 points: a difference of 1e-9 is not lost."""
    estimator = CGE(1.0)
    batch = estimator.queries(torch.zeros(2), None, 0, 0, unbounded(2, torch.float32))
    result = estimator.gradient(batch, torch.tensor([1.0, 1.0 + 1e-9, 1.0 - 1e-9], dtype=F64), torch.ones(3).bool())
    assert result.gradient.dtype == torch.float32
    torch.testing.assert_close(result.gradient, torch.tensor([1e-9, -1e-9]), rtol=1e-6, atol=0)


def test_margins_and_reach() -> None:
    assert (CGE(0.1).margin(0), CGE(0.1).reach(0)) == (0.0, 0.1)
    assert (CGE(0.1, "central").margin(0), CGE(0.1, "central").reach(0)) == (0.1, 0.1)
    falling = CGE(PowerDecay(0.1, exponent=1.0), "central")
    assert [falling.margin(k) for k in (0, 1, 3)] == [0.1, 0.05, 0.025]
    assert falling.queries(torch.zeros(1, dtype=F64), None, 3, 0, unbounded(1)).scale.tolist() == [0.025, -0.025]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 0}, r"mu must be a finite number above 0, a PowerDecay or a FittingMu, got 0 \(int\)"),
        ({"mu": -1e-3}, r"got -0.001 \(float\)"),
        ({"mu": float("nan")}, "got nan"),
        ({"mu": float("inf")}, "got inf"),
        ({"mu": "small"}, r"got 'small' \(str\)"),
        ({"mu": True}, r"got True \(bool\)"),
        ({"difference": "centre"}, r"one of 'forward', 'central', got 'centre' \(str\)\. Did you mean 'central'\?"),
        ({"subset": 0}, "subset must be an integer of at least 1, got 0"),
        ({"subset": 2.5}, r"got 2.5 \(float\)"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        CGE(**settings)
