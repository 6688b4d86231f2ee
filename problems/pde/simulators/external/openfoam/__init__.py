"""OpenFOAM's icoFoam as a simulator."""

from problems.pde.simulators.external.openfoam.ico_foam import IcoFoam

__all__ = ["IcoFoam"]
