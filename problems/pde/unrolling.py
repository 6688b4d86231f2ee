"""The loss of unrolled trajectories, and four gradients of it.

    s_0 = u_t,   s_i = S(s_{i-1}) + C(S(s_{i-1})),   L = 1/(m W) sum_i,w mean(((s_i - u_{t+i}) / scale)^2)

S is the simulator's step, C the corrector, u the reference. The first S(s_0) is the same for every corrector and asked
once. The gradients differ in what goes backward through S:

    one step       nothing does: each s_{i-1} is the reference itself (NON of the papers, m windows of one step)
    detached       nothing does, though trajectories are unrolled
    state          an estimate from queries of S around each state; the corrector by back-propagation
    simulator      back-propagation, where S allows it

Source: Um et al., Solver-in-the-Loop, NeurIPS 2020 (whose loss is the sum over a state in place of the mean); without
gradients in time: List et al., arXiv 2402.12971.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from problems.pde.coupling import Coupling, Network, corrected
from problems.pde.simulators.base import Simulator
from problems.pde.windows import Window
from zotoolkit.checks import check_count
from zotoolkit.nn import BlackBoxFunction
from zotoolkit.seeding import derive_seed

ONE_STEP, DETACHED, STATE, SIMULATOR = "one-step", "detached", "state", "simulator"


def unrolled_losses(
    simulator: Simulator, coupling: Coupling, networks: Network, window: Window, after: Tensor, count: int, scale: float
) -> Tensor:
    """Return the `(count,)` float64 losses of many correctors, all on the same windows.

    Args:
        simulator: S.
        coupling: Where the network sits.
        networks: From `(count, W, *I)` inputs to `(count, W, *O)` outputs: each candidate's network on its own rows.
        window: The W windows.
        after: `(W, *F)`, S of the windows' start.
        count: How many candidates.
        scale: Of the states.
    """
    fields = after.shape[1:]
    params = window.params.expand(count, *window.params.shape)
    flat = params.reshape(count * len(window), -1)
    state = after.expand(count, *after.shape)
    total = torch.zeros(count, dtype=torch.float64, device=after.device)
    for number, target in enumerate(window.targets):
        if number:
            state = simulator.step(state.reshape(-1, *fields), flat).view(count, len(window), *fields)
        state = corrected(coupling, networks, state, params)
        # Summed in float64: what the rounding of a sum adds to a difference of losses is then nothing.
        total += (state - target).square_().sum(tuple(range(1, state.ndim)), dtype=torch.float64)
    return total / (window.steps * after.numel() * scale**2)


def loss_with_graph(
    simulator: Simulator,
    coupling: Coupling,
    network: Network,
    window: Window,
    place: str,
    scale: float,
    *,
    differences: Any = None,
    seed: int = 0,
    context: int = 0,
) -> Tensor:
    """Return the loss of one corrector as a part of torch's graph.

    Args:
        simulator: S.
        coupling: Where the network sits.
        network: From `(W, *I)` to `(W, *O)`.
        window: The windows.
        place: "one-step", "detached", "state" or "simulator": what goes backward through S.
        scale: Of the states.
        differences: For "state": the `CGE` or `RGE` over the states' entries.
        seed: Of its directions.
        context: The iteration.
    """
    if place == ONE_STEP:
        return _one_step(simulator, coupling, network, window, scale)
    with torch.no_grad():
        state = simulator.step(window.start, window.params)
    change: BlackBoxFunction | None = None
    if place == STATE:

        def moved(points: Tensor, rows: Tensor) -> Tensor:
            return simulator.step(points, rows) - points

        # A step changes a state little: its Jacobian is near the identity, and only the rest has to be estimated.
        change = BlackBoxFunction(moved, differences, seed=seed, max_batch=4096)
    total = state.new_zeros((), dtype=torch.float64)
    for number, target in enumerate(window.targets):
        if number and change is not None:
            if not bool(torch.isfinite(state.detach()).all()):
                return total * torch.nan  # no difference can be formed around a state that has blown up
            state = state + change(state, window.params, context=derive_seed(context, number))
        elif number and place == DETACHED:
            state = simulator.step(state.detach(), window.params)
        elif number:
            state = simulator.step(state, window.params)
        state = corrected(coupling, network, state, window.params)
        total = total + ((state - target) / scale).square().mean(dtype=torch.float64)
    return total / window.steps


def _one_step(simulator: Simulator, coupling: Coupling, network: Network, window: Window, scale: float) -> Tensor:
    """Return the same with every step from the reference: W m states at once."""
    before = window.before.flatten(0, 1)
    params = window.params.repeat(window.steps, 1)
    with torch.no_grad():
        state = simulator.step(before, params)
    state = corrected(coupling, network, state, params)
    return ((state - window.targets.flatten(0, 1)) / scale).square().mean(dtype=torch.float64)


@torch.no_grad()
def corrected_rollout(
    simulator: Simulator, coupling: Coupling, network: Network | None, state: Tensor, params: Tensor, steps: int
) -> Tensor:
    """Return the `(steps + 1, B, *F)` trajectory of a corrected simulator, the start included.

    A state that blows up is NaN from there on.

    Args:
        simulator: S.
        coupling: Where the network sits.
        network: From `(B, *I)` to `(B, *O)`; None for the simulator alone.
        state: `(B, *F)` to start from.
        params: `(B, k)`.
        steps: How many.

    Raises:
        InvalidSetting: If steps is below 0.
        InvalidState: As `Simulator.step` does.
    """
    kept = [state]
    for _ in range(check_count(steps, "steps", least=0)):
        state = simulator.step(state, params)
        if network is not None:
            state = corrected(coupling, network, state, params)
        kept.append(state)
    return torch.stack(kept)
