"""Gradients of length 1: whatever their size, and nothing else changes."""

from __future__ import annotations

import functools

import pytest
import torch

import zotoolkit
from zotoolkit.optimizers import normalized


@pytest.mark.parametrize("length", [1e-12, 1e-3, 1.0, 1e6])
def test_a_gradient_keeps_its_direction(length: float) -> None:
    weights = [
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.zeros(3)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    optimizer = normalized(functools.partial(torch.optim.SGD, lr=1.0))(weights)
    weights[0].grad, weights[1].grad = length * torch.tensor([0.5, -0.5]), length * torch.tensor([0.5, 0.5, 0.0])
    optimizer.step()
    moved = -torch.cat([weight.detach() for weight in weights])
    assert torch.allclose(moved, torch.tensor([0.5, -0.5, 0.5, 0.5, 0.0, -1.0]), rtol=1e-5)


def test_no_gradient_stays_none() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.zeros(4)
    normalized(functools.partial(torch.optim.SGD, lr=1.0))([weight]).step()
    assert not weight.detach().any()


def test_a_solver_resumes_with_it_bit_for_bit() -> None:
    def run(stop: int | None) -> torch.Tensor:
        objective = zotoolkit.make("Functions/Rosenbrock-v0", dim=3)
        factory = normalized(functools.partial(torch.optim.Adam, lr=0.1))
        solver = zotoolkit.GradientSolver(zotoolkit.CGE(mu=1e-4), factory)
        x0, _ = objective.reset(seed=0)
        solver.reset(objective.space, x0, seed=0)
        for step in range(6):
            if step == stop:
                state = solver.state_dict()
                solver = zotoolkit.GradientSolver(zotoolkit.CGE(mu=1e-4), factory)
                solver.reset(objective.space, x0, seed=0)
                solver.load_state_dict(state)
            batch = solver.ask()
            values, *_, info = objective.step(batch)
            solver.tell(batch, values, info)
        return solver.recommend()

    assert torch.equal(run(None), run(3))
