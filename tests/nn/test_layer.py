"""The black-box layer against closed forms, against autograd and against a plain loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from zotoolkit import CGE, RGE, Law, PartialFailure, PowerDecay
from zotoolkit.errors import (
    BudgetSpent,
    InputMutated,
    InvalidBatch,
    InvalidSetting,
    InvalidValues,
    NoSecondDerivative,
    QueryFailed,
)
from zotoolkit.nn import BlackBoxFunction
from zotoolkit.nn.directions import sampled
from zotoolkit.seeding import torch_generator

F64 = torch.float64
SLOPE = torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0], dtype=F64)


def linear(points: Tensor) -> Tensor:
    return points @ SLOPE


def curved(points: Tensor) -> Tensor:
    """`(m, ...)` points, two outputs a row."""
    flat = points.flatten(1)
    weights = torch.arange(1, flat.shape[1] + 1, dtype=flat.dtype)
    return torch.stack(((flat.sin() * weights).sum(1), (flat**2).sum(1)), 1)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(seed), dtype=F64).to(dtype)


def gradient(layer: BlackBoxFunction, z: Tensor, *extras: Tensor, weights: Tensor | None = None) -> Tensor:
    leaf = z.clone().requires_grad_()
    out = layer(leaf, *extras)
    (out if weights is None else out * weights).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


# Closed forms -----------------------------------------------------------------------------------------------------


@given(samples=st.integers(1, 5), dim=st.integers(1, 12), mu=st.floats(1e-3, 3.0), seed=st.integers(0, 99))
def test_central_differences_of_quadratics_are_exact_for_each_sample(
    samples: int, dim: int, mu: float, seed: int
) -> None:
    matrices = noise(samples, dim, dim, seed=seed)
    z = noise(samples, dim, seed=seed + 1)

    def loss(points: Tensor, matrix: Tensor) -> Tensor:
        return torch.einsum("mi,mij,mj->m", points, matrix, points)

    found = gradient(BlackBoxFunction(loss, CGE(mu, "central")), z, matrices)
    exact = torch.einsum("mij,mj->mi", matrices + matrices.mT, z)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-10 / mu * (1 + mu) ** 2 * dim**2)


def test_forward_differences_of_a_quadratic_err_by_mu_times_half_the_curvature() -> None:
    z = noise(3, 4)
    found = gradient(BlackBoxFunction(lambda p: (p**2 * torch.arange(1, 5)).sum(1), CGE(0.1)), z)
    torch.testing.assert_close(found, 2 * z * torch.arange(1, 5) + 0.1 * torch.arange(1, 5))


def variance(law: Law) -> Tensor:
    """`(d,)` variances of one direction's estimate of a linear function; derived in tests/estimators/test_rge.py."""
    square, dim = SLOPE @ SLOPE, len(SLOPE)
    if law is Law.RADEMACHER:
        return square - SLOPE**2
    if law is Law.NORMAL:
        return square + SLOPE**2
    return (square + 2 * SLOPE**2) * dim / (dim + 2) - SLOPE**2


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("difference", ["forward", "central"])
def test_estimates_are_unbiased_with_the_known_variance_over_samples(law: Law, difference: Any) -> None:
    """2,000 samples of one call, each with directions of its own; a false alarm once in a million."""
    count, q = 2000, 3
    estimates = gradient(BlackBoxFunction(linear, RGE(0.1, q, difference, law)), torch.ones(count, 5, dtype=F64))
    expected = variance(law) / q
    limit = float(stats.norm.isf(1e-6 / 10))
    assert float(((estimates.mean(0) - SLOPE) / (expected / count).sqrt()).abs().max()) < limit
    squares = (estimates - SLOPE) ** 2
    spread = squares.std(0) / math.sqrt(count)
    assert float(((squares.mean(0) - expected) / spread).abs().max()) < limit


