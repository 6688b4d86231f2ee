"""Correcting a PDE simulator that can only be queried: a coarse solver, a small network after every step of it."""

from problems.pde.correct_simulator import CorrectSimulator
from problems.pde.coupling import Additive, Coupling, Staggered
from problems.pde.couplings_2d import WithForce, WithMarker
from problems.pde.measuring import Measures
from problems.pde.references import References, Trajectories
from problems.pde.tasks import (
    correct_burgers,
    correct_forced_burgers,
    correct_kuramoto_sivashinsky,
    correct_smoke,
    correct_wake_flow,
)

__all__ = [
    "Additive",
    "CorrectSimulator",
    "Coupling",
    "Measures",
    "References",
    "Staggered",
    "Trajectories",
    "WithForce",
    "WithMarker",
    "correct_burgers",
    "correct_forced_burgers",
    "correct_kuramoto_sivashinsky",
    "correct_smoke",
    "correct_wake_flow",
]
