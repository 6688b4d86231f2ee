"""The two-dimensional Burgers equation on a periodic square, driven by sine waves that change with time.

    v_t + (v . grad) v = nu lap v + sum_i a_i sin(k_i . x + phi_i + omega_i t)

One step: semi-Lagrangian advection -> explicit diffusion -> force, on a staggered grid. The corrector of a solver in
the loop adds to what the step returns.

Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020 (and its published code). Theirs takes wave
vectors that do not fit the square, so that the force jumps at its sides; here they are rounded to ones that do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import Self, override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.explicit_diffusion import diffusion_amount
from problems.pde.simulators.periodic_plane import advect, diffuse, downsample_periodic
from zotoolkit.checks import check_count, check_least, check_positive
from zotoolkit.errors import InvalidState, brief
from zotoolkit.seeding import check_seed, torch_generator

_COLUMNS = ("amplitude_y", "amplitude_x", "wave_y", "wave_x", "phase", "frequency")
_CHUNK = 128  # states that a CPU's cache holds with all that a step makes of them, at 32 x 32 cells
_START_MODES = 4
_START_DRAW, _FORCE_DRAW = 0xF0, 0xF1


class ForcedBurgers(Simulator):
    """Steps `(B, 3, n, n)` states: v_y, v_x and, in every cell of the third field, the time.

    The time is part of the state because the force depends on it: so a step is a function of state and parameters
    alone. A corrector leaves it as it is. The parameters are the waves of the force, constant along a trajectory:
    `params` is `(B, 6 * forces)`, six blocks of one number a wave: amplitude_y, amplitude_x, wave_y, wave_x, phase,
    frequency.

    Args:
        points: Cells a side, n; at least 4. The paper takes 32 for the coarse grid and 128 for the fine.
        dt: Time that one step takes.
        viscosity: nu; 0 for none.
        forces: Waves that drive the flow; 0 for none.
        length: Of a side.
        chunk: States that a CPU advances together; None for as many as fit its cache well. A GPU takes all at once.

    Attributes:
        spacing: Width of a cell.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Warns:
        CFLWarning: If the explicit diffusion is unstable: where nu dt / spacing^2 is above 1/4. Advection is stable at
            any step.

    Examples:
        >>> burgers = ForcedBurgers(points=16)
        >>> after = burgers.step(burgers.start(2), burgers.random_forces(2))
        >>> after.shape, float(after[0, 2, 0, 0])
        (torch.Size([2, 3, 16, 16]), 0.10000000149011612)
    """

    def __init__(
        self,
        points: int = 32,
        dt: float = 0.1,
        *,
        viscosity: float = 0.1,
        forces: int = 20,
        length: float = 32.0,
        chunk: int | None = None,
    ) -> None:
        self.points, self.forces = check_count(points, "points", 4), check_count(forces, "forces", 0)
        self.dt, self.length = check_positive(dt, "dt"), check_positive(length, "length")
        self.viscosity = check_least(viscosity, 0, "viscosity")
        names = [f"{column}_{number}" for column in _COLUMNS for number in range(self.forces)]
        super().__init__((3, self.points, self.points), names, differentiable=True)
        self.spacing = self.length / self.points
        self._chunk = max(1, _CHUNK * 32**2 // self.points**2) if chunk is None else check_count(chunk, "chunk")
        self._amount = diffusion_amount(self.viscosity, self.dt, self.spacing)

    def finer(self, factor: int = 4) -> Self:
        """Return a solver of the same equation and step on a grid so many times finer: the reference.

        Raises:
            InvalidSetting: If factor is below 1.
        """
        points = check_count(factor, "factor") * self.points
        return type(self)(points, self.dt, viscosity=self.viscosity, forces=self.forces, length=self.length)

    def start(
        self,
        count: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return `(count, 3, n, n)` states at time 0, with smooth random velocities of variance about 4.

        They are the same functions on every grid.

        Raises:
            InvalidSetting: If count is below 1 or the seed no integer in [0, 2^63).
        """
        count, chance = check_count(count, "count"), torch_generator(check_seed(seed), _START_DRAW)
        carried = min(_START_MODES, (self.points - 1) // 2)
        number = torch.arange(-_START_MODES, _START_MODES + 1, dtype=torch.float64)
        k_y, k_x = (k.flatten() for k in torch.meshgrid(number, number, indexing="ij"))
        size = torch.hypot(k_y, k_x)
        weight = torch.where(size > 0, size.clamp(min=1) ** -4, 0)
        drawn = torch.randn(2, count, 2, len(size), generator=chance, dtype=torch.float64)
        waves = drawn * weight * math.sqrt(4 / float((weight**2).sum()))
        kept = torch.maximum(k_y.abs(), k_x.abs()) <= carried
        state = torch.zeros(count, *self.fields, dtype=torch.float64)
        for component in range(2):
            y, x = self._faces(component)
            angle = 2 * math.pi / self.length * (k_y[kept, None, None] * y[:, None] + k_x[kept, None, None] * x)
            for part, wave in zip(waves[..., kept], (torch.cos(angle), torch.sin(angle)), strict=True):
                state[:, component] += torch.einsum("bk,kyx->byx", part[:, component], wave)
        return state.to(device, dtype)

    def random_forces(
        self,
        count: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return `(count, 6 * forces)` parameters drawn as in the paper.

        Wave vectors have lengths from 0.8 to 1.6 in any direction, rounded to waves that fit the square; amplitudes
        reach from -0.15 to 0.15 in each component, frequencies from -0.4 to 0.4.

        Raises:
            InvalidSetting: If count is below 1 or the seed no integer in [0, 2^63).
        """
        count, chance = check_count(count, "count"), torch_generator(check_seed(seed), _FORCE_DRAW)
        angle, length, first, second, phase, frequency = torch.rand(
            6, count, self.forces, generator=chance, dtype=torch.float64
        )
        unit = 2 * math.pi / self.length
        wave = 0.8 * (1 + length) / unit
        wave_y, wave_x = (wave * torch.sin(math.pi * angle)).round(), (wave * torch.cos(math.pi * angle)).round()
        columns = (
            *(0.3 * (first - 0.5), 0.3 * (second - 0.5)),
            *(unit * wave_y, unit * wave_x),
            *(2 * math.pi * phase, 0.8 * (frequency - 0.5)),
        )
        return torch.cat(columns, 1).to(device, dtype)

    def force(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the `(B, 2, n, n)` force at the faces and the states' times; a corrector may take it as input.

        Raises:
            InvalidState: If the input does not fit the simulator.
        """
        params = self.check_inputs(state, params)
        amplitude_y, amplitude_x, wave_y, wave_x, phase, frequency = params.unflatten(1, (6, self.forces)).unbind(1)
        now = phase + frequency * state[:, 2, 0, 0][:, None]
        parts = []
        for component, amplitude in enumerate((amplitude_y, amplitude_x)):
            y, x = (place.to(state) for place in self._faces(component))
            # sin(a + b) = sin a cos b + cos a sin b: sines along the sides only, and one product for all waves.
            along_y = wave_y[..., None] * y + now[..., None]
            along_x = wave_x[..., None] * x
            by_y = torch.cat((along_y.sin(), along_y.cos()), 1)
            by_x = torch.cat((amplitude[..., None] * along_x.cos(), amplitude[..., None] * along_x.sin()), 1)
            parts.append(by_y.mT @ by_x)
        return torch.stack(parts, 1)

    def downsample(self, states: Tensor, points: int) -> Tensor:
        """Return `(..., 3, n, n)` states of a finer grid on one of `points` cells a side.

        Raises:
            InvalidState: If states has another layout.
            InvalidSetting: If points does not divide n.

        Examples:
            >>> burgers = ForcedBurgers(points=8)
            >>> burgers.downsample(burgers.finer().start(5), 8).shape
            torch.Size([5, 3, 8, 8])
        """
        if not isinstance(states, Tensor) or states.ndim < 3 or states.shape[-3] != 3:
            raise InvalidState(f"states must be (..., 3, n, n), got {brief(states)}.")
        velocity = downsample_periodic(states[..., :2, :, :], points)
        return torch.cat((velocity, states[..., 2:, :points, :points]), -3)

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        size = len(state) if state.is_cuda else self._chunk
        parts = [self._advance(*part) for part in zip(state.split(size), params.split(size), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _advance(self, state: Tensor, params: Tensor) -> Tensor:
        velocity = advect(state[:, :2], self.dt / self.spacing)
        if self.viscosity:
            velocity = diffuse(velocity, self._amount)
        if self.forces:
            velocity = velocity + self.dt * self.force(state, params)
        return torch.cat((velocity, state[:, 2:] + self.dt), 1)

    def _faces(self, component: int) -> tuple[Tensor, Tensor]:
        """Return the `(n,)` places of a component's faces along y and x."""
        number = torch.arange(self.points, dtype=torch.float64)
        middle, edge = self.spacing * (number + 0.5), self.spacing * number
        return (edge, middle) if component == 0 else (middle, edge)
