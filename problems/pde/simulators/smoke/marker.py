"""A marker that a flow in a closed box carries: advection of a field in the cells."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def advect_marker(marker: Tensor, velocity: Tensor, displacement: float, *, maccormack: bool) -> Tensor:
    """Return the marker one step later.

    Semi-Lagrangian: each cell takes the value from where its fluid was, by one straight Euler step, bilinear between
    cells; what lies beyond the outermost centres is as there. MacCormack's method goes back again to see half of its
    error and takes it off, with the values that it started from as limits: second order where nothing is limited.

    Args:
        marker: `(B, rows, columns)`.
        velocity: `(B, 2, rows + 1, columns + 1)`.
        displacement: Cells that a velocity of 1 moves in a time step.
        maccormack: Whether to correct.

    Source: Selle, Fedkiw, Kim, Liu and Rossignac, J. Sci. Comput. 35, 350 (2008).
    """
    down = (velocity[:, 0, :-1, :-1] + velocity[:, 0, 1:, :-1]) / 2
    across = (velocity[:, 1, :-1, :-1] + velocity[:, 1, :-1, 1:]) / 2
    ways = torch.stack((across, down), -1) * displacement
    forth = _origins(-ways)
    carried = _sample(marker, forth)
    if not maccormack:
        return carried
    corrected = carried + (marker - _sample(carried, _origins(ways))) / 2
    low, high = _corners(marker, forth)
    return torch.minimum(torch.maximum(corrected, low), high)


def _origins(ways: Tensor) -> Tensor:
    """Return the `(B, rows, columns, 2)` places, x first, in grid_sample's count of -1 to 1 from side to side."""
    rows, columns = ways.shape[1:3]
    y = (2 * torch.arange(rows, dtype=ways.dtype, device=ways.device) + 1) / rows - 1
    x = (2 * torch.arange(columns, dtype=ways.dtype, device=ways.device) + 1) / columns - 1
    centers = torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), -1)
    return centers + ways * (2 / ways.new_tensor([columns, rows]))


def _sample(marker: Tensor, places: Tensor) -> Tensor:
    return functional.grid_sample(marker[:, None], places, padding_mode="border", align_corners=False)[:, 0]


def _corners(marker: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest of the four values that `_sample` interpolates between."""
    rows, columns = marker.shape[1:]
    x = ((places[..., 0].detach() + 1) * columns - 1) / 2
    y = ((places[..., 1].detach() + 1) * rows - 1) / 2
    left, top = x.floor().clamp(0, columns - 1).long(), y.floor().clamp(0, rows - 1).long()
    right, bottom = (x.floor() + 1).clamp(0, columns - 1).long(), (y.floor() + 1).clamp(0, rows - 1).long()
    flat = marker.flatten(1)
    values = torch.stack(
        [
            flat.gather(1, (row * columns + column).flatten(1)).view_as(marker)
            for row in (top, bottom)
            for column in (left, right)
        ]
    )
    return values.amin(0), values.amax(0)
