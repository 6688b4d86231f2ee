"""Diffusion and advection, each at its order, against exact solutions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from problems.pde.simulators.wake.transport import SemiLagrangian, diffuse, fill_unused
from zotoolkit.seeding import torch_generator


def _cosine(rows: int, columns: int, waves: int) -> Tensor:
    """A wave across that is level at both sides, on the faces of v_y; v_x is 0."""
    velocity = torch.zeros(1, 2, rows + 1, columns + 1, dtype=torch.float64)
    phase = math.pi * waves * (torch.arange(columns, dtype=torch.float64) + 0.5) / columns
    velocity[0, 0, :, :-1] = torch.cos(phase)
    return velocity


def test_filling_repeats_the_last_faces() -> None:
    velocity = fill_unused(torch.randn(2, 2, 5, 4, generator=torch_generator(0)))
    assert torch.equal(velocity[:, 0, :, 3], velocity[:, 0, :, 2])
    assert torch.equal(velocity[:, 1, 4], velocity[:, 1, 3])


def test_diffusion_damps_a_wave_by_its_exact_discrete_factor() -> None:
    velocity = _cosine(6, 16, 3)
    amount = torch.tensor([0.2], dtype=torch.float64)
    factor = 1 - 0.2 * 4 * math.sin(math.pi * 3 / 32) ** 2
    torch.testing.assert_close(diffuse(velocity, amount)[..., :-1], factor * velocity[..., :-1])


def test_diffusion_is_second_order_in_space() -> None:
    errors = []
    for columns in (16, 32, 64):
        velocity = _cosine(4, columns, 2)
        amount = 1e-4  # the same part of a cell's area: time shrinks with it
        change = (diffuse(velocity, torch.tensor([amount], dtype=torch.float64)) - velocity)[0, 0, :, :-1]
        exact = -amount * (math.pi * 2 / columns) ** 2 * velocity[0, 0, :, :-1]
        errors.append(float((change - exact).abs().max() / exact.abs().max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders == pytest.approx([2, 2], abs=0.05)


def test_each_state_has_an_amount_of_its_own_and_the_input_stays() -> None:
    velocity = torch.randn(2, 2, 7, 5, generator=torch_generator(0))
    given = velocity.clone()
    after = diffuse(velocity, torch.tensor([0.0, 0.1]))
    assert torch.equal(velocity, given)
    torch.testing.assert_close(after[0], fill_unused(given.clone())[0])
    torch.testing.assert_close(after[1:], diffuse(given[1:], torch.tensor([0.1])))


def _shear(rows: int, columns: int, shift: float) -> Tensor:
    """A wave of v_x that a uniform v_y of 1 carries down: an exact solution of Euler's equations."""
    velocity = torch.ones(1, 2, rows + 1, columns + 1, dtype=torch.float64)
    y = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows - shift
    velocity[0, 1, :-1] = 0.3 * torch.sin(2 * math.pi * y)[:, None]
    return fill_unused(velocity)


@pytest.mark.parametrize("cells", [0.5, 1.25, 3.5])
def test_advection_is_second_order_in_space_at_any_displacement(cells: float) -> None:
    errors = []
    for rows in (32, 64, 128):
        after = SemiLagrangian(rows, 8, cells)(_shear(rows, 8, 0.0))
        wanted = _shear(rows, 8, cells / rows)
        inner = slice(4, rows - 4)  # fluid that comes in is not the wave's
        errors.append(float((after - wanted)[0, 1, inner].abs().max()))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert orders == pytest.approx([2, 2], abs=0.1)


def test_advection_by_whole_cells_is_exact() -> None:
    after = SemiLagrangian(32, 8, 2.0)(_shear(32, 8, 0.0))
    torch.testing.assert_close(after[:, 1, 4:-4], _shear(32, 8, 2 / 32)[:, 1, 4:-4], rtol=0, atol=1e-13)


def test_advection_against_bilinear_sampling_one_face_at_a_time() -> None:
    rows, columns, displacement = 6, 5, 1.3
    velocity = fill_unused(torch.randn(2, 2, rows + 1, columns + 1, generator=torch_generator(3), dtype=torch.float64))
    after = SemiLagrangian(rows, columns, displacement)(velocity)
    for state in range(2):
        down, across = velocity[state, 0, :, :-1].numpy(), velocity[state, 1, :-1].numpy()
        for row in range(rows + 1):
            for column in range(columns):
                there = _sample(across, row - 0.5, column + 0.5)
                wanted = _sample(down, row - displacement * down[row, column], column - displacement * there)
                assert float(after[state, 0, row, column]) == pytest.approx(wanted, abs=1e-12)
        for row in range(rows):
            for column in range(columns + 1):
                there = _sample(down, row + 0.5, column - 0.5)
                wanted = _sample(across, row - displacement * there, column - displacement * across[row, column])
                assert float(after[state, 1, row, column]) == pytest.approx(wanted, abs=1e-12)


def _sample(field: np.ndarray, row: float, column: float) -> float:
    row, column = min(max(row, 0), field.shape[0] - 1), min(max(column, 0), field.shape[1] - 1)
    top, left = min(int(row), field.shape[0] - 2), min(int(column), field.shape[1] - 2)
    y, x = row - top, column - left
    upper = (1 - x) * field[top, left] + x * field[top, left + 1]
    return (1 - y) * upper + y * ((1 - x) * field[top + 1, left] + x * field[top + 1, left + 1])
