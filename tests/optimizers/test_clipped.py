"""Gradient clipping: long gradients are cut, short ones are not, and nothing else changes."""

from __future__ import annotations

import functools

import pytest
import torch

import zotoolkit
from zotoolkit.errors import InvalidSetting
from zotoolkit.optimizers import clipped


@pytest.mark.parametrize("length", [1e-3, 0.9, 1.1, 1e6])
def test_only_longer_gradients_are_cut(length: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = clipped(functools.partial(torch.optim.SGD, lr=1.0), 1.0)([weight])
    direction = torch.tensor([0.5, -0.5, 0.5, 0.5])
    weight.grad = length * direction
    optimizer.step()
    assert torch.allclose(-weight.detach(), min(length, 1.0) * direction, rtol=1e-5)


def test_a_solver_resumes_with_it_bit_for_bit() -> None:
    def run(stop: int | None) -> torch.Tensor:
        objective = zotoolkit.make("Functions/Rosenbrock-v0", dim=3)
        factory = clipped(functools.partial(torch.optim.Adam, lr=0.1), 0.5)
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


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan")])
def test_bad_norms(norm: float) -> None:
    with pytest.raises(InvalidSetting, match="norm must be"):
        clipped(torch.optim.SGD, norm)
