"""Exponential time differencing for v' = c v + g N(v) with diagonal c: the linear part exactly, the rest in stages.

With z = c dt, E = exp(z) and phi_1(z) = (exp(z) - 1) / z, phi_2(z) = (exp(z) - 1 - z) / z^2:

    ETD1     v+ = E v + dt phi_1 N(v)
    ETDRK2   a  = E v + dt phi_1 N(v)
             v+ = a + dt phi_2 (N(a) - N(v))
    ETDRK4   a  = e v + q N(v)            e = exp(z / 2), q = dt / 2 phi_1(z / 2)
             b  = e v + q N(a)
             c  = e a + q (2 N(b) - N(v))
             v+ = E v + f_1 N(v) + 2 f_2 (N(a) + N(b)) + f_3 N(c)

Near z = 0 these coefficients are differences of nearly equal numbers. They are means over a circle around z instead,
in float64, where nothing cancels.

Source: Cox and Matthews, J. Comput. Phys. 176, 430 (2002), eqs. (4), (22), (26)-(29); Kassam and Trefethen, SIAM J.
Sci. Comput. 26, 1214 (2005), for the contour integral.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from problems.pde.simulators.spectral import check_order

_CONTOUR_POINTS = 32
ORDERS = (1, 2, 4)


def contour_mean(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return an entire function at `(m,)` real float64 points, by Cauchy's formula on unit circles around them.

    Args:
        function: Takes and returns complex128 of any shape; real on the real axis.
        z: Where.
    """
    # Half of the circle: the other half is its mirror image, so the real part of the mean is the whole mean.
    angle = math.pi * (torch.arange(_CONTOUR_POINTS, dtype=torch.float64, device=z.device) + 0.5) / _CONTOUR_POINTS
    return function(z[:, None] + torch.exp(1j * angle)).mean(1).real


def phi_1(z: Tensor) -> Tensor:
    """Return (exp(z) - 1) / z at `(m,)` points; 1 at 0."""
    return contour_mean(lambda w: (w.exp() - 1) / w, z)


def phi_2(z: Tensor) -> Tensor:
    """Return (exp(z) - 1 - z) / z^2 at `(m,)` points; 1 / 2 at 0."""
    return contour_mean(lambda w: (w.exp() - 1 - w) / w**2, z)


def etd_multipliers(order: int, linear: Tensor, nonlinear: Tensor, dt: float) -> dict[str, Tensor]:
    """Return the multipliers of a scheme, by name; those of N(v) hold g.

    Args:
        order: 1, 2 or 4.
        linear: `(m,)` float64 c.
        nonlinear: `(m,)` complex128 g.
        dt: Time step.

    Returns:
        `(m,)` complex128 each.

    Raises:
        InvalidSetting: If there is no scheme of that order.
    """
    check_order(order, ORDERS)
    z = dt * linear
    whole = torch.exp(z).to(nonlinear.dtype)
    if order == 1:
        return {"E": whole, "first": dt * phi_1(z) * nonlinear}
    if order == 2:
        return {"E": whole, "first": dt * phi_1(z) * nonlinear, "second": dt * phi_2(z) * nonlinear}
    f_1 = contour_mean(lambda w: (-4 - w + w.exp() * (4 - 3 * w + w**2)) / w**3, z)
    f_2 = contour_mean(lambda w: (2 + w + w.exp() * (w - 2)) / w**3, z)
    f_3 = contour_mean(lambda w: (-4 - 3 * w - w**2 + w.exp() * (4 - w)) / w**3, z)
    return {
        "E": whole,
        "e": torch.exp(z / 2).to(nonlinear.dtype),
        "q": dt / 2 * phi_1(z / 2) * nonlinear,
        "f_1": dt * f_1 * nonlinear,
        "2 f_2": 2 * dt * f_2 * nonlinear,
        "f_3": dt * f_3 * nonlinear,
    }


class EtdOperators(ABC):
    """The arithmetic that a scheme is written in: what a state is, how a multiplier acts, what N is."""

    @abstractmethod
    def apply(self, name: str, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """Return the named multiplier times x, plus `onto`."""

    @abstractmethod
    def term(self, x: Tensor) -> Tensor:
        """Return N(x)."""


def etd_step(order: int, v: Tensor, operators: EtdOperators, at_start: Tensor | None = None) -> Tensor:
    """Advance by one step of the scheme.

    Args:
        order: 1, 2 or 4.
        v: `(B, m)` states.
        operators: How to compute with them.
        at_start: N(v), where it is at hand.
    """
    times = operators.apply
    n_v = operators.term(v) if at_start is None else at_start
    if order == 1:
        return times("first", n_v, times("E", v))
    if order == 2:
        a = times("first", n_v, times("E", v))
        return times("second", operators.term(a) - n_v, a)
    half = times("e", v)
    a = times("q", n_v, half)
    n_a = operators.term(a)
    n_b = operators.term(times("q", n_a, half))
    n_c = operators.term(times("q", 2 * n_b - n_v, times("e", a)))
    return times("f_3", n_c, times("2 f_2", n_a + n_b, times("f_1", n_v, times("E", v))))