def test_directions_are_unbiased_over_contexts_too() -> None:
    layer = BlackBoxFunction(linear, RGE(0.1, 2))
    found = torch.stack([gradient(layer, torch.ones(1, 5, dtype=F64))[0] for _ in range(600)])
    deviates = (found.mean(0) - SLOPE) / (variance(Law.NORMAL) / 2 / 600).sqrt()
    assert layer.context == 600
    assert float(deviates.abs().max()) < float(stats.norm.isf(1e-6 / 10))


def test_on_the_sphere_it_is_the_papers_formula() -> None:
    """d / (q mu) sum_i [f(z + mu u_i) - f(z)] u_i, for each sample."""
    mu, q, z = 0.05, 4, noise(3, 2, 2)
    plan = sampled(RGE(mu, q, law="sphere"), 3, 4, seed=5, context=2)
    u = (plan.steps(slice(0, 12), F64) / mu).view(3, q, 2, 2)
    torch.testing.assert_close(u.flatten(2).norm(dim=2), torch.ones(3, q, dtype=F64), rtol=0, atol=1e-6)
    expected = torch.zeros_like(z)
    for b in range(3):
        for i in range(q):
            difference = curved((z[b] + mu * u[b, i])[None]) - curved(z[b][None])
            expected[b] += 4 / (q * mu) * difference.sum() * u[b, i]
    layer = BlackBoxFunction(curved, RGE(mu, q, law="sphere"), seed=5)
    layer.context = 2
    torch.testing.assert_close(gradient(layer, z), expected, rtol=1e-9, atol=1e-9)


# A plain loop -----------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    random=st.booleans(),
    law=st.sampled_from(list(Law)),
    normalize=st.sampled_from(["none", "global"]),
    difference=st.sampled_from(["forward", "central"]),
    value=st.sampled_from(["base", "pairs"]),
    count=st.integers(1, 4),
    samples=st.integers(1, 4),
    shape=st.sampled_from([(), (1,), (3,), (2, 2)]),
    failing=st.sampled_from([0.0, 0.3, 1.0]),
    max_batch=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_it_is_what_a_plain_loop_computes(
    random: bool,
    law: Law,
    normalize: Any,
    difference: Any,
    value: Any,
    count: int,
    samples: int,
    shape: tuple[int, ...],
    failing: float,
    max_batch: int,
    seed: int,
) -> None:
    central = difference == "central"
    at_once = central and value == "pairs"
    mu, z, dim = 0.3, noise(samples, *shape, seed=seed), math.prod(shape)
    estimator = RGE(mu, count, difference, law, normalize) if random else CGE(mu, difference, subset=count)
    plan = sampled(estimator, samples, dim, seed=seed, context=0)
    steps = plan.steps(slice(0, samples * plan.count), F64).view(samples, plan.count, *shape)
    answered = 0

    def fails(point: Tensor) -> bool:
        return float(point.sum() * 1e3) % 1 < failing

    def truth(point: Tensor) -> Tensor:
        return curved(point.reshape(1, -1))[0]

    def function(points: Tensor, sample: Tensor) -> Tensor:
        nonlocal answered
        assert len(points) == len(sample) <= max_batch
        answered += sum(not fails(point) for point in points)
        return torch.stack([truth(point) if not fails(point) else torch.tensor([1.0, torch.inf]) for point in points])

    weights = noise(samples, 2, seed=seed + 1)
    expected, blind, dropped = torch.zeros(samples, *shape, dtype=F64), [], 0
    for b in range(samples):
        total, formed = torch.zeros(shape, dtype=F64), 0
        for step in steps[b]:
            up, down = z[b] + step, z[b] - step if central else z[b]
            if fails(up) or fails(down):
                continue
            formed += 1
            slope = (truth(up) - truth(down)) @ weights[b] / (2 * mu if central else mu)
            total += slope * step / mu
        dropped += plan.count - formed
        if not formed:
            blind.append(b)
        elif random:
            moment = (1 / dim) if law is Law.SPHERE or normalize == "global" else 1.0
            total = total / (formed * moment)
        expected[b] = total
    layer = BlackBoxFunction(function, estimator, seed=seed, max_batch=max_batch, value=value if central else "base")
    leaf = z.clone().requires_grad_()
    (layer(leaf, torch.arange(samples)) * weights).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-6, atol=1e-6)
    assert layer.last is not None
    assert (layer.last.blind, layer.last.dropped) == (tuple(blind), dropped)
    sent = samples * (plan.queries_per_sample + (not at_once))
    assert layer.queries.sent == sent == samples * layer.queries_per_sample(*shape)
    assert layer.queries.answered == answered


