"""Velocities on a staggered grid that is periodic in both directions: transport, diffusion, down-sampling.

All take `(..., 2, rows, columns)` arrays, v_y first: entry (i, j) of v_y belongs to the face below cell (i, j), entry
(i, j) of v_x to the face at its left. With cells of width 1 the faces of v_y are at (i, j + 1/2), those of v_x at
(i + 1/2, j).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from problems.pde.simulators.grids import grid_ratio
from zotoolkit.errors import InvalidState, brief


def advect(velocity: Tensor, displacement: float) -> Tensor:
    """Return velocities that each face takes from where its fluid was a time step ago.

    The way back is one straight Euler step with the velocity at the face, the value there is bilinear between faces:
    first order in time, second in space at a fixed displacement, stable for any step.

    Args:
        velocity: `(B, 2, rows, columns)`.
        displacement: Cells that a velocity of 1 moves in a time step.

    Source: Stam, Stable Fluids, SIGGRAPH 1999.
    """
    sizes = velocity.shape[2:]
    down, across = _at_faces(velocity)
    origins = []
    for axis, (size, speed) in enumerate(zip(sizes, (down, across), strict=True)):
        index = torch.arange(size, dtype=velocity.dtype, device=velocity.device)
        index = index[:, None] if axis == 0 else index
        # grid_sample counts -1 to 1 from the first to the last entry, which repeats the first one.
        origins.append(torch.remainder(index - displacement * speed, size) * (2 / size) - 1)
    grid = torch.stack((origins[1], origins[0]), -1)
    closed = functional.pad(velocity, (0, 1, 0, 1), "circular")
    sampled = functional.grid_sample(
        closed.flatten(0, 1)[:, None], grid.flatten(0, 1), padding_mode="border", align_corners=True
    )
    return sampled.view_as(velocity)


def diffuse(velocity: Tensor, amount: float) -> Tensor:
    """Return velocities after one explicit step of diffusion, second order in space and first in time.

        v + amount * (sum of the four neighbours - 4 v)

    Args:
        velocity: `(..., rows, columns)`.
        amount: Viscosity * time step / cell area; stable up to 1/4.
    """
    neighbours = velocity.roll(1, -1) + velocity.roll(-1, -1) + velocity.roll(1, -2) + velocity.roll(-1, -2)
    return (1 - 4 * amount) * velocity + amount * neighbours


def downsample_periodic(velocity: Tensor, points: int) -> Tensor:
    """Return velocities on a coarser grid: every so manyth face, averaged along the face.

    Args:
        velocity: `(..., 2, n, n)`.
        points: Cells a side of the coarse grid; must divide n.

    Returns:
        `(..., 2, points, points)`.

    Raises:
        InvalidState: If velocity has another layout.
        InvalidSetting: If points does not divide n.

    Examples:
        >>> fine = torch.arange(4.0).expand(2, 4, 4)
        >>> downsample_periodic(fine, 2)
        tensor([[[0.5000, 2.5000],
                 [0.5000, 2.5000]],
        <BLANKLINE>
                [[0.0000, 2.0000],
                 [0.0000, 2.0000]]])
    """
    if (
        not isinstance(velocity, Tensor)
        or not velocity.is_floating_point()
        or velocity.ndim < 3
        or velocity.shape[-3] != 2
        or velocity.shape[-1] != velocity.shape[-2]
    ):
        raise InvalidState(f"velocity must be (..., 2, n, n), v_y first, got {brief(velocity)}.")
    factor = grid_ratio(velocity.shape[-1], points)
    down = velocity[..., 0, ::factor, :].unflatten(-1, (points, factor)).mean(-1)
    across = velocity[..., 1, :, ::factor].unflatten(-2, (points, factor)).mean(-2)
    return torch.stack((down, across), -3)


def _at_faces(velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Return v_y and v_x at all faces, `(B, 2, rows, columns)` each."""
    down, across = velocity[:, 0], velocity[:, 1]
    pairs = across + across.roll(-1, 2)
    across_there = (pairs + pairs.roll(1, 1)) / 4
    pairs = down + down.roll(-1, 1)
    down_there = (pairs + pairs.roll(1, 2)) / 4
    return torch.stack((down, down_there), 1), torch.stack((across_there, across), 1)
