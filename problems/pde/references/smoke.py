"""Reference data of smoke in a closed box, split by its buoyancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from problems.pde.progress import Progress
from problems.pde.references.make import Start, make_references
from problems.pde.references.parameters import positive_numbers
from problems.pde.references.trajectories import SPLITS, References
from problems.pde.simulators.smoke import SmokeFlow
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import check_seed, derive_seed

TRAIN = (0.06, 0.08, 0.1, 0.12, 0.14, 0.16)
VALIDATION = (0.07, 0.13)
TEST = (0.065, 0.09, 0.11, 0.135, 0.155)

_DRAW = 0x4F2
_VERSION = 1  # of SmokeFlow's results: another one leaves former data in the cache alone


def smoke_references(
    coarse: SmokeFlow | None = None,
    *,
    factor: int = 4,
    spin_up: int = 20,
    frames: int = 101,
    train: Sequence[float] = TRAIN,
    validation: Sequence[float] = VALIDATION,
    test: Sequence[float] = TEST,
    starts: int = 2,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: bool = True,
    progress: Progress = None,
) -> References:
    """Return trajectories of rising clouds on the grid of a coarse simulator, made by `coarse.finer(factor)`.

    Each has clouds of its own, and each split buoyancies of its own. The spin-up leaves out how the fluid is set in
    motion from rest, which a corrector that must not disturb it could only make worse. At the defaults 26 trajectories
    of 120 steps take some 6 s on one core, once: they are kept in the cache, where they need 34 MB.

    Args:
        coarse: The simulator that is to be corrected; `SmokeFlow()` by default, 32 x 32 cells.
        factor: Fine cells a coarse one, in each direction.
        spin_up: Steps from rest to the first frame.
        frames: Frames a trajectory.
        train: Buoyancies.
        validation: Buoyancies, of neither train nor test.
        test: Buoyancies.
        starts: Trajectories a buoyancy, from different clouds.
        seed: Of the clouds.
        device: Where to run.
        cache: Whether they may come from the cache and are kept there.
        progress: See `make_references`.

    Returns:
        With the layout "marked": velocities at the faces, the marker in the cells.

    Raises:
        InvalidSetting: If a setting is out of range, a split is empty, or a buoyancy is not positive or in two splits.
        InvalidState: If a flow blew up.

    Examples:
        >>> few = {"train": [0.1], "validation": [0.12], "test": [0.14], "starts": 1}
        >>> references = smoke_references(SmokeFlow(16), factor=2, spin_up=2, frames=3, cache=False, **few)
        >>> references.train.states.shape, references.test.params
        (torch.Size([1, 3, 3, 17, 17]), tensor([[0.1400]]))
    """
    coarse = SmokeFlow() if coarse is None else coarse
    if not isinstance(coarse, SmokeFlow):
        raise InvalidSetting(f"coarse must be a SmokeFlow, got {brief(coarse)}; see make_references.")
    starts, seed, fine = check_count(starts, "starts"), check_seed(seed), coarse.finer(factor)
    numbers = {
        name: positive_numbers(values, name, held="buoyancies", each="buoyancy")
        for name, values in zip(SPLITS, (train, validation, test), strict=True)
    }
    _check_different(numbers)
    pairs: list[Start] = []
    for split, values in enumerate(numbers.values()):
        params = torch.tensor(values, dtype=torch.float32, device=device).repeat_interleave(starts)[:, None]
        pairs.append((fine.start(len(params), seed=derive_seed(seed, _DRAW, split), device=device), params))
    key: dict[str, Any] = {"simulator": "SmokeFlow", "version of it": _VERSION, "factor": factor, "seed": seed}
    physics = ("resolution", "length", "viscosity", "inflow", "advection")
    key["physics"] = {name: getattr(coarse, name) for name in physics}
    return make_references(
        fine,
        *pairs,
        frames=frames,
        dt=coarse.dt,
        coarsen=lambda states: coarse.downsample(states, coarse.resolution),
        spin_up=spin_up,
        layout="marked",
        name="smoke",
        key=key,
        cache=cache,
        progress=progress,
    )


def _check_different(numbers: dict[str, list[float]]) -> None:
    seen: dict[float, str] = {}
    for name, values in numbers.items():
        for value in values:
            if seen.setdefault(value, name) != name:
                raise InvalidSetting(
                    f"buoyancy={value:g} is in {seen[value]} and in {name}; each may be in one split only."
                )
