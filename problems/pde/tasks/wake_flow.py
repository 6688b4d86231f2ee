"""Correcting the unsteady wake flow behind a disc."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import MarsMoon, MediumConvolutions, Mercury, SmallConvolutions
from problems.pde.measuring import Measures
from problems.pde.references import wake_references
from problems.pde.simulators.wake import WakeFlow
from problems.pde.tasks.settings import Corrector, chosen, reached
from problems.pde.windows import Curriculum

CORRECTORS: Mapping[str, Callable[[], nn.Module]] = {
    "small": SmallConvolutions,
    "medium": MediumConvolutions,
    "mercury": Mercury,
    "mars_moon": MarsMoon,
}


def correct_wake_flow(
    resolution: int = 32,
    factor: int = 4,
    corrector: Corrector = "small",
    unroll: int | Curriculum = 4,
    windows: int = 2,
    frames: int = 500,
    spin_up: int = 1000,
    state_step_budget: int | None = None,
    device: torch.device | str = "cpu",
) -> CorrectSimulator:
    """Correct the unsteady wake flow behind a disc on a coarse grid, towards one several times finer.

    Trained on six Reynolds numbers, measured on five others. The first use makes the reference data and keeps them.

    Args:
        resolution: Cells across of the coarse grid; there are twice as many downstream.
        factor: How many times finer the reference grid is.
        corrector: "small" (278 parameters), "medium" (8,434), "mercury" (56,898), "mars_moon" (260,354), or a function
            that builds a network from (v_y, v_x, Reynolds number) to a correction of (v_y, v_x), all scaled.
        unroll: Steps, or a curriculum; see `CorrectSimulator`.
        windows: Stretches a query.
        frames: Of each reference trajectory.
        spin_up: Steps before the first frame.
        state_step_budget: As in `CorrectSimulator`.
        device: Where states and points live.

    Source: Um et al., Solver-in-the-Loop, NeurIPS 2020.
    """
    steps = reached((32, 100, 250), frames)
    return CorrectSimulator(
        WakeFlow(resolution),
        wake_references(resolution, factor=factor, frames=frames, spin_up=spin_up),
        chosen(corrector, CORRECTORS),
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=steps, validation_steps=steps[min(1, len(steps) - 1)]),
        device=device,
        name="wake flow",
    )
