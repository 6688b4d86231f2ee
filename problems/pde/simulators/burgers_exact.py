"""An exact periodic solution of the viscous Burgers equation: a wave that steepens, travels and decays.

Where phi solves the heat equation phi_t = nu phi_xx, u = -2 nu phi_x / phi solves Burgers' equation (Cole-Hopf), and so
does c + u(x - c t), which travels. With K = 2 pi / L and

    phi = 1 + sum_n a_n exp(-nu (n K)^2 t) cos(n K x),     sum_n |a_n| < 1, so that phi > 0,

u is 2 nu sum_n a_n n K exp(-nu (n K)^2 t) sin(n K x) / phi, at first steep where phi is small.

Source: Cole, Quart. Appl. Math. 9, 225 (1951); Hopf, Comm. Pure Appl. Math. 3, 201 (1950).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zotoolkit.checks import check_count, check_least, check_positive
from zotoolkit.errors import InvalidSetting, brief


def burgers_wave(
    points: int,
    time: float,
    *,
    viscosity: float,
    amplitudes: Sequence[float] = (0.9,),
    speed: float = 0.0,
    length: float = 2 * math.pi,
) -> Tensor:
    """Return the exact solution on a grid at a time.

    Args:
        points: Of the grid, at x = 0, L / points, ...
        time: At least 0.
        viscosity: nu, above 0.
        amplitudes: a_1, a_2, ...; absolute values that sum to less than 1.
        speed: c, which is the mean of the solution too.
        length: L, of the interval.

    Returns:
        `(points,)` float64.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> burgers_wave(4, 0.0, viscosity=0.5, amplitudes=(0.5,), speed=2.0)
        tensor([2.0000, 2.5000, 2.0000, 1.5000], dtype=torch.float64)
    """
    check_count(points, "points")
    check_least(time, 0, "time")
    check_positive(viscosity, "viscosity")
    k = 2 * math.pi / check_positive(length, "length")
    if not len(amplitudes) or not sum(abs(a) for a in amplitudes) < 1:
        raise InvalidSetting(f"amplitudes must have absolute values that sum to less than 1, got {brief(amplitudes)}.")
    if not math.isfinite(speed):
        raise InvalidSetting(f"speed must be a finite number, got {brief(speed)}.")
    angle = k * (length / points * torch.arange(points, dtype=torch.float64) - speed * time)
    phi, slope = torch.ones_like(angle), torch.zeros_like(angle)
    for n, amplitude in enumerate(amplitudes, 1):
        decayed = amplitude * math.exp(-viscosity * (n * k) ** 2 * time)
        phi += decayed * torch.cos(n * angle)
        slope += decayed * n * k * torch.sin(n * angle)
    return speed + 2 * viscosity * slope / phi
