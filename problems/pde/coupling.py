"""How a network sits beside a simulator: what it sees of a state, and where its output is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief

Network = Callable[[Tensor], Tensor]


@runtime_checkable
class Coupling(Protocol):
    """Both ends of a corrector. All axes before a state's own are batch axes."""

    def inputs(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the `(..., *I)` inputs of the network.

        Args:
            state: `(..., *F)`, after a step of the simulator.
            params: `(..., k)`.
        """
        ...

    def add(self, state: Tensor, output: Tensor) -> Tensor:
        """Return `(..., *F)` states corrected by `(..., *O)` outputs, in new memory."""
        ...


def corrected(coupling: Coupling, network: Network, state: Tensor, params: Tensor) -> Tensor:
    """Return states with the network's correction."""
    return coupling.add(state, network(coupling.inputs(state, params)))


class Additive:
    """The network sees state / scale and its output times scale is added: of the same shape as the state.

    Args:
        scale: Of the states, such as `References.scale`.
        params_scale: `(k,)`; if given, the parameters over it follow the state's channels, each as a constant field;
            a state's first axis is then its channels.

    Raises:
        InvalidSetting: If a scale is not positive.

    Examples:
        >>> coupling, state = Additive(scale=2.0), torch.ones(3, 8)
        >>> corrected(coupling, lambda inputs: inputs, state, torch.empty(3, 0))[0, :2]
        tensor([2., 2.])
        >>> Additive(2.0, [10.0]).inputs(torch.ones(3, 2, 4, 4), torch.full((3, 1), 5.0)).shape
        torch.Size([3, 3, 4, 4])
    """

    def __init__(self, scale: float = 1.0, params_scale: Sequence[float] | None = None) -> None:
        self.scale = check_positive(scale, "scale")
        self.params_scale = None if params_scale is None else [check_positive(s, "params_scale") for s in params_scale]

    def inputs(self, state: Tensor, params: Tensor) -> Tensor:
        """Return scaled states, with the parameters as further channels if they have a scale."""
        seen = state if self.scale == 1.0 else state / self.scale
        return seen if self.params_scale is None else with_params(seen, params, self.params_scale)

    def add(self, state: Tensor, output: Tensor) -> Tensor:
        """Return the corrected states.

        Raises:
            InvalidState: If the output is not of the state's shape.
        """
        if output.shape != state.shape:
            raise InvalidState(
                f"the corrector must return what a state is, {tuple(state.shape)}, got {brief(output)}; another "
                "coupling can put other outputs in their place."
            )
        return torch.add(state, output, alpha=self.scale)

    @override
    def __repr__(self) -> str:
        return f"Additive(scale={self.scale:g}, params_scale={self.params_scale})"


class Staggered:
    """Of velocities on a staggered grid: `(2, rows + 1, columns + 1)` states, networks on `rows x columns` cells.

    The network sees (v_y, v_x) / scale at the lower faces of each cell and the parameters over their scales, each as a
    constant field; its two outputs times scale are added there. The faces of the upper edges are left as they are, and
    the velocity is not projected again.

    Args:
        scale: Of the velocities.
        params_scale: `(k,)`, of the parameters.

    Raises:
        InvalidSetting: If a scale is not positive.

    Examples:
        >>> coupling, state = Staggered(0.5, [1e5]), torch.ones(4, 2, 9, 5)
        >>> inputs = coupling.inputs(state, torch.full((4, 1), 2e5))
        >>> inputs.shape, inputs[0, :, 0, 0]
        (torch.Size([4, 3, 8, 4]), tensor([2., 2., 2.]))
        >>> coupling.add(state, inputs[:, :2])[0, 0, -2:, 0]
        tensor([2., 1.])

    Source: Um et al., Solver-in-the-Loop, NeurIPS 2020, unsteady wake flow (published code).
    """

    def __init__(self, scale: float, params_scale: Sequence[float]) -> None:
        self.scale = check_positive(scale, "scale")
        self.params_scale = [check_positive(number, "params_scale") for number in params_scale]

    def inputs(self, state: Tensor, params: Tensor) -> Tensor:
        """Return the `(..., 2 + k, rows, columns)` inputs."""
        return with_params(state[..., :-1, :-1] / self.scale, params, self.params_scale)

    def add(self, state: Tensor, output: Tensor) -> Tensor:
        """Return the corrected states.

        Raises:
            InvalidState: If the output is not `(..., 2, rows, columns)`.
        """
        wanted = (*state.shape[:-2], state.shape[-2] - 1, state.shape[-1] - 1)
        if output.shape != wanted:
            raise InvalidState(f"the corrector must return {wanted}, two velocities a cell, got {brief(output)}.")
        return state + torch.nn.functional.pad(output * self.scale, (0, 1, 0, 1))

    @override
    def __repr__(self) -> str:
        return f"Staggered(scale={self.scale:g}, params_scale={self.params_scale})"


def with_params(seen: Tensor, params: Tensor, scales: Sequence[float]) -> Tensor:
    """Return `(..., channels + k, *grid)`: the parameters over their scales behind the `(..., channels, *grid)`."""
    lead = params.shape[:-1]
    if params.shape[-1] != len(scales):
        raise InvalidSetting(f"params_scale must hold {params.shape[-1]} numbers, one a parameter, got {len(scales)}.")
    if seen.shape[: len(lead)] != lead or seen.ndim < len(lead) + 2:
        raise InvalidSetting(
            f"parameters can be channels of states (channels, *grid) only, got {tuple(seen.shape)} with {len(lead)} "
            "batch axes; leave params_scale out."
        )
    grid = seen.shape[len(lead) + 1 :]
    constant = params / params.new_tensor(scales)
    fields = constant.view(*constant.shape, *[1] * len(grid)).expand(*constant.shape, *grid)
    return torch.cat((seen, fields), dim=len(lead))
