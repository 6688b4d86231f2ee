"""Search spaces: `gymnasium.spaces.Box` with one axis, and what zotoolkit needs of it as tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import ArrayLike
from torch import Tensor

from zotoolkit.errors import InvalidSpace, InvalidStart, brief

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Bounds(NamedTuple):
    """`(d,)` lower and upper bounds as tensors; infinite where there is none."""

    low: Tensor
    high: Tensor

    @property
    def finite(self) -> bool:
        """Whether every coordinate is bounded on both sides."""
        return bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all())

    def shrunk(self, margin: float) -> Bounds:
        """Return the box shrunk by `margin` on every side; low is above high where it was not wide enough.

        Shrunk by a few roundings more, so that a step of length `margin`, rounded, stays in this box.
        """
        if margin == 0.0:
            return self
        return Bounds(self.low + _padded(margin, self.low), self.high - _padded(margin, self.high))

    def project(self, x: Tensor, margin: float = 0.0) -> Tensor:
        """Return the nearest point of the box shrunk by `margin` on every side; `x` is `(..., d)`."""
        return torch.clamp(x, *self.shrunk(margin))


def _padded(margin: float, bound: Tensor) -> Tensor:
    """Return the margin and four units in the last place of the numbers near a bound; only the margin at infinity."""
    size = torch.where(torch.isfinite(bound), bound.abs() + margin, 0.0)
    return margin + 4 * torch.finfo(bound.dtype).eps * size


def make_space(
    dim: int, low: ArrayLike = -np.inf, high: ArrayLike = np.inf, dtype: str | torch.dtype = "float32"
) -> Box:
    """Build a `(dim,)` Box and check it.

    Args:
        dim: Number of coordinates d, at least 1.
        low: Lower bound, a number or `(d,)` numbers.
        high: Upper bound, likewise.
        dtype: "float32" or "float64".

    Raises:
        InvalidSpace: If dim is not positive, a bound is NaN or of another shape, bounds cross, or dtype is another.

    Examples:
        >>> make_space(2, low=-1.0, high=1.0)
        Box(-1.0, 1.0, (2,), float32)
    """
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise InvalidSpace(f"dim must be a positive integer, got {brief(dim)}.")
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise InvalidSpace(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    ends: list[np.ndarray] = []
    for label, bound in (("low", low), ("high", high)):
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold is no bound
                values = np.asarray(bound, dtype=name)
        except (TypeError, ValueError):
            raise InvalidSpace(f"{label} must be a number or have shape ({dim},), got {brief(bound)}.") from None
        if values.shape not in ((), (dim,)):
            raise InvalidSpace(f"{label} must be a number or have shape ({dim},), got shape {values.shape}.")
        if np.isnan(values).any():
            raise InvalidSpace(f"{label} holds NaN; use -inf or inf where there is no bound.")
        ends.append(np.broadcast_to(values, (dim,)))
    crossed = np.flatnonzero(ends[0] >= ends[1])
    if crossed.size:
        i = int(crossed[0])
        raise InvalidSpace(
            f"low must be below high in every coordinate, got low={ends[0][i]:g} and high={ends[1][i]:g} "
            f"in coordinate {i} ({crossed.size} of {dim} coordinates are crossed)."
        )
    return Box(ends[0].copy(), ends[1].copy(), shape=(dim,), dtype=np.dtype(name).type)


def check_space(space: object) -> Box:
    """Return the space if an objective may have it.

    Raises:
        InvalidSpace: If it is no one-axis floating-point Box.
    """
    if not isinstance(space, Box):
        raise InvalidSpace(
            f"space must be a gymnasium.spaces.Box, got {brief(space)}; zotoolkit.make_space builds one."
        )
    if len(space.shape) != 1 or space.shape[0] < 1:
        raise InvalidSpace(f"space must have shape (d,) with d >= 1, got {space.shape}.")
    if space.dtype not in (np.float32, np.float64):
        raise InvalidSpace(f"space must have dtype float32 or float64, got {space.dtype}.")
    return space


def dtype_of(space: Box) -> torch.dtype:
    """Return the space's torch dtype."""
    return _DTYPES[str(space.dtype)]


def bounds_of(space: Box, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bounds:
    """Return the space's bounds as `(d,)` tensors."""
    dtype = dtype_of(space) if dtype is None else dtype
    return Bounds(
        torch.as_tensor(space.low).to(device=device, dtype=dtype),
        torch.as_tensor(space.high).to(device=device, dtype=dtype),
    )


def check_start(x0: object, space: Box) -> Tensor:
    """Return the start point as a fresh `(d,)` tensor in the space's dtype.

    Args:
        x0: Tensor, array or sequence of d numbers.
        space: Where it must lie.

    Raises:
        InvalidStart: If it is empty, of another shape, not floating point, not finite, or outside the bounds.
    """
    try:
        x = x0.detach().clone() if isinstance(x0, Tensor) else torch.from_numpy(np.array(x0, order="C"))
    except (TypeError, ValueError) as error:
        raise InvalidStart(f"x0 must be {space.shape[0]} numbers, got {brief(x0)}.") from error
    if x.shape != space.shape:
        raise InvalidStart(f"x0 must have shape {space.shape}, got {brief(x)}.")
    if not x.is_floating_point():
        raise InvalidStart(f"x0 must be floating point, got {brief(x)}; write 1.0 instead of 1, or use x0.double().")
    x = x.to(dtype_of(space))
    if not torch.isfinite(x).all():
        i = int(torch.nonzero(~torch.isfinite(x))[0])
        raise InvalidStart(f"x0 must be finite, got {x[i].item()} in coordinate {i}.")
    bounds = bounds_of(space, x.device)
    outside = torch.nonzero((x < bounds.low) | (x > bounds.high))
    if len(outside):
        i = int(outside[0])
        raise InvalidStart(
            f"x0 must lie in the space, got {x[i].item():g} in coordinate {i} with bounds "
            f"[{bounds.low[i].item():g}, {bounds.high[i].item():g}]."
        )
    return x
