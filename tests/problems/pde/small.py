"""A small problem of the family that takes no time: coarse Burgers steps towards fine ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from problems.pde import CorrectSimulator, Measures, References, Trajectories
from problems.pde.correctors import PeriodicConvolutions, PlainConvolutions
from problems.pde.references import wake_references
from problems.pde.simulators import Burgers, downsample, rollout
from problems.pde.simulators.wake import WakeFlow

POINTS, DT = 16, 0.2


@cache
def references(dtype: torch.dtype = torch.float64, frames: int = 12) -> References:
    fine = Burgers(points=4 * POINTS, dt=DT, substeps=8)

    def split(seed: int, *viscosities: float) -> Trajectories:
        params = torch.tensor([[v] for v in viscosities], dtype=dtype)
        path = rollout(fine, fine.start(len(params), seed=seed).to(dtype), params, frames - 1)
        return Trajectories(downsample(path, POINTS).movedim(1, 0), params)

    return References(split(0, 0.02, 0.03, 0.05), split(1, 0.04), split(2, 0.025, 0.035), dt=DT)


def network(width: int = 2) -> nn.Module:
    return PeriodicConvolutions(width=width, kernel=3, last_scale=1.0)


def burgers(dtype: torch.dtype = torch.float64, **settings: Any) -> CorrectSimulator:
    settings = {"unroll": 3, "windows": 2, "measures": Measures(steps=(2, 5)), **settings}
    simulator = settings.pop("simulator", None) or Burgers(points=POINTS, dt=DT)
    return CorrectSimulator(simulator, references(dtype), lambda: network().to(dtype), **settings)


def wake(dtype: torch.dtype = torch.float64, **settings: Any) -> CorrectSimulator:
    """The wake flow on the smallest grid, a few frames."""
    data = wake_references(
        16, factor=2, spin_up=3, frames=8, train=(1e5, 4e5), validation=(2e5,), test=(3e5,), cache=False
    )
    settings = {"unroll": 3, "windows": 2, "measures": Measures(steps=(2, 5)), **settings}
    return CorrectSimulator(
        WakeFlow(16), data, lambda: PlainConvolutions((3, 2, 2), last_scale=1.0).to(dtype), **settings
    )
