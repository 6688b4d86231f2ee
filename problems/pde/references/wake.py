"""Reference data of the unsteady wake flow, as Solver-in-the-Loop makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from problems.pde.progress import Progress
from problems.pde.references.make import Start, make_references
from problems.pde.references.parameters import positive_numbers
from problems.pde.references.trajectories import SPLITS, References
from problems.pde.simulators.wake.flow import WakeFlow
from problems.pde.simulators.wake.geometry import check_resolution
from problems.pde.simulators.wake.staggered import downsample
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting

TRAIN = tuple(1e4 * 2**k for k in range(4, 10))
VALIDATION = (2.1e4 * 2**4, 2.1e4 * 2**7)
TEST = tuple(3e4 * 2**k for k in range(3, 8))

_VERSION = 1  # of WakeFlow's results: another one leaves former data in the cache alone


def wake_references(
    resolution: int = 32,
    *,
    factor: int = 4,
    spin_up: int = 1000,
    frames: int = 500,
    train: Sequence[float] = TRAIN,
    validation: Sequence[float] = VALIDATION,
    test: Sequence[float] = TEST,
    dt: float = 1.0,
    device: torch.device | str = "cpu",
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories of the wake on the grid of `WakeFlow(resolution)`, made on a finer one.

    All Reynolds numbers run together from the same initial state. The fine and the coarse grid have the same viscosity,
    100^2 / reynolds. The 13 simulations of 1,499 steps at the defaults take some 40 s on one core, once: they are kept
    in the cache, where they need 112 MB.

    Args:
        resolution: Cells across of the coarse grid; even, at least 16.
        factor: Fine cells a coarse one, in each direction.
        spin_up: Steps before the first frame.
        frames: Frames a trajectory.
        train: Reynolds numbers, one a trajectory; the papers' six by default.
        validation: Of neither train nor test; the papers have none.
        test: Reynolds numbers; the papers' five by default.
        dt: Time step of both grids.
        device: Where to run.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Raises:
        InvalidSetting: If a setting is out of range, a split is empty, a Reynolds number is not positive, or the same
            one is in two places.
        InvalidState: If a flow blew up.

    Examples:
        >>> few = {"train": [1e5, 4e5], "validation": [2e5], "test": [3e5]}
        >>> references = wake_references(16, factor=2, spin_up=4, frames=3, cache=False, **few)
        >>> references.train.states.shape, references.test.params
        (torch.Size([2, 3, 2, 33, 17]), tensor([[300000.]]))
        >>> references.check(WakeFlow(16))

    Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020 (and its published code).
    """
    resolution, factor = check_resolution(resolution), check_count(factor, "factor")
    one = "one Reynolds number a trajectory"
    numbers = {
        name: positive_numbers(values, name, held=one, each="Reynolds number")
        for name, values in zip(SPLITS, (train, validation, test), strict=True)
    }
    _check_different(numbers)
    fine = WakeFlow(factor * resolution, dt=dt)
    key: dict[str, Any] = {"simulator": "WakeFlow", "version of it": _VERSION, "factor": factor}
    key["physics"] = {"resolution": resolution}

    def start(values: Sequence[float]) -> Start:
        params = torch.tensor(values, dtype=torch.float32, device=device)[:, None]
        return fine.initial_state(len(params), device=device), params

    return make_references(
        fine,
        *(start(values) for values in numbers.values()),
        frames=frames,
        dt=dt,
        coarsen=lambda states: downsample(states, factor),
        spin_up=spin_up,
        layout="staggered",
        name="wake-flow",
        key=key,
        cache=cache,
        progress=progress,
    )


def _check_different(numbers: dict[str, list[float]]) -> None:
    seen: dict[float, str] = {}
    for name, values in numbers.items():
        for value in values:
            if value in seen:
                raise InvalidSetting(
                    f"reynolds={value:g} is in {seen[value]} and in {name}; the same number gives the same trajectory, "
                    "so each may be there once."
                )
            seen[value] = name
