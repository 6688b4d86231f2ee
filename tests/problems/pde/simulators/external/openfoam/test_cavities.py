from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.pde.simulators.external.openfoam.cavities import cavity_faces, cavity_points, mesh_files


@given(cells=st.integers(2, 6), count=st.integers(1, 4))
def test_the_mesh_is_what_openfoam_wants(cells: int, count: int) -> None:
    faces, points = cavity_faces(cells, count), cavity_points(cells, count)
    inner = len(faces.neighbour)
    assert inner == 2 * cells * (cells - 1) * count
    assert len(faces.corners) == len(faces.owner) == inner + sum(faces.sizes.values())
    assert faces.sizes == {"lid": cells * count, "walls": 3 * cells * count, "sides": 2 * cells**2 * count}
    # Inner faces are sorted by owner and then neighbour, and the owner is the lower of the two.
    pairs = list(zip(faces.owner[:inner].tolist(), faces.neighbour.tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert all(low < high for low, high in pairs)
    # No face joins two cavities.
    assert (faces.owner[:inner] // cells**2 == faces.neighbour // cells**2).all()
    assert len({tuple(sorted(face)) for face in faces.corners.tolist()}) == len(faces.corners)
    corners = points[faces.corners]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]) / 2
    centres = corners.mean(1)
    where = _centres(cells, count)
    outward = ((centres - where[faces.owner]) * normals).sum(1)
    assert (outward > 0).all()
    np.testing.assert_allclose(centres[:inner], (where[faces.owner[:inner]] + where[faces.neighbour]) / 2)
    # The faces of a cell close it.
    total = np.zeros_like(where)
    np.add.at(total, faces.owner, normals)
    np.add.at(total, faces.neighbour, -normals[:inner])
    np.testing.assert_allclose(total, 0, atol=1e-12)
    lid = slice(inner, inner + faces.sizes["lid"])
    np.testing.assert_allclose(centres[lid, 1], 1)
    np.testing.assert_allclose(normals[lid, 1], cells**-2.0)


def _centres(cells: int, count: int) -> np.ndarray:
    middle = (np.arange(cells) + 0.5) / cells
    x = 2.0 * np.arange(count)[:, None, None] + middle
    x, y = np.broadcast_arrays(x, middle[:, None])
    return np.stack((x, y, np.full_like(x, 0.5 / cells)), -1).reshape(-1, 3)


def test_a_mesh_is_put_together_once() -> None:
    assert mesh_files(3, 2) is mesh_files(3, 2)
    assert sorted(mesh_files(3, 2)) == ["boundary", "faces", "neighbour", "owner", "points"]


@pytest.mark.parametrize("count", [1, 3])
def test_points_are_where_the_cavities_are(count: int) -> None:
    points = cavity_points(4, count)
    assert points.min(0).tolist() == [0, 0, 0]
    assert points.max(0).tolist() == [2 * count - 1, 1, 0.25]
