"""Velocities on a staggered grid: divergence, vorticity, down-sampling.

All take `(..., 2, rows + 1, columns + 1)` arrays, v_y first, whose last column of v_y and last row of v_x are no faces.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief


def divergence(velocity: Tensor) -> Tensor:
    """Return the `(..., rows, columns)` net flow out of each cell, in velocity per cell."""
    down, across = velocity[..., 0, :, :-1], velocity[..., 1, :-1, :]
    return (down[..., 1:, :] - down[..., :-1, :]) + (across[..., 1:] - across[..., :-1])


def vorticity(velocity: Tensor, spacing: float = 1.0) -> Tensor:
    """Return the `(..., rows - 1, columns - 1)` vorticity dv_y/dx - dv_x/dy at the corners within the domain.

    Args:
        velocity: `(..., 2, rows + 1, columns + 1)`.
        spacing: Width of a cell.

    Raises:
        InvalidState: If velocity has another layout.
        InvalidSetting: If spacing is not positive.
    """
    check_staggered(velocity)
    down, across = velocity[..., 0, 1:-1, :-1], velocity[..., 1, :-1, 1:-1]
    curl = (down[..., 1:] - down[..., :-1]) - (across[..., 1:, :] - across[..., :-1, :])
    return curl / check_positive(spacing, "spacing")


def downsample(velocity: Tensor, factor: int = 4) -> Tensor:
    """Return velocities on a grid coarser by a factor: every so manyth face, averaged along the face.

    The flow through a coarse face is the flow through the fine faces that it covers, so a field without divergence
    stays one.

    Args:
        velocity: `(..., 2, rows + 1, columns + 1)`.
        factor: Fine cells a coarse cell, in each direction.

    Returns:
        `(..., 2, rows / factor + 1, columns / factor + 1)`.

    Raises:
        InvalidState: If velocity has another layout.
        InvalidSetting: If factor does not divide the grid.

    Examples:
        >>> fine = torch.zeros(2, 9, 5)
        >>> fine[0, 4, :4] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> downsample(fine, 2)[0]
        tensor([[0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000],
                [1.5000, 3.5000, 0.0000],
                [0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])

    Source: Um et al., NeurIPS 2020, whose code halves twice.
    """
    check_staggered(velocity)
    factor = check_count(factor, "factor")
    rows, columns = velocity.shape[-2] - 1, velocity.shape[-1] - 1
    if rows % factor or columns % factor:
        raise InvalidSetting(f"factor must divide the grid of {rows} x {columns} cells, got {factor}.")
    down = velocity[..., 0, ::factor, :-1].unflatten(-1, (-1, factor)).mean(-1)
    across = velocity[..., 1, :-1, ::factor].unflatten(-2, (-1, factor)).mean(-2)
    return torch.stack((functional.pad(down, (0, 1)), functional.pad(across, (0, 0, 0, 1))), -3)


def face_mask(fields: Sequence[int]) -> Tensor:
    """Return `(2, rows + 1, columns + 1)` bool: which places of one state are faces.

    Raises:
        InvalidState: If fields is of another layout.

    Examples:
        >>> face_mask((2, 3, 2)).sum((1, 2))
        tensor([3, 4])
    """
    mask = torch.ones(*fields)
    check_staggered(mask)
    mask[0, :, -1] = mask[1, -1] = 0
    return mask.bool()


def check_staggered(velocity: object) -> None:
    """Check the layout.

    Raises:
        InvalidState: If velocity is no `(..., 2, rows + 1, columns + 1)` floating-point tensor of at least one cell.
    """
    if (
        not isinstance(velocity, Tensor)
        or not velocity.is_floating_point()
        or velocity.ndim < 3
        or velocity.shape[-3] != 2
        or min(velocity.shape[-2:]) < 2
    ):
        raise InvalidState(f"velocity must be (..., 2, rows + 1, columns + 1), v_y first, got {brief(velocity)}.")