# Against autograd -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["base", "pairs"])
def test_through_networks_below_and_above_it_is_autograds_gradient(value: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        below = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        hidden = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)).double()
        above = nn.Linear(3, 2).double()
    x, target = noise(7, 6), torch.tensor([0, 1, 1, 0, 1, 0, 0])

    def slopes(middle: Callable[[Tensor], Tensor]) -> list[Tensor]:
        loss = functional.cross_entropy(above(middle(below(x))), target)
        return list(torch.autograd.grad(loss, [*below.parameters(), *above.parameters()]))

    exact = slopes(hidden)
    found = slopes(BlackBoxFunction(hidden, CGE(1e-5, "central"), value=value))
    flat, mine = (torch.cat([part.flatten() for part in parts]) for parts in (exact, found))
    assert float(functional.cosine_similarity(flat, mine, dim=0)) > 1 - 1e-9
    torch.testing.assert_close(mine, flat, rtol=1e-6, atol=1e-8)
    assert all(p.grad is None for p in hidden.parameters())


def test_networks_in_float32() -> None:
    z = noise(5, 4, dtype=torch.float32)
    found = gradient(BlackBoxFunction(lambda p: p.sin().sum(1), CGE(5e-3, "central")), z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, z.cos(), rtol=1e-2, atol=1e-3)


def test_a_function_that_answers_in_float64_keeps_its_digits() -> None:
    z = noise(2, 3, dtype=torch.float32)
    layer = BlackBoxFunction(lambda p: 1e6 + p.double().sum(1), CGE(1e-2, "central"))
    assert layer(z.requires_grad_()).dtype == F64
    torch.testing.assert_close(gradient(layer, z.detach()), torch.ones(2, 3), rtol=1e-4, atol=0)


# Seeds, contexts and chunks ---------------------------------------------------------------------------------------

ESTIMATORS = [RGE(0.1, 5), RGE(0.1, 5, "central", "sphere"), RGE(0.1, 3, law="rademacher"), CGE(0.1, subset=2)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_depend_on_seed_and_context_and_not_on_chunks(estimator: RGE | CGE) -> None:
    z = noise(6, 2, 3)

    def estimate(max_batch: int = 1024, seed: int = 0, context: int = 4) -> Tensor:
        layer = BlackBoxFunction(lambda p: p.exp().sum((1, 2)), estimator, seed=seed, max_batch=max_batch)
        layer.context = context
        return gradient(layer, z)

    first = estimate()
    for max_batch in (1, 2, 3, 7, 100):
        assert torch.equal(estimate(max_batch), first)
    assert not torch.allclose(estimate(seed=1), first)
    assert not torch.allclose(estimate(context=5), first)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_samples_have_directions_of_their_own_that_others_do_not_change(estimator: RGE | CGE) -> None:
    many = sampled(estimator, 50, 400, seed=3, context=1)
    steps = many.steps(slice(0, 50 * many.count), F64).view(50, many.count, 400)
    assert len(steps.flatten(1).unique(dim=0)) == 50
    few = sampled(estimator, 2, 400, seed=3, context=1)
    assert torch.equal(few.steps(slice(0, 2 * few.count), F64).view(2, few.count, 400), steps[:2])
    assert torch.equal(many.steps(slice(7, 9), F64), steps.flatten(0, 1)[7:9])


def test_more_directions_begin_with_the_same_ones() -> None:
    few, many = (sampled(RGE(1.0, q), 3, 8, seed=0, context=0) for q in (2, 5))
    assert torch.equal(few.steps(slice(0, 6), F64).view(3, 2, 8), many.steps(slice(0, 15), F64).view(3, 5, 8)[:, :2])


def test_long_directions_are_combined_one_sample_at_a_time() -> None:
    dim, q = 300_000, 8  # more than a block of directions
    slope = noise(dim, dtype=torch.float32)
    found = gradient(BlackBoxFunction(lambda p: p @ slope, RGE(0.1, q)), torch.zeros(2, dim))
    plan = sampled(RGE(0.1, q), 2, dim, seed=0, context=0)
    u = plan.steps(slice(0, q), F64) / 0.1
    expected = ((u @ slope.double())[:, None] * u).mean(0)
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-3, atol=1e-1)


