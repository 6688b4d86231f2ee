"""The registry of solvers: `register_solver`, `make_solver`, `solver_spec`, `pprint_solvers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zotoolkit.registration import EntrySpec, Registry, format_specs
from zotoolkit.solvers.base import Solver

solvers: Registry[Solver] = Registry("solver", "zotoolkit.solvers")


def register_solver(
    id: str, entry_point: str | Callable[..., Solver], *, kwargs: dict[str, Any] | None = None, description: str = ""
) -> None:
    """Register a solver under an id; see `zotoolkit.registration.Registry.register`."""
    solvers.register(id, entry_point, kwargs=kwargs, description=description)


def make_solver(id: str, **kwargs: Any) -> Solver:
    """Make a registered solver.

    Args:
        id: `Family/Name-vN`, or `Family/Name` for the newest version.
        kwargs: The solver's own settings.

    Raises:
        UnknownId: If no such solver is registered; the message names the closest.
        UnknownSetting: If the solver has no such setting.

    Examples:
        >>> make_solver("ZO/SGD-CGE-v0", lr=0.05)
        <GradientSolver ZO/SGD-CGE-v0>
    """
    return solvers.make(id, **kwargs)


def solver_spec(id: str) -> EntrySpec:
    """Return what is registered under an id."""
    return solvers.spec(id)


def pprint_solvers() -> None:
    """Print all registered solvers, a block a family."""
    print(format_specs(solvers.specs()))
