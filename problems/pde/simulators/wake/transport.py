"""Diffusion and advection of velocities on a staggered grid whose sides are all open.

Beyond its sides a field goes on as it is at its outermost faces.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fill_unused(velocity: Tensor) -> Tensor:
    """Give the places that are no faces the values next to them, in place, so that both components fill one array."""
    velocity[..., 0, :, -1] = velocity[..., 0, :, -2]
    velocity[..., 1, -1, :] = velocity[..., 1, -2, :]
    return velocity


def diffuse(velocity: Tensor, amount: Tensor) -> Tensor:
    """Return velocities after one explicit step of diffusion, second order in space and first in time.

        v + amount * (sum of the four neighbours - 4 v)

    Args:
        velocity: `(B, 2, rows + 1, columns + 1)`.
        amount: `(B,)` viscosity * time step / cell area; stable up to 1/4.

    Returns:
        A tensor of its own, the places that are no faces filled by their neighbours.
    """
    filled = fill_unused(velocity.clone())
    scaled = amount[:, None, None, None] * filled
    after = filled.clone() if amount.requires_grad else filled  # autograd wants back what amount was multiplied by
    for axis, count in ((2, after.shape[2] - 1), (3, after.shape[3] - 1)):
        flux = scaled.narrow(axis, 1, count) - scaled.narrow(axis, 0, count)
        after.narrow(axis, 0, count).add_(flux)
        after.narrow(axis, 1, count).sub_(flux)
    return fill_unused(after)


class SemiLagrangian:
    """Carries a velocity along itself: each face takes the value from where its fluid was a time step ago.

    The way back is one straight Euler step with the velocity at the face, the value there is bilinear between faces:
    first order in time, second in space at a fixed displacement, stable for any step. Its error acts like a viscosity:
    c (1 - c) / 2 cell areas a time step for a displacement of c < 1 cells, none for whole cells.

    Args:
        rows: Cells downstream.
        columns: Cells across.
        displacement: Cells that a velocity of 1 moves in a time step.

    Source: Stam, Stable Fluids, SIGGRAPH 1999.
    """

    def __init__(self, rows: int, columns: int, displacement: float) -> None:
        # grid_sample counts -1 to 1 from the first to the last entry. Of the other component the sum over four faces
        # is taken, not the mean.
        y = torch.linspace(-1, 1, rows + 1, dtype=torch.float64)
        x = torch.linspace(-1, 1, columns + 1, dtype=torch.float64)
        quarter_first = torch.tensor([0.25, 1.0], dtype=torch.float64)[:, None, None]
        self._exact = (
            x.expand(1, rows + 1, -1),
            y[:, None].expand(1, -1, columns + 1),
            -displacement * 2 / columns * quarter_first,
            -displacement * 2 / rows * quarter_first.flip(0),
        )
        self._kept: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __call__(self, velocity: Tensor) -> Tensor:
        """Return `(B, 2, rows + 1, columns + 1)` velocities one step later.

        Args:
            velocity: Of the same shape, the places that are no faces filled by `fill_unused`.
        """
        key = (velocity.device, velocity.dtype)
        if key not in self._kept:
            self._kept[key] = tuple(value.to(*key).contiguous() for value in self._exact)
        x, y, x_way, y_way = self._kept[key]
        across, down = _at_faces(velocity)
        # Interleaving by way of complex numbers takes a fraction of what stacking along the last axis takes.
        origins = torch.view_as_real(torch.complex(across.mul_(x_way).add_(x), down.mul_(y_way).add_(y)))
        return functional.grid_sample(
            velocity.flatten(0, 1)[:, None], origins.flatten(0, 1), padding_mode="border", align_corners=True
        ).view_as(velocity)


def _at_faces(velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Return v_x and v_y at all faces, `(B, 2, rows + 1, columns + 1)` each; what lives on other faces, times 4."""
    across, down = torch.empty_like(velocity), torch.empty_like(velocity)
    across[:, 1], down[:, 0] = velocity[:, 1], velocity[:, 0]
    pairs = velocity[:, 1, :, :-1] + velocity[:, 1, :, 1:]
    across[:, 0, 1:, :-1] = pairs[:, :-1] + pairs[:, 1:]
    across[:, 0, 0, :-1] = 2 * pairs[:, 0]
    across[:, 0, :, -1] = 0
    pairs = velocity[:, 0, :-1] + velocity[:, 0, 1:]
    down[:, 1, :-1, 1:] = pairs[..., :-1] + pairs[..., 1:]
    down[:, 1, :-1, 0] = 2 * pairs[..., 0]
    down[:, 1, -1] = 0
    return across, down
