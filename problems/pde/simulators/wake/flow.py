"""The unsteady wake flow behind a disc, as Solver-in-the-Loop simulates it.

One step: diffusion -> values at the inflow and the sides -> advection -> pressure. The corrector of a solver in the
loop adds to what the step returns.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.explicit_diffusion import STABLE
from problems.pde.simulators.wake.geometry import WIDTH, Mask, check_resolution, soft_faces, solid_cells
from problems.pde.simulators.wake.projection import Projection
from problems.pde.simulators.wake.transport import SemiLagrangian, diffuse
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import CFLWarning, InvalidState

_MASKS = ("hard", "soft")
# States that a CPU's cache holds with all that a step makes of them, at 64 x 32 cells. On finer grids it holds fewer,
# but each chunk reads the matrix that corrects for the disc anew: at 256 x 128 cells (26 MB) a state took 2.9 ms in
# chunks of 2, 1.9 ms in chunks of 16 on one core.
_CHUNK, _LEAST_CHUNK = 32, 16


class WakeFlow(Simulator):
    """Incompressible flow past a disc: from y = 0 with v_y = 1, 200 long and 100 wide, open on all sides.

    A state is `(2, 2 n + 1, n + 1)`: v_y in `[0, :, :n]`, v_x in `[1, :2 n, :]`, and 0 at the places that are no faces;
    what stands there in an input is ignored. The parameter `reynolds` is that of the papers: the viscosity is
    100^2 / reynolds, so the Reynolds number by the disc's diameter of 20 is reynolds / 500.

    Args:
        resolution: Cells across, n; there are 2 n downstream. The papers take 32 for the coarse grid, 128 for the fine.
        dt: Time step.
        mask: "hard" stops the flow at the faces of all cells whose centre lies in the disc. "soft" damps it also
            up to half a cell's diagonal around the disc, as PhiFlow 3.4 does.
        chunk: States that a CPU advances together; None for as many as fit its cache well. A GPU takes all at once.

    Attributes:
        spacing: Width of a cell.
        projection: The pressure step; `projection.open` tells which faces are open.

    Raises:
        InvalidSetting: If resolution is no even integer of at least 16, or another argument is out of its range.

    Warns:
        CFLWarning: In a step whose explicit diffusion is unstable: where dt * n^2 / reynolds is above 1/4. Advection
            is stable at any step.

    Examples:
        >>> flow = WakeFlow(resolution=16)
        >>> state = flow.initial_state(2)
        >>> flow.step(state, torch.tensor([[1e5], [1e6]])).shape
        torch.Size([2, 2, 33, 17])

    Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020 (and its published code).
    """

    def __init__(self, resolution: int = 32, *, dt: float = 1.0, mask: Mask = "hard", chunk: int | None = None) -> None:
        cells = check_resolution(resolution)
        super().__init__((2, 2 * cells + 1, cells + 1), ("reynolds",), differentiable=True)
        self.resolution = cells
        self.dt = check_positive(dt, "dt")
        self.mask = check_choice(mask, _MASKS, "mask")
        self.spacing = WIDTH / cells
        self.projection = Projection(solid_cells(cells), soft_faces(cells) if self.mask == "soft" else None)
        self._advection = SemiLagrangian(2 * cells, cells, self.dt / self.spacing)
        self._chunk = max(_LEAST_CHUNK, _CHUNK * 32**2 // cells**2) if chunk is None else check_count(chunk, "chunk")
        self._warned: set[float] = set()

    @override
    def check_params(self, params: Tensor) -> None:
        least = float(params.min())
        if least <= 0:
            raise InvalidState(f"reynolds must be above 0, got {least:g}: the viscosity is {WIDTH**2:g} / reynolds.")
        amount = self.dt * self.resolution**2 / least
        if amount > STABLE and least not in self._warned:
            self._warned.add(least)
            warnings.warn(
                f"CFL number of diffusion is {amount:.3g}, above {STABLE}, at reynolds={least:g} with "
                f"{2 * self.resolution} x {self.resolution} cells and dt={self.dt:g}: the step is unstable. Take "
                f"reynolds >= {self.dt * self.resolution**2 / STABLE:g}, a smaller dt or a coarser grid.",
                CFLWarning,
                stacklevel=4,
            )

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        size = len(state) if state.is_cuda else self._chunk
        parts = [self._advance(*part) for part in zip(state.split(size), params.split(size), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def initial_state(
        self,
        count: int = 1,
        *,
        poke: float | Tensor = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return `(count, 2, 2 n + 1, n + 1)` states at rest in time: v_y = 1 everywhere, and a poke sideways.

        The poke lets the wake swing at once: v_x = poke in 10 rows of 4 faces behind the middle of the domain, or in
        as many of these rows as a grid of fewer than 20 cells across has.

        Args:
            count: How many states.
            poke: Strength and side, one for all or `(count,)`.
            dtype: float32 or float64.
            device: Where the states shall be.

        Raises:
            InvalidSetting: If count is below 1.
            InvalidState: If poke is of another length.
        """
        count, cells = check_count(count, "count"), self.resolution
        strength = torch.as_tensor(poke, dtype=dtype, device=device)
        if strength.ndim and strength.shape != (count,):
            raise InvalidState(f"poke must be a number or ({count},), got shape {tuple(strength.shape)}.")
        state = torch.zeros(count, *self.fields, dtype=dtype, device=device)
        state[:, 0, :, :-1] = 1.0
        middle = cells // 2
        state[:, 1, cells + 10 : min(cells + 20, 2 * cells), middle - 2 : middle + 2] = strength.view(-1, 1, 1)
        return state

    def _advance(self, state: Tensor, params: Tensor) -> Tensor:
        amount = self.dt * self.resolution**2 / params[:, 0]
        velocity = diffuse(state, amount)
        velocity[:, 0, :2, :] = 1.0
        velocity[:, 0, :, 0] = 1.0
        velocity[:, 0, :, -2:] = 1.0
        return self.projection(self._advection(velocity))
