"""What correctors of the two-dimensional flows see beside velocities: the force on them, or what they carry."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.coupling import with_params
from problems.pde.simulators.forced_burgers import ForcedBurgers
from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief


class WithForce:
    """Of `ForcedBurgers`: the network sees velocity and force, `(4, n, n)`, and adds to the velocity; the time stays.

    Args:
        simulator: Whose force it is.
        scale: Of the velocities; the two outputs are measured in it too.
        force_scale: Of the force.

    Raises:
        InvalidSetting: If a scale is not positive or the simulator another one.

    Examples:
        >>> burgers = ForcedBurgers(points=8)
        >>> coupling, state = WithForce(burgers, scale=2.0, force_scale=0.3), burgers.start(5)
        >>> inputs = coupling.inputs(state, burgers.random_forces(5))
        >>> inputs.shape
        torch.Size([5, 4, 8, 8])
        >>> torch.equal(coupling.add(state, inputs[:, :2]), torch.cat((2 * state[:, :2], state[:, 2:]), 1))
        True

    Source: Um et al., Solver-in-the-Loop, NeurIPS 2020, forced advection-diffusion.
    """

    def __init__(self, simulator: ForcedBurgers, scale: float, force_scale: float) -> None:
        if not isinstance(simulator, ForcedBurgers):
            raise InvalidSetting(f"simulator must be a ForcedBurgers, got {brief(simulator)}.")
        self.simulator = simulator
        self.scale, self.force_scale = check_positive(scale, "scale"), check_positive(force_scale, "force_scale")

    def inputs(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the `(..., 4, n, n)` inputs: v_y, v_x and the force at the same faces, both scaled."""
        return torch.cat((state[..., :2, :, :] / self.scale, self._force(state, params) / self.force_scale), dim=-3)

    def add(self, state: Tensor, output: Tensor) -> Tensor:
        """Return the corrected states.

        Raises:
            InvalidState: If the output is not `(..., 2, n, n)`.
        """
        _check_output(output, (*state.shape[:-3], 2, *state.shape[-2:]))
        return state + torch.nn.functional.pad(output * self.scale, (0, 0, 0, 0, 0, 1))

    def _force(self, state: Tensor, params: Tensor) -> Tensor:
        lead, time = state.shape[:-3], state[..., 2, 0, 0]
        # Candidates on the same windows are driven by the same force, which then is worked out once.
        shared = len(lead) > 1 and params.stride(0) == 0 and bool((time == time[:1]).all())
        if shared:
            state, params = state[:1], params[:1]
        force = self.simulator.force(state.flatten(0, -4), params.flatten(0, -2))
        return force.unflatten(0, state.shape[:-3]).expand(*lead, *force.shape[1:])

    @override
    def __repr__(self) -> str:
        return f"WithForce(scale={self.scale:g}, force_scale={self.force_scale:g})"


class WithMarker:
    """Of `SmokeFlow`: the network sees velocity, marker and parameters, `(3 + k, n, n)`, and adds to the velocity.

    Velocities are seen and corrected at the lower faces of each cell, as by `Staggered`, and not projected again. The
    marker is carried by what they are then.

    Args:
        scale: Of the velocities; the two outputs are measured in it too.
        marker_scale: Of the marker.
        params_scale: `(k,)`, of the parameters.

    Raises:
        InvalidSetting: If a scale is not positive.

    Examples:
        >>> coupling, state = WithMarker(2.0, 0.5, [0.1]), torch.ones(5, 3, 9, 9)
        >>> inputs = coupling.inputs(state, torch.full((5, 1), 0.2))
        >>> inputs.shape, inputs[0, :, 0, 0]
        (torch.Size([5, 4, 8, 8]), tensor([0.5000, 0.5000, 2.0000, 2.0000]))
        >>> coupling.add(state, inputs[:, :2])[0, :, 0, 0]
        tensor([2., 2., 1.])
    """

    def __init__(self, scale: float, marker_scale: float, params_scale: Sequence[float]) -> None:
        self.scale, self.marker_scale = check_positive(scale, "scale"), check_positive(marker_scale, "marker_scale")
        self.params_scale = [check_positive(number, "params_scale") for number in params_scale]

    def inputs(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the `(..., 3 + k, n, n)` inputs, all scaled."""
        scales = state.new_tensor((self.scale, self.scale, self.marker_scale))[:, None, None]
        return with_params(state[..., :-1, :-1] / scales, params, self.params_scale)

    def add(self, state: Tensor, output: Tensor) -> Tensor:
        """Return the corrected states.

        Raises:
            InvalidState: If the output is not `(..., 2, n, n)`.
        """
        _check_output(output, (*state.shape[:-3], 2, state.shape[-2] - 1, state.shape[-1] - 1))
        return state + torch.nn.functional.pad(output * self.scale, (0, 1, 0, 1, 0, 1))

    @override
    def __repr__(self) -> str:
        scales = f"scale={self.scale:g}, marker_scale={self.marker_scale:g}"
        return f"WithMarker({scales}, params_scale={self.params_scale})"


def _check_output(output: Tensor, wanted: tuple[int, ...]) -> None:
    if output.shape != wanted:
        raise InvalidState(f"the corrector must return {wanted}, two velocities a cell, got {brief(output)}.")
