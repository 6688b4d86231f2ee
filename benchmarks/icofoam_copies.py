"""A step of icoFoam: many states as disjoint copies of the mesh in one case against a case a state, one core.

Milliseconds of CPU time a state, of this process and the ones that it starts together: lid-driven cavities of 16 x 16
cells, two time steps of icoFoam a step, speeds 0.5 to 2, states some steps after rest. Both sides write and read the
same files and are told to clean up the same way; they differ in how many states a process takes. Each answer equals the
other side's to 1e-6, or the benchmark fails.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable

import torch
from harness import Options, Report, Row, Unavailable
from torch import Tensor

from problems.pde.simulators import Simulator, rollout
from problems.pde.simulators.external import IcoFoam

GOAL = 10.0
_AHEAD = 4  # steps after rest


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    if shutil.which("icoFoam") is None:
        raise Unavailable("it needs OpenFOAM: apt install openfoam")
    copies = (4,) if options.quick else (4, 16, 64)
    single, rows, notes = IcoFoam(states_per_process=1), [], []
    for count in copies:
        together = IcoFoam(states_per_process=count)
        params = torch.linspace(0.5, 2, count)[:, None]
        state = rollout(together, together.at_rest(count), params, _AHEAD)[-1]
        apart = float((together.step(state, params) - single.step(state, params)).abs().max())
        if not apart < 1e-6:
            raise RuntimeError(f"copies and single runs are {apart:.2g} apart")
        few = slice(0, min(count, 8))  # a state on its own costs the same whichever it is
        baseline, ours, share = _alternate(
            lambda few=few, state=state, params=params: single.step(state[few], params[few]),
            _step(together, state, params),
            options.repeats(9),
        )
        goal = GOAL if count == copies[-1] else None
        baseline = [1e3 * seconds / len(state[few]) for seconds in baseline]
        ours = [1e3 * seconds / count for seconds in ours]
        rows.append(Row(f"{count} copies in a case", baseline, ours, "ms/state", "at least", goal))
        notes.append(f"{count} copies: {apart:.1e} from the single runs; {share:.0%} of the time is Python's")
    settings = {"cells": single.cells, "substeps": single.substeps, "tolerance": single.tolerance}
    return Report(rows, settings, notes=notes, clock="CPU time of the process and its children")


def _step(simulator: Simulator, state: Tensor, params: Tensor) -> Callable[[], Tensor]:
    return lambda: simulator.step(state, params)


def _alternate(
    baseline: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[list[float], list[float], float]:
    """Return the seconds of either side, measured in turn, and the share of ours that this process took."""
    samples: tuple[list[float], list[float]] = ([], [])
    own = total = 0.0
    for repeat in range(-1, repeats):  # the first is not measured
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            begun = _clocks()
            (baseline, ours)[side]()
            mine, theirs = (after - before for after, before in zip(_clocks(), begun, strict=True))
            if repeat >= 0:
                samples[side].append(mine + theirs)
                own, total = own + side * mine, total + side * (mine + theirs)
    return samples[0], samples[1], own / total if total else 0.0


def _clocks() -> tuple[float, float]:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    mine, theirs = (usage.ru_utime + usage.ru_stime for usage in usages)
    return mine, theirs
