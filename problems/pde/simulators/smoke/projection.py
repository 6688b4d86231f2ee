"""The pressure step in a closed box by a direct solve with cosine transforms.

No flow goes through the walls, so the pressure's slope is 0 there. Its Laplacian on the cells is diagonal in cosines
along both sides; a product with a matrix each way solves it exactly, and the gradient is merged into the way back, as
in `problems.pde.simulators.wake.projection`. The constant, which no velocity sees, is left out.

Source: Buzbee, Golub and Nielson, SIAM J. Numer. Anal. 7(4), 1970 (direct Poisson solvers).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from problems.pde.simulators.wake.staggered import divergence


class ClosedProjection:
    """Takes the divergence out of velocities in a box of rows x columns cells.

    Args:
        rows: Cells along y.
        columns: Cells along x.
    """

    def __init__(self, rows: int, columns: int) -> None:
        down, down_values = _cosine_transform(rows)
        across, across_values = _cosine_transform(columns)
        values = down_values[:, None] + across_values
        values[0, 0] = math.inf
        # From cell values to slopes at all faces along a side, 0 at the walls.
        slope_down = torch.nn.functional.pad(down.T.diff(dim=0), (0, 0, 1, 1))
        slope_across = torch.nn.functional.pad(across.diff(dim=1), (1, 1))
        back_down, back_across = (
            torch.nn.functional.pad(down.T, (0, 0, 0, 1)),
            torch.nn.functional.pad(across, (0, 1)),
        )
        self._exact = (down, across.T, -1 / values, slope_down, back_across, back_down, slope_across)
        self._kept: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __call__(self, velocity: Tensor) -> Tensor:
        """Return `(B, 2, rows + 1, columns + 1)` velocities without divergence.

        Args:
            velocity: Of the same shape, 0 at the walls and where there is no face, see `close`.
        """
        key = (velocity.device, velocity.dtype)
        if key not in self._kept:
            self._kept[key] = tuple(value.to(*key).contiguous() for value in self._exact)
        down, across, inverse, slope_down, back_across, back_down, slope_across = self._kept[key]
        spectrum = (down @ divergence(velocity) @ across) * inverse
        return velocity - torch.stack((slope_down @ spectrum @ back_across, back_down @ spectrum @ slope_across), 1)


def close(velocity: Tensor) -> Tensor:
    """Set the flow through the walls, and the places that are no faces, to 0, in place."""
    velocity[:, 0, 0] = velocity[:, 0, -1] = 0
    velocity[:, 0, :, -1] = 0
    velocity[:, 1, :, 0] = velocity[:, 1, :, -1] = 0
    velocity[:, 1, -1] = 0
    return velocity


def _cosine_transform(size: int) -> tuple[Tensor, Tensor]:
    """Return the orthogonal `(n, n)` cosine transform, waves by places, and the `(n,)` eigenvalues of -(1, -2, 1)."""
    wave, place = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64) + 0.5
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * wave[:, None] * place)
    matrix[0] /= math.sqrt(2)
    return matrix, 4 * torch.sin(math.pi / (2 * size) * wave) ** 2