def test_subsets_cover_all_coordinates_alike() -> None:
    plan = sampled(CGE(1.0, subset=3), 400, 12, seed=0, context=0)
    counts = plan.steps(slice(0, 1200), F64).sum(0)
    # Each of 12 coordinates is drawn 100 times on average, with deviation sqrt(400 * 1/4 * 3/4) = 8.7.
    assert float((counts - 100).abs().max()) < 5 * 8.7
    assert plan.count == 3
    assert sampled(CGE(1.0, subset=30), 1, 12, seed=0, context=0).count == 12


def test_a_context_as_argument_leaves_the_count_alone() -> None:
    layer = BlackBoxFunction(linear, RGE(0.1, 2))
    z = noise(3, 5).requires_grad_()

    def at(context: int | None) -> Tensor:
        (found,) = torch.autograd.grad(layer(z, context=context).sum(), z)
        return found

    first, second = at(None), at(None)
    assert layer.context == 2
    assert torch.equal(at(0), first)
    assert torch.equal(at(1), second)
    assert layer.context == 2
    assert layer.last is not None
    assert layer.last.context == 1


def test_a_falling_mu_counts_in_contexts() -> None:
    layer = BlackBoxFunction(lambda p: (p**2).sum(1), CGE(PowerDecay(1.0, 1.0)))
    z = torch.zeros(1, 2, dtype=F64)
    assert [round(float(gradient(layer, z)[0, 0]), 9) for _ in range(4)] == [1.0, 0.5, round(1 / 3, 9), 0.25]


def test_a_state_dict_carries_context_and_counts() -> None:
    def made() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), BlackBoxFunction(linear, RGE(0.1, 2), budget=50))

    one, other = made(), made()
    z = noise(3, 5)
    first = one[1]
    assert isinstance(first, BlackBoxFunction)
    gradient(first, z)
    state = one.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    other.load_state_dict(state)
    second = other[1]
    assert isinstance(second, BlackBoxFunction)
    assert (second.context, second.queries) == (1, first.queries)
    assert torch.equal(gradient(first, z), gradient(second, z))


# Queries ----------------------------------------------------------------------------------------------------------


def test_differences_are_asked_only_when_a_gradient_is() -> None:
    layer = BlackBoxFunction(linear, RGE(0.1, 4, "central"))
    z = noise(3, 5).requires_grad_()
    out = layer(z)
    assert layer.queries == (3, 3)
    torch.testing.assert_close(out, linear(z))
    out.sum().backward()
    assert layer.queries == (3 + 3 * 8, 3 + 3 * 8)
    with torch.no_grad():
        assert not layer(z).requires_grad
    assert not layer(z.detach()).requires_grad
    assert layer.queries.sent == 27 + 6
    assert layer.context == 1


