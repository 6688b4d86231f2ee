"""Reference data: trajectories of a fine simulator on the coarse grid, which a corrector is trained towards."""

from problems.pde.references.forced_burgers import forced_burgers_references
from problems.pde.references.make import make_references
from problems.pde.references.periodic import burgers_references, kuramoto_sivashinsky_references
from problems.pde.references.smoke import smoke_references
from problems.pde.references.trajectories import References, Trajectories
from problems.pde.references.wake import wake_references

__all__ = [
    "References",
    "Trajectories",
    "burgers_references",
    "forced_burgers_references",
    "kuramoto_sivashinsky_references",
    "make_references",
    "smoke_references",
    "wake_references",
]
