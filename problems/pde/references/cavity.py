"""Reference data of lid-driven cavities, made by icoFoam on a finer grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from problems.pde.progress import Progress
from problems.pde.references.make import Start, make_references
from problems.pde.references.trajectories import SPLITS, References
from problems.pde.simulators.external import IcoFoam
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, InvalidState, brief

TRAIN = (0.6, 0.8, 1.0, 1.2)
VALIDATION = (0.9, 1.1)
TEST = (0.7, 0.95, 1.15)

_VERSION = 1  # of IcoFoam's results: another one leaves former data in the cache alone


def average_cells(states: Tensor, factor: int) -> Tensor:
    """Bring velocities at the centres of cells onto a coarser grid: the mean over the cells that make up a coarse one.

    Args:
        states: `(..., rows, columns)` floating point.
        factor: Fine cells a coarse one, along each side.

    Raises:
        InvalidState: If states are no such tensor, or factor does not divide its grid.

    Examples:
        >>> average_cells(torch.arange(16.0).view(4, 4), 2)
        tensor([[ 2.5000,  4.5000],
                [10.5000, 12.5000]])
    """
    factor = check_count(factor, "factor")
    if not isinstance(states, Tensor) or not states.is_floating_point() or states.ndim < 2:
        raise InvalidState(f"states must be (..., rows, columns) floating point, got {brief(states)}.")
    rows, columns = states.shape[-2:]
    if rows % factor or columns % factor:
        raise InvalidState(f"a factor of {factor} does not divide a grid of {rows} x {columns} cells.")
    parts = states.reshape(*states.shape[:-2], rows // factor, factor, columns // factor, factor)
    return parts.mean((-3, -1))


def cavity_references(
    coarse: IcoFoam | None = None,
    *,
    factor: int = 4,
    spin_up: int = 20,
    frames: int = 41,
    train: Sequence[float] = TRAIN,
    validation: Sequence[float] = VALIDATION,
    test: Sequence[float] = TEST,
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories of the flow that a lid sets in motion, on the grid of a coarse simulator.

    All speeds run together from rest, by `coarse.finer(factor)`: some 0.1 s of one core a state and step at the
    defaults, a minute for the nine trajectories, which are then kept in the cache. The spin-up leaves out the very
    beginning, when all that moves is thinner than a coarse cell.

    Args:
        coarse: The simulator that is to be corrected; `IcoFoam()` by default.
        factor: Fine cells a coarse one, along each side.
        spin_up: Steps between rest and the first frame.
        frames: Frames a trajectory.
        train: Speeds of the lid, one a trajectory.
        validation: Of neither train nor test.
        test: Speeds of the lid.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Raises:
        ProgramMissing: If icoFoam is not there.
        InvalidSetting: If a setting is out of range, a split is empty, or the same speed is in two places.
        InvalidState: If a flow blew up.
    """
    coarse = IcoFoam() if coarse is None else coarse
    if not isinstance(coarse, IcoFoam):
        raise InvalidSetting(f"coarse must be an IcoFoam, got {brief(coarse)}; make_references takes any simulator.")
    factor = check_count(factor, "factor", 2)
    speeds = _check_speeds(train, validation, test)
    fine = coarse.finer(factor)
    physics = {"cells": coarse.cells, "viscosity": coarse.viscosity}
    key: dict[str, Any] = {"simulator": "IcoFoam", "version of it": _VERSION, "factor": factor, "physics": physics}
    key["fine"] = {name: getattr(fine, name) for name in ("substeps", "scheme", "tolerance", "correctors")}

    def start(values: Sequence[float]) -> Start:
        return fine.at_rest(len(values), dtype=torch.float64), torch.tensor(values, dtype=torch.float64)[:, None]

    with fine:
        return make_references(
            fine,
            *(start(values) for values in speeds),
            frames=frames,
            dt=coarse.dt,
            coarsen=lambda states: average_cells(states, factor),
            spin_up=spin_up,
            name="lid-driven-cavity",
            key=key,
            cache=cache,
            progress=progress,
        )


def _check_speeds(*splits: object) -> list[list[float]]:
    found: list[list[float]] = []
    seen: dict[float, str] = {}
    for name, given in zip(SPLITS, splits, strict=True):
        values = list(given) if isinstance(given, Sequence) else []
        if not values or not all(isinstance(value, (int, float)) and abs(value) < 1e6 for value in values):
            raise InvalidSetting(
                f"{name} must hold the lid's speed, one a trajectory, at least one; got {brief(given)}."
            )
        for value in map(float, values):
            if value in seen:
                raise InvalidSetting(
                    f"speed={value:g} is in {seen[value]} and in {name}; the same speed gives the same trajectory, so "
                    "each may be there once."
                )
            seen[value] = name
        found.append([float(value) for value in values])
    return found
