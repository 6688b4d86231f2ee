"""Transport on a periodic plane, each part at its order, against exact solutions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from problems.pde.simulators.periodic_plane import advect, diffuse, downsample_periodic
from zotoolkit.errors import InvalidSetting, InvalidState
from zotoolkit.seeding import torch_generator


def random_velocity(rows: int, columns: int, count: int = 2) -> Tensor:
    return torch.randn(count, 2, rows, columns, generator=torch_generator(0), dtype=torch.float64)


@pytest.mark.parametrize("displacement", [0.4, 1.3, 9.0])
def test_advection_against_bilinear_sampling_one_face_at_a_time(displacement: float) -> None:
    rows, columns = 5, 4
    velocity = random_velocity(rows, columns)
    after = advect(velocity, displacement)
    for state in range(2):
        down, across = velocity[state]
        for i in range(rows):
            for j in range(columns):
                there = _sample(across, i - 0.5, j + 0.5)
                wanted = _sample(down, i - displacement * float(down[i, j]), j - displacement * there)
                assert float(after[state, 0, i, j]) == pytest.approx(wanted, abs=1e-12)
                there = _sample(down, i + 0.5, j - 0.5)
                wanted = _sample(across, i - displacement * there, j - displacement * float(across[i, j]))
                assert float(after[state, 1, i, j]) == pytest.approx(wanted, abs=1e-12)


def _sample(field: Tensor, row: float, column: float) -> float:
    rows, columns = field.shape
    top, left = math.floor(row), math.floor(column)
    y, x = row - top, column - left
    total = 0.0
    for i, wy in ((top, 1 - y), (top + 1, y)):
        for j, wx in ((left, 1 - x), (left + 1, x)):
            total += wy * wx * float(field[i % rows, j % columns])
    return total


def _shear(points: int, shift: float) -> Tensor:
    """A wave of v_x that a uniform v_y of 1 carries down."""
    velocity = torch.ones(1, 2, points, points, dtype=torch.float64)
    y = (torch.arange(points, dtype=torch.float64) + 0.5) / points - shift
    velocity[0, 1] = 0.3 * torch.sin(2 * math.pi * y)[:, None]
    return velocity


@pytest.mark.parametrize("cells", [0.5, 1.25, 3.5])
def test_advection_is_second_order_in_space_at_any_displacement(cells: float) -> None:
    errors = []
    for points in (16, 32, 64):
        after = advect(_shear(points, 0.0), cells)
        errors.append(float((after - _shear(points, cells / points))[0, 1].abs().max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders == pytest.approx([2, 2], abs=0.1)


def test_everything_moves_with_its_input() -> None:
    velocity = random_velocity(6, 8)
    for operation in (lambda v: advect(v, 1.7), lambda v: diffuse(v, 0.2)):
        moved = operation(velocity.roll((2, 3), (2, 3)))
        torch.testing.assert_close(moved, operation(velocity).roll((2, 3), (2, 3)))


def test_turning_the_plane_turns_the_flow() -> None:
    velocity = random_velocity(6, 6)

    def turned(v: Tensor) -> Tensor:
        return v.flip(1).mT

    torch.testing.assert_close(advect(turned(velocity), 0.8), turned(advect(velocity, 0.8)))


def test_diffusion_damps_a_wave_by_its_exact_discrete_factor() -> None:
    phase = 2 * math.pi * 3 * torch.arange(16, dtype=torch.float64) / 16
    wave = torch.cos(phase).expand(1, 2, 16, 16)
    torch.testing.assert_close(diffuse(wave, 0.2), (1 - 0.2 * 4 * math.sin(math.pi * 3 / 16) ** 2) * wave)


def test_down_sampling_keeps_the_flow_through_coarse_faces() -> None:
    fine = random_velocity(12, 12)
    coarse = downsample_periodic(fine, 4)

    def net(v: Tensor) -> Tensor:
        return v[..., 0, :, :].roll(-1, -2) - v[..., 0, :, :] + v[..., 1, :, :].roll(-1, -1) - v[..., 1, :, :]

    gathered = net(fine).unflatten(-1, (4, 3)).unflatten(-3, (4, 3)).sum((-1, -3))
    torch.testing.assert_close(3 * net(coarse), gathered)
    assert torch.equal(downsample_periodic(fine, 12), fine)
    with pytest.raises(InvalidSetting, match="does not divide"):
        downsample_periodic(fine, 5)
    for wrong in (fine[0, 0], fine[:, :, :3], fine.long(), None):
        with pytest.raises(InvalidState, match=r"\(..., 2, n, n\)"):
            downsample_periodic(wrong, 2)  # pyright: ignore[reportArgumentType]


def test_gradients() -> None:
    velocity = random_velocity(4, 4, 1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: advect(v, 0.37), (velocity,))
