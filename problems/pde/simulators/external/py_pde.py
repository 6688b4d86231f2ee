"""Equations of py-pde as simulators: somebody else's Python solver, of one state at a time."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.callable_simulator import from_step
from problems.pde.simulators.external.case_files import Array
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, MissingExtra, brief

_EQUATIONS = 256  # kept, by their parameters


def from_py_pde(
    equation: Any,
    grid: Any,
    *,
    dt: float,
    substeps: int = 1,
    parameters: Sequence[str] = (),
    components: int | None = None,
    backend: str = "numpy",
    solver: str = "euler",
    tol: float = 0.0,
    name: str | None = None,
) -> Simulator:
    """Make a simulator of an equation that py-pde solves.

    py-pde takes one state at a time, so a batch is a loop. A state that it fails on becomes NaN, as with any function
    of one state.

    Args:
        equation: A `pde.PDEBase`, or, where there are parameters, a function from their values, floats in the order of
            `parameters`, to one. Equations are kept by their values.
        grid: A `pde.grids.GridBase`, such as `pde.UnitGrid([64], periodic=True)`.
        dt: Time of one step.
        substeps: Time steps of py-pde in it.
        parameters: Names of the k parameters.
        components: None for a scalar field, states of the grid's shape; n for n scalar fields, `(n, *shape)`.
        backend: Of py-pde. "numpy" compiles least: the first step takes some seconds at most.
        solver: Of py-pde, with a fixed time step: "euler", "runge-kutta", ...
        tol: Relative accuracy of one step beyond rounding, where something in it iterates.
        name: For messages; by default the equation's class.

    Raises:
        MissingExtra: If py-pde is not installed.
        InvalidSetting: If an argument cannot be used.
    """
    pde = _import_py_pde()
    if not isinstance(grid, pde.grids.base.GridBase):
        raise InvalidSetting(f"grid must be a grid of py-pde, such as pde.UnitGrid([64]), got {brief(grid)}.")
    build = _builder(pde, equation, parameters)
    shape = tuple(int(size) for size in grid.shape)
    fields = shape if components is None else (check_count(components, "components"), *shape)
    duration = check_positive(dt, "dt")
    each = duration / check_count(substeps, "substeps")

    def step(state: Array, params: Array | None = None) -> Array:
        numbers = () if params is None else tuple(map(float, params))
        if components is None:
            start = pde.ScalarField(grid, state)
        else:
            start = pde.FieldCollection([pde.ScalarField(grid, part) for part in state])
        after = build(*numbers).solve(
            start, t_range=duration, dt=each, tracker=None, backend=backend, solver=solver, adaptive=False
        )
        return np.asarray(after.data)

    return from_step(
        step,
        fields=fields,
        parameters=parameters,
        batched=False,
        library="numpy",
        tol=tol,
        name=name or ("py-pde" if not isinstance(equation, pde.PDEBase) else type(equation).__name__),
    )


def _builder(pde: Any, equation: Any, parameters: Sequence[str]) -> Callable[..., Any]:
    """Return a function from the parameters' values to the equation."""
    if isinstance(equation, pde.PDEBase):
        if len(parameters):
            raise InvalidSetting(
                "with parameters, equation must be a function from their values to a pde.PDEBase, such as "
                "lambda diffusivity: pde.DiffusionPDE(diffusivity)."
            )
        return lambda: equation
    if not callable(equation) or not len(parameters):
        raise InvalidSetting(
            f"equation must be a pde.PDEBase, or a function of named parameters, got {brief(equation)}."
        )

    @functools.lru_cache(maxsize=_EQUATIONS)
    def build(*values: float) -> Any:
        made = equation(*values)
        if not isinstance(made, pde.PDEBase):
            raise InvalidSetting(f"equation must return a pde.PDEBase, got {brief(made)}.")
        return made

    return build


def _import_py_pde() -> Any:
    try:
        return importlib.import_module("pde")
    except ImportError as error:
        raise MissingExtra("py-pde is not installed; pip install 'zotoolkit[pypde]'.") from error
