"""Reference data of the periodic problems in one dimension: Kuramoto-Sivashinsky and Burgers.

The fine runs are in float64, so that rounding, which chaos magnifies, says little within a trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from problems.pde.progress import Progress
from problems.pde.references.make import Start, make_references
from problems.pde.references.parameters import positive_numbers
from problems.pde.references.trajectories import SPLITS, References
from problems.pde.simulators.burgers import Burgers
from problems.pde.simulators.grids import downsample
from problems.pde.simulators.kuramoto_sivashinsky import KuramotoSivashinsky
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import check_seed, derive_seed

_START_DRAW = 0x4EF
_VERSION = 1  # of the simulators' results: another one leaves former data in the cache alone


def kuramoto_sivashinsky_references(
    coarse: KuramotoSivashinsky | None = None,
    *,
    factor: int = 4,
    substeps: int = 10,
    spin_up: int = 200,
    frames: int = 201,
    train: int = 64,
    validation: int = 16,
    test: int = 32,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories on the attractor, on the grid of a coarse simulator, made by `coarse.finer`.

    At the defaults a trajectory is 100 units of time long, 8.4 Lyapunov times: the largest exponent was measured as
    0.0844 +- 0.0012 at a length of 60. The spin-up takes as long. All is made in one second on one core. A split's
    start states are drawn by its own seed: the sizes of the others do not change it.

    Args:
        coarse: The simulator that is to be corrected; `KuramotoSivashinsky()` by default.
        factor: Fine points a coarse one.
        substeps: Of the fine simulator in one step.
        spin_up: Steps before the first frame, to forget the start states.
        frames: Frames a trajectory.
        train: Trajectories to train on.
        validation: Trajectories to choose settings by.
        test: Trajectories to be judged by.
        seed: Of the start states.
        dtype: Of the data; they are made in float64.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Raises:
        InvalidSetting: If a setting is out of range or a split is empty.
        InvalidState: If a state blew up.

    Examples:
        >>> counts = {"train": 4, "validation": 2, "test": 2}
        >>> kuramoto_sivashinsky_references(spin_up=10, frames=5, cache=False, **counts)
        <References: states (48,), dt 0.5; trajectories x frames: train 4 x 5, validation 2 x 5, test 2 x 5>
    """
    coarse = KuramotoSivashinsky() if coarse is None else coarse
    if not isinstance(coarse, KuramotoSivashinsky):
        raise InvalidSetting(f"coarse must be a KuramotoSivashinsky, got {brief(coarse)}; see make_references.")
    fine = coarse.finer(factor, substeps=substeps)
    counts = dict(zip(SPLITS, (train, validation, test), strict=True))
    starts: list[Start] = []
    for split, (name, count) in enumerate(counts.items()):
        states = fine.start(check_count(count, name), seed=_seed(seed, split), dtype=torch.float64)
        starts.append((states, None))
    key = _key(fine, substeps, seed)
    return make_references(
        fine,
        *starts,
        frames=frames,
        dt=coarse.dt,
        coarsen=lambda states: downsample(states, coarse.points),
        spin_up=spin_up,
        dtype=dtype,
        name="kuramoto-sivashinsky",
        key=key,
        cache=cache,
        progress=progress,
    )


def burgers_references(
    coarse: Burgers | None = None,
    *,
    factor: int = 4,
    substeps: int = 10,
    frames: int = 61,
    train: Sequence[float] = (0.02, 0.03, 0.05),
    validation: Sequence[float] = (0.035,),
    test: Sequence[float] = (0.025, 0.04),
    starts: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories of steepening and decaying waves, each split with viscosities of its own.

    At the defaults the fine grid resolves the shocks, by itself wrong by less than 0.1 per cent, and the coarse one of
    32 points does not.

    Args:
        coarse: The simulator that is to be corrected; `Burgers(points=32, dt=0.05)` by default.
        factor: Fine points a coarse one.
        substeps: Of the fine simulator in one step.
        frames: Frames a trajectory, the start among them.
        train: Viscosities.
        validation: Viscosities.
        test: Viscosities.
        starts: Trajectories a viscosity, from different random waves.
        seed: Of the waves.
        dtype: Of the data; they are made in float64.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Raises:
        InvalidSetting: If a setting is out of range or a split is empty.
        InvalidState: If a state blew up.

    Examples:
        >>> references = burgers_references(frames=3, starts=2, cache=False)
        >>> references.train.states.shape, references.test.params.flatten()
        (torch.Size([6, 3, 32]), tensor([0.0250, 0.0250, 0.0400, 0.0400]))
    """
    coarse = Burgers(points=32, dt=0.05) if coarse is None else coarse
    if not isinstance(coarse, Burgers):
        raise InvalidSetting(f"coarse must be a Burgers, got {brief(coarse)}; see make_references.")
    starts = check_count(starts, "starts")
    fine = coarse.finer(factor, substeps=substeps)
    pairs: list[Start] = []
    for split, (name, values) in enumerate(zip(SPLITS, (train, validation, test), strict=True)):
        numbers = positive_numbers(values, name, held="viscosities", each="viscosity")
        params = torch.tensor(numbers, dtype=torch.float64).repeat_interleave(starts)[:, None]
        pairs.append((fine.start(len(params), seed=_seed(seed, split), dtype=torch.float64), params))
    return make_references(
        fine,
        *pairs,
        frames=frames,
        dt=coarse.dt,
        coarsen=lambda states: downsample(states, coarse.points),
        dtype=dtype,
        name="burgers",
        key=_key(fine, substeps, seed),
        cache=cache,
        progress=progress,
    )


def _seed(seed: int, split: int) -> int:
    return derive_seed(check_seed(seed), _START_DRAW, split)


def _key(fine: KuramotoSivashinsky | Burgers, substeps: int, seed: int) -> dict[str, Any]:
    return {
        "simulator": type(fine).__name__,
        "version of it": _VERSION,
        "points": fine.points,
        "substeps": substeps,
        "order": fine.order,
        "dealias": fine.dealias,
        "seed": seed,
        "physics": {"length": fine.length},
    }
