"""The pressure step: no divergence is left, once is enough, and a dense solve gives the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from problems.pde.simulators.wake import Projection, divergence
from problems.pde.simulators.wake.geometry import soft_faces, solid_cells
from zotoolkit.seeding import torch_generator

LIMIT = {torch.float32: 1e-6, torch.float64: 1e-12}
DTYPES = tuple(LIMIT)


def _random(count: int, resolution: int, dtype: torch.dtype) -> Tensor:
    shape = (count, 2, 2 * resolution + 1, resolution + 1)
    return torch.randn(shape, generator=torch_generator(0), dtype=torch.float64).to(dtype)


def _left(velocity: Tensor) -> float:
    return float(divergence(velocity).abs().max() / velocity.abs().max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [16, 32, 128])
def test_no_divergence_is_left(resolution: int, dtype: torch.dtype) -> None:
    projection = Projection(solid_cells(resolution))
    velocity = projection(_random(4, resolution, dtype))
    assert _left(velocity) <= LIMIT[dtype]
    assert not velocity[:, projection.open == 0].any()


def test_nor_of_a_flow_that_meets_the_disc_at_once() -> None:
    velocity = torch.zeros(1, 2, 257, 129)
    velocity[:, 0] = 1.0
    assert _left(Projection(solid_cells(128))(velocity)) <= 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_once_is_enough(dtype: torch.dtype) -> None:
    projection = Projection(solid_cells(32))
    once = projection(_random(4, 32, dtype))
    torch.testing.assert_close(projection(once), once, rtol=0, atol=10 * LIMIT[dtype])


def test_a_dense_solve_gives_the_same() -> None:
    solid = solid_cells(16)
    projection = Projection(solid)
    velocity = _random(3, 16, torch.float64)
    rows, columns = solid.shape
    # The gradient of each cell's pressure on the open faces, cell by cell.
    gradient = torch.zeros(rows * columns, 2, rows + 1, columns + 1, dtype=torch.float64)
    for cell in range(rows * columns):
        row, column = divmod(cell, columns)
        gradient[cell, 0, row, column], gradient[cell, 0, row + 1, column] = 1.0, -1.0
        gradient[cell, 1, row, column], gradient[cell, 1, row, column + 1] = 1.0, -1.0
    gradient = gradient * projection.open
    fluid = (~solid).flatten()
    laplacian = divergence(gradient).flatten(1).T[fluid][:, fluid]
    masked = velocity * projection.open
    pressure = torch.linalg.solve(laplacian, divergence(masked).flatten(1)[:, fluid].T)
    wanted = masked - torch.einsum("cb,cfij->bfij", pressure, gradient[fluid])
    torch.testing.assert_close(projection(velocity), wanted, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 9), st.integers(4, 9), st.data())
def test_any_obstacle_away_from_the_border(rows: int, columns: int, data: st.DataObject) -> None:
    inside = data.draw(
        st.lists(st.booleans(), min_size=(rows - 2) * (columns - 2), max_size=(rows - 2) * (columns - 2))
    )
    solid = torch.zeros(rows, columns, dtype=torch.bool)
    solid[1:-1, 1:-1] = torch.tensor(inside).view(rows - 2, columns - 2)
    velocity = torch.randn(2, 2, rows + 1, columns + 1, generator=torch_generator(1), dtype=torch.float64)
    projection = Projection(solid)
    after = projection(velocity)
    assert float(divergence(after).abs().max()) < 1e-10
    assert not after[:, projection.open == 0].any()


def test_soft_factors_leave_no_divergence_in_the_fluid() -> None:
    solid = solid_cells(32)
    velocity = Projection(solid, soft_faces(32))(_random(2, 32, torch.float64))
    assert float(divergence(velocity)[:, ~solid].abs().max()) < 1e-12


def test_gradients() -> None:
    solid = torch.zeros(6, 5, dtype=torch.bool)
    solid[2:4, 2:4] = True
    velocity = torch.randn(2, 2, 7, 6, generator=torch_generator(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Projection(solid), (velocity,))
