"""The domain of the wake flow: its grid, its disc, and which faces are open.

The domain is 200 long (y, downstream) and 100 wide (x), with `2 n` by `n` square cells. A disc of radius 10 stands at
(50, 50). Velocities live on the faces of a staggered grid: `v_y` has `(2 n + 1, n)` faces, `v_x` has `(2 n, n + 1)`.

Both are kept in one array `(2, 2 n + 1, n + 1)`, v_y first: the last column of v_y and the last row of v_x are no faces
and hold 0.

Source: Um et al., Solver-in-the-Loop, NeurIPS 2020 (and its published code).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting

Mask = Literal["hard", "soft"]

WIDTH = 100.0
DISC_CENTER = (50.0, 50.0)
DISC_RADIUS = 10.0
LEAST_RESOLUTION = 16


def check_resolution(resolution: object) -> int:
    """Return the number of cells across.

    Raises:
        InvalidSetting: If it is no even integer of at least 16.
    """
    cells = check_count(resolution, "resolution", LEAST_RESOLUTION)
    if cells % 2:
        raise InvalidSetting(f"resolution must be even, since the disc stands in the middle of the grid, got {cells}.")
    return cells


def solid_cells(resolution: int) -> Tensor:
    """Return the `(2 n, n)` cells whose centres lie in the disc, as bool."""
    spacing = WIDTH / resolution
    rows, columns = _positions(2 * resolution, 0.5), _positions(resolution, 0.5)
    return _distance(rows * spacing, columns * spacing) <= 0


def open_faces(solid: Tensor) -> Tensor:
    """Return `(2, rows + 1, columns + 1)` float64: 1 at a face without a solid cell beside it, else 0.

    All four sides of the domain are open.
    """
    free = (~solid).double()
    rows, columns = free.shape
    faces = torch.zeros(2, rows + 1, columns + 1, dtype=torch.float64)
    down = functional.pad(free, (0, 0, 1, 1), value=1.0)
    across = functional.pad(free, (1, 1, 0, 0), value=1.0)
    faces[0, :, :-1] = torch.minimum(down[1:], down[:-1])
    faces[1, :-1, :] = torch.minimum(across[:, 1:], across[:, :-1])
    return faces


def soft_faces(resolution: int) -> Tensor:
    """Return `(2, 2 n + 1, n + 1)` float64 factors of the velocity near a disc whose edge is smeared.

    The factor rises from 0 at the disc's edge to 1 at the distance of half a cell's diagonal, as in PhiFlow 3.4.
    """
    spacing = WIDTH / resolution
    faces = torch.zeros(2, 2 * resolution + 1, resolution + 1, dtype=torch.float64)
    for component, (rows, columns) in enumerate(
        (
            (_positions(2 * resolution + 1, 0.0), _positions(resolution, 0.5)),
            (_positions(2 * resolution, 0.5), _positions(resolution + 1, 0.0)),
        )
    ):
        distance = _distance(rows * spacing, columns * spacing) / (spacing * math.sqrt(0.5))
        faces[component, : len(rows), : len(columns)] = distance.clamp(0, 1)
    return faces


def _positions(count: int, first: float) -> Tensor:
    return torch.arange(count, dtype=torch.float64) + first


def _distance(y: Tensor, x: Tensor) -> Tensor:
    """Return the `(len(y), len(x))` signed distances to the disc's edge, below 0 inside."""
    return torch.hypot(y[:, None] - DISC_CENTER[0], x - DISC_CENTER[1]) - DISC_RADIUS
