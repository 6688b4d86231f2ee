"""Losses of a black box behind a network, for many candidates of the network's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from zotoolkit import CGE, CoordinateBatch, SeededBatch
from zotoolkit.engines import DenseEngine, Engine, LoopEngine, ReplayEngine
from zotoolkit.errors import BudgetSpent, InvalidBatch, InvalidValues, QueryFailed
from zotoolkit.nn import Asker, BlackBoxFunction, losses_behind
from zotoolkit.spaces import Bounds

F64 = torch.float64


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)),
            *(nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


def task(training: bool = True) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        box = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 3)).double()
        return Denoiser().double().train(training), box, torch.rand(5, 1, 6, 6).double(), torch.arange(5) % 3


def asked(box: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, labels: functional.cross_entropy(box(images), labels, reduction="none")


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_by_coordinates_is_autograds(training: bool) -> None:
    network, box, images, labels = task(training)
    engine = ReplayEngine(network, functional.mse_loss)
    x = engine.layout.flatten(network)
    infinite = torch.full_like(x, torch.inf)
    estimator = CGE(1e-5, "central")
    batch = estimator.queries(x, None, 0, 0, Bounds(-infinite, infinite))
    values = losses_behind(engine, batch, images, asked(box), labels, max_batch=37)
    found = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    leaf = x.clone().requires_grad_()
    output = functional_call(engine.module, engine.layout.unflatten(leaf), (images,))
    (exact,) = torch.autograd.grad(functional.cross_entropy(box(output), labels), leaf)
    assert float(functional.cosine_similarity(found, exact, dim=0)) > 1 - 1e-8
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-7)


@settings(max_examples=20)
@given(
    kind=st.sampled_from([ReplayEngine, DenseEngine, LoopEngine]), max_batch=st.integers(1, 60), seeded=st.booleans()
)
def test_any_engine_and_chunks_of_any_size_give_a_loops_losses(
    kind: Callable[..., Engine], max_batch: int, seeded: bool
) -> None:
    network, box, images, labels = task()
    engine = kind(network, functional.mse_loss)
    base, scale = engine.layout.flatten(network), torch.tensor([0.0, 0.1, -0.2, 0.3], dtype=F64)
    index = torch.tensor([0, 70, 3, 150])
    batch = (
        SeededBatch(base=base, scale=scale, seed=index)
        if seeded
        else CoordinateBatch(base=base, scale=scale, index=index)
    )
    found = losses_behind(engine, batch, images, asked(box), labels, max_batch=max_batch)
    with torch.no_grad():
        outputs = [functional_call(engine.module, engine.layout.unflatten(p), (images,)) for p in batch.points()]
        wanted = torch.stack([functional.cross_entropy(box(output), labels) for output in outputs])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def few(engine: Engine, network: nn.Module, count: int = 3) -> CoordinateBatch:
    base = engine.layout.flatten(network)
    return CoordinateBatch(base=base, scale=torch.full((count,), 0.1, dtype=F64), index=torch.arange(count))


def test_queries_are_counted_and_a_budget_holds_for_the_whole_batch() -> None:
    network, box, images, labels = task()
    engine = ReplayEngine(network, functional.mse_loss)
    layer = BlackBoxFunction(asked(box), budget=29)
    losses_behind(engine, few(engine, network), images, layer, labels)
    assert layer.queries == (15, 15)
    with pytest.raises(BudgetSpent, match=r"15 more queries of .* 14 of the budget of 29"):
        losses_behind(engine, few(engine, network), images, layer, labels)
    assert layer.queries.sent == 15
    assert len(losses_behind(engine, few(engine, network)[:0], images, layer, labels)) == 0


def test_a_candidate_with_a_failed_sample_has_no_loss() -> None:
    network, box, images, labels = task()
    engine, calls = ReplayEngine(network, functional.mse_loss), 0

    def flaky(points: Tensor, label: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        values = asked(box)(points, label)
        if calls == 2:
            values[1] = torch.nan
        return values

    asker = Asker(flaky, None, "drop", 5)  # a candidate a call
    found = losses_behind(engine, few(engine, network), images, asker, labels)
    assert torch.isnan(found).tolist() == [False, True, False]
    assert asker.count == (15, 14)
    calls = 0
    with pytest.raises(QueryFailed, match="1 of 5 queries of flaky failed"):
        losses_behind(engine, few(engine, network), images, Asker(flaky, None, "raise", 5), labels)


@pytest.mark.parametrize(
    ("function", "extras", "error", "words"),
    [
        (lambda p, y: p.mean((1, 2, 3)), (torch.ones(4),), InvalidBatch, "extra 0 must be a tensor with 5 rows"),
        (lambda p: p.mean((1, 2)), (), InvalidValues, r"must return rows of shape \(\) here, got \(6,\)"),
        (lambda p: p.sum(), (), InvalidValues, "must return one row a point"),
    ],
)
def test_what_does_not_fit_is_said(function: Any, extras: Any, error: Any, words: str) -> None:
    network, _, images, _ = task()
    engine = ReplayEngine(network, functional.mse_loss)
    with pytest.raises(error, match=words):
        losses_behind(engine, few(engine, network), images, function, *extras)


def test_a_network_with_several_outputs_is_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2).double()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), x

    network = Two()
    engine = LoopEngine(network, lambda output, target: output[0].sum())
    with pytest.raises(InvalidBatch, match=r"the network must return one \(B, \.\.\.\) tensor, got"):
        losses_behind(engine, few(engine, network), torch.ones(3, 2).double(), lambda p: p.sum(1))
