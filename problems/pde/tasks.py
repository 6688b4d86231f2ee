"""The family's registered problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Union

import torch
from torch import nn

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.correctors import (
    MarsMoon,
    MediumConvolutions,
    Mercury,
    PeriodicConvolutions,
    SmallConvolutions,
)
from problems.pde.measuring import Measures
from problems.pde.references import (
    burgers_references,
    kuramoto_sivashinsky_references,
    wake_references,
)
from problems.pde.simulators import Burgers, KuramotoSivashinsky
from problems.pde.simulators.wake import WakeFlow
from problems.pde.windows import Curriculum
from zotoolkit.checks import check_choice
from zotoolkit.errors import InvalidSetting, brief

Corrector = Union[str, Callable[[], nn.Module]]

PLANE: Mapping[str, Callable[[], nn.Module]] = {
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
    steps = tuple(n for n in (32, 100, 250) if n < frames) or (max(1, frames - 1),)
    return CorrectSimulator(
        WakeFlow(resolution),
        wake_references(resolution, factor=factor, frames=frames, spin_up=spin_up),
        _chosen(corrector, PLANE),
        windows=windows,
        unroll=unroll,
        state_step_budget=state_step_budget,
        measures=Measures(steps=steps, validation_steps=steps[min(1, len(steps) - 1)]),
        device=device,
        name="wake flow",
    )


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
    build = _chosen(corrector, {"small": PeriodicConvolutions})
    precision = _dtype(dtype)
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
    build = _chosen(corrector, {"small": PeriodicConvolutions})
    precision = _dtype(dtype)
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


def _chosen(corrector: Corrector, known: Mapping[str, Callable[[], nn.Module]]) -> Callable[[], nn.Module]:
    if isinstance(corrector, str):
        return known[check_choice(corrector, tuple(known), "corrector")]
    if isinstance(corrector, nn.Module) or not callable(corrector):
        names = ", ".join(map(repr, known))
        raise InvalidSetting(f"corrector must be {names} or a function that builds a network, got {brief(corrector)}.")
    return corrector


def _dtype(name: str) -> torch.dtype:
    return torch.float64 if check_choice(name, ("float32", "float64"), "dtype") == "float64" else torch.float32
