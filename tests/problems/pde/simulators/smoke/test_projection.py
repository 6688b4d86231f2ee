from __future__ import annotations

import pytest
import torch
from torch import Tensor

from problems.pde.simulators.smoke.projection import ClosedProjection, close
from problems.pde.simulators.wake.staggered import divergence
from zotoolkit.seeding import torch_generator


def random_velocity(rows: int, columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return close(torch.randn(3, 2, rows + 1, columns + 1, generator=torch_generator(0), dtype=dtype))


@pytest.mark.parametrize(("dtype", "left"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (32, 32), (7, 12), (1, 3)])
def test_divergence_is_gone_and_walls_are_closed(rows: int, columns: int, dtype: torch.dtype, left: float) -> None:
    after = ClosedProjection(rows, columns)(random_velocity(rows, columns, dtype))
    assert float(divergence(after).abs().max()) <= left
    torch.testing.assert_close(after, close(after.clone()))


def test_it_changes_a_velocity_by_a_gradient_only() -> None:
    """So twice is once, and what it takes off has no part without divergence: it is the nearest such velocity."""
    projection, velocity = ClosedProjection(6, 5), random_velocity(6, 5)
    after = projection(velocity)
    torch.testing.assert_close(projection(after), after)
    other = projection(random_velocity(6, 5).flip(0))
    torch.testing.assert_close(((velocity - after) * other).sum((1, 2, 3)), torch.zeros(3).double())


def test_it_is_linear_and_differentiable() -> None:
    projection = ClosedProjection(3, 4)
    velocity = random_velocity(3, 4)[:1].requires_grad_(True)
    assert torch.autograd.gradcheck(projection, (velocity,))
