"""Reference data of the two-dimensional Burgers equation, each trajectory driven by a force of its own."""

from __future__ import annotations

from typing import Any

import torch

from problems.pde.progress import Progress
from problems.pde.references.make import Start, make_references
from problems.pde.references.trajectories import SPLITS, References
from problems.pde.simulators.forced_burgers import ForcedBurgers
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import check_seed, derive_seed

_DRAW = 0x4F1
_VERSION = 1  # of ForcedBurgers' results: another one leaves former data in the cache alone


def forced_burgers_references(
    coarse: ForcedBurgers | None = None,
    *,
    factor: int = 4,
    spin_up: int = 0,
    frames: int = 151,
    train: int = 12,
    validation: int = 4,
    test: int = 6,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories on the grid of a coarse simulator, made by `coarse.finer(factor)`.

    No two have the same force or the same start. At the defaults they begin with smooth velocities of variance 4,
    which steepen and decay, until after some 100 steps the force is what keeps the flow going. The 22 trajectories of
    150 steps take some 4 s on one core, once: they are kept in the cache, where they need 41 MB. A split's starts
    and forces are drawn by its own seed: the sizes of the others do not change it.

    Args:
        coarse: The simulator that is to be corrected; `ForcedBurgers()` by default, 32 x 32 cells.
        factor: Fine cells a coarse one, in each direction.
        spin_up: Steps before the first frame.
        frames: Frames a trajectory.
        train: Trajectories to train on.
        validation: Trajectories to choose settings by.
        test: Trajectories to be judged by.
        seed: Of starts and forces.
        device: Where to run.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Returns:
        With the layout "timed": the third field of a state is the time.

    Raises:
        InvalidSetting: If a setting is out of range or a split is empty.
        InvalidState: If a state blew up.

    Examples:
        >>> few = {"train": 2, "validation": 1, "test": 1}
        >>> forced_burgers_references(ForcedBurgers(16), factor=2, frames=3, cache=False, **few)
        <References: states (3, 16, 16), dt 0.1; trajectories x frames: train 2 x 3, validation 1 x 3, test 1 x 3>

    Source: Um, Brand, Fei, Holl and Thuerey, Solver-in-the-Loop, NeurIPS 2020, whose grids have 32 and 128 cells a
    side too; numbers of trajectories and frames are our own.
    """
    coarse = ForcedBurgers() if coarse is None else coarse
    if not isinstance(coarse, ForcedBurgers):
        raise InvalidSetting(f"coarse must be a ForcedBurgers, got {brief(coarse)}; see make_references.")
    seed, fine = check_seed(seed), coarse.finer(factor)
    starts: list[Start] = []
    for split, (name, count) in enumerate(zip(SPLITS, (train, validation, test), strict=True)):
        count, own = check_count(count, name), derive_seed(seed, _DRAW, split)
        starts.append((fine.start(count, seed=own, device=device), fine.random_forces(count, seed=own, device=device)))
    key: dict[str, Any] = {"simulator": "ForcedBurgers", "version of it": _VERSION, "factor": factor, "seed": seed}
    key["physics"] = {name: getattr(coarse, name) for name in ("points", "viscosity", "forces", "length")}
    return make_references(
        fine,
        *starts,
        frames=frames,
        dt=coarse.dt,
        coarsen=lambda states: coarse.downsample(states, coarse.points),
        spin_up=spin_up,
        layout="timed",
        name="forced-burgers",
        key=key,
        cache=cache,
        progress=progress,
    )
