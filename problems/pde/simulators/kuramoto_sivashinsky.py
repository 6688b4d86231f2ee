"""The Kuramoto-Sivashinsky equation on a periodic interval: chaos in one dimension.

    u_t + u u_x + u_xx + u_xxxx = 0

Pseudo-spectral in space; in time exponential time differencing of order 1, 2 or 4 (`problems.pde.simulators.etd`).

Two ways to compute the same step:

    "fft"      the state stays in Fourier space over all substeps; each N costs two real FFTs
    "matrix"   every multiplier is a (points, points) matrix and N(u) is u^2, so a step of order 1 is two products

"auto" takes the matrix up to 64 points. On one CPU core it was then faster or as fast, in float32 and for 64 to 1,024
states; at 192 points the FFT was twice as fast.

Source: Kuramoto, Prog. Theor. Phys. 55, 356 (1976); Sivashinsky, Acta Astronautica 4, 1177 (1977); the scheme as in
Kassam and Trefethen, SIAM J. Sci. Comput. 26, 1214 (2005), section 4.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self, override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.etd import ORDERS, EtdOperators, etd_multipliers, etd_step
from problems.pde.simulators.spectral import (
    as_matrix,
    check_order,
    first_derivative,
    random_waves,
    two_thirds,
    wave_numbers,
)
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.seeding import check_seed

Transform = Literal["auto", "fft", "matrix"]
_MATRIX_POINTS = 64


class KuramotoSivashinsky(Simulator):
    """Steps `(B, points)` states of the Kuramoto-Sivashinsky equation; has no parameters.

    The defaults are the coarse solver of the solver-in-the-loop problem, which leaves much to a corrector: its explicit
    order 1 is unstable at this step, so that from states on the attractor it is off by a quarter after 8 steps and most
    of them have blown up after 60. `finer` makes the reference; order 2 or 4 makes a solver that stands alone.

    Args:
        length: Of the interval. Below 2 pi every state decays to its mean; beyond about 20 states are chaotic.
        points: Of the grid, at least 4.
        dt: Time that one step takes.
        substeps: Steps of the scheme in one step, dt / substeps long each.
        order: Of the scheme in time: 1 (ETD1), 2 (ETDRK2) or 4 (ETDRK4).
        dealias: Whether products leave out the shortest third of the waves. The equation damps these by itself.
        transform: "fft", "matrix", or "auto", which takes the faster.
        max_batch: States computed together at most; None for any number.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> coarse = KuramotoSivashinsky()
        >>> coarse.step(coarse.start(3)).shape
        torch.Size([3, 48])
        >>> coarse.finer().points
        192
    """

    def __init__(
        self,
        length: float = 60.0,
        points: int = 48,
        dt: float = 0.5,
        *,
        substeps: int = 1,
        order: int = 1,
        dealias: bool = False,
        transform: Transform = "auto",
        max_batch: int | None = None,
    ) -> None:
        self.length, self.dt = check_positive(length, "length"), check_positive(dt, "dt")
        self.points, self.substeps = check_count(points, "points", 4), check_count(substeps, "substeps")
        super().__init__((self.points,), max_batch=max_batch, differentiable=True)
        self.order = check_order(order, ORDERS)
        self.dealias = bool(dealias)
        check_choice(transform, ("auto", "fft", "matrix"), "transform")
        faster = "matrix" if self.points <= _MATRIX_POINTS else "fft"
        self.transform = faster if transform == "auto" else transform
        k = wave_numbers(self.points, self.length)
        mask = two_thirds(self.points) if self.dealias else torch.ones_like(k)
        slope = -mask * first_derivative(self.points, self.length) / 2
        self._multipliers = etd_multipliers(self.order, k**2 - k**4, slope, self.dt / self.substeps)
        if self.dealias:
            self._multipliers["mask"] = mask.to(slope.dtype)
        self._operators: dict[tuple[torch.dtype, torch.device], _Matrices | _Waves] = {}

    def finer(self, factor: int = 4, *, substeps: int = 10, order: int = 2) -> Self:
        """Return a solver of the same equation and step on a grid so many times finer: the reference.

        Raises:
            InvalidSetting: If an argument is out of its range.
        """
        points = check_count(factor, "factor") * self.points
        return type(self)(self.length, points, self.dt, substeps=substeps, order=order, dealias=self.dealias)

    def start(
        self,
        count: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return `(count, points)` smooth random states of mean 0; the same functions on every grid.

        They are not on the attractor: advance them by some 100 units of time first where that matters.

        Raises:
            InvalidSetting: If count is below 1 or the seed no integer in [0, 2^63).
        """
        modes = max(1, round(self.length / (2 * math.pi)))  # the waves that grow
        carried = min(modes, (self.points - 1) // 2)
        return random_waves(count, self.points, carried, check_seed(seed), dtype, device)

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        operators = self._on(state.dtype, state.device)
        if isinstance(operators, _Matrices):
            for _ in range(self.substeps):
                state = etd_step(self.order, state, operators)
            return state
        waves, square = torch.fft.rfft(state), None
        if not self.dealias:
            square = torch.fft.rfft(state * state)
        for _ in range(self.substeps):
            waves = etd_step(self.order, waves, operators, square)
            square = None
        return torch.fft.irfft(waves, n=self.points)

    def _on(self, dtype: torch.dtype, device: torch.device) -> _Matrices | _Waves:
        """Return the operators of a dtype and device, made once."""
        key = (dtype, device)
        if key not in self._operators:
            if self.transform == "matrix":
                named = {name: as_matrix(m, self.points) for name, m in self._multipliers.items()}
                self._operators[key] = _Matrices({name: m.to(device, dtype) for name, m in named.items()})
            else:
                complex_dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
                named = {name: m.to(device, complex_dtype) for name, m in self._multipliers.items()}
                self._operators[key] = _Waves(named, self.points)
        return self._operators[key]


class _Matrices(EtdOperators):
    """States are values on the grid, `(B, points)`."""

    def __init__(self, matrices: dict[str, Tensor]) -> None:
        self._matrices = matrices

    @override
    def apply(self, name: str, x: Tensor, onto: Tensor | None = None) -> Tensor:
        matrix = self._matrices[name]
        return x @ matrix if onto is None else torch.addmm(onto, x, matrix)

    @override
    def term(self, x: Tensor) -> Tensor:
        if "mask" in self._matrices:
            x = self.apply("mask", x)
        return x * x


class _Waves(EtdOperators):
    """States are Fourier coefficients, `(B, points // 2 + 1)`."""

    def __init__(self, multipliers: dict[str, Tensor], points: int) -> None:
        self._multipliers = multipliers
        self._points = points

    @override
    def apply(self, name: str, x: Tensor, onto: Tensor | None = None) -> Tensor:
        multiplier = self._multipliers[name]
        return x * multiplier if onto is None else torch.addcmul(onto, x, multiplier)

    @override
    def term(self, x: Tensor) -> Tensor:
        if "mask" in self._multipliers:
            x = x * self._multipliers["mask"]
        u = torch.fft.irfft(x, n=self._points)
        return torch.fft.rfft(u * u)