def test_pairs_are_asked_at_once_and_nothing_twice() -> None:
    layer = BlackBoxFunction(lambda p: (p**2).sum(1), RGE(0.5, 4, "central"), value="pairs")
    z = noise(3, 5).requires_grad_()
    out = layer(z)
    assert layer.queries.sent == 24
    steps = sampled(layer.estimator, 3, 5, seed=0, context=0).steps(slice(0, 12), F64).view(3, 4, 5)
    torch.testing.assert_close(out, ((z[:, None] + steps) ** 2 + (z[:, None] - steps) ** 2).sum(2).mean(1) / 2)
    out.sum().backward()
    assert layer.queries.sent == 24
    pairs = z.grad
    plain = BlackBoxFunction(lambda p: (p**2).sum(1), RGE(0.5, 4, "central"))
    torch.testing.assert_close(pairs, gradient(plain, z.detach()))
    with torch.no_grad():
        torch.testing.assert_close(layer(z), (z**2).sum(1))
    layer.eval()
    torch.testing.assert_close(layer(z), (z**2).sum(1))
    assert layer.queries.sent == 30


def test_a_layer_that_evaluates_can_still_be_differentiated() -> None:
    layer = BlackBoxFunction(linear, CGE(0.1, "central"), value="pairs").eval()
    torch.testing.assert_close(gradient(layer, noise(2, 5)), SLOPE.expand(2, 5))
    assert layer.queries.sent == 22 == 2 * layer.queries_per_sample(5)


