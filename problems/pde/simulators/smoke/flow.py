"""Smoke in a closed box: a marker that makes the fluid around it rise.

    v_t + (v . grad) v = -grad p + nu lap v + b m e_y,    div v = 0,    m_t + (v . grad) m = s

with the marker m, the buoyancy b and an inflow s of smoke. One step: inflow -> marker carried -> velocity carried by
itself -> diffusion -> buoyancy -> pressure. Walls let nothing through and do not hold the fluid back along them. The
corrector of a solver in the loop adds to what the step returns.

Source: Fedkiw, Stam and Jensen, Visual Simulation of Smoke, SIGGRAPH 2001; after the buoyancy-driven flow of Um, Brand,
Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020, with a box, clouds and an inflow of our own choice.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self, override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.explicit_diffusion import diffusion_amount
from problems.pde.simulators.grids import grid_ratio
from problems.pde.simulators.smoke.marker import advect_marker
from problems.pde.simulators.smoke.projection import ClosedProjection, close
from problems.pde.simulators.wake.staggered import downsample
from problems.pde.simulators.wake.transport import SemiLagrangian, diffuse, fill_unused
from zotoolkit.checks import check_choice, check_count, check_least, check_positive
from zotoolkit.errors import InvalidState, brief
from zotoolkit.seeding import check_seed, torch_generator

Advection = Literal["maccormack", "semi-lagrangian"]
_CHUNK = 64  # states that a CPU's cache holds with all that a step makes of them, at 32 x 32 cells
_START_DRAW = 0x50E
_BLOBS = 3
_SOURCE = (0.15, 0.5, 0.08)  # y, x and radius of the inflow, by the box's side


class SmokeFlow(Simulator):
    """Steps `(B, 3, n + 1, n + 1)` states of a square box: v_y, v_x and the marker.

    v_y stands in `[0, :, :n]`, v_x in `[1, :n, :]`, the marker in `[2, :n, :n]`; other places hold 0, and what stands
    there in an input is ignored. y points up. The one parameter is the `buoyancy`: by how much a marker of 1 speeds
    its fluid up in a unit of time.

    Args:
        resolution: Cells a side, n; at least 4.
        dt: Time that one step takes.
        length: Of a side.
        viscosity: nu; 0 for none beyond what advection brings along.
        inflow: Marker that comes in a unit of time, in a disc near the bottom; 0 for none.
        advection: How the marker is carried: "maccormack", or "semi-lagrangian", which smears it more.
        chunk: States that a CPU advances together; None for as many as fit its cache well. A GPU takes all at once.

    Attributes:
        spacing: Width of a cell.

    Raises:
        InvalidSetting: If an argument is out of its range.

    Warns:
        CFLWarning: If the explicit diffusion is unstable: where nu dt / spacing^2 is above 1/4. Advection is stable at
            any step.

    Examples:
        >>> smoke = SmokeFlow(resolution=16)
        >>> smoke.step(smoke.start(2), torch.tensor([[0.1], [0.2]])).shape
        torch.Size([2, 3, 17, 17])
    """

    def __init__(
        self,
        resolution: int = 32,
        dt: float = 1.0,
        *,
        length: float = 100.0,
        viscosity: float = 0.0,
        inflow: float = 0.0,
        advection: Advection = "maccormack",
        chunk: int | None = None,
    ) -> None:
        cells = check_count(resolution, "resolution", 4)
        super().__init__((3, cells + 1, cells + 1), ("buoyancy",), differentiable=True)
        self.resolution, self.dt, self.length = cells, check_positive(dt, "dt"), check_positive(length, "length")
        self.viscosity, self.inflow = check_least(viscosity, 0, "viscosity"), check_least(inflow, 0, "inflow")
        check_choice(advection, ("maccormack", "semi-lagrangian"), "advection")
        self.advection: Advection = advection
        self.spacing = self.length / cells
        self._chunk = max(1, _CHUNK * 32**2 // cells**2) if chunk is None else check_count(chunk, "chunk")
        self._displacement = self.dt / self.spacing
        self._advection = SemiLagrangian(cells, cells, self._displacement)
        self._projection = ClosedProjection(cells, cells)
        self._source = self.dt * self.inflow * self._disc(*_SOURCE)
        self._amount = diffusion_amount(self.viscosity, self.dt, self.spacing)

    def finer(self, factor: int = 4) -> Self:
        """Return a solver of the same flow and step on a grid so many times finer: the reference.

        Raises:
            InvalidSetting: If factor is below 1.
        """
        return type(self)(
            check_count(factor, "factor") * self.resolution,
            self.dt,
            length=self.length,
            viscosity=self.viscosity,
            inflow=self.inflow,
            advection=self.advection,
        )

    def start(
        self,
        count: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return `(count, 3, n + 1, n + 1)` states at rest with three round clouds each in the lower half of the box.

        They are the same clouds on every grid, their edges as sharp as the grid.

        Raises:
            InvalidSetting: If count is below 1 or the seed no integer in [0, 2^63).
        """
        count, chance = check_count(count, "count"), torch_generator(check_seed(seed), _START_DRAW)
        y, x, radius = torch.rand(3, count, _BLOBS, generator=chance, dtype=torch.float64)
        state = torch.zeros(count, *self.fields, dtype=torch.float64)
        for row in range(count):
            clouds = [
                self._disc(0.15 + 0.35 * float(y[row, blob]), 0.2 + 0.6 * float(x[row, blob]), size)
                for blob, size in enumerate((0.07 + 0.08 * radius[row]).tolist())
            ]
            state[row, 2, :-1, :-1] = torch.stack(clouds).amax(0)
        return state.to(device, dtype)

    def downsample(self, states: Tensor, resolution: int) -> Tensor:
        """Return `(..., 3, n + 1, n + 1)` states of a finer grid on one of `resolution` cells a side.

        Faces keep their flow, cells their mean marker.

        Raises:
            InvalidState: If states has another layout.
            InvalidSetting: If resolution does not divide n.

        Examples:
            >>> smoke = SmokeFlow(resolution=8)
            >>> smoke.downsample(smoke.finer().start(5), 8).shape
            torch.Size([5, 3, 9, 9])
        """
        if (
            not isinstance(states, Tensor)
            or states.ndim < 3
            or states.shape[-3] != 3
            or states.shape[-1] != states.shape[-2]
        ):
            raise InvalidState(f"states must be (..., 3, n + 1, n + 1), got {brief(states)}.")
        factor = grid_ratio(states.shape[-1] - 1, resolution)
        velocity = downsample(states[..., :2, :, :], factor)
        marker = states[..., 2, :-1, :-1].unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor)).mean((-1, -3))
        return torch.cat((velocity, torch.nn.functional.pad(marker, (0, 1, 0, 1))[..., None, :, :]), -3)

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        size = len(state) if state.is_cuda else self._chunk
        parts = [self._advance(*part) for part in zip(state.split(size), params.split(size), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _advance(self, state: Tensor, params: Tensor) -> Tensor:
        velocity, marker = close(state[:, :2].clone()), state[:, 2, :-1, :-1]
        if self.inflow:
            marker = marker + self._source.to(marker)
        maccormack = self.advection == "maccormack"
        marker = advect_marker(marker, velocity, self._displacement, maccormack=maccormack)
        velocity = self._advection(fill_unused(velocity))
        if self.viscosity:
            velocity = diffuse(velocity, velocity.new_full((len(velocity),), self._amount))
        lifted = (self.dt / 2) * params[:, 0, None, None] * marker
        push = torch.nn.functional.pad(lifted[:, 1:] + lifted[:, :-1], (0, 1, 1, 1))
        velocity = torch.stack((velocity[:, 0] + push, velocity[:, 1]), 1)
        velocity = self._projection(close(velocity))
        return torch.cat((velocity, torch.nn.functional.pad(marker, (0, 1, 0, 1))[:, None]), 1)

    def _disc(self, y: float, x: float, radius: float) -> Tensor:
        """Return `(n, n)` float64: 1 in a disc, places and radius by the box's side, its edge a cell wide."""
        center = (torch.arange(self.resolution, dtype=torch.float64) + 0.5) / self.resolution
        inside = radius - torch.hypot(center[:, None] - y, center - x)
        return (inside * self.resolution + 0.5).clamp(0, 1)
