"""Simulators in processes of their own: any executable, and OpenFOAM's icoFoam."""

from problems.pde.simulators.external.case_files import CaseFiles, NpyFiles
from problems.pde.simulators.external.openfoam import IcoFoam
from problems.pde.simulators.external.program import ExternalProgram

__all__ = ["CaseFiles", "ExternalProgram", "IcoFoam", "NpyFiles"]