def test_a_budget_stops_before_anything_is_sent_beyond_it() -> None:
    asked = 0

    def function(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return linear(points)

    layer = BlackBoxFunction(function, CGE(0.1), budget=25, max_batch=2)
    z = noise(3, 5)
    gradient(layer, z)  # 3 + 15
    with pytest.raises(BudgetSpent, match=r"18 more queries of function were wanted, but 7 of the budget of 25 are"):
        gradient(layer, z)
    assert asked == 18
    layer(z)  # no gradient: 3
    gradient(BlackBoxFunction(function, CGE(0.1), budget=18), z)  # to the last one
    with pytest.raises(BudgetSpent):
        layer(noise(5, 5))
    assert layer.queries.sent == 21


def test_two_forwards_before_a_backward_do_not_overspend() -> None:
    layer = BlackBoxFunction(linear, CGE(0.1), budget=20)
    z = noise(2, 5).requires_grad_()
    one, two = layer(z), layer(z)
    one.sum().backward()
    with pytest.raises(BudgetSpent):
        two.sum().backward()
    assert layer.queries.sent == 14


# Failures ---------------------------------------------------------------------------------------------------------


def test_a_partial_failure_names_its_rows() -> None:
    def function(points: Tensor) -> Tensor:
        raise PartialFailure(linear(points), {1: "no answer"})

    z = noise(3, 5)
    dropping = BlackBoxFunction(function, CGE(0.1))
    out = dropping(z)
    assert torch.isnan(out).tolist() == [False, True, False]
    assert dropping.queries == (3, 2)
    raising = BlackBoxFunction(function, CGE(0.1), on_failure="raise")
    with pytest.raises(QueryFailed, match="1 of 3 queries of function failed, the first because: no answer"):
        raising(z)
    assert raising.queries == (3, 2)


def test_a_failed_value_leaves_other_samples_alone() -> None:
    def function(points: Tensor, label: Tensor) -> Tensor:
        return torch.where(label == 1, torch.nan, linear(points))

    layer = BlackBoxFunction(function, CGE(0.1, "central"))
    z = noise(3, 5).requires_grad_()
    out = layer(z, torch.tensor([0, 1, 0]))
    out.exp().nanmean().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert z.grad[1].abs().max() == 0 < z.grad[0].abs().max()
    assert layer.last is not None
    assert (layer.last.blind, layer.last.dropped) == ((1,), 5)


def test_a_value_alone_that_failed_gives_no_nan_below() -> None:
    calls = 0

    def function(points: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        values = linear(points)
        if calls == 1:
            values[0] = torch.nan
        return values

    layer = BlackBoxFunction(function, CGE(0.1, "central"))
    found = gradient(layer, noise(2, 5))  # the sum hands on finite gradients, the differences are all there
    torch.testing.assert_close(found, SLOPE.expand(2, 5))
    calls = 0
    z = noise(2, 5).requires_grad_()
    (layer(z) ** 2).sum().backward()  # 2 * NaN comes back for the first
    assert z.grad is not None
    assert z.grad[0].tolist() == [0.0] * 5
    assert torch.isfinite(z.grad).all()
    assert layer.last is not None
    assert layer.last.blind == (0,)


def test_a_gradient_that_comes_back_as_nan_is_passed_on() -> None:
    layer = BlackBoxFunction(linear, RGE(0.1, 3))
    z = noise(2, 5).requires_grad_()
    layer(z).backward(torch.tensor([torch.nan, 1.0], dtype=F64))
    assert z.grad is not None
    assert torch.isnan(z.grad[0]).all()
    assert torch.isfinite(z.grad[1]).all()


def test_zero_differences_are_counted() -> None:
    layer = BlackBoxFunction(lambda p: p[:, 0], CGE(0.1))
    gradient(layer, noise(2, 4))
    assert layer.last is not None
    assert (layer.last.zero_share, layer.last.differences, layer.last.dropped) == (0.75, 8, 0)


def test_what_the_function_raises_comes_through() -> None:
    def broken(points: Tensor) -> Tensor:
        raise ConnectionError("no route")

    layer = BlackBoxFunction(broken)
    with pytest.raises(ConnectionError, match="no route"):
        layer(noise(1, 2).requires_grad_())
    assert (layer.context, layer.queries) == (0, (1, 0))


# What is refused --------------------------------------------------------------------------------------------------


def test_a_second_derivative_is_refused() -> None:
    layer = BlackBoxFunction(linear, CGE(0.1))
    z = noise(2, 5).requires_grad_()
    (first,) = torch.autograd.grad((layer(z) ** 2).sum(), z, create_graph=True)
    torch.testing.assert_close(first.detach(), (2 * linear(z))[:, None].detach() * SLOPE)
    with pytest.raises(NoSecondDerivative, match="a second derivative was asked of a BlackBoxFunction"):
        first.sum().backward()


def test_inputs_written_into_between_forward_and_backward_are_noticed() -> None:
    layer, labels = BlackBoxFunction(lambda p, y: p[:, 0] * y, CGE(0.1)), torch.ones(2)
    out = layer(noise(2, 5).requires_grad_(), labels)
    labels.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize(
    ("z", "extras", "words"),
    [
        (3.0, (), r"z must be a \(B, \.\.\.\) tensor of float32 or float64, got 3.0"),
        (torch.tensor(1.0), (), r"z must be a \(B, \.\.\.\) tensor"),
        (torch.ones(2, 3).half(), (), r"half precision cannot hold a small step, use z.float\(\)"),
        (torch.ones(2, 3).long(), (), "float32 or float64"),
        (torch.ones(0, 3), (), "at least one sample of one number"),
        (torch.ones(2, 0), (), "at least one sample of one number"),
        (torch.tensor([[1.0], [torch.inf], [torch.nan]]), (), "2 of its 3 samples are not, the first is row 1"),
        (torch.ones(2, 3), (torch.ones(3),), r"extra 0 must be a tensor with 2 rows, got a tensor of shape \(3,\)"),
        (torch.ones(2, 3), (torch.ones(2), 1), "extra 1 must be a tensor with 2 rows, got 1"),
        (torch.ones(2, 3), (torch.ones(2, device="meta"),), "extra 0 must be on cpu, got one on meta"),
        (torch.ones(2, 3), (torch.ones(2, requires_grad=True),), r"extra 0 requires a gradient.*extra.detach\(\)"),
    ],
)
def test_bad_inputs_are_said_before_anything_is_asked(z: Any, extras: Any, words: str) -> None:
    layer = BlackBoxFunction(lambda p, *_: p.sum(1))
    with pytest.raises(InvalidBatch, match=words):
        layer(z, *extras)
    assert layer.queries.sent == 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p: float(p.sum()), "must return a tensor with 2 rows"),
        (lambda p: p.sum(), r"must return one row a point, shape \(2,\) or \(2, \.\.\.\), got a tensor of shape \(\)"),
        (lambda p: p[:1, 0], r"must return one row a point, shape \(2,\)"),
        (lambda p: p.argmax(1), "must return floating point, got a tensor of shape"),
    ],
)
def test_bad_answers_are_said(function: Any, words: str) -> None:
    with pytest.raises(InvalidValues, match=words):
        BlackBoxFunction(function)(noise(2, 3))


