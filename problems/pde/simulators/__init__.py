"""Simulators: batched time steps of partial differential equations behind one interface."""

from problems.pde.simulators.base import Simulator, rollout
from problems.pde.simulators.burgers import Burgers
from problems.pde.simulators.burgers_exact import burgers_wave
from problems.pde.simulators.callable_simulator import from_step
from problems.pde.simulators.forced_burgers import ForcedBurgers
from problems.pde.simulators.grids import downsample, grid_ratio
from problems.pde.simulators.kuramoto_sivashinsky import KuramotoSivashinsky
from problems.pde.simulators.smoke import SmokeFlow

__all__ = [
    "Burgers",
    "ForcedBurgers",
    "KuramotoSivashinsky",
    "Simulator",
    "SmokeFlow",
    "burgers_wave",
    "downsample",
    "from_step",
    "grid_ratio",
    "rollout",
]
