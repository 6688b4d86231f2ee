"""The viscous Burgers equation on a periodic interval, each state with a viscosity of its own.

    u_t + (u^2 / 2)_x = nu u_xx

Pseudo-spectral in space. In time diffusion is exact and advection is a Runge-Kutta method for the field with diffusion
undone, w = exp(nu k^2 t) u_k: Heun's of order 2 or the classical one of order 4. So only advection limits the step.

Advection carries a signal over max|u| dt / dx cells in a substep. On the imaginary axis the method of order 4 is stable
up to 2 sqrt 2, and that of order 2 grows by less than 1 per cent a step up to 1/2; divided by the largest wave number
times dx (pi, or 2 pi / 3 without aliases) these are the limits of the CFL number.

Source: Lawson, SIAM J. Numer. Anal. 4, 372 (1967); Canuto et al., Spectral Methods: Fundamentals in Single Domains,
Springer 2006.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from typing_extensions import Self, override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.spectral import check_order, first_derivative, random_waves, two_thirds, wave_numbers
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import CFLWarning, InvalidState
from zotoolkit.seeding import check_seed

_REACH = {2: 0.5, 4: 2 * math.sqrt(2)}
_START_MODES = 4


class Burgers(Simulator):
    """Steps `(B, points)` states; `params` is `(B, 1)` with the viscosity of each.

    A shock is about 4 nu / |jump of u| wide; a grid with dx well above that makes it ring.

    Args:
        length: Of the interval.
        points: Of the grid, at least 4.
        dt: Time that one step takes.
        substeps: Steps of the scheme in one step, dt / substeps long each.
        order: Of the scheme in time, 2 or 4.
        dealias: Whether products leave out the shortest third of the waves.
        max_batch: States computed together at most; None for any number.

    Attributes:
        cfl_limit: Largest CFL number, max|u| (dt / substeps) / dx, that gets no CFLWarning. A solver warns once.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Examples:
        >>> burgers = Burgers(points=32)
        >>> burgers.step(burgers.start(2), torch.tensor([[0.05], [0.1]])).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        length: float = 2 * math.pi,
        points: int = 64,
        dt: float = 0.025,
        *,
        substeps: int = 1,
        order: int = 4,
        dealias: bool = True,
        max_batch: int | None = None,
    ) -> None:
        self.length, self.dt = check_positive(length, "length"), check_positive(dt, "dt")
        self.points, self.substeps = check_count(points, "points", 4), check_count(substeps, "substeps")
        super().__init__((self.points,), ("viscosity",), max_batch=max_batch, differentiable=True)
        self.order = check_order(order, (2, 4))
        self.dealias = bool(dealias)
        self.cfl_limit = _REACH[self.order] / (math.pi * (2 / 3 if self.dealias else 1.0))
        self._mask = two_thirds(self.points) if self.dealias else torch.ones(self.points // 2 + 1).double()
        self._slope = -self._mask * first_derivative(self.points, self.length) / 2
        self._square_k = wave_numbers(self.points, self.length) ** 2
        self._warned = False
        self._constants: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def finer(self, factor: int = 4, *, substeps: int = 10, order: int = 4) -> Self:
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
        """Return `(count, points)` smooth random states of mean 0 and variance about 1; the same on every grid.

        Raises:
            InvalidSetting: If count is below 1 or the seed no integer in [0, 2^63).
        """
        carried = min(_START_MODES, (self.points - 1) // 2)
        return random_waves(count, self.points, carried, check_seed(seed), dtype, device)

    def cfl(self, state: Tensor) -> float:
        """Return the largest CFL number of `(B, points)` states."""
        return float(state.detach().abs().max()) * self.dt / self.substeps * self.points / self.length

    @override
    def check_params(self, params: Tensor) -> None:
        wrong = (params[:, 0] <= 0).nonzero().flatten()
        if len(wrong):
            row = int(wrong[0])
            raise InvalidState(
                f"viscosity must be above 0, got {float(params[row, 0]):g} in row {row}; without diffusion there "
                "are shocks that no grid resolves."
            )

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        self._warn(state)
        mask, slope, square_k = self._on(state.dtype, state.device)
        dt = self.dt / self.substeps

        def rate(v: Tensor) -> Tensor:
            """Return what advection changes a field's waves by, dt times their rate."""
            u = torch.fft.irfft(v * mask if self.dealias else v, n=self.points)
            return dt * slope * torch.fft.rfft(u * u)

        whole = torch.exp(-dt * params * square_k)
        v = torch.fft.rfft(state)
        if self.order == 2:
            for _ in range(self.substeps):
                k_1 = rate(v)
                v = whole * (v + k_1 / 2) + rate(whole * (v + k_1)) / 2
            return torch.fft.irfft(v, n=self.points)
        half = torch.exp(-dt / 2 * params * square_k)
        for _ in range(self.substeps):
            k_1 = rate(v)
            k_2 = rate(half * (v + k_1 / 2))
            k_3 = rate(half * v + k_2 / 2)
            k_4 = rate(whole * v + half * k_3)
            v = whole * (v + k_1 / 6) + half * (k_2 + k_3) / 3 + k_4 / 6
        return torch.fft.irfft(v, n=self.points)

    def _warn(self, state: Tensor) -> None:
        if not self._warned and (number := self.cfl(state)) > self.cfl_limit:
            self._warned = True
            needed = math.ceil(self.substeps * number / self.cfl_limit)
            warnings.warn(
                f"the CFL number max|u| dt / dx is {number:.3g}, above {self.cfl_limit:.3g}, so the step may be "
                f"unstable; substeps={needed} would keep to it.",
                CFLWarning,
                stacklevel=6,  # the line that called `step`
            )

    def _on(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return mask, slope and squared wave numbers on a device, made once."""
        key = (dtype, device)
        if key not in self._constants:
            slope = self._slope.to(device, torch.complex64 if dtype == torch.float32 else torch.complex128)
            self._constants[key] = (self._mask.to(device, dtype), slope, self._square_k.to(device, dtype))
        return self._constants[key]
