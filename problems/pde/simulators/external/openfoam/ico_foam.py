"""Lid-driven cavities stepped by OpenFOAM's icoFoam, several of them in one case."""

from __future__ import annotations

import functools
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.external.case_files import Array, CaseFiles
from problems.pde.simulators.external.openfoam.cavities import mesh_files
from problems.pde.simulators.external.openfoam.format import foam_file, read_vectors, vector_list
from problems.pde.simulators.external.program import ExternalProgram
from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.errors import CFLWarning, ProgramMissing

Scheme = Literal["upwind", "linear"]

_PLACES = ("/usr/share/openfoam",)  # of Debian's and Ubuntu's packages
_NOT_A_TIME = {"0", "constant", "system"}
_COUNT = "constant/states"


class IcoFoam(Simulator):
    """Unsteady incompressible flow in a square cavity whose lid moves, by OpenFOAM's icoFoam in its own process.

        dv/dt + div(v v) = -grad p + nu laplace v,    div v = 0,    v_x = speed at the lid, else v = 0 at the walls

    A state is the velocity at the centres of the cells, `(2, cells, cells)`: its part along y, then along x, rows from
    the floor to the lid. Pressure and fluxes through faces do not belong to it: icoFoam interpolates the fluxes from
    the velocity and finds the pressure anew, so a step depends on the state alone. The side of the cavity is 1; the
    Reynolds number is `|speed| / viscosity`.

    States of a process are disjoint copies of the mesh in one case, which costs far less than a process each. Their
    pressures are solved for together until the residual of all is below the tolerance; so what a state gets depends on
    its neighbours within `tol`. A copy that blows up ends the process; it is then run again without that one.

    Written for and tested with OpenFOAM 1912, as Debian and Ubuntu have it.

    Args:
        cells: Along each side.
        dt: Time of one step.
        substeps: Time steps of icoFoam in it.
        viscosity: nu, common to all states.
        scheme: How velocity is carried: "upwind" is stable on any grid and smears, "linear" is of order 2.
        tolerance: Of the linear solvers: norm of the residual relative to that of the equation's parts.
        correctors: Pressure corrections in a time step.
        states_per_process: How many copies a case has at most.
        workers: How many cases run at once.
        timeout: Seconds that a case may take.
        folder: Where cases are made; None takes the place for temporary files.
        executable: Of icoFoam.

    Attributes:
        files: What writes and reads a case's files.
        cfl_limit: Largest CFL number, max|v| (dt / substeps) / dx, that gets no CFLWarning. A solver warns once. After
            15 units of time at a Reynolds number of 1000, "linear" had not blown up at 3.2 and had at 6.4; "upwind"
            never did, and was 3 % off at 3.2 and 9 % at 6.4.

    Raises:
        ProgramMissing: If icoFoam or its settings are not there.
        InvalidSetting: If an argument is out of its range.

    Source: Issa, Solution of the implicitly discretised fluid flow equations by operator-splitting, J. Comput. Phys.
    62, 1986 (PISO).
    """

    def __init__(
        self,
        cells: int = 16,
        *,
        dt: float = 0.1,
        substeps: int = 2,
        viscosity: float = 1e-3,
        scheme: Scheme = "upwind",
        tolerance: float = 1e-9,
        correctors: int = 2,
        states_per_process: int = 64,
        workers: int = 1,
        timeout: float = 120.0,
        folder: str | os.PathLike[str] | None = None,
        executable: str = "icoFoam",
    ) -> None:
        self.cells = check_count(cells, "cells", 2)
        self.dt, self.substeps = check_positive(dt, "dt"), check_count(substeps, "substeps")
        self.viscosity = check_positive(viscosity, "viscosity")
        self.scheme = check_choice(scheme, ("upwind", "linear"), "scheme")
        self.tolerance = check_positive(tolerance, "tolerance")
        self.correctors = check_count(correctors, "correctors")
        fields, parameters = (2, self.cells, self.cells), ("speed",)
        super().__init__(fields, parameters, tol=self.tolerance)
        self.files: CaseFiles = _Case(self)
        self.cfl_limit, self._warned = 3.0, False
        self._program = ExternalProgram(
            [executable],
            fields=fields,
            parameters=parameters,
            batched=True,
            states_per_process=states_per_process,
            workers=workers,
            timeout=timeout,
            environment=case_environment(executable),
            files=self.files,
            folder=folder,
            name="icoFoam",
        )

    def cfl(self, state: Tensor, params: Tensor) -> float:
        """Return the largest CFL number of `(B, 2, cells, cells)` states and their `(B, 1)` params."""
        fastest = max(float(state.detach().abs().max()), float(params.detach().abs().max()))
        return fastest * self.dt / self.substeps * self.cells

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        self._warn(state, params)
        return self._program.advance(state, params)

    @override
    def close(self) -> None:
        self._program.close()

    def finer(self, factor: int = 4, tolerance: float = 1e-6) -> IcoFoam:
        """Return the reference: finer in space and time, and of order 2 in space.

        Args:
            factor: Cells along each side, and time steps in a step, for one of these.
            tolerance: Of its linear solvers.

        Raises:
            InvalidSetting: If an argument is out of its range.
        """
        factor = check_count(factor, "factor")
        return IcoFoam(
            factor * self.cells,
            dt=self.dt,
            substeps=factor * self.substeps,
            viscosity=self.viscosity,
            scheme="linear",
            tolerance=tolerance,
            correctors=self.correctors,
            states_per_process=self._program.states_per_process or 1,
            workers=self._program.workers,
            timeout=self._program.timeout * factor**2,
            folder=self._program.folder,
            executable=self._program.command[0],
        )

    def at_rest(self, count: int = 1, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return `(count, 2, cells, cells)` states in which nothing moves yet."""
        return torch.zeros(check_count(count, "count"), *self.fields, dtype=dtype)

    def _warn(self, state: Tensor, params: Tensor) -> None:
        number = math.nan if self._warned else self.cfl(state, params)
        if number > self.cfl_limit:
            self._warned = True
            needed = math.ceil(self.substeps * number / self.cfl_limit)
            warnings.warn(
                f"the CFL number max|v| dt / dx is {number:.3g}, above {self.cfl_limit:.3g}, so the step is inaccurate "
                f"and may blow up; substeps={needed} would keep to it.",
                CFLWarning,
                stacklevel=6,  # the line that called `step`
            )


class _Case(CaseFiles):
    """The files of a case; what is the same in all is put together once."""

    def __init__(self, flow: IcoFoam) -> None:
        self._cells = flow.cells
        self._dictionaries = _dictionaries(flow)

    @override
    def write(self, folder: Path, state: Array, params: Array) -> None:
        for name in ("0", "constant/polyMesh", "system"):
            (folder / name).mkdir(parents=True)
        for name, content in self._dictionaries.items():
            (folder / name).write_bytes(content)
        for name, content in mesh_files(self._cells, len(state)).items():
            (folder / "constant/polyMesh" / name).write_bytes(content)
        (folder / _COUNT).write_text(str(len(state)))
        vectors = np.zeros((len(state), self._cells, self._cells, 3))
        vectors[..., 0], vectors[..., 1] = state[:, 1], state[:, 0]
        lids = np.zeros((len(state), self._cells, 3))
        lids[..., 0] = params
        (folder / "0/U").write_bytes(_velocity(vectors.reshape(-1, 3), lids.reshape(-1, 3)))

    @override
    def read(self, folder: Path) -> Array:
        times = [path for path in folder.iterdir() if path.name not in _NOT_A_TIME and (path / "U").is_file()]
        if len(times) != 1:
            raise FileNotFoundError("there is no velocity of a later time")
        content = (times[0] / "U").read_bytes()
        count = int((folder / _COUNT).read_text())
        vectors = read_vectors(content, count * self._cells**2).reshape(count, self._cells, self._cells, 3)
        return np.stack((vectors[..., 1], vectors[..., 0]), 1)


def _velocity(inside: Array, lids: Array) -> bytes:
    head = b"dimensions [0 1 -1 0 0 0 0];\ninternalField nonuniform List<vector> "
    lid = b"lid { type fixedValue; value nonuniform List<vector> " + vector_list(lids) + b"; }\n"
    rest = b"walls { type noSlip; } sides { type empty; } }"
    return foam_file("volVectorField", head + vector_list(inside) + b";\nboundaryField {\n" + lid + rest)


def _dictionaries(flow: IcoFoam) -> dict[str, bytes]:
    """Return the files that are the same in all cases of a simulator."""
    control = f"""
application icoFoam; startFrom startTime; startTime 0; stopAt endTime; endTime {flow.dt!r};
deltaT {flow.dt / flow.substeps!r}; writeControl timeStep; writeInterval {flow.substeps}; writeFormat binary;
timeFormat general; timePrecision 12; runTimeModifiable no; DebugSwitches {{ SolverPerformance 0; }}"""
    schemes = f"""
ddtSchemes {{ default Euler; }} gradSchemes {{ default Gauss linear; }}
divSchemes {{ default none; div(phi,U) Gauss {flow.scheme}; }} laplacianSchemes {{ default Gauss linear orthogonal; }}
interpolationSchemes {{ default linear; }} snGradSchemes {{ default orthogonal; }}"""
    pressure = f"{{ solver PCG; preconditioner DIC; tolerance {flow.tolerance!r}; relTol 0; }}"
    velocity = f"{{ solver smoothSolver; smoother symGaussSeidel; tolerance {flow.tolerance!r}; relTol 0; }}"
    solution = f"""
solvers {{ p {pressure} pFinal {pressure} U {velocity} }}
PISO {{ nCorrectors {flow.correctors}; nNonOrthogonalCorrectors 0; pRefCell 0; pRefValue 0; }}"""
    patches = "lid { type zeroGradient; } walls { type zeroGradient; } sides { type empty; }"
    still = f"dimensions [0 2 -2 0 0 0 0]; internalField uniform 0; boundaryField {{ {patches} }}"
    return {
        "system/controlDict": foam_file("dictionary", control),
        "system/fvSchemes": foam_file("dictionary", schemes),
        "system/fvSolution": foam_file("dictionary", solution),
        "constant/transportProperties": foam_file("dictionary", f"nu [0 2 -1 0 0 0 0] {flow.viscosity!r};"),
        "0/p": foam_file("volScalarField", still),
    }


@functools.cache
def case_environment(executable: str) -> dict[str, str]:
    """Return what OpenFOAM's programs want to see: above all the folder that holds `etc`, their settings.

    Raises:
        ProgramMissing: If the executable or the settings are not there.
    """
    found = shutil.which(executable)
    if found is None:
        raise ProgramMissing(
            f"there is no executable {executable!r}; install OpenFOAM (on Debian and Ubuntu: apt install openfoam), or "
            "put the one of your installation into PATH."
        )
    places = [os.environ.get("WM_PROJECT_DIR", ""), *map(str, Path(found).resolve().parents), *_PLACES]
    for place in places:
        if place and (Path(place) / "etc/controlDict").is_file():
            # With FOAM_SIGFPE a copy that blows up ends the process, instead of spoiling the solve for all others.
            return {"WM_PROJECT_DIR": place, "FOAM_SIGFPE": "true"}
    raise ProgramMissing(
        f"{found} is there, but not OpenFOAM's etc/controlDict, without which it does not run; set WM_PROJECT_DIR "
        "to the folder that holds etc."
    )
