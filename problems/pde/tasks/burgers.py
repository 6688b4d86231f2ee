"""Correcting a coarse step of the viscous Burgers equation."""

from __future__ import annotations

import torch

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import PeriodicConvolutions
from problems.pde.measuring import Measures
from problems.pde.references import burgers_references
from problems.pde.simulators import Burgers
from problems.pde.tasks.settings import Corrector, chosen, dtype_named
from problems.pde.windows import Curriculum


def correct_burgers(
    corrector: Corrector = "small",
    unroll: int | Curriculum = 4,
    windows: int = 16,
    state_step_budget: int | None = None,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> CorrectSimulator:
    """Correct a coarse step of the viscous Burgers equation, at viscosities that training does not see.

    Args:
        corrector: "small", two periodic convolutions of 89 parameters, or a function that builds a network.
        unroll: Steps, or a curriculum; see `CorrectSimulator`.
        windows: Stretches a query.
        state_step_budget: As in `CorrectSimulator`.
        dtype: "float32" or "float64".
        device: Where states and points live.
    """
    build = chosen(corrector, {"small": PeriodicConvolutions})
    precision = dtype_named(dtype)
    references = burgers_references(dtype=precision)
    points, dt = references.fields[0], references.dt
    return CorrectSimulator(
        Burgers(points=points, dt=dt),
        references,
        lambda: build().to(precision),
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=(8, 20, 40), figure="relative_l2", validation_steps=20),
        device=device,
        name="Burgers",
    )
