"""The marker against exact solutions, each method at its order."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from problems.pde.simulators.smoke.marker import advect_marker
from zotoolkit.seeding import torch_generator


def _turning(cells: int) -> Tensor:
    """Fluid that turns about the middle of the unit box like a solid body, by one radian in a unit of time."""
    center = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5
    velocity = torch.zeros(1, 2, cells + 1, cells + 1, dtype=torch.float64)
    velocity[0, 0, :, :-1] = center
    velocity[0, 1, :-1] = -center[:, None]
    return velocity


def _front(cells: int, angle: float) -> Tensor:
    """A front through the middle, turned by an angle; it has no peak, which would be limited."""
    center = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5
    return torch.sin(2 * (math.cos(angle) * center + math.sin(angle) * center[:, None]))[None]


def _error(cells: int, steps: int, *, maccormack: bool) -> float:
    """The error in the middle half of the box, which no wall has touched."""
    marker, velocity = _front(cells, 0.0), _turning(cells)
    for _ in range(steps):
        marker = advect_marker(marker, velocity, 0.8 / steps * cells, maccormack=maccormack)
    inner = slice(cells // 4, -cells // 4)
    return float((marker - _front(cells, 0.8))[:, inner, inner].abs().max())


@pytest.mark.parametrize(("maccormack", "order"), [(False, 1), (True, 2)])
def test_orders(maccormack: bool, order: int) -> None:
    errors = [_error(cells, cells // 4, maccormack=maccormack) for cells in (16, 32, 64)]
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("maccormack", [False, True])
def test_nothing_moves_in_fluid_at_rest_and_no_value_is_new(maccormack: bool) -> None:
    marker = torch.rand(2, 6, 5, generator=torch_generator(0), dtype=torch.float64)
    rest = torch.zeros(2, 2, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(advect_marker(marker, rest, 1.0, maccormack=maccormack), marker)
    velocity = torch.randn(2, 2, 7, 6, generator=torch_generator(1), dtype=torch.float64)
    after = advect_marker(marker, velocity, 2.0, maccormack=maccormack)
    assert float(after.min()) >= float(marker.min())
    assert float(after.max()) <= float(marker.max())
    constant = torch.full_like(marker, 0.7)
    torch.testing.assert_close(advect_marker(constant, velocity, 2.0, maccormack=maccormack), constant)


def test_semi_lagrangian_by_hand() -> None:
    marker = torch.arange(12, dtype=torch.float64).view(1, 3, 4) ** 2
    velocity = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    velocity[0, 1, :-1] = 0.5
    after = advect_marker(marker, velocity, 1.0, maccormack=False)
    wanted = marker.clone()
    wanted[..., 1:] = (marker[..., 1:] + marker[..., :-1]) / 2
    torch.testing.assert_close(after, wanted)


@pytest.mark.parametrize("maccormack", [False, True])
def test_gradients(maccormack: bool) -> None:
    marker = torch.rand(1, 4, 4, generator=torch_generator(0), dtype=torch.float64).requires_grad_(True)
    velocity = torch.randn(1, 2, 5, 5, generator=torch_generator(1), dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda m, v: advect_marker(m, v, 0.3, maccormack=maccormack), (marker, velocity))
