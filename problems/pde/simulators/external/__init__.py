"""Other people's solvers: any executable and OpenFOAM's icoFoam, in processes of their own, and py-pde's equations."""

from problems.pde.simulators.external.case_files import CaseFiles, NpyFiles
from problems.pde.simulators.external.openfoam import IcoFoam
from problems.pde.simulators.external.program import ExternalProgram
from problems.pde.simulators.external.py_pde import from_py_pde

__all__ = ["CaseFiles", "ExternalProgram", "IcoFoam", "NpyFiles", "from_py_pde"]
