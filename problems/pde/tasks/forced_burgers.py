"""Correcting a coarse step of the forced Burgers equation in two dimensions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import PlainConvolutions
from problems.pde.couplings_2d import WithForce
from problems.pde.measuring import Measures
from problems.pde.references import forced_burgers_references
from problems.pde.simulators import ForcedBurgers
from problems.pde.tasks.settings import Corrector, chosen, reached
from problems.pde.windows import Curriculum

_periodic = functools.partial(PlainConvolutions, padding_mode="circular", activation=nn.Softsign)
CORRECTORS: Mapping[str, Callable[[], nn.Module]] = {
    "small": functools.partial(_periodic, (4, 6, 2), 3),
    "medium": functools.partial(_periodic, (4, 16, 16, 2), 5),
}


def correct_forced_burgers(
    resolution: int = 32,
    factor: int = 4,
    corrector: Corrector = "small",
    unroll: int | Curriculum = ((0, 8), (100, 16), (200, 32)),
    windows: int = 1,
    frames: int = 151,
    spin_up: int = 0,
    state_step_budget: int | None = None,
    device: torch.device | str = "cpu",
) -> CorrectSimulator:
    """Correct a coarse step of the two-dimensional Burgers equation under a force that differs between trajectories.

    Trained, chosen and measured on trajectories whose forces and starts are different ones. The network sees the force
    beside the velocity, and its square is periodic. The first use makes the reference data and keeps them.

    The coarse step smears, and what is smeared is off by less than what is sharp and elsewhere. So a corrector trained
    over 4 steps is better for some 30 steps and then worse than none; one trained up to 32 steps stays better longer.

    Args:
        resolution: Cells a side of the coarse grid.
        factor: How many times finer the reference grid is.
        corrector: "small" (332 parameters), "medium" (8,834), or a function that builds a network from (v_y, v_x and
            the force) to a correction of (v_y, v_x), all scaled.
        unroll: Steps, or a curriculum; see `CorrectSimulator`.
        windows: Stretches a query.
        frames: Of each reference trajectory.
        spin_up: Steps before the first frame.
        state_step_budget: As in `CorrectSimulator`.
        device: Where states and points live.

    Source: Um et al., Solver-in-the-Loop, NeurIPS 2020.
    """
    steps = reached((10, 30, 60, 100), frames)
    build = chosen(corrector, CORRECTORS)
    simulator = ForcedBurgers(resolution)
    references = forced_burgers_references(simulator, factor=factor, frames=frames, spin_up=spin_up)
    train = references.train
    force = simulator.force(train.states[:, 0], train.params)
    return CorrectSimulator(
        simulator,
        references,
        build,
        coupling=WithForce(simulator, references.scale, float(force.std())),
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=steps, figure="relative_l2", validation_steps=steps[min(1, len(steps) - 1)]),
        device=device,
        name="forced Burgers",
    )
