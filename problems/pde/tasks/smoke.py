"""Correcting a coarse step of smoke that rises in a closed box."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import PlainConvolutions
from problems.pde.couplings_2d import WithMarker
from problems.pde.measuring import Measures
from problems.pde.references import smoke_references
from problems.pde.simulators import SmokeFlow
from problems.pde.tasks.settings import Corrector, chosen, reached
from problems.pde.windows import Curriculum

CORRECTORS: Mapping[str, Callable[[], nn.Module]] = {
    "small": functools.partial(PlainConvolutions, (4, 6, 2), 3, activation=nn.Softsign),
    "medium": functools.partial(PlainConvolutions, (4, 16, 16, 2), 5, activation=nn.Softsign),
}


def correct_smoke(
    resolution: int = 32,
    factor: int = 4,
    corrector: Corrector = "small",
    unroll: int | Curriculum = 12,
    windows: int = 2,
    frames: int = 101,
    spin_up: int = 20,
    state_step_budget: int | None = None,
    device: torch.device | str = "cpu",
) -> CorrectSimulator:
    """Correct a coarse step of smoke, at buoyancies that training does not see.

    The network sees velocity, marker and buoyancy, and corrects the velocity, which then carries the marker. Errors
    are those of velocities and marker together. The first use makes the reference data and keeps them.

    What is trained over 12 steps makes velocities better for some 50 steps and the marker for some 75. Beyond, the
    flow is another one with and without a corrector, and the corrected one, which is smeared less, is off by more.

    Args:
        resolution: Cells a side of the coarse grid.
        factor: How many times finer the reference grid is.
        corrector: "small" (332 parameters), "medium" (8,834), or a function that builds a network from (v_y, v_x,
            marker, buoyancy) to a correction of (v_y, v_x), all scaled.
        unroll: Steps, or a curriculum; see `CorrectSimulator`.
        windows: Stretches a query.
        frames: Of each reference trajectory.
        spin_up: Steps from rest to the first frame.
        state_step_budget: As in `CorrectSimulator`.
        device: Where states and points live.
    """
    steps = reached((10, 30, 50, 100), frames)
    build = chosen(corrector, CORRECTORS)
    simulator = SmokeFlow(resolution)
    references = smoke_references(simulator, factor=factor, frames=frames, spin_up=spin_up)
    marker = references.train.states[:, :, 2, :-1, :-1]
    coupling = WithMarker(references.scale, float(marker.std()), references.params_scale.tolist())
    return CorrectSimulator(
        simulator,
        references,
        build,
        coupling=coupling,
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=steps, figure="mae", validation_steps=steps[min(1, len(steps) - 1)]),
        device=device,
        name="smoke",
    )
