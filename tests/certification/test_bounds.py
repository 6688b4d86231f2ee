"""Bounds and radii, against other formulas for the same thing."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zotoolkit.certification import bounds
from zotoolkit.errors import InvalidSetting, RadiusWarning

ALPHAS = st.sampled_from([0.001, 0.01, 0.05, 0.3, 0.9])


@given(n=st.integers(1, 3000), share=st.floats(0, 1), alpha=ALPHAS)
def test_the_lower_bound_is_where_the_binomial_tail_is_alpha(n: int, share: float, alpha: float) -> None:
    k = round(share * n)
    bound = float(bounds.lower_bound(k, n, alpha))
    if k == 0:
        assert bound == 0.0
    else:
        assert stats.binom.sf(k - 1, n, bound) == pytest.approx(alpha, rel=1e-7)
    assert bound <= k / n or alpha > 0.5


@given(n=st.integers(1, 500), alpha=ALPHAS)
def test_the_ends_are_exact(n: int, alpha: float) -> None:
    assert bounds.lower_bound([0, n], n, alpha).tolist() == [0.0, alpha ** (1 / n)]
    assert bounds.upper_bound([0, n], n, alpha).tolist() == [1 - alpha ** (1 / n), 1.0]


@given(n=st.integers(2, 500), alpha=ALPHAS)
def test_bounds_grow_with_the_count(n: int, alpha: float) -> None:
    assert (np.diff(bounds.lower_bound(np.arange(n + 1), n, alpha)) > 0).all()


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_interval_is_scipys(n: int, share: float) -> None:
    k = round(share * n)
    low, high = bounds.binomial_interval(k, n, 0.95)
    wanted = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert (float(low), float(high)) == pytest.approx((wanted.low, wanted.high), abs=1e-10)


def test_bounds_keep_the_shape() -> None:
    assert bounds.lower_bound(np.array([[1, 2], [3, 4]]), 10, 0.1).shape == (2, 2)
    assert bounds.lower_bound(3, 10, 0.1).shape == ()


@pytest.mark.parametrize(("n", "ceiling"), [(1_000, 2.463), (10_000, 3.199), (100_000, 3.811)])
@pytest.mark.parametrize("sigma", [1.0, 0.25])
def test_ceilings(n: int, ceiling: float, sigma: float) -> None:
    assert bounds.max_radius(n, 0.001, sigma) / sigma == pytest.approx(ceiling, abs=5e-4)


def test_three_quarters_at_a_quarter_needs_5114() -> None:
    assert bounds.n_required(0.75, sigma=0.25, alpha=0.001) == 5114
    assert bounds.max_radius(5113, 0.001, 0.25) < 0.75 <= bounds.max_radius(5114, 0.001, 0.25)


@given(radius=st.floats(0, 1.2), sigma=st.sampled_from([0.25, 0.5, 1.0]), alpha=st.sampled_from([0.001, 0.05, 0.6]))
def test_n_required_is_the_least(radius: float, sigma: float, alpha: float) -> None:
    n = bounds.n_required(radius, sigma, alpha)
    assert bounds.least_count(n, alpha) <= n
    assert bounds.max_radius(n, alpha, sigma) >= radius
    if n > 1:
        assert bounds.least_count(n - 1, alpha) > n - 1 or bounds.max_radius(n - 1, alpha, sigma) < radius


@given(n=st.integers(1, 1500), alpha=ALPHAS)
def test_the_least_count_by_the_binomial(n: int, alpha: float) -> None:
    # p_A >= 1/2 means that k or more of n fair coins come up heads with probability at most alpha.
    tails = stats.binom.sf(np.arange(-1, n), n, 0.5)
    wanted = next((k for k in range(1, n + 1) if tails[k] <= alpha), n + 1)
    near = abs(tails[min(wanted, n)] - alpha) < 1e-12
    assert bounds.least_count(n, alpha) == wanted or near


def test_radii_follow_the_normal_quantile() -> None:
    p = np.array([0.3, 0.49999, 0.5, 0.7, 0.999])
    assert bounds.radius_of(p, 0.5) == pytest.approx([0, 0, 0, *(0.5 * stats.norm.ppf(p[3:]))], rel=1e-14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bounds.lower_bound(3, 2, 0.1), r"counts must be integers in \[0, 2\]"),
        (lambda: bounds.lower_bound(-1, 2, 0.1), r"counts must be integers in \[0, 2\]"),
        (lambda: bounds.lower_bound(0.5, 2, 0.1), r"counts must be integers in \[0, 2\]"),
        (lambda: bounds.lower_bound(0, 0, 0.1), "n must be an integer of at least 1, got 0"),
        (lambda: bounds.lower_bound(1, 2, 0.0), r"alpha must be a number in \(0, 1\), got 0.0"),
        (lambda: bounds.max_radius(10, 1.0), r"alpha must be a number in \(0, 1\), got 1.0"),
        (lambda: bounds.max_radius(10, sigma=0.0), "sigma must be a finite number above 0"),
        (lambda: bounds.n_required(-1.0, 0.5), "radius must be a finite number of at least 0"),
        (lambda: bounds.n_required(100.0, 0.5), "needs more than 10"),
        (lambda: bounds.binomial_interval(1, 2, 95), r"confidence must be a number in \(0, 1\), got 95"),
    ],
)
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        call()


def test_a_radius_out_of_reach_is_warned_of() -> None:
    with pytest.warns(RadiusWarning, match=r"radius 0.75 with n=1,000.* it takes n=5,114 or more"):
        bounds.warn_of_radii([0.5, 0.75], 1000, 0.001, 0.25)
    with pytest.warns(RadiusWarning, match=r"certified at all with n=5.* it takes n=10 or more"):
        bounds.warn_of_radii([], 5, 0.001, 0.25)
    with pytest.warns(RadiusWarning, match="a larger sigma"):
        bounds.warn_of_radii([50.0], 1000, 0.001, 0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bounds.warn_of_radii([0.0, 0.61], 1000, 0.001, 0.25)


def test_huge_n_is_precise() -> None:
    assert bounds.max_radius(10**9, 0.001) == pytest.approx(
        stats.norm.isf(-math.expm1(math.log(0.001) / 1e9)), rel=1e-8
    )
