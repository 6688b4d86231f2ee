"""The wake flow stepped by PhiFlow 3.4: somebody else's solver of the same equations."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.wake.geometry import DISC_CENTER, DISC_RADIUS, WIDTH, check_resolution
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidState, MissingExtra


class PhiFlowWake(Simulator):
    """The states, parameters and step of `WakeFlow(mask="soft")`, computed by PhiFlow on its torch backend.

    The pressure comes from conjugate gradients, so a step is as accurate as their tolerance. CPU only.

    Args:
        resolution: Cells across, n; there are 2 n downstream.
        dt: Time step.
        tol: Tolerance of the pressure solve, relative and absolute; the papers take 1e-5.
        max_iterations: Of the pressure solve; a solve that needs more fails.
        compiled: Whether PhiFlow traces the step once for each batch size and dtype. The first such step takes long.

    Raises:
        MissingExtra: If PhiFlow is not installed.
        InvalidSetting: If an argument is out of its range.

    Source: Holl and Thuerey, PhiFlow: Differentiable simulations for PyTorch, TensorFlow and Jax, ICML 2024.
    """

    def __init__(
        self,
        resolution: int = 32,
        *,
        dt: float = 1.0,
        tol: float = 1e-5,
        max_iterations: int = 5000,
        compiled: bool = True,
    ) -> None:
        cells = check_resolution(resolution)
        super().__init__((2, 2 * cells + 1, cells + 1), ("reynolds",), tol=check_positive(tol, "tol"))
        self.resolution = cells
        self.dt = check_positive(dt, "dt")
        self.max_iterations = check_count(max_iterations, "max_iterations")
        self._phi = _import_phiflow()
        flow = self._phi
        self._domain = flow.Box(y=2 * WIDTH, x=WIDTH)
        self._disc = flow.Obstacle(flow.Sphere(y=DISC_CENTER[0], x=DISC_CENTER[1], radius=DISC_RADIUS))
        self._fixed = torch.zeros(self.fields)
        self._fixed[0, :2, :-1] = 1.0
        self._fixed[0, :, 0] = self._fixed[0, :, -2] = 1.0
        self._step = flow.jit_compile(self._stepped) if compiled else self._stepped

    @override
    def check_params(self, params: Tensor) -> None:
        if params.device.type != "cpu":
            raise InvalidState(f"PhiFlowWake runs on the CPU, got params on {params.device}; move states and params.")
        if float(params.min()) <= 0:
            raise InvalidState(f"reynolds must be above 0, got {float(params.min()):g}.")

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        flow = self._phi
        with warnings.catch_warnings():  # of torch's tracer and of PhiFlow's own past
            warnings.simplefilter("ignore")
            with flow.math.precision(64 if state.dtype == torch.float64 else 32):
                reynolds = flow.wrap(params[:, 0].contiguous(), flow.batch("states"))
                after = self._step(self._grid(state), self._grid(self._fixed.to(state.dtype)), reynolds).values
        result = torch.zeros_like(state)
        result[:, 0, :, :-1] = after.vector.dual["y"].native("states,y,x")
        result[:, 1, :-1] = after.vector.dual["x"].native("states,y,x")
        return result

    def _stepped(self, velocity: Any, fixed: Any, reynolds: Any) -> Any:
        flow = self._phi
        velocity = flow.diffuse.explicit(velocity, WIDTH**2 / reynolds, self.dt)
        velocity = velocity * (1 - fixed) + fixed
        velocity = flow.advect.semi_lagrangian(velocity, velocity, self.dt)
        solve = flow.Solve("CG", self.tol, self.tol, max_iterations=self.max_iterations)
        return flow.fluid.make_incompressible(velocity, [self._disc], solve)[0]

    def _grid(self, state: Tensor) -> Any:
        """Return a staggered grid of `(B, *F)` states, or of one `(*F)`."""
        flow = self._phi
        axes = flow.spatial("y,x") if state.ndim == 3 else (flow.batch("states"), flow.spatial("y,x"))
        axes = axes if isinstance(axes, tuple) else (axes,)
        down, across = state[..., 0, :, :-1].contiguous(), state[..., 1, :-1, :].contiguous()
        faces = {"y": flow.wrap(down, *axes), "x": flow.wrap(across, *axes)}
        return flow.StaggeredGrid(
            flow.math.stack(faces, flow.dual("vector")), flow.extrapolation.BOUNDARY, self._domain
        )


def _import_phiflow() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("phi.torch.flow")
    except ImportError as error:
        raise MissingExtra(
            "PhiFlow is not installed; pip install 'zotoolkit[phiflow]', or take WakeFlow(mask='soft')."
        ) from error
