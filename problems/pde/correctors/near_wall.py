"""A corrector of twelve numbers for flows between walls: what a coarse upwind scheme smears, and what walls need.

First-order upwinding is the wanted transport plus a diffusion of |v_d| h / 2 along each axis d, and the shear layer at
a wall is thinner than a coarse cell. Let D_d(w, f) be the difference of the fluxes w (f_{i+1} - f_i) through the two
faces of a cell that are normal to axis d, none of them through a wall. The correction of the velocity's component c is

    sum_d   a D_d(|v_d|, v_c)  +  b D_d(|v_d|, D_d(1, v_c))  +  e D_d(1, D_d(1, v_c))

with one a, b and e for d = c (along) and one for d != c (across): a < 0 takes diffusion back, b and e keep the shortest
waves from growing when it does. The component along a wall is besides multiplied by a number of its own in each of the
two rows of cells next to it, for the lid, the floor and both sides: twelve parameters in all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.errors import InvalidState, brief

_ROWS = 2  # next to a wall


class NearWallCorrector(nn.Module):
    """Anti-diffusion and near-wall terms, from `(B, 2, rows, columns)` velocities to their corrections.

    It is linear in its parameters, which all start as 0: the corrected solver starts out as the uncorrected one. The
    mirror image of a flow, left for right, is corrected to the mirror image.

    Attributes:
        interior: `(3, 2)`: a, b and e, each along and across.
        walls: `(3, 2)`: at the lid, the floor and the sides, each in the row next to the wall and in the one after it.

    Examples:
        >>> corrector = NearWallCorrector()
        >>> sum(p.numel() for p in corrector.parameters())
        12
        >>> corrector(torch.rand(5, 2, 16, 16)).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """

    def __init__(self) -> None:
        super().__init__()
        self.interior = nn.Parameter(torch.zeros(3, 2))
        self.walls = nn.Parameter(torch.zeros(3, _ROWS))

    @override
    def forward(self, velocity: Tensor) -> Tensor:
        """Return the corrections.

        Args:
            velocity: `(B, 2, rows, columns)` at the centres of cells, its component along y, then along x; rows run
                from the floor to the lid, of which there are at least four, and so of the columns.

        Raises:
            InvalidState: If it has another shape.
        """
        if velocity.ndim != 4 or velocity.shape[1] != 2 or min(velocity.shape[2:]) < 2 * _ROWS:
            raise InvalidState(
                f"the corrector takes (B, 2, rows, columns) velocities of at least {2 * _ROWS} rows and columns, got "
                f"{brief(velocity)}."
            )
        speed = velocity.abs()
        output = self._at_walls(velocity)
        for axis in (0, 1):
            carrier = speed[:, axis : axis + 1]
            weights = self.interior if axis == 0 else self.interior.flip(1)
            a, b, e = weights[:, :, None, None]
            bent = _differences(velocity, axis)
            output = output + a * _differences(velocity, axis, carrier)
            output = output + b * _differences(bent, axis, carrier) + e * _differences(bent, axis)
        return output

    def _at_walls(self, velocity: Tensor) -> Tensor:
        rows, columns = velocity.shape[2:]
        lid, floor, sides = self.walls
        up = torch.cat((floor, floor.new_zeros(rows - 2 * _ROWS), lid.flip(0)))
        across = torch.cat((sides, sides.new_zeros(columns - 2 * _ROWS), sides.flip(0)))
        return torch.stack((across * velocity[:, 0], up[:, None] * velocity[:, 1]), 1)


def _differences(field: Tensor, axis: int, weight: Tensor | None = None) -> Tensor:
    """Return D of `(B, 2, rows, columns)` fields; the `(B, 1, rows, columns)` weight is averaged onto the faces."""
    dim = axis - 2
    flux = field.diff(dim=dim)
    if weight is not None:
        size = weight.shape[dim] - 1
        flux = flux * 0.5 * (weight.narrow(dim, 0, size) + weight.narrow(dim, 1, size))
    closed = (0, 0, 1, 1) if axis == 0 else (1, 1, 0, 0)
    return nn.functional.pad(flux, closed).diff(dim=dim)
