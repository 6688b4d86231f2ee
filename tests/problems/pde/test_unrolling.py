"""The unrolled loss, and what its gradients let go backward through the simulator."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from problems.pde.candidates import CandidateNetwork
from problems.pde.unrolling import corrected_rollout, loss_with_graph, unrolled_losses
from tests.problems.pde import small
from zotoolkit import CGE, RGE
from zotoolkit.queries import DenseBatch


def by_hand(objective: small.CorrectSimulator, x: torch.Tensor, context: int) -> torch.Tensor:
    """The loss as the definition has it, one window and one step at a time."""
    window, errors = objective.window(context), []
    module, weights = small.network().double(), objective.layout.unflatten(x)
    for number in range(len(window)):
        state, params = window.start[number : number + 1], window.params[number : number + 1]
        for step in range(window.steps):
            state = objective.simulator.step(state, params)
            output = functional_call(module, weights, (objective.coupling.inputs(state, params),))
            state = state + objective.references.scale * output
            errors.append((((state - window.targets[step, number]) / objective.references.scale) ** 2).mean())
    return torch.stack(errors).mean()


def test_losses_are_those_of_the_definition() -> None:
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    points = x0 + 0.1 * torch.randn(4, objective.dim, generator=torch.Generator().manual_seed(0), dtype=x0.dtype)
    values, *_ = objective.step(DenseBatch.at(points, context=5))
    for value, point in zip(values, points, strict=True):
        assert value.item() == pytest.approx(by_hand(objective, point, 5).item(), rel=1e-12)


def test_the_gradient_through_everything_is_autograds() -> None:
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    leaf = x0.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(by_hand(objective, leaf, 2), leaf)
    loss, found = objective.gradient(x0, 2)
    assert torch.allclose(found, wanted, rtol=1e-9)
    assert loss.item() == pytest.approx(by_hand(objective, x0, 2).item(), rel=1e-12)


def _at(objective: small.CorrectSimulator, place: str, x: torch.Tensor, **more: object) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    network = CandidateNetwork(small.network().double()).single(leaf)
    window, scale = objective.window(0), objective.references.scale
    loss = loss_with_graph(objective.simulator, objective.coupling, network, window, place, scale, **more)  # type: ignore[arg-type]
    return torch.autograd.grad(loss, leaf)[0]


def test_coordinate_queries_of_states_give_the_whole_gradient() -> None:
    """Asked along all entries of a state, the simulator's Jacobian products are its own."""
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    wanted = _at(objective, "simulator", x0)
    found = _at(objective, "state", x0, differences=CGE(1e-4, "central"))
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-9)


def test_random_queries_of_states_are_unbiased() -> None:
    """The mean over many draws comes close; and the part of the identity needs no draw at all."""
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    wanted, stopped = _at(objective, "simulator", x0), _at(objective, "detached", x0)
    found = torch.stack(
        [_at(objective, "state", x0, differences=RGE(1e-4, 64, "central"), context=context) for context in range(40)]
    )
    error = (found.mean(0) - wanted).norm()
    assert error < 0.05 * (wanted - stopped).norm()
    assert error < 4 * found.std(0).norm() / 40**0.5


def test_detached_lets_nothing_through_time() -> None:
    """The gradient is that of a corrector whose input states are taken as given."""
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    window, scale = objective.window(0), objective.references.scale
    leaf, module = x0.clone().requires_grad_(), small.network().double()
    state, total = window.start, torch.zeros((), dtype=torch.float64)
    for target in window.targets:
        stepped = objective.simulator.step(state.detach(), window.params)
        output = functional_call(module, objective.layout.unflatten(leaf), (stepped / scale,))
        state = stepped + scale * output
        total = total + (((state - target) / scale) ** 2).mean() / window.steps
    (wanted,) = torch.autograd.grad(total, leaf)
    assert torch.allclose(_at(objective, "detached", x0), wanted, rtol=1e-9)


def test_one_step_starts_every_step_at_the_reference() -> None:
    """It is the mean of single-step gradients over all frames of the windows."""
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    window, scale = objective.window(0), objective.references.scale
    leaf, module = x0.clone().requires_grad_(), small.network().double()
    losses = []
    for before, target in zip(window.before, window.targets, strict=True):
        stepped = objective.simulator.step(before, window.params)
        output = functional_call(module, objective.layout.unflatten(leaf), (stepped / scale,))
        losses.append((((stepped + scale * output - target) / scale) ** 2).mean())
    (wanted,) = torch.autograd.grad(torch.stack(losses).mean(), leaf)
    assert torch.allclose(_at(objective, "one-step", x0), wanted, rtol=1e-9)


def test_a_candidate_that_blows_up_harms_nobody() -> None:
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    batch = DenseBatch.at(torch.stack((x0, 1e200 * torch.ones_like(x0), x0 + 0.01)))
    window = objective.window(0)
    after = objective.simulator.step(window.start, window.params)
    network = CandidateNetwork(small.network().double())
    losses = unrolled_losses(objective.simulator, objective.coupling, network.of(batch), window, after, 3, 1.0)
    alone = unrolled_losses(objective.simulator, objective.coupling, network.of(batch[2:]), window, after, 1, 1.0)
    assert losses.isfinite().tolist() == [True, False, True]
    assert losses[2] == alone[0]


def test_a_rollout_without_a_network_is_the_simulators() -> None:
    objective = small.burgers()
    split = objective.references.test
    path = corrected_rollout(objective.simulator, objective.coupling, None, split.states[:, 0], split.params, 3)
    assert torch.equal(path[0], split.states[:, 0])
    assert torch.equal(path[2], objective.simulator.step(path[1], split.params))
    assert corrected_rollout(objective.simulator, objective.coupling, None, path[0], split.params, 0).shape[0] == 1
