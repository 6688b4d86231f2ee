"""The grid: sizes that fit, a disc of the right area, faces that its cells close."""

from __future__ import annotations

import math

import pytest
import torch

from problems.pde.simulators.wake.geometry import check_resolution, open_faces, soft_faces, solid_cells
from zotoolkit.errors import InvalidSetting


@pytest.mark.parametrize("resolution", [0, 14, 33, 32.0, True, None])
def test_resolutions_that_do_not_fit(resolution: object) -> None:
    with pytest.raises(InvalidSetting, match="resolution must be"):
        check_resolution(resolution)


@pytest.mark.parametrize("resolution", [16, 32, 128])
def test_the_disc_stands_where_it_should(resolution: int) -> None:
    solid = solid_cells(resolution)
    assert solid.shape == (2 * resolution, resolution)
    area = float(solid.sum()) * (100 / resolution) ** 2
    assert area == pytest.approx(math.pi * 100, rel={16: 0.5, 32: 0.01, 128: 0.02}[resolution])
    rows, columns = solid.nonzero().double().mean(0) + 0.5
    assert float(rows) * 100 / resolution == pytest.approx(50)
    assert float(columns) * 100 / resolution == pytest.approx(50)
    assert torch.equal(solid, solid.flip(1))


def test_a_face_is_open_between_two_cells_of_fluid_only() -> None:
    solid = torch.zeros(4, 3, dtype=torch.bool)
    solid[1, 1] = True
    faces = open_faces(solid)
    assert faces[0, :, :-1].tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]
    assert faces[1, :-1].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert not faces[0, :, -1].any()
    assert not faces[1, -1].any()


def test_the_soft_edge_is_a_ramp() -> None:
    soft = soft_faces(32)
    assert float(soft.min()) == 0
    assert float(soft.max()) == 1
    row, column = 24, 16  # the face of v_y at (75, 51.5625)
    spacing = 100 / 32
    distance = math.hypot(row * spacing - 50, (column + 0.5) * spacing - 50) - 10
    assert distance > spacing
    assert soft[0, row, column] == 1
    row = 19
    distance = math.hypot(row * spacing - 50, (column + 0.5) * spacing - 50) - 10
    assert 0 < distance < spacing * math.sqrt(0.5) or distance < 0
    assert float(soft[0, row, column]) == pytest.approx(min(max(distance / (spacing * math.sqrt(0.5)), 0), 1))
