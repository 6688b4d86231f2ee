"""Correcting an explicit step of the Kuramoto-Sivashinsky equation."""

from __future__ import annotations

import torch

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import PeriodicConvolutions
from problems.pde.measuring import Measures
from problems.pde.references import kuramoto_sivashinsky_references
from problems.pde.simulators import KuramotoSivashinsky
from problems.pde.tasks.settings import Corrector, chosen, dtype_named
from problems.pde.windows import Curriculum


def correct_kuramoto_sivashinsky(
    corrector: Corrector = "small",
    unroll: int | Curriculum = 4,
    windows: int = 16,
    state_step_budget: int | None = None,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
) -> CorrectSimulator:
    """Correct an explicit step of the Kuramoto-Sivashinsky equation, which left alone blows up.

    Args:
        corrector: "small", two periodic convolutions of 89 parameters, or a function that builds a network from
            `(B, 48)` to `(B, 48)`.
        unroll: Steps, or a curriculum; see `CorrectSimulator`.
        windows: Stretches a query.
        state_step_budget: As in `CorrectSimulator`.
        dtype: "float32" or "float64".
        device: Where states and points live.
    """
    build = chosen(corrector, {"small": PeriodicConvolutions})
    precision = dtype_named(dtype)
    return CorrectSimulator(
        KuramotoSivashinsky(),
        kuramoto_sivashinsky_references(dtype=precision),
        lambda: build().to(precision),
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=(8, 20), figure="relative_l2", validation_steps=20, valid_time=0.4),
        device=device,
        name="Kuramoto-Sivashinsky",
    )
