"""From a fine periodic grid to a coarse one whose points are among the fine one's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidSetting, InvalidState, brief

DownsamplingMethod = Literal["spectral", "stride"]


def grid_ratio(fine: int, coarse: int) -> int:
    """Return how many fine cells lie in a coarse one.

    Raises:
        InvalidSetting: If a size is below 1 or the coarse grid does not divide the fine one.
    """
    check_count(fine, "fine")
    check_count(coarse, "coarse")
    if fine % coarse:
        below = max(size for size in range(1, min(coarse, fine) + 1) if fine % size == 0)
        raise InvalidSetting(
            f"a grid of {coarse} points does not divide one of {fine}; {below} does, or refine to "
            f"{coarse * (fine // coarse + 1)}."
        )
    return fine // coarse


def downsample(states: Tensor, points: int, method: DownsamplingMethod = "spectral") -> Tensor:
    """Bring states from a fine periodic grid onto a coarse one.

    Both methods agree where the fine states have no wave shorter than two coarse cells. Where they have, "spectral"
    leaves these waves out and "stride" folds them into longer ones.

    Args:
        states: `(..., n)` floating point.
        points: Of the coarse grid; must divide n.
        method: "spectral": keep the waves that the coarse grid can carry; "stride": keep every (n / points)th point.

    Returns:
        `(..., points)` of the same dtype and device.

    Raises:
        InvalidSetting: If the grids do not divide or the method is unknown.
        InvalidState: If states are no floating-point tensor with an axis of points.

    Examples:
        >>> x = torch.linspace(0, 2 * torch.pi, 17)[:16]
        >>> torch.allclose(downsample(torch.sin(x), 4), torch.sin(x)[::4], atol=1e-6)
        True
        >>> downsample(torch.sin(3 * x), 4).abs().max() < 1e-6
        tensor(True)
    """
    check_choice(method, ("spectral", "stride"), "method")
    if not isinstance(states, Tensor) or not states.is_floating_point() or not states.ndim:
        raise InvalidState(f"states must be (..., n) floating point, got {brief(states)}.")
    size = states.shape[-1]
    ratio = grid_ratio(size, points)
    if method == "stride":
        return states[..., ::ratio].clone()
    if ratio == 1:
        return states.clone()
    waves = torch.fft.rfft(states)[..., : points // 2 + 1] / ratio
    if points % 2 == 0:  # of the shortest wave the grid sees the cosine, in one coefficient where there were two
        waves = torch.cat((waves[..., :-1], 2 * waves[..., -1:].real.to(waves.dtype)), -1)
    return torch.fft.irfft(waves, n=points)