def test_rows_whose_shape_changes_are_said() -> None:
    layer = BlackBoxFunction(lambda p: p[:, : len(p)], CGE(0.1))
    with pytest.raises(InvalidValues, match=r"must return rows of shape \(2,\) here, got \(3,\)"):
        gradient(layer, noise(2, 3))


def test_a_stranger_among_the_failures_is_said() -> None:
    def function(points: Tensor) -> Tensor:
        raise PartialFailure(linear(points), {7: "?"})

    with pytest.raises(InvalidValues, match=r"PartialFailure\.errors names row 7 of 2 rows"):
        BlackBoxFunction(function)(noise(2, 5))


def test_functions_that_write_into_their_input_are_refused_and_do_no_harm() -> None:
    def function(points: Tensor, label: Tensor) -> Tensor:
        return points.mul_(2).sum(1)

    z, label = noise(2, 3), torch.ones(2)
    before = z.clone()
    with pytest.raises(InputMutated, match="function wrote into the points it was given; work on a clone"):
        BlackBoxFunction(function)(z, label)
    assert torch.equal(z, before)


def test_numpy_may_write_into_the_copy_it_is_given() -> None:
    def function(points: Tensor) -> Tensor:
        array = points.numpy()
        array *= 2.0
        return torch.as_tensor(array.sum(1))

    z = noise(2, 3)
    before = z.clone()
    torch.testing.assert_close(gradient(BlackBoxFunction(function, CGE(0.1)), z), torch.full_like(z, 2))
    assert torch.equal(z, before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"function": 3}, r"function must be called as function\(points, \*extras\), got 3"),
        ({"estimator": "CGE"}, r"estimator must be a CGE or an RGE, such as .*, got 'CGE'"),
        ({"estimator": RGE(normalize="per-tensor")}, "a sample is one tensor"),
        ({"seed": -1}, "seed must be"),
        ({"budget": -1}, "budget must be an integer of at least 0, got -1"),
        ({"on_failure": "drp"}, "Did you mean 'drop'"),
        ({"max_batch": 0}, "max_batch must be an integer of at least 1, got 0"),
        ({"value": "mean"}, "value must be one of 'base', 'pairs'"),
        ({"value": "pairs", "estimator": CGE()}, "it needs difference='central'"),
    ],
)
def test_bad_settings_are_said(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        BlackBoxFunction(**({"function": linear} | settings))


@pytest.mark.parametrize("context", [-1, 1.5])
def test_bad_contexts_are_said(context: Any) -> None:
    layer = BlackBoxFunction(linear)
    with pytest.raises(InvalidSetting, match="context must be an integer of at least 0"):
        layer.context = context
    with pytest.raises(InvalidSetting, match="context must be"):
        layer(noise(2, 5).requires_grad_(), context=context)


def test_a_network_behind_the_function_stays_a_stranger() -> None:
    network = nn.Linear(5, 2).train()
    layer = BlackBoxFunction(network).eval()
    assert network.training
    assert list(layer.parameters()) == []
    assert list(layer.state_dict()) == ["_extra_state"]
    assert layer.function is network
    assert "Linear" in repr(layer)
