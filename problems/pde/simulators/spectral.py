"""What pseudo-spectral solvers on a periodic grid share: wave numbers, dealiasing, multipliers as matrices, states."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import torch_generator

_STATE_DRAW = 0x5D1


def check_order(order: object, orders: tuple[int, ...]) -> int:
    """Return the order of a scheme in time.

    Raises:
        InvalidSetting: If it is none of the orders there are.
    """
    if isinstance(order, bool) or not isinstance(order, int) or order not in orders:
        raise InvalidSetting(f"order must be one of {', '.join(map(str, orders))}, got {brief(order)}.")
    return order


def wave_numbers(points: int, length: float) -> Tensor:
    """Return the `(points // 2 + 1,)` float64 angular wave numbers of `torch.fft.rfft`."""
    return 2 * math.pi / length * torch.arange(points // 2 + 1, dtype=torch.float64)


def first_derivative(points: int, length: float) -> Tensor:
    """Return the `(points // 2 + 1,)` complex128 multipliers of d/dx.

    The shortest wave of an even grid gets 0: the grid sees its cosine only, whose derivative it cannot carry.
    """
    multiplier = 1j * wave_numbers(points, length)
    if points % 2 == 0:
        multiplier[-1] = 0
    return multiplier


def two_thirds(points: int) -> Tensor:
    """Return a `(points // 2 + 1,)` float64 mask of the waves below a third of the grid's points.

    The product of two such fields folds nothing onto them. Source: Orszag, J. Atmos. Sci. 28, 1074 (1971).
    """
    return (3 * torch.arange(points // 2 + 1) < points).double()


def as_matrix(multiplier: Tensor, points: int) -> Tensor:
    """Return the `(points, points)` float64 matrix M for which `u @ M` is `irfft(multiplier * rfft(u))`."""
    identity = torch.eye(points, dtype=torch.float64)
    return torch.fft.irfft(multiplier * torch.fft.rfft(identity), n=points)


def random_waves(
    count: int, points: int, modes: int, seed: int, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """Draw smooth periodic states: waves 1 to `modes` with normal coefficients, of variance 1 in the mean.

    The same seed gives the same functions on every grid that carries the modes.

    Returns:
        `(count, points)` states.

    Raises:
        InvalidSetting: If count or modes is below 1 or points below 3.
    """
    check_count(count, "count")
    check_count(modes, "modes")
    angle = 2 * math.pi / check_count(points, "points", 3) * torch.arange(points, dtype=torch.float64)
    number = torch.arange(1, modes + 1, dtype=torch.float64)[:, None]
    basis = torch.cat((torch.cos(number * angle), torch.sin(number * angle))) / math.sqrt(modes)
    weights = torch.randn(count, 2 * modes, generator=torch_generator(seed, _STATE_DRAW), dtype=torch.float64)
    return (weights @ basis).to(device, dtype)
