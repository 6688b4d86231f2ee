"""ZO-GraSP against its formula, against back-propagation, and when queries fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

import zotoolkit
from zotoolkit.directions import directions
from zotoolkit.engines import ParameterLayout
from zotoolkit.errors import InvalidSetting, ObjectiveFailed
from zotoolkit.masks import grasp_scores, score_ratios
from zotoolkit.masks.ratios import MASKABLE
from zotoolkit.solvers.zo_grasp import ZOGrasp, zo_grasp_scores
from zotoolkit.spaces import make_space

F64 = torch.float64
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))  # 6 weights, 2 biases, 2 weights, 1 bias
WEIGHTS = [slice(0, 6), slice(8, 10)]


class Quartic(zotoolkit.BlackBoxObjective):
    """A function whose gradient depends on the context, with the layers above."""

    def __init__(self, low: float = -float("inf"), high: float = float("inf")) -> None:
        super().__init__(make_space(11, low, high, "float64"))
        self.layout = LAYOUT
        self.asked: list[zotoolkit.QueryBatch] = []

    @override
    def start(self) -> Tensor:
        return torch.linspace(-0.8, 0.9, 11, dtype=F64)

    @override
    def evaluate(self, x: Tensor, context: int) -> Tensor:
        return (x**4).sum(dim=1) + (1 + context) * x.sum(dim=1) ** 2

    @override
    def _answer(self, batch: zotoolkit.QueryBatch) -> Any:
        self.asked.append(batch)
        return super()._answer(batch)


def by_hand(f: Any, x: Tensor, seeds: Tensor, mu: float) -> Tensor:
    """(1/q) sum_i [f(x + mu u_i) - f(x)] / mu u_i with u_i of length 1 in both weights and 0 in the biases."""
    g = torch.zeros_like(x)
    for row in directions(seeds, "normal", 8).double():
        u = torch.zeros_like(x)
        u[WEIGHTS[0]], u[WEIGHTS[1]] = row[:6] / row[:6].norm(), row[6:] / row[6:].norm()
        g += (f(x + mu * u) - f(x)) / mu * u / len(seeds)
    return g


def test_scores_follow_the_formula() -> None:
    objective, mu, q = Quartic(), 1e-3, 5
    x, _ = objective.reset(seed=0)
    scores = zo_grasp_scores(objective, x, mu=mu, q=q, context=2, seed=7)
    first, second = objective.asked
    assert (first.context, second.context, objective.queries) == (2, 2, 12)
    assert not set(first.seed.tolist()) & set(second.seed.tolist())

    def loss(point: Tensor) -> Tensor:
        return objective.evaluate(point[None], 2)[0]

    g = by_hand(loss, x, first.seed[1:], mu)
    torch.testing.assert_close(second.base, x + mu * g, rtol=0, atol=1e-9)
    shifted = by_hand(loss, second.base, second.seed[1:], mu)
    # Directions are float32.
    torch.testing.assert_close(scores, (-x * (shifted - g) / mu).abs(), rtol=1e-4, atol=1e-4)
    assert bool((scores[LAYOUT.coordinates("bias")] == 0).all())


@pytest.mark.parametrize("normalize", ["none", "global"])
def test_the_other_normalisations_are_the_same_formula_with_other_directions(normalize: Any) -> None:
    objective, mu = Quartic(), 1e-3
    x, _ = objective.reset(seed=0)
    scores = zo_grasp_scores(objective, x, mu=mu, q=4, normalize=normalize)
    estimates = []
    for batch in objective.asked:
        values = objective.evaluate(batch.points(), 0)
        rows = (batch.points()[1:] - batch.base) / mu
        estimates.append((values[1:] - values[0]) / mu @ rows / 4)
    torch.testing.assert_close(scores, grasp_scores(x, *estimates, mu), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_layers_rank_as_they_do_by_back_propagation(seed: int) -> None:
    """The small first layer keeps the largest share, as it does when scores come from exact Hessian products."""
    objective: Any = zotoolkit.make("DNN/DigitsCNN-v0", batch_size=256)
    x, _ = objective.reset(seed=seed)
    inputs, target = objective.minibatch(0)
    leaf = x.clone().requires_grad_()
    output = functional_call(objective.engine.module, objective.layout.unflatten(leaf), (inputs,))
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(output, target), leaf, create_graph=True)
    (product,) = torch.autograd.grad(g @ g.detach(), leaf)
    exact = score_ratios((x * product).abs(), objective.layout, 0.9)
    ours = score_ratios(zo_grasp_scores(objective, x, seed=seed), objective.layout, 0.9)
    for ratios in (exact, ours):
        assert ratios["0.weight"] > 0.3
        assert all(ratios[name] < 0.15 for name in ("3.weight", "7.weight"))


def test_without_layers_all_coordinates_are_scored() -> None:
    objective = zotoolkit.make("Functions/Ellipsoid-v0", dim=6)
    x = torch.ones(6, dtype=objective.dtype)
    scores = zo_grasp_scores(objective, x, q=8)
    assert scores.shape == (6,)
    assert bool((scores > 0).all())


def test_queries_stay_in_the_box() -> None:
    objective = Quartic(-0.8, 0.9)
    x, _ = objective.reset()
    zo_grasp_scores(objective, x, mu=0.05, q=20)
    for batch in objective.asked:
        assert bool(((batch.points() >= -0.8) & (batch.points() <= 0.9)).all())


def test_scores_that_no_query_tells() -> None:
    objective = zotoolkit.from_callable(lambda x: float("nan"), dim=3)
    with pytest.raises(ObjectiveFailed, match="all differences failed"):
        zo_grasp_scores(objective, torch.zeros(3, dtype=F64), q=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 0.0}, "mu must be .* got 0.0"),
        ({"q": 0}, "q must be an integer of at least 1, got 0"),
        ({"normalize": "layer"}, "normalize must be one of .* got 'layer'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        ZOGrasp(**settings)


def test_grasp_scores_of_an_exact_gradient_are_the_hessians() -> None:
    x = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    hessian = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, -1.0]], dtype=F64)
    gradient = hessian @ x
    scores = grasp_scores(x, gradient, hessian @ (x + 0.1 * gradient), mu=0.1)
    torch.testing.assert_close(scores, (x * (hessian @ gradient)).abs())
    with pytest.raises(InvalidSetting, match=r"gradient must have the point's shape \(3,\), got a tensor of shape"):
        grasp_scores(x, gradient[:2], gradient, 0.1)
    assert len(LAYOUT.coordinates(*MASKABLE)) == 8
